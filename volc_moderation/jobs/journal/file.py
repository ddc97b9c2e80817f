"""The file of a journal: how it is locked, opened, closed, removed and set aside. Blocking.

It is in WAL mode (https://www.sqlite.org/wal.html): a process that is killed leaves it intact, and other processes can
read it meanwhile. Several processes write it in turn if all of them share its lock; a process that has the lock alone
may also remove and rename files.
"""

import contextlib
import itertools
import math
import os
import socket
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from volc_moderation.errors import JournalError
from volc_moderation.jobs.journal.lock import (
    JournalBusyError,
    JournalInUseError,
    JournalLock,
    create_private_file,
    identity_of,
)
from volc_moderation.jobs.journal.schema import APPLICATION_ID, SCHEMA, TABLES, UPGRADES

#: How a process uses a journal: it reads it, writes it together with others, or has it alone.
Access = Literal["read", "shared", "exclusive"]

#: KiB of memory for pages. With less, keys in random order cause the same pages to be read and written repeatedly.
PAGE_CACHE_KIB = 8000
#: Bytes to which the write-ahead log is truncated once it is copied into the journal. It grows beyond during a read.
MAX_LOG_BYTES = 16 * 2**20
#: A socket's name has about a hundred bytes, directory included; that of a journal may have more.
MAX_SOCKET_STEM_BYTES = 60
# Seconds. While another process commits, which takes a few milliseconds, this one tries again and again. SQLite's own
# waiting soon sleeps for 25 ms and longer, which would be most of the time that a submit takes.
MIN_BUSY_PAUSE = 0.0005
MAX_BUSY_PAUSE = 0.005
MAX_BUSY_TIME = 30.0


class JournalFile:
    """The open file of a journal. All methods raise ``JournalError`` if it cannot be read or written.

    :param path: of the file. It is created if it does not exist, readable by its owner only.
    :param access: "read" it, while others may write; write it, "shared" with others; or have it alone ("exclusive").
    :param keep_empty: whether to keep a file that was created here and contains no job when it is closed. One that is
        shared is always kept.
    """

    def __init__(self, path: str | os.PathLike[str], *, access: Access = "exclusive", keep_empty: bool = True) -> None:
        self.path = Path(path)
        self.access = access
        self._lock: JournalLock | None = None
        #: What the file must still be when it is written; None if that is not checked.
        self._identity: tuple[int, int] | None = None
        self._keep_empty = keep_empty or access != "exclusive"
        self._is_durable: bool | None = None
        #: The time, on ``time.monotonic``, from which on nothing waits for another process that writes.
        self.busy_deadline = math.inf
        #: The name under which ``set_aside`` keeps the previous journal.
        self.aside: Path | None = None
        with self.reading():
            self._file = _resolved(self.path)
            if access == "read" and not self._file.is_file():
                raise JournalError(f"there is no journal {self.path}")
            if access != "read":
                check_writable(self.path, self._file)
                self._take_lock()
            try:
                self._open()
            except BaseException:
                self._is_new = False  # so that a file of another kind is not removed
                self.close()
                raise

    def _open(self) -> None:
        is_read_only = self.access == "read"
        if not is_read_only:
            create_private_file(self._file)
        address = f"{self._file.as_uri()}?mode={'ro' if is_read_only else 'rw'}"
        # Opened in one thread and used in another, by one thread at a time.
        self._db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA cache_size = -{PAGE_CACHE_KIB}")
        self._retry_while_busy(self._check_kind)
        if is_read_only:
            if self._is_new:
                raise JournalError(f"{self.path} is empty, not a journal")
            return
        self._retry_while_busy(lambda: self._db.execute("PRAGMA journal_mode = WAL"))
        self._db.execute(f"PRAGMA journal_size_limit = {MAX_LOG_BYTES}")
        if self.access == "shared":
            self._db.execute("PRAGMA busy_timeout = 0")
        self._identity = identity_of(self._file)
        self._create_tables()
        if self.access == "exclusive":
            with self.transaction():
                self.note_owner()

    def _check_kind(self) -> int:
        """Return the schema of the file, 0 if it is empty. Raises ``JournalError`` if it is no journal.

        In one transaction, since another process may create the tables at the same moment.
        """
        has_transaction = self._db.in_transaction
        if not has_transaction:
            self._db.execute("BEGIN")
        try:
            self._is_new = not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
            (application,), (schema,) = (
                self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
            )
        finally:
            if not has_transaction:
                self._db.execute("ROLLBACK")
        if not self._is_new and application != APPLICATION_ID:
            raise JournalError(f"{self.path} is an SQLite file, but not a journal")
        if schema > SCHEMA:
            raise JournalError(
                f"the journal {self.path} has schema {schema}, of a newer version of volc_moderation; "
                f"this version knows schemas up to {SCHEMA}"
            )
        return int(schema)

    def _create_tables(self) -> None:
        """Create the tables of a new file, and upgrade those of an older version."""
        was_new = self._is_new
        if not was_new and self._check_kind() == SCHEMA:
            return
        with self.transaction():
            schema = self._check_kind()  # perhaps another process was faster
            scripts = [TABLES] if self._is_new else [UPGRADES[version] for version in range(schema, SCHEMA)]
            for statement in "".join(scripts).split(";"):  # ``executescript`` would commit first
                self._db.execute(statement)
        self._is_new = was_new

    def note_owner(self) -> None:
        """Write, within a transaction, that this process runs the calls."""
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        self._db.execute("INSERT OR REPLACE INTO note VALUES ('owner', ?)", (owner,))

    # The lock

    @property
    def _lock_file(self) -> Path:
        return _with_suffix(self._file, "-lock")

    @property
    def socket_file(self) -> Path:
        """The path of the socket of the process that runs the calls: beside the journal, with a name that fits."""
        name = os.fsencode(self._file.name)
        if len(name) > MAX_SOCKET_STEM_BYTES:
            return self._file.with_name(f"{blake2b(name, digest_size=16).hexdigest()}-sock")
        return _with_suffix(self._file, "-sock")

    def _take_lock(self) -> None:
        lock = JournalLock(self._lock_file)
        if lock.take(exclusive=self.access == "exclusive"):
            self._lock = lock
            return
        owner = ""
        with contextlib.suppress(JournalError), contextlib.closing(JournalFile(self.path, access="read")) as other:
            row = other._db.execute("SELECT value FROM note WHERE name = 'owner'").fetchone()  # noqa: SLF001
            owner = f": {row[0]}" if row else ""
        error = JournalInUseError(f"the journal {self.path} is in use{owner}")
        error.is_shared = lock.is_shared_by_others()
        raise error

    def take_lead(self) -> bool:
        """Become the one process that runs the calls; return whether that succeeded. The access must be shared.

        Raises ``JournalError`` if the file of the lock was removed or replaced.
        """
        assert self._lock is not None  # noqa: S101 - it is open
        with self._translated_errors():
            return self._lock.take_lead()

    def release_lead(self) -> None:
        """Let another process run the calls."""
        if self._lock is not None:
            self._lock.release_lead()

    # Closing

    def set_aside(self) -> Path:
        """Rename the journal, start an empty one under the old name, and return the new name.

        If the empty one gets no job, and ``keep_empty`` is False, closing it restores the old one.
        """
        with self._translated_errors():
            (is_being_read, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_being_read:
                raise JournalError(f"the journal {self.path} is being read; try again when that has ended")
            self._db.close()
            aside = next(
                name for number in itertools.count(1) if not (name := _with_suffix(self._file, f".{number}")).exists()
            )
            _move(self._file, aside)
            self.aside = aside
            self._open()
        return aside

    def close(self) -> None:
        """Close the journal. SQLite removes the files beside it unless another process reads."""
        is_unwanted = False
        if hasattr(self, "_db"):
            with contextlib.suppress(sqlite3.Error):
                is_unwanted = self._is_new and not self._keep_empty and not self._has_jobs()
            self._db.close()
        self._release(is_unwanted=is_unwanted)

    def abandon(self) -> None:
        """Leave the journal as it was found, without waiting for another thread that is writing to it.

        What that thread writes is lost. The process must end, and until then the file stays open.
        """
        self._release(is_unwanted=self._is_new and not self._keep_empty)

    def _release(self, *, is_unwanted: bool) -> None:
        self._is_new = False  # from now on the file may be another process's
        with contextlib.suppress(OSError):
            if is_unwanted:
                for suffix in ("", "-wal", "-shm"):
                    _with_suffix(self._file, suffix).unlink(missing_ok=True)
                if self.aside is not None:
                    _move(self.aside, self._file)
                else:
                    # The lock is still held, so the next process to take it notices that its file is gone. On a system
                    # where an open file cannot be removed, it stays.
                    self._lock_file.unlink()
        if self._lock is not None:
            self._lock.release()
            self._lock = None  # its file stays: removing it now could break the lock of the next process

    def _has_jobs(self) -> bool:
        return bool(self._db.execute("SELECT 1 FROM job LIMIT 1").fetchone())

    # Errors

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise ``JournalError`` in place of the errors of SQLite and the operating system."""
        try:
            yield
        except sqlite3.Error as error:
            reason = _REASONS.get(_primary_code(error), str(error))
        except OSError as error:
            reason = str(error.strerror)
        else:
            return
        raise JournalError(f"the journal {self.path} failed: {reason}")

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Raise ``JournalError`` also for the errors that the values of a damaged file cause."""
        damage = None
        with self._translated_errors():
            try:
                yield
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                damage = type(error).__name__
        if damage is not None:
            raise JournalError(f"the journal {self.path} failed: {_DAMAGED} ({damage})")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Let all queries of the block see the journal of one moment, while other processes write it."""
        if self._db.in_transaction:
            yield
            return
        with self._translated_errors():
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """Commit everything at the end, or nothing if the block raises.

        :param durable: whether the commit survives a power failure, and not only the end of this process.
        """
        with self._translated_errors():
            self._check_identity()
            self._retry_while_busy(lambda: self._begin(durable=durable))
            try:
                yield
                self._db.execute("COMMIT")  # never busy: this process has the write lock
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk rolls back by itself
                    self._db.execute("ROLLBACK")
                raise
            self._check_identity()

    def _begin(self, *, durable: bool) -> None:
        if durable is not self._is_durable:
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._is_durable = durable
        self._db.execute("BEGIN IMMEDIATE")

    def _retry_while_busy(self, attempt: Callable[[], object]) -> None:
        """Call a function, and again while another process holds the journal. Raises ``JournalBusyError``."""
        pause, began = MIN_BUSY_PAUSE, time.monotonic()
        while True:
            try:
                attempt()
            except sqlite3.OperationalError as error:
                if _primary_code(error) != sqlite3.SQLITE_BUSY:
                    raise
            else:
                return
            if time.monotonic() > min(began + MAX_BUSY_TIME, self.busy_deadline):
                raise JournalBusyError(
                    f"another process has held the journal {self.path} for {time.monotonic() - began:.1f} s;"
                    " is it suspended?"
                )
            time.sleep(pause)
            pause = min(2 * pause, MAX_BUSY_PAUSE)

    def _check_identity(self) -> None:
        """Raise ``JournalError`` if the file was removed or replaced: what is written to it would be lost."""
        if self._identity is not None and identity_of(self._file) != self._identity:
            raise JournalError(f"the journal {self.path} was removed or replaced while it was in use")


def _resolved(path: Path) -> Path:
    """Return the path without symbolic links: whatever the file is called, its lock must be in the same place."""
    if str(path) in {".", ":memory:"} or str(path).startswith("file:"):
        raise JournalError(f"a journal must be a file that outlives this process; got {str(path)!r}")
    return path.resolve()


def check_writable(path: Path, file: Path) -> None:
    """Raise ``JournalError`` unless this process can write the journal, and no other can under another name.

    :param path: of the journal as the user wrote it; ``file`` is the same, resolved.
    """
    folder = file.parent
    if not folder.is_dir():
        raise JournalError(f"there is no directory {folder} for the journal {path}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise JournalError(f"the journal {path} needs files beside it, but {folder} is not writable")
    for checked, kind in ((file, "journal"), (_with_suffix(file, "-lock"), "lock of the journal")):
        try:
            status = checked.stat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            raise JournalError(f"the {kind} {checked} is not a regular file")
        if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
            raise JournalError(
                f"the {kind} {checked} belongs to user {status.st_uid}, and this is user {os.geteuid()}:"
                " only its owner can write it"
            )
        if status.st_nlink > 1:
            raise JournalError(
                f"the {kind} {checked} has {status.st_nlink} names (hard links), under which other processes could"
                " write it: keep one"
            )


def _move(source: Path, target: Path) -> None:
    """Rename a journal, and the files beside it that exist while another process reads."""
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            _with_suffix(source, suffix).replace(_with_suffix(target, suffix))


def _with_suffix(file: Path, suffix: str) -> Path:
    """Return the path of a file beside a journal."""
    return file.with_name(f"{file.name}{suffix}")


_DAMAGED = "the file is damaged"
_REASONS = {
    sqlite3.SQLITE_FULL: "the disk is full. No accepted job is lost: free some space, then resume",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite file",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_READONLY: "it is read-only",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check that the directory exists and that you own it",
}


def _primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, which is the lowest byte of an extended one."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
