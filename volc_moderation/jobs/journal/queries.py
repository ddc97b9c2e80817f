"""What can be asked of a journal: its jobs, their numbers, and the figures of reports. Reads only; blocking."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import attrs

from volc_moderation.jobs.job import INTERRUPTED, DeferredJobs, JobState, Lane, StoredJob
from volc_moderation.jobs.journal.codec import load_job
from volc_moderation.jobs.journal.file import JournalFile
from volc_moderation.jobs.journal.schema import JobSummary

#: Rows per query of ``jobs``: the write-ahead log grows for as long as a query is open.
PAGE_SIZE = 1000


@attrs.frozen(kw_only=True)
class JobFilter:
    """Selects the jobs that meet all of its conditions; by default every job.

    :param states: of the job; empty for any.
    :param accounts: the hashes of accounts; empty for any.
    :param action: the vendor's name of the action.
    :param code: of the last refusal or fault, as text.
    :param key: of the job.
    :param key_prefix: how the job's key begins.
    :param is_deferred: only jobs that wait for their next attempt.
    :param was_gone: only jobs that are done because their target did not exist.
    """

    states: frozenset[JobState] = frozenset()
    accounts: frozenset[str] = frozenset()
    action: str | None = None
    code: str | None = None
    key: str | None = None
    key_prefix: str | None = None
    is_deferred: bool = False
    was_gone: bool = False

    def condition(self) -> tuple[str, list[str]]:
        """Return an SQL condition on the columns of ``job``, and its values."""
        conditions: list[str] = ["true"]
        values: list[str] = []
        if self.states:
            conditions.append(f"state IN ({', '.join('?' * len(self.states))})")
            values += sorted(self.states)
        if self.accounts:
            marks = ", ".join("?" * len(self.accounts))
            conditions.append(f"lane IN (SELECT id FROM lane WHERE account IN ({marks}))")  # noqa: S608 - marks only
            values += sorted(self.accounts)
        if self.is_deferred:
            conditions.append("state = 'pending' AND attempts > 0")
        if self.was_gone:
            conditions.append("state = 'done' AND was_gone")
        for condition, value in (
            ("lane IN (SELECT id FROM lane WHERE action = ?)", self.action),
            ("CAST(code AS TEXT) = ?", self.code),
            ("key = ?", self.key),
            # A range, which the index serves: no character comes after the last one of Unicode.
            ("key >= ?", self.key_prefix),
            ("key < ? || char(1114111)", self.key_prefix),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        return " AND ".join(conditions), values


class ActionCount(NamedTuple):
    """The number of jobs of an action in a state."""

    action: str
    state: JobState
    jobs: int


class FailureCode(NamedTuple):
    """A code with which jobs failed or were given up."""

    code: str | int | None
    jobs: int
    #: The message of one of them.
    message: str | None


class AnswerSpan(NamedTuple):
    """The time over which answers came. Times are Unix seconds."""

    first_second: int
    last_second: int
    answers: int
    #: Seconds between answers that were further apart than the threshold.
    idle: int
    #: The earliest request and the latest end among the jobs' last attempts.
    first_sent: float | None
    last_ended: float | None


class AnswerBin(NamedTuple):
    """The answers of a lane in one bin of time."""

    lane_id: int
    #: From 0 on.
    bin: int
    answers: int
    done: int
    deferred: int
    #: The highest number of answers in one second of the bin.
    peak: int


class DurationCell(NamedTuple):
    """Durations of a lane, in seconds, that are close together."""

    lane_id: int
    low: float
    high: float
    size: int


class OutcomeCount(NamedTuple):
    """The number of jobs of a lane with the same outcome."""

    lane_id: int
    state: JobState
    was_gone: bool
    was_tried: bool
    code: str | int | None
    jobs: int
    #: The message of the oldest of them.
    message: str | None


class JournalQueries(JournalFile):
    """The queries of a journal. All of them raise ``JournalError`` if the file cannot be read."""

    def _query(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.reading():
            return self._db.execute(sql, values).fetchall()

    # Lanes

    def lanes(self) -> dict[int, Lane]:
        """Return all lanes by their numbers."""
        with self.reading():
            rows = self._db.execute("SELECT id, vendor, account, action, version FROM lane ORDER BY id")
            return {lane_id: Lane(*lane) for lane_id, *lane in rows}

    def unfinished_lanes(self) -> set[int]:
        """Return the numbers of the lanes that have unfinished jobs."""
        with self.reading():
            rows = self._db.execute("SELECT DISTINCT lane FROM job WHERE state IN ('pending', 'sent')")
            return {lane_id for (lane_id,) in rows}

    def unfinished_by_lane(self) -> dict[Lane, int]:
        """Return the number of unfinished jobs of each lane that has any."""
        with self.reading():
            lanes = self.lanes()
            rows = self._db.execute("SELECT lane, count(*) FROM job WHERE state IN ('pending', 'sent') GROUP BY lane")
            return {lanes[lane_id]: count for lane_id, count in rows}

    def deferred(self) -> dict[Lane, DeferredJobs]:
        """Return the deferred jobs of each lane that has any."""
        with self.reading():
            lanes = self.lanes()
            rows = self._db.execute(
                "SELECT lane, count(*), min(due), max(due) FROM job WHERE state = 'pending' AND attempts > 0"
                " GROUP BY lane"
            )
            return {
                lanes[lane_id]: DeferredJobs(count=count, first_due=first, last_due=last)
                for lane_id, count, first, last in rows
            }

    # Jobs

    def find(self, key: str) -> StoredJob | None:
        """Return the job with a key, or None if there is none."""
        return next(self.jobs(JobFilter(key=key)), None)

    def jobs(self, selected: JobFilter | None = None, *, limit: int | None = None) -> Iterator[StoredJob]:
        """Return the jobs that a filter selects, by default all, in the order in which they were added.

        They are read page by page, so that reading all of them does not hold up the process that writes.
        """
        condition, values = (selected or JobFilter()).condition()
        last_id = 0
        left = limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(PAGE_SIZE, left)
            page = self._page(f"id > {last_id} AND {condition} ORDER BY id LIMIT {size}", values)
            for last_id, job in page:  # noqa: B007 - the next page starts after the last one
                yield job
            if len(page) < size:
                return
            if left is not None:
                left -= size

    def slowest(self, limit: int) -> list[StoredJob]:
        """Return the jobs with the longest round trips, longest first."""
        page = self._page("round_trip > 0 ORDER BY round_trip DESC, id LIMIT ?", (limit,))
        return [job for _, job in page]

    def results(self, action: str) -> Iterator[object]:
        """Return the results of the jobs of an action that are done, in the order in which they were added."""
        return (job.result for job in self.jobs(JobFilter(states=frozenset({JobState.DONE}), action=action)))

    def _page(self, clause: str, values: Sequence[object]) -> list[tuple[int, StoredJob]]:
        columns = ["id", *(field.name for field in attrs.fields(StoredJob))]
        with self.reading():
            lanes = self.lanes()
            rows = self._db.execute(f"SELECT {', '.join(columns)} FROM job WHERE {clause}", values)  # noqa: S608 - our own
            stored = [dict(zip(columns, row, strict=True)) for row in rows]
            return [(fields["id"], load_job(fields, lanes[fields["lane"]])) for fields in stored]

    # Numbers of jobs

    def counts(self) -> dict[JobState, int]:
        """Return the number of jobs in each state."""
        with self.reading():
            rows = self._db.execute("SELECT state, count(*) FROM job GROUP BY state")
            return dict.fromkeys(JobState, 0) | {JobState(state): count for state, count in rows}

    def counts_by_action(self) -> list[ActionCount]:
        """Return the number of jobs of each action in each state that has any, in the order of their names."""
        with self.reading():
            rows = self._db.execute(
                "SELECT action, state, count(*) FROM job JOIN lane ON lane.id = job.lane GROUP BY 1, 2 ORDER BY 1, 2"
            )
            return [ActionCount(action, JobState(state), count) for action, state, count in rows]

    def summary(self) -> JobSummary:
        """Return the number of jobs of each kind."""
        with self.snapshot(), self.reading():
            counts = self.counts()
            (gone,) = self._db.execute("SELECT count(*) FROM job WHERE state = 'done' AND was_gone").fetchone()
            waiting = self.deferred().values()
        deferred = sum(lane.count for lane in waiting)
        return JobSummary(
            done=counts[JobState.DONE],
            gone=gone,
            failed=counts[JobState.FAILED],
            given_up=counts[JobState.GIVEN_UP],
            deferred=deferred,
            next_due=min((lane.first_due for lane in waiting), default=None),
            left=counts[JobState.PENDING] + counts[JobState.SENT] - deferred,
        )

    def next_due(self) -> float | None:
        """Return when the next pending job is due, or was, in Unix seconds; None if no job is pending."""
        due: float | None
        ((due,),) = self._query("SELECT min(due) FROM job WHERE state = 'pending'")
        return due

    def count_interrupted(self) -> int:
        """Return the number of jobs that were interrupted: it is unknown whether they were carried out."""
        with self.reading():
            sql = "SELECT count(*) FROM job WHERE state = 'failed' AND code = ?"
            (count,) = self._db.execute(sql, (INTERRUPTED,)).fetchone()
            return int(count)

    def failure_codes(self, limit: int = 5) -> list[FailureCode]:
        """Return the codes with which jobs failed or were given up, most frequent first."""
        rows = self._query(
            "SELECT code, count(*), min(message) FROM job WHERE state IN ('failed', 'given up')"
            " GROUP BY code ORDER BY count(*) DESC LIMIT ?",
            (limit,),
        )
        return [FailureCode._make(row) for row in rows]

    # Figures of reports

    def ending_spans(self) -> dict[str, float]:
        """Return the seconds between the first and the last end of each action's jobs, of those with one attempt."""
        rows = self._query(
            "SELECT action, max(ended) - min(ended) FROM job JOIN lane ON lane.id = job.lane"
            " WHERE attempts = 1 GROUP BY 1"
        )
        return {action: seconds or 0.0 for action, seconds in rows}

    def answer_span(self, *, idle_after: int) -> AnswerSpan | None:
        """Return when answers came; None if none did.

        :param idle_after: seconds. The time between two answers that are further apart is idle.
        """
        ((first, last, answers),) = self._query("SELECT min(second), max(second), sum(answered) FROM second")
        if first is None:
            return None
        ((sent, ended),) = self._query("SELECT min(sent), max(ended) FROM job")
        gaps = "SELECT second - lag(second) OVER (ORDER BY second) AS gap FROM (SELECT DISTINCT second FROM second)"
        ((idle,),) = self._query(f"SELECT total(gap) FROM ({gaps}) WHERE gap > ?", (idle_after,))  # noqa: S608 - our own
        return AnswerSpan(first, last, answers, round(idle), sent, ended)

    def answers_by_bin(self, *, first_second: int, width: int) -> list[AnswerBin]:
        """Return the answers of each lane in each bin of ``width`` seconds, from ``first_second`` on."""
        rows = self._query(
            "SELECT lane, (second - ?1) / ?2 AS bin, sum(answered), sum(done), sum(deferred), max(answered) FROM second"
            " GROUP BY lane, bin",
            (first_second, width),
        )
        return [AnswerBin._make(row) for row in rows]

    def duration_cells(self, column: Literal["round_trip", "waited"]) -> list[DurationCell]:
        """Return how the durations in a column are distributed in each lane.

        A cell spans 0.1 ms below 0.1 s, 1 ms below 1 s, 10 ms below 10 s, and 0.1 s above: at most 1 % from 0.1 s on.
        """
        rows = self._query(
            f"SELECT lane, min({column}), max({column}), count(*) FROM job WHERE {column} IS NOT NULL GROUP BY lane,"  # noqa: S608 - our own
            f" CASE WHEN {column} < 0.1 THEN CAST({column} * 10000 AS INTEGER)"
            f" WHEN {column} < 1 THEN 1000 + CAST({column} * 1000 AS INTEGER)"
            f" WHEN {column} < 10 THEN 2000 + CAST({column} * 100 AS INTEGER)"
            f" ELSE 3000 + CAST({column} * 10 AS INTEGER) END"
        )
        return [DurationCell._make(row) for row in rows]

    def outcomes(self, limit: int) -> list[OutcomeCount]:
        """Return how often each outcome occurs in each lane, most frequent first."""
        with self.reading():
            rows = self._db.execute(
                "SELECT kind.lane, kind.state, kind.was_gone, tried, kind.code, jobs, job.message FROM"
                " (SELECT lane, state, was_gone, attempts > 0 AS tried, code, count(*) AS jobs, min(id) AS example"
                " FROM job GROUP BY lane, state, was_gone, tried, code) AS kind"
                " JOIN job ON job.id = kind.example ORDER BY jobs DESC, example LIMIT ?",
                (limit,),
            )
            return [
                OutcomeCount(lane_id, JobState(state), bool(was_gone), bool(was_tried), code, count, message)
                for lane_id, state, was_gone, was_tried, code, count, message in rows
            ]
