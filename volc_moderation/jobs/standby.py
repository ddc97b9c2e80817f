"""The end of the leader's socket in a process that leaves the calls to the leader."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

from volc_moderation.errors import ConfigurationError
from volc_moderation.jobs import messages, socket_file
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.messages import (
    Hello,
    Notice,
    Unwatch,
    Wake,
    WantEvents,
    Watch,
)

#: Seconds that the leader may take to say hello; its event loop may be busy.
HELLO_TIMEOUT = 1.0
#: Seconds in which the last messages must have been sent when a connection is closed; the leader may be suspended.
CLOSE_TIMEOUT = 1.0
#: Bytes that the leader has not read, from which on it is not told of new jobs: it will look for them by itself.
MAX_UNREAD_WAKE_BYTES = 64 * 1024


class Standby:
    """A connection to the leader.

    :param hello: what the leader said first.
    """

    def __init__(self, hello: Hello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.hello = hello
        self._reader = reader
        self._writer = writer
        self._reading: asyncio.Task[None] | None = None
        #: Lanes that got jobs in this iteration of the event loop.
        self._lanes_to_wake: set[int] = set()

    @classmethod
    async def connect(cls, file: Path, *, timeout: float = HELLO_TIMEOUT) -> "Standby | None":  # noqa: ASYNC109
        """Connect to the leader whose socket has a name; return None if there is none, or it has just ended.

        Raises ``TimeoutError`` if a process listens there and does not say hello in time, and ``JournalError`` if this
        process can have no more sockets.
        """
        connection = socket_file.connect_to(file)
        if connection is None:
            return None
        try:
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=messages.MAX_NOTICE_BYTES)
        except OSError:
            connection.close()
            return None
        try:
            async with asyncio.timeout(timeout):
                hello = messages.decode_notice(await reader.readline())
            if isinstance(hello, Hello):
                return cls(hello, reader, writer)
        except (ValueError, ConnectionError):
            pass
        except BaseException:
            writer.close()
            raise
        writer.close()
        return None

    def listen(self, on_notice: Callable[[Notice], None]) -> "asyncio.Task[None]":
        """Pass on what the leader says; the task that is returned ends with the connection."""
        self._reading = asyncio.create_task(self._read(on_notice), name="connection to the leader of a journal")
        return self._reading

    async def _read(self, on_notice: Callable[[Notice], None]) -> None:
        try:
            while line := await self._reader.readline():
                on_notice(messages.decode_notice(line))
        except (ValueError, ConnectionError):
            pass
        finally:
            self._writer.close()

    def check_account(self, lane: Lane) -> None:
        """Raise ``ConfigurationError`` if the leader cannot make the calls of a lane."""
        if (lane.vendor, lane.account) not in self.hello.accounts:
            raise ConfigurationError(
                f"process {self.hello.pid}, which makes the calls of this journal, has no client for this account of"
                f" {lane.vendor}: give all Jobs of a journal the same clients"
            )

    def wake(self, lane_id: int) -> None:
        """Tell the leader that a lane has new jobs."""
        if not self._lanes_to_wake:
            asyncio.get_running_loop().call_soon(self._send_wake)
        self._lanes_to_wake.add(lane_id)

    def _send_wake(self) -> None:
        if self._writer.transport.get_write_buffer_size() <= MAX_UNREAD_WAKE_BYTES:
            self._send(Wake(sorted(self._lanes_to_wake)))
        self._lanes_to_wake.clear()

    def watch(self, key: str) -> None:
        """Ask the leader to say when a job has ended."""
        self._send(Watch(key))

    def unwatch(self, key: str) -> None:
        """Tell the leader that nobody waits for a job any more."""
        self._send(Unwatch(key))

    def want_events(self) -> None:
        """Ask the leader for all events."""
        self._send(WantEvents())

    def _send(self, message: messages.Request) -> None:
        if not self._writer.is_closing():
            self._writer.write(messages.encode(message))

    async def aclose(self) -> None:
        """End the connection, once what was said has been sent, or that has taken too long."""
        self._writer.close()
        if self._reading is not None:
            self._reading.cancel()
        try:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._writer.wait_closed()
        finally:
            self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()
