"""What runs the jobs of a journal: calls in this process, or the workers of a queue."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import ModerationError
from volc_moderation.jobs.job import DeferredJobs, Lane


@attrs.frozen(kw_only=True)
class LaneStatus:
    """The status of one lane during a run."""

    lane: Lane
    client: Client
    action_type: type[Action[Any]]
    #: Why all of the lane's calls wait; None if they do not.
    pause_reason: ModerationError | None
    #: Calls per second that the quota in force allows; None if it is not known.
    quota_rate: float | None


class Engine(Protocol):
    """Runs the jobs of a journal: ``prepare`` once, then ``run``."""

    async def prepare(self) -> int:
        """Recover the jobs that were in flight when an earlier process ended; return how many are to be followed.

        Raises ``JournalError``, and ``ConfigurationError`` if a job belongs to an account that no client has.
        """

    async def run(self) -> None:
        """Run until all jobs have ended, or those that the run does not wait for are left, or until stopped.

        Raises ``ModerationError`` if it cannot go on.
        """

    def stop(self) -> None:
        """End ``run``: a local run first finishes its calls in flight, and workers go on with theirs."""

    async def deferred(self) -> Mapping[Lane, DeferredJobs]:
        """Return the deferred jobs of each lane that has any."""

    def lane_statuses(self) -> Sequence[LaneStatus]:
        """Return the status of each lane."""
