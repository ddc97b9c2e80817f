"""One exchange of a process with a shared store: what the process reports and requests, and what the store replies.

Spans and times are whole microseconds, on the store's clock.
"""

from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any

import attrs

MICROSECONDS = 1_000_000  # per second


def micros(seconds: float) -> int:
    """Return a span in microseconds, rounded up."""
    return ceil(seconds * MICROSECONDS)


@attrs.frozen(kw_only=True)
class WindowRules:
    """What a store must know of a quota. It is the same in all exchanges of a process."""

    #: Calls per window; of an unpublished quota, the initial limit.
    limit: int
    published: bool
    window: int
    #: A permit in flight returns by itself after this, counted from when it may be used, unless it is renewed.
    lease: int
    #: After this, the vendor no longer counts requests whose permits were lost.
    forget: int
    #: A process that got fewer permits than it wanted loses its place in line after this, unless it asks again.
    silence: int


@attrs.frozen(kw_only=True)
class ExchangeRequest:
    """What a process reports and requests."""

    rules: WindowRules
    #: Identifies the process; its permits are numbered.
    process: int
    #: How many calls wait in the process; bulk calls count only up to a limit.
    weight: int = 0
    #: The permits that are wanted, how many of them may be granted ahead of time, and the number that the first one
    #: gets.
    want: int = 0
    prefetch: int = 0
    number: int = 0
    #: Permits that go back: number, the span until the vendor no longer counts the request, and the credit by which
    #: the next request may leave earlier.
    returns: tuple[tuple[int, int, int], ...] = ()
    #: The numbers of permits that are still in flight.
    renew: tuple[int, ...] = ()
    #: Whether the vendor has throttled a call.
    throttled: bool = False
    #: The credit of the process now.
    credit: int = 0
    #: The generation of the store's data that the process knows; None if it knows none.
    generation: int | None = None
    #: Whether the process has sent requests without the store.
    was_away: bool = False
    #: The latest time that the store's clock can show, by the clock of the process; None if it cannot know.
    clock_bound: int | None = None
    #: The generation of the data that this clock belongs to.
    clock_generation: int | None = None


@attrs.frozen(kw_only=True)
class ExchangeReply:
    """What the store replies."""

    #: Identifies the store's data: it changes when the store has lost them.
    generation: int
    #: The time on the store's own clock.
    now: int
    #: Calls per window that are used at present.
    effective: int
    #: The permits of all processes that are in flight, or have been answered and not yet returned.
    permits_out: int
    #: The span until it makes sense to ask for more permits.
    wait: int
    #: The weights of the other processes together.
    others: int
    #: For each granted permit: the span from now until it may be used.
    delays: tuple[int, ...]

    @classmethod
    def parse(cls, reply: Any) -> "ExchangeReply":
        """Check the list that a script returns. Raises ``ValueError`` or ``TypeError`` if it is malformed."""
        generation, now, effective, permits_out, wait, others, delays = reply
        return cls(
            generation=int(generation),
            now=int(now),
            effective=int(effective),
            permits_out=int(permits_out),
            wait=int(wait),
            others=int(others),
            delays=tuple(int(delay) for delay in delays),
        )


#: Carries out an exchange. Raises any exception if the store is unavailable.
Exchange = Callable[[ExchangeRequest], Awaitable[ExchangeReply]]
