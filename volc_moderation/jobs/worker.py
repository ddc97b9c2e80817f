"""A worker: makes the jobs of a queue for which it has clients, beside as many others as there are.

Each lane is run as the lanes of a local journal are. What it takes is its own for as long as it is heard of: a worker
that stood still for too long sends nothing more of it.
"""

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from volc_moderation.action import Action  # noqa: TC001 - of a list that is made here
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, JournalError
from volc_moderation.jobs.attempt import AttemptLost
from volc_moderation.jobs.batch import Batch
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.job_event import redacted_parameters
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Ended
from volc_moderation.jobs.queue.records import Taken, Written, lane_of, load_row, name_of
from volc_moderation.jobs.queue.redis_queue import LEASE, Queue
from volc_moderation.jobs.runner import Runner
from volc_moderation.quotas.permit import Priority
from volc_moderation.quotas.shared_permit import boot_time
from volc_moderation.retry import RetryPolicy
from volc_moderation.wire import dump_json, load_json

#: Seconds between two signs of life; and before the end of its lease from which on nothing is sent any more.
BEAT, MARGIN = 3.0, 3.0
#: Seconds that a worker has to finish what is in flight when it is asked to stop.
GRACE = 15.0
#: Seconds that an outcome waits to be written down together with others.
LINGER = 0.01

_log = logging.getLogger("volc_moderation")


class Worker:
    """Runs the lanes of a queue. It is what ``LaneRunner`` calls its journal.

    :param concurrency: calls of one action in flight, those that wait for a permit included.
    """

    def __init__(
        self,
        queue: Queue,
        clients: Sequence[Client],
        *,
        retry: RetryPolicy | None,
        priority: Priority,
        concurrency: int,
        clock: Callable[[], float] = time.time,
        each_beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.id = secrets.token_hex(8)
        #: Jobs that were given back at the end.
        self.handed_back = 0
        self._queue = queue
        self._runner = Runner(
            self, clients, retry=retry, priority=priority, clock=clock, for_ever=True, concurrency=concurrency
        )
        self._each_beat = each_beat
        #: By the lane's number.
        self._lanes: list[Lane] = []
        self._action_types: list[type[Action[Any]]] = []
        #: By fence: the lane's number and the job of all that this worker has.
        self._held: dict[int, tuple[int, DueJob]] = {}
        #: When those steps began that take jobs and are not answered yet, on the loop's clock.
        self._taking: dict[asyncio.Task[object], float] = {}
        #: The last fence that this worker knows of: if the queue knows of none so late, its Redis has lost data.
        self._seen = 0
        #: Why outcomes, or jobs that were given back, could not be written down.
        self._fault: JournalError | None = None
        self._sending: Batch[Taken, bool] = Batch(self._mark)
        self._writing: Batch[Written, bool] = Batch(self._write, most=200, linger=LINGER)
        self._returning: Batch[Taken, bool] = Batch(self._return)
        #: When the queue last heard of this worker, on a clock that goes on while the machine sleeps.
        self._heard = 0.0
        self._is_stopping = asyncio.Event()
        self._beat_now = asyncio.Event()

    # Running

    def stop(self) -> None:
        """Take no more; ``run`` returns when what is in flight has ended."""
        self._is_stopping.set()

    def look(self, name: str) -> None:
        """Look into the queue: there is something in the lane of a name; or, without one, perhaps somewhere."""
        lane = lane_of(name)
        if lane is None:
            self._beat_now.set()
        else:
            self._serve(lane)

    async def run(self) -> None:
        """Work until stopped, or cancelled. Raises ``JournalError`` if the queue is lost for too long."""
        loop = asyncio.get_running_loop()
        running = loop.create_task(self._runner.run())
        beating = loop.create_task(self._beat())
        stopping = loop.create_task(self._is_stopping.wait())
        try:
            await asyncio.wait([running, beating, stopping], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await self._finish(running, beating)
        if self._fault is not None:
            raise self._fault
        for task in (running, beating):
            if not task.cancelled() and (fault := task.exception()) is not None:
                raise fault

    async def _finish(self, running: "asyncio.Task[None]", beating: "asyncio.Task[None]") -> None:
        """Let what is in flight end, and give back all that is left."""
        self._runner.stop()
        has_queue = not beating.done() and self._fault is None
        try:
            if not running.done():
                await asyncio.wait([running], timeout=GRACE)
        finally:
            for task in (running, beating, *self._taking):
                task.cancel()
            await asyncio.gather(running, beating, return_exceptions=True)
            if has_queue:
                leaving = asyncio.get_running_loop().create_task(self._leave())
                await asyncio.wait([leaving], timeout=LEASE)  # then the others take this one for dead anyway
                leaving.cancel()
                await asyncio.gather(leaving, return_exceptions=True)

    async def _leave(self) -> None:
        await self._writing.drain()
        await self._returning.drain()
        self.handed_back += await self._queue.leave(self.id)

    def _serve(self, lane: Lane) -> None:
        """Run a lane, or wake it, if a client makes its calls."""
        if lane not in self._lanes:
            try:
                _, action_type = self._runner.clients.client_for(lane)
            except ConfigurationError:
                return  # other workers have the keys
            self._lanes.append(lane)
            self._action_types.append(action_type)
            self._beat_now.set()
        if not self._is_stopping.is_set():
            self._runner.look(self._lanes.index(lane), lane)

    async def _beat(self) -> None:
        """Tell the queue that this worker is there, what it serves and holds, and look what there is to do."""
        loop = asyncio.get_running_loop()
        since, asked = 0, 0.0
        while True:
            self._beat_now.clear()
            began = boot_time()
            # An answer that is still on its way may tell of jobs from before the fence.
            is_sure = all(at > asked for at in self._taking.values())
            fence, lanes = await self._queue.beat(
                self.id, self._told(), held=list(self._held), since=since if is_sure else 0, seen=self._seen
            )
            since, asked = fence, loop.time()
            self._seen = max(self._seen, fence)
            self._each_beat()
            self._heard = max(self._heard, began)
            for lane, due in lanes:
                if due or lane not in self._lanes:
                    self._serve(lane)
            try:
                async with asyncio.timeout(BEAT):
                    await self._beat_now.wait()
            except TimeoutError:
                pass

    def _told(self) -> str:
        """Return what others are told: of each lane, what stands in its way, and its quota in calls per second."""
        told = {
            name_of(one.lane): (
                "" if one.pause_reason is None else type(one.pause_reason).__name__,
                str(one.pause_reason or ""),
                one.cap,
            )
            for one in self._runner.lanes
        }
        return json.dumps(told)

    # What the lanes ask for

    is_shared = True

    def take(
        self,
        lane: int,
        most: int,
        *,
        due: float,
        now: float,  # noqa: ARG002 - the queue has its own clock
        durable: bool,
    ) -> "asyncio.Future[tuple[list[DueJob], float | None]]":
        """Take jobs of a lane; ``durable`` if they must not be made twice."""
        loop = asyncio.get_running_loop()
        taking = loop.create_task(self._take(lane, most, due, is_once=durable))
        self._taking[taking] = loop.time()
        taking.add_done_callback(self._taking.pop)
        return taking

    async def _take(self, lane: int, most: int, due: float, *, is_once: bool) -> tuple[list[DueJob], float | None]:
        began = boot_time()
        found, wait = await self._queue.take(self.id, self._lanes[lane], most, once=is_once, seen=self._seen)
        self._heard = max(self._heard, began)
        rows = []
        for row in map(load_row, found):
            self._held[row.id] = lane, row
            self._seen = max(self._seen, row.id)
            rows.append(row)
        return rows, None if wait is None else due + wait

    async def before_send(self, row: DueJob) -> None:
        """Note that a request leaves if it must not be sent twice. Raises ``AttemptLost`` if it must not leave."""
        self._check_lease()
        lane, _ = self._held[row.id]
        if not self._action_types[lane].repeatable:
            if not await self._sending.ask(Taken(row.key, row.id)):
                raise AttemptLost
            self._check_lease()

    async def _mark(self, jobs: Sequence[Taken]) -> Sequence[bool]:
        found, fence = await self._queue.send(self.id, jobs)
        self._seen = max(self._seen, fence)
        return found

    def _check_lease(self) -> None:
        if boot_time() - self._heard > LEASE - MARGIN:
            raise AttemptLost

    def note(self, row: DueJob, lane: int, ended: Ended) -> None:
        """Note what became of an attempt. What is kept of a job that has ended holds no tokens of users."""
        kept = None
        if ended.outcome.state.has_ended:
            kept = dump_json(redacted_parameters(self._action_types[lane], load_json(row.parameters) or {})).decode()
            kept = None if kept == row.parameters else kept
        self._writing.ask(Written(Taken(row.key, row.id), ended, kept))

    async def _write(self, written: Sequence[Written]) -> Sequence[bool]:
        try:
            found, fence = await self._queue.record(self.id, written)
        except JournalError as error:
            if len(written) > 1 and not self._queue.is_away:  # whose fault it is shows when each is written alone
                alone = await asyncio.gather(*(self._write([one]) for one in written), return_exceptions=True)
                return [not isinstance(found, BaseException) and found[0] for found in alone]
            self._fail(error)
            raise
        self._seen = max(self._seen, fence)
        for one, is_own in zip(written, found, strict=True):
            self._held.pop(one.job.fence, None)
            if not is_own:
                _log.info(
                    "job %s was taken from this worker before it ended %s", one.job.key, one.ended.outcome.state.value
                )
        return found

    def _fail(self, fault: JournalError) -> None:
        """End: what this worker has and cannot write down is recovered by others when it is not heard of any more."""
        _log.error("what became of jobs could not be written down: %s", fault)
        self._fault = self._fault or fault
        self._is_stopping.set()

    def give_back(self, rows: Sequence[DueJob]) -> None:
        """Give jobs back of which nothing has left."""
        for row in rows:
            self._returning.ask(Taken(row.key, row.id))

    async def _return(self, jobs: Sequence[Taken]) -> Sequence[bool]:
        try:
            count = await self._queue.give_back(self.id, jobs)
        except JournalError as error:
            self._fail(error)
            raise
        for job in jobs:
            self._held.pop(job.fence, None)
        if self._is_stopping.is_set():
            self.handed_back += count
        return [True] * len(jobs)
