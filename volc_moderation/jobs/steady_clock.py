"""The clock by which jobs become due: starts at the Unix time, and advances with the event loop's clock.

The machine's clock may step, by NTP or by hand; the event loop's does not. So a step while a program runs does not
change when its jobs run. After a restart, no job waits longer than its original delay: if the clock has stepped
back meanwhile, the delay counts from the restart; if ahead, the job may run at once.

The event loops of a machine have the same clock, so processes that share a journal need only the same offset.
"""

import asyncio
from collections.abc import Callable


class SteadyClock:
    """Returns Unix seconds: those of ``clock`` when this object is created, and from then on without steps."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._loop = asyncio.get_running_loop()
        #: Seconds from the loop's time to this one. That of another process may replace it.
        self.offset = clock() - self._loop.time()

    def __call__(self) -> float:
        """Return the time in Unix seconds."""
        return self._loop.time() + self.offset
