"""The tables of a journal, and the rows that are read and written."""

from functools import cache
from typing import NamedTuple

from volc_moderation.jobs.job import JobState

#: The version of the schema that this code writes; in a later one, the same columns may mean something else.
SCHEMA = 3
#: Distinguishes a journal from other SQLite files: "vmod".
APPLICATION_ID = 0x766D6F64
#: The lists of calls that were loaded, each with a digest of all its calls.
_RUN_TABLE = "CREATE TABLE run (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, created REAL NOT NULL);"
TABLES = f"""
CREATE TABLE lane (
    id INTEGER PRIMARY KEY,
    vendor TEXT NOT NULL, account TEXT NOT NULL, action TEXT NOT NULL, version TEXT NOT NULL,
    UNIQUE (vendor, account, action, version)
);
CREATE TABLE job (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    lane INTEGER NOT NULL REFERENCES lane,
    parameters TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    due REAL NOT NULL,
    delay REAL NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    maybe_sent INTEGER NOT NULL DEFAULT 0,
    again INTEGER NOT NULL DEFAULT 0,
    again_delay REAL NOT NULL DEFAULT 0,
    was_gone INTEGER NOT NULL DEFAULT 0,
    code, message TEXT, request_id TEXT, result TEXT,
    line INTEGER,
    created REAL NOT NULL, sent REAL, ended REAL, round_trip REAL, waited REAL,
    traceparent TEXT
);
CREATE INDEX due ON job (lane, due) WHERE state = 'pending';
CREATE INDEX deferred ON job (lane, due) WHERE state = 'pending' AND attempts > 0;
CREATE TABLE second (
    lane INTEGER NOT NULL, second INTEGER NOT NULL,
    answered INTEGER NOT NULL, done INTEGER NOT NULL, deferred INTEGER NOT NULL,
    PRIMARY KEY (lane, second)
) WITHOUT ROWID;
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
{_RUN_TABLE}
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA};
"""
#: By the number of an older schema: the script that upgrades it to the next one.
UPGRADES = {
    1: f"""
PRAGMA user_version = 2;
ALTER TABLE job ADD COLUMN delay REAL NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN again_delay REAL NOT NULL DEFAULT 0;
UPDATE job SET delay = max(0, due - (julianday('now') - 2440587.5) * 86400) WHERE state = 'pending';
{_RUN_TABLE}
""",  # noqa: S608 - our own
    2: """
PRAGMA user_version = 3;
ALTER TABLE job ADD COLUMN traceparent TEXT;
""",
}

#: Makes a job that has ended pending again; everything but its key is that of the new one.
REOPEN = """
SET state = 'pending', lane = excluded.lane, parameters = excluded.parameters, line = excluded.line, due = excluded.due,
    delay = excluded.delay, created = excluded.created, attempts = 0, maybe_sent = 0, again = 0, was_gone = 0,
    code = NULL, message = NULL, request_id = NULL, result = NULL, sent = NULL, ended = NULL, round_trip = NULL,
    waited = NULL, traceparent = excluded.traceparent
WHERE state IN ('done', 'failed', 'given up')
"""


# Named tuples, because a run creates two for every call, and SQLite works with tuples. The names of the fields of
# HandedOverJob, AttemptRecord and SuccessRecord are those of columns.


class DueJob(NamedTuple):
    """A job that is due, as a runner takes it."""

    #: The number of its row in a journal; in a worker, the fence of its claim.
    id: int
    key: str
    parameters: str
    #: Including the next one.
    attempts: int
    maybe_sent: int
    code: str | int | None
    line: int | None
    #: The span that has submitted the job: https://www.w3.org/TR/trace-context/
    traceparent: str | None = None


class HandedOverJob(NamedTuple):
    """A job that is handed over to workers."""

    id: int
    lane_id: int
    key: str
    parameters: str
    attempts: int
    maybe_sent: int
    code: str | int | None
    line: int | None
    #: When it was listed, in Unix seconds; this distinguishes one listing of a call from the next.
    created: float
    #: When it was handed over, in Unix seconds; None if it was not.
    sent: float | None
    #: The span that has submitted the job.
    traceparent: str | None


class AttemptRecord(NamedTuple):
    """An attempt that has ended, as it is written. Times are Unix seconds."""

    id: int
    lane_id: int
    state: str
    #: When the next attempt is due.
    due: float
    #: Seconds from the end of this attempt to ``due``; 0 while workers have the job.
    delay: float
    attempts: int
    maybe_sent: bool
    was_gone: bool
    code: str | int | None
    message: str | None
    request_id: str | None
    result: str | None
    round_trip: float | None
    waited: float | None
    #: When the attempt ended.
    now: float


class SuccessRecord(NamedTuple):
    """The record of an attempt that simply succeeded: nothing to keep but its times and its request.

    Most attempts end like this, and this form takes SQLite half the time.
    """

    id: int
    lane_id: int
    due: float
    attempts: int
    request_id: str | None
    round_trip: float | None
    waited: float | None
    now: float


#: The record of an attempt.
Record = AttemptRecord | SuccessRecord


class LoadResult(NamedTuple):
    """The number of calls that loading a list added."""

    new: int
    #: Calls that had ended, and are made again.
    again: int
    #: Whether exactly this list was loaded before, so that nothing was added.
    is_known: bool


class JobSummary(NamedTuple):
    """The number of jobs of each kind."""

    done: int
    #: Jobs, among those that are done, whose target did not exist.
    gone: int
    failed: int
    given_up: int
    #: Jobs that wait for their next attempt.
    deferred: int
    #: When the first deferred job is due, in Unix seconds.
    next_due: float | None
    #: All other jobs that have not ended.
    left: int

    @property
    def unfinished(self) -> int:
        """The number of jobs that have not ended."""
        return self.deferred + self.left

    @property
    def total(self) -> int:
        """The number of all jobs."""
        return self.done + self.failed + self.given_up + self.unfinished


#: Records per statement: SQLite accepts 32,766 values in one (https://www.sqlite.org/limits.html).
WRITE_BATCH_SIZE = 200
#: Numbers of records above this are rounded up to a multiple of it: each number needs a statement of its own, and
#: preparing one takes as long as executing it.
STATEMENT_STEP = 8

#: What the record of a success leaves out.
_OF_SUCCESS = {
    "state": f"'{JobState.DONE}'",
    "delay": "0",
    "maybe_sent": "false",
    "was_gone": "false",
    "code": "NULL",
    "message": "NULL",
    "result": "NULL",
}


def statement_size(count: int) -> int:
    """Return for how many records the statement is that writes ``count`` of them; one may be written repeatedly."""
    return count if count <= STATEMENT_STEP else -(-count // STATEMENT_STEP) * STATEMENT_STEP


@cache
def record_statement(record_type: type[Record], count: int) -> str:
    """Return the statement that writes ``count`` records; its values are the fields of the records, in order.

    For a job that was submitted again meanwhile, the next attempt counts as the one that was asked for, unless it comes
    before its delay is over: then the job runs once more after it has ended.
    """
    fields = record_type._fields
    columns = ", ".join(name if name in fields else f"{_OF_SUCCESS[name]} AS {name}" for name in AttemptRecord._fields)
    values = f"({', '.join('?' * len(fields))})"
    return f"""
WITH record ({", ".join(fields)}) AS (VALUES {", ".join([values] * count)}),
    named AS (SELECT {columns} FROM record),
    r AS (SELECT *, state NOT IN ('pending', 'sent') AS has_ended FROM named)
UPDATE job SET
    state = CASE WHEN again THEN 'pending' ELSE r.state END,
    due = r.due + CASE WHEN again AND has_ended THEN again_delay ELSE 0 END,
    delay = CASE WHEN again AND has_ended THEN again_delay ELSE r.delay END,
    attempts = CASE WHEN again AND (has_ended OR again_delay <= r.delay) THEN 0 ELSE r.attempts END,
    again = again AND NOT has_ended AND again_delay > r.delay,
    maybe_sent = r.maybe_sent, was_gone = r.was_gone, code = r.code, message = r.message, request_id = r.request_id,
    result = r.result, round_trip = r.round_trip, waited = r.waited,
    ended = CASE WHEN has_ended AND NOT again THEN r.now END
FROM r WHERE job.id = r.id
"""  # noqa: S608 - our own names
