"""The outcome of an attempt, by its answer or its error."""

from typing import Any

import pytest

from volc_moderation import (
    Action,
    APIError,
    AuthenticationError,
    ConflictError,
    DecodeError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    QuotaUnavailable,
    Reply,
    RetryPolicy,
    ServerError,
    TemporaryError,
    ThrottledError,
    TransportError,
)
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.outcome import Outcome, after_error, after_reply
from volc_moderation.volcengine import Acknowledgement, StartWebcast, StopWebcast
from volc_moderation.zego import CensorTask, Done, StartCensorAudioV2, StopCensorAudioV2

STOP = StopWebcast(app_id="a", room_id="r", task_id="t")
START = StartWebcast(app_id="a", room_id="r", task_id="t", user_id="u", source_url="https://example.com/")
CENSOR = StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])
ZEGO_STOP = StopCensorAudioV2(task_id="t")
GONE = NotFoundError("none", code="InvalidParameter.ErrorActiveTaskNotFound", advice="there is none", request_id="r-1")
THERE = ConflictError("runs", code="InvalidParameter.TaskAlreadyExists")
STALE = AuthenticationError("stale", code="InvalidTimestamp", retry_after=0.0)
BROKEN = TransportError("broken", maybe_sent=True)
UNREACHED = TransportError("unreached", maybe_sent=False)


def after(error: ModerationError, action: Action[Any] = STOP, **options: Any) -> Outcome:
    """Return the outcome of an attempt, by default of the first one, that ended in an error."""
    defaults: dict[str, Any] = {"attempts": 1, "maybe_sent": False, "last_code": None, "policy": RetryPolicy()}
    return after_error(error, action, draw=0.5, **defaults | options)


@pytest.mark.parametrize(
    ("error", "action", "options", "expected"),
    [
        (TemporaryError("later", code=50009, retry_after=300.0), ZEGO_STOP, {}, ("pending", 300.0)),
        (TemporaryError("later", code=50009, retry_after=300.0), ZEGO_STOP, {"attempts": 5}, ("given up", 0.0)),
        (ThrottledError("many", code="FlowLimitExceeded", retry_after=1.0), STOP, {}, ("pending", 1.5)),
        (ServerError("oops", code="InternalError"), STOP, {"attempts": 3}, ("pending", 1.0)),
        (ServerError("oops", code=-1), CENSOR, {}, ("failed", 0.0)),
        (InvalidRequestError("no", code="InvalidParameter"), STOP, {}, ("failed", 0.0)),
        (APIError("who knows", code="Odd"), STOP, {}, ("failed", 0.0)),
        (DecodeError("odd", path="Data"), CENSOR, {}, ("failed", 0.0)),
        (GONE, STOP, {}, ("done", 0.0)),
        (THERE, START, {}, ("failed", 0.0)),
        (THERE, START, {"maybe_sent": True}, ("done", 0.0)),
        (BROKEN, STOP, {}, ("pending", 0.25)),
        (BROKEN, CENSOR, {}, ("failed", 0.0)),
        (BROKEN, STOP, {"attempts": 5}, ("given up", 0.0)),
        (TransportError("a page", maybe_sent=True, status=403), STOP, {}, ("failed", 0.0)),
    ],
)
def test_an_error_decides_the_state_and_the_wait(
    error: ModerationError, action: Any, options: Any, expected: tuple[str, float]
) -> None:
    outcome = after(error, action, **options)
    assert (outcome.state, outcome.wait, outcome.counts) == (*expected, True)


@pytest.mark.parametrize(
    "error", [UNREACHED, QuotaUnavailable("unavailable"), AuthenticationError("who?", code="InvalidAccessKey")]
)
@pytest.mark.parametrize("action", [STOP, CENSOR])
def test_a_call_that_was_not_sent_or_not_authenticated_is_no_attempt(error: ModerationError, action: Any) -> None:
    outcome = after(error, action, attempts=5)
    assert (outcome.state, outcome.counts, outcome.is_outage) == (JobState.PENDING, False, True)


def test_a_stale_timestamp_is_signed_again_once() -> None:
    first = after(STALE)
    assert (first.state, first.wait, first.counts, first.is_outage) == (JobState.PENDING, 0, False, False)
    assert after(STALE, last_code="InvalidTimestamp").is_outage


def test_the_details_of_an_error_are_kept() -> None:
    outcome = after(GONE)
    assert (outcome.was_gone, outcome.code, outcome.message) == (True, GONE.code, "none")
    assert (outcome.advice, outcome.request_id) == ("there is none", "r-1")
    assert not after(THERE, START, maybe_sent=True).was_gone


@pytest.mark.parametrize(
    ("error", "maybe_sent"), [(BROKEN, True), (ServerError("oops", code=1), True), (UNREACHED, False)]
)
def test_a_request_that_may_have_arrived_is_remembered(error: ModerationError, maybe_sent: bool) -> None:
    assert after(error).maybe_sent is maybe_sent
    assert after(error, maybe_sent=True).maybe_sent


@pytest.mark.parametrize(
    ("result", "kept"),
    [(Acknowledgement(message="ok"), None), (Done(), None), (CensorTask(task_id="t"), '{"TaskId":"t"}')],
)
def test_a_result_is_kept_unless_it_is_empty(result: object, kept: str | None) -> None:
    reply = Reply(result=result, request_id="r-1", log_id=None, attempts=1, waited=0.0)
    for maybe_sent in (False, True):
        outcome = after_reply(reply, maybe_sent=maybe_sent)
        assert (outcome.state, outcome.request_id, outcome.result) == (JobState.DONE, "r-1", kept)
        assert outcome.maybe_sent is maybe_sent


@pytest.mark.parametrize(
    ("error", "is_outage"),
    [
        (BROKEN, True),
        (UNREACHED, True),
        (ServerError("oops", code="InternalError"), True),
        (QuotaUnavailable("unavailable"), True),
        (TemporaryError("later", code=50009, retry_after=300.0), False),
        (ThrottledError("many", code=206), False),
        (InvalidRequestError("no", code=2), False),
        (DecodeError("odd", path="Data"), False),
        (GONE, False),
    ],
)
def test_errors_that_other_jobs_may_meet_are_outages(error: ModerationError, is_outage: bool) -> None:
    assert after(error).is_outage is is_outage


def test_an_outcome_has_defaults() -> None:
    outcome = Outcome(JobState.DONE)
    assert (outcome.wait, outcome.counts, outcome.is_outage, outcome.maybe_sent, outcome.was_gone) == (
        *(0.0, True),
        *(False, False, False),
    )


def test_a_long_message_is_truncated() -> None:
    assert len(after(APIError("x" * 2001, code="Odd")).message or "") == 2000
