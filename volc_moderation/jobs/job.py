"""What a job is: a call that is written down before it is made, under a key. Pure."""

import enum
from functools import cache
from hashlib import blake2b
from typing import Any, NamedTuple

import attrs

from volc_moderation.action import Action
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.wire import JSON, dump_json, parameters

#: The code of a job that must not be made twice, and of which nobody knows whether it was carried out.
INTERRUPTED = "Interrupted"
#: Seconds that a job may be put off when it is submitted: a year.
LONGEST_DELAY = 366 * 86_400


class JobState(enum.StrEnum):
    """Where a job stands."""

    #: To be done, perhaps not before its due time.
    PENDING = "pending"
    #: On its way: written down before the request leaves, so that after a crash it is known what may have arrived.
    SENT = "sent"
    DONE = "done"
    #: The vendor said no, and would again.
    FAILED = "failed"
    #: All attempts ended in a fault that may pass.
    GIVEN_UP = "given up"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will be done unless it is submitted again."""
        return self in _ENDED


_ENDED = frozenset({JobState.DONE, JobState.FAILED, JobState.GIVEN_UP})


class Lane(NamedTuple):
    """Calls that share a quota: those of one action, in one account. ``account`` is a hash of what the quota names."""

    vendor: str
    account: str
    action: str
    version: str = ""


@attrs.frozen(kw_only=True)
class Job:
    """A job as the journal has it. Times are Unix seconds.

    :param key: names the job: of the vendor, account, action and the fields that identify what it acts on.
    :param parameters: in the vendor's spelling.
    :param due: not to be sent before.
    :param attempts: requests that were sent, or tried.
    :param maybe_sent: whether an attempt that was not answered with a success may have had its effect: one without a
        (readable) answer, or a start of ZEGO's answered with 50006 or 50007. If the job is done, the effect may then be
        there twice: a second task, for example.
    :param was_gone: done because what was to be stopped or removed was not there.
    :param code: the vendor's code of the last refusal, or the name of the last fault.
    :param message: of the last refusal or fault.
    :param result: of a call that has one, in the vendor's spelling.
    :param line: where it stood in the file that it came from.
    :param round_trip: seconds from the last request to its answer; ``waited``: those for the quota before it.
    """

    key: str
    lane: Lane
    parameters: JSON
    state: JobState
    due: float
    attempts: int
    maybe_sent: bool
    was_gone: bool
    code: str | int | None
    message: str | None
    request_id: str | None
    result: object
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
        """Whether it was tried and waits for its next attempt."""
        return self.state is JobState.PENDING and self.attempts > 0


def hash_of(account: str) -> str:
    """Return what stands for an account in a journal, which may lie about for long."""
    return blake2b(account.encode(), digest_size=8).hexdigest()


def check_delay(delay: float) -> None:
    """Raise ``ConfigurationError`` unless a delay is one that a job can wait."""
    if isinstance(delay, bool) or not isinstance(delay, (int, float)) or not 0 <= delay <= LONGEST_DELAY:
        raise ConfigurationError(
            f"delay must be a number of seconds from 0 to {LONGEST_DELAY:,}; got {describe(delay)}"
        )


def key_of(lane: Lane, action: Action[Any]) -> str:
    """Return the key of a job: two jobs with the same key are one.

    It has 80 bits: among ten million jobs, two different ones share a key with a probability of 4e-11.
    """
    fields = action.identity_fields
    identity = parameters(action) if fields is None else [getattr(action, field) for field in fields]
    key = _start(lane).copy()
    key.update(dump_json(identity))
    return key.hexdigest()


@cache
def _start(lane: Lane) -> "blake2b":
    """Return a hash of what the keys of a lane have in common."""
    return blake2b(dump_json([lane.vendor, lane.account, lane.action]), digest_size=10, usedforsecurity=False)
