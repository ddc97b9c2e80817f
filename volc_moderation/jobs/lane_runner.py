"""Runs one lane: takes its due jobs from the journal and keeps just enough calls in flight to fill the quota."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.call_options import NO_LIMIT
from volc_moderation.client import Client
from volc_moderation.errors import AuthenticationError, JournalError, ModerationError, QuotaUnavailable
from volc_moderation.jobs.attempt import AttemptLost, Departure, attempt
from volc_moderation.jobs.concurrency import Concurrency
from volc_moderation.jobs.engine import LaneStatus
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.job_store import JobStore
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.lane_log import log_lane
from volc_moderation.jobs.outcome import EndedAttempt, Outcome
from volc_moderation.log_events import LogEvent, code_of
from volc_moderation.quotas.permit import Priority, QuotaKey
from volc_moderation.quotas.store import QuotaStore
from volc_moderation.retry import RetryPolicy

#: Jobs per read of the journal: while their calls are made, the next ones are taken. A few fewer than the journal
#: writes in one batch, so that the records of some calls and the taking of the next share a commit.
MAX_JOBS_PER_TAKE = 190
#: Calls after which a lane lets the event loop run, even if none of them had to wait: otherwise records would stay
#: unwritten meanwhile, and the next jobs would not be taken. Each task of the lane may make one more.
MAX_CALLS_IN_A_ROW = 64

#: Consecutive failures that other calls are likely to hit too, and that count as an outage.
FAILURES_BEFORE_PAUSE = 8
INITIAL_OUTAGE_PAUSE = 0.5  # seconds
MAX_OUTAGE_PAUSE = 30.0  # seconds
#: Pauses after which the count stays the same, so that the power of two does not overflow.
MAX_COUNTED_PAUSES = 64

#: Seconds. A timer may fire slightly early; without a minimum, it would fire again at once.
MIN_SLEEP = 0.001

#: Seconds that a run waits for deferred jobs if it does not wait for all of them: longer than the back-off of a
#: transient fault.
MAX_WAIT_FOR_DEFERRED = 30.0

#: Seconds that a run with an end waits for a store of quotas that cannot be reached.
QUOTA_STORE_TIMEOUT = 30.0


@attrs.frozen(kw_only=True)
class RunnerOptions:
    """How a runner runs its lanes."""

    retry: RetryPolicy | None
    priority: Priority
    #: Returns the Unix time that is recorded.
    clock: Callable[[], float]
    #: Returns the Unix time by which jobs become due; it never steps.
    steady_clock: Callable[[], float]
    #: Called with each job that ended or was deferred.
    on_event: Callable[[JobEvent], None]
    #: Keep running when nothing is left, when keys are refused, and when the journal cannot be written.
    run_forever: bool
    #: The maximum number of calls in flight per lane, including calls that wait for a permit.
    concurrency: int
    #: Whether to wait for jobs whose next attempt is far off.
    wait_for_deferred: bool


class LaneRunner:
    """Runs one lane."""

    def __init__(
        self,
        lane: Lane,
        lane_id: int,
        *,
        client: Client,
        action_type: type[Action[Any]],
        store: JobStore,
        options: RunnerOptions,
    ) -> None:
        self.lane = lane
        self.client = client
        self.action_type = action_type
        self.in_flight = 0
        #: Why all of the lane's calls wait; None if they do not.
        self.pause_reason: ModerationError | None = None
        self._lane_id = lane_id
        self._store = store
        self._options = options
        #: Jobs that are marked as sent and wait for a task that makes their call.
        self._taken: deque[DueJob] = deque()
        #: Tasks that make calls, each with whether its current request has left or still waits for a permit.
        self._tasks: dict[asyncio.Task[None], Departure] = {}
        #: Those tasks, and one that is starting.
        self._task_count = 0
        self._is_task_starting = False
        #: Calls that have ended since the event loop ran last.
        self._calls_in_a_row = 0
        self._concurrency = Concurrency(options.concurrency)
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._fatal_error: ModerationError | None = None
        self._consecutive_failures = 0
        self._consecutive_pauses = 0
        #: When the current pause ends, on the loop's clock; 0 if there is none.
        self._paused_until = 0.0
        #: Until when a shared store has no due jobs, unless it wakes the lane; on the loop's clock.
        self._exhausted_until = 0.0
        #: Since when the store of quotas has been unavailable, on the loop's clock.
        self._quota_unavailable_since: float | None = None

    def status(self) -> LaneStatus:
        """Return the lane's status."""
        return LaneStatus(
            lane=self.lane,
            client=self.client,
            action_type=self.action_type,
            pause_reason=self.pause_reason,
            quota_rate=self._quota_rate(),
        )

    def _quota_rate(self) -> float | None:
        """Return the calls per second that the quota in force allows.

        None if the store does not report it, or no call has used the quota yet.
        """
        store = self.client.quotas
        if not isinstance(store, QuotaStore):
            return None
        state = store.state_of(QuotaKey(self.client.vendor, self.client.account, self.action_type.name))
        return None if state is None else state.effective / self.client.quota_of(self.action_type).window

    def stop(self) -> None:
        """Take no more jobs; calls in flight are finished, and unsent jobs given back."""
        self._is_stopping = True
        self._cancel_unsent()
        self._wake.set()

    def _cancel_unsent(self) -> None:
        for task, departure in self._tasks.items():
            if not departure.has_left:
                task.cancel()

    def wake(self) -> None:
        """Check the journal for due jobs."""
        self._exhausted_until = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Run until nothing is left, or until stopped. Raises ``ModerationError`` if it cannot go on.

        If this is cancelled, only jobs whose request has left stay marked as sent.
        """
        try:
            async with asyncio.TaskGroup() as calls:
                while not self._is_stopping and self._fatal_error is None:
                    self._wake.clear()
                    until = await self._fill(calls)
                    if until is None:
                        break
                    now = asyncio.get_running_loop().time()
                    if until > now:
                        await self._sleep_until(max(until, now + MIN_SLEEP))
        finally:
            self._give_back()
        if self._fatal_error is not None:
            raise self._fatal_error

    async def _fill(self, calls: asyncio.TaskGroup) -> float | None:
        """Take as many jobs as may be in flight; return when to check again, on the loop's clock, or None for never."""
        loop = asyncio.get_running_loop()
        if self._is_paused:
            if self._store.is_shared:
                self._give_back()
            return self._paused_until
        self._start_task(calls)
        is_exhausted = loop.time() < self._exhausted_until
        if is_exhausted or not self._should_take:  # in the second case, a call that ends wakes this up
            return self._exhausted_until if is_exhausted else loop.time() + NO_LIMIT
        limit = min(self._max_in_flight - self.in_flight - len(self._taken), MAX_JOBS_PER_TAKE)
        now = self._options.steady_clock()
        # Read before the journal is: a call that ends meanwhile may add to it.
        may_end = not (self._options.run_forever or self._taken or self._task_count)
        try:
            jobs, next_due = await self._take(limit, now)
        except JournalError as error:
            if not self._options.run_forever:
                self._fail(error)
            self._pause(error)
            return self._paused_until
        self._taken += jobs
        self._start_task(calls)
        if self._store.is_shared and len(jobs) < limit and not self._wake.is_set():
            self._exhausted_until = self._next_check(next_due, now)
            return self._exhausted_until
        if jobs:
            return loop.time()
        return None if may_end and self._has_ended(next_due, now) else self._next_check(next_due, now)

    async def _take(self, limit: int, now: float) -> tuple[list[DueJob], float | None]:
        taking = self._store.take(
            self._lane_id, limit, due=now, now=self._options.clock(), durable=not self.action_type.repeatable
        )
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # Jobs that the journal is marking as sent right now must be known, so that they can be given back.
            await asyncio.wait([taking])
            if not taking.cancelled() and not taking.exception():
                self._taken += taking.result()[0]
            raise

    def _give_back(self) -> None:
        """Give back unsent jobs: others may make them, and after a crash it is known that they were not sent."""
        if self._taken:
            self._store.give_back(tuple(self._taken))
            self._taken.clear()

    def _has_ended(self, next_due: float | None, now: float) -> bool:
        """Return whether a run has ended whose next job is due at ``next_due``."""
        if next_due is None:
            return True
        return next_due > now + MAX_WAIT_FOR_DEFERRED and not self._options.wait_for_deferred

    @staticmethod
    def _next_check(next_due: float | None, now: float) -> float:
        """Return when to check for due jobs again, on the loop's clock."""
        return asyncio.get_running_loop().time() + (NO_LIMIT if next_due is None else max(0.0, next_due - now))

    async def _sleep_until(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _start_task(self, calls: asyncio.TaskGroup) -> None:
        """Start one more task that makes calls, if there are jobs for it; each task starts the next one."""
        if not self._is_task_starting and self._taken and self._task_count < self._max_in_flight:
            self._is_task_starting = True
            self._task_count += 1
            calls.create_task(self._make_calls(calls))

    async def _make_calls(self, calls: asyncio.TaskGroup) -> None:
        """Make the calls of taken jobs, one after the other."""
        self._is_task_starting = False
        task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment] # this is one
        departure = self._tasks[task] = Departure()
        try:
            while self._taken and self._task_count <= self._max_in_flight and not self._is_halted:
                job = self._taken.popleft()
                if not self._is_task_starting:
                    self._start_task(calls)
                self.in_flight += 1
                try:
                    await self._attempt(job, departure)
                finally:
                    self.in_flight -= 1
                if not self._calls_in_a_row:
                    asyncio.get_running_loop().call_soon(self._end_row)
                self._calls_in_a_row += 1
                if self._calls_in_a_row >= MAX_CALLS_IN_A_ROW:
                    await asyncio.sleep(0)
        finally:
            del self._tasks[task]
            self._task_count -= 1
            self._wake.set()

    def _end_row(self) -> None:
        """Look for due jobs, if they are needed, after the calls that have ended since the event loop ran last."""
        self._calls_in_a_row = 0
        if self._should_take and asyncio.get_running_loop().time() >= self._exhausted_until:
            self._wake.set()

    @property
    def _max_in_flight(self) -> int:
        """Calls that may be in flight; one between the pauses of an outage, to check whether it is over."""
        return 1 if self._consecutive_pauses else self._concurrency.current

    @property
    def _should_take(self) -> bool:
        """Whether a quarter of the calls that may be in flight are missing: taking a few at a time is expensive."""
        capacity = self._max_in_flight
        return (capacity - self.in_flight - len(self._taken)) * 4 >= capacity

    @property
    def _is_paused(self) -> bool:
        return asyncio.get_running_loop().time() < self._paused_until

    @property
    def _is_halted(self) -> bool:
        return self._is_stopping or self._fatal_error is not None or (self._paused_until > 0 and self._is_paused)

    async def _attempt(self, job: DueJob, departure: Departure) -> None:
        """Make one call, and record its outcome."""
        before_send = self._store.before_send
        try:
            outcome, error, round_trip, waited = await attempt(
                job,
                self.lane,
                client=self.client,
                action_type=self.action_type,
                policy=self._options.retry,
                priority=self._options.priority,
                departure=departure,
                before_send=None if before_send is None else partial(before_send, job),
            )
        except AttemptLost:
            self._store.give_back([job])
            return
        except asyncio.CancelledError:
            if not departure.has_left:
                self._taken.append(job)
            raise
        finally:
            departure.has_left = True
        if error is not None and outcome.is_outage:
            self._record_failure(error)
        else:
            self._concurrency.adjust(waited)
            if self._consecutive_failures:
                self._resume()
        self._record(job, outcome, round_trip, waited)

    def _record_failure(self, error: ModerationError) -> None:
        """Count a failure that other calls are likely to hit."""
        self._consecutive_failures += 1
        if isinstance(error, AuthenticationError) or getattr(error, "is_permanent", False):
            self._pause(error)
            if not self._options.run_forever:
                self._fail(error)
        elif self._consecutive_failures >= FAILURES_BEFORE_PAUSE:
            self._pause(error)
        if not isinstance(error, QuotaUnavailable):
            self._quota_unavailable_since = None
        elif not self._options.run_forever:
            now = asyncio.get_running_loop().time()
            if self._quota_unavailable_since is None:
                self._quota_unavailable_since = now
            if now >= self._quota_unavailable_since + QUOTA_STORE_TIMEOUT:
                self._fail(error)

    def _fail(self, error: ModerationError) -> None:
        """Make no more calls: the error will not pass by itself."""
        self._fatal_error = self._fatal_error or error
        self._cancel_unsent()
        self._wake.set()

    def _resume(self) -> None:
        """End an outage: an answer of any kind has come."""
        if self.pause_reason is not None:
            log_lane(LogEvent.LANE_RESUMED, self.lane, "%s: jobs run again", self.lane.action)
        self._consecutive_failures = self._consecutive_pauses = 0
        self._paused_until = 0.0
        self._quota_unavailable_since = None
        self.pause_reason = None

    def _pause(self, reason: ModerationError) -> None:
        """Take no more jobs for a while: longer each time, until an answer comes."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return  # another call that was in flight when the pause began
        if type(reason) is not type(self.pause_reason):
            text = "%s: jobs wait, and are retried periodically: %s"
            log_lane(LogEvent.LANE_PAUSED, self.lane, text, self.lane.action, reason, code=code_of(reason))
        if self._store.is_shared:
            self._cancel_unsent()
        pause = min(MAX_OUTAGE_PAUSE, INITIAL_OUTAGE_PAUSE * 2.0**self._consecutive_pauses)
        self._consecutive_pauses = min(self._consecutive_pauses + 1, MAX_COUNTED_PAUSES)
        self._exhausted_until = 0.0
        self._paused_until = now + pause * (0.5 + random.random() / 2)  # noqa: S311 - jitter
        self.pause_reason = reason
        self._wake.set()

    def _record(self, job: DueJob, outcome: Outcome, round_trip: float, waited: float) -> None:
        now = self._options.clock()
        due = self._options.steady_clock() + outcome.wait
        attempts = job.attempts if outcome.counts else job.attempts - 1
        self._store.record_attempt(job, self._lane_id, EndedAttempt(outcome, attempts, due, round_trip, waited, now))
        is_deferred = outcome.state is JobState.PENDING
        if is_deferred:
            self._exhausted_until = min(self._exhausted_until, asyncio.get_running_loop().time() + outcome.wait)
            self._wake.set()
        self._options.on_event(
            JobEvent(self.lane, attempts, due if is_deferred else None, self.action_type, job, outcome)
        )
