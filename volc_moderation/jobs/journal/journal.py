"""The journal: one SQLite file with one row per call. Blocking; ``thread.py`` keeps it off the event loop."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

from volc_moderation.jobs.job import INTERRUPTED, JobState, Lane
from volc_moderation.jobs.journal.queries import JournalQueries
from volc_moderation.jobs.journal.schema import (
    REOPEN,
    WRITE_BATCH_SIZE,
    AttemptRecord,
    DueJob,
    HandedOverJob,
    LoadResult,
    Record,
    SuccessRecord,
    record_statement,
    statement_size,
)


class Journal(JournalQueries):
    """An open journal. Methods that write must be called inside ``transaction()``, which raises ``JournalError``."""

    def lane_id(self, lane: Lane) -> int:
        """Return the number of a lane in this journal; a new lane is added."""
        self._db.execute("INSERT OR IGNORE INTO lane (vendor, account, action, version) VALUES (?, ?, ?, ?)", lane)
        sql = "SELECT id FROM lane WHERE vendor = ? AND account = ? AND action = ? AND version = ?"
        lane_id: int = self._db.execute(sql, lane).fetchone()[0]
        return lane_id

    # Adding jobs

    def load(
        self, jobs: Iterable[tuple[str, int, str, int | None]], *, due: float, now: float, is_run: bool = True
    ) -> LoadResult:
        """Add a list of calls, as tuples of key, lane id, parameters and line: all of them or none.

        If exactly this list was loaded before as a run, nothing is added, and the run continues with it. If another
        list was loaded, calls that have ended are made again; pending calls and calls in flight are left alone.

        :param is_run: whether the list is remembered, or else added to what others have submitted.
        """
        digest = blake2b(digest_size=16)

        def rows() -> Iterator[tuple[str, int, str, int | None, float, float]]:
            for key, lane_id, parameters, line in jobs:
                digest.update(f"{key}{parameters}\n".encode())
                yield key, lane_id, parameters, line, due, now

        columns = "key, lane, parameters, line, due, created"
        if self._has_jobs():
            self._db.execute(f"CREATE TEMP TABLE listed ({columns})")
            try:
                self._db.executemany("INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?)", rows())
                if is_run and self._db.execute("SELECT 1 FROM run WHERE digest = ?", (digest.hexdigest(),)).fetchone():
                    return LoadResult(new=0, again=0, is_known=True)
                count_before = self._count()
                changes_before = self._db.total_changes
                self._db.execute(
                    f"INSERT INTO job ({columns}) SELECT {columns} FROM listed WHERE true"  # noqa: S608 - our own
                    f" ON CONFLICT (key) DO UPDATE {REOPEN}"
                )
                new = self._count() - count_before
                result = LoadResult(new=new, again=self._db.total_changes - changes_before - new, is_known=False)
            finally:
                self._db.execute("DROP TABLE listed")
        else:
            self._db.executemany(
                f"INSERT INTO job ({columns}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",  # noqa: S608
                rows(),
            )
            result = LoadResult(new=self._count(), again=0, is_known=False)
        if is_run:
            self._db.execute("INSERT OR IGNORE INTO run (digest, created) VALUES (?, ?)", (digest.hexdigest(), now))
        return result

    def _count(self) -> int:
        count: int = self._db.execute("SELECT count(*) FROM job").fetchone()[0]
        return count

    def submit(
        self,
        key: str,
        lane_id: int,
        parameters: str,
        *,
        due: float,
        now: float,
        delay: float = 0.0,
        traceparent: str | None = None,
    ) -> None:
        """Add a job, or reopen it if it has ended; ``due`` is ``delay`` seconds from now.

        A pending job with the same key is the same job and gets the new parameters. A job in flight runs once more,
        ``delay`` seconds after it ends: what it acts on may have been started again since the request left.

        ``traceparent`` is the span that submits the job.
        """
        insert = (
            "INSERT INTO job (key, lane, parameters, due, delay, created, traceparent) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE "
        )
        values = key, lane_id, parameters, due, delay, now, traceparent
        self._db.execute(
            f"{insert}SET again = again OR state = 'sent', parameters = excluded.parameters,"
            " again_delay = CASE WHEN state = 'sent' THEN excluded.delay ELSE again_delay END,"
            " traceparent = excluded.traceparent WHERE state IN ('pending', 'sent')",
            values,
        )
        self._db.execute(insert + REOPEN, values)

    # Recovering jobs

    def clamp_due_times(self, *, now: float) -> None:
        """Let no pending job wait longer than its delay from ``now``: if more is left, the clock has stepped back."""
        self._db.execute("UPDATE job SET due = ?1 + delay WHERE state = 'pending' AND due > ?1 + delay", (now,))

    def recover(self, lane_id: int, *, repeatable: bool, due: float, now: float) -> int:
        """Recover the jobs of a lane that were in flight when the process ended; return their number.

        Repeatable jobs become pending, and so do jobs that were submitted again while they were in flight. All others
        have failed as interrupted: it is unknown whether the vendor carried them out.
        """
        if repeatable:
            change = "state = 'pending', due = :due, delay = 0, again = again AND again_delay > 0"
        else:
            change = (
                "state = iif(again, 'pending', 'failed'), due = :due + iif(again, again_delay, 0),"
                " delay = iif(again, again_delay, 0), attempts = iif(again, 0, attempts), again = 0,"
                f" ended = iif(again, NULL, :now), code = '{INTERRUPTED}',"
                " message = 'the process ended while the call was in flight; whether it was carried out is unknown'"
            )
        return self._db.execute(
            f"UPDATE job SET {change}, maybe_sent = 1 WHERE lane = :lane AND state = 'sent'",  # noqa: S608 - of these two
            {"lane": lane_id, "due": due, "now": now},
        ).rowcount

    def retry_ended(self, *, due: float, failed: bool = True, interrupted: bool = False) -> int:
        """Make jobs pending again; return their number.

        :param failed: retry jobs that failed or were given up, without the interrupted ones.
        :param interrupted: retry interrupted jobs. They must not be made twice, and may have been carried out.
        """
        return self._db.execute(
            "UPDATE job SET state = 'pending', attempts = 0, due = ?1, delay = 0, ended = NULL, sent = NULL,"
            " created = ?1 WHERE state IN ('failed', 'given up') AND iif(code IS ?2, ?3, ?4)",
            (due, INTERRUPTED, interrupted, failed),
        ).rowcount

    # Making the calls

    def take(self, lane_id: int, limit: int, *, due: float, now: float) -> tuple[list[DueJob], float | None]:
        """Mark up to ``limit`` jobs of a lane that are due as sent ``now``, and return them.

        If there is none, the second value is the time at which the next job is due, or None.
        """
        # One step of SQLite for all rows: at each step, the thread releases the interpreter's lock.
        rows, ids = self._db.execute(
            "SELECT json_group_array(json_array(id, key, parameters, attempts + 1, maybe_sent, code, line,"
            " traceparent)),"
            " json_group_array(id) FROM"
            " (SELECT * FROM job WHERE state = 'pending' AND lane = ? AND due <= ? ORDER BY due, id LIMIT ?)",
            (lane_id, due, limit),
        ).fetchone()
        jobs = [DueJob._make(row) for row in json.loads(rows)]
        if not jobs:
            return [], self._next_due(lane_id)
        self._db.execute(
            "UPDATE job SET state = 'sent', sent = ?, attempts = attempts + 1"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (now, ids),
        )
        return jobs, None

    def _next_due(self, lane_id: int) -> float | None:
        sql = "SELECT min(due) FROM job WHERE state = 'pending' AND lane = ?"
        due: float | None = self._db.execute(sql, (lane_id,)).fetchone()[0]
        return due

    def give_back(self, ids: Sequence[int], *, attempts: int = 1) -> None:
        """Make jobs pending again that were taken and not sent; ``attempts`` is what taking them has counted."""
        self._db.execute(
            "UPDATE job SET state = 'pending', attempts = attempts - ?, again = 0"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (attempts, json.dumps(ids)),
        )

    def record(self, records: Sequence[Record]) -> None:
        """Write the outcomes of attempts, and count the attempts that ended in each second, for reports."""
        for record_type in (SuccessRecord, AttemptRecord):
            of_type = [record for record in records if type(record) is record_type]
            for start in range(0, len(of_type), WRITE_BATCH_SIZE):
                batch = of_type[start : start + WRITE_BATCH_SIZE]
                size = statement_size(len(batch))
                batch += batch[-1:] * (size - len(batch))
                self._db.execute(record_statement(record_type, size), [value for record in batch for value in record])
        counts = Counter(
            [(record.lane_id, int(record.now), getattr(record, "state", JobState.DONE)) for record in records]
        )
        self._db.executemany(
            "INSERT INTO second VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET answered = answered"
            " + excluded.answered, done = done + excluded.done, deferred = deferred + excluded.deferred",
            [
                (lane_id, second, count, count * (state == JobState.DONE), count * (state == JobState.PENDING))
                for (lane_id, second, state), count in counts.items()
            ],
        )

    def delete_done(self, *, before: float) -> int:
        """Delete the jobs that were done before a time; return their number."""
        self._db.execute("DELETE FROM second WHERE second < ?", (before,))
        return self._db.execute("DELETE FROM job WHERE state = 'done' AND ended < ?", (before,)).rowcount

    # Jobs that the workers of a queue run

    def hand_over(
        self, lane_id: int, limit: int, *, due: float, now: float
    ) -> tuple[list[HandedOverJob], float | None]:
        """Mark up to ``limit`` jobs of a lane that are due as handed over ``now``, and return them.

        If there is none, the second value is the time at which the next job is due, or None.
        """
        jobs = self._handed_over(
            "lane = ? AND state = 'pending' AND due <= ? ORDER BY due, id LIMIT ?", (lane_id, due, limit)
        )
        if not jobs:
            return [], self._next_due(lane_id)
        ids = json.dumps([job.id for job in jobs])
        self._db.execute(
            "UPDATE job SET state = 'sent', sent = ? WHERE id IN (SELECT value FROM json_each(?))", (now, ids)
        )
        return jobs, None

    def handed_over(self, *, after: int, limit: int) -> list[HandedOverJob]:
        """Return up to ``limit`` jobs that the workers have, in the order of their ids, after the id ``after``."""
        return self._handed_over("state = 'sent' AND id > ? ORDER BY id LIMIT ?", (after, limit))

    def handed_over_by_id(self, ids: Sequence[int]) -> list[HandedOverJob]:
        """Return the jobs that the workers have, of those with the given ids."""
        return self._handed_over("state = 'sent' AND id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))

    def _handed_over(self, clause: str, values: Sequence[object]) -> list[HandedOverJob]:
        columns = ", ".join(HandedOverJob._fields).replace("lane_id", "lane AS lane_id")
        rows = self._db.execute(f"SELECT {columns} FROM job WHERE {clause}", values)  # noqa: S608 - our own
        return [HandedOverJob._make(row) for row in rows]

    def count_with_workers(self) -> int:
        """Return the number of jobs that the workers of a queue have."""
        return 0 if self.note("incarnation") is None else self.counts()[JobState.SENT]

    def forget_queue(self) -> None:
        """Forget that a queue had jobs of this journal: from now on, jobs in flight are in flight from here."""
        self._db.execute("DELETE FROM note WHERE name = 'incarnation'")

    def note(self, name: str, value: str | None = None) -> str | None:
        """Return the note of a name, or None if there is none; ``value`` is written first, unless it is None."""
        if value is not None:
            self._db.execute("INSERT OR REPLACE INTO note VALUES (?, ?)", (name, value))
        with self.reading():
            row = self._db.execute("SELECT value FROM note WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]
