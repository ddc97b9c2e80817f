"""All errors of this package, as one tree. The class of an error says what the caller does next.

ModerationError
├── APIError                  the vendor refused the call
│   ├── ThrottledError        too many calls; nothing was done: call again in the next second
│   ├── TemporaryError        the call failed: call again later, as the vendor advises
│   ├── ServerError           a fault inside the vendor; whether anything was done is unknown: check, or call again
│   ├── AuthenticationError   fix the credentials, the clock or the region
│   ├── PermissionDeniedError enable the account, the app or the service
│   ├── InvalidRequestError   fix the arguments
│   ├── NotFoundError         check the id of the room, user, task, stream or app
│   └── ConflictError         stop or delete what is in the way first
├── TransportError            no usable response arrived: check the network, or call again
├── DecodeError               the response proves neither success nor failure: check whether the call took effect
├── DeadlineExceeded          the deadline of the whole call passed (also a TimeoutError): call again with more time
├── QuotaUnavailable          the store that shares the quota is unavailable: restore it, then call again
├── InvalidActionError        an argument breaks a rule; nothing was sent: fix the argument (also a ValueError)
├── JournalError              the journal or the queue of jobs cannot be used: fix the file, its disk or the Redis
├── SourceError               a file of calls or an option is wrong, or a report cannot be written: fix it
├── ConfigurationError        a client was created or used wrongly; nothing was sent: fix the program
└── CallbackError             a callback is forged, stale or unreadable: reject it

No error carries a key, a signature or a signed URL, neither in its text nor in the errors chained to it.
"""

from typing import Literal, Self

__all__ = [
    "APIError",
    "AuthenticationError",
    "CallbackError",
    "ConfigurationError",
    "ConflictError",
    "DeadlineExceeded",
    "DecodeError",
    "InvalidActionError",
    "InvalidRequestError",
    "JournalError",
    "ModerationError",
    "NotFoundError",
    "PermissionDeniedError",
    "QuotaUnavailable",
    "ServerError",
    "SourceError",
    "TemporaryError",
    "ThrottledError",
    "TransportError",
    "describe",
]


def describe(value: object) -> str:
    """Describe an invalid value by its type, and by its length or number. Text is left out: it may be a secret."""
    described = type(value).__name__
    if isinstance(value, (str, bytes, list, tuple)):
        return f"{described} of length {len(value)}"
    if isinstance(value, (int, float)) and abs(value) < _MAX_DESCRIBED_NUMBER:
        return f"{described} {value!r}"
    return described


_MAX_DESCRIBED_NUMBER = 10**12


class ModerationError(Exception):
    """The root of every error that this package raises. Catch a subclass to learn what to do next."""

    message: str
    #: The vendor's name of the action that failed, such as ``StopWebcast``.
    action: str | None = None
    #: The number of requests that were sent for the call, or that the client tried to send.
    attempts: int = 0
    #: Seconds spent waiting for quotas and between attempts.
    waited: float = 0.0
    #: Seconds to wait before the same call may succeed, if known.
    retry_after: float | None = None
    #: Whether the vendor may have carried out the call, in this attempt or an earlier one.
    maybe_sent: bool = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return f"{self.action}: {self.message}" if self.action else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle and copy with all attributes, so that errors can be passed between processes."""
        return _restore, (type(self), self.args), self.__dict__


def _restore(cls: type[ModerationError], args: tuple[object, ...]) -> ModerationError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class APIError(ModerationError):
    """The vendor answered with an error code. The subclass says what to do next.

    ``code`` is the vendor's own: a str at Volcengine (``FlowLimitExceeded.QPSOverLimit``), an int at ZEGO (50006).
    ``code_n`` is the number that Volcengine's gateway adds; None for an error of ZEGO or of the service behind the
    gateway. ``advice`` summarises what the vendor's documents say about the code. ``request_id`` and ``log_id`` are
    what the vendor's support asks for. ``status`` is the HTTP status.

    A code that no document explains gets its class from the HTTP status, and is a plain ``APIError`` if the status says
    nothing either. Ask the vendor's support about such a code.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | int,
        action: str | None = None,
        request_id: str | None = None,
        log_id: str | None = None,
        status: int | None = None,
        attempts: int = 0,
        retry_after: float | None = None,
        advice: str | None = None,
        code_n: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.code_n = code_n
        self.action = action
        self.request_id = request_id
        self.log_id = log_id
        self.status = status
        self.attempts = attempts
        self.retry_after = retry_after
        self.advice = advice

    def __str__(self) -> str:
        details = []
        if self.status is not None:
            details.append(f"HTTP {self.status}")
        if self.request_id:
            details.append(f"request {self.request_id}")
        if self.attempts > 1:
            details.append(f"{self.attempts} attempts")
        if self.retry_after is not None:
            details.append(f"retry after {self.retry_after:g} s")
        text = f"{self.code} {self.message}"
        if self.action:
            text = f"{self.action}: {text}"
        if self.advice:
            text += f" ({self.advice})"
        return f"{text} [{', '.join(details)}]" if details else text


class ThrottledError(APIError):
    """Too many calls. Nothing was done. Call again in the next second, or send fewer calls."""


class TemporaryError(APIError):
    """The call failed, and the vendor says that a later call may succeed. Call again later.

    Wait ``retry_after`` seconds if the vendor recommends a time. ``maybe_sent`` is True if the vendor does not say that
    nothing was done, as for ZEGO's codes 50006, 50007 and 50009.
    """


class ServerError(APIError):
    """A fault inside the vendor. Whether the call took effect is unknown.

    Check, or call again if the action may be repeated. Contact the vendor's support if the fault persists.
    """


class AuthenticationError(APIError):
    """The vendor refuses the credentials, the timestamp or the signature. Fix credentials, clock or region."""


class PermissionDeniedError(APIError):
    """The keys are valid, but the account, the app or the service may not do this. Enable it, or grant permission."""


class InvalidRequestError(APIError):
    """The vendor refuses a parameter or the form of the request. Fix the arguments."""


class NotFoundError(APIError):
    """There is no such room, user, task, stream or app. Check the id, or check what exists."""


class ConflictError(APIError):
    """Something that already exists prevents the call, such as a task that runs. Stop or delete it first."""


class TransportError(ModerationError):
    """No usable response arrived: no connection, a broken one, a timeout, or a response that is not the vendor's.

    Check the network, or call again. ``maybe_sent`` is False only if the request cannot have arrived. ``status`` is the
    HTTP status, if there was one. ``is_permanent`` is True if the next request would fail in the same way, for example
    because a certificate is not trusted.
    """

    def __init__(
        self, message: str, *, maybe_sent: bool, status: int | None = None, is_permanent: bool = False
    ) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent
        self.status = status
        self.is_permanent = is_permanent


class DecodeError(ModerationError):
    """The response states no error, but does not prove success: a part is missing, or has the wrong type.

    Whether the call took effect is unknown: check before you call again. ``path`` names the first field that does not
    fit.
    """

    maybe_sent = True

    def __init__(self, message: str, *, path: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.request_id = request_id


class DeadlineExceeded(ModerationError, TimeoutError):  # noqa: N818 - gRPC's name
    """The deadline of the whole call passed, including the waits for quota and retries. Call again with more time.

    ``maybe_sent`` is True if a request may have arrived. The error of the last attempt, if any, is the ``__cause__``.
    """

    def __init__(self, message: str, *, maybe_sent: bool) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent


class QuotaUnavailable(ModerationError):  # noqa: N818 - the name says what is missing
    """The store that shares the quota is unavailable, so nothing may be sent. Restore the store, then call again."""


class JournalError(ModerationError):
    """The journal of jobs, or their queue in Redis, cannot be used: it fails, was closed, or has lost a job.

    Fix the file, its disk or the Redis. The jobs that it still holds continue afterwards.
    """


class SourceError(ModerationError):
    """A file of calls, a row of it, or an option of a command is wrong. Nothing was sent.

    Fix the file at ``line``, if that is known. It is also raised if the report of a run cannot be written; then calls
    may have been sent.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class InvalidActionError(ModerationError, ValueError):
    """An argument breaks a documented rule. Nothing was sent. Fix the argument.

    ``field`` is the argument, and ``rule`` what it must be. ``value_type`` is the type of the value, with its length or
    number. Text itself is left out: it may be a secret.
    """

    def __init__(self, *, action: str, field: str, rule: str, value_type: str) -> None:
        super().__init__(f"{field} must be {rule}; got {value_type}")
        self.action = action
        self.field = field
        self.rule = rule
        self.value_type = value_type

    @classmethod
    def of(cls, action: str, field: str, rule: str, value: object) -> Self:
        """Create the error for an invalid value."""
        return cls(action=action, field=field, rule=rule, value_type=describe(value))


class ConfigurationError(ModerationError):
    """A client has wrong settings, is closed, or belongs to another event loop. Nothing was sent. Fix the program."""


class CallbackError(ModerationError):
    """A callback cannot be trusted. Reject it.

    ``reason`` is ``forged`` (wrong signature), ``stale`` (too old, or too far in the future) or ``unreadable``.
    """

    def __init__(self, message: str, *, reason: Literal["forged", "stale", "unreadable"]) -> None:
        super().__init__(message)
        self.reason = reason
