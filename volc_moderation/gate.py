"""The gate before an HTTP client: so many requests in flight at a time, and who is next when one has ended."""

from typing import Any

from volc_moderation.quotas.permit import Priority
from volc_moderation.quotas.wait_queue import BULK_SHARE, WaitQueue

#: Requests in flight. httpx pays for every connection of its pool on every request, and collapses under a queue in the
#: pool: the gate keeps requests out of that queue. 150 calls/s with a round trip of 300 ms fit through it.
IN_FLIGHT = 48


class Gate:
    """Lets a number of requests through at a time: interactive ones first, bulk ones at their share at least.

    It stands for the place of each request itself, which a line hands on as it does a permit.
    """

    def __init__(self, width: int) -> None:
        self._free = width
        self._wait_queue: WaitQueue[Gate] = WaitQueue(BULK_SHARE)

    async def enter(self, priority: Priority) -> None:
        """Wait for a place. Whoever got one leaves it."""
        if self._free:
            self._free -= 1
        else:
            await self._wait_queue.wait(self._wait_queue.join(priority))

    def leave(self) -> None:
        """Hand one's place on."""
        if self._wait_queue.waiting:
            self._wait_queue.give(self)
        else:
            self._free += 1

    def abandoned(self, age: float | None) -> None:  # noqa: ARG002 - the contract of Line
        """Take a place back: whoever it was given to has just been cancelled."""
        self.leave()


def width_for(client: Any, url: Any) -> int:
    """Return how many requests to an address a client is given at once: no more than it has connections for them.

    Those that wait in its pool would wait on their own time, and be sent when little of it is left. Neither library
    tells the size in public; should they keep it in another place, ``IN_FLIGHT`` it is. A connection of HTTP/2 takes
    many requests.
    """
    try:
        pool = client._transport_for_url(url)._pool  # noqa: SLF001
        width = IN_FLIGHT if pool._http2 else min(IN_FLIGHT, pool._max_connections)  # noqa: SLF001
    except (AttributeError, TypeError):
        return IN_FLIGHT
    return max(1, int(width))
