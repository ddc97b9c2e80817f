"""The gate before an HTTP client: bounds the requests in flight, and decides which one is next."""

from typing import Any

from volc_moderation import aiohttp_adapter
from volc_moderation.quotas.permit import Priority
from volc_moderation.quotas.wait_queue import DEFAULT_BULK_SHARE, WaitQueue

#: The maximum number of requests in flight. Each request costs httpx time for every connection of its pool, and httpx
#: collapses when requests queue for the pool: the gate keeps them out of that queue. 150 calls/s with a round trip of
#: 300 ms fit through it.
MAX_IN_FLIGHT = 48


class Gate:
    """Lets a bounded number of requests through at a time: interactive ones first; bulk ones get at least their share.

    The places are all alike, so that this object itself stands for each of them in the wait queue.
    """

    def __init__(self, width: int) -> None:
        self._free = width
        #: Waiters that were let in for places that are about to be left.
        self._early = 0
        self._wait_queue: WaitQueue[Gate] = WaitQueue(DEFAULT_BULK_SHARE)

    async def enter(self, priority: Priority) -> None:
        """Wait for a place. The caller must ``leave()`` it."""
        if self._free:
            self._free -= 1
        else:
            await self._wait_queue.wait(self._wait_queue.enqueue(priority))

    def leave(self) -> None:
        """Give a place to the next waiter, or free it."""
        if self._early:
            self._early -= 1
        elif self._wait_queue:
            self._wait_queue.grant(self)
        else:
            self._free += 1

    def admit_early(self) -> bool:
        """Let the next waiter in before the caller has left. Return whether there was one."""
        if not self._wait_queue:
            return False
        self._early += 1
        self._wait_queue.grant(self)
        return True

    def abandoned(self, age: float | None) -> None:  # noqa: ARG002 - the contract of WaitQueue
        """Take a place back: the waiter that it was granted to has just been cancelled."""
        self.leave()


def width_for(client: Any, url: Any) -> int:
    """Return how many requests a client may have in flight to an address: as many as it has connections, at most.

    More would wait in its pool, where their time runs, and be sent when little of it is left. Neither library has a
    public API for the size of the pool; if the private attributes change, this is ``MAX_IN_FLIGHT``. A connection of
    HTTP/2 carries many requests.
    """
    transport = aiohttp_adapter.transport_for(client, url)
    if aiohttp_adapter.is_aiohttp(transport):
        return max(1, min(MAX_IN_FLIGHT, aiohttp_adapter.connection_limit(transport) or MAX_IN_FLIGHT))
    try:
        pool = transport._pool  # noqa: SLF001
        width = MAX_IN_FLIGHT if pool._http2 else min(MAX_IN_FLIGHT, pool._max_connections)  # noqa: SLF001
    except (AttributeError, TypeError):
        return MAX_IN_FLIGHT
    return max(1, int(width))
