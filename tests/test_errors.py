"""The defaults of errors, and how they read."""

import pytest

from volc_moderation import APIError, DecodeError, ModerationError, ThrottledError, TransportError


def test_the_defaults_of_an_error() -> None:
    error = ModerationError("no")
    assert (error.args, error.message, error.action) == (("no",), "no", None)
    assert (error.attempts, error.waited, error.retry_after, error.maybe_sent) == (0, 0.0, None, False)
    refused = APIError("no", code="No")
    assert (refused.args, refused.attempts, refused.status, refused.code_n, refused.advice) == (
        ("no",),
        0,
        None,
        None,
        None,
    )
    assert DecodeError("odd", path="Data").maybe_sent is True
    assert TransportError("broken", maybe_sent=True).is_permanent is False


@pytest.mark.parametrize(
    ("details", "text"),
    [
        ({}, "206 too many"),
        ({"action": "StopCensorAudioV2"}, "StopCensorAudioV2: 206 too many"),
        ({"advice": "slow down"}, "206 too many (slow down)"),
        ({"attempts": 1}, "206 too many"),
        ({"attempts": 2, "retry_after": 0.0}, "206 too many [2 attempts, retry after 0 s]"),
        (
            {"status": 200, "request_id": "r-1", "retry_after": 300.0, "advice": "slow down"},
            "206 too many (slow down) [HTTP 200, request r-1, retry after 300 s]",
        ),
    ],
)
def test_how_an_api_error_reads(details: dict[str, object], text: str) -> None:
    error = ThrottledError("too many", code=206, **details)  # type: ignore[arg-type]
    assert str(error) == text
    assert repr(error) == f"ThrottledError({text!r})"
