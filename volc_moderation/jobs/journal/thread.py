"""The journal's thread: it executes the requests of an event loop, many of them in one commit.

A commit costs as much as writing a hundred rows, so all requests that are waiting share one. The records of attempts,
which nobody awaits, wait for more of them for up to 20 ms.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs

from volc_moderation.errors import JournalError
from volc_moderation.jobs.journal.codec import attempt_record
from volc_moderation.jobs.journal.file import Access
from volc_moderation.jobs.journal.journal import Journal
from volc_moderation.jobs.journal.lock import JournalBusyError
from volc_moderation.jobs.journal.schema import DueJob, Record
from volc_moderation.jobs.outcome import EndedAttempt
from volc_moderation.log_events import LogEvent, Repeats
from volc_moderation.printable import counted

T = TypeVar("T")

#: Records and requests in one commit, at most.
MAX_BATCH_SIZE = 200
#: Seconds that a record waits for others, at most. If the process is killed meanwhile, the call is made again.
MAX_LINGER = 0.02
#: Seconds after which a write that failed is tried again.
WRITE_RETRY_INTERVAL = 0.25
#: Seconds for which records wait to be written until that is logged.
MAX_UNWRITTEN_TIME = 2.0
#: Seconds that closing waits for another process that writes the journal.
MAX_BUSY_TIME_AT_END = 1.5


async def open_journal(factory: Callable[[], Journal]) -> "JournalThread":
    """Open a journal in a worker thread, since that may take a while, and return the thread that serves it.

    If this is cancelled, the journal is closed as soon as it is open. Raises ``JournalError``.
    """
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(None, factory)
    try:
        return JournalThread(await asyncio.shield(opening))
    except asyncio.CancelledError:
        opening.add_done_callback(lambda done: None if done.exception() else done.result().close())
        raise


@attrs.frozen(eq=False)
class _Request:
    """A function to call with the journal."""

    function: Callable[[Journal], Any]
    durable: bool = False
    #: Gets the result; None if nobody awaits it.
    future: "asyncio.Future[Any] | None" = None
    #: Called with the result, even if nobody awaits it any more.
    then: Callable[[Any], None] | None = None


@attrs.frozen(eq=False)
class _Release:
    """Release the lead once everything before is written."""

    #: Gets None.
    future: "asyncio.Future[None]"


class JournalThread:
    """Serves a journal to the tasks of an event loop."""

    #: One process at a time takes the jobs of a journal.
    is_shared = False

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._loop = asyncio.get_running_loop()
        #: Collected on the loop, because waking the thread costs more than writing a row.
        self._records: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None
        #: To the thread: requests, records, and None to end.
        self._inbox: queue.SimpleQueue[_Request | list[Record] | _Release | None] = queue.SimpleQueue()
        #: The thread's own: records that are not written yet. They are kept if a write fails, and written first.
        self._unwritten: list[Record] = []
        #: The thread's own: what waits until the records are written.
        self._releases: list[_Release] = []
        #: The thread's own: since when there have been such records, and whether that was logged.
        self._unwritten_since: float | None = None
        self._is_logged = False
        self._last_fault: Exception | None = None
        self._faults = Repeats()
        self._thread = threading.Thread(target=self._run, name=f"journal {journal.path.name}", daemon=True)
        self._closed = False
        self._thread.start()

    async def do(
        self, function: Callable[[Journal], T], *, durable: bool = False, then: Callable[[T], None] | None = None
    ) -> T:
        """Call a function with the journal in a transaction, and return its result once that is committed.

        Records that were passed to ``record`` before are written before.

        :param durable: whether the commit survives a power failure, and not only the end of this process.
        :param then: called with the result as soon as it is committed, even if this is cancelled meanwhile.

        Raises ``JournalError``, and whatever the function raises.
        """
        return await self.request(function, durable=durable, then=then)

    def request(
        self, function: Callable[[Journal], T], *, durable: bool = False, then: Callable[[T], None] | None = None
    ) -> "asyncio.Future[T]":
        """Like ``do``, but return a future: a caller that is cancelled can still learn the result."""
        if self._closed:
            raise JournalError("the journal is closed")
        future: asyncio.Future[T] = self._loop.create_future()
        self._flush_records()
        self._inbox.put(_Request(function, durable, future, then))
        return future

    def post(self, function: Callable[[Journal], object]) -> None:
        """Like ``do``, but nobody awaits the result; an error is logged."""
        self._flush_records()
        self._inbox.put(_Request(function))

    # Who else uses the journal

    @property
    def name(self) -> str:
        """The path of the journal, for log records."""
        return str(self._journal.path)

    @property
    def access(self) -> Access:
        """Whether other processes may use the journal at the same time."""
        return self._journal.access

    @property
    def socket_file(self) -> Path:
        """The path of the socket of the process that runs the calls."""
        return self._journal.socket_file

    def take_lead(self) -> bool:
        """Become the one process that runs the calls; return whether that succeeded. It does not wait.

        It fails as long as an earlier lead of this process is still to be released.

        Raises ``JournalError`` if the journal is closed, or the file of its lock was removed or replaced.
        """
        if self._closed:
            raise JournalError("the journal is closed")
        return self._journal.take_lead()

    def is_lead_free(self) -> bool:
        """Return whether no process has the lead. Raises ``JournalError`` like ``take_lead``."""
        if not self.take_lead():
            return False
        self._journal.release_lead()
        return True

    def release_lead(self) -> "asyncio.Future[None]":
        """Let another process run the calls, once everything that was asked of the journal before is done.

        The lead is released also if the future is cancelled. If records of attempts cannot be written, it is kept until
        they can, or until the journal is closed: another process would make these calls again.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self._closed:
            future.set_result(None)  # the lead ends with the journal
            return future
        self._flush_records()
        self._inbox.put(_Release(future))
        return future

    # What a lane asks of its journal

    @property
    def before_send(self) -> None:
        """None: no other process can have taken the jobs of this journal."""
        return None

    def take(
        self, lane_id: int, limit: int, *, due: float, now: float, durable: bool
    ) -> "asyncio.Future[tuple[list[DueJob], float | None]]":
        """Take up to ``limit`` due jobs of a lane; if there is none, return when the next one is due, or None."""
        return self.request(lambda journal: journal.take(lane_id, limit, due=due, now=now), durable=durable)

    def give_back(self, jobs: Sequence[DueJob]) -> None:
        """Give back jobs that were taken and not sent."""
        self.post(lambda journal: journal.give_back([job.id for job in jobs]))

    def record_attempt(self, job: DueJob, lane_id: int, ended: EndedAttempt) -> None:
        """Record an attempt. It is written soon; if that fails, writing is retried."""
        self.record(attempt_record(job.id, lane_id, ended))

    def record(self, record: Record) -> None:
        """Write the record of an attempt soon."""
        self._records.append(record)
        if len(self._records) >= MAX_BATCH_SIZE:
            self._flush_records()
        elif self._timer is None:
            self._timer = self._loop.call_later(MAX_LINGER, self._flush_records)

    def _flush_records(self) -> None:
        """Pass the collected records to the thread."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._records:
            self._inbox.put(self._records)
            self._records = []

    async def aclose(self) -> None:
        """Write the remaining records, and close the journal. Raises ``JournalError`` if they cannot be written.

        If another process holds the journal, this waits for it ``MAX_BUSY_TIME_AT_END`` seconds, whatever is left.
        """
        if self._closed:
            return
        self._closed = True
        self._flush_records()
        self._journal.busy_deadline = time.monotonic() + MAX_BUSY_TIME_AT_END
        self._inbox.put(None)
        await asyncio.shield(self._loop.run_in_executor(None, self._thread.join))
        if self._unwritten:
            raise JournalError(
                f"the journal {self._journal.path} could not be written at the end; marked as in flight although"
                f" answered: {counted(len(self._unwritten), 'job')}"
            )

    def abandon(self) -> None:
        """Leave the journal as it was found, even if the thread is busy; what it is doing is lost."""
        self._closed = True
        self._journal.abandon()

    # In the thread

    def _run(self) -> None:
        is_open = True
        try:
            while is_open:
                requests, is_open = self._receive()
                if requests or self._unwritten:
                    self._commit(requests)
                    self._log_unwritten()
                if self._releases and not self._unwritten:
                    self._journal.release_lead()
                    self._resolve_releases()
        finally:
            self._journal.close()
            self._resolve_releases()

    def _receive(self) -> tuple[list[_Request], bool]:
        """Wait for work; return the requests, and whether to go on. Records are added to ``_unwritten``."""
        requests: list[_Request] = []
        with contextlib.suppress(queue.Empty):
            message = self._inbox.get(timeout=WRITE_RETRY_INTERVAL if self._unwritten else None)
            while message is not None:
                if isinstance(message, _Request):
                    requests.append(message)
                elif isinstance(message, _Release):
                    self._releases.append(message)
                    return requests, True
                else:
                    self._unwritten += message
                if len(self._unwritten) + len(requests) >= MAX_BATCH_SIZE:
                    return requests, True
                message = self._inbox.get_nowait()
            return requests, False
        return requests, True

    def _commit(self, requests: list[_Request]) -> None:
        results: list[tuple[_Request, object]] = []
        try:
            with self._journal.transaction(durable=any(request.durable for request in requests)):
                if self._unwritten:
                    self._journal.record(self._unwritten)
                results += [(request, request.function(self._journal)) for request in requests]
        except JournalBusyError as error:  # each would wait as long again
            self._last_fault = error
            results = [(request, error) for request in requests]
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            if len(requests) > 1:  # one by one, the error hits only the request that causes it
                for request in requests:
                    self._commit([request])
                return
            self._last_fault = error
            results = [(request, error) for request in requests]
        else:
            self._unwritten = []
        if results:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._resolve, results)

    def _log_unwritten(self) -> None:
        """Log that records have been waiting to be written for long, and that they have been written."""
        now = time.monotonic()
        if not self._unwritten:
            if self._is_logged:
                LogEvent.JOURNAL_WRITTEN_AGAIN.log("the journal %s is written again", self.name, journal=self.name)
            self._unwritten_since, self._is_logged = None, False
        elif self._unwritten_since is None:
            self._unwritten_since = now
        elif not self._is_logged and now >= self._unwritten_since + MAX_UNWRITTEN_TIME:
            self._is_logged = True
            LogEvent.JOURNAL_NOT_WRITTEN.log(
                "the journal %s cannot be written; %s not recorded: %s",
                self.name,
                counted(len(self._unwritten), "outcome"),
                self._last_fault,
                journal=self.name,
                count=len(self._unwritten),
            )

    def _resolve(self, results: list[tuple[_Request, object]]) -> None:
        """Pass results to those who await them. This runs in the event loop."""
        for request, result in results:
            if not isinstance(result, Exception):
                _call_then(request, result)
            elif request.future is None:
                self._log_fault(result)
            if request.future is None or request.future.done():
                continue  # nobody awaits it
            if isinstance(result, Exception):
                request.future.set_exception(result)
            else:
                request.future.set_result(result)

    def _log_fault(self, error: Exception) -> None:
        count = self._faults.count(type(error), self._loop.time())
        if count is not None:
            text = "a journal could not be written: %s"
            LogEvent.JOURNAL_FAULT.log(text, error, journal=self.name, operation="write", count=count)

    def _resolve_releases(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            for release in self._releases:
                self._loop.call_soon_threadsafe(_resolve_release, release.future)
        self._releases.clear()


def _resolve_release(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _call_then(request: _Request, result: object) -> None:
    """Call the request's callback; an error there must not reach the other requests."""
    if request.then is None:
        return
    try:
        request.then(result)
    except Exception:  # noqa: BLE001 - of the callback
        text = "a callback after a write to a journal failed"
        LogEvent.INTERNAL_ERROR.log(text, exc_info=True, part="journal")
