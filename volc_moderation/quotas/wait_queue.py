"""Who waits for a permit, and who is next."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from volc_moderation.quotas.permit import Priority

#: Of the permits that both classes wait for, what bulk calls get at least.
BULK_SHARE = 0.1
#: What sums of shares may be off.
ROUNDING = 1e-9


class Returnable(Protocol):
    """What can be waited for, and goes back if it comes to nobody: a permit, or a place before an HTTP client."""

    def abandoned(self, age: float | None) -> None:
        """Take it back; ``age`` is None, for nothing was done with it."""


P = TypeVar("P", bound=Returnable)


class WaitQueue(Generic[P]):
    """First come, first served in each class. Interactive calls go before bulk calls, which get their share still."""

    def __init__(self, bulk_share: float) -> None:
        self._bulk_share = bulk_share
        self._owed = 0.0
        self._interactive: _Turns[P] = OrderedDict()
        self._bulk: _Turns[P] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait. Who was cancelled counts until that is noticed, by him or by who gives or refuses."""
        return len(self._interactive) + len(self._bulk)

    def join(self, priority: Priority) -> asyncio.Future[P]:
        """Take a place in the line. What is returned must be waited for."""
        turn: asyncio.Future[P] = asyncio.get_running_loop().create_future()
        (self._bulk if priority == "bulk" else self._interactive)[turn] = None
        return turn

    async def wait(self, turn: asyncio.Future[P]) -> P:
        """Wait for one's turn. A permit that comes just as the waiting is cancelled goes back: nothing was sent."""
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._interactive.pop(turn, None)
                self._bulk.pop(turn, None)
            elif turn.exception() is None:
                turn.result().abandoned(None)
            raise

    def give(self, permit: P) -> None:
        """Give a permit to the next one. It goes back if all who waited have just been cancelled."""
        interactive, bulk = _first(self._interactive), _first(self._bulk)
        if interactive and bulk:
            self._owed += self._bulk_share
            if self._owed >= 1 - ROUNDING:
                self._owed -= 1
                interactive = None
        turn = interactive or bulk
        if turn is None:
            permit.abandoned(None)
            return
        del (self._interactive if interactive else self._bulk)[turn]
        turn.set_result(permit)

    def refuse(self, error: Callable[[], Exception]) -> None:
        """Raise an error in all who wait, one of its own in each."""
        for line in (self._interactive, self._bulk):
            while turn := _first(line):
                turn.set_exception(error())


#: In the order in which they came; whoever leaves does so at once, wherever he stands.
_Turns = OrderedDict[asyncio.Future[P], None]


def _first(line: _Turns[P]) -> asyncio.Future[P] | None:
    while line:
        turn = next(iter(line))
        if not turn.done():
            return turn
        del line[turn]
    return None
