"""The lock of a journal: who uses it, which one of them runs its calls, or who has it alone. Blocking, but never long.

It is that of a separate SQLite file, which works on every system and ends with the process, however that ends. SQLite's
locks on a file (https://www.sqlite.org/lockingv3.html) have these meanings here:

- SHARED: the process uses the journal together with others.
- RESERVED: one of those, the leader, runs the calls.
- EXCLUSIVE: the process has the journal alone. Only then may files be removed or renamed.
"""

import sqlite3
import threading
import time
from pathlib import Path

from volc_moderation.errors import JournalError

#: Attempts to take the lock. Its file may be removed at the same moment; and while another process tries to take it
#: exclusively, nobody else can take it.
MAX_ATTEMPTS = 10
ATTEMPT_INTERVAL = 0.005  # seconds

#: Held while a file is created: closing it would release this process's locks on it, if another thread has taken any.
_creating = threading.Lock()


class JournalInUseError(JournalError):
    """The journal is in use by another process, or by another object of this one.

    ``is_shared`` says whether others can use it at the same time.
    """

    is_shared = False


class JournalBusyError(JournalError):
    """Another process is in the middle of writing the journal, and does not end."""


class JournalLock:
    """The lock of a journal in this process. It is not held yet.

    :param file: of the lock. It is created if it does not exist, and stays: removing it could break the lock of others.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._identity: tuple[int, int] | None = None
        self._use: sqlite3.Connection | None = None
        self._lead: sqlite3.Connection | None = None

    def take(self, *, exclusive: bool) -> bool:
        """Take the lock for using the journal, alone or with others; return whether that succeeded."""
        for _ in range(MAX_ATTEMPTS):
            create_private_file(self.file)
            identity = identity_of(self.file)
            try:
                lock = self._locked("BEGIN EXCLUSIVE" if exclusive else "BEGIN")
            except sqlite3.OperationalError:
                if identity == identity_of(self.file):
                    raise
                continue
            if lock is None:
                time.sleep(ATTEMPT_INTERVAL)
            elif identity is not None and identity == identity_of(self.file):
                self._use, self._identity = lock, identity
                return True
            else:
                lock.close()  # its last holder has removed the file: the lock may be that of the removed file
        return False

    def is_shared_by_others(self) -> bool:
        """Return whether the lock, which could not be taken exclusively, is held by processes that share it."""
        try:
            lock = self._locked("BEGIN")
        except sqlite3.OperationalError:
            return False
        if lock is not None:
            lock.close()
        return lock is not None

    def take_lead(self) -> bool:
        """Become the one that runs the calls; return whether that succeeded: the lead must be free.

        Raises ``JournalError`` if the lock's file is not the one that this process has locked: a process that came
        later may have the lock of another file, and run the calls as well.
        """
        if identity_of(self.file) != self._identity:
            raise JournalError(
                f"{self.file} was removed or replaced while this process used it; restart all processes that use the"
                " journal"
            )
        if self._lead is not None:
            return False  # it will be released
        self._lead = self._locked("BEGIN IMMEDIATE")
        return self._lead is not None

    def release_lead(self) -> None:
        """Let another process run the calls."""
        lead, self._lead = self._lead, None
        if lead is not None:
            lead.close()

    def release(self) -> None:
        """Release everything."""
        self.release_lead()
        if self._use is not None:
            self._use.close()
            self._use = None

    def _locked(self, begin: str) -> sqlite3.Connection | None:
        """Return a connection that holds the lock, or None if others do not allow it."""
        lock = sqlite3.connect(self.file, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            lock.execute(begin)
            lock.execute("SELECT 1 FROM sqlite_master").fetchone()  # "BEGIN" alone takes no lock
        except sqlite3.OperationalError as error:
            lock.close()
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return None
            raise
        return lock


def create_private_file(file: Path) -> None:
    """Create a file that only its owner can read, if it does not exist."""
    with _creating:
        file.touch(mode=0o600)


def identity_of(file: Path) -> tuple[int, int] | None:
    """Return what distinguishes a file from a later one of the same name; None if it does not exist."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
