"""Signals that interrupt a run: the first one stops it after the calls in flight, the second one cancels them."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from volc_moderation.cli.terminal import Terminal


def _ignore() -> None:
    pass


class Interrupts:
    """Counts the signals that ask a run to stop, and passes them on to what is running."""

    def __init__(self, console: Terminal) -> None:
        #: How many signals have arrived.
        self.count = 0
        self._console = console
        self._stop: Callable[[], None] = _ignore
        self._cancel: Callable[[], None] = _ignore

    def set_handlers(self, stop: Callable[[], None], cancel: Callable[[], None]) -> None:
        """Call ``stop`` at the first signal and ``cancel`` at each further one.

        ``stop`` is called at once if a signal has arrived already.
        """
        self._stop, self._cancel = stop, cancel
        if self.count:
            stop()

    def _handle(self) -> None:
        self.count += 1
        if self.count == 1:
            self._stop()
            self._console.print("Stopping after the calls in flight. Interrupt again to stop at once.")
        else:
            self._cancel()

    @contextlib.contextmanager
    def listen(self) -> Iterator[None]:
        """Handle SIGINT, SIGTERM and SIGHUP, which a closed terminal sends.

        SIGHUP stays ignored if the process was started with it ignored, as by nohup.
        """
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signals.append(signal.SIGHUP)
        try:
            for number in signals:
                loop.add_signal_handler(number, self._handle)
        except NotImplementedError:  # an event loop on Windows: an interrupt ends the process at once
            signals = []
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
