"""One lane: takes its due jobs from the journal and keeps just enough calls in flight to fill its quota."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

import attrs

from volc_moderation.action import Action
from volc_moderation.client import FOR_EVER, Client
from volc_moderation.errors import AuthenticationError, JournalError, ModerationError, QuotaUnavailable
from volc_moderation.jobs.attempt import AttemptLost, attempt
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Ended, Outcome
from volc_moderation.quotas.permit import Priority, QuotaKey
from volc_moderation.quotas.store import Store
from volc_moderation.retry import RetryPolicy

#: Calls in flight, those that wait for a permit included.
LEAST, FIRST, MOST = 2, 8, 400
#: Taken at once: while these are made, the next ones are taken. A few less than the journal writes at once, so that the
#: records of some calls and the taking of the next are one commit.
TAKE = 190
#: Seconds that a call should wait for its permit: less, and the quota may run dry; more, and the call could as well
#: still be in the journal.
SHORT, LONG = 0.05, 0.5
#: How much less there is in flight after a call that waited long: little, for many calls tell of the same long line.
LESS = 0.25

#: So many faults in a row, without an answer in between, are an outage.
OUTAGE = 8
#: Seconds until the first look whether it is over, and at most between two.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0

#: Seconds of the shortest rest: a timer may go off a little before its time, and again at once.
MOMENT = 0.001

#: Seconds that a run waits for a job's next attempt, if it does not wait for all: longer than any back-off of ours.
PATIENCE = 30.0

#: Seconds that a run which is to end waits for a store of quotas that cannot be reached.
STORE_PATIENCE = 30.0

_log = logging.getLogger("volc_moderation")


class LaneJournal(Protocol):
    """Where the jobs of a lane come from, and what became of them goes."""

    @property
    def is_shared(self) -> bool:
        """Whether others could make what was taken and has not left: then it is given back while the lane pauses."""

    @property
    def before_send(self) -> Callable[[DueJob], Awaitable[None]] | None:
        """What is to be awaited before the request of a job leaves, if anything is.

        It raises ``AttemptLost`` if the request must not leave.
        """

    def take(
        self, lane: int, most: int, *, due: float, now: float, durable: bool
    ) -> "asyncio.Future[tuple[list[DueJob], float | None]]":
        """Take up to ``most`` jobs of a lane that are due; or else tell when the next one is."""

    def give_back(self, rows: Sequence[DueJob]) -> None:
        """Give jobs back of which nothing has left."""

    def note(self, row: DueJob, lane: int, ended: Ended) -> None:
        """Note what became of an attempt."""


@attrs.frozen(kw_only=True)
class RunnerOptions:
    """How a runner runs its lanes."""

    retry: RetryPolicy | None
    priority: Priority
    #: Returns the Unix time that is written down.
    clock: Callable[[], float]
    #: Returns the Unix time by which jobs become due; it never steps.
    steady: Callable[[], float]
    #: Told of every job that ended or was put off.
    on_event: Callable[[JobEvent], None]
    #: Go on when nothing is left, and after refused keys and a journal that cannot be written.
    for_ever: bool
    #: Calls of one lane in flight, those that wait for a permit included, at most.
    concurrency: int
    #: Whether to wait for jobs whose next attempt is far off.
    wait_for_deferred: bool


class LaneRunner:
    """Runs one lane."""

    def __init__(
        self,
        lane: Lane,
        number: int,
        *,
        client: Client,
        action_type: type[Action[Any]],
        journal: LaneJournal,
        options: RunnerOptions,
    ) -> None:
        self.lane = lane
        self.client = client
        self.action_type = action_type
        self.in_flight = 0
        #: What stands in the way of all of the lane's calls, if anything does.
        self.pause_reason: ModerationError | None = None
        self._number = number
        self._journal = journal
        self._options = options
        #: Jobs that are marked as sent, and wait for one of the tasks that make the calls.
        self._taken: deque[DueJob] = deque()
        #: Tasks whose call waits for a permit: nothing of it has left yet.
        self._unsent: dict[asyncio.Task[None], DueJob] = {}
        self._workers = 0
        self._is_starting = False
        self._concurrency: float = min(FIRST, options.concurrency)
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._fatal_error: ModerationError | None = None
        # Of outages: faults in a row, pauses in a row, and until when there is one, on the loop's clock.
        self._consecutive_failures = 0
        self._pauses = 0
        self._paused_until = 0.0
        #: Since when the store that shares the quota has been away.
        self._unshared_since: float | None = None

    @property
    def cap(self) -> float | None:
        """Calls per second that the quota in force allows; None if the store does not tell, or was not used yet."""
        store = self.client.quotas
        if not isinstance(store, Store):
            return None
        state = store.snapshot().get(QuotaKey(self.client.vendor, self.client.account, self.action_type.name))
        return None if state is None else state.effective / self.client.quota_of(self.action_type).window

    def stop(self) -> None:
        """Take no more; finish what is in flight, and give back what has not left yet."""
        self._is_stopping = True
        self._cancel_unsent()
        self._wake.set()

    def _cancel_unsent(self) -> None:
        for task in list(self._unsent):
            task.cancel()

    def look(self) -> None:
        """Look into the journal: something may have come."""
        self._wake.set()

    async def run(self) -> None:
        """Run until nothing is left, or until stopped. Raises what makes it senseless to go on.

        If it is cancelled, only what has left stays marked as sent.
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
                        await self._rest(max(until, now + MOMENT))
        finally:
            self._give_back()
        if self._fatal_error is not None:
            raise self._fatal_error

    async def _fill(self, calls: asyncio.TaskGroup) -> float | None:
        """Take as many jobs as there are places; return when to look again, on the loop's clock, or None for never."""
        loop = asyncio.get_running_loop()
        if self._is_paused:
            if self._journal.is_shared:
                self._give_back()
            return self._paused_until
        places = self._most
        self._start(calls)
        free = places - self.in_flight - len(self._taken)
        if free * 4 < places:
            return loop.time() + FOR_EVER  # few at a time are dear to take; a call that ends wakes this up
        now, sent = self._options.steady(), self._options.clock()
        # Asked before the journal is: a call that ends meanwhile may have something to add to it.
        is_idle = not (self._taken or self._workers)
        taking = self._journal.take(
            self._number, min(free, TAKE), due=now, now=sent, durable=not self.action_type.repeatable
        )
        try:
            rows, due = await asyncio.shield(taking)
        except asyncio.CancelledError:
            # What the journal marks as sent just now must be known, to be given back.
            await asyncio.wait([taking])
            if not taking.cancelled() and not taking.exception():
                self._taken += taking.result()[0]
            raise
        except JournalError as error:
            if not self._options.for_ever:
                self._end(error)
            self._pause(error)
            return self._paused_until
        self._taken += rows
        self._start(calls)
        if rows:
            return loop.time()
        return self._next_look(due, now, may_end=is_idle and not self._options.for_ever)

    def _give_back(self) -> None:
        """Give back what was taken and has not left: others may make it, and after a crash it is known for unsent."""
        if self._taken:
            self._journal.give_back(tuple(self._taken))
            self._taken.clear()

    def _next_look(self, due: float | None, now: float, *, may_end: bool) -> float | None:
        """Tell when to look again if nothing is due until ``due``."""
        loop = asyncio.get_running_loop()
        if due is None:
            return None if may_end else loop.time() + FOR_EVER
        if may_end and due > now + PATIENCE and not self._options.wait_for_deferred:
            return None
        return loop.time() + max(0.0, due - now)

    async def _rest(self, until: float) -> None:
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _start(self, calls: asyncio.TaskGroup) -> None:
        """Start one more of the tasks that make the calls, if there is more to do for them; each starts the next."""
        if not self._is_starting and self._taken and self._workers < self._most:
            self._is_starting = True
            self._workers += 1
            calls.create_task(self._work(calls))

    async def _work(self, calls: asyncio.TaskGroup) -> None:
        """Make the calls that were taken, one after the other."""
        self._is_starting = False
        task: asyncio.Task[None] = asyncio.current_task()  # type: ignore[assignment] # this is one
        try:
            while self._taken and self._workers <= self._most and not self._is_held:
                row = self._taken.popleft()
                self._start(calls)
                self.in_flight += 1
                try:
                    await self._perform(row, task)
                finally:
                    self.in_flight -= 1
                    self._wake.set()
        finally:
            self._workers -= 1
            self._wake.set()

    @property
    def _most(self) -> int:
        """How many calls may be in flight: between two pauses of an outage one, which looks whether it is over."""
        return 1 if self._pauses else int(self._concurrency)

    @property
    def _is_paused(self) -> bool:
        return self._paused_until > 0 and asyncio.get_running_loop().time() < self._paused_until

    @property
    def _is_held(self) -> bool:
        return self._is_stopping or self._fatal_error is not None or self._is_paused

    async def _perform(self, row: DueJob, task: asyncio.Task[None]) -> None:
        """Make one call, and hand its outcome to the journal."""
        self._unsent[task] = row
        leave = partial(self._unsent.pop, task, None)
        before = self._journal.before_send
        try:
            outcome, error, round_trip, waited = await attempt(
                row.parameters,
                self.lane,
                client=self.client,
                action_type=self.action_type,
                attempts=row.attempts,
                maybe_sent=bool(row.maybe_sent),
                last_code=row.code,
                policy=self._options.retry,
                priority=self._options.priority,
                before_send=None if before is None else partial(before, row),
                on_send=leave,
            )
        except AttemptLost:
            self._journal.give_back([row])
            return
        except asyncio.CancelledError:
            if task in self._unsent:
                self._taken.append(row)
            raise
        finally:
            leave()
        if error is not None and outcome.is_outage:
            self._record_failure(error)
        else:
            self._adjust_concurrency(waited)
            if self._consecutive_failures:
                self._recover()
        self._record(row, outcome, round_trip, waited)

    def _record_failure(self, error: ModerationError) -> None:
        """Count a fault that other calls may well meet, too."""
        self._consecutive_failures += 1
        if isinstance(error, AuthenticationError) or getattr(error, "is_permanent", False):
            self._pause(error)
            if not self._options.for_ever:
                self._end(error)
        elif self._consecutive_failures >= OUTAGE:
            self._pause(error)
        if not isinstance(error, QuotaUnavailable):
            self._unshared_since = None
        elif not self._options.for_ever:
            now = asyncio.get_running_loop().time()
            self._unshared_since = now if self._unshared_since is None else self._unshared_since
            if now >= self._unshared_since + STORE_PATIENCE:
                self._end(error)

    def _end(self, fault: ModerationError) -> None:
        """Make no more calls: what is wrong will not pass by itself."""
        self._fatal_error = self._fatal_error or fault
        self._cancel_unsent()
        self._wake.set()

    def _adjust_concurrency(self, waited: float) -> None:
        """Have so many calls in flight that the next one is there when the quota allows it, and few more."""
        if waited < SHORT:
            self._concurrency = min(self._options.concurrency, self._concurrency + 1)
        elif waited > LONG:
            self._concurrency = max(min(LEAST, self._options.concurrency), self._concurrency - LESS)

    def _recover(self) -> None:
        """End an outage, at an answer of whatever kind."""
        if self.pause_reason is not None:
            _log.info("%s: goes on", self.lane.action)
        self._consecutive_failures = self._pauses = 0
        self._paused_until = 0.0
        self._unshared_since = None
        self.pause_reason = None

    def _pause(self, pause_reason: ModerationError) -> None:
        """Take no more for a while: longer each time, unless an answer has come in between."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return  # another call that was in flight when it began
        if type(pause_reason) is not type(self.pause_reason):
            _log.warning("%s: jobs wait, and it is tried now and then: %s", self.lane.action, pause_reason)
        if self._journal.is_shared:
            self._cancel_unsent()
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._pauses)
        self._pauses = min(self._pauses + 1, 64)
        self._paused_until = now + pause * (0.5 + random.random() / 2)  # noqa: S311 - jitter
        self.pause_reason = pause_reason

    def _record(self, row: DueJob, outcome: Outcome, round_trip: float, waited: float) -> None:
        now = self._options.clock()
        due = self._options.steady() + outcome.wait
        attempts = row.attempts if outcome.counts else row.attempts - 1
        self._journal.note(row, self._number, Ended(outcome, attempts, due, round_trip, waited, now))
        is_put_off = outcome.state is JobState.PENDING
        self._options.on_event(
            JobEvent(self.lane, attempts, due if is_put_off else None, self.action_type, row, outcome)
        )
