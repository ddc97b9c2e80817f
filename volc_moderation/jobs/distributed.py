"""Jobs on many machines: a queue in Redis or Valkey has them, workers make them, and share the quotas.

The queue is the journal of all workers (``queue.py``): a job is written down there before it is made, and only who has
it may change it. So a job is with one worker at a time, however many there are, stand still or die.
"""

import asyncio
import contextlib
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, JournalError, describe
from volc_moderation.jobs.batch import Batch
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Job, Lane, check_delay, key_of
from volc_moderation.jobs.queue.records import Ticket
from volc_moderation.jobs.queue.redis_queue import Queue, connect
from volc_moderation.jobs.worker import Worker
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

#: Seconds for which a Redis that is away is waited for.
RECONNECT = 120.0
#: Seconds after which whoever waits for a job looks at it, should nobody have told of its end.
RECHECK = 15.0
WEEK = 7 * 86_400

_LOST = "the queue was lost while a call was submitted that must not be made twice; whether it is made is not known"


class DistributedJobs:
    """Jobs that any worker of a queue makes, as ``async with DistributedJobs("redis://…", clients=[…]) as jobs``.

    Whoever submits needs the clients only to know the accounts; the workers make the calls, and need clients whose
    ``quotas`` are ``RedisQuotas``, lest each uses the whole quota. A worker takes the jobs of the accounts that it has
    clients of, and leaves the others to other workers.

    A job of a worker that dies is another's after 15 s. A call that may be repeated is made again then; one that must
    not be, such as a start at ZEGO, has failed with the code ``Interrupted`` if its request may have left. What else is
    promised is so only as long as the Redis keeps its data: see the README on what it needs.

    :param redis: address of the Redis (7 or later) or Valkey that has the queue.
    :param clients: what makes the calls; whoever made them closes them.
    :param queue: its name; different queues know nothing of each other.
    :param retry: how often a job is attempted; by default as its client says.
    :param priority: of the calls where they wait for a quota with others.
    :param concurrency: calls of one action that a worker has in flight, those that wait for a permit included.
    :param keep: seconds for which a job that has ended is kept.
    :param reconnect: seconds for which a Redis that is away is waited for, after it was reached once.
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
        reconnect: float = RECONNECT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        client = connect(redis)
        redis = ""  # a traceback shows it
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
        self._given = clients
        self._retry = retry
        self._priority = priority
        self._concurrency = concurrency
        self._clock = clock
        self.queue = Queue(client, queue, keep=keep, reconnect=reconnect)
        #: Jobs that a worker gave back to the queue when it ended.
        self.handed_back = 0
        self._incarnation: str | None = None
        self._is_closed = False
        self._opening: Batch[Ticket, str | None] = Batch(self._open)
        self._finding: Batch[str, Job | None] = Batch(self.queue.find)
        self._worker: Worker | None = None
        self._listening: asyncio.Task[None] | None = None
        #: By key; each is told that the job may have ended.
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    async def __aenter__(self) -> Self:
        if self._incarnation is not None:
            raise ConfigurationError("DistributedJobs were entered before; make new ones")
        self._loop = asyncio.get_running_loop()
        try:
            self._incarnation, _ = await self.queue.look(is_first=True)
        except BaseException:
            await self.queue.aclose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._opening.drain()
        finally:
            await self._close()

    def _check_open(self) -> None:
        if self._incarnation is None or self._is_closed:
            raise ConfigurationError("DistributedJobs are used as: async with DistributedJobs(…) as jobs")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("these DistributedJobs belong to another event loop; make one per loop")

    async def _close(self) -> None:
        self._is_closed = True
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self.queue.aclose()

    # Submitting and asking

    async def submit(self, action: Action[Any], *, delay: float = 0.0, client: Client | None = None) -> str:
        """Queue a call, and return its key. A job with the same key that has not ended is the same job.

        ``delay``: seconds before it is made, up to a year. ``client`` says which of several makes it. If this is
        cancelled, the call may have been queued; then it is made.

        Raises ``ConfigurationError`` if no client makes the call, or the delay is none; ``JournalError`` if the queue
        cannot be reached for ``reconnect`` seconds: then the call may have been queued, too.
        """
        self._check_open()
        check_delay(delay)
        lane = self.clients.lane_of(action, client)
        key = key_of(lane, action)
        # A token of its own: if the connection is lost, the job is asked for again, and is not another one.
        fault = await self._opening.ask(Ticket(key, lane, dump_action(action), f"-{secrets.token_hex(8)}", delay=delay))
        if fault is not None:
            raise JournalError(fault)
        return key

    async def _open(self, tickets: Sequence[Ticket]) -> Sequence[str | None]:
        """Open jobs; return of each what went wrong."""
        faults: dict[int, str] = {}
        while True:
            left = [number for number in range(len(tickets)) if number not in faults]
            asked = [tickets[number] for number in left]
            answers, is_first = await self.queue.submit(asked, incarnation=self._incarnation)
            if answers is not None:
                return [faults.get(number) for number in range(len(tickets))]
            # Other data than before. What was asked for once only was not done; the rest may have been, and be lost.
            self._incarnation, _ = await self.queue.look()
            if not is_first:
                faults |= {number: _LOST for number in left if not self._is_repeatable(tickets[number].lane)}

    def _is_repeatable(self, lane: Lane) -> bool:
        return self.clients.client_for(lane)[1].repeatable

    async def status(self, key: str) -> Job | None:
        """Return how it stands with a job; None if there is none with this key, or it ended too long ago."""
        self._check_open()
        return await self._finding.ask(key)

    async def wait(self, key: str) -> Job:
        """Wait until a job has ended, and return it.

        Raises ``KeyError`` if there is none, ``JournalError`` if the queue is lost, or has lost the job.
        """
        self._check_open()
        is_known = False
        while True:
            self._start_listening()
            woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(key, set()).add(woken)
            try:
                job = await self.status(key)
                if job is None:
                    raise JournalError("the queue has lost the job") if is_known else KeyError(key)
                if job.state.has_ended:
                    return job
                is_known = True
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK):
                        await woken
            finally:
                self._waiters[key].discard(woken)
                if not self._waiters[key]:
                    del self._waiters[key]

    async def workers(self) -> int:
        """Return how many workers have been heard of in the last 15 s."""
        self._check_open()
        _, workers = await self.queue.look()
        return len(workers)

    async def risks(self) -> list[str]:
        """Return, in words, what the Redis may forget of the jobs by its settings; none if it is set up for them."""
        return await self.queue.risks()

    def _start_listening(self) -> None:
        """Hear what the queue tells everybody: one subscription for all that wait, and for the worker."""
        if self._listening is None or self._listening.done():
            self._listening = asyncio.get_running_loop().create_task(self._listen())

    async def _listen(self) -> None:
        fault: JournalError | None = None
        try:
            async with contextlib.aclosing(self.queue.listen()) as heard:
                async for channel, text in heard:
                    self._hear(channel, text)
        except JournalError as error:
            fault = error
        finally:
            for key in list(self._waiters):
                self._wake(key, fault)

    def _hear(self, channel: str, text: str) -> None:
        if channel == "ended":
            for key in text.split():
                self._wake(key)
        elif not channel:
            for key in list(self._waiters):
                self._wake(key)
        if self._worker is not None and channel != "ended":
            self._worker.look(text)

    def _wake(self, key: str, fault: JournalError | None = None) -> None:
        for woken in self._waiters.get(key, ()):
            if not woken.done():
                if fault is None:
                    woken.set_result(None)
                else:
                    woken.set_exception(fault)

    # In a worker

    async def work(self) -> None:
        """Be a worker, until SIGINT or SIGTERM, or until this is cancelled.

        What is in flight is finished then, for up to 15 s; what was taken from the queue and not begun is handed back,
        and is at the disposal of the other workers at once: ``handed_back`` tells how many jobs that were.

        Whatever keeps it from its work is logged, as ``volc_moderation``, and tried again: keys that are refused, a
        vendor that cannot be reached. Raises ``JournalError`` if the queue cannot be reached for ``reconnect`` seconds.
        """
        self._check_open()
        self._worker = worker = Worker(
            self.queue,
            self._given,
            retry=self._retry,
            priority=self._priority,
            concurrency=self._concurrency,
            clock=self._clock,
            each_beat=self._start_listening,
        )
        self._start_listening()
        try:
            with _signals(worker.stop):
                await worker.run()
        finally:
            self.handed_back += worker.handed_back
            self._worker = None


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` at the first SIGINT or SIGTERM; a second one does what it does anyway."""
    loop = asyncio.get_running_loop()
    heard: list[signal.Signals] = []

    def hear() -> None:
        stop()
        for one in heard:
            loop.remove_signal_handler(one)
        heard.clear()

    for one in (signal.SIGINT, signal.SIGTERM):
        # Not on Windows, and not in a thread of its own: there, whoever runs it cancels it.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(one, hear)
            heard.append(one)
    try:
        yield
    finally:
        for one in heard:
            loop.remove_signal_handler(one)
