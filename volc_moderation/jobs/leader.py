"""The process that runs the calls of a journal, for itself and for all others that have the journal open."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable

from volc_moderation.errors import ConfigurationError, JournalError
from volc_moderation.jobs.inheritance import begin_lead, end_lead
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal, JournalThread
from volc_moderation.jobs.lane_log import log_lane
from volc_moderation.jobs.leader_socket import LeaderSocket
from volc_moderation.jobs.listeners import Listeners
from volc_moderation.jobs.messages import Hello
from volc_moderation.jobs.runner import LocalRunner
from volc_moderation.jobs.standby import Standby
from volc_moderation.log_events import LogEvent, Repeats

PURGE_INTERVAL = 3600.0  # seconds
#: Seconds between two looks for what others have normally told at once: new jobs, or the end of the leader.
BACKSTOP_INTERVAL = 15.0
#: Seconds within which a process says hello that leads although this one has the lead.
OTHER_LEADER_TIMEOUT = 0.3
# Seconds that a leader that stops waits for the end of cancelled calls, and for the journal.
CANCEL_TIMEOUT = 2.0
PASS_ON_TIMEOUT = 2.0


class Leader:
    """Runs the calls, and serves the standbys. The journal's lead must be this process's.

    :param make_runner: returns the runner; its argument is what the runner does with events.
    :param wait: waits until a job has ended; raises ``KeyError`` if there is none.
    :param purge: deletes old jobs; None to keep them.
    """

    def __init__(
        self,
        journal: JournalThread,
        listeners: Listeners,
        *,
        make_runner: Callable[[Callable[[JobEvent], None]], LocalRunner],
        wait: Callable[[str], Awaitable[object]],
        purge: Callable[[Journal], object] | None,
    ) -> None:
        self._journal = journal
        self._is_shared = journal.access == "shared"
        self._listeners = listeners
        self._purge = purge
        self._wait = wait
        self._runner = make_runner(self._on_event)
        #: None if the journal is this process's alone.
        self._socket: LeaderSocket | None = None
        self._may_have_new_jobs = asyncio.Event()
        self._unserved_lanes: set[int] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._faults = Repeats()
        #: Whether the lead is still to be released.
        self._has_lead = self._is_shared

    async def start(self, *, is_strict: bool) -> None:
        """Recover the jobs of an earlier process, and run.

        :param is_strict: whether an unfinished job of an account that no client has raises ``ConfigurationError``.
            Otherwise it is logged, and the other jobs run.

        Raises ``JournalError``.
        """
        try:
            if self._is_shared:
                await self._check_alone()
                hello = Hello(os.getpid(), self._runner.steady_clock.offset, self._runner.clients.accounts())
                self._socket = LeaderSocket(self._journal.socket_file, hello, self, self._wait)
                self._socket.listen()  # it may fail, so it is done before anything is written
            recovered = await self._runner.prepare(is_strict=is_strict)
            if recovered:
                text = "%d jobs were in flight when the last process ended"
                LogEvent.JOBS_RECOVERED.log(text, recovered, journal=self._journal.name, count=recovered)
            await begin_lead(self._journal, self._runner.clients)
        except BaseException:
            if self._socket is not None:
                self._socket.close()
            raise
        self.running = asyncio.create_task(self._runner.run(), name="jobs")
        if self._socket is not None:
            self._socket.accept()
            self._may_have_new_jobs.set()  # a lane may have been added since ``prepare``
            self._tasks.append(asyncio.create_task(self._look_for_jobs(), name="new jobs"))
        if self._purge is not None:
            self._tasks.append(asyncio.create_task(self._purge_periodically(self._purge), name="purge of old jobs"))

    async def _check_alone(self) -> None:
        """Raise ``JournalError`` if another process leads: the file of the lock was removed while it was held."""
        try:
            other = await Standby.connect(self._journal.socket_file, timeout=OTHER_LEADER_TIMEOUT)
        except TimeoutError:  # its event loop is blocked
            name = "another process"
        else:
            if other is None:
                return
            other.abort()
            name = f"process {other.hello.pid}"
        raise JournalError(
            f"the lock of the journal was removed while {name} used it; restart all processes that use the journal"
        )

    async def stop(self, grace: float) -> None:
        """Make no more calls, and let the next leader start. If this is cancelled, that happens at once.

        :param grace: seconds to wait for calls in flight.

        Raises whatever the runner has raised.
        """
        self._runner.stop()
        for task in self._tasks:
            task.cancel()
        try:
            await asyncio.wait([self.running], timeout=grace)
        finally:
            self.running.cancel()  # jobs whose request has left stay marked as sent
            try:
                await asyncio.wait([self.running, *self._tasks], timeout=CANCEL_TIMEOUT)
                if self.running.done():
                    await self._pass_on_lead()
            finally:
                self._drop_lead()
        for task in (self.running, *self._tasks):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _pass_on_lead(self) -> None:
        """Note what the next leader must know, and let it start."""
        try:
            async with asyncio.timeout(PASS_ON_TIMEOUT):
                await end_lead(self._journal, self._runner.clients)  # and the records of the last calls before
                if self._socket is not None:
                    self._socket.refuse_new()
                    self._has_lead = False
                    await self._journal.release_lead()
        except JournalError as error:
            self._log_fault("pass_on", "%s", error)
        except TimeoutError:
            text = "the journal is busy; the next process runs the jobs once this one has written its records"
            self._log_fault("pass_on", text)

    def _drop_lead(self) -> None:
        """Let the next leader start, at the latest when the calls and the journal of this one are closed."""
        if self._socket is None:
            return
        self._socket.close()  # the standbys notice, and one of them takes the lead
        if self._has_lead:
            self._has_lead = False
            if self.running.done():
                self._journal.release_lead()
            else:  # it still writes
                self.running.add_done_callback(lambda _: self._journal.release_lead())

    # For this process

    def wake(self, lane_id: int, lane: Lane) -> None:
        """Check a lane for due jobs."""
        self._runner.wake(lane_id, lane)

    def check_account(self, lane: Lane) -> None:
        """Raise nothing: this process has submitted the job with a client that it has."""

    def watch(self, key: str) -> None:
        """Do nothing: ``_on_event`` wakes those who wait in this process."""

    def unwatch(self, key: str) -> None:
        """Do nothing."""

    def want_events(self) -> None:
        """Do nothing: those who read events in this process get all."""

    def _on_event(self, event: JobEvent) -> None:
        self._listeners.add_event(event)
        if event.state.has_ended:
            self._listeners.wake(event.key)
        if self._socket is not None:
            self._socket.broadcast(event)

    # For standbys

    def wake_lane(self, lane_id: int) -> None:
        """Check a lane for due jobs; it may be new."""
        if self._runner.has_lane(lane_id):
            self._runner.wake_lane(lane_id)
        elif lane_id not in self._unserved_lanes:
            self.wake_all()

    def wake_all(self) -> None:
        """Check all lanes of the journal for due jobs."""
        self._may_have_new_jobs.set()

    async def _look_for_jobs(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BACKSTOP_INTERVAL):
                    await self._may_have_new_jobs.wait()
            self._may_have_new_jobs.clear()
            try:
                lanes = await self._journal.do(Journal.lanes)
            except JournalError as error:
                self._log_fault("look_for_jobs", "%s", error)
                await asyncio.sleep(1)
                continue
            for lane_id in lanes.keys() - self._unserved_lanes:
                try:
                    self._runner.wake(lane_id, lanes[lane_id])
                except ConfigurationError as error:
                    self._unserved_lanes.add(lane_id)
                    text = "%s: give all Jobs of a journal the same clients"
                    log_lane(LogEvent.LANE_UNSERVED, lanes[lane_id], text, error)

    async def _purge_periodically(self, purge: Callable[[Journal], object]) -> None:
        while True:
            try:
                await self._journal.do(purge)
            except JournalError as error:
                self._log_fault("purge", "%s", error)
            await asyncio.sleep(PURGE_INTERVAL)

    def _log_fault(self, operation: str, message: str, *args: object) -> None:
        count = self._faults.count(operation, asyncio.get_running_loop().time())
        if count is not None:
            name = self._journal.name
            LogEvent.JOURNAL_FAULT.log(message, *args, journal=name, operation=operation, count=count)
