"""The journal: one SQLite file with one row per call. Blocking; ``journal_thread.py`` keeps it off the event loop.

It is in WAL mode, so a process that is killed leaves it whole, and others may read it meanwhile. One process at a time
may write: it holds a lock on a file beside the journal, which the system lets go when the process ends, however it
ends. https://www.sqlite.org/wal.html
"""

import contextlib
import json
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from volc_moderation.errors import JournalError
from volc_moderation.jobs.job import Job, JobState, Lane
from volc_moderation.jobs.schema import APPLICATION, RECORD, SCHEMA, TABLES, Record, Row, Standing

#: KiB of memory for pages: with fewer, keys in random order are read and written again and again.
CACHE = 8000


class Journal:
    """A journal that is open. Everything raises ``JournalError`` if the file cannot be read or written.

    :param path: the file; it is made if it is not there, readable by its owner only.
    :param read_only: look at it, while another process may write.
    """

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        self.path = Path(path)
        self._lock: sqlite3.Connection | None = None
        self._is_durable: bool | None = None
        #: By lane and second: attempts that ended, were done, were put off.
        self._seconds: dict[tuple[int, int], list[int]] = {}
        with self._faults():
            if read_only and not self.path.is_file():
                raise JournalError(f"there is no journal {self.path}")
            if not read_only:
                self._take_lock()
            try:
                self._open(read_only=read_only)
            except BaseException:
                self.close()
                raise

    def _open(self, *, read_only: bool) -> None:
        if not read_only:
            self.path.touch(mode=0o600)
        address = f"{self.path.absolute().as_uri()}?mode={'ro' if read_only else 'rw'}"
        # Opened here, used by the journal's thread, by one at a time.
        self._db = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA cache_size = -{CACHE}")
        (application,), (schema,) = (
            self._db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
        )
        is_new = not self._db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        if not is_new and application != APPLICATION:
            raise JournalError(f"{self.path} is an SQLite file, but not a journal")
        if schema > SCHEMA:
            raise JournalError(
                f"the journal {self.path} has schema {schema}, of a newer version of volc_moderation; "
                f"this one knows up to {SCHEMA}"
            )
        if read_only:
            if is_new:
                raise JournalError(f"{self.path} is empty, not a journal")
            return
        self._db.execute("PRAGMA journal_mode = WAL")
        if is_new:
            self._db.executescript(f"BEGIN; {TABLES} COMMIT")
        owner = f"process {os.getpid()} on {socket.gethostname()}"
        self._db.execute("INSERT OR REPLACE INTO note VALUES ('owner', ?)", (owner,))

    def _take_lock(self) -> None:
        """Hold a lock that ends with this process. An SQLite file of its own brings one for each system."""
        lock = self.path.with_name(f"{self.path.name}-lock")
        self._lock = sqlite3.connect(lock, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._lock.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            owner = ""
            with contextlib.suppress(JournalError), contextlib.closing(Journal(self.path, read_only=True)) as other:
                owner = f": {other.note('owner')}"
            raise JournalError(f"the journal {self.path} is in use{owner}") from None

    def close(self) -> None:
        """Close it. The files beside it go, if nobody else reads."""
        if hasattr(self, "_db"):
            with contextlib.suppress(JournalError):  # of the reports' figures, the last second's are lost
                if self._seconds:
                    with self.transaction():
                        self.count_seconds()
            self._db.close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None  # the file stays: who removed it might take it from under the next one

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn what SQLite and the system raise into ``JournalError``."""
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

    # Lanes

    def lane(self, lane: Lane) -> int:
        """Return the number of a lane; it is added if it is new."""
        self._db.execute("INSERT OR IGNORE INTO lane (vendor, account, action, version) VALUES (?, ?, ?, ?)", lane)
        found = "SELECT id FROM lane WHERE vendor = ? AND account = ? AND action = ? AND version = ?"
        number: int = self._db.execute(found, lane).fetchone()[0]
        return number

    def lanes(self) -> dict[int, Lane]:
        """Return all lanes by number."""
        rows = self._db.execute("SELECT id, vendor, account, action, version FROM lane ORDER BY id")
        return {number: Lane(*lane) for number, *lane in rows}

    # Jobs come

    def load(self, jobs: Iterable[tuple[str, int, str, int | None]], *, now: float) -> int:
        """Add jobs, as key, lane, parameters and line, unless their key is there; return how many are new."""
        (before,) = self._db.execute("SELECT count(*) FROM job").fetchone()
        self._db.executemany(
            "INSERT INTO job (key, lane, parameters, line, due, created) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO NOTHING",
            ((*job, now, now) for job in jobs),
        )
        (after,) = self._db.execute("SELECT count(*) FROM job").fetchone()
        new: int = after - before
        return new

    def submit(self, key: str, lane: int, parameters: str, *, due: float, now: float) -> None:
        """Add a job, or open it again.

        If it waits, it is the same job, with the parameters given now. If it is on its way, it is done once more: what
        it acts on may have been started anew since it was sent.
        """
        self._db.execute(
            "INSERT INTO job (key, lane, parameters, due, created) VALUES (?1, ?2, ?3, ?4, ?5)"
            " ON CONFLICT (key) DO UPDATE SET again = (state = 'sent'), parameters = excluded.parameters"
            " WHERE state IN ('pending', 'sent')",
            (key, lane, parameters, due, now),
        )
        self._db.execute(
            "UPDATE job SET state = 'pending', lane = ?2, parameters = ?3, due = ?4, created = ?5, attempts = 0,"
            " maybe_sent = 0, was_gone = 0, code = NULL, message = NULL, request_id = NULL, result = NULL,"
            " ended = NULL WHERE key = ?1 AND state IN ('done', 'failed', 'given up')",
            (key, lane, parameters, due, now),
        )

    def recover(self, lane: int, *, repeatable: bool, now: float) -> int:
        """Look at what was on its way when the process ended; return how many there are.

        What may be repeated is to be done again; of the rest nobody knows whether the vendor carried it out.
        """
        if repeatable:
            change = "state = 'pending', maybe_sent = 1, due = ?2"
        else:
            change = (
                "state = 'failed', maybe_sent = 1, ended = ?2, code = 'Interrupted', message = 'the process ended while"
                " the call was on its way; whether it was carried out is not known'"
            )
        return self._db.execute(
            f"UPDATE job SET {change}, again = 0 WHERE lane = ?1 AND state = 'sent'",  # noqa: S608 - of these two
            (lane, now),
        ).rowcount

    def retry_ended(self, *, now: float) -> int:
        """Let what failed or was given up be done again; return how many there are."""
        return self._db.execute(
            "UPDATE job SET state = 'pending', attempts = 0, due = ?, ended = NULL"
            " WHERE state IN ('failed', 'given up')",
            (now,),
        ).rowcount

    # Jobs go

    def take(self, lane: int, most: int, *, now: float) -> tuple[list[Row], float | None]:
        """Mark up to ``most`` jobs that are due as sent, and return them; or else when the next one is due."""
        # One step of SQLite for all rows: for each step, the thread gives the interpreter's lock away.
        (found,) = self._db.execute(
            "SELECT json_group_array(json_array(id, key, parameters, attempts + 1, maybe_sent, code, line)) FROM"
            " (SELECT * FROM job WHERE state = 'pending' AND lane = ? AND due <= ? ORDER BY due, id LIMIT ?)",
            (lane, now, most),
        ).fetchone()
        rows = [Row._make(row) for row in json.loads(found)]
        if rows:
            self._db.execute(
                "UPDATE job SET state = 'sent', sent = ?, attempts = attempts + 1"
                " WHERE id IN (SELECT value FROM json_each(?))",
                (now, json.dumps([row.id for row in rows])),
            )
            return rows, None
        (due,) = self._db.execute("SELECT min(due) FROM job WHERE state = 'pending' AND lane = ?", (lane,)).fetchone()
        return [], due

    def give_back(self, ids: Sequence[int]) -> None:
        """Unmark jobs that were taken and not sent."""
        self._db.execute(
            "UPDATE job SET state = 'pending', attempts = attempts - 1, again = 0"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (json.dumps(ids),),
        )

    def record(self, records: Sequence[Record]) -> None:
        """Write down what became of attempts."""
        self._db.execute(RECORD, (json.dumps(records),))
        for one in records:
            counts = self._seconds.setdefault((one.lane, int(one.now)), [0, 0, 0])
            counts[0] += 1
            counts[1] += one.state == JobState.DONE
            counts[2] += one.state == JobState.PENDING
        if len(self._seconds) > len({lane for lane, _ in self._seconds}):
            self.count_seconds()

    def count_seconds(self) -> None:
        """Write how many attempts ended in each second, for reports; a crash loses those of the last one."""
        rows = [(*key, *counts) for key, counts in self._seconds.items()]
        self._seconds.clear()
        self._db.executemany(
            "INSERT INTO second VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET answered = answered"
            " + excluded.answered, done = done + excluded.done, deferred = deferred + excluded.deferred",
            rows,
        )

    def forget(self, *, before: float) -> int:
        """Remove what was done before a time; return how many there were."""
        self._db.execute("DELETE FROM second WHERE second < ?", (before,))
        return self._db.execute("DELETE FROM job WHERE state = 'done' AND ended < ?", (before,)).rowcount

    # Looking

    def find(self, key: str) -> Job | None:
        """Return a job."""
        return next(self.jobs("WHERE key = ?", (key,)), None)

    def jobs(self, condition: str = "", values: Sequence[object] = ()) -> Iterator[Job]:
        """Return the jobs that an SQL condition on their columns selects, one after the other."""
        lanes = self.lanes()
        columns = ", ".join(field.name for field in attrs.fields(Job))
        with self._faults():
            for row in self._db.execute(f"SELECT {columns} FROM job {condition}", values):  # noqa: S608 - our own
                given = dict(zip(columns.split(", "), row, strict=True))
                given["lane"] = lanes[given["lane"]]
                given["state"] = JobState(given["state"])
                given["parameters"] = json.loads(given["parameters"])
                given["result"] = None if given["result"] is None else json.loads(given["result"])
                for flag in ("maybe_sent", "was_gone"):
                    given[flag] = bool(given[flag])
                yield Job(**given)

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Return the rows of a query, for reports."""
        with self._faults():
            return self._db.execute(sql, values).fetchall()

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs there are in each state."""
        found = self._db.execute("SELECT state, count(*) FROM job GROUP BY state")
        return dict.fromkeys(JobState, 0) | {JobState(state): count for state, count in found}

    def standing(self) -> Standing:
        """Return how many jobs there are of each kind."""
        counts = self.counts()
        (gone,) = self._db.execute("SELECT count(*) FROM job WHERE state = 'done' AND was_gone").fetchone()
        waiting = self.deferred()
        deferred = sum(count for _, count, _, _ in waiting)
        return Standing(
            done=counts[JobState.DONE],
            gone=gone,
            failed=counts[JobState.FAILED],
            given_up=counts[JobState.GIVEN_UP],
            deferred=deferred,
            next_due=min((due for _, _, due, _ in waiting), default=None),
            left=counts[JobState.PENDING] + counts[JobState.SENT] - deferred,
        )

    def deferred(self) -> list[tuple[int, int, float, float]]:
        """Return for each lane how many jobs wait for their next attempt, and when the first and last are due."""
        return self._db.execute(
            "SELECT lane, count(*), min(due), max(due) FROM job WHERE state = 'pending' AND attempts > 0 GROUP BY lane"
        ).fetchall()

    def note(self, name: str, value: str | None = None) -> str | None:
        """Return what is noted under a name, after noting ``value``, if there is one."""
        if value is not None:
            self._db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
        found = self._db.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]


_ADVICE = {
    sqlite3.SQLITE_FULL: "the disk is full. Nothing that was accepted is lost: make room, and go on",
    sqlite3.SQLITE_NOTADB: "it is not an SQLite file",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; is there such a directory, and is it yours?",
}


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code: the extended ones have it in their lowest byte."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
