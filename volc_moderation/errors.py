"""Everything that can go wrong, as one tree, sorted by what the caller does next.

ModerationError
├── APIError                  the vendor answered, and said no
│   ├── ThrottledError        too many calls: nothing was done, call again in the next second
│   ├── TemporaryError        it failed, and the vendor says that a later call may succeed
│   ├── ServerError           a fault inside the vendor: whether anything was done is unknown
│   ├── AuthenticationError   mend the keys, the clock or the signature
│   ├── PermissionDeniedError have the account, the app or the service enabled
│   ├── InvalidRequestError   mend the call
│   ├── NotFoundError         no such room, user, task or app
│   └── ConflictError         something that is already there stands in the way
├── TransportError            no usable answer came
├── DecodeError               the answer states no error and proves no success
├── DeadlineExceeded          the deadline of the whole call passed (also a TimeoutError)
├── QuotaUnavailable          the store that shares the quota cannot be asked
├── InvalidActionError        an argument breaks a rule, nothing was sent (also a ValueError)
├── JournalError              the journal of jobs cannot be opened, read or written
├── SourceError               a file of calls cannot be read
├── ConfigurationError        a client was made or used wrongly, nothing was sent
└── CallbackError             a callback is forged or unreadable

No error carries a key, a signature or a signed address, neither in its text nor in what it is chained to.
"""

from typing import Literal, Self


def describe(value: object) -> str:
    """Describe a wrong value without showing a text, which may be a secret: by type, and by length or number."""
    described = type(value).__name__
    if isinstance(value, (str, bytes, list, tuple)):
        return f"{described} of length {len(value)}"
    if isinstance(value, (int, float)) and abs(value) < _LONGEST_NUMBER:
        return f"{described} {value!r}"
    return described


_LONGEST_NUMBER = 10**12


class ModerationError(Exception):
    """The root of every error that this package raises."""

    message: str
    #: The vendor's name of the action that failed, such as ``StopWebcast``.
    action: str | None = None
    #: How many requests were sent for the call, or tried.
    attempts: int = 0
    #: Seconds that the call waited for quotas and between attempts.
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
        """Pickle and copy with all attributes, so that errors cross process borders."""
        return _restore, (type(self), self.args), self.__dict__


def _restore(cls: type[ModerationError], args: tuple[object, ...]) -> ModerationError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class APIError(ModerationError):
    """The vendor answered with an error code.

    ``code`` is the vendor's own: a string at Volcengine (``FlowLimitExceeded.QPSOverLimit``), a number at ZEGO (50006).
    ``code_n`` is the number that Volcengine's gateway gives besides; None if the service behind it refused, or ZEGO.
    ``advice`` is what the vendor's documents say about the code, in short.
    ``request_id`` and ``log_id`` are what the vendor's support asks for; ``status`` is the HTTP status.
    A code that no document explains is raised as plain ``APIError`` unless its HTTP status says more.
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
    """Too many calls. Nothing was done; the call may be sent again in the next second."""


class TemporaryError(APIError):
    """It failed, and the vendor says that a later call may succeed: after ``retry_after`` seconds, where it says.

    ``maybe_sent`` is True where the vendor does not say that nothing was done, as with ZEGO's 50006, 50007 and 50009.
    """


class ServerError(APIError):
    """A fault inside the vendor. Whether the call was carried out is unknown."""


class AuthenticationError(APIError):
    """The vendor does not accept the keys, the timestamp or the signature."""


class PermissionDeniedError(APIError):
    """The keys are good, but the account, the app or the service may not do this."""


class InvalidRequestError(APIError):
    """The vendor refuses a parameter or the form of the request."""


class NotFoundError(APIError):
    """There is no such room, user, task, stream or app."""


class ConflictError(APIError):
    """Something that is already there stands in the way."""


class TransportError(ModerationError):
    """No usable answer came: no connection, a broken one, silence, or an answer that is not the vendor's.

    ``maybe_sent`` is False only if the request cannot have arrived; ``status`` is the HTTP status, if there was one.
    ``is_permanent`` is True if the next request would fail alike, as with a certificate that is not trusted.
    """

    def __init__(
        self, message: str, *, maybe_sent: bool, status: int | None = None, is_permanent: bool = False
    ) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent
        self.status = status
        self.is_permanent = is_permanent


class DecodeError(ModerationError):
    """The answer states no error, but does not prove the success either: it lacks a part, or a part does not fit.

    ``path`` names the first field that is off. Whether the call was carried out is unknown.
    """

    maybe_sent = True

    def __init__(self, message: str, *, path: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.request_id = request_id


class DeadlineExceeded(ModerationError, TimeoutError):  # noqa: N818 - the name that gRPC and others gave it
    """The deadline of the whole call passed, waits for quota and retries included.

    ``maybe_sent`` is True if a request may have arrived. The error of the last attempt, if any, is the ``__cause__``.
    """

    def __init__(self, message: str, *, maybe_sent: bool) -> None:
        super().__init__(message)
        self.maybe_sent = maybe_sent


class QuotaUnavailable(ModerationError):  # noqa: N818 - it says what is missing
    """The store that shares the quota cannot be asked, so that nothing may be sent."""


class JournalError(ModerationError):
    """The journal of jobs cannot be opened, read or written. What it held before, it still holds."""


class SourceError(ModerationError):
    """A file of calls, or a row of it, cannot be read. Nothing was sent. ``line`` is where, if that is known."""

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class InvalidActionError(ModerationError, ValueError):
    """An argument breaks a documented rule. Nothing was sent.

    ``field`` is the argument, ``rule`` what it must be, ``value_type`` the type of what was given, with its length or
    number. A text itself is left out: it may be a secret.
    """

    def __init__(self, *, action: str, field: str, rule: str, value_type: str) -> None:
        super().__init__(f"{field} must be {rule}; got {value_type}")
        self.action = action
        self.field = field
        self.rule = rule
        self.value_type = value_type

    @classmethod
    def of(cls, action: str, field: str, rule: str, value: object) -> Self:
        """Make the error of a value."""
        return cls(action=action, field=field, rule=rule, value_type=describe(value))


class ConfigurationError(ModerationError):
    """A client was made with wrong settings, or used after its end or from another event loop. Nothing was sent."""


class CallbackError(ModerationError):
    """A callback is not to be trusted: ``reason`` is ``forged``, ``stale`` (too old, or ahead) or ``unreadable``."""

    def __init__(self, message: str, *, reason: Literal["forged", "stale", "unreadable"]) -> None:
        super().__init__(message)
        self.reason = reason
