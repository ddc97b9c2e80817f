import contextlib
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE, all_jobs, record
from volc_moderation import JournalError
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(tmp_path / "stops.db")) as journal:
        yield journal


def submit(journal: Journal, key: str = "k", *, due: float = NOW, parameters: str = "{}") -> None:
    with journal.transaction():
        journal.submit(key, journal.lane(LANE), parameters, due=due, now=NOW)


def take(journal: Journal, most: int = 10, *, now: float = NOW) -> list[int]:
    with journal.transaction():
        return [row.id for row in journal.take(1, most, now=now)[0]]


def write(journal: Journal, row: int, state: str = "done", **known: Any) -> None:
    with journal.transaction():
        journal.record([record(row, state=state, **known)])


def state(journal: Journal, key: str = "k") -> JobState:
    job = journal.find(key)
    assert job is not None
    return job.state


def test_a_job_goes_from_pending_over_sent_to_done(journal: Journal) -> None:
    submit(journal, parameters='{"RoomId":"r"}')
    assert state(journal) is JobState.PENDING
    (row,) = take(journal)
    assert state(journal) is JobState.SENT
    write(journal, row, request_id="r-1", result='{"TaskId":"t"}', code=50009, message="later")
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.attempts, job.request_id, job.result) == (JobState.DONE, 1, "r-1", {"TaskId": "t"})
    assert (job.code, job.message, job.parameters, job.lane) == (50009, "later", {"RoomId": "r"}, LANE)
    assert (job.created, job.sent, job.ended, job.round_trip, job.waited) == (NOW, NOW, NOW, 0.07, 0.1)
    assert journal.find("other") is None


def test_a_job_is_not_taken_before_its_time(journal: Journal) -> None:
    submit(journal, due=NOW + 300)
    with journal.transaction():
        assert journal.take(1, 10, now=NOW) == ([], NOW + 300)
    assert take(journal, now=NOW + 300) == [1]
    with journal.transaction():
        assert journal.take(1, 10, now=NOW + 300) == ([], None)


def test_those_due_first_are_taken_first(journal: Journal) -> None:
    for key, due in (("late", NOW - 1), ("early", NOW - 2), ("same", NOW - 2)):
        submit(journal, key, due=due)
    assert take(journal, 2) == [2, 3]
    assert take(journal, 2) == [1]


def test_a_job_that_waits_is_the_same_job_with_the_newest_parameters(journal: Journal) -> None:
    submit(journal, parameters='{"a":1}')
    submit(journal, parameters='{"a":2}')
    (job,) = all_jobs(journal)
    assert job.parameters == {"a": 2}


def test_a_job_that_is_submitted_while_it_is_on_its_way_is_done_again(journal: Journal) -> None:
    """What it stops may have been started anew since it was sent."""
    submit(journal)
    (row,) = take(journal)
    submit(journal)
    assert state(journal) is JobState.SENT
    write(journal, row)
    assert state(journal) is JobState.PENDING
    write(journal, take(journal)[0])
    assert state(journal) is JobState.DONE


@pytest.mark.parametrize("ended", ["done", "failed", "given up"])
def test_a_job_that_has_ended_is_opened_again(journal: Journal, ended: str) -> None:
    submit(journal)
    write(journal, take(journal)[0], ended, attempts=5, code="No", was_gone=True, result="1")
    submit(journal)
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.attempts, job.code, job.was_gone, job.result) == (JobState.PENDING, 0, None, False, None)


def test_loading_leaves_what_is_there_alone(journal: Journal) -> None:
    submit(journal, "a")
    write(journal, take(journal)[0])
    with journal.transaction():
        assert journal.load([("a", 1, "{}", 2), ("b", 1, "{}", 3), ("b", 1, "{}", 4)], now=NOW) == 1
    assert [(job.key, job.state, job.line) for job in all_jobs(journal)] == [
        ("a", JobState.DONE, None),
        ("b", JobState.PENDING, 3),
    ]


@pytest.mark.parametrize(("repeatable", "expected"), [(True, JobState.PENDING), (False, JobState.FAILED)])
def test_what_was_on_its_way_is_looked_at_again(journal: Journal, repeatable: bool, expected: JobState) -> None:
    submit(journal)
    take(journal)
    with journal.transaction():
        assert journal.recover(1, repeatable=repeatable, now=NOW) == 1
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.maybe_sent) == (expected, True)


def test_what_was_taken_and_not_sent_is_given_back(journal: Journal) -> None:
    submit(journal)
    rows = take(journal)
    with journal.transaction():
        journal.give_back(rows)
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.attempts) == (JobState.PENDING, 0)


def test_what_failed_can_be_tried_again(journal: Journal) -> None:
    for key, ended in (("a", "failed"), ("b", "given up"), ("c", "done")):
        submit(journal, key)
        write(journal, take(journal)[0], ended, attempts=5)
    with journal.transaction():
        assert journal.retry_ended(now=NOW) == 2
    assert [job.attempts for job in all_jobs(journal) if job.state is JobState.PENDING] == [0, 0]


def test_what_was_done_long_ago_is_forgotten(journal: Journal) -> None:
    for key, ended in (("a", "done"), ("b", "failed"), ("c", "done")):
        submit(journal, key)
        write(journal, take(journal)[0], ended, now=NOW + (100 if key == "c" else 0))
    with journal.transaction():
        assert journal.forget(before=NOW + 50) == 1
    assert [job.key for job in all_jobs(journal)] == ["b", "c"]


def test_how_it_stands(journal: Journal) -> None:
    ends: list[tuple[str, dict[str, Any]]] = [("done", {}), ("done", {"was_gone": True}), ("failed", {})]
    ends += [("given up", {}), ("pending", {"due": NOW + 300})]
    for number, (ended, known) in enumerate(ends):
        submit(journal, str(number))
        write(journal, take(journal)[0], ended, **known)
    submit(journal, "new")
    assert journal.standing() == (2, 1, 1, 1, 1, NOW + 300, 1)
    assert journal.deferred() == [(1, 1, NOW + 300, NOW + 300)]


def test_what_fails_within_a_transaction_leaves_no_trace(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.submit("k", journal.lane(LANE), "{}", due=NOW, now=NOW)
        raise ZeroDivisionError
    assert all_jobs(journal) == []


def test_only_its_owner_may_read_it(journal: Journal) -> None:
    """A user's token may be among the parameters."""
    submit(journal)
    for file in journal.path.parent.glob("stops.db*"):
        if "-lock" not in file.name:  # which are empty
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_others_may_look_at_it_meanwhile(journal: Journal) -> None:
    submit(journal)
    with contextlib.closing(Journal(journal.path, read_only=True)) as other:
        assert [job.key for job in all_jobs(other)] == ["k"]
        with pytest.raises(JournalError, match="may not be written"), other.transaction():
            other.retry_ended(now=NOW)


def test_a_second_one_that_writes_is_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match=r"is in use: process [0-9]+ on "):
        Journal(journal.path)
    journal.close()
    Journal(journal.path).close()


def test_a_process_that_died_holds_nothing(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from volc_moderation.jobs.journal import Journal\n"
        "journal = Journal(sys.argv[1]); print(flush=True); time.sleep(60)"
    )
    path = tmp_path / "stops.db"
    with subprocess.Popen([sys.executable, "-c", hold, path], stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(JournalError, match=f"in use: process {process.pid} "):
            Journal(path)
        process.kill()
        process.wait()
        Journal(path).close()


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stops.db"
    Journal(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    for read_only in (False, True):
        with pytest.raises(JournalError, match="schema 99, of a newer version"):
            Journal(path, read_only=read_only)


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("app_id,room_id\n" * 100)
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as db:
        db.execute("CREATE TABLE t (a)")
    for name, reason in (
        ("text", "not an SQLite file"),
        ("other", "but not a journal"),
        (".", "directory|cannot be opened"),
        ("no/where", "cannot be opened|No such"),
    ):
        with pytest.raises(JournalError, match=reason):
            Journal(tmp_path / name)
    with pytest.raises(JournalError, match="there is no journal"):
        Journal(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


def test_a_full_disk_is_said_so_and_loses_nothing(journal: Journal) -> None:
    submit(journal, "before")
    (pages,) = journal.query("PRAGMA page_count")[0]
    journal.query(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match=r"the disk is full. Nothing that was accepted is lost"):
        for number in range(1000):
            submit(journal, f"after {number}", parameters=f'{{"a":"{"x" * 500}"}}')
    journal.query("PRAGMA max_page_count = 1000000")
    kept = [job.key for job in all_jobs(journal)]
    assert kept[0] == "before"
    assert journal.query("PRAGMA integrity_check") == [("ok",)]
    submit(journal, "room again")
    assert len(all_jobs(journal)) == len(kept) + 1


def test_answers_are_counted_by_the_second(journal: Journal) -> None:
    for number in range(4):
        submit(journal, str(number))
    rows = take(journal)
    for row, ended, at in zip(rows, ("done", "pending", "failed", "done"), (0, 0.5, 0.9, 1), strict=True):
        write(journal, row, ended, now=NOW + at)
    journal.close()
    with contextlib.closing(Journal(journal.path)) as again:
        assert again.query("SELECT second, answered, done, deferred FROM second ORDER BY second") == [
            (int(NOW), 3, 1, 1),
            (int(NOW) + 1, 1, 1, 0),
        ]
