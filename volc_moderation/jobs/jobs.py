"""Jobs in a program that keeps running, such as a web app: submitted, journaled, run in the background."""

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

#: Events kept for a reader that is slow; beyond, the oldest are dropped.
MAX_UNREAD_EVENTS = 10_000
PURGE_INTERVAL = 3600.0  # seconds
WEEK = 7 * 86_400.0  # seconds

_RUNNER_ENDED = "jobs no longer run in the background; the rest is done at the next start"
_CLOSED = "the jobs were closed; the rest is done at the next start"

_log = logging.getLogger("volc_moderation")


class Jobs:
    """Calls that must happen: ``async with Jobs("stops.db", clients=[volcengine, zego]) as jobs``.

    Submitted calls are made in the background at the quotas' full speed, retried as the vendors recommend, and resumed
    after a restart or a crash. Calls of different actions run concurrently, in no particular order. One program at a
    time can have the journal open.

    :param path: of the journal, an SQLite file on a local disk; it is created if it does not exist.
    :param clients: make the calls. They are not closed with the jobs; close them afterwards.
    :param retry: how often a job is attempted; by default as its client says.
    :param priority: of the calls when they wait for a quota; by default behind calls that somebody awaits.
    :param keep: seconds for which jobs that are done are kept; None to keep them all. Failed ones are always kept.
    :param grace: seconds that the end of the block waits for calls in flight. The rest is done at the next start.
    :param clock: returns the Unix time.

    A job fails if its call raises an exception from outside this package, such as one of your own transport. The other
    jobs are not affected.
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
        #: By key. The result is None if the job has ended, else the reason why no more will be known of it.
        self._waiters: dict[str, list[asyncio.Future[str | None]]] = {}
        #: For each reader of events: those that it has not read, and what wakes it.
        self._readers: list[tuple[deque[JobEvent], asyncio.Event]] = []

    async def __aenter__(self) -> Self:
        if self._journal is not None:
            raise ConfigurationError("Jobs can be entered only once; create new ones")
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
                run_forever=True,
            )
            recovered = await self._runner.prepare()
        except BaseException:
            await self._journal.aclose()
            raise
        if recovered:
            _log.info("%d jobs were in flight when the last process ended", recovered)
        running = asyncio.create_task(self._runner.run(), name="jobs")
        running.add_done_callback(self._on_runner_ended)
        self._tasks = [running]
        if self._keep is not None:
            self._tasks.append(asyncio.create_task(self._purge_periodically(self._keep), name="purge of old jobs"))
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
            running.cancel()  # jobs whose request has left stay marked as sent
            results = await asyncio.gather(*self._tasks, return_exceptions=True)
            try:
                await self._journal.aclose()
            finally:
                self._end_waiting(_CLOSED)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _on_runner_ended(self, running: "asyncio.Task[None]") -> None:
        """Release all waiters if the runner ended although the jobs were not closed."""
        if not self._is_closing:
            error = None if running.cancelled() else running.exception()
            reason = type(error).__name__ if error else "cancelled"
            _log.critical("jobs no longer run in the background: %s", reason, exc_info=error)
            self._end_waiting(_RUNNER_ENDED)

    def _end_waiting(self, reason: str) -> None:
        for futures in self._waiters.values():
            for future in futures:
                if not future.done():
                    future.set_result(reason)
        for _, has_more in self._readers:
            has_more.set()
        self._readers = []

    async def submit(self, action: Action[Any], *, delay: float = 0.0, client: Client | None = None) -> str:
        """Journal a call, safe from a crash and a power failure, and return its key. It runs in the background.

        A pending job with the same key is the same job. If the job is in flight, it runs again ``delay`` seconds after
        it ends; if it has ended, it runs again, too.

        If this is cancelled, the job may have been journaled; then it runs.

        Steps of the machine's clock have no effect while this program runs. If the clock steps back while the program
        is down, a job waits for its whole delay again; if it steps ahead, the job may run at once.

        :param delay: seconds before the call is made, from 0 to 366 days.
        :param client: which client makes the call, if several could.

        Raises ``JournalError`` if the journal cannot be written, and ``ConfigurationError`` if no client makes the
        call, or the delay is invalid.
        """
        journal, runner = self._check_open()
        check_delay(delay)
        lane = runner.clients.lane_of(action, client)
        key, parameters, now = key_of(lane, action), dump_action(action), self._clock()
        due = runner.steady_clock() + delay

        def add(journal: Journal) -> int:
            lane_id = journal.lane_id(lane)
            journal.submit(key, lane_id, parameters, due=due, delay=delay, now=now)
            return lane_id

        # With ``then``, and not after ``await``: if this is cancelled meanwhile, the job is journaled all the same.
        await journal.do(add, durable=True, then=lambda lane_id: runner.wake(lane_id, lane))
        return key

    async def status(self, key: str) -> Job | None:
        """Return the job with a key, or None if there is none."""
        return await self._check_open()[0].do(lambda journal: journal.find(key))

    async def counts(self) -> dict[JobState, int]:
        """Return the number of jobs in each state."""
        return await self._check_open()[0].do(Journal.counts)

    async def wait(self, key: str) -> Job:
        """Wait until a job has ended, whether it succeeded or not, and return it.

        Raises ``KeyError`` if there is no job with this key, and ``JournalError`` if the jobs are closed before it
        ends.
        """
        self._check_open()
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
        """Yield an event for each job that ends or is deferred from now on.

        This is for monitoring. A reader that is more than 10,000 events behind misses the oldest, and events are not
        stored while this program is down. ``wait`` and ``status`` miss nothing.
        """
        self._check_open()
        reader: tuple[deque[JobEvent], asyncio.Event] = (deque(maxlen=MAX_UNREAD_EVENTS), asyncio.Event())
        self._readers.append(reader)
        events, has_more = reader
        try:
            while True:
                while events:
                    yield events.popleft()
                if reader not in self._readers:
                    return
                has_more.clear()
                await has_more.wait()
        finally:
            with contextlib.suppress(ValueError):
                self._readers.remove(reader)

    def _on_event(self, event: JobEvent) -> None:
        for events, has_more in self._readers:
            events.append(event)
            has_more.set()
        if event.state.has_ended:
            for future in self._waiters.get(event.key, ()):
                if not future.done():
                    future.set_result(None)

    async def _purge_periodically(self, keep: float) -> None:
        journal, _ = self._check_open()
        while True:
            before = self._clock() - keep
            try:
                await journal.do(lambda journal, before=before: journal.delete_done(before=before))  # type: ignore[misc]
            except JournalError as error:
                _log.warning("%s", error)
            await asyncio.sleep(PURGE_INTERVAL)

    def _check_open(self) -> tuple[JournalThread, LocalRunner]:
        if self._journal is None:
            raise ConfigurationError("Jobs are used as: async with Jobs(…) as jobs")
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("the jobs belong to another event loop")
        if self._tasks[0].done() and not self._is_closing:
            raise JournalError(_RUNNER_ENDED)
        return self._journal, self._runner
