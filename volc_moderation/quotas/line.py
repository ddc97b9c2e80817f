"""Who waits for a permit, and who is next."""

import asyncio
from collections import deque
from collections.abc import Callable

from volc_moderation.quotas.permit import Permit, Priority

#: Of the permits that both classes wait for, what bulk calls get at least.
BULK_SHARE = 0.1
#: What sums of shares may be off.
ROUNDING = 1e-9


class Line:
    """First come, first served in each class. Interactive calls go before bulk calls, which get their share still."""

    def __init__(self, bulk_share: float) -> None:
        self._bulk_share = bulk_share
        self._owed = 0.0
        self._interactive: deque[asyncio.Future[Permit]] = deque()
        self._bulk: deque[asyncio.Future[Permit]] = deque()
        #: How many wait.
        self.waiting = 0

    def join(self, priority: Priority) -> asyncio.Future[Permit]:
        """Take a place in the line. What is returned must be waited for."""
        turn: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        (self._bulk if priority == "bulk" else self._interactive).append(turn)
        self.waiting += 1
        return turn

    async def wait(self, turn: asyncio.Future[Permit]) -> Permit:
        """Wait for one's turn. A permit that comes just as the waiting is cancelled goes back: nothing was sent."""
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._left()
            elif turn.exception() is None:
                turn.result().abandoned(None)
            raise

    def give(self, permit: Permit) -> None:
        """Give a permit to the next one. Somebody must be waiting."""
        interactive, bulk = _first(self._interactive), _first(self._bulk)
        if interactive and bulk:
            self._owed += self._bulk_share
            if self._owed >= 1 - ROUNDING:
                self._owed -= 1
                interactive = None
        turn = (self._interactive if interactive else self._bulk).popleft()
        self._left()
        turn.set_result(permit)

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Raise an error in all who wait, one of its own in each."""
        for turn in (*self._interactive, *self._bulk):
            if not turn.done():
                self._left()
                turn.set_exception(error())

    def cancel(self) -> None:
        """Cancel all who wait."""
        for turn in (*self._interactive, *self._bulk):
            turn.cancel()

    def _left(self) -> None:
        self.waiting -= 1
        if not self.waiting:  # what is left was cancelled
            self._interactive.clear()
            self._bulk.clear()


def _first(line: deque[asyncio.Future[Permit]]) -> asyncio.Future[Permit] | None:
    while line and line[0].done():
        line.popleft()
    return line[0] if line else None
