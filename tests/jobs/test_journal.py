import contextlib
import os
import random
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE, all_jobs, record
from volc_moderation import JournalError
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import LoadResult


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(tmp_path / "stops.db")) as journal:
        yield journal


def submit(journal: Journal, key: str = "k", *, due: float = NOW, parameters: str = "{}", delay: float = 0.0) -> None:
    with journal.transaction():
        journal.submit(key, journal.lane(LANE), parameters, due=due + delay, delay=delay, now=NOW)


def take(journal: Journal, most: int = 10, *, now: float = NOW) -> list[int]:
    with journal.transaction():
        return [row.id for row in journal.take(1, most, due=now, now=now)[0]]


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
    assert not job.is_deferred
    assert journal.find("other") is None


def test_a_job_is_not_taken_before_its_time(journal: Journal) -> None:
    submit(journal, due=NOW + 300)
    with journal.transaction():
        assert journal.take(1, 10, due=NOW, now=NOW) == ([], NOW + 300)
    assert take(journal, now=NOW + 300) == [1]
    with journal.transaction():
        assert journal.take(1, 10, due=NOW + 300, now=NOW) == ([], None)


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


def test_what_is_to_be_done_again_later_waits_for_its_delay(journal: Journal) -> None:
    """From the end of the call that is on its way."""
    submit(journal)
    (row,) = take(journal)
    submit(journal, delay=60)
    write(journal, row, now=NOW + 2, due=NOW + 2, attempts=3)
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.due, job.attempts, job.ended) == (JobState.PENDING, NOW + 62, 0, None)
    assert take(journal, now=NOW + 61) == []
    with journal.transaction():
        journal.bring_near(now=NOW - 3600)
    write(journal, take(journal, now=NOW - 3540)[0])
    assert state(journal) is JobState.DONE


@pytest.mark.parametrize(
    ("wait", "attempts", "is_made_again"), [(300.0, 0, False), (60.0, 0, False), (2.0, 1, True), (0.0, 1, True)]
)
def test_a_late_attempt_is_the_one_that_was_asked_for_again(
    journal: Journal, wait: float, attempts: int, is_made_again: bool
) -> None:
    """An early one is not: it may come before what it is to stop."""
    submit(journal)
    (row,) = take(journal)
    submit(journal, delay=60)
    write(journal, row, "pending", due=NOW + wait, delay=wait)
    job = journal.find("k")
    assert job is not None
    assert (job.due, job.attempts) == (NOW + wait, attempts)
    submit(journal, parameters='{"a":1}')  # it waits, and so is the same job
    write(journal, take(journal, now=NOW + wait)[0], now=NOW + wait, due=NOW + wait)
    job = journal.find("k")
    assert job is not None
    assert job.state is (JobState.PENDING if is_made_again else JobState.DONE)
    if is_made_again:
        assert job.due == NOW + wait + 60


@pytest.mark.parametrize("ended", ["done", "failed", "given up"])
def test_a_job_that_has_ended_is_opened_again(journal: Journal, ended: str) -> None:
    submit(journal)
    write(journal, take(journal)[0], ended, attempts=5, code="No", was_gone=True, result="1")
    submit(journal)
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.attempts, job.code, job.was_gone, job.result) == (JobState.PENDING, 0, None, False, None)


def load(journal: Journal, *keys: str, parameters: str = "{}", now: float = NOW) -> LoadResult:
    """Add a list of calls, of which the n-th stands in line n + 2."""
    with journal.transaction():
        lane = journal.lane(LANE)
        return journal.load([(key, lane, parameters, n) for n, key in enumerate(keys, 2)], due=now, now=now)


def test_many_records_are_written_at_once(journal: Journal) -> None:
    """After an hour of a full disk: more than SQLite takes values in one step."""
    load(journal, *(f"k{number}" for number in range(5001)))
    rows = take(journal, 5001)
    with journal.transaction():
        journal.record([record(row, now=NOW + row % 7) for row in rows])
    assert journal.counts()[JobState.DONE] == 5001
    assert journal.query("SELECT count(*), count(DISTINCT ended), sum(round_trip IS 0.07) FROM job") == [
        (5001, 7, 5001)
    ]
    assert journal.query("SELECT sum(done) FROM second") == [(5001,)]


def test_a_list_is_added_once(journal: Journal) -> None:
    """With a call that stands there twice; the very list is known the next time, and its calls are left alone."""
    assert load(journal, "a", "b", "b") == LoadResult(new=2, again=0, is_known=False)
    write(journal, take(journal, 1)[0])
    assert load(journal, "a", "b", "b") == LoadResult(new=0, again=0, is_known=True)
    assert [(job.key, job.state, job.line) for job in all_jobs(journal)] == [
        ("a", JobState.DONE, 2),
        ("b", JobState.PENDING, 3),
    ]


@pytest.mark.parametrize("ended", ["done", "failed", "given up"])
def test_another_list_makes_what_has_ended_again(journal: Journal, ended: str) -> None:
    """A call that stands there twice is made once, one that waits or is on its way is the same call."""
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
def test_a_list_is_known_by_all_its_calls(journal: Journal, other: tuple[str, ...]) -> None:
    load(journal, "a", "b")
    assert not load(journal, *other).is_known
    assert load(journal, "a", "b").is_known
    assert not load(journal, "a", "b", parameters='{"changed":1}').is_known
    assert load(journal, *other).is_known


def test_a_list_that_breaks_off_leaves_no_trace(journal: Journal) -> None:
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
def test_what_was_on_its_way_is_looked_at_again(journal: Journal, repeatable: bool, expected: JobState) -> None:
    submit(journal)
    take(journal)
    with journal.transaction():
        assert journal.recover(1, repeatable=repeatable, due=NOW, now=NOW) == 1
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.maybe_sent) == (expected, True)


@pytest.mark.parametrize(
    ("repeatable", "delay", "due", "is_made_twice"),
    [
        (False, 0.0, NOW + 9, False),
        (False, 60.0, NOW + 69, False),
        (True, 0.0, NOW + 9, False),
        (True, 60.0, NOW + 9, True),
    ],
)
def test_what_was_submitted_again_is_made_even_if_the_process_died(
    journal: Journal, repeatable: bool, delay: float, due: float, is_made_twice: bool
) -> None:
    """Of the first call nobody knows what became; the second one was accepted, too."""
    submit(journal)
    take(journal)
    submit(journal, delay=delay)
    with journal.transaction():
        assert journal.recover(1, repeatable=repeatable, due=NOW + 9, now=NOW + 8) == 1
    job = journal.find("k")
    assert job is not None
    assert (job.state, job.due, job.ended, job.maybe_sent) == (JobState.PENDING, due, None, True)
    write(journal, take(journal, now=due)[0], now=due)
    assert state(journal) is (JobState.PENDING if is_made_twice else JobState.DONE)


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
        assert journal.retry_ended(due=NOW) == 2
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
    assert journal.summary() == (2, 1, 1, 1, 1, NOW + 300, 1)
    assert journal.deferred() == [(1, 1, NOW + 300, NOW + 300)]


def test_what_fails_within_a_transaction_leaves_no_trace(journal: Journal) -> None:
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.submit("k", journal.lane(LANE), "{}", due=NOW, now=NOW)
        raise ZeroDivisionError
    assert all_jobs(journal) == []


def test_only_its_owner_may_read_it(journal: Journal) -> None:
    """A user's token may be among the parameters."""
    submit(journal)
    files = list(journal.path.parent.glob("stops.db*"))
    assert {file.name for file in files} >= {"stops.db", "stops.db-wal", "stops.db-lock"}
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_others_may_look_at_it_meanwhile(journal: Journal) -> None:
    submit(journal)
    with contextlib.closing(Journal(journal.path, read_only=True)) as other:
        assert [job.key for job in all_jobs(other)] == ["k"]
        with pytest.raises(JournalError, match="may not be written"), other.transaction():
            other.retry_ended(due=NOW)


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
            Journal(path, read_only=read_only, keep_empty=False)
        assert path.exists()


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("app_id,room_id\n" * 100)
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as db:
        db.execute("CREATE TABLE t (a)")
    for name, reason in (
        ("text", "not an SQLite file"),
        ("other", "but not a journal"),
        (".", "is not a file"),
        ("no/where", "there is no directory .*/no for the journal"),
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
    """With the answers themselves, so that a crash does not lose those of the last second."""
    for number in range(4):
        submit(journal, str(number))
    rows = take(journal)
    seconds = "SELECT second, answered, done, deferred FROM second ORDER BY second"
    with contextlib.closing(Journal(journal.path, read_only=True)) as other:
        for row, ended, at in zip(rows, ("done", "pending", "failed", "done"), (0, 0.5, 0.9, 1), strict=True):
            write(journal, row, ended, now=NOW + at)
            counted = other.query(f"SELECT sum(answered) FROM ({seconds})")  # noqa: S608 - our own
            assert counted == other.query("SELECT count(*) FROM job WHERE round_trip IS NOT NULL")
    journal.close()
    with contextlib.closing(Journal(journal.path)) as again:
        assert again.query(seconds) == [(int(NOW), 3, 1, 1), (int(NOW) + 1, 1, 1, 0)]


# Clocks


@pytest.mark.parametrize(("delay", "due"), [(0.0, NOW - 3600), (300.0, NOW - 3300)])
def test_a_job_waits_no_longer_than_it_was_to_wait(journal: Journal, delay: float, due: float) -> None:
    """The clock has stepped back by an hour while nobody looked."""
    with journal.transaction():
        journal.submit("k", journal.lane(LANE), "{}", due=NOW + delay, delay=delay, now=NOW)
        journal.bring_near(now=NOW - 3600)
        assert journal.take(1, 10, due=due - 0.001, now=NOW) == ([], due)
        assert [row.key for row in journal.take(1, 10, due=due, now=NOW)[0]] == ["k"]


def test_what_is_near_stays_as_near(journal: Journal) -> None:
    with journal.transaction():
        journal.submit("k", journal.lane(LANE), "{}", due=NOW + 300, delay=300, now=NOW)
        journal.bring_near(now=NOW + 200)
        assert journal.take(1, 10, due=NOW, now=NOW) == ([], NOW + 300)


def test_what_was_put_off_remembers_for_how_long(journal: Journal) -> None:
    submit(journal)
    write(journal, take(journal)[0], "pending", due=NOW + 300, delay=300.0)
    with journal.transaction():
        journal.bring_near(now=NOW - 3600)
        assert journal.take(1, 10, due=NOW - 3600, now=NOW) == ([], NOW - 3300)


# The file


def two_names(folder: Path) -> list[tuple[Path, Path]]:
    """Return pairs of names of one file that is not there yet."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real")
    (folder / "stops-link.db").symlink_to(folder / "real" / "stops.db")
    return [
        (folder / "real" / "stops.db", folder / "link" / "stops.db"),
        (folder / "real" / "stops.db", folder / "stops-link.db"),
        (folder / "real" / "stops.db", folder / "real" / ".." / "real" / "stops.db"),
    ]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("is_there", [True, False])
def test_a_journal_has_one_writer_whatever_it_is_called(tmp_path: Path, number: int, is_there: bool) -> None:
    one, other = two_names(tmp_path)[number]
    if is_there:
        Journal(one).close()
    for first, second in ((one, other), (other, one)):
        with contextlib.closing(Journal(first)), pytest.raises(JournalError, match="is in use"):
            Journal(second)


def test_a_journal_with_a_relative_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Journal("stops.db")), pytest.raises(JournalError, match="is in use"):
        Journal(tmp_path / "stops.db")


@pytest.mark.parametrize("linked", ["stops.db", "stops.db-lock"])
def test_a_hard_link_is_another_name_that_cannot_be_told(tmp_path: Path, linked: str) -> None:
    Journal(tmp_path / "stops.db").close()
    os.link(tmp_path / linked, tmp_path / "other")
    with pytest.raises(JournalError, match=r"has 2 names \(hard links\)"):
        Journal(tmp_path / "stops.db")
    (tmp_path / "other").unlink()
    Journal(tmp_path / "stops.db").close()


@pytest.mark.parametrize("name", ["", ":memory:", "file:stops.db", "file::memory:?cache=shared"])
def test_a_journal_is_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JournalError, match="must be a file that outlives this process"):
        Journal(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("owned", ["stops.db", "stops.db-lock"])
def test_a_journal_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owned: str) -> None:
    """For the superuser too: what it makes beside the journal, its owner could not write any more."""
    Journal(tmp_path / "stops.db").close()
    if owned == "stops.db-lock":
        (tmp_path / "stops.db").unlink()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(JournalError, match=f"{owned} belongs to user {me}, and this is user {me + 1}"):
        Journal(tmp_path / "stops.db")


def said_to_an_ordinary_user(folder: Path) -> str:
    """Open a journal in a process that is not the superuser's, who may write everywhere; return what is said."""
    read, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            Journal(folder / "other.db")
        except JournalError as error:
            os.write(write_end, str(error).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with open(read, "rb") as answer:  # noqa: PTH123 - a pipe
        return answer.read().decode()


def test_a_directory_that_may_not_be_written() -> None:
    with tempfile.TemporaryDirectory() as name:  # others may not enter pytest's own
        folder = Path(name)
        Journal(folder / "stops.db").close()
        folder.chmod(0o555)
        said = said_to_an_ordinary_user(folder)
        folder.chmod(0o755)
    assert said == f"the journal {folder}/other.db needs files beside it, but {folder} may not be written"


def test_a_lock_that_was_removed_is_taken_anew(tmp_path: Path) -> None:
    """Whoever removed it, the next two do not both hold one: that of a file that has gone is none."""
    first = Journal(tmp_path / "stops.db")
    (tmp_path / "stops.db-lock").unlink()
    second = Journal(tmp_path / "stops.db")
    with pytest.raises(JournalError, match="is in use"):
        Journal(tmp_path / "stops.db")
    first.close()
    second.close()


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked"])
@pytest.mark.parametrize("is_new_there", [True, False])
def test_a_lock_that_is_removed_while_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, is_new_there: bool
) -> None:
    """A run that ends without a job takes its lock away at this moment, and the next one may have made its own."""
    path = tmp_path / "stops.db"
    first, others = Journal(path, keep_empty=False), []
    connect = sqlite3.connect

    def slow(name: str, **options: Any) -> Any:
        monkeypatch.undo()
        lock = connect(name, **options) if when == "before it is locked" else None
        first.close()
        if is_new_there:
            others.append(Journal(path))
        return lock or connect(name, **options)

    monkeypatch.setattr(sqlite3, "connect", slow)
    if is_new_there:
        with pytest.raises(JournalError, match="is in use"):
            Journal(path)
    else:
        others.append(Journal(path))
    for one in others:
        with pytest.raises(JournalError, match="is in use"):
            Journal(path)
        one.close()


def test_a_journal_that_nothing_came_into_leaves_nothing_behind(tmp_path: Path) -> None:
    Journal(tmp_path / "stops.db", keep_empty=False).close()
    assert list(tmp_path.iterdir()) == []
    Journal(tmp_path / "stops.db").close()
    Journal(tmp_path / "stops.db", keep_empty=False).close()
    assert (tmp_path / "stops.db").exists()  # it was there before


@pytest.mark.parametrize("end", [Journal.close, Journal.abandon])
def test_who_has_let_go_removes_nothing_any_more(tmp_path: Path, end: Callable[[Journal], None]) -> None:
    first = Journal(tmp_path / "stops.db", keep_empty=False)
    end(first)
    assert not (tmp_path / "stops.db").exists()
    with contextlib.closing(Journal(tmp_path / "stops.db")):
        first.abandon()
        first.close()
        assert sorted(path.name for path in tmp_path.iterdir() if "lock" not in path.name) == [
            *("stops.db", "stops.db-shm", "stops.db-wal")
        ]


def test_a_journal_that_is_abandoned_is_left_as_it_was_found(tmp_path: Path) -> None:
    path = tmp_path / "stops.db"
    with contextlib.closing(Journal(path, keep_empty=False)) as new:
        submit(new)
        new.abandon()
        assert list(tmp_path.iterdir()) == []
    with contextlib.closing(Journal(path)) as kept:
        submit(kept)
        kept.abandon()
        with contextlib.closing(Journal(path, keep_empty=False)) as found:  # and its lock is free
            assert [job.key for job in all_jobs(found)] == ["k"]
            found.set_aside()
            submit(found, "lost")
            found.abandon()
            assert not path.with_name("stops.db.1").exists()
    with contextlib.closing(Journal(path, keep_empty=False)) as again:
        assert [job.key for job in all_jobs(again)] == ["k"]
        again.abandon()
    assert path.exists()


def test_a_journal_that_cannot_be_read_at_the_end_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "stops.db", keep_empty=False)
    journal.query("DROP TABLE job")
    journal.close()
    assert (tmp_path / "stops.db").exists()


def test_what_is_written_for_good_waits_for_the_disk(journal: Journal) -> None:
    """SQLite's numbers: 1 is NORMAL, 2 FULL."""
    for durable in (True, False, False, True):
        with journal.transaction(durable=durable):
            assert journal.query("PRAGMA synchronous") == [(2 if durable else 1,)]


def test_a_loser_removes_nothing(tmp_path: Path) -> None:
    winner = Journal(tmp_path / "stops.db", keep_empty=False)
    with pytest.raises(JournalError, match="is in use"):
        Journal(tmp_path / "stops.db", keep_empty=False)
    submit(winner)
    winner.close()
    with contextlib.closing(Journal(tmp_path / "stops.db")) as again:
        assert [job.key for job in all_jobs(again)] == ["k"]


def test_a_finished_journal_is_set_aside(tmp_path: Path) -> None:
    for number in (1, 2):
        journal = Journal(tmp_path / "stops.db", keep_empty=False)
        if number == 2:
            assert journal.set_aside() == tmp_path / "stops.db.1"
            assert all_jobs(journal) == []
        submit(journal, f"of run {number}")
        journal.close()
    with contextlib.closing(Journal(tmp_path / "stops.db.1")) as first:
        assert [job.key for job in all_jobs(first)] == ["of run 1"]
    with contextlib.closing(Journal(tmp_path / "stops.db", keep_empty=False)) as third:
        assert third.set_aside().name == "stops.db.2"
    # Nothing came into the third one, so the second is back.
    assert not (tmp_path / "stops.db.2").exists()
    with contextlib.closing(Journal(tmp_path / "stops.db")) as second:
        assert [job.key for job in all_jobs(second)] == ["of run 2"]


def test_a_journal_that_is_being_read_is_not_set_aside(tmp_path: Path) -> None:
    """What is read is not taken from under the reader; who looks with this package never reads for long."""
    journal = Journal(tmp_path / "stops.db")
    submit(journal)
    with contextlib.closing(sqlite3.connect(tmp_path / "stops.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM job").fetchone()
        submit(journal, "later")
        journal.query("PRAGMA busy_timeout = 1")
        with pytest.raises(JournalError, match="is being read"):
            journal.set_aside()
        reader.execute("ROLLBACK")
    journal.set_aside()
    journal.close()


def test_the_log_does_not_stay_large(journal: Journal) -> None:
    """It grows while somebody reads for long; afterwards it is cut."""
    submit(journal)
    log = journal.path.with_name("stops.db-wal")
    with contextlib.closing(sqlite3.connect(journal.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM job").fetchone()
        for number in range(60):
            submit(journal, f"k{number}", parameters=f'{{"a":"{"x" * 500_000}"}}')
        assert log.stat().st_size > 24 * 2**20
        reader.execute("ROLLBACK")
    for number in range(3):
        submit(journal, f"l{number}", parameters=f'{{"a":"{"x" * 5_000_000}"}}')
    assert log.stat().st_size <= 16 * 2**20


def test_looking_at_all_jobs_does_not_hold_up_who_writes(journal: Journal) -> None:
    """They are read a thousand at a time: between two pages nothing is open."""
    load(journal, *(f"k{number}" for number in range(2500)))
    with contextlib.closing(Journal(journal.path, read_only=True)) as other:
        jobs = other.jobs()
        first = next(jobs)
        submit(journal, "last")
        assert journal.query("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0
        assert [first.key, *(job.key for job in jobs)] == [*(f"k{number}" for number in range(2500)), "last"]
        assert len(list(other.jobs(limit=1500))) == 1500
        assert [job.key for job in other.jobs("line > ?", (26,), limit=2)] == ["k25", "k26"]
        assert list(other.jobs(limit=0)) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE job SET state = 'odd'",
        "UPDATE job SET parameters = 'no JSON'",
        "UPDATE job SET lane = 99",
        "UPDATE job SET result = '{'",
        "UPDATE job SET state = CAST(x'ff' AS TEXT)",
        "UPDATE job SET code = CAST(x'ff' AS TEXT)",
        "DROP TABLE lane",
    ],
)
def test_a_damaged_journal_is_said_to_be_so(journal: Journal, damage: str) -> None:
    submit(journal)
    journal.query("PRAGMA writable_schema = 1")
    journal.query(damage)
    with pytest.raises(JournalError, match=r"stops\.db failed: "):
        all_jobs(journal)


def test_a_journal_with_flipped_bytes_gives_jobs_or_one_error(tmp_path: Path) -> None:
    """Whatever is looked at, at any place of the damage; no traceback comes of it."""
    path = tmp_path / "stops.db"
    with contextlib.closing(Journal(path)) as journal:
        load(journal, *(f"k{number}" for number in range(200)))
    whole, dice, refused = path.read_bytes(), random.Random(1), 0
    for _ in range(150):
        torn = bytearray(whole)
        for _ in range(dice.randint(1, 30)):
            torn[dice.randrange(len(torn))] = dice.randrange(256)
        path.write_bytes(torn[: dice.choice([len(torn), dice.randrange(len(torn))])])
        try:
            with contextlib.closing(Journal(path, read_only=True)) as journal:
                for look in (
                    journal.summary,
                    journal.counts,
                    journal.lanes,
                    journal.deferred,
                    lambda: all_jobs(journal),
                ):
                    look()
                journal.note("owner")
        except JournalError:
            refused += 1
    assert refused > 20


def test_a_journal_of_the_first_schema_is_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "stops.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript((Path(__file__).parent.parent / "vectors" / "journal-1.sql").read_text())
    with contextlib.closing(Journal(path, read_only=True)) as journal:
        assert [(job.key, job.state) for job in all_jobs(journal)] == [("a", JobState.DONE), ("b", JobState.PENDING)]
    with contextlib.closing(Journal(path)) as journal:
        assert journal.query("PRAGMA user_version") == [(2,)]
        assert take(journal) == [2]
        assert load(journal, "a").again == 1
    Journal(path).close()


def test_what_waits_in_a_journal_of_the_first_schema_goes_on_waiting(tmp_path: Path) -> None:
    path, now = tmp_path / "stops.db", time.time()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript((Path(__file__).parent.parent / "vectors" / "journal-1.sql").read_text())
        db.execute("UPDATE job SET due = ? WHERE key = 'b'", (now + 3600,))
    with contextlib.closing(Journal(path)) as journal:
        with journal.transaction():
            journal.bring_near(now=now)
            assert journal.take(1, 10, due=now + 3500, now=now)[0] == []
            journal.bring_near(now=now - 7200)
        assert take(journal, now=now - 3500) == [2]
