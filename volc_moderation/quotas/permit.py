"""The contract between the call and a store of quotas."""

from typing import Protocol

import attrs

from volc_moderation.action import Quota


@attrs.frozen
class QuotaKey:
    """What a vendor counts by: Volcengine per account and action, ZEGO per AppId and action, and at times per room."""

    vendor: str
    account: str = attrs.field(repr=lambda account: repr(account[:4] + "***"))
    action: str
    room: str | None = None


class Permit(Protocol):
    """The right to send one request. Exactly one of the two methods is called, once."""

    def answered(self, round_trip: float) -> None:
        """Give the permit back after an answer that took ``round_trip`` seconds."""

    def abandoned(self, age: float | None) -> None:
        """Give the permit back after a request whose fate is unknown: cancelled, timed out, broken off.

        ``age`` is how many seconds ago it was sent; None means that nothing was sent.
        """


class Quotas(Protocol):
    """A store of permits."""

    async def acquire(self, key: QuotaKey, quota: Quota) -> Permit:
        """Wait for a permit. ``quota`` is the documented one. Raises ``QuotaUnavailable`` if nobody can tell."""


class NoQuotas:
    """No quota at all: for tests, and for who limits the rate elsewhere."""

    async def acquire(self, key: QuotaKey, quota: Quota) -> Permit:  # noqa: ARG002 - the contract of Quotas
        """Return a permit at once."""
        return _FREE

    def __repr__(self) -> str:
        return "NoQuotas()"


class _FreePermit:
    def answered(self, round_trip: float) -> None:
        pass

    def abandoned(self, age: float | None) -> None:
        pass


_FREE = _FreePermit()
