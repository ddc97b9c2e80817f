"""The ends of the socket between the processes that share a journal, one at a time."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.test_jobs import stop, volcengine
from volc_moderation import JournalError
from volc_moderation.jobs import Jobs, JobState, messages, socket_file
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.messages import Hello
from volc_moderation.jobs.standby import Standby


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stops.db"


class StuckLeader:
    """Says hello to one process, and reads nothing."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.listener = socket_file.listen_at(file)
        self.connection: socket.socket | None = None

    async def greet(self) -> None:
        self.connection = await socket_file.accept_at(self.listener)
        hello = Hello(os.getpid(), 0.0, Clients([volcengine()]).accounts())
        await asyncio.get_running_loop().sock_sendall(self.connection, messages.encode(hello))

    def stop_listening(self) -> None:
        self.listener.close()
        self.file.unlink(missing_ok=True)

    def close(self) -> None:
        self.stop_listening()
        if self.connection is not None:
            self.connection.close()


@contextlib.contextmanager
def stuck_leader(path: Path) -> Iterator[StuckLeader]:
    with contextlib.closing(StuckLeader(path.with_name("stops.db-sock"))) as leader:
        yield leader


def fill(standby: Standby) -> int:
    """Write more than the socket holds; return how much waits."""
    standby._writer.write(bytes(2**20))
    return standby._writer.transport.get_write_buffer_size()


async def test_closing_does_not_wait_for_a_leader_that_does_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be suspended."""
    monkeypatch.setattr("volc_moderation.jobs.standby.CLOSE_TIMEOUT", 0.05, raising=False)
    with stuck_leader(path) as leader:
        standby, _ = await asyncio.gather(Standby.connect(leader.file), leader.greet())
        assert standby is not None
        reading = standby.listen(lambda _: None)
        assert fill(standby)
        async with asyncio.timeout(1):
            await standby.aclose()
        assert reading.done()


async def test_a_leader_that_does_not_read_gets_no_more_wakes(path: Path) -> None:
    with stuck_leader(path) as leader:
        standby, _ = await asyncio.gather(Standby.connect(leader.file), leader.greet())
        assert standby is not None
        standby.wake(1)
        await asyncio.sleep(0)
        assert leader.connection is not None
        assert leader.connection.recv(100) == b'{"wake":[1]}\n'
        size = fill(standby)
        standby.wake(1)
        await asyncio.sleep(0)
        assert standby._writer.transport.get_write_buffer_size() == size
        standby.abort()


async def test_a_connection_that_is_left_of_a_leader_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Although it is open, and full: the lock of the journal shows that nobody leads."""
    monkeypatch.setattr("volc_moderation.jobs.leadership.BACKSTOP_INTERVAL", 0.05)
    with contextlib.closing(Journal(path, access="shared")) as journal, stuck_leader(path) as leader:
        assert journal.take_lead()
        greeting = asyncio.create_task(leader.greet())
        async with Jobs(path, clients=[volcengine()]) as jobs, asyncio.timeout(3):
            await greeting
            assert jobs._leadership._standby is not None
            fill(jobs._leadership._standby)
            key = await jobs.submit(stop())
            leader.stop_listening()
            journal.release_lead()
            assert (await jobs.wait(key)).state is JobState.DONE


async def test_a_process_that_listens_and_is_silent_is_another_leader(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event loop is blocked. One that has ended does not listen, even if its socket is there."""
    monkeypatch.setattr("volc_moderation.jobs.leader.OTHER_LEADER_TIMEOUT", 0.05)
    with stuck_leader(path) as leader:
        with pytest.raises(JournalError, match="the lock of the journal was removed while another process used it"):
            async with Jobs(path, clients=[volcengine()]):
                pass
        assert leader.file.exists()
        leader.listener.close()
        async with Jobs(path, clients=[volcengine()]) as jobs:
            assert jobs._leadership._leader is not None


async def test_a_process_whose_backlog_is_full_is_a_silent_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_file, "BACKLOG", 0)
    file = tmp_path / "sock"
    with contextlib.closing(socket_file.listen_at(file)), contextlib.ExitStack() as stack:
        with pytest.raises(TimeoutError):
            while (connection := socket_file.connect_to(file)) is not None:
                stack.enter_context(connection)
        with pytest.raises(TimeoutError):
            await Standby.connect(file)


async def test_a_lack_of_file_descriptors_passes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that cannot listen takes the lead as soon as it can."""

    def none_is_free(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "Too many open files")

    leader = Jobs(path, clients=[volcengine()])
    await leader.__aenter__()
    async with Jobs(path, clients=[volcengine()]) as standby, asyncio.timeout(3):
        key = await standby.submit(stop(), delay=0.1)
        with monkeypatch.context() as patch:
            patch.setattr(socket, "socket", none_is_free)
            await leader.__aexit__(None, None, None)
            while standby._leadership._last_error is None:
                await asyncio.sleep(0.01)
        assert "sock cannot be created: Too many open files" in standby._leadership._last_error
        assert (await standby.wait(key)).state is JobState.DONE
