"""The values that go into the queue and come out of it, and their stored form. Pure."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from volc_moderation.jobs.job import INTERRUPTED, JobState, Lane, StoredJob
from volc_moderation.jobs.journal import codec
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import EndedAttempt, Outcome

#: The outcome of a job that must not be repeated and may have been sent by a worker that died.
WORKER_DIED = Outcome(
    JobState.FAILED,
    maybe_sent=True,
    code=INTERRUPTED,
    message="a worker died while the call was in flight; whether it was carried out is not known",
)
#: The outcome of a job that must not be repeated and that the queue has lost.
QUEUE_LOST_JOB = WORKER_DIED._replace(message="the queue lost the job; whether its call was carried out is not known")


class Submission(NamedTuple):
    """A job that is submitted to the queue."""

    key: str
    lane: Lane
    parameters: str
    #: Makes the submission idempotent, and names the submitter: ``RUN:ROW:LISTED_AT`` for a row of a run's journal. The
    #: queue sends that run updates of the job. A token that starts with ``-`` belongs to a caller without updates.
    token: str
    line: int | None = None
    #: Seconds until the first attempt.
    delay: float = 0.0
    #: Whether the queue must know the job already: if the queue has lost it, the job is not opened again.
    must_exist: bool = False
    #: Whether an earlier attempt may have had its effect.
    maybe_sent: bool = False
    #: The span that submits the job.
    traceparent: str | None = None


class SubmissionResult(NamedTuple):
    """The queue's reply to a submission."""

    #: Whether the queue has the job. False only if the job had to exist, and does not.
    exists: bool
    #: Seconds until the job's next attempt, if it is deferred.
    due_in: float | None


class Claim(NamedTuple):
    """A worker's claim to a job. The fence is the number of the claim; later claims have larger ones."""

    key: str
    fence: int


class ClaimedAttempt(NamedTuple):
    """An attempt that has ended, and the claim under which it was made."""

    claim: Claim
    ended: EndedAttempt
    #: What the queue keeps of the parameters once the job has ended; None for all of them.
    redacted_parameters: str | None = None


class JobUpdate(NamedTuple):
    """An update that the queue sends to a run, about a job that the run listed."""

    row_id: int
    #: When the run listed the job, as in the token of its submission.
    listed_at: str
    ended: EndedAttempt


class WorkerLaneStatus(NamedTuple):
    """A worker's status of one lane."""

    #: The type and text of the error because of which the lane's calls wait; empty if they do not.
    error_type: str
    error_message: str
    #: Calls per second that the quota in force allows; None if it is not known.
    quota_rate: float | None


class WorkerStatus(NamedTuple):
    """The status of a worker: that of each lane that it serves."""

    lanes: dict[Lane, WorkerLaneStatus]


def lane_name(lane: Lane) -> str:
    """Return the name of a lane in the queue."""
    return "/".join(lane)


def parse_lane_name(name: str) -> Lane | None:
    """Return the lane with a name; None if the name is invalid."""
    parts = name.split("/", 3)
    return Lane._make(parts) if len(parts) == len(Lane._fields) else None


def dump_worker_status(status: WorkerStatus) -> str:
    """Return the stored form of a worker's status."""
    return json.dumps({lane_name(lane): lane_status for lane, lane_status in status.lanes.items()})


def load_worker_status(text: str) -> WorkerStatus:
    """Return a worker's status. Lane names that this version does not understand are left out."""
    try:
        lanes = {
            parse_lane_name(name): WorkerLaneStatus(str(error_type), str(error_message), quota_rate)
            for name, (error_type, error_message, quota_rate) in json.loads(text).items()
        }
    except (ValueError, TypeError, AttributeError):
        return WorkerStatus({})
    return WorkerStatus({lane: status for lane, status in lanes.items() if lane is not None})


def load_due_job(reply: Sequence[Any]) -> DueJob:
    """Return a job that a worker has claimed; its ``id`` is the fence.

    Values that another program has corrupted are tolerated: one such job must not stop worker after worker.
    """
    fence, key, parameters, attempts, maybe_sent, code, line, traceparent = reply
    last_code = codec.load_json_or_none(code)
    return DueJob(
        fence,
        key.decode(),
        parameters.decode(errors="replace"),
        attempts,
        int(maybe_sent != b"0"),
        last_code if isinstance(last_code, (str, int)) else None,
        int(line) if line.isdigit() else None,
        traceparent.decode(errors="replace") or None,
    )


def load_job_update(entry: dict[bytes, bytes]) -> JobUpdate:
    """Return the update in an entry of a run's stream."""
    fields = {name.decode(): value.decode() for name, value in entry.items()}
    outcome, round_trip, waited = codec.load_outcome(fields["state"], fields["outcome"])
    attempts, due, now = int(fields["attempts"]), float(fields["due"]), float(fields["now"])
    return JobUpdate(
        int(fields["row"]), fields["listed"], EndedAttempt(outcome, attempts, due, round_trip, waited, now)
    )


def load_job(key: str, fields: dict[str, str], clock_offset: float) -> StoredJob:
    """Return a job from the fields of its hash.

    ``clock_offset`` is how many milliseconds the queue's clock is ahead of the server's.
    """
    state = "pending" if fields["state"] == "taken" else fields["state"]
    outcome, round_trip, waited = codec.load_outcome(state, fields.get("outcome", ""))
    stored = {
        "key": key,
        "parameters": fields["parameters"],
        "state": state,
        "due": (float(fields["due"]) - clock_offset) / 1000,
        "attempts": int(float(fields["attempts"])),
        "maybe_sent": outcome.maybe_sent or fields.get("maybe_sent") == "1",
        "was_gone": outcome.was_gone,
        "code": outcome.code,
        "message": outcome.message,
        "request_id": outcome.request_id,
        "result": outcome.result,
        "line": int(fields["line"]) if "line" in fields else None,
        "created": float(fields["created"]),
        "sent": float(fields["sent"]) if "sent" in fields else None,
        "ended": float(fields["ended"]) if "ended" in fields else None,
        "round_trip": round_trip,
        "waited": waited,
    }
    return codec.load_job(stored, Lane._make(fields["lane"].split("/", 3)))
