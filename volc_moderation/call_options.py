"""How a call is made: its deadline, its timeout, its priority and its retries; and the options of all clients."""

from collections.abc import Callable
from typing import TypedDict

import attrs

from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.quotas.permit import Priority, Quotas, check_priority
from volc_moderation.retry import RetryPolicy

#: For one request, from connecting to the last byte of the answer: as in Volcengine's Go SDK.
DEFAULT_TIMEOUT = 10.0  # seconds
NO_LIMIT = 1e9  # seconds, about thirty years: spans of this length or more mean no limit


class ClientOptions(TypedDict, total=False):
    """The options that the clients of all vendors share."""

    base_url: str
    quotas: Quotas | None
    retry: RetryPolicy | None
    deadline: float | None
    timeout: float
    http_client: AsyncHTTPClient | None
    clock: Callable[[], float]
    priority: Priority


@attrs.frozen(kw_only=True)
class CallOptions:
    """How a call is made. ``make`` and ``override`` check what users pass."""

    #: Seconds for the whole call; None for no limit.
    deadline: float | None
    #: Seconds for one request.
    timeout: float
    priority: Priority
    retry: RetryPolicy

    @classmethod
    def make(
        cls, *, deadline: float | None, timeout: float, priority: Priority, retry: RetryPolicy | None
    ) -> "CallOptions":
        """Return the options of a client, where None means no deadline, and the default policy of retries.

        Raises ``ConfigurationError`` for a wrong option.
        """
        return cls(
            deadline=_check_seconds("deadline", deadline),
            timeout=_check_timeout(timeout),
            priority=check_priority(priority),
            retry=RetryPolicy() if retry is None else _check_retry(retry),
        )

    def override(
        self, *, deadline: float | None, timeout: float | None, priority: Priority | None, retry: RetryPolicy | None
    ) -> "CallOptions":
        """Return these options with those that are not None in their place. Raises ``ConfigurationError``."""
        return CallOptions(
            deadline=self.deadline if deadline is None else _check_seconds("deadline", deadline),
            timeout=self.timeout if timeout is None else _check_timeout(timeout),
            priority=self.priority if priority is None else check_priority(priority),
            retry=self.retry if retry is None else _check_retry(retry),
        )


def _check_seconds(name: str, value: float | None) -> float | None:
    """Check a span of time. None and spans of ``NO_LIMIT`` or more, such as infinity, mean no limit."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ConfigurationError(f"{name} must be a number of seconds above 0; got {describe(value)}")
    return None if value >= NO_LIMIT else float(value)


def _check_timeout(value: float) -> float:
    seconds = _check_seconds("timeout", value)
    if seconds is None:
        raise ConfigurationError("timeout must be finite: a request that never ends never returns its permit")
    return seconds


def _check_retry(value: RetryPolicy) -> RetryPolicy:
    if not isinstance(value, RetryPolicy):
        raise ConfigurationError(f"retry must be a RetryPolicy; got {describe(value)}")
    return value
