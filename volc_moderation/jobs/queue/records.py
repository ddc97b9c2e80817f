"""What goes into the queue and comes out of it, and how it is written down there. Pure."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from volc_moderation.jobs.job import INTERRUPTED, Job, JobState, Lane
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Ended, Outcome

#: What is known of one whose worker is gone.
DIED = Outcome(
    JobState.FAILED,
    maybe_sent=True,
    code=INTERRUPTED,
    message="a worker died while the call was on its way; whether it was carried out is not known",
)
#: What is known of one that a Redis has forgotten.
FORGOTTEN = DIED._replace(message="the queue lost the job; whether its call was carried out is not known")


class Ticket(NamedTuple):
    """A job on its way to the queue."""

    key: str
    lane: Lane
    parameters: str
    #: Who lists it: the run, its row, and which time that is; or somebody whom nothing is told.
    token: str
    line: int | None = None
    #: Seconds.
    delay: float = 0.0
    #: Whether it must be known: it is not to be opened if the queue has forgotten it.
    is_known: bool = False
    #: Whether an attempt was made already that may have had its effect.
    maybe_sent: bool = False


class Answer(NamedTuple):
    """What became of a ticket."""

    #: Whether the queue has the job; else it was to be known, and is not.
    is_there: bool
    #: Seconds until its next attempt, if it waits for one.
    due_in: float | None


class Taken(NamedTuple):
    """A job that a worker has."""

    key: str
    fence: int


class Written(NamedTuple):
    """An attempt that ended, of a job that a worker has."""

    job: Taken
    ended: Ended
    #: What is to be kept of the parameters if the job has ended; None for all of them.
    shown: str | None = None


class Told(NamedTuple):
    """What a run is told of a job that it listed."""

    row: int
    #: Which time it was listed.
    listed: str
    ended: Ended


class Worker(NamedTuple):
    """A worker that was heard of of late: what stands in the way of each lane that it serves, and the lane's quota."""

    lanes: dict[Lane, tuple[str, str, float | None]]


def name_of(lane: Lane) -> str:
    """Return the name of a lane in the queue."""
    return "/".join(lane)


def lane_of(name: str) -> Lane | None:
    """Return the lane of a name; None if it is no name of a lane."""
    parts = name.split("/", 3)
    return Lane._make(parts) if len(parts) == len(Lane._fields) else None


def dump(outcome: Outcome, **times: float | None) -> str:
    """Return what is kept of an attempt besides what the script looks at."""
    kept = outcome._asdict() | times
    for name in ("state", "wait", "counts", "is_outage"):
        del kept[name]
    return json.dumps({name: value for name, value in kept.items() if value is not None and value is not False})


def _load_json(text: str | bytes) -> Any:
    """Return what a text of a job means; None if it means nothing, because somebody else wrote it."""
    try:
        return json.loads(text or "null")
    except ValueError:
        return None


def _load(state: str, text: str) -> tuple[Outcome, dict[str, Any]]:
    kept = _load_json(text)
    kept = kept if isinstance(kept, dict) else {}
    known = {name: kept[name] for name in Outcome._fields if name in kept}
    return Outcome(JobState(state), **known), kept


def load_row(taken: Sequence[Any]) -> DueJob:
    """Return a job that was taken. A value that somebody spoiled must not end one worker after the other."""
    fence, key, parameters, attempts, maybe_sent, code, line = taken
    last = _load_json(code)
    return DueJob(
        fence,
        key.decode(),
        parameters.decode(errors="replace"),
        attempts,
        int(maybe_sent != b"0"),
        last if isinstance(last, (str, int)) else None,
        int(line) if line.isdigit() else None,
    )


def load_told(entry: dict[bytes, bytes]) -> Told:
    """Return what a run was told."""
    fields = {name.decode(): value.decode() for name, value in entry.items()}
    outcome, kept = _load(fields["state"], fields["outcome"])
    attempts, due, now = int(fields["attempts"]), float(fields["due"]), float(fields["now"])
    ended = Ended(outcome, attempts, due, kept.get("round_trip"), kept.get("waited"), now)
    return Told(int(fields["row"]), fields["listed"], ended)


def load_worker(text: str) -> Worker:
    """Return what a worker tells of itself; what is no lane of this version is left out."""
    try:
        told = {lane_of(name): (str(kind), str(words), cap) for name, (kind, words, cap) in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        return Worker({})
    return Worker({lane: one for lane, one in told.items() if lane is not None})


def load_job(key: str, fields: dict[str, str], offset: float) -> Job:
    """Return a job; ``offset`` is how many milliseconds the queue's clock is ahead of the server's."""
    state = "pending" if fields["state"] == "taken" else fields["state"]
    outcome, kept = _load(state, fields.get("outcome", ""))

    def number(name: str) -> float | None:
        return float(fields[name]) if name in fields else None

    return Job(
        key=key,
        lane=Lane._make(fields["lane"].split("/", 3)),
        parameters=json.loads(fields["parameters"]),
        state=outcome.state,
        due=(float(fields["due"]) - offset) / 1000,
        attempts=int(float(fields["attempts"])),
        maybe_sent=outcome.maybe_sent or fields.get("maybe_sent") == "1",
        was_gone=outcome.was_gone,
        code=outcome.code,
        message=outcome.message,
        request_id=outcome.request_id,
        result=None if outcome.result is None else json.loads(outcome.result),
        line=int(fields["line"]) if "line" in fields else None,
        created=float(fields["created"]),
        sent=number("sent"),
        ended=number("ended"),
        round_trip=kept.get("round_trip"),
        waited=kept.get("waited"),
    )
