"""The contract between a call and a store of quotas."""

from hashlib import blake2b
from types import TracebackType
from typing import Literal, Protocol, Self

import attrs

from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, describe

#: Which calls go first: somebody waits for the result of an interactive call, nobody for that of a bulk call.
Priority = Literal["interactive", "bulk"]


def check_priority(priority: Priority) -> Priority:
    """Return a priority. Raises ``ConfigurationError`` if it is none."""
    if priority not in ("interactive", "bulk"):
        raise ConfigurationError(f"priority must be 'interactive' or 'bulk'; got {describe(priority)}")
    return priority


@attrs.frozen(cache_hash=True)
class QuotaKey:
    """What a vendor counts calls by: Volcengine by account and action, ZEGO by AppId and action, sometimes by room."""

    vendor: str
    account: str = attrs.field(repr=lambda account: repr(account[:4] + "***"))
    action: str
    room: str | None = None


def hash_account(account: str) -> str:
    """Return a hash that stands for an account where it is kept for long: in a journal, or in metrics."""
    return blake2b(account.encode(), digest_size=8).hexdigest()


@attrs.frozen(kw_only=True)
class QuotaState:
    """The status of one quota."""

    #: Calls per window: the documented limit, or the one that was set. For an unpublished quota, the initial limit.
    quota: int
    #: Calls per window that are used at present: fewer after a refusal, more where an unpublished quota has grown.
    effective: int
    #: Permits in flight, and permits answered so recently that the vendor still counts their requests.
    permits_out: int
    #: Calls of this store that wait for a permit.
    waiters: int
    #: Calls of this store that the vendor throttled in the last minute.
    refused: int


class Permit(Protocol):
    """The right to send one request. Exactly one of its methods is called, once.

    A permit that may be lost before it is used, such as one of a store that several processes share, also has a method
    ``is_valid() -> bool``. It is called right before the request leaves. If it returns False, the permit is returned as
    unused, and the call acquires another one.
    """

    def answered(self, round_trip: float) -> None:
        """Return the permit after an answer that took ``round_trip`` seconds."""

    def throttled(self, round_trip: float) -> None:
        """Return the permit after a throttled response: others use the quota too."""

    def abandoned(self, age: float | None) -> None:
        """Return the permit of a request whose outcome is unknown: cancelled, timed out or disconnected.

        ``age`` is the number of seconds since it was sent; None means that nothing was sent.
        """


def is_valid(permit: Permit) -> bool:
    """Return whether a permit may still be used."""
    check = getattr(permit, "is_valid", None)
    return check is None or bool(check())


class Quotas(Protocol):
    """A store of permits."""

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
        """Wait for a permit. ``quota`` is the documented one.

        Raises ``QuotaUnavailable`` if the store cannot know whether the quota allows another call.
        """


class NoQuotas:
    """No quotas at all: for tests, and for programs that limit the rate elsewhere."""

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:  # noqa: ARG002 - the contract of Quotas
        """Return a permit at once."""
        return _UNLIMITED_PERMIT

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Do nothing; other stores are closed."""

    def __repr__(self) -> str:
        return "NoQuotas()"


class _UnlimitedPermit:
    def answered(self, round_trip: float) -> None:
        pass

    def throttled(self, round_trip: float) -> None:
        pass

    def abandoned(self, age: float | None) -> None:
        pass


_UNLIMITED_PERMIT = _UnlimitedPermit()
