"""Whether and how long to wait before the next attempt. The decision is pure; tenacity carries it out."""

from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import attrs
from tenacity import RetryCallState
from tenacity.asyncio import AsyncRetrying

from volc_moderation.errors import (
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    ModerationError,
    ServerError,
    TemporaryError,
    ThrottledError,
    TransportError,
    describe,
)

C = TypeVar("C")
T = TypeVar("T")

#: A throttled call is repeated after this, because quotas are per second.
THROTTLE_WAIT = 1.0  # seconds


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How often a call is attempted, and how long it waits where the vendor recommends nothing.

    Waits that the vendor recommends (300 s for ZEGO's 50006, 50007 and 50009) are not changed. Other waits are drawn
    evenly from 0 to ``base * 2 ** (attempt - 1)`` seconds, at most ``cap``.

    :param attempts: the maximum number of requests of a call, including the first; at least 1, which means no retry.
    :param base: the longest wait after the first attempt, in seconds; at least 0.
    :param cap: the longest wait after any attempt, in seconds; at least 0.

    Raises ``ConfigurationError`` for a wrong setting.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 20.0

    def __attrs_post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise ConfigurationError(f"attempts must be an int of at least 1; got {describe(self.attempts)}")
        for name, value in (("base", self.base), ("cap", self.cap)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise ConfigurationError(f"{name} must be a number of seconds, 0 or more; got {describe(value)}")


def next_wait(
    error: ModerationError,
    *,
    attempt: int,
    repeatable: bool,
    signed_again: bool,
    policy: RetryPolicy,
    draw: float,
    retry_unproven: bool = False,
) -> float | None:
    """Return the seconds to wait after ``error`` ended attempt number ``attempt``; None if the call is over.

    :param attempt: the number of the attempt that failed, from 1.
    :param repeatable: whether a second request has the same effect as one.
    :param signed_again: a stale signature was renewed before in this call. Once is enough: then the clock is wrong.
    :param draw: a random number from 0 to 1, for the jitter.
    :param retry_unproven: also repeat after a response that proves neither success nor failure. A job has time for
        that; the caller of a plain call gets the error at once.
    """
    if attempt >= policy.attempts:
        return None
    is_unproven = retry_unproven and repeatable and isinstance(error, DecodeError)
    if not is_unproven and not _is_worth_repeating(error, repeatable=repeatable, signed_again=signed_again):
        return None
    if isinstance(error, ThrottledError):
        # Spread over a second: calls that were refused together would otherwise be repeated together.
        return (THROTTLE_WAIT if error.retry_after is None else error.retry_after) + draw
    if error.retry_after is not None:
        return error.retry_after
    return draw * min(policy.cap, policy.base * 2.0 ** min(attempt - 1, 64))


def _is_worth_repeating(error: ModerationError, *, repeatable: bool, signed_again: bool) -> bool:
    if isinstance(error, (ThrottledError, TemporaryError)):
        return True  # as the vendor advises, even for calls that are not repeatable
    if isinstance(error, AuthenticationError):
        return error.retry_after == 0 and not signed_again
    if isinstance(error, ServerError):
        return repeatable
    if isinstance(error, TransportError):
        # A redirect or a refusal by a proxy in between will be the same the next time.
        is_refused = (
            error.status is not None and HTTPStatus.MULTIPLE_CHOICES <= error.status < HTTPStatus.INTERNAL_SERVER_ERROR
        )
        return (repeatable or not error.maybe_sent) and not is_refused and not error.is_permanent
    return False


def outcome_unknown(error: ModerationError) -> bool:
    """Return whether the vendor may have carried out the attempt that ended in ``error``."""
    return isinstance(error, ServerError) or error.maybe_sent


async def retry_after(
    failure: ModerationError,
    call: C,
    attempt: Callable[[C], Awaitable[T]],
    wait_after: Callable[[C, ModerationError], float | None],
    sleep: Callable[[C, float], Awaitable[None]],
) -> T:
    """Repeat an attempt that ended in ``failure``, until it succeeds, or until there is no time to wait after an error.

    ``attempt``, ``wait_after`` and ``sleep`` receive ``call``. Raises the error of the last attempt.
    """
    # Most calls need one attempt, for which tenacity's bookkeeping would cost as much as all other work. So tenacity is
    # only used after a failure, which it receives as the outcome of its first attempt.
    failures = [failure]
    wait = 0.0

    async def next_attempt() -> T:
        if failures:
            raise failures.pop()
        return await attempt(call)

    def should_retry(state: RetryCallState) -> bool:
        nonlocal wait
        error = state.outcome.exception() if state.outcome else None
        decided = wait_after(call, error) if isinstance(error, ModerationError) else None
        wait = decided or 0.0
        return decided is not None

    retrying = AsyncRetrying(sleep=partial(sleep, call), retry=should_retry, wait=lambda _: wait)
    return await retrying(next_attempt)
