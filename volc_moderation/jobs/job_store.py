"""What a lane asks of the journal or the queue that has its jobs."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import EndedAttempt


class JobStore(Protocol):
    """Provides the jobs of a lane, and records their outcomes."""

    @property
    def is_shared(self) -> bool:
        """Whether others can make calls that were taken and not sent; if so, they are given back during a pause."""

    @property
    def before_send(self) -> Callable[[DueJob], Awaitable[None]] | None:
        """Awaited before the request of a job leaves, unless None. Raises ``AttemptLost`` if it must not leave."""

    def take(
        self, lane_id: int, limit: int, *, due: float, now: float, durable: bool
    ) -> asyncio.Future[tuple[list[DueJob], float | None]]:
        """Take up to ``limit`` due jobs of a lane; if there is none, return when the next one is due, or None.

        A store that ``is_shared`` says that for fewer than ``limit`` jobs, too. It wakes the lane when it has more.
        """

    def give_back(self, jobs: Sequence[DueJob]) -> None:
        """Give back jobs that were taken and not sent."""

    def record_attempt(self, job: DueJob, lane_id: int, ended: EndedAttempt) -> None:
        """Record an attempt that has ended."""
