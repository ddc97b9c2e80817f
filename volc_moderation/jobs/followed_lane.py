"""The status of a lane that the workers of a queue run."""

from collections.abc import Sequence
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import AuthenticationError, ModerationError
from volc_moderation.jobs.engine import LaneStatus
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.queue.records import WorkerStatus
from volc_moderation.jobs.queue.redis_queue import RedisQueue
from volc_moderation.printable import counted

#: Jobs of a lane that the workers have at most, besides the deferred ones: enough for many workers for many minutes,
#: and few enough to keep their ids in memory.
MAX_HANDED_OVER = 100_000
#: The same for a lane whose calls must not be repeated: five seconds of ZEGO's quota. If the queue loses its data, the
#: fate of these jobs is unknown.
MAX_UNREPEATABLE_HANDED_OVER = 500
#: Seconds without a worker that serves a lane until this is reported; workers look for new lanes every few seconds.
UNSERVED_TIMEOUT = 6.0

NO_WORKERS = ModerationError("no worker listens to the queue")


@attrs.define(eq=False)
class FollowedLane:
    """A lane that the workers run."""

    lane: Lane
    client: Client
    action_type: type[Action[Any]]
    _queue: RedisQueue
    #: Why all of the lane's calls wait, according to the workers.
    _workers_pause_reason: ModerationError | None = None
    #: Whether all of the lane's jobs have ended.
    is_finished: bool = False
    #: Calls per second that the workers' quota allows; None if it is not known.
    quota_rate: float | None = None
    #: The ids of the jobs that the workers have.
    handed_over: set[int] = attrs.field(factory=set)
    #: When the deferred ones of these are due, in Unix seconds.
    deferred: dict[int, float] = attrs.field(factory=dict)
    #: Since when no worker serves the lane, on the event loop's clock.
    unserved_since: float | None = None
    #: Since when all workers report that the keys are refused, on the event loop's clock.
    refused_since: float | None = None

    @property
    def pause_reason(self) -> ModerationError | None:
        """Why all of the lane's calls wait; None if they do not."""
        return None if self.is_finished else self._queue.connection_error or self._workers_pause_reason

    def status(self) -> LaneStatus:
        """Return the lane's status."""
        return LaneStatus(
            lane=self.lane,
            client=self.client,
            action_type=self.action_type,
            pause_reason=self.pause_reason,
            quota_rate=self.quota_rate,
        )

    def is_refused_since(self, moment: float) -> bool:
        """Return whether all workers have reported since ``moment`` that the keys are refused."""
        return not self.is_finished and self.refused_since is not None and self.refused_since <= moment

    @property
    def capacity(self) -> int:
        """How many more jobs may be handed over now."""
        limit = MAX_HANDED_OVER if self.action_type.repeatable else MAX_UNREPEATABLE_HANDED_OVER
        return limit - len(self.handed_over) + len(self.deferred)

    def update(self, workers: Sequence[WorkerStatus], *, now: float) -> None:
        """Update the status from those of the workers. ``now`` is the time on the event loop's clock."""
        statuses = [worker.lanes[self.lane] for worker in workers if self.lane in worker.lanes]
        refusals = [status.error_message for status in statuses if status.error_type == AuthenticationError.__name__]
        self.quota_rate = min((status.quota_rate for status in statuses if status.quota_rate is not None), default=None)
        is_refused = bool(statuses) and len(refusals) == len(statuses)
        self.refused_since = (self.refused_since or now) if is_refused else None
        self.unserved_since = None if statuses else self.unserved_since or now
        if not workers:
            self._workers_pause_reason = NO_WORKERS
        elif self.unserved_since is not None:
            if now >= self.unserved_since + UNSERVED_TIMEOUT:
                self._workers_pause_reason = ModerationError(
                    f"{self.lane.action}: {counted(len(workers), 'worker')}, none with the keys of the account at"
                    f" {self.lane.vendor}"
                )
        elif is_refused:
            self._workers_pause_reason = AuthenticationError(
                f"(reported by {len(refusals)} of {counted(len(workers), 'worker')}) {refusals[0]}", code="refused"
            )
        elif all(status.error_type for status in statuses):
            self._workers_pause_reason = ModerationError(f"{self.lane.action}: {statuses[0].error_message}")
        else:
            self._workers_pause_reason = None
