"""Jobs on many machines: streaq carries them over Redis or Valkey, the workers share the quotas.

streaq queues, delays, repeats after a wait, and hands the tasks of a dead worker to another. What is added here: an
action travels as JSON, never as a pickle; the key of a job is the id of its task, so that the same job is not queued
twice; each outcome is kept under the key, for whoever asks, and told to the run that follows it, if there is one.
https://streaq.readthedocs.io
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self

from anyio import CancelScope, move_on_after
from streaq import StreaqRetry

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError
from volc_moderation.jobs.attempt import Attempt, attempt
from volc_moderation.jobs.clients import Clients, write
from volc_moderation.jobs.event import shown
from volc_moderation.jobs.job import Job, JobState, Lane, check_delay, key_of
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.jobs.streaq_queue import count_workers, end_within, hand_back, make_worker, queue_faults
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

#: Seconds after which a worker that is not heard of is taken for dead, and its tasks go to others.
IDLE = 15.0
#: Seconds that a worker has to finish what is in flight when it is asked to stop.
GRACE = 15
#: Seconds until another look while the vendor cannot be reached or the keys are refused.
OUTAGE = (5.0, 15.0)
#: Seconds between two looks of one who waits for a job.
LOOK = 0.25
WEEK = 7 * 86_400


#: Opens a job unless one with its key has not ended; returns the number of its run. A task's id has that number, for
#: streaq forgets a task shortly after its outcome is kept, and would until then take the next run for the same.
_OPEN = """
local run, known = 1, redis.call('GET', KEYS[1])
if known then
    local job = cjson.decode(known)
    if job.state == 'pending' or job.state == 'sent' then return job.run end
    run = job.run + 1
end
local fresh = string.gsub(ARGV[1], '"run":1}$', '"run":' .. run .. '}')
redis.call('SET', KEYS[1], fresh, 'EX', ARGV[2])
return run
"""


class Ticket(NamedTuple):
    """A job on its way to the workers."""

    key: str
    lane: Lane
    parameters: str
    #: Where it stood in a file; its row in the journal that follows it; and that journal's stream.
    line: int | None = None
    row: int = 0
    follower: str = ""


class DistributedJobs:
    """Jobs that any worker of a queue makes, as ``async with DistributedJobs("redis://…", clients=[…]) as jobs``.

    Whoever submits needs the clients only to know the accounts; the workers make the calls, and need clients whose
    ``quotas`` are ``RedisQuotas``, lest each uses the whole quota.

    :param redis: address of the Redis (7 or later) or Valkey that has the queue.
    :param clients: what makes the calls; whoever made them closes them.
    :param queue: its name; different queues know nothing of each other.
    :param retry: how often a job is attempted; by default as its client says.
    :param priority: of the calls where they wait for a quota with others.
    :param concurrency: calls in flight of one worker, those that wait for a permit included.
    :param keep: seconds for which the outcome of a job is kept.
    :param clock: returns the Unix time.
    """

    def __init__(
        self,
        redis: str,
        *,
        clients: Sequence[Client],
        queue: str = "moderation",
        retry: RetryPolicy | None = None,
        priority: Priority = "bulk",
        concurrency: int = 32,
        keep: int = WEEK,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clients = Clients(clients)
        self._retry = retry
        self._priority = priority
        self._keep = keep
        self._clock = clock
        self._prefix = f"volc_moderation:{queue}:"
        #: Jobs that a worker gave back to the queue when it ended.
        self.handed_back = 0
        #: What goes on even if who asked for it is cancelled.
        self._queueing: set[asyncio.Task[None]] = set()
        worker = make_worker(
            redis,
            concurrency=concurrency,
            queue_name=f"volc_moderation:{queue}",
            serializer=_dump,
            deserializer=json.loads,
            idle_timeout=IDLE,
            grace_period=GRACE,
            lifespan=self._hand_back_at_the_end,
        )
        if isinstance(worker, ConfigurationError):
            redis = ""  # a traceback shows it
            raise worker
        self._worker = worker
        register = self._worker.task(name="call", max_tries=None, silent=True, ttl=timedelta(seconds=1))
        self._task = register(self._perform)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        with queue_faults():
            await self._stack.enter_async_context(self._worker)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._queueing, return_exceptions=True)
        await self._stack.aclose()

    async def work(self) -> None:
        """Be a worker, until SIGINT or SIGTERM, or until this is cancelled.

        What is in flight is finished then, for up to 15 s; what was taken from the queue and not begun is handed back,
        and is at the disposal of the other workers at once: ``handed_back`` tells how many jobs that were.

        Raises ``JournalError`` if the queue cannot be reached.
        """
        with queue_faults():
            working = asyncio.get_running_loop().create_task(self._worker.run_async())
            try:
                await asyncio.shield(working)
            except asyncio.CancelledError:
                end_within(self._worker, GRACE)
                working.cancel()
                await asyncio.wait([working])
                raise

    # Submitting and asking

    async def submit(self, action: Action[Any], *, delay: float = 0.0, client: Client | None = None) -> str:
        """Queue a call, and return its key. A job with the same key that has not ended is the same job.

        ``delay``: seconds before it is made, up to a year. ``client`` says which of several makes it.

        Raises ``ConfigurationError`` if no client makes the call, or the delay is none.
        """
        check_delay(delay)
        lane = self.clients.lane_of(action, client)
        ticket = Ticket(key_of(lane, action), lane, write(action))
        await self.submit_all([ticket], delay=delay)
        return ticket.key

    async def submit_all(self, tickets: Sequence[Ticket], *, delay: float = 0.0) -> None:
        """Queue many calls at once. Raises ``JournalError`` if the queue cannot be reached.

        If this is cancelled, they are queued all the same: a job that was opened and not queued would never be made.
        """
        queueing = asyncio.get_running_loop().create_task(self._queue(tickets, delay))
        self._queueing.add(queueing)
        queueing.add_done_callback(self._queued)
        await asyncio.shield(queueing)

    def _queued(self, queueing: "asyncio.Task[None]") -> None:
        self._queueing.discard(queueing)
        if not queueing.cancelled():
            queueing.exception()  # raised where it is waited for, if anybody still does

    async def _queue(self, tickets: Sequence[Ticket], delay: float) -> None:
        now = self._clock()
        with queue_faults():
            async with self._worker.redis.pipeline(transaction=False) as pipe:
                runs = [
                    pipe.eval(_OPEN, [self._prefix + ticket.key], [_dump(_fresh(ticket, now)), self._keep])
                    for ticket in tickets
                ]
            tasks = []
            for ticket, run in zip(tickets, runs, strict=True):
                number = int(str(await run))
                task = self._task.enqueue(*ticket, number)
                task.id = f"{ticket.key}.{number}"
                tasks.append(task.start(delay=timedelta(seconds=delay)) if delay else task)
            await self._worker.enqueue_many(tasks)

    async def status(self, key: str) -> Job | None:
        """Return how it stands with a job; None if there is none with this key, or it ended too long ago."""
        with queue_faults():
            return _job(await self._worker.redis.get(self._prefix + key))

    async def wait(self, key: str) -> Job:
        """Wait until a job has ended, and return it. Raises ``KeyError`` if there is none."""
        while True:
            job = await self.status(key)
            if job is None:
                raise KeyError(key)
            if job.state.has_ended:
                return job
            await asyncio.sleep(LOOK)

    async def outcomes(self, follower: str, after: str, *, wait: float) -> list[tuple[str, dict[str, Any]]]:
        """Return what became of the jobs of a follower since the entry ``after``, with the ids of the entries."""
        with queue_faults():
            found = await self._worker.redis.xread(
                {self._prefix + follower: after}, count=500, block=max(1, int(wait * 1000))
            )
        entries = (found or {}).get(self._prefix + follower, ())
        return [(str(entry.identifier), json.loads(entry.field_values["job"])) for entry in entries]

    async def forget(self, follower: str) -> None:
        """Remove what was told to a follower."""
        with queue_faults():
            await self._worker.redis.delete([self._prefix + follower])

    async def workers(self) -> int:
        """Return how many workers have been heard of in the last 15 s."""
        with queue_faults():
            return await count_workers(self._worker)

    # In a worker

    @asynccontextmanager
    async def _hand_back_at_the_end(self) -> AsyncIterator[None]:
        """Give back what this worker has taken from the queue and not begun, rather than let it wait for long."""
        try:
            yield
        finally:
            with move_on_after(IDLE, shield=True), queue_faults():
                self.handed_back = await hand_back(self._worker)

    async def _perform(  # noqa: PLR0917 - a task's arguments travel as a list
        self, key: str, lane: Sequence[str], parameters: str, line: int | None, row: int, follower: str, run: int
    ) -> None:
        """Make one attempt, keep what became of it, and have streaq repeat it later if it is not over."""
        ticket = Ticket(key, Lane._make(lane), parameters, line, row, follower)
        redis = self._worker.redis
        known = await redis.get(self._prefix + key)
        job = json.loads(known) if known else _fresh(ticket, self._clock()) | {"run": run}
        if job["run"] != run or JobState(job["state"]).has_ended:
            return  # a worker died between its outcome and telling streaq
        unsent = _dump(job)
        was_sent = job["state"] == JobState.SENT
        job.update(state=JobState.SENT.value, attempts=job["attempts"] + 1, sent=self._clock(), line=line)
        try:
            client, made = self.clients.maker_of(ticket.lane)
        except ConfigurationError as error:
            outcome = Outcome(JobState.FAILED, code=type(error).__name__, message=error.message)
            await self._tell(ticket, job, Attempt(outcome, error, 0.0, 0.0), None)
            return
        if was_sent and not made.repeatable:
            message = "a worker died while the call was on its way; whether it was carried out is not known"
            outcome = Outcome(JobState.FAILED, maybe_sent=True, code="Interrupted", message=message)
            await self._tell(ticket, job, Attempt(outcome, None, 0.0, 0.0), made)
            return
        await redis.set(self._prefix + key, _dump(job), ex=self._keep)
        has_left = False

        def leave() -> None:
            nonlocal has_left
            has_left = True

        try:
            ended = await attempt(
                parameters,
                ticket.lane,
                client=client,
                made=made,
                attempts=job["attempts"],
                maybe_sent=was_sent or job["maybe_sent"],
                last_code=job["code"],
                policy=self._retry,
                priority=self._priority,
                on_send=leave,
            )
        except asyncio.CancelledError:
            if not has_left:  # it waited for a permit: whoever has it next may make it
                with CancelScope(shield=True):
                    await redis.set(self._prefix + key, unsent, ex=self._keep)
            raise
        await self._tell(ticket, job, ended, made)
        if ended.outcome.state is JobState.PENDING:
            wait = ended.outcome.wait
            if not ended.outcome.counts and ended.outcome.is_outage:
                wait = random.uniform(*OUTAGE)  # noqa: S311 - jitter
            raise StreaqRetry(delay=timedelta(seconds=wait))

    async def _tell(self, ticket: Ticket, job: dict[str, Any], ended: Attempt, made: type[Action[Any]] | None) -> None:
        """Keep what became of an attempt under the key, and tell it to the follower.

        What is kept of a job that has ended is for people to look at: without the tokens of users.
        """
        outcome, now = ended.outcome, self._clock()
        if made is not None and outcome.state.has_ended:
            job["parameters"] = _dump(shown(made, json.loads(ticket.parameters)))
        job.update(
            state=outcome.state.value,
            due=now + outcome.wait,
            attempts=job["attempts"] if outcome.counts else job["attempts"] - 1,
            maybe_sent=outcome.maybe_sent,
            was_gone=outcome.was_gone,
            code=outcome.code,
            message=outcome.message,
            request_id=outcome.request_id,
            result=outcome.result,
            ended=now if outcome.state.has_ended else None,
            round_trip=ended.round_trip,
            waited=ended.waited,
        )
        # In one breath: what is kept as ended is not made again, and so must have been told.
        async with self._worker.redis.pipeline(transaction=True) as pipe:
            pipe.set(self._prefix + ticket.key, _dump(job), ex=self._keep)
            if ticket.follower:
                told = job | {"row": ticket.row, "now": now, "advice": outcome.advice}
                pipe.xadd(self._prefix + ticket.follower, {"job": _dump(told)})
                pipe.expire(self._prefix + ticket.follower, self._keep)


def _dump(value: object) -> str:
    # What streaq stores of an exception of its own has no JSON; its text will do.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _fresh(ticket: Ticket, now: float) -> dict[str, Any]:
    """Return a job of which no attempt was made, as it is kept."""
    return {
        "key": ticket.key,
        "lane": ticket.lane,
        "parameters": ticket.parameters,
        "state": JobState.PENDING.value,
        "due": now,
        "attempts": 0,
        "maybe_sent": False,
        "was_gone": False,
        "code": None,
        "message": None,
        "request_id": None,
        "result": None,
        "line": ticket.line,
        "created": now,
        "sent": None,
        "ended": None,
        "round_trip": None,
        "waited": None,
        "run": 1,
    }


def _job(text: str | None) -> Job | None:
    if text is None:
        return None
    kept = json.loads(text)
    del kept["run"]
    kept["lane"] = Lane._make(kept["lane"])
    kept["state"] = JobState(kept["state"])
    kept["parameters"] = json.loads(kept["parameters"])
    kept["result"] = None if kept["result"] is None else json.loads(kept["result"])
    return Job(**kept)
