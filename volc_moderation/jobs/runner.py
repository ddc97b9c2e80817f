"""The runner: makes the calls of a journal, each lane at the full speed of its quota, until all have ended."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, ModerationError
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.lane_runner import MOST, LaneJournal, LaneRunner, RunnerOptions
from volc_moderation.jobs.steady_clock import SteadyClock
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

J = TypeVar("J", bound=LaneJournal)


class Runner(Generic[J]):
    """Runs lanes beside each other. A call that waits for its next attempt waits in the journal, and holds up nobody.

    :param retry: how often a job is attempted; by default as its client says.
    :param priority: of the calls, where they wait for the quota with others.
    :param clock: returns the Unix time.
    :param tell: is told of every job that ended or was put off.
    :param for_ever: go on when nothing is left.
    :param wait_for_deferred: wait for jobs that the vendor wants repeated minutes later, rather than end with them due.
    :param concurrency: calls of one action in flight at most, those that wait for a permit included.
    """

    def __init__(
        self,
        journal: J,
        clients: Sequence[Client],
        *,
        retry: RetryPolicy | None = None,
        priority: Priority = "bulk",
        clock: Callable[[], float] = time.time,
        on_event: Callable[[JobEvent], None] = lambda _: None,
        for_ever: bool = False,
        wait_for_deferred: bool = True,
        concurrency: int = MOST,
    ) -> None:
        self.clients = Clients(clients)
        #: Returns the Unix time by which jobs become due.
        self.steady = SteadyClock(clock)
        self._journal = journal
        self._options = RunnerOptions(
            retry=retry,
            priority=priority,
            clock=clock,
            steady=self.steady,
            on_event=on_event,
            for_ever=for_ever,
            concurrency=concurrency,
            wait_for_deferred=wait_for_deferred,
        )
        self._lanes: dict[int, LaneRunner] = {}
        self._new: asyncio.Queue[LaneRunner | None] = asyncio.Queue()

    @property
    def lanes(self) -> Sequence[LaneRunner]:
        """The lanes that there are."""
        return tuple(self._lanes.values())

    async def run(self) -> None:
        """Run until all jobs have ended, or as long as it is not stopped; then nothing is in flight.

        Raises ``AuthenticationError`` if the keys are refused, ``JournalError`` if the journal cannot be written;
        unless it runs for ever, when it pauses and tries again; and ``QuotaUnavailable`` if the store of quotas stays
        away. If it is cancelled, what is in flight stays marked as sent in the journal.
        """
        for lane in self._lanes.values():
            self._new.put_nowait(lane)
        if not self._options.for_ever:
            self._new.put_nowait(None)
        faults: list[ModerationError] = []
        async with asyncio.TaskGroup() as group:
            while (new := await self._new.get()) is not None:
                group.create_task(self._run(new, faults))
        if faults:
            raise faults[0]

    async def _run(self, lane: LaneRunner, faults: list[ModerationError]) -> None:
        try:
            await lane.run()
        except ModerationError as fault:
            faults.append(fault)
            self.stop()

    def _lane(self, lane: Lane, number: int) -> LaneRunner:
        client, action_type = self.clients.client_for(lane)
        return LaneRunner(
            lane, number, client=client, action_type=action_type, journal=self._journal, options=self._options
        )

    def stop(self) -> None:
        """Take no more jobs; ``run`` returns when those in flight have ended."""
        self._new.put_nowait(None)
        for lane in self._lanes.values():
            lane.stop()

    def look(self, number: int, lane: Lane) -> None:
        """Look into the journal: a job was added to a lane."""
        if number not in self._lanes:
            self._lanes[number] = self._lane(lane, number)
            self._new.put_nowait(self._lanes[number])
        self._lanes[number].look()


class LocalRunner(Runner[JournalThread]):
    """Runs the jobs of a local journal."""

    async def prepare(self) -> int:
        """Look at what a process that died left on its way; return how many jobs that were.

        Raises ``JournalError``, and ``ConfigurationError`` if a job is of an account that no client has.
        """
        now, due = self._options.clock(), self.steady()
        await self._journal.do(lambda journal: journal.forget_queue())
        await self._journal.do(lambda journal: journal.bring_near(now=due))
        lanes = await self._journal.do(lambda journal: journal.lanes())
        needed = await self._journal.do(lambda journal: journal.unfinished_lanes())
        recovered = 0
        for number, lane in lanes.items():
            try:
                self._lanes[number] = self._lane(lane, number)
            except ConfigurationError:
                if number in needed:
                    raise
                continue
            repeatable = self._lanes[number].action_type.repeatable
            recovered += await self._journal.do(
                lambda journal, number=number, repeatable=repeatable: journal.recover(  # type: ignore[misc]
                    number, repeatable=repeatable, due=due, now=now
                )
            )
        return recovered

    async def deferred(self) -> dict[Lane, tuple[int, float, float]]:
        """Return how many jobs of each lane wait for their next attempt, and when the first and last are due."""

        def look(journal: Journal) -> dict[Lane, tuple[int, float, float]]:
            lanes = journal.lanes()
            return {lanes[lane]: (count, first, last) for lane, count, first, last in journal.deferred()}

        return await self._journal.do(look)
