"""The gate before an HTTP client: bounds the requests in flight, and decides which one is next."""

from math import ceil, inf
from typing import Any
from weakref import WeakKeyDictionary

from volc_moderation import aiohttp_adapter
from volc_moderation.quotas.permit import Priority
from volc_moderation.quotas.wait_queue import DEFAULT_BULK_SHARE, WaitQueue

#: The maximum number of requests in flight. Each request costs httpx time for every connection of its pool, and httpx
#: collapses when requests queue for the pool: the gate keeps them out of that queue. 150 calls/s with a round trip of
#: 300 ms fit through it.
MAX_IN_FLIGHT = 48

# Each request costs httpx time for every connection of its pool, most of all for the idle ones: after a burst over 48
# connections, a call costs five times the CPU, and the pool may never become smaller again. So httpx only gets as many
# connections as a fast client needs with the round trips of the vendor. httpx2 and aiohttp have no such costs.
MIN_WIDTH = 16  # requests
#: A little more than the quotas of most actions. A raised quota over long round trips needs httpx2 or aiohttp.
FAST_RATE = 200  # calls per second
#: The first answers take longer, because they come over new connections.
COLD_ANSWERS = MAX_IN_FLIGHT
#: The shortest round trip is forgotten at this rate per answer: by half after 70 answers.
FORGETTING = 1.01


class Gate:
    """Lets a bounded number of requests through at a time: interactive ones first; bulk ones get at least their share.

    The places are all alike, so that this object itself stands for each of them in the wait queue.

    :param width: how many requests may be in flight.
    :param is_adaptive: whether only as many may be in flight as the round trips require, at most ``width``.
    """

    def __init__(self, width: int, *, is_adaptive: bool = False) -> None:
        self._max_width = width
        self._width = min(width, MIN_WIDTH) if is_adaptive else width
        self._is_adaptive = is_adaptive
        self._shortest_round_trip = inf
        self._answers = 0
        #: Below 0 while more requests are in flight than the width.
        self._free = self._width
        #: Waiters that were let in for places that are about to be left.
        self._early = 0
        self._wait_queue: WaitQueue[Gate] = WaitQueue(DEFAULT_BULK_SHARE)

    async def enter(self, priority: Priority) -> None:
        """Wait for a place. The caller must ``leave()`` it."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait_queue.wait(self._wait_queue.enqueue(priority))

    def leave(self) -> None:
        """Give a place to the next waiter, or free it."""
        if self._early:
            self._early -= 1
        elif self._wait_queue and self._free >= 0:
            self._wait_queue.grant(self)
        else:
            self._free += 1

    def answered(self, round_trip: float) -> None:
        """Follow the round trips of answers, in seconds."""
        if not self._is_adaptive:
            return
        self._answers += 1
        self._shortest_round_trip = min(round_trip, FORGETTING * self._shortest_round_trip)
        if self._answers > COLD_ANSWERS:
            self._set_width(min(self._max_width, max(MIN_WIDTH, ceil(FAST_RATE * self._shortest_round_trip))))

    def _set_width(self, width: int) -> None:
        self._free += width - self._width
        self._width = width
        while self._free > 0 and self._wait_queue:
            self._free -= 1
            self._wait_queue.grant(self)

    def admit_early(self) -> bool:
        """Let the next waiter in before the caller has left. Return whether there was one."""
        if not self._wait_queue or self._free < 0:
            return False
        self._early += 1
        self._wait_queue.grant(self)
        return True

    def abandoned(self, age: float | None) -> None:  # noqa: ARG002 - the contract of WaitQueue
        """Take a place back: the waiter that it was granted to has just been cancelled."""
        self.leave()


#: By HTTP client: those who share one also share its pool.
_gates: "WeakKeyDictionary[Any, Gate]" = WeakKeyDictionary()


def gate_for(client: Any, url: Any) -> Gate:
    """Return the gate before an HTTP client: one for all who use it.

    :param url: an address that requests go to.
    """
    gate = _gates.get(client)
    if gate is None:
        gate = _gates[client] = _new_gate(client, url)
    return gate


def _new_gate(client: Any, url: Any) -> Gate:
    pool = getattr(aiohttp_adapter.transport_for(client, url), "_pool", None)
    is_httpx = type(pool).__module__.partition(".")[0] == "httpcore"
    return Gate(width_for(client, url), is_adaptive=is_httpx and not getattr(pool, "_http2", False))


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
