"""Jobs on many machines: a queue in Redis or Valkey holds them, workers make the calls and share the quotas.

The queue is the journal of all workers (``queue/redis_queue.py``). A call is stored there before it is sent, and only
the worker that has claimed the job may change it. So one worker at a time has a job, however many workers there are,
freeze or die.
"""

import asyncio
import contextlib
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self, TypeVar, overload

from volc_moderation import telemetry
from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, JournalError, describe
from volc_moderation.jobs.batch import Batch
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Job, Lane, StoredJob, check_delay, key_of
from volc_moderation.jobs.job_handle import JobHandle
from volc_moderation.jobs.queue.records import Submission
from volc_moderation.jobs.queue.redis_queue import RedisQueue, queue_client
from volc_moderation.jobs.worker import Worker
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

__all__ = ["DistributedJobs"]

R = TypeVar("R")

#: Seconds for which requests are repeated while the Redis is unreachable.
RECONNECT_TIMEOUT = 120.0
#: Seconds after which ``wait`` checks a job, in case the notification of its end was lost.
RECHECK_INTERVAL = 15.0
WEEK = 7 * 86_400  # seconds

_CLOSED = "the jobs were closed; the workers go on with those that have not ended"
_MAYBE_SUBMITTED = (
    "the queue lost its data while a call was submitted that must not be repeated; whether the call is made is not"
    " known"
)


class DistributedJobs:
    """Jobs for the workers of a queue, as ``async with DistributedJobs("redis://…", clients=[…]) as jobs``.

    A program that submits needs the clients only to know the accounts. The workers make the calls; their clients need
    ``RedisQuotas`` as ``quotas``, or each worker would use the whole quota. A worker takes the jobs of the accounts
    that it has clients for, and leaves the others to other workers.

    15 s after a worker has died, other workers get its jobs. They repeat calls that may be repeated. A call that must
    not be repeated, such as a start at ZEGO, fails with the code ``Interrupted`` if its request may have left. These
    promises hold as long as the Redis keeps its data; ``docs/distributed.md`` lists the settings for that.

    :param redis: address of the Redis (7 or later) or Valkey that holds the queue.
    :param clients: make the calls; this does not close them.
    :param queue: name of the queue. Different queues share nothing.
    :param retry: how often a job is attempted; by default the policy of its client.
    :param priority: of the calls among all that wait for the same quota.
    :param concurrency: the largest number of calls of one action that a worker has in flight, including those that wait
        for a permit.
    :param keep: seconds for which a job is kept after it has ended.
    :param reconnect: seconds for which requests are repeated while the Redis is unreachable, except for the first one.
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
        reconnect: float = RECONNECT_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        client = queue_client(redis)
        redis = ""  # a traceback would show it
        if isinstance(client, ConfigurationError):
            raise ConfigurationError(client.message.replace("client must", "redis must"))
        if not isinstance(queue, str) or not queue or "{" in queue or "}" in queue:
            raise ConfigurationError(f"queue must be a name without braces; got {describe(queue)}")
        for name, number in (("concurrency", concurrency), ("keep", keep)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 1:
                raise ConfigurationError(f"{name} must be an int of at least 1; got {describe(number)}")
        if isinstance(reconnect, bool) or not isinstance(reconnect, (int, float)) or not reconnect >= 0:
            raise ConfigurationError(f"reconnect must be a number of seconds of at least 0; got {describe(reconnect)}")
        self.clients = Clients(clients)
        self._worker_clients = clients
        self._retry = retry
        self._priority = priority
        self._concurrency = concurrency
        self._clock = clock
        self.queue = RedisQueue(client, queue, keep=keep, reconnect=reconnect)
        #: Number of jobs that ``work`` gave back to the queue when it ended.
        self.handed_back = 0
        self._incarnation: str | None = None
        self._is_closed = False
        self._submissions: Batch[Submission, str | None] = Batch(self._submit)
        self._lookups: Batch[str, StoredJob | None] = Batch(self.queue.find)
        #: Listen to notifications: of jobs that have ended, for those who wait; of due jobs, for the worker.
        self._listening: asyncio.Task[None] | None = None
        self._listening_for_work: asyncio.Task[None] | None = None
        self._worker: Worker | None = None
        #: By key: futures that end when the job may have ended.
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    async def __aenter__(self) -> Self:
        if self._incarnation is not None:
            raise ConfigurationError("DistributedJobs were entered before; make new ones")
        self._loop = asyncio.get_running_loop()
        try:
            await self.clients.resolve_accounts()
            self._incarnation, _ = await self.queue.inspect(is_first=True)
        except BaseException:
            await self.queue.aclose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._submissions.drain()
        finally:
            await self._close()

    def _check_open(self) -> None:
        if self._incarnation is None:
            raise ConfigurationError("DistributedJobs are used as: async with DistributedJobs(…) as jobs")
        if self._is_closed:
            raise JournalError(_CLOSED)
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("these DistributedJobs belong to another event loop; make one per loop")

    async def _close(self) -> None:
        self._is_closed = True
        for listening in (self._listening, self._listening_for_work):
            if listening is not None:
                listening.cancel()
                await asyncio.wait([listening])
        await self.queue.aclose()

    # For producers

    async def submit(self, action: Action[R], *, delay: float = 0.0, client: Client | None = None) -> JobHandle[R]:
        """Queue a call. If a job with the same key has not ended, this is the same job.

        The handle that is returned is the job's key, and can be awaited: ``job = await handle``.

        ``delay``: seconds until the first attempt, up to a year. ``client``: which client makes the call, if several
        could. If this is cancelled, the call may have been queued; then it is made.

        Raises ``ConfigurationError`` if no client makes the call or the delay is invalid. Raises ``JournalError`` if
        the queue is unreachable for ``reconnect`` seconds; the call may have been queued then, too.
        """
        self._check_open()
        check_delay(delay)
        lane, action = self.clients.complete(action, client)
        key = key_of(lane, action)
        # The token is unique: if the connection is lost and the request is repeated, the queue recognizes it.
        token = f"-{secrets.token_hex(8)}"
        submission = Submission(key, lane, dump_action(action), token, delay=delay, traceparent=telemetry.traceparent())
        error_message = await self._submissions.add(submission)
        if error_message is not None:
            raise JournalError(error_message)
        return JobHandle(key, self)

    async def _submit(self, submissions: Sequence[Submission]) -> Sequence[str | None]:
        """Submit jobs; return for each an error message, or None."""
        error_messages: dict[int, str] = {}
        while True:
            remaining = [index for index in range(len(submissions)) if index not in error_messages]
            results, is_first_attempt = await self.queue.submit(
                [submissions[index] for index in remaining], incarnation=self._incarnation
            )
            if results is not None:
                return [error_messages.get(index) for index in range(len(submissions))]
            # The queue's data are not the expected ones. If only one request was sent, it did nothing. Of several, one
            # may have been carried out, and its effect lost with the data.
            self._incarnation, _ = await self.queue.inspect()
            if not is_first_attempt:
                error_messages |= {
                    index: _MAYBE_SUBMITTED for index in remaining if not self._is_repeatable(submissions[index].lane)
                }

    def _is_repeatable(self, lane: Lane) -> bool:
        return self.clients.client_for(lane)[1].repeatable

    @overload
    async def status(self, key: JobHandle[R]) -> Job[R] | None: ...
    @overload
    async def status(self, key: str) -> Job[object] | None: ...
    async def status(self, key: str) -> Job[object] | None:
        """Return a job; None if the queue has none with this key, also because it ended more than ``keep`` s ago."""
        stored = await self._find(key)
        return None if stored is None else self.clients.read_job(stored)

    async def _find(self, key: str) -> StoredJob | None:
        self._check_open()
        return await self._lookups.add(key)

    @overload
    async def wait(self, key: JobHandle[R]) -> Job[R]: ...
    @overload
    async def wait(self, key: str) -> Job[object]: ...
    async def wait(self, key: str) -> Job[object]:
        """Wait until a job has ended, and return it.

        Raises ``KeyError`` if there is no such job, or no longer, and ``JournalError`` if the queue is unreachable or
        loses the job, or if this is closed.
        """
        return self.clients.read_job(await self._wait(key))

    async def _wait(self, key: str) -> StoredJob:
        self._check_open()
        was_found = False
        while True:
            self._start_listening()
            notified: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(key, set()).add(notified)
            try:
                job = await self._find(key)
                if job is None:
                    raise JournalError("the queue has lost the job") if was_found else KeyError(key)
                if job.state.has_ended:
                    return job
                was_found = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK_INTERVAL):
                        await notified
            finally:
                self._waiters[key].discard(notified)
                if not self._waiters[key]:
                    del self._waiters[key]

    async def workers(self) -> int:
        """Return how many workers have been in contact with the queue in the last 15 s."""
        self._check_open()
        _, workers = await self.queue.inspect()
        return len(workers)

    async def risks(self) -> list[str]:
        """Return how the Redis may lose jobs because of its settings, in sentences; none if it is set up for them."""
        return await self.queue.risks()

    def _start_listening(self) -> None:
        """Subscribe to the ends of jobs, once for all waiters."""
        if self._listening is None or self._listening.done():
            self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        listen_error: JournalError | None = None
        try:
            async with contextlib.aclosing(self.queue.listen("ended")) as notifications:
                async for _, keys in notifications:
                    for key in keys.split() or list(self._waiters):
                        self._notify(key)
        except JournalError as error:
            listen_error = error
        finally:
            for key in list(self._waiters):
                self._notify(key, listen_error)

    def _start_listening_for_work(self, worker: Worker) -> None:
        """Subscribe to due jobs."""
        if self._listening_for_work is None or self._listening_for_work.done():
            self._listening_for_work = asyncio.get_running_loop().create_task(self._listen_for_work(worker))

    async def _listen_for_work(self, worker: Worker) -> None:
        with contextlib.suppress(JournalError):  # heartbeats find due jobs, too, and start this again
            async with contextlib.aclosing(self.queue.listen("work", f"work:{worker.id}")) as notifications:
                async for _, lane_name in notifications:
                    worker.wake(lane_name)

    def _notify(self, key: str, error: JournalError | None = None) -> None:
        for notified in self._waiters.get(key, ()):
            if not notified.done():
                if error is None:
                    notified.set_result(None)
                else:
                    notified.set_exception(error)

    # For workers

    async def work(self) -> None:
        """Be a worker, until SIGINT or SIGTERM, or until this is cancelled.

        Then the calls in flight are finished, for up to 15 s. Jobs that were taken and not sent go back to the queue
        and to other workers; ``handed_back`` is their number.

        While something prevents calls, such as refused keys or an unreachable vendor, the calls are retried
        periodically, and the reason is logged to ``volc_moderation``. Raises ``JournalError`` if the queue is
        unreachable for ``reconnect`` seconds.
        """
        self._check_open()
        self._worker = worker = Worker(
            self.queue,
            self._worker_clients,
            retry=self._retry,
            priority=self._priority,
            concurrency=self._concurrency,
            clock=self._clock,
            on_heartbeat=lambda: self._start_listening_for_work(worker),
        )
        self._start_listening_for_work(worker)
        try:
            with _stop_on_signals(worker.stop):
                await worker.run()
        finally:
            self.handed_back += worker.handed_back
            self._worker = None
            if self._listening_for_work is not None:
                self._listening_for_work.cancel()
                await asyncio.wait([self._listening_for_work])
                self._listening_for_work = None


@contextlib.contextmanager
def _stop_on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first SIGINT or SIGTERM. The second one has its usual effect."""
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []

    def remove_handlers() -> None:
        for number in handled:
            loop.remove_signal_handler(number)
        handled.clear()

    def on_signal() -> None:
        stop()
        remove_handlers()

    for number in (signal.SIGINT, signal.SIGTERM):
        # This fails on Windows and outside the main thread; there, the caller cancels the worker.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, on_signal)
            handled.append(number)
    try:
        yield
    finally:
        remove_handlers()
