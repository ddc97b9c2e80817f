"""The stored form of a job, which the SQLite journal and the Redis queue share. Pure.

It has the fields of ``StoredJob``: parameters and result are JSON texts, and SQLite keeps flags as numbers. The outcome
of an attempt is stored as one row in SQLite, and as one JSON object in Redis.
"""

import json
from collections.abc import Mapping
from typing import Any

from volc_moderation.jobs.job import JobState, Lane, StoredJob
from volc_moderation.jobs.journal.schema import AttemptRecord, Record, SuccessRecord
from volc_moderation.jobs.outcome import EndedAttempt, Outcome, is_plain_success

#: Fields of an outcome that are not stored with it: the state has a field of its own, and the others only decide when
#: the next attempt is due.
_NOT_STORED = ("state", "wait", "counts", "is_outage")


def load_job(fields: Mapping[str, Any], lane: Lane) -> StoredJob:
    """Return a job from its stored fields; optional ones are None.

    Raises ``ValueError`` if a state or a JSON text is invalid, ``KeyError`` if a field is missing.
    """
    result = fields["result"]
    return StoredJob(
        key=fields["key"],
        lane=lane,
        parameters=json.loads(fields["parameters"]),
        state=JobState(fields["state"]),
        due=fields["due"],
        attempts=fields["attempts"],
        maybe_sent=bool(fields["maybe_sent"]),
        was_gone=bool(fields["was_gone"]),
        code=fields["code"],
        message=fields["message"],
        request_id=fields["request_id"],
        result=None if result is None else json.loads(result),
        line=fields["line"],
        created=fields["created"],
        sent=fields["sent"],
        ended=fields["ended"],
        round_trip=fields["round_trip"],
        waited=fields["waited"],
    )


def attempt_record(row_id: int, lane_id: int, ended: EndedAttempt) -> Record:
    """Return the row that SQLite stores of an attempt."""
    # By position: a run makes one for every call.
    outcome, attempts, due, round_trip, waited, now = ended
    if is_plain_success(outcome):
        return SuccessRecord(row_id, lane_id, due, attempts, outcome.request_id, round_trip, waited, now)
    return AttemptRecord(
        row_id,
        lane_id,
        outcome.state,
        due,
        outcome.wait,
        attempts,
        outcome.maybe_sent,
        outcome.was_gone,
        outcome.code,
        outcome.message,
        outcome.request_id,
        outcome.result,
        round_trip,
        waited,
        now,
    )


def dump_outcome(outcome: Outcome, *, round_trip: float | None = None, waited: float | None = None) -> str:
    """Return the JSON object that Redis stores of an attempt: what is set of the outcome and its times in seconds."""
    fields = outcome._asdict() | {"round_trip": round_trip, "waited": waited}
    for name in _NOT_STORED:
        del fields[name]
    return json.dumps({name: value for name, value in fields.items() if value is not None and value is not False})


def load_outcome(state: str, text: str) -> tuple[Outcome, float | None, float | None]:
    """Return the outcome, ``round_trip`` and ``waited`` of an attempt from its state and JSON object.

    Raises ``ValueError`` if the state is invalid. An object that cannot be read counts as an empty one: other programs
    can write to the Redis, too.
    """
    fields = load_json_or_none(text)
    fields = fields if isinstance(fields, dict) else {}
    known = {name: fields[name] for name in Outcome._fields if name in fields}
    return Outcome(JobState(state), **known), fields.get("round_trip"), fields.get("waited")


def load_json_or_none(text: str | bytes) -> Any:
    """Return the value of a JSON text; None if it is empty or invalid, because another program wrote it."""
    try:
        return json.loads(text or "null")
    except ValueError:
        return None
