"""A worker: makes the calls of a queue for which it has clients, alongside any number of other workers.

A worker runs its lanes as a local run does. The jobs that it claims are its own while it renews its lease. If it was
frozen for too long, it sends nothing more of them.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from volc_moderation import telemetry
from volc_moderation.action import Action  # noqa: TC001 - in the type of a variable
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, JournalError
from volc_moderation.jobs.attempt import AttemptLost
from volc_moderation.jobs.batch import Batch
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.job_event import redacted_parameters
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import EndedAttempt
from volc_moderation.jobs.queue.overview import QueueReader
from volc_moderation.jobs.queue.records import Claim, ClaimedAttempt, WorkerLaneStatus, WorkerStatus, parse_lane_name
from volc_moderation.jobs.queue.redis_queue import WORKER_LEASE, RedisQueue
from volc_moderation.jobs.runner import MultiLaneRunner, measure_jobs
from volc_moderation.log_events import LogEvent
from volc_moderation.quotas.machine import boot_time
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy
from volc_moderation.wire import dump_json, load_json

HEARTBEAT_INTERVAL = 3.0  # seconds
#: Seconds between two heartbeats at least: a worker may learn of a thousand lanes one after the other.
MIN_HEARTBEAT_INTERVAL = 0.5
#: Seconds after which a worker reports its status again although it has not changed: the queue may have lost it.
STATUS_REFRESH = 10.0
#: Seconds after which a worker looks again whether it has the account of a lane.
FOREIGN_LANE_MEMORY = 60.0
#: Seconds before the end of the lease from which on the worker sends nothing more.
WORKER_LEASE_MARGIN = 3.0
#: Seconds that calls in flight have to end after the worker was asked to stop.
GRACE_PERIOD = 15.0
#: Seconds that an outcome waits to be recorded together with others.
RECORD_LINGER = 0.01
MAX_RECORDS_PER_REQUEST = 200


class Worker:
    """Runs the lanes of a queue. It is the ``JobStore`` of their runners.

    :param concurrency: the largest number of calls of one action in flight, including those that wait for a permit.
    :param clock: returns the Unix time.
    :param on_heartbeat: called after each heartbeat.
    """

    def __init__(
        self,
        queue: RedisQueue,
        clients: Sequence[Client],
        *,
        retry: RetryPolicy | None,
        priority: Priority,
        concurrency: int,
        clock: Callable[[], float] = time.time,
        on_heartbeat: Callable[[], None] = lambda: None,
    ) -> None:
        self.id = secrets.token_hex(8)
        #: Number of jobs that were given back at the end.
        self.handed_back = 0
        self._queue = queue
        self._runner = MultiLaneRunner(
            self, clients, retry=retry, priority=priority, clock=clock, run_forever=True, concurrency=concurrency
        )
        self._on_heartbeat = on_heartbeat
        #: The lanes that this worker serves, each with its index, which is its ``lane_id``.
        self._lanes: dict[Lane, int] = {}
        self._lanes_by_id: list[Lane] = []
        #: Lanes whose account no client has. They are tried again from time to time: an account may have had other
        #: names, which are known once its keys are.
        self._foreign_lanes: set[Lane] = set()
        self._foreign_lanes_until = 0.0
        self._action_types: list[type[Action[Any]]] = []
        #: The claimed jobs by fence, each with its lane_id.
        self._held: dict[int, tuple[int, DueJob]] = {}
        #: When each ``take`` in flight began, on the event loop's clock.
        self._takes: dict[asyncio.Task[object], float] = {}
        #: The largest fence that this worker has seen. If the queue's last fence is smaller, its Redis has lost data.
        self._known_fence = 0
        #: Identifies the data of the queue: it changes when they are lost. None before the first heartbeat.
        self._data: str | None = None
        #: Why outcomes could not be recorded, or jobs not given back.
        self._fatal_error: JournalError | None = None
        self._sent_marks: Batch[Claim, bool] = Batch(self._mark_sent)
        self._records: Batch[ClaimedAttempt, bool] = Batch(
            self._record, max_size=MAX_RECORDS_PER_REQUEST, linger=RECORD_LINGER
        )
        self._returns: Batch[Claim, bool] = Batch(self._give_back)
        #: When the queue last renewed the lease, on a clock that goes on while the machine sleeps.
        self._lease_renewed_at = 0.0
        self._is_stopping = asyncio.Event()
        self._heartbeat_now = asyncio.Event()

    # Running

    def stop(self) -> None:
        """Take no more jobs; ``run`` returns when those in flight have ended."""
        self._is_stopping.set()

    def wake(self, lane_name: str) -> None:
        """Check the lane with a name for due jobs; all lanes if the name is empty or invalid."""
        lane = parse_lane_name(lane_name)
        if lane is None:
            self._heartbeat_now.set()
        else:
            self._serve(lane)

    async def run(self) -> None:
        """Work until stopped or cancelled. Raises ``JournalError`` if the queue is unreachable for too long."""
        loop = asyncio.get_running_loop()
        telemetry.register(self, Worker._measure)
        running = loop.create_task(self._runner.run())
        beating = loop.create_task(self._send_heartbeats())
        stopping = loop.create_task(self._is_stopping.wait())
        try:
            await asyncio.wait([running, beating, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            telemetry.unregister(self)
            await self._finish(running, beating)
        if self._fatal_error is not None:
            raise self._fatal_error
        for task in (running, beating):
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _measure(self) -> Sequence[telemetry.Measurement]:
        """Return what metrics show of the queue."""
        if self._queue.is_unreachable:
            return ()
        counts, due, now = await QueueReader.beside(self._queue).backlog()
        return measure_jobs(self._queue.name, counts, due, now)

    async def _finish(self, running: "asyncio.Task[None]", beating: "asyncio.Task[None]") -> None:
        """Let the calls in flight end, and give back all other jobs."""
        self._runner.stop()
        is_connected = not beating.done() and self._fatal_error is None
        try:
            if not running.done():
                await asyncio.wait([running], timeout=GRACE_PERIOD)
        finally:
            for task in (running, beating, *self._takes):
                task.cancel()
            await asyncio.gather(running, beating, return_exceptions=True)
            if is_connected:
                leaving = asyncio.get_running_loop().create_task(self._leave())
                await asyncio.wait([leaving], timeout=WORKER_LEASE)  # after that, others recover the jobs anyway
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)

    async def _leave(self) -> None:
        await self._records.drain()
        await self._returns.drain()
        self.handed_back += await self._queue.leave(self.id)

    def _serve(self, lane: Lane) -> None:
        """Start or wake a lane, if a client has its account."""
        lane_id = self._lanes.get(lane)
        if lane_id is None:
            if lane in self._foreign_lanes:
                return
            try:
                _, action_type = self._runner.clients.client_for(lane)
            except ConfigurationError:  # other workers have the keys
                self._foreign_lanes.add(lane)
                return
            lane_id = self._lanes[lane] = len(self._lanes)
            self._lanes_by_id.append(lane)
            self._action_types.append(action_type)
            self._heartbeat_now.set()
        if not self._is_stopping.is_set():
            self._runner.wake(lane_id, lane)

    async def _send_heartbeats(self) -> None:
        """Renew the lease periodically, report this worker's status and claims, and serve the lanes with due jobs."""
        loop = asyncio.get_running_loop()
        last_fence, replied_at = 0, 0.0
        reported: WorkerStatus | None = None
        reported_at = 0.0
        while True:
            self._heartbeat_now.clear()
            began, status = boot_time(), self._status()
            is_known = status == reported and began < reported_at + STATUS_REFRESH
            # A take that began before the last reply may still bring claims up to that reply's fence.
            has_all_replies = all(started_at > replied_at for started_at in self._takes.values())
            fence, due_counts, data = await self._queue.heartbeat(
                self.id,
                None if is_known else status,
                held=list(self._held),
                up_to_fence=last_fence if has_all_replies else 0,
                known_fence=self._known_fence,
            )
            last_fence, replied_at = fence, loop.time()
            if not is_known:
                reported, reported_at = status, began
            elif data != self._data:
                reported = None
                self._heartbeat_now.set()
            self._known_fence = max(self._known_fence, fence)
            self._note_data(data)
            self._on_heartbeat()
            self._lease_renewed_at = max(self._lease_renewed_at, began)
            if replied_at >= self._foreign_lanes_until:
                self._foreign_lanes.clear()
                self._foreign_lanes_until = replied_at + FOREIGN_LANE_MEMORY
            for lane, due_count in due_counts:
                if due_count or lane not in self._lanes:
                    self._serve(lane)
            await asyncio.sleep(MIN_HEARTBEAT_INTERVAL)
            try:
                async with asyncio.timeout(HEARTBEAT_INTERVAL - MIN_HEARTBEAT_INTERVAL):
                    await self._heartbeat_now.wait()
            except TimeoutError:
                pass

    def _note_data(self, data: str) -> None:
        """Take note of the identity of the queue's data."""
        if self._data not in (None, data):
            text = "the queue has lost data; jobs that were in it may be lost, too"
            LogEvent.QUEUE_LOST_DATA.log(text, queue=self._queue.name, worker=self.id)
        self._data = data

    def _status(self) -> WorkerStatus:
        return WorkerStatus(
            {
                status.lane: WorkerLaneStatus(
                    error_type="" if status.pause_reason is None else type(status.pause_reason).__name__,
                    error_message=str(status.pause_reason or ""),
                    quota_rate=status.quota_rate,
                )
                for status in self._runner.lane_statuses()
            }
        )

    # As a JobStore

    #: Other workers serve the same queue.
    is_shared = True

    def take(
        self,
        lane_id: int,
        limit: int,
        *,
        due: float,
        now: float,  # noqa: ARG002 - the queue has its own clock
        durable: bool,
    ) -> "asyncio.Future[tuple[list[DueJob], float | None]]":
        """Claim up to ``limit`` due jobs of a lane. ``durable``: their calls must not be repeated."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._take(lane_id, limit, due, at_most_once=durable))
        self._takes[task] = loop.time()
        task.add_done_callback(self._takes.pop)
        return task

    async def _take(
        self, lane_id: int, limit: int, due: float, *, at_most_once: bool
    ) -> tuple[list[DueJob], float | None]:
        began = boot_time()
        jobs, wait = await self._queue.take(
            self.id, self._lanes_by_id[lane_id], limit, at_most_once=at_most_once, known_fence=self._known_fence
        )
        self._lease_renewed_at = max(self._lease_renewed_at, began)
        for job in jobs:
            self._held[job.id] = lane_id, job
            self._known_fence = max(self._known_fence, job.id)
        return jobs, None if wait is None else due + wait

    async def before_send(self, job: DueJob) -> None:
        """Mark a job as sent if it must not be repeated. Raises ``AttemptLost`` if the request must not leave."""
        self._check_lease()
        lane_id, _ = self._held[job.id]
        if not self._action_types[lane_id].repeatable:
            if not await self._sent_marks.add(Claim(job.key, job.id)):
                raise AttemptLost
            self._check_lease()

    async def _mark_sent(self, claims: Sequence[Claim]) -> Sequence[bool]:
        are_valid, fence = await self._queue.mark_sent(self.id, claims)
        self._known_fence = max(self._known_fence, fence)
        return are_valid

    def _check_lease(self) -> None:
        if boot_time() - self._lease_renewed_at > WORKER_LEASE - WORKER_LEASE_MARGIN:
            raise AttemptLost

    def record_attempt(self, job: DueJob, lane_id: int, ended: EndedAttempt) -> None:
        """Record an attempt that has ended. Of a job that has ended with it, the queue keeps no tokens of users."""
        redacted = None
        if ended.outcome.state.has_ended:
            parameters = redacted_parameters(self._action_types[lane_id], load_json(job.parameters) or {})
            redacted = dump_json(parameters).decode()
            redacted = None if redacted == job.parameters else redacted
        self._records.add(ClaimedAttempt(Claim(job.key, job.id), ended, redacted))

    async def _record(self, attempts: Sequence[ClaimedAttempt]) -> Sequence[bool]:
        try:
            are_valid, fence = await self._queue.record(self.id, attempts)
        except JournalError as error:
            if len(attempts) > 1 and not self._queue.is_unreachable:  # one of them is invalid: record each alone
                results = await asyncio.gather(
                    *(self._record([attempt]) for attempt in attempts), return_exceptions=True
                )
                return [not isinstance(result, BaseException) and result[0] for result in results]
            self._fail(error)
            raise
        self._known_fence = max(self._known_fence, fence)
        for attempt in attempts:
            self._held.pop(attempt.claim.fence, None)
        lost = [attempt for attempt, is_valid in zip(attempts, are_valid, strict=True) if not is_valid]
        if lost:
            LogEvent.CLAIMS_LOST.log(
                "job %s no longer belonged to this worker when it ended (%s)%s",
                lost[0].claim.key,
                lost[0].ended.outcome.state.value,
                "" if len(lost) == 1 else f", nor did {len(lost) - 1} others",
                worker=self.id,
                job=lost[0].claim.key,
                count=len(lost),
            )
        return are_valid

    def _fail(self, error: JournalError) -> None:
        """Stop. When this worker's lease expires, other workers recover the jobs that it could not record."""
        if self._fatal_error is None:
            LogEvent.WORKER_FAILED.log("the outcomes of jobs could not be recorded: %s", error, worker=self.id)
        self._fatal_error = self._fatal_error or error
        self._is_stopping.set()

    def give_back(self, jobs: Sequence[DueJob]) -> None:
        """Give back jobs whose requests have not left."""
        for job in jobs:
            self._returns.add(Claim(job.key, job.id))

    async def _give_back(self, claims: Sequence[Claim]) -> Sequence[bool]:
        try:
            count = await self._queue.give_back(self.id, claims)
        except JournalError as error:
            self._fail(error)
            raise
        for claim in claims:
            self._held.pop(claim.fence, None)
        if self._is_stopping.is_set():
            self.handed_back += count
        return [True] * len(claims)
