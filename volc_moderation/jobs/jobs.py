"""Jobs in a program that goes on, such as a web app: submitted, written down, done in the background."""

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, JournalError
from volc_moderation.jobs.clients import dump_action
from volc_moderation.jobs.job import Job, JobState, check_delay, key_of
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread, open_journal
from volc_moderation.jobs.runner import LocalRunner
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

#: Events kept for one who reads them slowly; then the oldest go.
BACKLOG = 10_000
#: Seconds between two times that what was done long ago is removed.
SWEEP = 3600.0
WEEK = 7 * 86_400.0

_ENDED = "the jobs are no longer made in the background; what is left is done the next time"

_log = logging.getLogger("volc_moderation")


class Jobs:
    """Calls that must happen, as ``async with Jobs("stops.db", clients=[volcengine, zego]) as jobs``.

    What was submitted is made in the background at the quotas' full speed, repeated as the vendors recommend, and taken
    up again after a restart or a crash. Calls of different actions run beside each other, in no order. One program at a
    time may have the journal open.

    :param path: the journal, an SQLite file on a disk of this machine; it is made if it is not there.
    :param clients: what makes the calls; whoever made them closes them, after this.
    :param retry: how often a job is attempted; by default as its client says.
    :param priority: of the calls where they wait for a quota with others; by default behind those that somebody awaits.
    :param keep: seconds for which jobs that were done are kept; None for ever. Failed ones are kept.
    :param grace: seconds that the end of the block waits for calls in flight; what is left is done the next time.
    :param clock: returns the Unix time.

    A job whose call raises something that is no error of this package, such as one of your own transport's, has failed,
    and the others go on.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        clients: Sequence[Client],
        retry: RetryPolicy | None = None,
        priority: Priority = "bulk",
        keep: float | None = WEEK,
        grace: float = 15.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._clients = clients
        self._retry = retry
        self._priority = priority
        self._keep = keep
        self._grace = grace
        self._clock = clock
        self._journal: JournalThread | None = None
        self._is_closing = False
        #: By key; each is told that the job has ended (None), or why it will not be heard of any more.
        self._waiters: dict[str, list[asyncio.Future[str | None]]] = {}
        self._readers: list[tuple[deque[JobEvent], asyncio.Event]] = []

    async def __aenter__(self) -> Self:
        if self._journal is not None:
            raise ConfigurationError("Jobs were entered before; make new ones")
        self._loop = asyncio.get_running_loop()
        self._journal = await open_journal(partial(Journal, self._path))
        try:
            self._runner = LocalRunner(
                self._journal,
                self._clients,
                retry=self._retry,
                priority=self._priority,
                clock=self._clock,
                on_event=self._on_event,
                for_ever=True,
            )
            recovered = await self._runner.prepare()
        except BaseException:
            await self._journal.aclose()
            raise
        if recovered:
            _log.info("%d jobs were on their way when the last process ended", recovered)
        running = asyncio.create_task(self._runner.run(), name="jobs")
        running.add_done_callback(self._runner_ended)
        self._tasks = [running]
        if self._keep is not None:
            self._tasks.append(asyncio.create_task(self._forget(self._keep), name="jobs of long ago"))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._journal is not None  # noqa: S101 - set by __aenter__
        self._is_closing = True
        self._runner.stop()
        running, *others = self._tasks
        for task in others:
            task.cancel()
        try:
            await asyncio.wait([running], timeout=self._grace)
        finally:
            running.cancel()  # what has left stays marked as sent
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            try:
                await self._journal.aclose()
            finally:
                self._end_waiting("the jobs were closed; what is left is done the next time")
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _runner_ended(self, running: "asyncio.Task[None]") -> None:
        """Tell everybody who waits, if the runner ended for another reason than that the jobs are closed."""
        if not self._is_closing:
            fault = None if running.cancelled() else running.exception()
            _log.critical("jobs are no longer made: %s", type(fault).__name__ if fault else "cancelled", exc_info=fault)
            self._end_waiting(_ENDED)

    def _end_waiting(self, reason: str) -> None:
        for futures in self._waiters.values():
            for future in futures:
                if not future.done():
                    future.set_result(reason)
        for _, more in self._readers:
            more.set()
        self._readers = []

    async def submit(self, action: Action[Any], *, delay: float = 0.0, client: Client | None = None) -> str:
        """Write a call down, safe from a crash and a loss of power, and return its key; it is made in the background.

        A job with the same key that still waits is the same job. One that is on its way is done again, ``delay``
        seconds after it has ended, and so is one that has ended. ``delay``: seconds before it is made, up to a year.
        ``client`` says which of several makes it. If this is cancelled, the job may have been written down; then it is
        made.

        Steps of the machine's clock change nothing while this program runs. If the clock steps back while it is down,
        a job waits for its whole delay again; if ahead, it may be made at once.

        Raises ``JournalError`` if it cannot be written, and ``ConfigurationError`` if no client makes the call, or
        the delay is none.
        """
        journal, runner = self._opened()
        check_delay(delay)
        lane = runner.clients.lane_of(action, client)
        key, parameters, due, now = key_of(lane, action), dump_action(action), runner.steady() + delay, self._clock()

        def add(journal: Journal) -> int:
            number = journal.lane(lane)
            journal.submit(key, number, parameters, due=due, delay=delay, now=now)
            return number

        # Not after the wait: who is cancelled there has written the job down all the same.
        await journal.do(add, durable=True, then=lambda number: runner.look(number, lane))
        return key

    async def status(self, key: str) -> Job | None:
        """Return how it stands with a job; None if there is none with this key."""
        return await self._opened()[0].do(lambda journal: journal.find(key))

    async def counts(self) -> dict[JobState, int]:
        """Return how many jobs there are in each state."""
        return await self._opened()[0].do(Journal.counts)

    async def wait(self, key: str) -> Job:
        """Wait until a job has ended, well or badly, and return it.

        Raises ``KeyError`` if there is none with this key, ``JournalError`` if the jobs are closed before.
        """
        self._opened()
        while True:
            ended: asyncio.Future[str | None] = self._loop.create_future()
            self._waiters.setdefault(key, []).append(ended)
            try:
                job = await self.status(key)
                if job is None:
                    raise KeyError(key)
                if job.state.has_ended:
                    return job
                reason = await ended
                if reason is not None:
                    raise JournalError(reason)
            finally:
                self._waiters[key].remove(ended)
                if not self._waiters[key]:
                    del self._waiters[key]

    async def events(self) -> AsyncIterator[JobEvent]:
        """Tell, from now on, of each job that ended or was put off.

        For watching: who reads slowly misses the oldest of more than ten thousand events, and what happens while this
        program is down is told to nobody. ``wait`` and ``status`` miss nothing.
        """
        self._opened()
        reader: tuple[deque[JobEvent], asyncio.Event] = (deque(maxlen=BACKLOG), asyncio.Event())
        self._readers.append(reader)
        events, more = reader
        try:
            while True:
                while events:
                    yield events.popleft()
                if reader not in self._readers:
                    return
                more.clear()
                await more.wait()
        finally:
            with contextlib.suppress(ValueError):
                self._readers.remove(reader)

    def _on_event(self, event: JobEvent) -> None:
        for events, more in self._readers:
            events.append(event)
            more.set()
        if event.state.has_ended:
            for future in self._waiters.get(event.key, ()):
                if not future.done():
                    future.set_result(None)

    async def _forget(self, keep: float) -> None:
        journal, _ = self._opened()
        while True:
            before = self._clock() - keep
            try:
                await journal.do(lambda journal, before=before: journal.forget(before=before))  # type: ignore[misc]
            except JournalError as error:
                _log.warning("%s", error)
            await asyncio.sleep(SWEEP)

    def _opened(self) -> tuple[JournalThread, LocalRunner]:
        if self._journal is None:
            raise ConfigurationError("Jobs are used as: async with Jobs(…) as jobs")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("the jobs belong to another event loop")
        if self._tasks[0].done() and not self._is_closing:
            raise JournalError(_ENDED)
        return self._journal, self._runner
