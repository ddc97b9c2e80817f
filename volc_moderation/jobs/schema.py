"""What a journal is made of: its tables, and the rows that go in and out."""

from typing import NamedTuple

#: The schema that this code writes; a later one may mean something else by what stands in it.
SCHEMA = 1
#: Tells a journal from other SQLite files: "vmod".
APPLICATION = 0x766D6F64
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
    attempts INTEGER NOT NULL DEFAULT 0,
    maybe_sent INTEGER NOT NULL DEFAULT 0,
    again INTEGER NOT NULL DEFAULT 0,
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
PRAGMA application_id = {APPLICATION};
PRAGMA user_version = {SCHEMA};
"""


# Tuples, because a run makes two for every call, and SQLite takes and gives nothing else.


class Row(NamedTuple):
    """A job to be done now, as the runner takes it."""

    id: int
    key: str
    parameters: str
    #: This one included.
    attempts: int
    maybe_sent: int
    code: str | int | None
    line: int | None


class Record(NamedTuple):
    """What became of an attempt."""

    id: int
    lane: int
    state: str
    due: float
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


class Standing(NamedTuple):
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


#: The columns of ``Record`` by their places, all rows in one step.
RECORD = """
UPDATE job SET
    state = CASE again WHEN 1 THEN 'pending' ELSE r.state END, due = r.due,
    attempts = CASE again WHEN 1 THEN 0 ELSE r.attempts END, again = 0,
    maybe_sent = r.maybe_sent, was_gone = r.was_gone, code = r.code, message = r.message, request_id = r.request_id,
    result = r.result, round_trip = r.round_trip, waited = r.waited,
    ended = CASE r.state WHEN 'pending' THEN NULL ELSE r.now END
FROM (
    SELECT
    {}
    FROM json_each(?)
) AS r WHERE job.id = r.id
""".format(", ".join(f"json_extract(value, '$[{place}]') AS {name}" for place, name in enumerate(Record._fields)))
