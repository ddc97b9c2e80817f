"""Reads a journal without any trace: it is not created, locked or changed, and neither are the files beside it.

Only for a process that does not use the journal itself: closing the file of the lock would release its own locks.
"""

import contextlib
import shutil
import sqlite3
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from volc_moderation.jobs.journal.schema import APPLICATION_ID, SCHEMA

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

#: Where SQLite's locks on a file are: https://www.sqlite.org/src/file/src/os.h
_PENDING, _RESERVED, _SHARED, _SHARED_SIZE = 0x40000000, 0x40000001, 0x40000002, 510
#: ``struct flock``: type, whence, start, length and process, in the order of a system of 64 bits.
_FLOCKS = {"linux": ("hhqqi4x", (0, 1, 2, 3, 4)), "darwin": ("qqihh", (3, 4, 0, 1, 2))}
#: A larger journal that was left with a write-ahead log is not copied.
MAX_COPY_BYTES = 2**30
#: Seconds that SQLite waits for a lock of another process.
BUSY_TIMEOUT = 2.0
#: Steps of SQLite between two looks at the clock.
_PROGRESS_STEPS = 10_000
#: Faults of an integrity check that are looked for.
MAX_FAULTS = 3


class Holders(NamedTuple):
    """Which processes use a journal, by their ids; 0 is one of another container or machine."""

    #: The one that runs the calls.
    leader: int | None = None
    #: One that uses the journal together with others; there may be more.
    user: int | None = None
    #: The one that has the journal alone.
    owner: int | None = None

    @property
    def is_in_use(self) -> bool:
        """Whether any process has the journal open for writing."""
        return (self.leader, self.user, self.owner) != (None, None, None)


class JournalContent(NamedTuple):
    """What a journal says."""

    schema: int
    #: What SQLite finds wrong; empty if nothing is; None if there was no time to look.
    faults: list[str] | None
    #: Jobs by state.
    jobs: dict[str, int]
    #: When the job that waits longest is due, in Unix seconds.
    oldest_due: float | None
    #: Who ran the calls last.
    owner: str | None
    #: When the last response came, in whole Unix seconds.
    last_response: int | None = None


class NotAJournalError(Exception):
    """The file is no journal, or one that this version cannot read. The text says why."""


def holders_of(journal: Path) -> Holders | None:
    """Return which processes use a journal; None if the system does not tell."""
    if fcntl is None or sys.platform not in _FLOCKS or sys.maxsize < 2**32:
        return None
    try:
        file = journal.with_name(f"{journal.name}-lock").open("rb")
    except FileNotFoundError:
        return Holders()
    with file:
        kind, shared = _lock_at(file.fileno(), _SHARED, _SHARED_SIZE)
        _, leader = _lock_at(file.fileno(), _RESERVED, 1)
    if kind == fcntl.F_WRLCK:
        return Holders(owner=shared)
    return Holders(leader=leader, user=shared)


def _lock_at(file: int, start: int, length: int) -> tuple[int, int | None]:
    """Return the kind of a lock that others hold on bytes of a file, and one of its holders; None if there is none."""
    form, order = _FLOCKS[sys.platform]
    fields = [0] * len(order)
    for position, value in zip(order, (fcntl.F_WRLCK, 0, start, length, 0), strict=True):
        fields[position] = value
    answer = struct.unpack(form, fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(form, *fields)))
    kind, pid = answer[order[0]], answer[order[4]]
    return (kind, None) if kind == fcntl.F_UNLCK else (kind, max(pid, 0))


def read_journal(journal: Path, *, is_in_use: bool, deadline: float) -> JournalContent:
    """Read a journal. Blocking.

    :param is_in_use: whether a process has it open.
    :param deadline: on ``time.monotonic``; the check of integrity ends then.

    Raises ``NotAJournalError``, ``OSError`` and ``sqlite3.Error``.
    """
    log = journal.with_name(f"{journal.name}-wal")
    with contextlib.ExitStack() as stack:
        address = f"{journal.absolute().as_uri()}?mode=ro"
        if not is_in_use and not (log.exists() and log.stat().st_size):
            address += "&immutable=1"  # or SQLite would create the files of the log
        elif not is_in_use:
            address = stack.enter_context(_copy(journal, log)).as_uri()
        db = stack.enter_context(
            contextlib.closing(sqlite3.connect(address, BUSY_TIMEOUT, uri=True, isolation_level=None))
        )
        db.execute("BEGIN")
        schema = _schema(db)
        jobs = dict(db.execute("SELECT state, count(*) FROM job GROUP BY state"))
        ((oldest_due,),) = db.execute("SELECT min(due) FROM job WHERE state = 'pending'")
        owner = db.execute("SELECT value FROM note WHERE name = 'owner'").fetchone()
        ((last_response,),) = db.execute("SELECT max(second) FROM second")
        faults = _faults(db, deadline)
        return JournalContent(schema, faults, jobs, oldest_due, owner[0] if owner else None, last_response)


@contextlib.contextmanager
def _copy(journal: Path, log: Path) -> Iterator[Path]:
    """Copy a journal whose last process has not ended well, with its log: reading the log changes the files."""
    if journal.stat().st_size + log.stat().st_size > MAX_COPY_BYTES:
        raise NotAJournalError("it is too large to be read without changing it; the next process that opens it will")
    with tempfile.TemporaryDirectory(prefix="volc-moderation-") as folder:
        copy = Path(folder) / "journal"
        shutil.copyfile(journal, copy)
        shutil.copyfile(log, copy.with_name("journal-wal"))
        yield copy


def _schema(db: sqlite3.Connection) -> int:
    """Return the schema. Raises ``NotAJournalError`` unless this version can read it."""
    ((application,),) = db.execute("PRAGMA application_id")
    ((schema,),) = db.execute("PRAGMA user_version")
    if not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise NotAJournalError("it is empty")
    if application != APPLICATION_ID:
        raise NotAJournalError("it is an SQLite file of another program")
    if schema > SCHEMA:
        raise NotAJournalError(
            f"it has schema {schema}, of a newer version of volc_moderation; this one knows up to {SCHEMA}"
        )
    return int(schema)


def _faults(db: sqlite3.Connection, deadline: float) -> list[str] | None:
    """Return what SQLite finds wrong; None if there is no time to look."""
    db.set_progress_handler(lambda: time.monotonic() > deadline, _PROGRESS_STEPS)
    try:
        rows = db.execute(f"PRAGMA integrity_check({MAX_FAULTS})").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return None
        raise
    return [str(text) for (text,) in rows if text != "ok"]
