"""The vendor's error codes."""

from typing import Any

from volc_moderation import (
    Action,
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    TemporaryError,
    ThrottledError,
)
from volc_moderation.error_codes import ErrorCode

CODES = {
    "Busy": ErrorCode(TemporaryError, "the stage is busy; try again in 30 s", retry_after=30.0),
    "Forbidden": ErrorCode(PermissionDeniedError, "the stage belongs to another account"),
    "StageClosed": ErrorCode(NotFoundError, "the stage is closed already"),
    "TooFast": ErrorCode(ThrottledError, "too many calls in a second", retry_after=1.0),
    "Unsigned": ErrorCode(AuthenticationError, "check the key and its secret"),
}


def advice(action: type[Action[Any]], code: str | int) -> str | None:
    """Return what the documents say about a code; None if they do not explain it."""
    return CODES[code].advice if isinstance(code, str) and code in CODES else None
