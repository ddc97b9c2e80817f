"""What a journal is made of: its tables, and the rows that go in and out."""

from typing import NamedTuple

#: The schema that this code writes; a later one may mean something else by what stands in it.
SCHEMA = 2
#: Tells a journal from other SQLite files: "vmod".
APPLICATION = 0x766D6F64
#: The lists of calls that were added, each by a digest of all its calls.
RUNS = "CREATE TABLE run (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, created REAL NOT NULL);"
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
    created REAL NOT NULL, sent REAL, ended REAL, round_trip REAL, waited REAL
);
CREATE INDEX due ON job (lane, due) WHERE state = 'pending';
CREATE INDEX deferred ON job (lane, due) WHERE state = 'pending' AND attempts > 0;
CREATE TABLE second (
    lane INTEGER NOT NULL, second INTEGER NOT NULL,
    answered INTEGER NOT NULL, done INTEGER NOT NULL, deferred INTEGER NOT NULL,
    PRIMARY KEY (lane, second)
) WITHOUT ROWID;
CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
{RUNS}
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA};
"""
#: By the schema of an older version: what brings it to the next one.
UPGRADES = {
    1: f"""
PRAGMA user_version = 2;
ALTER TABLE job ADD COLUMN delay REAL NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN again_delay REAL NOT NULL DEFAULT 0;
UPDATE job SET delay = max(0, due - (julianday('now') - 2440587.5) * 86400) WHERE state = 'pending';
{RUNS}
"""  # noqa: S608 - our own
}

#: What happens to a job that has ended when it is to be made again: all but its key is that of the new one.
REOPEN = """
SET state = 'pending', lane = excluded.lane, parameters = excluded.parameters, line = excluded.line, due = excluded.due,
    delay = excluded.delay, created = excluded.created, attempts = 0, maybe_sent = 0, again = 0, was_gone = 0,
    code = NULL, message = NULL, request_id = NULL, result = NULL, sent = NULL, ended = NULL, round_trip = NULL,
    waited = NULL
WHERE state IN ('done', 'failed', 'given up')
"""


# Tuples, because a run makes two for every call, and SQLite takes and gives nothing else.


class DueJob(NamedTuple):
    """A job to be done now, as the runner takes it."""

    id: int
    key: str
    parameters: str
    #: This one included.
    attempts: int
    maybe_sent: int
    code: str | int | None
    line: int | None


class HandedOverJob(NamedTuple):
    """A job as it is handed over to workers."""

    id: int
    lane: int
    key: str
    parameters: str
    attempts: int
    maybe_sent: int
    code: str | int | None
    line: int | None
    #: When it was listed, which tells one time that it was from the next.
    created: float
    #: When it was handed over, if it was.
    sent: float | None


class AttemptRecord(NamedTuple):
    """What became of an attempt."""

    id: int
    lane: int
    state: str
    #: When the next attempt is due, and the seconds until then when that was written down.
    due: float
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


class LoadResult(NamedTuple):
    """What became of a list of calls that was added."""

    new: int
    #: Calls that had ended, and are made again.
    again: int
    #: The very list was added before, so that nothing was done.
    is_known: bool


class JobSummary(NamedTuple):
    """How many jobs there are of each kind."""

    done: int
    #: Of those that are done: there was nothing to stop or remove.
    gone: int
    failed: int
    given_up: int
    #: Those that wait for their next attempt, and when the first is due, in Unix seconds.
    deferred: int
    next_due: float | None
    #: All others that have not ended.
    left: int

    @property
    def unfinished(self) -> int:
        """How many have not ended."""
        return self.deferred + self.left

    @property
    def total(self) -> int:
        """How many there are."""
        return self.done + self.failed + self.given_up + self.unfinished


_NAMES = ", ".join(AttemptRecord._fields)
_VALUES = f"({', '.join('?' * len(AttemptRecord._fields))})"
#: At most so many records in one statement, of which SQLite takes 32,766 values.
RECORDS_AT_ONCE = 200


def record_statement(count: int) -> str:
    """Return the statement that writes ``count`` records; its values are those of one record after the other.

    What was submitted again meanwhile is made by the next attempt, unless that comes too early: then once more after
    the last one.
    """
    return f"""
WITH given ({_NAMES}) AS (VALUES {", ".join([_VALUES] * count)}),
    r AS (SELECT *, state NOT IN ('pending', 'sent') AS has_ended FROM given)
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
