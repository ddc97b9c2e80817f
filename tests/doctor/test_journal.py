"""Journals that are broken in each way, and that the check leaves no trace of itself."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.doctor.findings import SUBJECT, find, statuses
from volc_moderation.doctor import journal as journal_check
from volc_moderation.doctor import journal_file
from volc_moderation.doctor.finding import Finding
from volc_moderation.doctor.journal import check_journal, judge_integrity, judge_jobs, judge_users
from volc_moderation.doctor.journal_file import Holders, JournalContent, holders_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import SCHEMA

pytestmark = pytest.mark.slow  # hundreds of one kind

GOOD = {"file": "ok", "integrity": "ok", "users": "ok", "jobs": "ok"}
VECTORS = Path(__file__).parents[1] / "vectors"

#: Uses a journal until its standard input ends; arguments are the journal, the access, and whether to lead.
HOLDER = """
import contextlib, sys
from volc_moderation.jobs.journal import Journal
journal = Journal(sys.argv[1], access=sys.argv[2])
if sys.argv[3] == "lead":
    assert journal.take_lead()
with contextlib.closing(journal):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return a journal with a job that is due and one that is not."""
    path = tmp_path / "calls.journal"
    Journal(path).close()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO lane VALUES (1, 'zego', 'hash', 'CloseRoom', '')")
        now = time.time()
        insert = "INSERT INTO job (key, lane, parameters, state, due, created) VALUES (?, 1, '{}', ?, ?, ?)"
        db.executemany(insert, [("a", "pending", now - 5, now), ("b", "pending", now + 60, now), ("c", "done", 0, 0)])
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("-wal", "-shm"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
    return path


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes()) for path in folder.iterdir()}


async def check(journal: Path) -> list[Finding]:
    """Check a journal, and check that nothing has changed."""
    before = snapshot(journal.parent)
    found = await check_journal(SUBJECT, journal)
    assert snapshot(journal.parent) == before
    return found


@contextlib.contextmanager
def holder(journal: Path, access: str, role: str = "") -> Iterator[int]:
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", HOLDER, str(journal), access, role], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


async def test_an_intact_journal(journal: Path) -> None:
    found = await check(journal)
    assert statuses(found) == GOOD
    assert find(found, "integrity").detail == "intact"
    assert "no process has it open; last run by process" in find(found, "users").detail
    assert find(found, "jobs").detail == "1 done, 2 pending; the oldest due job waits for 5 s"
    assert find(found, "jobs").facts["jobs"] == {"done": 1, "pending": 2}
    assert find(found, "file").facts["bytes"] == len(snapshot(journal.parent)[journal.name][2])


async def test_a_missing_journal_is_not_created(tmp_path: Path) -> None:
    found = await check(tmp_path / "none.journal")
    assert statuses(found) == {"file": "failed"}
    assert "there is no journal" in found[0].detail
    assert not snapshot(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "it is empty"), (b"room_id\nroom\n" * 100, "is not an SQLite file"), (None, "not a regular file")],
)
async def test_other_files(tmp_path: Path, content: bytes | None, text: str) -> None:
    path = tmp_path / "calls.csv"
    path.mkdir() if content is None else path.write_bytes(content)
    found = await check_journal(SUBJECT, path)
    assert "failed" in statuses(found).values()
    assert text in found[-1].detail


@pytest.mark.parametrize(
    ("pragma", "text"),
    [("application_id = 1", "another program"), (f"user_version = {SCHEMA + 1}", f"has schema {SCHEMA + 1}")],
)
async def test_files_of_other_programs_and_newer_versions(journal: Path, pragma: str, text: str) -> None:
    with contextlib.closing(sqlite3.connect(journal)) as db:
        db.execute(f"PRAGMA {pragma}")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = await check(journal)
    assert statuses(found) == {"file": "failed"}
    assert text in found[0].detail


async def test_a_journal_of_an_older_version_is_not_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "old.journal"
    path.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript((VECTORS / "journal-1.sql").read_text())
    found = await check(path)
    assert find(found, "integrity").status.value == "ok"
    assert f"which the next run upgrades to {SCHEMA}" in find(found, "integrity").detail


async def test_a_link_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "calls.journal"
    path.symlink_to(path)
    assert statuses(await check_journal(SUBJECT, path)) == {"file": "failed"}


async def test_a_journal_that_another_program_locks(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_check, "holders_of", lambda _: Holders(user=1))
    monkeypatch.setattr(journal_file, "BUSY_TIMEOUT", 0.0)
    with contextlib.closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA locking_mode = EXCLUSIVE")
        db.execute("DELETE FROM job WHERE key = 'a'")
        db.commit()
        found = await check_journal(SUBJECT, journal)
    assert statuses(found) == {"file": "ok", "integrity": "failed"}
    assert "another process locks it" in find(found, "integrity").detail


async def test_a_damaged_journal(journal: Path) -> None:
    with journal.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096 * 3)
    found = await check(journal)
    assert statuses(found) == {"file": "ok", "integrity": "failed"}
    assert "recover" in found[1].next_step


async def test_an_index_that_misses_a_job_is_damage(journal: Path) -> None:
    """Such a job would never be found due."""
    with contextlib.closing(sqlite3.connect(journal)) as db:
        db.execute("PRAGMA writable_schema = 1")
        text = "CREATE INDEX due ON job (lane, due) WHERE state = 'done'"
        db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'due'", (text,))
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    found = await check(journal)
    assert find(found, "integrity").status.value == "failed"


@pytest.mark.slow
async def test_who_uses_a_journal(journal: Path) -> None:
    """The lock tells, and asking takes none: others can still lead, and have the journal alone."""
    with holder(journal, "shared") as user:
        found = await check_journal(SUBJECT, journal)
        facts = find(found, "users").facts
        assert (facts["leader"], facts["user"], facts["owner"]) == (None, user, None)
        assert statuses(found)["users"] == "warning"
        with holder(journal, "shared", "lead") as leader:
            found = await check_journal(SUBJECT, journal)
            assert statuses(found) == GOOD
            assert find(found, "users").detail == f"process {leader} runs its jobs"
    with holder(journal, "exclusive") as owner:
        found = await check_journal(SUBJECT, journal)
        assert statuses(found) == GOOD
        assert find(found, "users").detail == f"process {owner} has it alone"
    assert holders_of(journal) == Holders()


@pytest.mark.slow
async def test_a_journal_whose_process_was_killed_is_read_with_its_log(journal: Path) -> None:
    """The log has the newest jobs. It is left for the next process, which recovers it."""
    program = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]);"
        " db.execute(\"UPDATE job SET state = 'failed' WHERE key = 'a'\"); db.commit(); os._exit(0)"
    )
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program, str(journal)], check=True)
    log = journal.with_name(f"{journal.name}-wal")
    assert log.stat().st_size
    found = await check(journal)
    assert find(found, "jobs").facts["jobs"] == {"done": 1, "failed": 1, "pending": 1}
    assert find(found, "file").facts["log_bytes"] == log.stat().st_size


async def test_a_process_that_begins_while_the_journal_is_read(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read without a lock may then look damaged, and is read again."""
    answers = iter([Holders(), Holders(leader=1)])
    monkeypatch.setattr(journal_check, "holders_of", lambda _: next(answers))
    reads: list[bool] = []

    def read(file: Path, *, is_in_use: bool, deadline: float) -> JournalContent:
        reads.append(is_in_use)
        if not is_in_use:
            raise sqlite3.DatabaseError("malformed")
        return JournalContent(SCHEMA, [], {}, None, None)

    monkeypatch.setattr(journal_check, "read_journal", read)
    assert statuses(await check(journal)) == GOOD
    assert reads == [False, True]


async def test_a_large_journal_with_a_log_is_not_copied(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal.with_name(f"{journal.name}-wal").write_bytes(b"x")
    monkeypatch.setattr(journal_file, "MAX_COPY_BYTES", 1)
    found = await check(journal)
    assert statuses(found) == {"file": "failed"}
    assert "too large" in found[0].detail


async def test_a_folder_that_cannot_be_written(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    found = await check(journal)
    assert statuses(found) == {"file": "failed"}
    assert "is not writable" in found[0].detail


async def test_a_journal_of_another_user(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    found = await check(journal)
    assert statuses(found) == {"file": "failed"}
    assert "belongs to user" in found[0].detail


async def test_a_journal_that_others_can_read(journal: Path) -> None:
    os.chmod(journal, 0o644)  # noqa: PTH101 - as good
    found = await check(journal)
    assert statuses(found) == GOOD | {"file": "warning"}
    assert "chmod 600" in find(found, "file").next_step


async def test_a_full_disk(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1024))
    found = await check(journal)
    assert statuses(found) == GOOD | {"file": "warning"}
    assert "1.0 KiB free" in find(found, "file").detail


async def test_a_network_file_system(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_check, "file_system", lambda _: "nfs4")
    found = await check(journal)
    assert statuses(found) == {"file": "failed"}


async def test_a_system_that_does_not_tell(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "fcntl", None)
    assert holders_of(journal) is None
    assert statuses(await check_journal(SUBJECT, journal)) == GOOD | {"users": "skipped"}


async def test_a_check_without_time_is_skipped(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_check, "READ_SECONDS", -1.0)
    monkeypatch.setattr(journal_file, "_PROGRESS_STEPS", 1)
    assert statuses(await check(journal)) == GOOD | {"integrity": "skipped"}


@pytest.mark.parametrize(("silence", "status"), [(10, "ok"), (90, "warning")])
def test_a_long_list_takes_its_time(silence: int, status: str) -> None:
    content = JournalContent(SCHEMA, [], {"pending": 1}, 1000.0, None, 8200 - silence)
    finding = judge_jobs(SUBJECT, Path("calls"), content, Holders(leader=1), now=8200.0)
    assert statuses([finding]) == {"jobs": status}
    assert f"and the last response came {silence} s ago" in finding.detail
    assert judge_jobs(SUBJECT, Path("calls"), content, Holders(), now=8200.0).status.value == "warning"


@pytest.mark.parametrize(
    ("overdue", "holders", "status", "text"),
    [
        (-60, Holders(), "ok", "the next one is due in 60 s"),
        (30, Holders(), "ok", "waits for 30 s"),
        (7200, Holders(), "warning", "bulk --resume --journal 'my calls'"),
        (7200, Holders(leader=1), "warning", "look at why they wait"),
    ],
)
def test_jobs_that_wait_for_long(overdue: float, holders: Holders, status: str, text: str) -> None:
    content = JournalContent(SCHEMA, [], {"pending": 1}, 1000.0, None)
    finding = judge_jobs(SUBJECT, Path("my calls"), content, holders, now=1000.0 + overdue)
    assert statuses([finding]) == {"jobs": status}
    assert text in f"{finding.detail} {finding.next_step}"


def test_other_answers_in_words() -> None:
    empty = JournalContent(SCHEMA, ["row 1 missing"], {}, None, "process 1 on host")
    assert judge_jobs(SUBJECT, Path("calls"), empty, None, now=0).detail == "no jobs"
    assert judge_integrity(SUBJECT, empty).detail == "damaged: row 1 missing"
    assert "another container" in judge_users(SUBJECT, Holders(leader=0), None).detail
