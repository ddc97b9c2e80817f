"""The file of a journal: who may write it, how it is opened, closed, removed and set aside. Blocking.

It is in WAL mode, so a process that is killed leaves it whole, and others may read it meanwhile. One process at a time
may write: it holds a lock on a file beside the journal, which the system lets go when the process ends, however it
ends. Only who holds the lock removes or renames anything. https://www.sqlite.org/wal.html
"""

import contextlib
import itertools
import os
import socket
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from volc_moderation.errors import JournalError
from volc_moderation.jobs.journal.schema import APPLICATION, SCHEMA, TABLES, UPGRADES

#: KiB of memory for pages: with fewer, keys in random order are read and written again and again.
CACHE_KIB = 8000
#: Bytes to which the write-ahead log is cut once it is copied into the journal. While somebody reads, it grows beyond.
LOG_BYTES = 16 * 2**20
#: How often a lock is taken anew whose file was removed at the same moment.
LOCK_TRIES = 10


class JournalFile:
    """An open journal as a file. Everything raises ``JournalError`` if it cannot be read or written.

    :param path: the file; it is made if it is not there, readable by its owner only.
    :param read_only: look at it, while another process may write.
    :param keep_empty: whether a file that was made here, and that has no job at the end, stays.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False, keep_empty: bool = True) -> None:
        self.path = Path(path)
        self._lock: sqlite3.Connection | None = None
        self._keep_empty = keep_empty
        self._is_durable: bool | None = None
        #: Where ``set_aside`` has put what was there before.
        self.aside: Path | None = None
        with self.reading():
            self._file = _resolved(self.path)
            if read_only and not self._file.is_file():
                raise JournalError(f"there is no journal {self.path}")
            if not read_only:
                _check_place(self.path, self._file)
                self._take_lock()
            try:
                self._open(read_only=read_only)
            except BaseException:
                self._is_new = False  # whatever it is, it is not ours to remove
                self.close()
                raise

    def _open(self, *, read_only: bool) -> None:
        if not read_only:
            self._file.touch(mode=0o600)
        address = f"{self._file.as_uri()}?mode={'ro' if read_only else 'rw'}"
        # Opened here, used by the journal's thread, by one at a time.
        self._db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        (application,), (schema,) = (
            self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        self._is_new = not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if not self._is_new and application != APPLICATION:
            raise JournalError(f"{self.path} is an SQLite file, but not a journal")
        if schema > SCHEMA:
            raise JournalError(
                f"the journal {self.path} has schema {schema}, of a newer version of volc_moderation; "
                f"this one knows up to {SCHEMA}"
            )
        if read_only:
            if self._is_new:
                raise JournalError(f"{self.path} is empty, not a journal")
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        steps = [TABLES] if self._is_new else [UPGRADES[version] for version in range(schema, SCHEMA)]
        if steps:
            self._db.executescript(f"BEGIN; {''.join(steps)} COMMIT")
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        self._db.execute("INSERT OR REPLACE INTO note VALUES ('owner', ?)", (owner,))

    # The lock

    @property
    def _lock_file(self) -> Path:
        return _beside(self._file, "-lock")

    def _take_lock(self) -> None:
        """Hold a lock that ends with this process. An SQLite file of its own brings one for each system."""
        for _ in range(LOCK_TRIES):
            self._lock_file.touch(mode=0o600)
            named = _identity(self._lock_file)
            lock = sqlite3.connect(self._lock_file, timeout=0, isolation_level=None, check_same_thread=False)
            try:
                lock.execute("BEGIN EXCLUSIVE")
            except sqlite3.OperationalError as error:
                lock.close()
                if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                    break
                if named == _identity(self._lock_file):
                    raise
                continue
            if named is not None and named == _identity(self._lock_file):
                self._lock = lock
                return
            lock.close()  # whoever held it before has removed the file: the lock may be of that, and not of the new one
        owner = ""
        with contextlib.suppress(JournalError), contextlib.closing(JournalFile(self.path, read_only=True)) as other:
            found = other._db.execute("SELECT value FROM note WHERE name = 'owner'").fetchone()  # noqa: SLF001
            owner = f": {found[0]}" if found else ""
        raise JournalError(f"the journal {self.path} is in use{owner}")

    # The end

    def set_aside(self) -> Path:
        """Give the journal another name, begin an empty one under its own, and return the other name.

        If nothing comes into the new one, and it is not to be kept empty, the old one is back at the end.
        """
        with self._faults():
            (is_read, *_) = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_read:
                raise JournalError(f"the journal {self.path} is being read; try again when that has ended")
            self._db.close()
            aside = next(
                one for number in itertools.count(1) if not (one := _beside(self._file, f".{number}")).exists()
            )
            _move(self._file, aside)
            self.aside = aside
            self._open(read_only=False)
        return aside

    def close(self) -> None:
        """Close it. The files beside it go, if nobody else reads."""
        is_needless = False
        if hasattr(self, "_db"):
            with contextlib.suppress(sqlite3.Error):
                is_needless = self._is_new and not self._keep_empty and not self._has_jobs()
            self._db.close()
        self._let_go(is_needless=is_needless)

    def abandon(self) -> None:
        """Leave it as it was found, without a wait for what another thread is just doing to it.

        That is lost; the process must end, and until then the file stays open.
        """
        self._let_go(is_needless=self._is_new and not self._keep_empty)

    def _let_go(self, *, is_needless: bool) -> None:
        self._is_new = False  # from now on it may be somebody else's
        with contextlib.suppress(OSError):
            if is_needless:
                for end in ("", "-wal", "-shm"):
                    _beside(self._file, end).unlink(missing_ok=True)
                if self.aside is not None:
                    _move(self.aside, self._file)
                else:
                    # Held still: who takes it next sees that its file has gone. Where an open file cannot be removed,
                    # it stays.
                    self._lock_file.unlink()
        if self._lock is not None:
            self._lock.close()
            self._lock = None  # its file stays: who removed it might take it from under the next one

    def _has_jobs(self) -> bool:
        return bool(self._db.execute("SELECT 1 FROM job LIMIT 1").fetchone())

    # Faults

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn what SQLite and the system raise, and what a damaged file leads to, into ``JournalError``."""
        try:
            yield
        except sqlite3.Error as error:
            fault = JournalError(f"the journal {self.path} failed: {_ADVICE.get(_code(error), str(error))}")
        except OSError as error:
            fault = JournalError(f"the journal {self.path} failed: {error.strerror}")
        else:
            return
        raise fault

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read what may be damaged: a value that cannot stand where it stands is a ``JournalError``, too."""
        damaged = None
        with self._faults():
            try:
                yield
            except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
                damaged = type(error).__name__
        if damaged is not None:
            raise JournalError(f"the journal {self.path} failed: {_DAMAGED} ({damaged})")

    @contextlib.contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All or nothing. It outlives this process; if it is ``durable``, a loss of power too."""
        with self._faults():
            if durable is not self._is_durable:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._is_durable = durable
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                raise


def _resolved(path: Path) -> Path:
    """Return the one name of a file that has several by links: the lock is beside it, whatever it was called."""
    if str(path) in {".", ":memory:"} or str(path).startswith("file:"):
        raise JournalError(f"a journal must be a file that outlives this process; not {str(path)!r}")
    return path.resolve()


def _check_place(shown: Path, file: Path) -> None:
    """See that this process may write a journal, and that nobody can write it under another name."""
    folder = file.parent
    if not folder.is_dir():
        raise JournalError(f"there is no directory {folder} for the journal {shown}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise JournalError(f"the journal {shown} needs files beside it, but {folder} may not be written")
    for one, what in ((file, "journal"), (_beside(file, "-lock"), "lock of the journal")):
        try:
            status = one.stat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(status.st_mode):
            raise JournalError(f"the {what} {one} is not a file")
        if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
            raise JournalError(
                f"the {what} {one} belongs to user {status.st_uid}, and this is user {os.geteuid()}:"
                " only its owner writes"
            )
        if status.st_nlink > 1:
            raise JournalError(
                f"the {what} {one} has {status.st_nlink} names (hard links), under which others could write it:"
                " keep one"
            )


def _identity(file: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name, or None if there is none."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _move(source: Path, target: Path) -> None:
    """Rename a journal, with the files beside it that stay while somebody reads."""
    for end in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            _beside(source, end).replace(_beside(target, end))


def _beside(file: Path, end: str) -> Path:
    return file.with_name(f"{file.name}{end}")


_DAMAGED = "the file is damaged"
_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full. Nothing that was accepted is lost: make room, and go on",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite file",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; is there such a directory, and is it yours?",
}


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code: the extended ones have it in their lowest byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
