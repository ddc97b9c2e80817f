"""The leader's end of the socket by which the processes that share a journal talk to each other."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from volc_moderation.errors import JournalError
from volc_moderation.jobs import messages, socket_file
from volc_moderation.jobs.job_event import JobEvent, dump_event
from volc_moderation.jobs.messages import Ended, EventFields, Hello, Unwatch, Wake, WantEvents, Watch
from volc_moderation.log_events import LogEvent, Repeats

#: Bytes that a standby has not read, from which on it gets no more events: it is too slow for them.
MAX_UNREAD_EVENT_BYTES = 2 * 2**20
#: Bytes that a standby has not read, from which on its connection ends: it does not read at all.
MAX_UNREAD_BYTES = 8 * 2**20
#: Seconds after which a connection is accepted again, when the process has too many files open.
ACCEPT_RETRY_INTERVAL = 1.0

_log = logging.getLogger("volc_moderation")


class LaneWaker(Protocol):
    """Makes a runner look for new jobs."""

    def wake_lane(self, lane_id: int) -> None:
        """Check a lane for due jobs."""

    def wake_all(self) -> None:
        """Check all lanes of the journal for due jobs."""


class LeaderSocket:
    """Serves the standbys.

    :param file: the name of the socket.
    :param hello: what each standby is told first.
    :param waker: is told of new jobs.
    :param wait: waits until a job has ended; raises ``KeyError`` if there is none.
    """

    def __init__(self, file: Path, hello: Hello, waker: LaneWaker, wait: Callable[[str], Awaitable[object]]) -> None:
        self._file = file
        self._hello = messages.encode(hello)
        self._waker = waker
        self._wait = wait
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        #: The tasks that serve a standby.
        self._serving: set[asyncio.Task[None]] = set()
        self._event_readers: set[asyncio.StreamWriter] = set()
        self._unserved = Repeats()

    def listen(self) -> None:
        """Let standbys connect; they wait until ``accept``. Raises ``JournalError`` if that is impossible."""
        self._listener = socket_file.listen_at(self._file)

    def accept(self) -> None:
        """Serve those that connect."""
        assert self._listener is not None  # noqa: S101 - set by ``listen``
        self._accepting = asyncio.create_task(self._accept(self._listener), name="socket of a journal")

    def refuse_new(self) -> None:
        """Remove the socket: new connections are those of the next leader."""
        if self._listener is None:
            return
        if self._accepting is not None:
            self._accepting.cancel()
            asyncio.get_running_loop().remove_reader(self._listener)  # before its number may be that of another file
        self._listener.close()
        self._listener = None
        with contextlib.suppress(OSError):
            self._file.unlink()

    def close(self) -> None:
        """End all connections."""
        self.refuse_new()
        for task in self._serving:
            task.cancel()

    def broadcast(self, event: JobEvent) -> None:
        """Send an event to the standbys that want events, and are fast enough."""
        if not self._event_readers:
            return
        line = messages.encode(EventFields(dump_event(event)))
        if len(line) > messages.MAX_NOTICE_BYTES:
            return
        for writer in self._event_readers:
            if writer.transport.get_write_buffer_size() < MAX_UNREAD_EVENT_BYTES:
                writer.write(line)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection = await socket_file.accept_at(listener)
            except OSError as error:
                count = self._unserved.count(error.errno, asyncio.get_running_loop().time())
                if count is not None:
                    text = "a process that shares a journal cannot be served: %s"
                    LogEvent.STANDBY_NOT_SERVED.log(text, error.strerror, journal=str(self._file), count=count)
                await asyncio.sleep(ACCEPT_RETRY_INTERVAL)
                continue
            task = asyncio.create_task(self._serve(connection), name="standby of a journal")
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_unix_connection(sock=connection, limit=messages.MAX_REQUEST_BYTES)
        watching: dict[str, asyncio.Task[None]] = {}
        try:
            writer.write(self._hello)
            self._waker.wake_all()  # there may have been no leader when jobs were submitted
            while line := await reader.readline():
                self._answer(line, writer, watching)
        except (ValueError, ConnectionError) as error:  # a line that is too long is a ValueError, too
            _log.debug("a process that shares a journal was disconnected: %s", error)
        finally:
            self._event_readers.discard(writer)
            for watch in watching.values():
                watch.cancel()
            writer.close()
            self._waker.wake_all()  # it may have been killed after it journaled a job, and before it said so

    def _answer(self, line: bytes, writer: asyncio.StreamWriter, watching: dict[str, asyncio.Task[None]]) -> None:
        match messages.decode_request(line):
            case Wake(lane_ids):
                for lane_id in lane_ids:
                    self._waker.wake_lane(lane_id)
            case Watch(key):
                if key not in watching:
                    watching[key] = asyncio.create_task(self._watch(key, writer, watching), name="watch of a job")
            case Unwatch(key):
                if key in watching:
                    watching.pop(key).cancel()
            case WantEvents():
                self._event_readers.add(writer)

    async def _watch(self, key: str, writer: asyncio.StreamWriter, watching: dict[str, asyncio.Task[None]]) -> None:
        """Tell a standby when a job has ended."""
        try:
            await self._wait(key)
        except JournalError:
            return  # this process ends; the standby asks the next leader
        except KeyError:
            pass  # the standby reads that, too
        finally:
            if watching.get(key) is asyncio.current_task():
                del watching[key]
        writer.write(messages.encode(Ended(key)))
        if writer.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            writer.transport.abort()
