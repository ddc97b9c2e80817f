"""From a vendor's code, or an HTTP status, to an error of the tree. The tables are in each vendor's ``protocol.py``."""

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
from volc_moderation.wire import Request, Response


@attrs.frozen
class Meaning:
    """What the documents say about a code.

    ``error`` is its class, ``advice`` what it means and what to do, ``retry_after`` the seconds to wait before a retry.
    ``maybe_sent`` is True if the documents advise a retry and do not say that nothing was done.
    """

    error: type[APIError]
    advice: str | None = None
    retry_after: float | None = None
    maybe_sent: bool = False


UNKNOWN = Meaning(APIError)

_STATUSES = {
    HTTPStatus.UNAUTHORIZED: Meaning(AuthenticationError),
    HTTPStatus.FORBIDDEN: Meaning(PermissionDeniedError),
    HTTPStatus.NOT_FOUND: Meaning(NotFoundError),
    HTTPStatus.CONFLICT: Meaning(ConflictError),
    HTTPStatus.TOO_MANY_REQUESTS: Meaning(ThrottledError, retry_after=1.0),
}


def meaning_of_status(status: int) -> Meaning:
    """Return what an HTTP status says of a refusal whose code no document explains."""
    if status in _STATUSES:
        return _STATUSES[HTTPStatus(status)]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Meaning(ServerError)
    if status >= HTTPStatus.BAD_REQUEST:
        return Meaning(InvalidRequestError)
    return UNKNOWN


def refusal(
    meaning: Meaning,
    *,
    code: str | int,
    message: str,
    request_id: str | None,
    request: Request,
    response: Response,
    code_n: int | None = None,
) -> APIError:
    """Make the error of a refusal. A Retry-After of the response may make the wait longer."""
    error = meaning.error(
        request.redact(message),
        code=request.redact(code) if isinstance(code, str) else code,
        request_id=request_id,
        log_id=log_id_of(request, response),
        status=response.status,
        retry_after=_longer(meaning.retry_after, _retry_after(response)),
        advice=meaning.advice,
        code_n=code_n,
    )
    error.maybe_sent = meaning.maybe_sent
    return error


def request_id_of(value: object, request: Request) -> str | None:
    """Read a request id: a text by the documents, but a number names a request as well."""
    if type(value) is int and abs(value) < _LONGEST_NUMBER:
        return str(value)
    return request.redact(value) if isinstance(value, str) and value else None


def log_id_of(request: Request, response: Response) -> str | None:
    """Read the id of Volcengine's logs."""
    log_id = response.headers.get("x-tt-logid")
    return log_id and request.redact(log_id)


#: A longer one is no id, and dear to write.
_LONGEST_NUMBER = 10**40


def _longer(advised: float | None, asked: float | None) -> float | None:
    """Take the longer of two waits; but 0, which means "sign again", stays."""
    if advised == 0 or asked is None:
        return advised
    return asked if advised is None else max(advised, asked)


def unusable(request: Request, response: Response) -> ModerationError:
    """Make the error of an answer that is not the vendor's envelope: a proxy's page, half a JSON, nothing."""
    if response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return refusal(
            _STATUSES[HTTPStatus.TOO_MANY_REQUESTS],
            code="HTTP 429",
            message="too many requests, says what is between here and the vendor",
            request_id=None,
            request=request,
            response=response,
        )
    size = len(response.body)
    message = f"HTTP {response.status} with {size} bytes that are not the vendor's JSON"
    error = TransportError(message, maybe_sent=True, status=response.status)
    error.retry_after = _retry_after(response)
    return error


def _retry_after(response: Response) -> float | None:
    """Return the wait that a header asks for. One of 0 asks for none, and is no reason to wait less than otherwise."""
    seconds = response.headers.get("retry-after", "")
    wait = float(seconds) if seconds.isascii() and seconds.isdigit() and len(seconds) < len("10000") else 0.0
    return wait or None
