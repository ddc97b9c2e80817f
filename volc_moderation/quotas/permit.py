"""The contract between the call and a store of quotas."""

from typing import Literal, Protocol

import attrs

from volc_moderation.action import Quota

#: Who goes first where calls wait: somebody waits for an interactive call, nobody for a bulk call.
Priority = Literal["interactive", "bulk"]


@attrs.frozen
class QuotaKey:
    """What a vendor counts by: Volcengine per account and action, ZEGO per AppId and action, and at times per room."""

    vendor: str
    account: str = attrs.field(repr=lambda account: repr(account[:4] + "***"))
    action: str
    room: str | None = None


@attrs.frozen(kw_only=True)
class QuotaState:
    """How it stands with one quota."""

    #: Calls per window: the documented number, or the one that was set. Of an unpublished one, where it began.
    quota: int
    #: What is used of it at present: less after a refusal, more where an unpublished one turned out to be larger.
    effective: int
    #: Permits that are in flight, or were answered so shortly ago that the vendor still counts them.
    permits_out: int
    #: Calls of this store that wait for a permit.
    waiters: int
    #: Calls of this store that the vendor refused as too many in the last minute.
    refused: int


class Permit(Protocol):
    """The right to send one request. Exactly one of the methods is called, once.

    A permit that may be lost before it is used, as in a store that other processes share, also has a method
    ``is_valid() -> bool``. It is called right before the request leaves; if it returns False, the permit is given back
    as not used, and another one is taken.
    """

    def answered(self, round_trip: float) -> None:
        """Give the permit back after an answer that took ``round_trip`` seconds."""

    def throttled(self, round_trip: float) -> None:
        """Give the permit back after the answer that there were too many calls: others use the quota too."""

    def abandoned(self, age: float | None) -> None:
        """Give the permit back after a request whose fate is unknown: cancelled, timed out, broken off.

        ``age`` is how many seconds ago it was sent; None means that nothing was sent.
        """


def is_valid(permit: Permit) -> bool:
    """Tell whether a permit may still be used."""
    check = getattr(permit, "is_valid", None)
    return check is None or bool(check())


class Quotas(Protocol):
    """A store of permits."""

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
        """Wait for a permit. ``quota`` is the documented one. Raises ``QuotaUnavailable`` if nobody can tell."""


class NoQuotas:
    """No quota at all: for tests, and for who limits the rate elsewhere."""

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:  # noqa: ARG002 - the contract of Quotas
        """Return a permit at once."""
        return _FREE

    def __repr__(self) -> str:
        return "NoQuotas()"


class _FreePermit:
    def answered(self, round_trip: float) -> None:
        pass

    def throttled(self, round_trip: float) -> None:
        pass

    def abandoned(self, age: float | None) -> None:
        pass


_FREE = _FreePermit()
