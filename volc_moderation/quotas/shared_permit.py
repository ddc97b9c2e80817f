"""A permit of a shared store as one process holds it: from when it may be used, and until when it is surely its own."""

import time
from collections.abc import Callable
from typing import Protocol

import attrs

#: Seconds after which a process that is not heard of is taken for dead: what it had sent with a permit, the vendor
#: counts for a window from then on, and then the permit returns. Half of it before, the process says that the request
#: is still on its way.
LEASE = 9.0
#: Seconds before the end of its lease from which on a permit is not used any more: a request takes its time to arrive.
MARGIN = 2.0

#: On Linux and macOS, a clock that goes on while the machine sleeps, as the event loop's own does not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def boot_time() -> float:
    """Return seconds since some moment in the past, those in which the machine slept included."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


@attrs.frozen
class Moment:
    """A moment on two clocks: the event loop's, and one that goes on while the machine sleeps."""

    loop: float
    boot: float

    @classmethod
    def now(cls, loop_time: Callable[[], float]) -> "Moment":
        """Return this moment."""
        return cls(loop_time(), boot_time())

    def age(self, now: "Moment") -> float:
        """Return the seconds since then, by the clock that says more."""
        return max(now.loop - self.loop, now.boot - self.boot)


class Holder(Protocol):
    """What takes a permit back."""

    def answered(self, permit: "SharedPermit", round_trip: float) -> None:
        """Take it back after an answer."""

    def throttled(self, permit: "SharedPermit", round_trip: float) -> None:
        """Take it back after a refusal for the rate."""

    def abandoned(self, permit: "SharedPermit", age: float | None) -> None:
        """Take it back after a request whose fate is unknown, or that was not sent."""

    def now(self) -> Moment:
        """Return this moment."""


@attrs.define(eq=False)
class SharedPermit:
    """A permit of the store, which may be used from ``start`` on, on the loop's clock."""

    holder: Holder
    id: str
    start: float
    #: When the store was last asked for it, or told that it is in use.
    told: Moment

    def is_valid(self) -> bool:
        """Tell whether the store still holds it: not if this process stood still, or the machine slept, for long."""
        return self.told.age(self.holder.now()) < LEASE - MARGIN

    def answered(self, round_trip: float) -> None:
        """Give it back after an answer."""
        self.holder.answered(self, round_trip)

    def throttled(self, round_trip: float) -> None:
        """Give it back after a refusal for the rate."""
        self.holder.throttled(self, round_trip)

    def abandoned(self, age: float | None) -> None:
        """Give it back after a request whose fate is unknown, or that was not sent."""
        self.holder.abandoned(self, age)


@attrs.frozen
class Return:
    """A permit that is to be brought back. It returns at ``at``, or earlier by at most ``credit`` seconds."""

    id: str
    at: float
    credit: float
