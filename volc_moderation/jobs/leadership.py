"""Which of the processes that share a journal runs its calls: one has the lead, the others stand by to take it.

A standby is connected to the leader. When the connection ends, the leader has ended or has died, which the lock of the
journal shows: the operating system releases it with the process.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable
from typing import Protocol

from volc_moderation.errors import ConfigurationError, JournalError
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.job_event import load_event
from volc_moderation.jobs.journal import JournalThread
from volc_moderation.jobs.leader import BACKSTOP_INTERVAL, Leader
from volc_moderation.jobs.listeners import Listeners
from volc_moderation.jobs.messages import Ended, EventFields, Notice
from volc_moderation.jobs.standby import Standby
from volc_moderation.jobs.steady_clock import SteadyClock
from volc_moderation.log_events import LogEvent

# Seconds between two attempts to take the lead or to find the leader, while neither works.
MIN_SEEK_INTERVAL = 0.02
MAX_SEEK_INTERVAL = 0.25
#: Seconds for which a start waits for a leader that is about to start, or to end.
MAX_START_TIME = 2.0
#: Seconds after which a process that finds no leader says so, if it cannot lead; and leads if it can run only a part of
#: the jobs.
NO_LEADER_TIMEOUT = 1.0
#: Seconds that closing waits for the end of an attempt to take the lead, which is cancelled.
CANCEL_TIMEOUT = 5.0


class Role(Protocol):
    """What a process does for the tasks that submit jobs and wait for them: as the leader, or through the leader."""

    def check_account(self, lane: Lane) -> None:
        """Raise ``ConfigurationError`` if the leader cannot make the calls of a lane."""

    def watch(self, key: str) -> None:
        """Wake the listeners when a job has ended."""

    def unwatch(self, key: str) -> None:
        """Undo ``watch``."""

    def want_events(self) -> None:
        """Pass all events to the listeners."""


class Leadership:
    """Keeps this process either in the lead or connected to the leader.

    :param make_leader: returns a leader that has not started.
    :param clients: of this process.
    :param clock: gets the offset of the leader's.
    """

    def __init__(
        self,
        journal: JournalThread,
        listeners: Listeners,
        *,
        make_leader: Callable[[], Leader],
        clients: Clients,
        clock: SteadyClock,
    ) -> None:
        self._journal = journal
        self._listeners = listeners
        self._make_leader = make_leader
        self._clients = clients
        self._clock = clock
        self._leader: Leader | None = None
        self._standby: Standby | None = None
        self._listening: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        #: Why this process does not try to take the lead any more.
        self._refusal: str | None = None
        #: Why the last attempt to take the lead failed; None if another process has it.
        self._last_error: str | None = None
        #: The last reason that was logged since this process had a role.
        self._logged_error: str | None = None
        #: What the runner has raised.
        self._failure: Exception | None = None
        #: Why nobody runs the calls, if this process cannot and finds no other.
        self.no_leader: str | None = None

    async def start(self) -> None:
        """Take the lead, or connect to the leader.

        Raises ``JournalError`` and ``ConfigurationError`` if the lead is free and this process cannot take it.
        """
        deadline = asyncio.get_running_loop().time() + MAX_START_TIME
        pause = MIN_SEEK_INTERVAL
        while not (await self._take_lead(is_strict=True) or await self._connect()):
            if asyncio.get_running_loop().time() > deadline:
                break  # jobs can be submitted, and the leader will find them
            pause = await _sleep(pause)
        self._task = asyncio.create_task(self._run(), name="lead of the jobs")

    async def aclose(self, grace: float) -> None:
        """Leave the calls to another process, also if this is cancelled. Raises what the runner has raised.

        :param grace: seconds to wait for calls in flight.
        """
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.wait([self._task], timeout=CANCEL_TIMEOUT)
            if self._standby is not None:
                await self._standby.aclose()
        except BaseException:
            grace = 0.0  # it is in a hurry
            raise
        finally:
            self._standby = None
            try:
                if self._leader is not None:
                    await self._leader.stop(grace)
            finally:
                self._leader = None
        if self._failure is not None:
            raise self._failure

    # For the tasks of this process

    @property
    def role(self) -> Role | None:
        """What this process does now; None while it looks for the leader."""
        return self._leader or self._standby

    def wake(self, lane_id: int, lane: Lane) -> None:
        """Say that a lane has new jobs. A leader that is not known yet will look for them itself."""
        if self._leader is not None:
            self._leader.wake(lane_id, lane)
        elif self._standby is not None:
            self._standby.wake(lane_id)

    # Taking and losing the lead

    async def _run(self) -> None:
        while True:
            try:
                await self._play_role()
                await self._seek()
            except Exception:  # noqa: BLE001 - a bug; without this task, this process would never lead again
                text = "looking for the leader of the jobs failed"
                LogEvent.INTERNAL_ERROR.log(text, exc_info=True, part="leadership")
                await asyncio.sleep(MAX_SEEK_INTERVAL)

    async def _play_role(self) -> None:
        """Wait until this process no longer leads, or has lost its connection to the leader."""
        while True:
            if self._leader is not None:
                await asyncio.wait([self._leader.running])
                await self._give_up_lead(self._leader)
                return
            if self._standby is not None and self._listening is not None:
                await asyncio.wait([self._listening], timeout=BACKSTOP_INTERVAL)
                if not self._listening.done():
                    self._check_leader(self._standby)
                    continue
                self._standby = None
            return

    async def _seek(self) -> None:
        """Try to take the lead, and to connect to the leader, until one works."""
        loop = asyncio.get_running_loop()
        began, pause = loop.time(), MIN_SEEK_INTERVAL
        # At first the lead is left to a process that can run all jobs. Without one, some jobs are better than none.
        while True:
            is_late = loop.time() > began + NO_LEADER_TIMEOUT
            if await self._take_lead_or_log(is_strict=not is_late) or await self._connect():
                return
            if is_late and self._last_error is not None:
                self._report_no_leader(self._last_error)
            pause = await _sleep(pause)

    async def _take_lead_or_log(self, *, is_strict: bool) -> bool:
        if self._refusal is not None:
            return False
        try:
            is_taken = await self._take_lead(is_strict=is_strict)
        except (JournalError, OSError) as error:  # it may pass, such as a full disk
            if str(error) != self._logged_error:
                text = "this process cannot run the jobs: %s"
                LogEvent.LEAD_NOT_TAKEN.log(text, error, journal=self._journal.name)
            self._last_error = self._logged_error = str(error)
        except ConfigurationError as error:
            self._last_error = str(error)
        except Exception as error:  # noqa: BLE001 - raised when the jobs are closed
            text = "this process leaves the jobs to others: %s"
            LogEvent.LEAD_NOT_TAKEN.log(text, type(error).__name__, exc_info=error, journal=self._journal.name)
            self._refusal = self._last_error = f"this one failed to take the lead: {type(error).__name__}"
            self._failure = error
        else:
            if not is_taken:
                self._last_error = None
            return is_taken
        return False

    async def _take_lead(self, *, is_strict: bool) -> bool:
        """Take the lead if it is free; return whether it was.

        :param is_strict: whether an unfinished job that this process cannot run is an error.
        """
        is_shared = self._journal.access == "shared"
        if is_shared and not self._journal.take_lead():
            return False
        try:
            leader = self._make_leader()
            await leader.start(is_strict=is_strict)
        except BaseException:
            if is_shared:
                self._journal.release_lead()  # after what a start that is cancelled has asked of the journal
            raise
        self._leader = leader
        LogEvent.LEAD_TAKEN.log("this process runs the jobs", journal=self._journal.name)
        self._on_role()
        return True

    async def _connect(self) -> bool:
        """Connect to the leader; return whether there is one that responds."""
        if self._journal.access != "shared":
            return False
        try:
            standby = await Standby.connect(self._journal.socket_file)
        except (OSError, JournalError):  # also a timeout
            return False
        if standby is None:
            return False
        self._clock.offset = standby.hello.clock_offset
        self._listening = standby.listen(self._on_notice)
        if self._listeners.has_readers:
            standby.want_events()
        self._standby = standby
        leader = standby.hello.pid
        LogEvent.LEAD_FOLLOWED.log("process %d runs the jobs", leader, journal=self._journal.name, leader=leader)
        self._on_role()
        return True

    def _on_role(self) -> None:
        self._last_error = self._refusal
        self._logged_error = self.no_leader = None
        self._listeners.wake_all()  # a job may have ended meanwhile

    def _check_leader(self, standby: Standby) -> None:
        """Drop a connection that is open although the leader has ended, for example because it has a child process."""
        with contextlib.suppress(JournalError):
            if self._refusal is None and self._journal.is_lead_free():
                standby.abort()

    async def _give_up_lead(self, leader: Leader) -> None:
        """Leave the calls to others, since the runner has ended by itself."""
        error = None if leader.running.cancelled() else leader.running.exception()
        reason = type(error).__name__ if error else "cancelled"
        text = "jobs no longer run in the background: %s"
        LogEvent.LEAD_LOST.log(text, reason, exc_info=error, journal=self._journal.name)
        self._refusal = self._last_error = f"they no longer run in the background of this one: {reason}"
        self._failure = error if isinstance(error, Exception) else None  # raised when the jobs are closed
        try:
            await leader.stop(0)
        except Exception as failure:  # noqa: BLE001 - mostly the same
            self._failure = failure
        finally:
            self._leader = None
        if self._journal.access != "shared":
            self._report_no_leader(self._refusal)

    def _report_no_leader(self, reason: str) -> None:
        if self.no_leader is None:
            self.no_leader = f"no process runs the jobs: {reason}"
            LogEvent.NO_LEADER.log("%s", self.no_leader, journal=self._journal.name)
            self._listeners.release_waiters(self.no_leader)

    def _on_notice(self, notice: Notice) -> None:
        match notice:
            case Ended(key):
                self._listeners.wake(key)
            case EventFields(fields):
                try:
                    event = load_event(fields, lambda lane: self._clients.client_for(lane)[1])
                except ConfigurationError:
                    return  # of an action that this process does not know
                self._listeners.add_event(event)


async def _sleep(pause: float) -> float:
    """Sleep up to so many seconds, and return the next pause.

    Their length is random: otherwise one process would look again and again just while another one tries in vain to
    take the lead.
    """
    await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
    return min(1.5 * pause, MAX_SEEK_INTERVAL)
