"""The stored form of a job: what the journal and the queue store of the same job comes back as equal jobs."""

import contextlib
import json
import time
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import volcengine_client
from tests.jobs.test_distributed import stop
from tests.strategies import texts
from volc_moderation.jobs import JobState
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Lane, StoredJob, key_of
from volc_moderation.jobs.journal import Journal, codec
from volc_moderation.jobs.journal.schema import AttemptRecord
from volc_moderation.jobs.outcome import EndedAttempt, Outcome
from volc_moderation.jobs.queue import records
from volc_moderation.jobs.queue.records import Claim, ClaimedAttempt, Submission
from volc_moderation.jobs.queue.redis_queue import RedisQueue, queue_client

LANE = Lane("volcengine", "account", "StopWebcast", "a/b")

outcomes = st.builds(
    Outcome,
    state=st.sampled_from(JobState),
    wait=st.sampled_from([0.0, 300.0]),
    counts=st.booleans(),
    is_outage=st.booleans(),
    maybe_sent=st.booleans(),
    was_gone=st.booleans(),
    code=st.none() | texts | st.integers(-(2**63), 2**63 - 1),
    message=st.none() | texts,
    advice=st.none() | texts,
    request_id=st.none() | texts,
    result=st.none() | st.sampled_from(["{}", '{"TaskId":"t"}', "null", "[1.5]"]),
)
seconds = st.none() | st.floats(0, 1e6)


@pytest.mark.slow
@given(outcome=outcomes, round_trip=seconds, waited=seconds)
def test_an_outcome_comes_back_from_redis_as_it_was_stored(
    outcome: Outcome, round_trip: float | None, waited: float | None
) -> None:
    """Except for the fields that only decide when the next attempt is due."""
    text = codec.dump_outcome(outcome, round_trip=round_trip, waited=waited)
    stored = outcome._replace(wait=0.0, counts=True, is_outage=False)
    assert codec.load_outcome(outcome.state, text) == (stored, round_trip, waited)


def test_what_is_not_set_is_not_stored() -> None:
    assert codec.dump_outcome(Outcome(JobState.DONE, wait=1.0, is_outage=True)) == "{}"
    assert json.loads(codec.dump_outcome(Outcome(JobState.FAILED, maybe_sent=True, code=0), waited=0.0)) == {
        "maybe_sent": True,
        "code": 0,
        "waited": 0.0,
    }


@pytest.mark.parametrize("text", ["", "null", "[]", "][", '"text"', "{no JSON"])
def test_an_outcome_that_cannot_be_read_counts_as_an_empty_one(text: str) -> None:
    assert codec.load_outcome("pending", text) == (Outcome(JobState.PENDING), None, None)


def test_an_invalid_state_is_an_error() -> None:
    with pytest.raises(ValueError, match="odd"):
        codec.load_outcome("odd", "{}")


@pytest.mark.slow
@given(outcome=outcomes, round_trip=seconds, waited=seconds)
def test_a_row_of_sqlite_and_a_hash_of_redis_are_the_same_job(
    outcome: Outcome, round_trip: float | None, waited: float | None
) -> None:
    ended = EndedAttempt(outcome, 2, 1700000300.5, round_trip, waited, 1700000000.0)
    record = codec.attempt_record(1, 1, ended)
    row = dict.fromkeys(AttemptRecord._fields) | {"state": "done"} | record._asdict()
    row |= {"maybe_sent": int(outcome.maybe_sent), "was_gone": int(outcome.was_gone)}
    row |= {"key": "k", "parameters": '{"AppId":"app"}', "line": 7, "created": 1699999999.25, "sent": 1700000000.0}
    row |= {"ended": 1700000000.0 if outcome.state.has_ended else None}
    fields = {
        "state": outcome.state.value,
        "lane": records.lane_name(LANE),
        "parameters": '{"AppId":"app"}',
        "attempts": "2",
        "due": "1700000360500",
        "maybe_sent": str(int(outcome.maybe_sent)),
        "outcome": codec.dump_outcome(outcome, round_trip=round_trip, waited=waited),
        "line": "7",
        "created": "1699999999.25",
        "sent": "1700000000",
    } | ({"ended": "1700000000"} if outcome.state.has_ended else {})
    assert codec.load_job(row, LANE) == records.load_job("k", fields, 60_000.0)


ENDINGS = [
    Outcome(JobState.DONE, request_id="r-1"),
    Outcome(JobState.DONE, request_id="r-1", result='{"TaskId":"t"}'),
    Outcome(JobState.DONE, was_gone=True, maybe_sent=True, code="NotFound", message="no such task"),
    Outcome(JobState.FAILED, code=2001, message="invalid: é", request_id="r-2"),
    Outcome(JobState.GIVEN_UP, maybe_sent=True, code="TransportError", message="no answer"),
    Outcome(JobState.PENDING, wait=300.0, code=50009, message="try later"),
]


@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize("outcome", ENDINGS, ids=lambda outcome: f"{outcome.state.value} {outcome.code}")
async def test_the_same_job_comes_back_equal_from_both_stores(valkey: str, tmp_path: Path, outcome: Outcome) -> None:
    """It is submitted, taken and recorded in both; only the times that each store measures itself may differ."""
    action = stop()
    lane = Clients([volcengine_client()]).lane_of(action)
    key, parameters, now = key_of(lane, action), dump_action(action), time.time()
    ended = EndedAttempt(outcome, 1, now + outcome.wait, 0.07, 0.1, now)

    with contextlib.closing(Journal(tmp_path / "rows.jobs")) as journal:
        with journal.transaction():
            journal.load([(key, journal.lane_id(lane), parameters, 7)], due=now, now=now)
            (taken,), _ = journal.take(1, 1, due=now, now=now)
            journal.record([codec.attempt_record(taken.id, 1, ended)])
        from_journal = journal.find(key)

    queue = RedisQueue(queue_client(valkey), "moderation", keep=600, reconnect=5)
    try:
        await queue.submit([Submission(key, lane, parameters, "run:1:1", line=7)])
        (claimed,), _ = await queue.take("w", lane, 1, at_most_once=False)
        await queue.record("w", [ClaimedAttempt(Claim(claimed.key, claimed.id), ended)])
        (from_queue,) = await queue.find([key])
    finally:
        await queue.aclose()

    assert from_journal is not None
    assert from_queue is not None
    assert claimed._replace(id=taken.id) == taken
    assert _without_times(from_queue) == _without_times(from_journal)
    for name in ("due", "created", "sent", "ended"):
        assert getattr(from_queue, name) == pytest.approx(getattr(from_journal, name), abs=5.0), name


def _without_times(job: StoredJob) -> StoredJob:
    return attrs.evolve(job, due=0.0, created=0.0, sent=None, ended=None)
