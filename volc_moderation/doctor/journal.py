"""The journal: whether it is one, is intact and has room, which job waits longest, and which process runs it."""

import asyncio
import os
import shlex
import shutil
import sqlite3
import time
from pathlib import Path

from volc_moderation.doctor.finding import Fact, Finding, Status, Subject
from volc_moderation.doctor.journal_file import Holders, JournalContent, NotAJournalError, holders_of, read_journal
from volc_moderation.errors import JournalError
from volc_moderation.jobs.journal.file import check_writable
from volc_moderation.jobs.journal.schema import SCHEMA
from volc_moderation.printable import counted
from volc_moderation.quotas.quota_path import NETWORK_FILE_SYSTEMS, file_system

#: For reading the journal; the check of its integrity ends then.
READ_SECONDS = 8.0
#: A disk with less room may be full before anybody looks again.
MIN_FREE_BYTES = 100 * 2**20
#: A job that is due for longer is not only waiting for its turn.
MAX_OVERDUE = 60.0  # seconds


async def check_journal(subject: Subject, path: Path) -> list[Finding]:
    """Check a journal. Nothing is created, locked or changed."""
    return await asyncio.get_running_loop().run_in_executor(None, _check, subject, path)


def _check(subject: Subject, path: Path) -> list[Finding]:
    try:
        found = [_check_file(subject, path, path.resolve())]
        if found[0].status is Status.FAILED:
            return found
        content, holders = _read(path.resolve())
    except NotAJournalError as error:
        step = f"check the path; a newer journal needs a newer volc_moderation; {path} was not changed"
        return [subject.failed("file", f"{path} cannot be used: {error}", step)]
    except OSError as error:
        step = "run this command as the user of the journal, or correct the permissions"
        return [subject.failed("file", f"{path} cannot be read: {error.strerror}", step)]
    except sqlite3.Error as error:
        return _judge_error(subject, path, found, error)
    except RuntimeError:
        step = "give the path of a file"
        return [subject.failed("file", f"{path} cannot be read: its symbolic links lead nowhere", step)]
    return [
        *found,
        judge_integrity(subject, content),
        judge_users(subject, holders, content.owner),
        judge_jobs(subject, path, content, holders, now=time.time()),
    ]


def _read(file: Path) -> tuple[JournalContent, Holders | None]:
    """Read a journal, and which processes use it.

    Raises ``NotAJournalError``, ``OSError`` and ``sqlite3.Error``.
    """
    holders, deadline = holders_of(file), time.monotonic() + READ_SECONDS
    if holders is not None and not holders.is_in_use:
        try:
            content = read_journal(file, is_in_use=False, deadline=deadline)
            if not content.faults:
                return content, holders
        except sqlite3.Error:
            pass
        holders = holders_of(file)  # a process that has just begun may write while the file is read
    is_in_use = holders is None or holders.is_in_use
    return read_journal(file, is_in_use=is_in_use, deadline=deadline), holders


def _check_file(subject: Subject, path: Path, file: Path) -> Finding:
    """Check the file and its folder. Raises ``OSError``."""
    if not file.exists():
        return subject.failed(
            "file", f"there is no journal {path}", "check the path; the first run creates the journal"
        )
    try:
        check_writable(path, file)
    except JournalError as error:
        step = "run as the owner of the journal, in a folder that it can write"
        return subject.failed("file", str(error), step)
    status, log = file.stat(), file.with_name(f"{file.name}-wal")
    size, log_size = status.st_size, log.stat().st_size if log.exists() else 0
    free = shutil.disk_usage(file.parent).free
    kind = file_system(status.st_dev)
    facts: dict[str, Fact] = {"path": str(path), "bytes": size, "log_bytes": log_size, "free_bytes": free}
    detail = f"{path}: {_size(size)}, log {_size(log_size)}, {_size(free)} free"
    if kind in NETWORK_FILE_SYSTEMS:
        step = "move the journal to a local disk, while no process uses it"
        return subject.failed("file", f"{detail}; {kind} is a network file system, which damages it", step, **facts)
    if free < MIN_FREE_BYTES:
        return subject.warning("file", detail, "free some space: without it, no job is accepted", **facts)
    if os.name == "posix" and status.st_mode & 0o077:
        step = f"chmod 600 {shlex.quote(str(path))}: it holds ids and texts of users"
        return subject.warning("file", f"{detail}; other users can read it", step, **facts)
    return subject.ok("file", detail, **facts)


def judge_integrity(subject: Subject, content: JournalContent) -> Finding:
    """Judge what SQLite finds wrong."""
    if content.faults is None:
        return subject.skipped("integrity", f"too large to be checked within {READ_SECONDS:g} s", schema=content.schema)
    if content.faults:
        return _damaged(subject, content.faults)
    older = "" if content.schema == SCHEMA else f"; schema {content.schema}, which the next run upgrades to {SCHEMA}"
    return subject.ok("integrity", f"intact{older}", schema=content.schema, faults=[])


def _judge_error(subject: Subject, path: Path, found: list[Finding], error: sqlite3.Error) -> list[Finding]:
    """Judge an error of SQLite: only some of them mean damage."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code
    if code == sqlite3.SQLITE_NOTADB:
        return [subject.failed("file", f"{path} is not an SQLite file", "check the path")]
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        step = "look for a program that has it open and is no volc_moderation, or is suspended"
        return [*found, subject.failed("integrity", f"another process locks it: {error}", step)]
    if code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM}:
        step = "look at the disk, and at the permissions of the files beside the journal"
        return [*found, subject.failed("integrity", f"it cannot be read: {error}", step)]
    return [*found, _damaged(subject, [str(error)])]


def _damaged(subject: Subject, faults: list[str]) -> Finding:
    step = "stop what uses it, copy the file, and save its jobs: sqlite3 FILE .recover; then start with a new journal"
    return subject.failed("integrity", f"damaged: {'; '.join(faults)}", step, faults=faults)


def judge_users(subject: Subject, holders: Holders | None, last_owner: str | None) -> Finding:
    """Report which processes use the journal."""
    last = f"; last run by {last_owner}" if last_owner else ""
    facts: dict[str, Fact] = {"last_owner": last_owner}
    if holders is None:
        return subject.skipped("users", f"this system does not tell who uses it{last}", **facts)
    facts |= {"leader": holders.leader, "user": holders.user, "owner": holders.owner}
    if holders.owner is not None:
        return subject.ok("users", f"{_process(holders.owner)} has it alone", **facts)
    if holders.leader is not None:
        return subject.ok("users", f"{_process(holders.leader)} runs its jobs", **facts)
    if holders.user is not None:
        step = "if it stays so for a minute, look at the log of that process: it cannot take the lead"
        return subject.warning("users", f"{_process(holders.user)} uses it, and nobody runs its jobs", step, **facts)
    return subject.ok("users", f"no process has it open{last}", **facts)


def _process(pid: int) -> str:
    return f"process {pid}" if pid else "a process of another container or machine"


def judge_jobs(
    subject: Subject, path: Path, content: JournalContent, holders: Holders | None, *, now: float
) -> Finding:
    """Judge how long jobs wait, at a Unix time."""
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(content.jobs.items())) or "no jobs"
    overdue = None if content.oldest_due is None else now - content.oldest_due
    facts: dict[str, Fact] = {
        "jobs": dict(content.jobs),
        "oldest_due_seconds": None if overdue is None else round(overdue, 1),
    }
    if overdue is None:
        return subject.ok("jobs", counts, **facts)
    if overdue <= 0:
        return subject.ok("jobs", f"{counts}; the next one is due in {_span(-overdue)}", **facts)
    detail = f"{counts}; the oldest due job waits for {_span(overdue)}"
    is_running = holders is None or holders.is_in_use
    silence = None if content.last_response is None else max(0.0, now - content.last_response)
    facts["last_response_seconds"] = None if silence is None else round(silence)
    if is_running and silence is not None:
        detail += f", and the last response came {_span(silence)} ago"
    if overdue <= MAX_OVERDUE or (is_running and silence is not None and silence <= MAX_OVERDUE):
        return subject.ok("jobs", detail, **facts)  # a long list takes its time
    if holders is not None and not holders.is_in_use:
        step = f"nobody runs them: start the app, or volc-moderation bulk --resume --journal {shlex.quote(str(path))}"
    else:
        step = f"look at why they wait: volc-moderation jobs {shlex.quote(str(path))}, and the checks of the accounts"
    return subject.warning("jobs", detail, step, **facts)


def _size(size: int) -> str:
    for unit, length in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return counted(size, "byte")


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
