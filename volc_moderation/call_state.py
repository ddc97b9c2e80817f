"""The state of one call, the permits of its attempts, and what it returns."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from volc_moderation.action import Action, Quota
from volc_moderation.call_options import CallOptions
from volc_moderation.errors import ModerationError
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey, Quotas, is_valid
from volc_moderation.wire import DecodedResponse

if TYPE_CHECKING:
    from volc_moderation.telemetry.spans import CallTrace

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Reply(Generic[R]):
    """What a call returns.

    The vendor's support asks for ``request_id`` and ``log_id``. ``attempts`` is the number of requests; ``waited`` is
    the time spent on quotas and between attempts, in seconds.
    """

    result: R
    request_id: str | None
    log_id: str | None
    attempts: int
    waited: float


@attrs.define(eq=False)
class Call(Generic[R]):
    """The state of one call."""

    action: Action[R]
    options: CallOptions
    #: When the deadline passes, on the loop's clock.
    expires_at: float | None
    before_send: Callable[[], Awaitable[None]] | None
    on_send: Callable[[], None] | None
    #: Ends the call at its deadline, or when its client closes.
    cancel_scope: asyncio.Timeout
    attempts: int = 0
    #: Seconds spent on quotas and between attempts.
    waited: float = 0.0
    #: Of these, the seconds of waiting for permits that no metric shows yet.
    permit_wait: float = 0.0
    #: When the request in flight was sent, on the loop's clock.
    sent_at: float | None = None
    #: An earlier attempt may have been carried out.
    maybe_done: bool = False
    #: A request with a stale signature was signed again.
    signed_again: bool = False
    #: What the request in flight was signed with.
    keys: Any = attrs.field(default=None, repr=False)
    #: Keys that the vendor refused were replaced.
    has_replaced_keys: bool = False
    #: The client was closed before the request left.
    is_closed: bool = False
    last_error: ModerationError | None = None
    #: Records the call, if the application uses OpenTelemetry.
    trace: "CallTrace | None" = None

    def reply(self, decoded: DecodedResponse[R]) -> Reply[R]:
        """Return what the call returns after a success."""
        return Reply(
            result=decoded.result,
            request_id=decoded.request_id,
            log_id=decoded.log_id,
            attempts=self.attempts,
            waited=self.waited,
        )

    def annotate(self, error: ModerationError) -> None:
        """Add to an error what is known of the call."""
        error.action = self.action.name
        error.attempts = self.attempts
        error.waited = self.waited
        error.maybe_sent = error.maybe_sent or self.maybe_done


class AttemptPermits:
    """The permits of one attempt: of its action, and of its room if the vendor also counts by room.

    Exactly one of ``answered``, ``throttled`` and ``abandoned`` is called, once, also if ``acquire`` fails.
    """

    __slots__ = ("_action", "_permit", "_room_permit")

    def __init__(self, action: Action[Any]) -> None:
        self._action = action
        self._permit: Permit | None = None
        self._room_permit: Permit | None = None

    async def acquire(self, quotas: Quotas, key: QuotaKey, quota: Quota, priority: Priority) -> None:
        """Wait for the permits. Raises what the store raises, mostly ``QuotaUnavailable``.

        :param key: what the vendor counts the action by.
        :param quota: the documented quota of the action.
        """
        room_quota = self._action.room_quota
        if room_quota is not None:
            # First, because it may take long, and the permit of the action should not be held meanwhile.
            room = getattr(self._action, "room_id")  # noqa: B009 - by the contract of room_quota
            self._room_permit = await quotas.acquire(attrs.evolve(key, room=room), room_quota, priority)
        self._permit = await quotas.acquire(key, quota, priority)

    def are_valid(self) -> bool:
        """Return whether the store still holds the permits for this attempt."""
        return all(permit is None or is_valid(permit) for permit in (self._room_permit, self._permit))

    def answered(self, round_trip: float) -> None:
        """Return the permits after an answer that took ``round_trip`` seconds."""
        for permit in (self._room_permit, self._permit):
            if permit is not None:
                permit.answered(round_trip)

    def throttled(self, round_trip: float, code: str | int) -> None:
        """Return the permits after a throttled response, with a code that names the room's quota or the action's."""
        # A code of the room says nothing about the action's quota, even if the room's quota is unknown.
        is_rooms = code in self._action.room_throttle_codes
        for permit, is_throttled in ((self._room_permit, is_rooms), (self._permit, not is_rooms)):
            if permit is None:
                continue
            if is_throttled:
                permit.throttled(round_trip)
            else:
                permit.answered(round_trip)

    def abandoned(self, age: float | None) -> None:
        """Return the permits of a request whose outcome is unknown, or that was not sent.

        ``age`` is the number of seconds since it was sent; None means that nothing was sent.
        """
        for permit in (self._room_permit, self._permit):
            if permit is not None:
                permit.abandoned(age)


class SendAgain(Exception):  # noqa: N818 - it does not leave the client
    """Nothing was sent, and the attempt begins again with other permits.

    A permit is no longer held, because the process stood still for longer than the store keeps it. Or the keys have
    expired meanwhile.
    """
