"""A job: a call that is written down under a key before it is made. Pure."""

import enum
from functools import cache
from hashlib import blake2b
from typing import Any, Generic, NamedTuple, TypeVar

import attrs

from volc_moderation.action import Action
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.wire import JSON, dump_json, parameters

R_co = TypeVar("R_co", covariant=True)

#: The code of a job that must not be repeated and whose outcome is unknown: its process ended during the call, or the
#: queue lost it.
INTERRUPTED = "Interrupted"
MAX_DELAY = 366 * 86_400  # seconds: a year


class JobState(enum.StrEnum):
    """The state of a job."""

    #: Waits to be sent, perhaps until its due time.
    PENDING = "pending"
    #: In flight. This is written before the request leaves, so that after a crash it is known what may have arrived.
    SENT = "sent"
    DONE = "done"
    #: The vendor refused, and would refuse again.
    FAILED = "failed"
    #: All attempts ended in a fault that may pass.
    GIVEN_UP = "given up"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens unless the job is submitted again."""
        return self in _ENDED


_ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.GIVEN_UP})


class Lane(NamedTuple):
    """Calls of one action, in one API version, in one account. They share a quota, also with those of other versions.

    ``account`` is a hash of the account's name.
    """

    vendor: str
    account: str
    action: str
    version: str = ""


@attrs.frozen(kw_only=True)
class _JobFields:
    """What a job has whether its result has been read or not. ``Job`` says what the fields mean."""

    key: str
    lane: Lane
    parameters: JSON = attrs.field(repr=False)  # they may have tokens of users
    state: JobState
    due: float
    attempts: int
    maybe_sent: bool
    was_gone: bool
    code: str | int | None
    message: str | None
    request_id: str | None
    line: int | None
    created: float
    sent: float | None
    ended: float | None
    round_trip: float | None
    waited: float | None

    @property
    def action(self) -> str:
        """The vendor's name of the action."""
        return self.lane.action

    @property
    def is_deferred(self) -> bool:
        """Whether the job was attempted and waits for its next attempt."""
        return self.state is JobState.PENDING and self.attempts > 0


@attrs.frozen(kw_only=True)
class StoredJob(_JobFields):
    """A job as the journal or the queue has it.

    :param result: JSON in the vendor's spelling; None for one that only says that the call succeeded.
    """

    result: object


@attrs.frozen(kw_only=True)
class Job(_JobFields, Generic[R_co]):
    """A job, and the result of its call. Times are Unix seconds.

    :param key: identifies the job: a hash of the vendor, the account, the action and the fields that identify its
        target.
    :param lane: the calls that it shares a quota with.
    :param parameters: in the vendor's spelling.
    :param state: as of this moment.
    :param due: the job is not sent before this time.
    :param attempts: requests that were sent, or tried.
    :param maybe_sent: whether an attempt that was not answered with a success may have had its effect: an attempt
        without a readable answer, or a ZEGO start that was answered with 50006 or 50007. If the job is done, the effect
        may then exist twice, for example as a second task.
    :param was_gone: whether the job is done because its target, such as the task to stop, did not exist.
    :param code: the vendor's code of the last refusal, or the name of the last fault.
    :param message: the text of the last refusal or fault.
    :param request_id: the vendor's id of the last request, which its support asks for.
    :param result: what the call has returned, as the action's result type, if the job is done. None otherwise; if it
        ``was_gone``; and in the rare case that the stored result cannot be read as that type, which is logged. The text
        of an ``Acknowledgement`` is not stored: it reads ``success``.
    :param line: the line or row in the file that the job came from.
    :param created: when it was submitted, or listed.
    :param sent: when its last attempt was marked as sent.
    :param ended: when it ended.
    :param round_trip: seconds from the last request to its answer.
    :param waited: seconds that the last attempt waited for the quota.
    """

    result: R_co | None


@attrs.frozen(kw_only=True)
class DeferredJobs:
    """The jobs of a lane that wait for their next attempt. Times are Unix seconds."""

    count: int
    first_due: float
    last_due: float


def check_delay(delay: float) -> None:
    """Raise ``ConfigurationError`` unless ``delay`` is a number of seconds from 0 to ``MAX_DELAY``."""
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay <= MAX_DELAY:
        raise ConfigurationError(f"delay must be a number of seconds from 0 to {MAX_DELAY:,}; got {describe(delay)}")


def key_of(lane: Lane, action: Action[Any]) -> str:
    """Return the key of a job: two jobs with the same key are the same job.

    A key has 80 bits: among ten million jobs, two different ones share a key with a probability of 4e-11.
    """
    fields = action.identity_fields
    identity = parameters(action) if fields is None else [getattr(action, field) for field in fields]
    key = _lane_hash(lane).copy()
    key.update(dump_json(identity))
    return key.hexdigest()


@cache
def _lane_hash(lane: Lane) -> "blake2b":
    """Return the hash state that the keys of a lane start with."""
    return blake2b(dump_json([lane.vendor, lane.account, lane.action]), digest_size=10, usedforsecurity=False)
