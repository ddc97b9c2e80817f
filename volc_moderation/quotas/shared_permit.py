"""A permit of a shared store as one process holds it: when it may be used, and until when it certainly holds it."""

from collections.abc import Callable
from typing import Protocol

import attrs

from volc_moderation.quotas.machine import boot_time

#: A process that is silent for this long is taken for dead. For a window from then on, the vendor counts the requests
#: that it had sent; then its permits return. After half of this time, a living process renews the permits in flight.
PERMIT_LEASE = 9.0  # seconds
#: A permit is not used in this last part of its lease, because a request takes time to arrive.
PERMIT_LEASE_MARGIN = 2.0  # seconds


@attrs.frozen
class ClockReading:
    """One moment on two clocks, in seconds: the event loop's, and one that also runs while the machine sleeps."""

    loop: float
    boot: float

    @classmethod
    def now(cls, loop_time: Callable[[], float]) -> "ClockReading":
        """Read both clocks."""
        return cls(loop_time(), boot_time())

    def age(self, now: "ClockReading") -> float:
        """Return the seconds since this reading, by the clock that shows more."""
        return max(now.loop - self.loop, now.boot - self.boot)


class PermitIssuer(Protocol):
    """Issues shared permits, and takes them back."""

    def answered(self, permit: "SharedPermit", round_trip: float) -> None:
        """Take a permit back after an answer."""

    def throttled(self, permit: "SharedPermit", round_trip: float) -> None:
        """Take a permit back after a throttled response."""

    def abandoned(self, permit: "SharedPermit", age: float | None) -> None:
        """Take a permit back after a request whose outcome is unknown, or that was not sent."""

    def now(self) -> ClockReading:
        """Read the clocks."""

    def is_current(self) -> bool:
        """Return whether the store still has the data of the last exchange, as far as this process can tell."""


@attrs.define(eq=False)
class SharedPermit:
    """A permit of the store, which may be used from ``start`` on, on the loop's clock."""

    issuer: PermitIssuer
    #: The permits of a process are numbered.
    number: int
    start: float
    #: When the store was last asked for the permit, or informed that it is still in use.
    renewed_at: ClockReading
    #: Whether it was renewed after its lease: another process may have got it meanwhile.
    is_lost: bool = False

    def is_valid(self) -> bool:
        """Return whether the store still holds it for us: not if the process stood still, or the machine slept."""
        return not self.is_lost and self.has_lease() and self.issuer.is_current()

    def renew(self, renewed_at: ClockReading) -> None:
        """Record that the store was informed, as it now has been. A lease that has ended meanwhile stays ended."""
        self.is_lost = self.is_lost or not self.has_lease()
        self.renewed_at = renewed_at

    def has_lease(self) -> bool:
        """Return whether the store has been told of it recently enough."""
        return self.renewed_at.age(self.issuer.now()) < PERMIT_LEASE - PERMIT_LEASE_MARGIN

    def answered(self, round_trip: float) -> None:
        """Return the permit after an answer that took ``round_trip`` seconds."""
        self.issuer.answered(self, round_trip)

    def throttled(self, round_trip: float) -> None:
        """Return the permit after a throttled response."""
        self.issuer.throttled(self, round_trip)

    def abandoned(self, age: float | None) -> None:
        """Return the permit of a request whose outcome is unknown, or that was not sent."""
        self.issuer.abandoned(self, age)


@attrs.frozen
class PermitReturn:
    """A permit that has to go back to the store. It is free at ``at``, or at most ``credit`` seconds earlier."""

    number: int
    at: float
    credit: float
