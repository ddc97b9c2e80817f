"""The calls that wait for a permit, and which of them is next."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from volc_moderation.quotas.permit import Priority

#: The least part that bulk calls get of the permits for which both classes wait.
DEFAULT_BULK_SHARE = 0.1
#: Sums of shares are inexact by at most this.
ROUNDING_ERROR = 1e-9


class Returnable(Protocol):
    """What calls wait for: a permit, or a place before an HTTP client. It goes back if no call takes it."""

    def abandoned(self, age: float | None) -> None:
        """Take it back; ``age`` is None, because nothing was done with it."""


P = TypeVar("P", bound=Returnable)


class WaitQueue(Generic[P]):
    """First come, first served in each class. Interactive calls go before bulk calls, which still get their share."""

    def __init__(self, bulk_share: float) -> None:
        self._bulk_share = bulk_share
        self._bulk_owed = 0.0
        self._interactive: _Waiters[P] = OrderedDict()
        self._bulk: _Waiters[P] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of waiters. Cancelled waiters count until they are removed."""
        return len(self._interactive) + len(self._bulk)

    def count(self, priority: Priority) -> int:
        """Return the number of waiters of one class."""
        return len(self._bulk if priority == "bulk" else self._interactive)

    def enqueue(self, priority: Priority) -> asyncio.Future[P]:
        """Add a waiter, for which ``wait`` must be awaited."""
        waiter: asyncio.Future[P] = asyncio.get_running_loop().create_future()
        (self._bulk if priority == "bulk" else self._interactive)[waiter] = None
        return waiter

    async def wait(self, waiter: asyncio.Future[P]) -> P:
        """Wait for a permit. One that is granted just as the wait is cancelled goes back: nothing was sent."""
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._interactive.pop(waiter, None)
                self._bulk.pop(waiter, None)
            elif waiter.exception() is None:
                waiter.result().abandoned(None)
            raise

    def grant(self, permit: P) -> None:
        """Give a permit to the next waiter. It goes back if all waiters have just been cancelled."""
        interactive, bulk = _first(self._interactive), _first(self._bulk)
        if interactive and bulk:
            self._bulk_owed += self._bulk_share
            if self._bulk_owed >= 1 - ROUNDING_ERROR:
                self._bulk_owed -= 1
                interactive = None
        waiter = interactive or bulk
        if waiter is None:
            permit.abandoned(None)
            return
        del (self._interactive if interactive else self._bulk)[waiter]
        waiter.set_result(permit)

    def fail_all(self, make_error: Callable[[], Exception]) -> None:
        """Raise an error in every waiter, each an instance of its own."""
        for waiters in (self._interactive, self._bulk):
            while waiter := _first(waiters):
                waiter.set_exception(make_error())


#: In the order of arrival. A waiter that leaves is removed at once, wherever it stands.
_Waiters = OrderedDict[asyncio.Future[P], None]


def _first(waiters: _Waiters[P]) -> asyncio.Future[P] | None:
    while waiters:
        waiter = next(iter(waiters))
        if not waiter.done():
            return waiter
        del waiters[waiter]
    return None
