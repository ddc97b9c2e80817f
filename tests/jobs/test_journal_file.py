"""The file of a journal: its lock, its names, what happens when it is closed, full, damaged or of an older schema."""

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
from tests.jobs.journals import all_jobs, load, submit, take
from volc_moderation import JournalError
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with contextlib.closing(Journal(tmp_path / "stops.db")) as journal:
        yield journal


def test_only_its_owner_can_read_a_journal(journal: Journal) -> None:
    """Parameters may contain the token of a user."""
    submit(journal)
    files = list(journal.path.parent.glob("stops.db*"))
    assert {file.name for file in files} >= {"stops.db", "stops.db-wal", "stops.db-lock"}
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_others_can_read_a_journal_in_use(journal: Journal) -> None:
    submit(journal)
    with contextlib.closing(Journal(journal.path, access="read")) as other:
        assert [job.key for job in all_jobs(other)] == ["k"]
        with pytest.raises(JournalError, match="is read-only"), other.transaction():
            other.retry_ended(due=NOW)


def test_a_second_writer_is_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match=r"is in use: process [0-9]+ on "):
        Journal(journal.path)
    journal.close()
    Journal(journal.path).close()


@pytest.mark.slow
def test_a_process_that_was_killed_holds_no_lock(tmp_path: Path) -> None:
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
    for access in ("exclusive", "shared", "read"):
        with pytest.raises(JournalError, match="schema 99, of a newer version"):
            Journal(path, access=access, keep_empty=False)
        assert path.exists()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("app_id,room_id\n" * 100)
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as db:
        db.execute("CREATE TABLE t (a)")
    for name, reason in (
        ("text", "not an SQLite file"),
        ("other", "but not a journal"),
        (".", "is not a regular file"),
        ("no/where", "there is no directory .*/no for the journal"),
    ):
        with pytest.raises(JournalError, match=reason):
            Journal(tmp_path / name)
    with pytest.raises(JournalError, match="there is no journal"):
        Journal(tmp_path / "none", access="read")
    assert not (tmp_path / "none").exists()


def test_a_full_disk_is_reported_and_loses_nothing(journal: Journal) -> None:
    submit(journal, "before")
    (pages,) = journal._query("PRAGMA page_count")[0]
    journal._query(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(JournalError, match=r"the disk is full. No accepted job is lost"):
        for number in range(1000):
            submit(journal, f"after {number}", parameters=f'{{"a":"{"x" * 500}"}}')
    journal._query("PRAGMA max_page_count = 1000000")
    kept = [job.key for job in all_jobs(journal)]
    assert kept[0] == "before"
    assert journal._query("PRAGMA integrity_check") == [("ok",)]
    submit(journal, "room again")
    assert len(all_jobs(journal)) == len(kept) + 1


def two_names(folder: Path) -> list[tuple[Path, Path]]:
    """Return pairs of names of one file that does not exist yet."""
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real")
    (folder / "stops-link.db").symlink_to(folder / "real" / "stops.db")
    return [
        (folder / "real" / "stops.db", folder / "link" / "stops.db"),
        (folder / "real" / "stops.db", folder / "stops-link.db"),
        (folder / "real" / "stops.db", folder / "real" / ".." / "real" / "stops.db"),
    ]


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("exists", [True, False])
def test_a_journal_has_one_writer_under_all_of_its_names(tmp_path: Path, number: int, exists: bool) -> None:
    one, other = two_names(tmp_path)[number]
    if exists:
        Journal(one).close()
    for first, second in ((one, other), (other, one)):
        with contextlib.closing(Journal(first)), pytest.raises(JournalError, match="is in use"):
            Journal(second)


def test_a_relative_path_names_the_same_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(Journal("stops.db")), pytest.raises(JournalError, match="is in use"):
        Journal(tmp_path / "stops.db")


@pytest.mark.parametrize("linked", ["stops.db", "stops.db-lock"])
def test_a_journal_with_a_hard_link_is_refused(tmp_path: Path, linked: str) -> None:
    Journal(tmp_path / "stops.db").close()
    os.link(tmp_path / linked, tmp_path / "other")
    with pytest.raises(JournalError, match=r"has 2 names \(hard links\)"):
        Journal(tmp_path / "stops.db")
    (tmp_path / "other").unlink()
    Journal(tmp_path / "stops.db").close()


@pytest.mark.parametrize("name", ["", ":memory:", "file:stops.db", "file::memory:?cache=shared"])
def test_a_journal_must_be_a_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(JournalError, match="must be a file that outlives this process"):
        Journal(name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("owned", ["stops.db", "stops.db-lock"])
def test_a_journal_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owned: str) -> None:
    """Even for the superuser: the owner could not write the files that it creates beside the journal."""
    Journal(tmp_path / "stops.db").close()
    if owned == "stops.db-lock":
        (tmp_path / "stops.db").unlink()
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    with pytest.raises(JournalError, match=f"{owned} belongs to user {me}, and this is user {me + 1}"):
        Journal(tmp_path / "stops.db")


def error_for_an_ordinary_user(folder: Path) -> str:
    """Open a journal in a process that is not the superuser's, which can write everywhere; return the error."""
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


def test_a_directory_must_be_writable() -> None:
    with tempfile.TemporaryDirectory() as name:  # other users cannot enter pytest's own
        folder = Path(name)
        Journal(folder / "stops.db").close()
        folder.chmod(0o555)
        error = error_for_an_ordinary_user(folder)
        folder.chmod(0o755)
    assert error == f"the journal {folder}/other.db needs files beside it, but {folder} is not writable"


def test_a_removed_lock_is_created_again(tmp_path: Path) -> None:
    """If a user removes the file of a lock, only one of the next two processes gets a lock."""
    first = Journal(tmp_path / "stops.db")
    (tmp_path / "stops.db-lock").unlink()
    second = Journal(tmp_path / "stops.db")
    with pytest.raises(JournalError, match="is in use"):
        Journal(tmp_path / "stops.db")
    first.close()
    second.close()


@pytest.mark.parametrize("when", ["before it is opened", "before it is locked"])
@pytest.mark.parametrize("has_new_lock", [True, False])
def test_a_lock_may_be_removed_while_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, has_new_lock: bool
) -> None:
    """A run that ends without a job removes its lock at this moment, and the next run may have created its own."""
    path = tmp_path / "stops.db"
    first, others = Journal(path, keep_empty=False), []
    connect = sqlite3.connect

    def slow(name: str, **options: Any) -> Any:
        monkeypatch.undo()
        lock = connect(name, **options) if when == "before it is locked" else None
        first.close()
        if has_new_lock:
            others.append(Journal(path))
        return lock or connect(name, **options)

    monkeypatch.setattr(sqlite3, "connect", slow)
    if has_new_lock:
        with pytest.raises(JournalError, match="is in use"):
            Journal(path)
    else:
        others.append(Journal(path))
    for journal in others:
        with pytest.raises(JournalError, match="is in use"):
            Journal(path)
        journal.close()


def test_an_empty_journal_is_removed(tmp_path: Path) -> None:
    Journal(tmp_path / "stops.db", keep_empty=False).close()
    assert list(tmp_path.iterdir()) == []
    Journal(tmp_path / "stops.db").close()
    Journal(tmp_path / "stops.db", keep_empty=False).close()
    assert (tmp_path / "stops.db").exists()  # it existed before


@pytest.mark.parametrize("end", [Journal.close, Journal.abandon])
def test_a_closed_journal_removes_nothing_later(tmp_path: Path, end: Callable[[Journal], None]) -> None:
    first = Journal(tmp_path / "stops.db", keep_empty=False)
    end(first)
    assert not (tmp_path / "stops.db").exists()
    with contextlib.closing(Journal(tmp_path / "stops.db")):
        first.abandon()
        first.close()
        assert sorted(path.name for path in tmp_path.iterdir() if "lock" not in path.name) == [
            *("stops.db", "stops.db-shm", "stops.db-wal")
        ]


def test_an_abandoned_journal_is_left_as_it_was_found(tmp_path: Path) -> None:
    path = tmp_path / "stops.db"
    with contextlib.closing(Journal(path, keep_empty=False)) as new:
        submit(new)
        new.abandon()
        assert list(tmp_path.iterdir()) == []
    with contextlib.closing(Journal(path)) as kept:
        submit(kept)
        kept.abandon()
        with contextlib.closing(Journal(path, keep_empty=False)) as second:  # and its lock is free
            assert [job.key for job in all_jobs(second)] == ["k"]
            second.set_aside()
            submit(second, "lost")
            second.abandon()
            assert not path.with_name("stops.db.1").exists()
    with contextlib.closing(Journal(path, keep_empty=False)) as again:
        assert [job.key for job in all_jobs(again)] == ["k"]
        again.abandon()
    assert path.exists()


def test_a_journal_that_cannot_be_read_at_the_end_is_kept(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "stops.db", keep_empty=False)
    journal._query("DROP TABLE job")
    journal.close()
    assert (tmp_path / "stops.db").exists()


def test_a_durable_transaction_syncs_the_disk(journal: Journal) -> None:
    """In SQLite, ``synchronous`` 1 is NORMAL and 2 is FULL."""
    for durable in (True, False, False, True):
        with journal.transaction(durable=durable):
            assert journal._query("PRAGMA synchronous") == [(2 if durable else 1,)]


def test_a_refused_writer_removes_nothing(tmp_path: Path) -> None:
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
    # The third one got no job, so the second is restored.
    assert not (tmp_path / "stops.db.2").exists()
    with contextlib.closing(Journal(tmp_path / "stops.db")) as second:
        assert [job.key for job in all_jobs(second)] == ["of run 2"]


def test_a_journal_that_is_being_read_is_not_set_aside(tmp_path: Path) -> None:
    """A reader keeps its file. Reads of this package never take long."""
    journal = Journal(tmp_path / "stops.db")
    submit(journal)
    with contextlib.closing(sqlite3.connect(tmp_path / "stops.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM job").fetchone()
        submit(journal, "later")
        journal._query("PRAGMA busy_timeout = 1")
        with pytest.raises(JournalError, match="is being read"):
            journal.set_aside()
        reader.execute("ROLLBACK")
    journal.set_aside()
    journal.close()


@pytest.mark.slow
def test_the_write_ahead_log_does_not_stay_large(journal: Journal) -> None:
    """It grows during a long read; afterwards it is truncated."""
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
def test_a_damaged_journal_is_reported(journal: Journal, damage: str) -> None:
    submit(journal)
    journal._query("PRAGMA writable_schema = 1")
    journal._query(damage)
    with pytest.raises(JournalError, match=r"stops\.db failed: "):
        all_jobs(journal)


@pytest.mark.slow
def test_a_journal_with_flipped_bytes_yields_jobs_or_a_journal_error(tmp_path: Path) -> None:
    """No other exception is raised, whatever the query and wherever the damage."""
    path = tmp_path / "stops.db"
    with contextlib.closing(Journal(path)) as journal:
        load(journal, *(f"k{number}" for number in range(200)))
    intact, dice, errors = path.read_bytes(), random.Random(1), 0
    for _ in range(150):
        damaged = bytearray(intact)
        for _ in range(dice.randint(1, 30)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged[: dice.choice([len(damaged), dice.randrange(len(damaged))])])
        try:
            with contextlib.closing(Journal(path, access="read")) as journal:
                for query in (
                    journal.summary,
                    journal.counts,
                    journal.counts_by_action,
                    journal.lanes,
                    journal.deferred,
                    journal.failure_codes,
                    lambda: journal.outcomes(100),
                    lambda: journal.answer_span(idle_after=60),
                    lambda: journal.duration_cells("waited"),
                    lambda: journal.slowest(20),
                    lambda: all_jobs(journal),
                ):
                    query()
                journal.note("owner")
        except JournalError:
            errors += 1
    assert errors > 20


def test_a_journal_of_the_first_schema_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "stops.db"
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript((Path(__file__).parent.parent / "vectors" / "journal-1.sql").read_text())
    with contextlib.closing(Journal(path, access="read")) as journal:
        assert [(job.key, job.state) for job in all_jobs(journal)] == [("a", JobState.DONE), ("b", JobState.PENDING)]
    with contextlib.closing(Journal(path)) as journal:
        assert journal._query("PRAGMA user_version") == [(3,)]
        assert take(journal) == [2]
        assert load(journal, "a").again == 1
    Journal(path).close()


def test_pending_jobs_of_the_first_schema_keep_waiting(tmp_path: Path) -> None:
    path, now = tmp_path / "stops.db", time.time()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript((Path(__file__).parent.parent / "vectors" / "journal-1.sql").read_text())
        db.execute("UPDATE job SET due = ? WHERE key = 'b'", (now + 3600,))
    with contextlib.closing(Journal(path)) as journal:
        with journal.transaction():
            journal.clamp_due_times(now=now)
            assert journal.take(1, 10, due=now + 3500, now=now)[0] == []
            journal.clamp_due_times(now=now - 7200)
        assert take(journal, now=now - 3500) == [2]
