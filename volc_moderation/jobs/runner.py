"""Runs lanes concurrently, each at the full speed of its quota, until all of their jobs have ended."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from volc_moderation import telemetry
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, ModerationError
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.concurrency import MAX_CONCURRENCY
from volc_moderation.jobs.engine import LaneStatus
from volc_moderation.jobs.job import DeferredJobs, JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.job_store import JobStore
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.lane_log import FailedJobs, log_lane
from volc_moderation.jobs.lane_runner import LaneRunner, RunnerOptions
from volc_moderation.jobs.steady_clock import SteadyClock
from volc_moderation.log_events import LogEvent
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy
from volc_moderation.telemetry.instruments import Metric

J = TypeVar("J", bound=JobStore)

#: The jobs of a journal are not counted again for so many times as long as that took.
MEASURE_PAUSE = 50

_HOW_TO_RUN_FOREIGN_JOBS = "; run them with the clients that they were submitted with"


class MultiLaneRunner(Generic[J]):
    """Runs lanes concurrently. A deferred job waits in the store and delays no other job.

    :param store: provides the jobs and records their outcomes.
    :param retry: how often a job is attempted; by default as its client says.
    :param priority: of the calls when they wait for a quota.
    :param clock: returns the Unix time.
    :param steady_clock: the clock by which jobs become due; by default a new one.
    :param on_event: called with each job that ended or was deferred.
    :param run_forever: keep running when nothing is left, when keys are refused, and when outcomes cannot be recorded.
    :param wait_for_deferred: wait for jobs whose next attempt is minutes away, instead of leaving them to a later run.
    :param concurrency: the maximum number of calls in flight per lane, including calls that wait for a permit.
    """

    def __init__(
        self,
        store: J,
        clients: Sequence[Client],
        *,
        retry: RetryPolicy | None = None,
        priority: Priority = "bulk",
        clock: Callable[[], float] = time.time,
        steady_clock: SteadyClock | None = None,
        on_event: Callable[[JobEvent], None] = lambda _: None,
        run_forever: bool = False,
        wait_for_deferred: bool = True,
        concurrency: int = MAX_CONCURRENCY,
    ) -> None:
        self.clients = Clients(clients)
        #: Returns the Unix time by which jobs become due.
        self.steady_clock = steady_clock or SteadyClock(clock)
        self._store = store
        self._options = RunnerOptions(
            retry=retry,
            priority=priority,
            clock=clock,
            steady_clock=self.steady_clock,
            on_event=FailedJobs(on_event).note,
            run_forever=run_forever,
            concurrency=concurrency,
            wait_for_deferred=wait_for_deferred,
        )
        #: By lane id.
        self._runners: dict[int, LaneRunner] = {}
        #: Lane runners to be started; None ends the run once they have ended.
        self._to_start: asyncio.Queue[LaneRunner | None] = asyncio.Queue()

    def lane_statuses(self) -> Sequence[LaneStatus]:
        """Return the status of each lane."""
        return [runner.status() for runner in self._runners.values()]

    async def run(self) -> None:
        """Run until all jobs have ended, or, with ``run_forever``, until stopped; then no call is in flight.

        Raises ``AuthenticationError`` if the keys are refused, ``JournalError`` if the journal cannot be written, and
        ``QuotaUnavailable`` if the store of quotas stays unavailable. With ``run_forever``, it raises none of them: it
        pauses and tries again. If this is cancelled, calls in flight stay marked as sent in the journal.
        """
        for runner in self._runners.values():
            self._to_start.put_nowait(runner)
        if not self._options.run_forever:
            self._to_start.put_nowait(None)
        errors: list[ModerationError] = []
        async with asyncio.TaskGroup() as group:
            while (started := await self._to_start.get()) is not None:
                group.create_task(self._run_lane(started, errors))
        if errors:
            raise errors[0]

    async def _run_lane(self, runner: LaneRunner, errors: list[ModerationError]) -> None:
        try:
            await runner.run()
        except ModerationError as error:
            errors.append(error)
            self.stop()

    def _add(self, lane_id: int, lane: Lane) -> LaneRunner:
        client, action_type = self.clients.client_for(lane)
        self._runners[lane_id] = runner = LaneRunner(
            lane, lane_id, client=client, action_type=action_type, store=self._store, options=self._options
        )
        return runner

    def stop(self) -> None:
        """Start no more calls; ``run`` returns when those in flight have ended."""
        self._to_start.put_nowait(None)
        for runner in self._runners.values():
            runner.stop()

    def has_lane(self, lane_id: int) -> bool:
        """Return whether a lane is known."""
        return lane_id in self._runners

    def wake_lane(self, lane_id: int) -> None:
        """Check a known lane for due jobs."""
        self._runners[lane_id].wake()

    def wake(self, lane_id: int, lane: Lane) -> None:
        """Check a lane for due jobs; a new lane is started. Raises ``ConfigurationError`` if no client has it."""
        if lane_id not in self._runners:
            self._to_start.put_nowait(self._add(lane_id, lane))
        self._runners[lane_id].wake()


class LocalRunner(MultiLaneRunner[JournalThread]):
    """Runs the jobs of a journal in this process."""

    #: What metrics show of the journal, and when its jobs are counted again, on the loop's clock.
    _measured: Sequence[telemetry.Measurement] = ()
    _measure_at = -math.inf

    async def run(self) -> None:
        """Run as ``MultiLaneRunner`` does."""
        telemetry.register(self, LocalRunner._measure)
        try:
            await super().run()
        finally:
            telemetry.unregister(self)

    async def _measure(self) -> Sequence[telemetry.Measurement]:
        """Return what metrics show of the journal. To count the jobs of a large one takes long, so it is done less."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        if began >= self._measure_at:
            counts, due = await self._store.do(lambda journal: (journal.counts(), journal.next_due()))
            self._measure_at = began + MEASURE_PAUSE * (loop.time() - began)
            self._measured = measure_jobs(self._store.name, counts, due, self.steady_clock())
        return self._measured

    async def prepare(self, *, is_strict: bool = True) -> int:
        """Recover the jobs that an earlier process left in flight; return their number.

        :param is_strict: whether a job that nobody can run is an error. Otherwise it is logged, and the others run.

        Raises ``JournalError``, and ``ConfigurationError`` if an unfinished job belongs to an account that no client
        has.
        """
        now, due = self._options.clock(), self.steady_clock()
        lanes = await self._store.do(Journal.lanes)
        unfinished = await self._store.do(Journal.unfinished_lanes)
        known = []
        for lane_id, lane in lanes.items():  # before anything is written
            try:
                known.append((lane_id, self._add(lane_id, lane).action_type.repeatable))
            except ConfigurationError as error:
                if lane_id in unfinished:
                    if is_strict:
                        raise ConfigurationError(f"{error}{_HOW_TO_RUN_FOREIGN_JOBS}") from None
                    log_lane(LogEvent.LANE_UNSERVED, lane, "%s%s", error, _HOW_TO_RUN_FOREIGN_JOBS)
        await self._store.do(Journal.forget_queue)
        await self._store.do(lambda journal: journal.clamp_due_times(now=due))
        recovered = 0
        for lane_id, repeatable in known:
            recovered += await self._store.do(
                lambda journal, lane_id=lane_id, repeatable=repeatable: journal.recover(  # type: ignore[misc]
                    lane_id, repeatable=repeatable, due=due, now=now
                )
            )
        return recovered

    async def deferred(self) -> Mapping[Lane, DeferredJobs]:
        """Return the deferred jobs of each lane that has any."""
        return await self._store.do(Journal.deferred)


def measure_jobs(
    store: str, counts: Mapping[JobState, int], next_due: float | None, now: float
) -> Sequence[telemetry.Measurement]:
    """Return what metrics show of a journal or a queue. Times are Unix seconds."""
    overdue = 0.0 if next_due is None else max(0.0, now - next_due)
    return [
        telemetry.Measurement(Metric.JOBS_OLDEST_DUE, overdue, (store,)),
        *(telemetry.Measurement(Metric.JOBS, count, (store, state.value)) for state, count in counts.items()),
    ]
