"""The journal: what becomes of jobs that are submitted, loaded, taken, recorded and recovered."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE, all_jobs, load, record, submit, take
from volc_moderation.jobs.job import DeferredJobs, JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.queries import JobFilter
from volc_moderation.jobs.journal.schema import LoadResult, SuccessRecord


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(tmp_path / "stops.db")) as journal:
        yield journal


def write(journal: Journal, job_id: int, state: str = "done", **fields: Any) -> None:
    """Record an attempt of a job."""
    with journal.transaction():
        journal.record([record(job_id, state=state, **fields)])


def state_of(journal: Journal, key: str = "k") -> JobState:
    job = journal.find(key)
    assert job is not None
    return job.state


def test_a_job_goes_from_pending_to_sent_to_done(journal: Journal) -> None:
    submit(journal, parameters='{"RoomId":"r"}')
    assert state_of(journal) is JobState.PENDING
    (job_id,) = take(journal)
    assert state_of(journal) is JobState.SENT
    write(journal, job_id, request_id="r-1", result='{"TaskId":"t"}', code=50009, message="later")
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.attempts, job.request_id, job.result) == (JobState.DONE, 1, "r-1", {"TaskId": "t"})
    assert (job.code, job.message, job.parameters, job.lane) == (50009, "later", {"RoomId": "r"}, LANE)
    assert (job.created, job.sent, job.ended, job.round_trip, job.waited) == (NOW, NOW, NOW, 0.07, 0.1)
    assert not job.is_deferred
    assert journal.find("other") is None


def test_a_job_is_not_taken_before_it_is_due(journal: Journal) -> None:
    submit(journal, due=NOW + 300)
    with journal.transaction():
        assert journal.take(1, 10, due=NOW, now=NOW) == ([], NOW + 300)
    assert take(journal, now=NOW + 300) == [1]
    with journal.transaction():
        assert journal.take(1, 10, due=NOW + 300, now=NOW) == ([], None)


def test_jobs_are_taken_in_the_order_of_their_due_times(journal: Journal) -> None:
    for key, due in (("late", NOW - 1), ("early", NOW - 2), ("same", NOW - 2)):
        submit(journal, key, due=due)
    assert take(journal, 2) == [2, 3]
    assert take(journal, 2) == [1]


def test_a_pending_job_submitted_again_is_the_same_job_with_the_new_parameters(journal: Journal) -> None:
    submit(journal, parameters='{"a":1}')
    submit(journal, parameters='{"a":2}')
    (job,) = all_jobs(journal)
    assert job.parameters == {"a": 2}


def test_a_job_submitted_again_while_in_flight_runs_again(journal: Journal) -> None:
    """The task that it stops may have been started again since the request left."""
    submit(journal)
    (job_id,) = take(journal)
    submit(journal)
    assert state_of(journal) is JobState.SENT
    write(journal, job_id)
    assert state_of(journal) is JobState.PENDING
    write(journal, take(journal)[0])
    assert state_of(journal) is JobState.DONE


def test_a_delayed_repetition_waits_for_its_delay(journal: Journal) -> None:
    """The delay counts from the end of the call in flight."""
    submit(journal)
    (job_id,) = take(journal)
    submit(journal, delay=60)
    write(journal, job_id, now=NOW + 2, due=NOW + 2, attempts=3)
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.due, job.attempts, job.ended) == (JobState.PENDING, NOW + 62, 0, None)
    assert take(journal, now=NOW + 61) == []
    with journal.transaction():
        journal.clamp_due_times(now=NOW - 3600)
    write(journal, take(journal, now=NOW - 3540)[0])
    assert state_of(journal) is JobState.DONE


@pytest.mark.parametrize(
    ("wait", "attempts", "is_repeated"), [(300.0, 0, False), (60.0, 0, False), (2.0, 1, True), (0.0, 1, True)]
)
def test_an_attempt_after_the_delay_counts_as_the_repetition(
    journal: Journal, wait: float, attempts: int, is_repeated: bool
) -> None:
    """An earlier attempt does not: it may come before the task that it is to stop."""
    submit(journal)
    (job_id,) = take(journal)
    submit(journal, delay=60)
    write(journal, job_id, "pending", due=NOW + wait, delay=wait)
    job = journal.find("k")
    assert job is not None
    assert (job.due, job.attempts) == (NOW + wait, attempts)
    submit(journal, parameters='{"a":1}')  # it is pending, so this is the same job
    write(journal, take(journal, now=NOW + wait)[0], now=NOW + wait, due=NOW + wait)
    job = journal.find("k")
    assert job is not None
    assert job.state is (JobState.PENDING if is_repeated else JobState.DONE)
    if is_repeated:
        assert job.due == NOW + wait + 60


@pytest.mark.parametrize("ended", ["done", "failed", "given up"])
def test_a_job_that_has_ended_is_reopened(journal: Journal, ended: str) -> None:
    submit(journal)
    write(journal, take(journal)[0], ended, attempts=5, code="No", was_gone=True, result="1")
    submit(journal)
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.attempts, job.code, job.was_gone, job.result) == (JobState.PENDING, 0, None, False, None)


def test_many_records_are_written_at_once(journal: Journal) -> None:
    """After a full disk there may be more values than SQLite accepts in one statement."""
    load(journal, *(f"k{number}" for number in range(5001)))
    ids = take(journal, 5001)
    with journal.transaction():
        journal.record([record(job_id, now=NOW + job_id % 7) for job_id in ids])
    assert journal.counts()[JobState.DONE] == 5001
    assert journal._query("SELECT count(*), count(DISTINCT ended), sum(round_trip IS 0.07) FROM job") == [
        (5001, 7, 5001)
    ]
    assert journal._query("SELECT sum(done) FROM second") == [(5001,)]


@pytest.mark.parametrize("count", [1, 9, 201])
def test_a_plain_success_is_written_like_any_other_outcome(journal: Journal, tmp_path: Path, count: int) -> None:
    """Also if the job was deferred before, or was submitted again while it was in flight, at once or with a delay."""
    keys = [f"k{number}" for number in range(count)]
    with contextlib.closing(Journal(tmp_path / "other.db")) as other:
        for each in (journal, other):
            load(each, *keys)
            write(each, take(each)[0], "pending", code="Busy", message="later", maybe_sent=True)
            ids = take(each, count)
            for number, key in enumerate(keys):
                if number % 3:
                    submit(each, key, delay=60.0 * (number % 3 - 1))
            full = [record(job_id, request_id=f"r-{job_id}", due=NOW + 5, attempts=2) for job_id in ids]
            plain = [SuccessRecord._make(getattr(one, name) for name in SuccessRecord._fields) for one in full]
            with each.transaction():
                each.record(plain if each is journal else full)
        for table in ("SELECT * FROM job", "SELECT * FROM second"):
            assert journal._query(table) == other._query(table)


def test_a_list_is_loaded_once(journal: Journal) -> None:
    """A call that it has twice is one job. The second time, the list is known, and its jobs are left alone."""
    assert load(journal, "a", "b", "b") == LoadResult(new=2, again=0, is_known=False)
    write(journal, take(journal, 1)[0])
    assert load(journal, "a", "b", "b") == LoadResult(new=0, again=0, is_known=True)
    assert [(job.key, job.state, job.line) for job in all_jobs(journal)] == [
        ("a", JobState.DONE, 2),
        ("b", JobState.PENDING, 3),
    ]


@pytest.mark.parametrize("ended", ["done", "failed", "given up"])
def test_another_list_reopens_jobs_that_have_ended(journal: Journal, ended: str) -> None:
    """A call that it has twice is made once; a pending job, or one in flight, is the same job."""
    assert load(journal, "a", "sent", "waits", "not listed") == LoadResult(new=4, again=0, is_known=False)
    write(journal, take(journal, 1)[0], ended, code="No", message="no", request_id="r", result="1", was_gone=True)
    take(journal, 1)
    assert load(journal, "new", "a", "a", "sent", "waits", parameters='{"b":1}') == LoadResult(
        new=1, again=1, is_known=False
    )
    jobs = {job.key: job for job in all_jobs(journal)}
    assert {key: (job.state, job.line) for key, job in jobs.items()} == {
        "a": (JobState.PENDING, 3),
        "sent": (JobState.SENT, 3),
        "waits": (JobState.PENDING, 4),
        "not listed": (JobState.PENDING, 5),
        "new": (JobState.PENDING, 2),
    }
    again = jobs["a"]
    assert (again.attempts, again.code, again.message, again.request_id, again.result) == (0, None, None, None, None)
    assert (again.was_gone, again.ended, again.sent, again.round_trip) == (False, None, None, None)
    assert (again.parameters, jobs["waits"].parameters) == ({"b": 1}, {})


@pytest.mark.parametrize("other", [("a",), ("b", "a"), ("a", "b", "c"), ("ab",)])
def test_a_list_is_identified_by_all_of_its_calls(journal: Journal, other: tuple[str, ...]) -> None:
    load(journal, "a", "b")
    assert not load(journal, *other).is_known
    assert load(journal, "a", "b").is_known
    assert not load(journal, "a", "b", parameters='{"changed":1}').is_known
    assert load(journal, *other).is_known


def test_loading_that_fails_changes_nothing(journal: Journal) -> None:
    load(journal, "a")

    def rows() -> Iterator[tuple[str, int, str, int | None]]:
        yield "b", 1, "{}", 2
        raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError), journal.transaction():
            journal.load(rows(), due=NOW, now=NOW)
    assert [job.key for job in all_jobs(journal)] == ["a"]
    assert load(journal, "b").new == 1


@pytest.mark.parametrize(("repeatable", "expected"), [(True, JobState.PENDING), (False, JobState.FAILED)])
def test_jobs_in_flight_are_recovered(journal: Journal, repeatable: bool, expected: JobState) -> None:
    submit(journal)
    take(journal)
    with journal.transaction():
        assert journal.recover(1, repeatable=repeatable, due=NOW, now=NOW) == 1
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.maybe_sent) == (expected, True)


@pytest.mark.parametrize(
    ("repeatable", "delay", "due", "is_repeated"),
    [
        (False, 0.0, NOW + 9, False),
        (False, 60.0, NOW + 69, False),
        (True, 0.0, NOW + 9, False),
        (True, 60.0, NOW + 9, True),
    ],
)
def test_a_job_submitted_again_runs_even_if_the_process_died(
    journal: Journal, repeatable: bool, delay: float, due: float, is_repeated: bool
) -> None:
    """The outcome of the first call is unknown; the second one was accepted as well."""
    submit(journal)
    take(journal)
    submit(journal, delay=delay)
    with journal.transaction():
        assert journal.recover(1, repeatable=repeatable, due=NOW + 9, now=NOW + 8) == 1
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.due, job.ended, job.maybe_sent) == (JobState.PENDING, due, None, True)
    write(journal, take(journal, now=due)[0], now=due)
    assert state_of(journal) is (JobState.PENDING if is_repeated else JobState.DONE)


def test_jobs_that_were_taken_and_not_sent_are_given_back(journal: Journal) -> None:
    submit(journal)
    ids = take(journal)
    with journal.transaction():
        journal.give_back(ids)
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.attempts) == (JobState.PENDING, 0)


def test_failed_jobs_can_be_retried(journal: Journal) -> None:
    for key, ended in (("a", "failed"), ("b", "given up"), ("c", "done")):
        submit(journal, key)
        write(journal, take(journal)[0], ended, attempts=5)
    with journal.transaction():
        assert journal.retry_ended(due=NOW) == 2
    assert [job.attempts for job in all_jobs(journal) if job.state is JobState.PENDING] == [0, 0]


def test_old_jobs_that_are_done_are_deleted(journal: Journal) -> None:
    for key, ended in (("a", "done"), ("b", "failed"), ("c", "done")):
        submit(journal, key)
        write(journal, take(journal)[0], ended, now=NOW + (100 if key == "c" else 0))
    with journal.transaction():
        assert journal.delete_done(before=NOW + 50) == 1
    assert [job.key for job in all_jobs(journal)] == ["b", "c"]


def test_the_summary_counts_jobs_of_each_kind(journal: Journal) -> None:
    attempts: list[tuple[str, dict[str, Any]]] = [("done", {}), ("done", {"was_gone": True}), ("failed", {})]
    attempts += [("given up", {}), ("pending", {"due": NOW + 300})]
    for number, (state, fields) in enumerate(attempts):
        submit(journal, str(number))
        write(journal, take(journal)[0], state, **fields)
    submit(journal, "new")
    assert journal.summary() == (2, 1, 1, 1, 1, NOW + 300, 1)
    assert journal.deferred() == {LANE: DeferredJobs(count=1, first_due=NOW + 300, last_due=NOW + 300)}


def test_a_transaction_that_fails_changes_nothing(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.submit("k", journal.lane_id(LANE), "{}", due=NOW, now=NOW)
        raise ZeroDivisionError
    assert all_jobs(journal) == []


def test_answers_are_counted_per_second(journal: Journal) -> None:
    """In the transaction of the answers, so that a crash does not lose the counts of the last second."""
    for number in range(4):
        submit(journal, str(number))
    ids = take(journal)
    seconds = "SELECT second, answered, done, deferred FROM second ORDER BY second"
    with contextlib.closing(Journal(journal.path, access="read")) as other:
        for job_id, ended, at in zip(ids, ("done", "pending", "failed", "done"), (0, 0.5, 0.9, 1), strict=True):
            write(journal, job_id, ended, now=NOW + at)
            counted = other._query(f"SELECT sum(answered) FROM ({seconds})")  # noqa: S608 - our own
            assert counted == other._query("SELECT count(*) FROM job WHERE round_trip IS NOT NULL")
    journal.close()
    with contextlib.closing(Journal(journal.path)) as again:
        assert again._query(seconds) == [(int(NOW), 3, 1, 1), (int(NOW) + 1, 1, 1, 0)]


def test_reading_all_jobs_does_not_hold_up_the_writer(journal: Journal) -> None:
    """They are read in pages of a thousand; no query is open between two pages."""
    load(journal, *(f"k{number}" for number in range(2500)))
    with contextlib.closing(Journal(journal.path, access="read")) as other:
        jobs = other.jobs()
        first = next(jobs)
        submit(journal, "last")
        assert journal._query("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0
        assert [first.key, *(job.key for job in jobs)] == [*(f"k{number}" for number in range(2500)), "last"]
        assert len(list(other.jobs(limit=1500))) == 1500
        take(journal, 25)
        pending = JobFilter(states=frozenset({JobState.PENDING}))
        assert [job.key for job in other.jobs(pending, limit=2)] == ["k25", "k26"]
        assert list(other.jobs(limit=0)) == []


# Clocks


@pytest.mark.parametrize(("delay", "due"), [(0.0, NOW - 3600), (300.0, NOW - 3300)])
def test_a_job_waits_no_longer_than_its_delay(journal: Journal, delay: float, due: float) -> None:
    """The clock has stepped back by an hour while no program ran."""
    with journal.transaction():
        journal.submit("k", journal.lane_id(LANE), "{}", due=NOW + delay, delay=delay, now=NOW)
        journal.clamp_due_times(now=NOW - 3600)
        assert journal.take(1, 10, due=due - 0.001, now=NOW) == ([], due)
        assert [job.key for job in journal.take(1, 10, due=due, now=NOW)[0]] == ["k"]


def test_a_due_time_within_the_delay_is_kept(journal: Journal) -> None:
    with journal.transaction():
        journal.submit("k", journal.lane_id(LANE), "{}", due=NOW + 300, delay=300, now=NOW)
        journal.clamp_due_times(now=NOW + 200)
        assert journal.take(1, 10, due=NOW, now=NOW) == ([], NOW + 300)


def test_a_deferred_job_keeps_its_delay(journal: Journal) -> None:
    submit(journal)
    write(journal, take(journal)[0], "pending", due=NOW + 300, delay=300.0)
    with journal.transaction():
        journal.clamp_due_times(now=NOW - 3600)
        assert journal.take(1, 10, due=NOW - 3600, now=NOW) == ([], NOW - 3300)
