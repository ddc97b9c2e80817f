"""Runs the jobs of a journal on the workers of a queue, and records what becomes of them."""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from volc_moderation.errors import ConfigurationError
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.engine import LaneStatus
from volc_moderation.jobs.followed_lane import FollowedLane
from volc_moderation.jobs.job import DeferredJobs, JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import DueJob, HandedOverJob
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.lane_runner import MAX_WAIT_FOR_DEFERRED
from volc_moderation.jobs.outcome import EndedAttempt
from volc_moderation.jobs.queue.records import QUEUE_LOST_JOB, JobUpdate, Submission, WorkerStatus
from volc_moderation.jobs.steady_clock import SteadyClock
from volc_moderation.log_events import LogEvent

#: Jobs that are handed over with one request.
HAND_OVER_BATCH = 500
#: Seconds of one wait for updates, after which the run checks whether to stop.
UPDATE_WAIT = 0.5
#: Seconds between two inspections of the queue and its workers.
INSPECT_INTERVAL = 2.0
#: Seconds for which all workers report refused keys until the run ends; a worker with other keys may come.
REFUSED_KEYS_TIMEOUT = 10.0
#: Seconds without updates after which all jobs that the workers have are submitted again, in case an update was lost.
RESUBMIT_INTERVAL = 60.0


class Follower:
    """The ``Engine`` that hands the jobs of a journal over to workers, and records the updates that the queue sends.

    It may be stopped, killed and started again; the workers go on meanwhile. If it submits a job of the journal again,
    that is the same job to the queue, which sends its outcome again. If the queue has lost its data, jobs that may be
    repeated are submitted again; those that must not be repeated have failed with the code ``Interrupted``.
    """

    def __init__(
        self,
        journal: JournalThread,
        jobs: DistributedJobs,
        *,
        on_event: Callable[[JobEvent], None] = lambda _: None,
        wait_for_deferred: bool = True,
    ) -> None:
        self._journal = journal
        self._clients = jobs.clients
        self._queue = jobs.queue
        self._on_event = on_event
        self._wait_for_deferred = wait_for_deferred
        #: By lane_id.
        self._lanes: dict[int, FollowedLane] = {}
        #: The name of the run, under which the queue sends updates.
        self._run_name = ""
        #: The last entry of the run's stream that the journal has recorded.
        self._last_entry = "0"
        #: The identity of the queue's data that have this entry.
        self._incarnation = ""
        self._is_stopping = False
        self._steady = SteadyClock(time.time)
        #: When the queue is inspected next, and when the last update came, on the event loop's clock.
        self._inspect_at = 0.0
        self._updated_at = 0.0

    def lane_statuses(self) -> Sequence[LaneStatus]:
        """Return the status of each lane."""
        return [lane.status() for lane in self._lanes.values()]

    async def prepare(self) -> int:
        """Record the updates that came meanwhile, and submit again what the workers have; return the number of these.

        Raises ``JournalError``, and ``ConfigurationError`` if a job belongs to an account that no client has.
        """
        new_name = secrets.token_hex(8)
        self._run_name = await self._journal.do(lambda journal: _load_run_name(journal, new_name))
        unfinished = await self._journal.do(Journal.unfinished_lanes)
        for lane_id, lane in (await self._journal.do(Journal.lanes)).items():
            try:
                client, action_type = self._clients.client_for(lane)
            except ConfigurationError:
                if lane_id in unfinished:
                    raise
                continue
            self._lanes[lane_id] = FollowedLane(lane, client, action_type, self._queue)
        last_entry = await self._journal.do(lambda journal: journal.note("followed"))
        self._last_entry = last_entry or "0"
        known_incarnation = await self._journal.do(lambda journal: journal.note("incarnation"))
        incarnation, workers = await self._queue.inspect()
        self._incarnation = known_incarnation or ""
        recovered = 0
        if not known_incarnation:  # jobs in flight were not handed over: a local run that died had sent them
            recovered = await self._journal.do(self._recover)
        while await self._record_updates(wait=0.0):
            pass
        await self._resubmit(incarnation, is_lost=bool(known_incarnation) and known_incarnation != incarnation)
        await self._journal.do(lambda journal: journal.clamp_due_times(now=self._steady()))
        self._update_lanes(workers)
        return recovered + sum(len(lane.handed_over) for lane in self._lanes.values())

    def _recover(self, journal: Journal) -> int:
        return sum(
            journal.recover(lane_id, repeatable=lane.action_type.repeatable, due=self._steady(), now=time.time())
            for lane_id, lane in self._lanes.items()
        )

    async def run(self) -> None:
        """Hand jobs over and record updates until all jobs have ended, or until stopped.

        Raises ``JournalError``, and ``AuthenticationError`` if all workers report that the keys are refused.
        """
        self._updated_at = asyncio.get_running_loop().time()
        has_more = True
        while not self._is_stopping and (has_more or self._has_handed_over) and not self._only_deferred_left:
            count, has_more = await self._hand_over()
            await self._inspect()
            await self._record_updates(wait=0.0 if count else UPDATE_WAIT)
        if not has_more and not self._has_handed_over:
            await self._queue.delete_updates(self._run_name)

    def stop(self) -> None:
        """Hand over no more jobs; ``run`` returns soon. The workers go on with the jobs that they have."""
        self._is_stopping = True

    async def deferred(self) -> Mapping[Lane, DeferredJobs]:
        """Return the deferred jobs of each lane that has any."""
        return {
            lane.lane: DeferredJobs(
                count=len(lane.deferred), first_due=min(lane.deferred.values()), last_due=max(lane.deferred.values())
            )
            for lane in self._lanes.values()
            if lane.deferred
        }

    @property
    def _only_deferred_left(self) -> bool:
        """Whether the run does not wait for deferred jobs and no others are left. The workers will make their calls."""
        if self._wait_for_deferred or not self._has_handed_over:
            return False
        limit = time.time() + MAX_WAIT_FOR_DEFERRED
        return all(
            lane.deferred.get(job_id, 0.0) > limit for lane in self._lanes.values() for job_id in lane.handed_over
        )

    @property
    def _has_handed_over(self) -> bool:
        """Whether the workers have any jobs."""
        return any(lane.handed_over for lane in self._lanes.values())

    # Inspecting the queue

    async def _inspect(self) -> None:
        """Check periodically whether the queue still has its data, and what the workers report."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._inspect_at:
            return
        self._inspect_at = loop.time() + INSPECT_INTERVAL
        incarnation, workers = await self._queue.inspect()
        if incarnation != self._incarnation:
            text = "the queue has restarted, and may have lost jobs: those of this run are submitted again"
            LogEvent.QUEUE_LOST_DATA.log(text, queue=self._queue.name)
            await self._resubmit(incarnation, is_lost=True)
        elif self._has_handed_over and loop.time() > self._updated_at + RESUBMIT_INTERVAL:
            self._updated_at = loop.time()
            await self._resubmit(incarnation, is_lost=True)
        elif self._last_entry != "0":
            await self._queue.trim_updates(self._run_name, self._last_entry)
        self._update_lanes(workers)
        for lane in self._lanes.values():
            if lane.pause_reason is not None and lane.is_refused_since(loop.time() - REFUSED_KEYS_TIMEOUT):
                raise lane.pause_reason

    def _update_lanes(self, workers: Sequence[WorkerStatus]) -> None:
        now = asyncio.get_running_loop().time()
        for lane in self._lanes.values():
            lane.update(workers, now=now)

    async def _resubmit(self, incarnation: str, *, is_lost: bool) -> None:
        """Submit all jobs again that the workers have. ``is_lost``: the queue may have lost some of them."""
        after = 0
        while jobs := await self._journal.do(partial(Journal.handed_over, after=after, limit=HAND_OVER_BATCH)):
            known = [job for job in jobs if job.lane_id in self._lanes]
            if await self._submit(known, incarnation, is_lost=is_lost) is not None:
                incarnation, _ = await self._queue.inspect()
                is_lost, after = True, 0
                continue
            after = jobs[-1].id
        if incarnation != self._incarnation:
            self._last_entry = "0"  # the stream of the new data may start with smaller ids
            self._incarnation = incarnation
            await self._journal.do(partial(_save_incarnation, incarnation=incarnation), durable=True)

    async def _submit(self, jobs: Sequence[HandedOverJob], incarnation: str, *, is_lost: bool) -> bool | None:
        """Submit jobs. Those that were submitted before are the same jobs to the queue.

        Return None if this succeeded. If the queue's data are not those of ``incarnation`` any more, nothing was done
        to the new data; return whether nothing was done to the previous data either.
        """
        lanes = self._lanes
        submissions = [
            Submission(
                job.key,
                lanes[job.lane_id].lane,
                job.parameters,
                f"{self._run_name}:{job.id}:{_listed_at(job)}",
                job.line,
                must_exist=not lanes[job.lane_id].action_type.repeatable and (is_lost or self._may_be_expired(job)),
                maybe_sent=bool(job.maybe_sent) or (is_lost and lanes[job.lane_id].action_type.repeatable),
                traceparent=job.traceparent,
            )
            for job in jobs
        ]
        results, is_first_attempt = await self._queue.submit(submissions, incarnation=incarnation)
        if results is None:
            return is_first_attempt
        for job, result in zip(jobs, results, strict=True):
            if not result.exists:
                self._record(job, EndedAttempt(QUEUE_LOST_JOB, job.attempts, 0.0, None, None, time.time()))
                continue
            lane = self._lanes[job.lane_id]
            lane.handed_over.add(job.id)
            if result.due_in is not None:
                lane.deferred[job.id] = time.time() + result.due_in
        return None

    def _may_be_expired(self, job: HandedOverJob) -> bool:
        """Return whether a job was handed over so long ago that the queue may no longer keep its outcome."""
        return job.sent is not None and time.time() > job.sent + self._queue.keep / 2

    async def _hand_over(self) -> tuple[int, bool]:
        """Hand over some jobs of each lane; return their number, and whether the journal has more, due now or later."""
        count, has_more = 0, False
        for lane_id, lane in self._lanes.items():
            now = time.time()
            lane.deferred = {job_id: due for job_id, due in lane.deferred.items() if due > now}
            limit = min(HAND_OVER_BATCH, lane.capacity)
            if limit <= 0:
                has_more = True
                continue
            jobs, next_due = await self._journal.do(
                partial(Journal.hand_over, lane_id=lane_id, limit=limit, due=self._steady(), now=now),
                durable=not lane.action_type.repeatable,
            )
            jobs = [job._replace(sent=None) for job in jobs]  # the journal's value is of an earlier submission
            is_undone = await self._submit(jobs, self._incarnation, is_lost=False) if jobs else None
            if is_undone is not None:
                self._inspect_at = 0.0  # that resubmits all jobs
                ids = [job.id for job in jobs]
                if is_undone:
                    await self._journal.do(partial(Journal.give_back, ids=ids, attempts=0))
                else:
                    lane.handed_over |= set(ids)
            count += len(jobs)
            has_more = has_more or bool(jobs) or next_due is not None
            lane.is_finished = not jobs and next_due is None and not lane.handed_over
        return count, has_more

    # Recording updates

    async def _record_updates(self, *, wait: float) -> int:
        """Record the updates that have come; if there are none, wait for some seconds. Return their number."""
        entries = await self._queue.read_updates(self._run_name, self._last_entry, wait=wait)
        if entries:
            ids = [update.row_id for _, update in entries]
            jobs = {job.id: job for job in await self._journal.do(partial(Journal.handed_over_by_id, ids=ids))}
            for _, update in entries:
                job = jobs.get(update.row_id)
                if job is None or job.lane_id not in self._lanes or not _is_current(update, job):
                    continue
                self._record(job, update.ended)
                if update.ended.outcome.state.has_ended:
                    del jobs[job.id]
            self._last_entry = entries[-1][0]
            self._updated_at = asyncio.get_running_loop().time()
            await self._journal.do(partial(Journal.note, name="followed", value=self._last_entry))
        return len(entries)

    def _record(self, job: HandedOverJob, ended: EndedAttempt) -> None:
        """Record an attempt that has ended."""
        lane, outcome = self._lanes[job.lane_id], ended.outcome
        is_deferred = outcome.state is JobState.PENDING
        if is_deferred:
            lane.deferred[job.id] = ended.due
        else:
            lane.deferred.pop(job.id, None)
            lane.handed_over.discard(job.id)
        due_job = DueJob(job.id, job.key, job.parameters, ended.attempts, job.maybe_sent, job.code, job.line)
        # A deferred job stays with the workers, so to the journal it is still in flight.
        recorded = outcome._replace(state=JobState.SENT, wait=0.0) if is_deferred else outcome
        self._journal.record_attempt(due_job, job.lane_id, ended._replace(outcome=recorded))
        due = ended.due if is_deferred else None
        self._on_event(JobEvent(lane.lane, ended.attempts, due, lane.action_type, due_job, outcome))


def _load_run_name(journal: Journal, new_name: str) -> str:
    """Return the name of the run, which the journal keeps."""
    return journal.note("follower") or journal.note("follower", new_name) or new_name


def _save_incarnation(journal: Journal, *, incarnation: str) -> None:
    journal.note("incarnation", incarnation)
    journal.note("followed", "0")


def _listed_at(job: HandedOverJob) -> str:
    """Return when a job was listed. A job that is listed again after its end has another time."""
    return f"{job.created:.6f}"


def _is_current(update: JobUpdate, job: HandedOverJob) -> bool:
    """Return whether an update is about the latest listing of a job, not about an earlier one that has ended."""
    return update.listed_at == _listed_at(job)
