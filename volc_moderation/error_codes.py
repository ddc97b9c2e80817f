"""From an error response to an error of the tree. The vendors' codes are in each vendor's own ``error_codes.py``."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import attrs

from volc_moderation.errors import (
    APIError,
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    ThrottledError,
    TransportError,
)
from volc_moderation.printable import counted
from volc_moderation.wire import Request, Response


@attrs.frozen
class CodeInfo:
    """What the vendor's documents say about an error code.

    :param error_type: the class of the error.
    :param advice: what the code means and what to do; None if the documents do not explain it.
    :param retry_after: seconds to wait before a retry; None if unknown; 0 to sign again at once with the vendor's time.
    :param maybe_sent: True if the documents advise a retry, but do not say that nothing was done.
    """

    error_type: type[APIError]
    advice: str | None = None
    retry_after: float | None = None
    maybe_sent: bool = False


#: A code that no document explains.
UNDOCUMENTED = CodeInfo(APIError)

_STATUSES = {
    HTTPStatus.UNAUTHORIZED: CodeInfo(AuthenticationError),
    HTTPStatus.FORBIDDEN: CodeInfo(PermissionDeniedError),
    HTTPStatus.NOT_FOUND: CodeInfo(NotFoundError),
    HTTPStatus.CONFLICT: CodeInfo(ConflictError),
    HTTPStatus.TOO_MANY_REQUESTS: CodeInfo(ThrottledError, retry_after=1.0),
}


def code_info_for_status(status: int) -> CodeInfo:
    """Return what an HTTP status says about an error whose code is undocumented."""
    if status in _STATUSES:
        return _STATUSES[HTTPStatus(status)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return CodeInfo(ServerError)
    if status >= HTTPStatus.BAD_REQUEST:
        return CodeInfo(InvalidRequestError)
    return UNDOCUMENTED


def api_error(
    error_code: CodeInfo,
    *,
    code: str | int,
    message: str,
    request_id: str | None,
    request: Request,
    response: Response,
    code_n: int | None = None,
) -> APIError:
    """Create the error for an error response. Its Retry-After header may lengthen the wait."""
    error = error_code.error_type(
        request.redact(message),
        code=request.redact(code) if isinstance(code, str) else code,
        request_id=request_id,
        log_id=read_log_id(request, response),
        status=response.status,
        retry_after=_longer_wait(error_code.retry_after, _read_retry_after(response)),
        advice=error_code.advice,
        code_n=code_n,
    )
    error.maybe_sent = error_code.maybe_sent
    return error


def unusable_response(request: Request, response: Response) -> ModerationError:
    """Create the error for a response that is not the vendor's envelope: a proxy's page, truncated JSON, no content."""
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return api_error(
            _STATUSES[HTTPStatus.TOO_MANY_REQUESTS],
            code="HTTP 429",
            message="too many requests, according to a proxy between here and the vendor",
            request_id=None,
            request=request,
            response=response,
        )
    size = counted(len(response.body), "byte")
    message = f"HTTP {response.status} with a body of {size} that is not the vendor's JSON"
    error = TransportError(message, maybe_sent=True, status=response.status)
    error.retry_after = _read_retry_after(response)
    return error


def read_request_id(value: object, request: Request) -> str | None:
    """Read a request id. The documents say that it is text, but a number identifies a request just as well."""
    if type(value) is int and abs(value) < _MAX_NUMERIC_ID:
        return str(value)
    return request.redact(value) if isinstance(value, str) and value else None


#: A longer number is not an id, and is expensive to convert to text.
_MAX_NUMERIC_ID = 10**40


def read_log_id(request: Request, response: Response) -> str | None:
    """Read the id under which Volcengine logged the request."""
    log_id = response.headers.get("x-tt-logid")
    return log_id and request.redact(log_id)


def clock_skew(response: Response, now: float) -> float:
    """Return how far the vendor's clock is ahead of ours, in seconds; 0 if the response does not say.

    :param now: the time by our clock, in Unix seconds.
    """
    try:
        date = parsedate_to_datetime(response.headers.get("date", ""))
        return date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0


def _longer_wait(documented: float | None, requested: float | None) -> float | None:
    """Return the longer of two waits. A documented 0, which means "sign again", is not lengthened."""
    if documented == 0 or requested is None:
        return documented
    return requested if documented is None else max(documented, requested)


def _read_retry_after(response: Response) -> float | None:
    """Return the wait in the Retry-After header, in seconds. A wait of 0 is ignored: it must not shorten another."""
    seconds = response.headers.get("retry-after", "")
    wait = float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < len("10000") else 0.0
    return wait or None
