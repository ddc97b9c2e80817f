"""A clock by which jobs become due: the Unix time when it was made, and from then on what the event loop says went by.

The clock of the machine may step, by NTP or by hand; the event loop's does not. So a step while a program runs changes
nothing about when its jobs are made. After a restart, a job waits for no longer than it was to wait in the first place:
if the clock has stepped back meanwhile, counted from the restart; if ahead, it may be made at once.
"""

import asyncio
from collections.abc import Callable


class SteadyClock:
    """Tells the time as ``clock`` does when this is made, in Unix seconds, and never steps afterwards."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._loop = asyncio.get_running_loop()
        self._offset = clock() - self._loop.time()

    def __call__(self) -> float:
        """Return the time."""
        return self._loop.time() + self._offset
