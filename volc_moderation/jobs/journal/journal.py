"""The journal: one SQLite file with one row per call. Blocking; ``journal_thread.py`` keeps it off the event loop."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any

import attrs

from volc_moderation.jobs.job import INTERRUPTED, Job, JobState, Lane
from volc_moderation.jobs.journal.file import JournalFile
from volc_moderation.jobs.journal.schema import (
    RECORDS_AT_ONCE,
    REOPEN,
    AttemptRecord,
    DueJob,
    HandedOverJob,
    JobSummary,
    LoadResult,
    record_statement,
)

#: Rows read at once: while a long read goes on, the write-ahead log grows.
PAGE = 1000


class Journal(JournalFile):
    """A journal that is open. Everything raises ``JournalError`` if the file cannot be read or written."""

    # Lanes

    def lane(self, lane: Lane) -> int:
        """Return the number of a lane; it is added if it is new."""
        self._db.execute("INSERT OR IGNORE INTO lane (vendor, account, action, version) VALUES (?, ?, ?, ?)", lane)
        found = "SELECT id FROM lane WHERE vendor = ? AND account = ? AND action = ? AND version = ?"
        number: int = self._db.execute(found, lane).fetchone()[0]
        return number

    def lanes(self) -> dict[int, Lane]:
        """Return all lanes by number."""
        with self.reading():
            rows = self._db.execute("SELECT id, vendor, account, action, version FROM lane ORDER BY id")
            return {number: Lane(*lane) for number, *lane in rows}

    # Jobs come

    def load(self, jobs: Iterable[tuple[str, int, str, int | None]], *, due: float, now: float) -> LoadResult:
        """Add a list of calls, as key, lane, parameters and line, all or none.

        A list that was added before, call for call, adds nothing: a run goes on with it. Of another list, a call that
        has ended is made again, and one that waits or is on its way is there already.
        """
        digest = blake2b(digest_size=16)

        def rows() -> Iterator[tuple[str, int, str, int | None, float, float]]:
            for key, lane, parameters, line in jobs:
                digest.update(f"{key}{parameters}\n".encode())
                yield key, lane, parameters, line, due, now

        columns = "key, lane, parameters, line, due, created"
        if self._has_jobs():
            self._db.execute(f"CREATE TEMP TABLE listed ({columns})")
            try:
                self._db.executemany("INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?)", rows())
                if self._db.execute("SELECT 1 FROM run WHERE digest = ?", (digest.hexdigest(),)).fetchone():
                    return LoadResult(new=0, again=0, is_known=True)
                before = self._count()
                changes = self._db.total_changes
                self._db.execute(
                    f"INSERT INTO job ({columns}) SELECT {columns} FROM listed WHERE true"  # noqa: S608 - our own
                    f" ON CONFLICT (key) DO UPDATE {REOPEN}"
                )
                new = self._count() - before
                listed = LoadResult(new=new, again=self._db.total_changes - changes - new, is_known=False)
            finally:
                self._db.execute("DROP TABLE listed")
        else:
            self._db.executemany(
                f"INSERT INTO job ({columns}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",  # noqa: S608
                rows(),
            )
            listed = LoadResult(new=self._count(), again=0, is_known=False)
        self._db.execute("INSERT OR IGNORE INTO run (digest, created) VALUES (?, ?)", (digest.hexdigest(), now))
        return listed

    def _count(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM job").fetchone()[0]
        return count

    def submit(self, key: str, lane: int, parameters: str, *, due: float, now: float, delay: float = 0.0) -> None:
        """Add a job, or open it again; ``due`` is in ``delay`` seconds.

        If it waits, it is the same job, with the parameters given now. If it is on its way, it is done once more,
        ``delay`` seconds after that: what it acts on may have been started anew since it was sent.
        """
        self._db.execute(
            "INSERT INTO job (key, lane, parameters, due, delay, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"
            " ON CONFLICT (key) DO UPDATE SET again = again OR state = 'sent', parameters = excluded.parameters,"
            " again_delay = CASE WHEN state = 'sent' THEN excluded.delay ELSE again_delay END"
            " WHERE state IN ('pending', 'sent')",
            (key, lane, parameters, due, delay, now),
        )
        self._db.execute(
            "INSERT INTO job (key, lane, parameters, due, delay, created) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"  # noqa: S608
            f" ON CONFLICT (key) DO UPDATE {REOPEN}",
            (key, lane, parameters, due, delay, now),
        )

    def bring_near(self, *, now: float) -> None:
        """Bring jobs whose time is further off than they were to wait as near as that: the clock has stepped back."""
        self._db.execute("UPDATE job SET due = ?1 + delay WHERE state = 'pending' AND due > ?1 + delay", (now,))

    def recover(self, lane: int, *, repeatable: bool, due: float, now: float) -> int:
        """Look at what was on its way when the process ended; return how many there are.

        What may be repeated is to be done again, and so is what was submitted again while it was on its way; of the
        rest nobody knows whether the vendor carried it out.
        """
        if repeatable:
            change = "state = 'pending', due = :due, delay = 0, again = again AND again_delay > 0"
        else:
            change = (
                "state = iif(again, 'pending', 'failed'), due = :due + iif(again, again_delay, 0),"
                " delay = iif(again, again_delay, 0), attempts = iif(again, 0, attempts), again = 0,"
                f" ended = iif(again, NULL, :now), code = '{INTERRUPTED}',"
                " message = 'the process ended while the call was on its way; whether it was carried out is not known'"
            )
        return self._db.execute(
            f"UPDATE job SET {change}, maybe_sent = 1 WHERE lane = :lane AND state = 'sent'",  # noqa: S608 - of these two
            {"lane": lane, "due": due, "now": now},
        ).rowcount

    def retry_ended(self, *, due: float, failed: bool = True, interrupted: bool = False) -> int:
        """Let be done again what failed or was given up, and what was interrupted; return how many there are.

        Whether a call that was interrupted was carried out is not known, and it must not be made twice.
        """
        return self._db.execute(
            "UPDATE job SET state = 'pending', attempts = 0, due = ?1, delay = 0, ended = NULL, sent = NULL,"
            " created = ?1 WHERE state IN ('failed', 'given up') AND iif(code IS ?2, ?3, ?4)",
            (due, INTERRUPTED, interrupted, failed),
        ).rowcount

    # Jobs go

    def take(self, lane: int, most: int, *, due: float, now: float) -> tuple[list[DueJob], float | None]:
        """Mark up to ``most`` jobs that are due as sent ``now``, and return them; or else when the next one is due."""
        # One step of SQLite for all rows: for each step, the thread gives the interpreter's lock away.
        found, ids = self._db.execute(
            "SELECT json_group_array(json_array(id, key, parameters, attempts + 1, maybe_sent, code, line)),"
            " json_group_array(id) FROM"
            " (SELECT * FROM job WHERE state = 'pending' AND lane = ? AND due <= ? ORDER BY due, id LIMIT ?)",
            (lane, due, most),
        ).fetchone()
        rows = [DueJob._make(row) for row in json.loads(found)]
        if rows:
            self._db.execute(
                "UPDATE job SET state = 'sent', sent = ?, attempts = attempts + 1"
                " WHERE id IN (SELECT value FROM json_each(?))",
                (now, ids),
            )
            return rows, None
        (first,) = self._db.execute("SELECT min(due) FROM job WHERE state = 'pending' AND lane = ?", (lane,)).fetchone()
        return [], first

    def hand_over(self, lane: int, most: int, *, due: float, now: float) -> tuple[list[HandedOverJob], float | None]:
        """Mark up to ``most`` jobs that are due as out, and return them; or else when the next one is due."""
        handed = self._handed("lane = ? AND state = 'pending' AND due <= ? ORDER BY due, id LIMIT ?", (lane, due, most))
        if handed:
            ids = json.dumps([one.id for one in handed])
            self._db.execute(
                "UPDATE job SET state = 'sent', sent = ? WHERE id IN (SELECT value FROM json_each(?))", (now, ids)
            )
            return handed, None
        (first,) = self._db.execute("SELECT min(due) FROM job WHERE state = 'pending' AND lane = ?", (lane,)).fetchone()
        return [], first

    def out(self, *, after: int, most: int) -> list[HandedOverJob]:
        """Return jobs that are out, in the order of their rows from the one after ``after`` on."""
        return self._handed("state = 'sent' AND id > ? ORDER BY id LIMIT ?", (after, most))

    def out_of(self, ids: Sequence[int]) -> list[HandedOverJob]:
        """Return those of some jobs that are out."""
        return self._handed("state = 'sent' AND id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))

    def _handed(self, clause: str, values: Sequence[object]) -> list[HandedOverJob]:
        columns = ", ".join(HandedOverJob._fields)
        found = self._db.execute(f"SELECT {columns} FROM job WHERE {clause}", values)  # noqa: S608 - our own
        return [HandedOverJob._make(row) for row in found]

    def give_back(self, ids: Sequence[int], *, attempts: int = 1) -> None:
        """Unmark jobs that were taken and not sent; ``attempts`` were counted when they were."""
        self._db.execute(
            "UPDATE job SET state = 'pending', attempts = attempts - ?, again = 0"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (attempts, json.dumps(ids)),
        )

    def record(self, records: Sequence[AttemptRecord]) -> None:
        """Write down what became of attempts, and how many ended in each second, for reports."""
        for first in range(0, len(records), RECORDS_AT_ONCE):
            some = records[first : first + RECORDS_AT_ONCE]
            self._db.execute(record_statement(len(some)), [value for one in some for value in one])
        states = Counter([(one.lane, int(one.now), one.state) for one in records])
        self._db.executemany(
            "INSERT INTO second VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET answered = answered"
            " + excluded.answered, done = done + excluded.done, deferred = deferred + excluded.deferred",
            [
                (lane, second, count, count * (state == JobState.DONE), count * (state == JobState.PENDING))
                for (lane, second, state), count in states.items()
            ],
        )

    def forget(self, *, before: float) -> int:
        """Remove what was done before a time; return how many there were."""
        self._db.execute("DELETE FROM second WHERE second < ?", (before,))
        return self._db.execute("DELETE FROM job WHERE state = 'done' AND ended < ?", (before,)).rowcount

    # Looking

    def unfinished_lanes(self) -> set[int]:
        """Return the numbers of the lanes that have jobs which have not ended."""
        with self.reading():
            return {
                lane for (lane,) in self._db.execute("SELECT DISTINCT lane FROM job WHERE state IN ('pending', 'sent')")
            }

    def find(self, key: str) -> Job | None:
        """Return a job."""
        return next(self.jobs("key = ?", (key,)), None)

    def jobs(self, condition: str = "true", values: Sequence[object] = (), *, limit: int = -1) -> Iterator[Job]:
        """Return the jobs that an SQL condition on their columns selects, in the order in which they came.

        They are read some at a time, so that a journal in use is not held up by who looks at all of it.
        """
        last = 0
        while limit:
            size = PAGE if limit < 0 else min(PAGE, limit)
            page = self._page(f"id > {last} AND ({condition}) ORDER BY id LIMIT {size}", values)
            for last, job in page:  # noqa: B007 - the last one is where the next page begins
                yield job
            if len(page) < size:
                return
            limit -= size if limit > 0 else 0

    def ordered(self, order: str, *, limit: int) -> list[Job]:
        """Return the first jobs in an order, an SQL expression that is NULL for those that are left out."""
        return [job for _, job in self._page(f"{order} IS NOT NULL ORDER BY {order} DESC, id LIMIT {limit}", ())]

    def _page(self, clause: str, values: Sequence[object]) -> list[tuple[int, Job]]:
        columns = [field.name for field in attrs.fields(Job)]
        with self.reading():
            lanes = self.lanes()
            rows = self._db.execute(f"SELECT id, {', '.join(columns)} FROM job WHERE {clause}", values).fetchall()  # noqa: S608 - our own
            return [(row[0], _job(dict(zip(columns, row[1:], strict=True)), lanes)) for row in rows]

    def query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[object, ...]]:
        """Return the rows of a query, for reports."""
        with self.reading():
            return self._db.execute(sql, values).fetchall()

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs there are in each state."""
        with self.reading():
            found = self._db.execute("SELECT state, count(*) FROM job GROUP BY state")
            return dict.fromkeys(JobState, 0) | {JobState(state): count for state, count in found}

    def summary(self) -> JobSummary:
        """Return how many jobs there are of each kind."""
        counts = self.counts()
        with self.reading():
            (gone,) = self._db.execute("SELECT count(*) FROM job WHERE state = 'done' AND was_gone").fetchone()
            waiting = self.deferred()
        deferred = sum(count for _, count, _, _ in waiting)
        return JobSummary(
            done=counts[JobState.DONE],
            gone=gone,
            failed=counts[JobState.FAILED],
            given_up=counts[JobState.GIVEN_UP],
            deferred=deferred,
            next_due=min((due for _, _, due, _ in waiting), default=None),
            left=counts[JobState.PENDING] + counts[JobState.SENT] - deferred,
        )

    def interrupted(self) -> int:
        """Return how many jobs were interrupted: whether they were carried out is not known."""
        with self.reading():
            sql = "SELECT count(*) FROM job WHERE state = 'failed' AND code = ?"
            (count,) = self._db.execute(sql, (INTERRUPTED,)).fetchone()
            return int(count)

    def deferred(self) -> list[tuple[int, int, float, float]]:
        """Return for each lane how many jobs wait for their next attempt, and when the first and last are due."""
        with self.reading():
            return self._db.execute(
                "SELECT lane, count(*), min(due), max(due) FROM job WHERE state = 'pending' AND attempts > 0"
                " GROUP BY lane"
            ).fetchall()

    def with_workers(self) -> int:
        """Return how many jobs the workers of a queue have."""
        if self.note("incarnation") is None:
            return 0
        with self.reading():
            (count,) = self._db.execute("SELECT count(*) FROM job WHERE state = 'sent'").fetchone()
            return int(count)

    def forget_queue(self) -> None:
        """Forget that a queue had jobs of this journal: from now on, what is on its way is so from here."""
        self._db.execute("DELETE FROM note WHERE name = 'incarnation'")

    def note(self, name: str, value: str | None = None) -> str | None:
        """Return what is noted under a name, after noting ``value``, if there is one."""
        if value is not None:
            self._db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
        with self.reading():
            found = self._db.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return None if found is None else found[0]


def _job(given: dict[str, Any], lanes: dict[int, Lane]) -> Job:
    """Make a job of its columns."""
    given["lane"] = lanes[given["lane"]]
    given["state"] = JobState(given["state"])
    given["parameters"] = json.loads(given["parameters"])
    given["result"] = None if given["result"] is None else json.loads(given["result"])
    for flag in ("maybe_sent", "was_gone"):
        given[flag] = bool(given[flag])
    return Job(**given)
