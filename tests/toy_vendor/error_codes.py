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
from volc_moderation.error_codes import CodeInfo

CODES = {
    "Busy": CodeInfo(TemporaryError, "the stage is busy; try again in 30 s", retry_after=30.0),
    "Forbidden": CodeInfo(PermissionDeniedError, "the stage belongs to another account"),
    "StageClosed": CodeInfo(NotFoundError, "the stage is closed already"),
    "TooFast": CodeInfo(ThrottledError, "too many calls in a second", retry_after=1.0),
    "Unsigned": CodeInfo(AuthenticationError, "check the key and its secret"),
}


def advice(action: type[Action[Any]] | None, code: str | int) -> str | None:
    """Return what the documents say about a code; None if they do not explain it."""
    return CODES[code].advice if isinstance(code, str) and code in CODES else None
