"""Jobs in a program that keeps running, such as a web app: submitted, journaled, run in the background."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, overload

from volc_moderation import telemetry
from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import ConfigurationError, JournalError
from volc_moderation.jobs import socket_file
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Job, JobState, StoredJob, check_delay, key_of
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.job_handle import JobHandle
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread, open_journal
from volc_moderation.jobs.leader import Leader
from volc_moderation.jobs.leadership import Leadership
from volc_moderation.jobs.listeners import Listeners
from volc_moderation.jobs.runner import LocalRunner
from volc_moderation.jobs.steady_clock import SteadyClock
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

R = TypeVar("R")

WEEK = 7 * 86_400.0  # seconds

_CLOSED = "the jobs were closed; those that have not ended run in another process, or at the next start"


class Jobs:
    """Calls that must happen: ``async with Jobs("stops.db", clients=[volcengine, zego]) as jobs``.

    Submitted calls are made in the background at the quotas' full speed, retried as the vendors recommend, and resumed
    after a restart or a crash. Calls of different actions run concurrently, in no particular order.

    Several processes of one machine can have the journal open, such as the workers of a web server. Each of them
    submits jobs and waits for them; one of them, the leader, makes the calls. When it ends, another one goes on. All of
    them must have clients for the same accounts. On Windows, one process at a time can have the journal open.

    :param path: of the journal, an SQLite file on a local disk; it is created if it does not exist.
    :param clients: make the calls. They are not closed with the jobs; close them afterwards.
    :param retry: how often a job is attempted; by default as its client says.
    :param priority: of the calls when they wait for a quota; by default behind calls that somebody awaits.
    :param keep: seconds for which jobs that are done are kept; None to keep them all. Failed ones are always kept.
    :param grace: seconds that the end of the block waits for calls in flight. Another process makes the rest of the
        calls, or they are made at the next start.
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
        # No file is opened and no task started before the block is entered: a server may fork in between.
        self._path = path
        self._client_list = clients
        self._retry = retry
        self._priority = priority
        self._keep = keep
        self._grace = grace
        self._clock = clock
        self._journal: JournalThread | None = None
        self._is_closing = False
        self._is_closed = False
        self._listeners = Listeners()

    async def __aenter__(self) -> Self:
        if self._journal is not None:
            raise ConfigurationError("Jobs can be entered only once; create new ones")
        self._loop = asyncio.get_running_loop()
        self._clients = Clients(self._client_list)
        await self._clients.resolve_accounts()
        self._steady_clock = SteadyClock(self._clock)
        open_file = partial(Journal, self._path, access="shared" if socket_file.IS_SUPPORTED else "exclusive")
        self._journal = await open_journal(open_file)
        self._leadership = Leadership(
            self._journal,
            self._listeners,
            make_leader=partial(self._make_leader, self._journal),
            clients=self._clients,
            clock=self._steady_clock,
        )
        try:
            await self._leadership.start()
        except BaseException:
            await self._journal.aclose()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._journal is not None  # noqa: S101 - set by __aenter__
        self._is_closing = True
        try:
            await self._leadership.aclose(self._grace)
        finally:
            try:
                await self._journal.aclose()
            finally:
                self._is_closed = True
                self._listeners.end(_CLOSED)

    def _make_leader(self, journal: JournalThread) -> Leader:
        def make_runner(on_event: Callable[[JobEvent], None]) -> LocalRunner:
            return LocalRunner(
                journal,
                self._client_list,
                retry=self._retry,
                priority=self._priority,
                clock=self._clock,
                steady_clock=self._steady_clock,
                on_event=on_event,
                run_forever=True,
            )

        def purge(journal: Journal, keep: float) -> None:
            journal.delete_done(before=self._clock() - keep)

        return Leader(
            journal,
            self._listeners,
            make_runner=make_runner,
            wait=self._wait,
            purge=None if self._keep is None else partial(purge, keep=self._keep),
        )

    async def submit(self, action: Action[R], *, delay: float = 0.0, client: Client | None = None) -> JobHandle[R]:
        """Journal a call, safe from a crash and a power failure. It runs in the background.

        The handle that is returned is the job's key, and can be awaited: ``job = await handle``.

        A pending job with the same key is the same job. If the job is in flight, it runs again ``delay`` seconds after
        it ends; if it has ended, it runs again, too.

        If this is cancelled, the job may have been journaled; then it runs.

        Steps of the machine's clock have no effect while this program runs. If the clock steps back while the program
        is down, a job waits for its whole delay again; if it steps ahead, the job may run at once.

        :param delay: seconds before the call is made, from 0 to 366 days.
        :param client: which client makes the call, if several could.

        Raises ``JournalError`` if the journal cannot be written, and ``ConfigurationError`` if no client makes the
        call, also in the process that makes the calls, or the delay is invalid.
        """
        journal = self._check_open()
        check_delay(delay)
        lane, action = self._clients.complete(action, client)
        if self._leadership.role is not None:
            self._leadership.role.check_account(lane)
        key, parameters, now = key_of(lane, action), dump_action(action), self._clock()
        due, traceparent = self._steady_clock() + delay, telemetry.traceparent()

        def add(journal: Journal) -> int:
            lane_id = journal.lane_id(lane)
            journal.submit(key, lane_id, parameters, due=due, delay=delay, now=now, traceparent=traceparent)
            return lane_id

        # With ``then``, and not after ``await``: if this is cancelled meanwhile, the job is journaled all the same.
        await journal.do(add, durable=True, then=lambda lane_id: self._leadership.wake(lane_id, lane))
        return JobHandle(key, self)

    @overload
    async def status(self, key: JobHandle[R]) -> Job[R] | None: ...
    @overload
    async def status(self, key: str) -> Job[object] | None: ...
    async def status(self, key: str) -> Job[object] | None:
        """Return the job with a key, or None if there is none."""
        stored = await self._find(key)
        return None if stored is None else self._clients.read_job(stored)

    async def _find(self, key: str) -> StoredJob | None:
        return await self._check_open().do(lambda journal: journal.find(key))

    async def counts(self) -> dict[JobState, int]:
        """Return the number of jobs in each state."""
        return await self._check_open().do(Journal.counts)

    @overload
    async def wait(self, key: JobHandle[R]) -> Job[R]: ...
    @overload
    async def wait(self, key: str) -> Job[object]: ...
    async def wait(self, key: str) -> Job[object]:
        """Wait until a job has ended, whether it succeeded or not, and return it.

        Raises ``KeyError`` if there is no job with this key, or no longer, and ``JournalError`` if the jobs have been
        closed, or are closed before it ends.
        """
        return self._clients.read_job(await self._wait(key))

    async def _wait(self, key: str) -> StoredJob:
        while True:
            self._check_open()
            future = self._listeners.add_waiter(key)
            try:
                job = await self._find(key)
                if job is None:
                    raise KeyError(key)
                if job.state.has_ended:
                    return job
                if self._leadership.role is not None:
                    self._leadership.role.watch(key)
                reason = await future
                if reason is not None:
                    raise JournalError(reason)
            finally:
                is_last = self._listeners.remove_waiter(key, future)
                if is_last and self._leadership.role is not None:
                    self._leadership.role.unwatch(key)

    async def events(self) -> AsyncIterator[JobEvent]:
        """Yield an event for each job that ends or is deferred from now on.

        This is for monitoring. A reader that is more than 10,000 events behind misses the oldest, and events are not
        stored while this program is down. ``wait`` and ``status`` miss nothing.
        """
        self._check_open()
        if self._leadership.role is not None:
            self._leadership.role.want_events()
        async with contextlib.aclosing(self._listeners.events()) as events:
            async for event in events:
                yield event

    def _check_open(self) -> JournalThread:
        if self._journal is None:
            raise ConfigurationError("Jobs are used as: async with Jobs(…) as jobs")
        if self._is_closed:
            raise JournalError(_CLOSED)
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigurationError("the jobs belong to another event loop")
        if self._leadership.no_leader is not None and not self._is_closing:
            raise JournalError(self._leadership.no_leader)
        return self._journal
