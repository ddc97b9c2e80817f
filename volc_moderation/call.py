"""The state of one call while it is carried out, and what it returns."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs

from volc_moderation.action import Action
from volc_moderation.errors import ModerationError
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Reply(Generic[R]):
    """What a call returns.

    ``request_id`` and ``log_id`` are what the vendor's support asks for. ``attempts`` counts the requests; ``waited``
    is the time spent on quotas and between attempts, in seconds.
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
    priority: Priority
    retry: RetryPolicy
    #: On the loop's clock.
    expires: float | None
    before_send: Callable[[], Awaitable[None]] | None
    on_send: Callable[[], None] | None
    #: Ends the call at its deadline, or when its client closes.
    scope: asyncio.Timeout
    attempts: int = 0
    waited: float = 0.0
    #: When the request that is on its way was sent, on the loop's clock.
    sent_at: float | None = None
    #: An earlier attempt may have been carried out.
    maybe_done: bool = False
    signed_again: bool = False
    #: The client was closed before the request left.
    is_closed: bool = False
    last_error: ModerationError | None = None

    def describe(self, error: ModerationError) -> None:
        """Write into an error what is known of the call."""
        error.action = self.action.name
        error.attempts = self.attempts
        error.waited = self.waited
        error.maybe_sent = error.maybe_sent or self.maybe_done


class PermitLost(Exception):  # noqa: N818 - it does not leave the client
    """A permit is not held any more: the process stood still for longer than the store keeps it."""
