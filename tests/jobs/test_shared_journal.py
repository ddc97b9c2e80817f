"""Several processes, or several ``Jobs`` of one, use a journal at the same time."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sqlite3
import stat
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import mocked, zego_answer, zego_client
from tests.jobs.journals import all_jobs, submit
from tests.jobs.test_crash import serve_emulator
from tests.jobs.test_jobs import START, Vendor, stop, volcengine
from volc_moderation import ConfigurationError, JournalError, NoQuotas
from volc_moderation.jobs import JobEvent, Jobs, JobState
from volc_moderation.jobs.journal import Journal


class Processes:
    """Processes that share a journal: see ``sharing.py``."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self.program = program
        self.lines: list[dict[str, Any]] = []
        self._has_more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())
        self.started: set[int] = set()

    async def _read(self) -> None:
        assert self.program.stdout is not None
        while line := await self.program.stdout.readline():
            self.lines.append(json.loads(line))
            self._has_more.set()

    async def start(self, what: str) -> dict[str, Any]:
        """Start a process; return what it says when it is ready."""
        assert self.program.stdin is not None
        self.program.stdin.write(f"{what}\n".encode())
        ready = await self.wait_for("ready", not_from=self.started)
        self.started.add(ready["pid"])
        return ready

    async def wait_for(self, what: str, *, pid: int | None = None, not_from: set[int] | None = None) -> dict[str, Any]:
        """Wait for a line, and return it."""
        async with asyncio.timeout(20):
            while True:
                for line in self.lines:
                    if line["what"] == what and pid in {None, line["pid"]} and line["pid"] not in (not_from or ()):
                        return line
                self._has_more.clear()
                await self._has_more.wait()

    def numbers(self, what: str) -> set[int]:
        return {line["number"] for line in self.lines if line["what"] == what}

    async def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            while Path(f"/proc/{pid}").exists():  # noqa: ASYNC240 - a read of memory
                await asyncio.sleep(0.001)

    async def close(self) -> None:
        assert self.program.stdin is not None
        for pid in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.program.stdin.close()
        await self.program.wait()
        await self._reading


@contextlib.asynccontextmanager
async def processes(path: Path, base_url: str) -> AsyncIterator[Processes]:
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.jobs.sharing", path, base_url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    started = Processes(program)
    try:
        yield started
    finally:
        await started.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stops.db"


# In one process


async def test_a_standby_submits_and_the_leader_makes_the_call(path: Path) -> None:
    vendor, unused = Vendor(), Vendor()
    vendor.release.set()
    async with Jobs(path, clients=[vendor.client]) as leader, Jobs(path, clients=[unused.client]) as standby:
        began = asyncio.get_running_loop().time()
        key = await standby.submit(stop())
        ended = await asyncio.gather(standby.wait(key), leader.wait(key))
        assert [job.state for job in ended] == 2 * [JobState.DONE]
        assert asyncio.get_running_loop().time() - began < 2  # 0.1 on an idle machine
        assert await standby.status(key) == await leader.status(key)
        assert await standby.counts() == await leader.counts()
        with pytest.raises(KeyError):
            await standby.wait("none")
        await standby.submit(stop(1), delay=0.1)
        await standby.wait(await standby.submit(stop(1)))
    assert (vendor.calls, unused.calls) == (2, 0)


async def test_a_standby_reads_the_events_of_the_leader(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as leader, Jobs(path, clients=[volcengine()]) as standby:
        readers = [asyncio.ensure_future(anext(jobs.events())) for jobs in (leader, standby)]
        await asyncio.sleep(0.05)
        key = await leader.submit(stop())
        async with asyncio.timeout(5):
            events: list[JobEvent] = await asyncio.gather(*readers)
    names = (
        *("lane", "key", "attempts", "due", "action", "parameters", "state", "maybe_sent", "was_gone", "code"),
        *("message", "advice", "request_id", "result", "line"),
    )
    mine, others = ([getattr(event, name) for name in names] for event in events)
    assert mine == others
    assert events[1].key == key


async def test_events_of_unknown_actions_are_skipped(path: Path) -> None:
    zego = zego_client(http_client=mocked(lambda _: zego_answer(data={"TaskId": "t"})), quotas=NoQuotas())
    async with (
        Jobs(path, clients=[volcengine(), zego]) as leader,
        Jobs(path, clients=[volcengine()]) as standby,
    ):
        reading = asyncio.ensure_future(anext(standby.events()))
        await asyncio.sleep(0.05)
        await leader.wait(await leader.submit(START))
        key = await leader.submit(stop())
        async with asyncio.timeout(5):
            assert (await reading).key == key


@pytest.mark.slow
async def test_the_next_one_takes_the_lead_at_once_when_the_leader_closes(path: Path) -> None:
    vendor = Vendor()
    vendor.release.set()
    leader = Jobs(path, clients=[volcengine()])
    await leader.__aenter__()
    async with Jobs(path, clients=[vendor.client]) as standby:
        waiting = asyncio.create_task(standby.wait(await standby.submit(stop(), delay=0.3)))
        await leader.__aexit__(None, None, None)
        began = asyncio.get_running_loop().time()
        await standby.wait(await standby.submit(stop(1)))
        assert asyncio.get_running_loop().time() - began < 0.5
        assert (await waiting).state is JobState.DONE
    assert vendor.calls == 2


async def test_a_standby_that_closes_disturbs_nobody(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as leader:
        async with Jobs(path, clients=[volcengine()]) as standby:
            key = await standby.submit(stop())
            waiting = asyncio.create_task(standby.wait(key))
            await vendor.wait_for_calls(1)
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - began < 0.5
        with pytest.raises(JournalError, match="closed"):
            await waiting
        vendor.release.set()
        assert (await leader.wait(key)).state is JobState.DONE


async def test_waiting_in_a_standby_can_be_cancelled(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as leader, Jobs(path, clients=[volcengine()]) as standby:
        key = await standby.submit(stop())
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(standby.wait(key), 0.02)
        await asyncio.sleep(0.02)
        assert not leader._listeners._waiters
        vendor.release.set()
        assert (await standby.wait(key)).state is JobState.DONE


async def test_an_account_that_the_leader_does_not_have_is_refused(path: Path) -> None:
    zego = zego_client(http_client=mocked(lambda _: zego_answer()), quotas=NoQuotas())
    async with Jobs(path, clients=[volcengine()]), Jobs(path, clients=[volcengine(), zego]) as standby:
        with pytest.raises(
            ConfigurationError, match=f"process {os.getpid()}, .*has no client for this account of zego"
        ):
            await standby.submit(START)
        assert sum((await standby.counts()).values()) == 0


@pytest.mark.slow
async def test_a_process_without_the_clients_leads_only_if_no_other_does(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then it runs the jobs that it can run, and the others stay pending."""
    vendor = Vendor()
    leader = Jobs(path, clients=[vendor.client], grace=0.01)
    await leader.__aenter__()
    key = await leader.submit(stop())
    await vendor.wait_for_calls(1)
    zego = zego_client(http_client=mocked(lambda _: zego_answer()), quotas=NoQuotas())
    async with Jobs(path, clients=[zego]) as poor:
        waiting = asyncio.create_task(poor.wait(key))
        await leader.__aexit__(None, None, None)
        async with Jobs(path, clients=[volcengine()]) as rich, asyncio.timeout(5):
            assert (await waiting).state is JobState.DONE
            later = await rich.submit(stop(), delay=60)
        async with asyncio.timeout(5):
            while "there are jobs of StopWebcast" not in caplog.text:
                await asyncio.sleep(0.01)
            assert (await poor.wait(await poor.submit(START))).attempts == 1
            pending = await poor.status(later)
        assert pending is not None
        assert pending.state is JobState.PENDING
    with pytest.raises(ConfigurationError, match="run them with the clients that they were submitted with"):
        async with Jobs(path, clients=[zego]):
            pass


async def test_due_times_agree_after_a_step_of_the_clock(path: Path) -> None:
    """The standby started after the machine's clock had stepped an hour ahead."""
    now = [1000.0]
    async with Jobs(path, clients=[volcengine()], clock=lambda: now[0]) as leader:
        now[0] += 3600
        async with Jobs(path, clients=[volcengine()], clock=lambda: now[0]) as standby, asyncio.timeout(2):
            await standby.wait(await standby.submit(stop()))
            assert abs(standby._steady_clock() - leader._steady_clock()) < 0.01


# The files


def test_an_exclusive_user_and_others_exclude_each_other(path: Path) -> None:
    with (
        contextlib.closing(Journal(path, access="shared")),
        contextlib.closing(Journal(path, access="shared")),
        pytest.raises(JournalError, match="is in use"),
    ):
        Journal(path)
    with contextlib.closing(Journal(path)), pytest.raises(JournalError, match=r"is in use: process [0-9]+ on "):
        Journal(path, access="shared")


def test_only_one_has_the_lead(path: Path) -> None:
    with contextlib.closing(Journal(path, access="shared")) as first:
        with contextlib.closing(Journal(path, access="shared")) as second:
            assert first.take_lead()
            assert not second.take_lead()
            first.release_lead()
            assert second.take_lead()
        assert first.take_lead()


def test_a_lock_that_was_removed_gives_no_lead(path: Path) -> None:
    with contextlib.closing(Journal(path, access="shared")) as first:
        path.with_name("stops.db-lock").unlink()
        with pytest.raises(JournalError, match="-lock was removed or replaced"):
            first.take_lead()


async def test_there_is_one_leader_even_if_the_lock_is_removed(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        path.with_name("stops.db-lock").unlink()
        with pytest.raises(JournalError, match=f"the lock of the journal was removed while process {os.getpid()}"):
            async with Jobs(path, clients=[volcengine()]):
                pass
        assert (await jobs.wait(await jobs.submit(stop()))).state is JobState.DONE


@pytest.mark.parametrize("replaced", [True, False])
async def test_a_journal_that_was_removed_is_not_written(path: Path, replaced: bool) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        path.unlink()  # noqa: ASYNC240 - at once
        if replaced:
            path.touch()  # noqa: ASYNC240
        with pytest.raises(JournalError, match="was removed or replaced while it was in use"):
            await jobs.submit(stop())
        path.unlink(missing_ok=True)  # noqa: ASYNC240


def test_a_writer_waits_for_another_one(path: Path) -> None:
    with (
        contextlib.closing(Journal(path, access="shared")) as first,
        contextlib.closing(Journal(path, access="shared")) as second,
    ):
        first._db.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.1, first._db.execute, ["COMMIT"])
        timer.start()
        submit(second)
        timer.join()
        assert [job.key for job in all_jobs(first)] == ["k"]


def test_a_writer_does_not_wait_for_ever(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.jobs.journal.file.MAX_BUSY_TIME", 0.05)
    with (
        contextlib.closing(Journal(path, access="shared")) as journal,
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="another process has held the journal"):
            submit(journal)
        other.execute("ROLLBACK")
        submit(journal)


def test_several_may_create_a_journal_at_the_same_moment(path: Path) -> None:
    errors: list[BaseException] = []
    start = threading.Barrier(8)

    def create() -> None:
        start.wait()
        try:
            journal = Journal(path, access="shared")
            submit(journal)
            journal.close()
        except BaseException as error:  # noqa: BLE001 - reported below
            errors.append(error)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with contextlib.closing(Journal(path)) as journal:
        assert len(all_jobs(journal)) == 1


@pytest.mark.parametrize("length", [60, 150])
async def test_long_paths_have_a_socket(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("d" * length) / ("e" * length)
    folder.mkdir(parents=True)
    async with (
        Jobs(folder / "stops.db", clients=[volcengine()]),
        Jobs(folder / "stops.db", clients=[volcengine()]) as jobs,
    ):
        assert jobs._leadership._standby is not None
        socket = folder / "stops.db-sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        await jobs.wait(await jobs.submit(stop()))
    assert not socket.exists()


async def test_a_journal_whose_name_is_too_long_for_a_socket_has_one_with_another_name(tmp_path: Path) -> None:
    path = tmp_path / ("s" * 200)
    async with Jobs(path, clients=[volcengine()]), Jobs(path, clients=[volcengine()]) as jobs:
        assert jobs._leadership._standby is not None
        await jobs.wait(await jobs.submit(stop()))


async def test_a_file_with_the_name_of_the_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "stops.db-sock").write_text("mine")
    with pytest.raises(JournalError, match=r"stops\.db-sock cannot be created: Address already in use"):
        async with Jobs(tmp_path / "stops.db", clients=[volcengine()]):
            pass
    assert (tmp_path / "stops.db-sock").read_text() == "mine"


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\xff\n",
        b"{}\n",
        b"[]\n",
        b'{"wake": "x"}\n',
        b'{"watch": 1}\n',
        b"x" * 200_000,
        b'{"events": 1, "a": 2}\n',
    ],
)
async def test_a_process_that_says_nonsense_is_disconnected(path: Path, line: bytes) -> None:
    async with Jobs(path, clients=[volcengine()]) as leader, Jobs(path, clients=[volcengine()]) as standby:
        reader, writer = await asyncio.open_unix_connection(path.with_name("stops.db-sock"))
        await reader.readline()
        with contextlib.suppress(ConnectionError):
            writer.write(line)
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        writer.close()
        await standby.wait(await standby.submit(stop()))
        assert leader._leadership._leader is not None


async def test_a_reader_of_events_that_does_not_read_loses_them(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        reader, writer = await asyncio.open_unix_connection(path.with_name("stops.db-sock"))
        writer.write(b'{"events":true}\n{"wake":[1,99]}\n{"watch":"none"}\n')
        assert b"hello" in await reader.readline()
        assert await reader.readline() == b'{"ended":"none"}\n'
        leader = jobs._leadership._leader
        assert leader is not None
        assert leader._socket is not None
        event = asyncio.ensure_future(anext(jobs.events()))
        await asyncio.sleep(0)
        await jobs.submit(stop())
        sent = await event
        for _ in range(20_000):
            leader._socket.broadcast(sent)
        (slow,) = leader._socket._event_readers
        assert 2 * 2**20 <= slow.transport.get_write_buffer_size() < 3 * 2**20
        await jobs.wait(await jobs.submit(stop(1)))
        writer.close()


# In several processes


@pytest.mark.slow
async def test_a_job_of_one_process_wakes_a_task_in_another(path: Path) -> None:
    async with serve_emulator() as (base_url, arrived), processes(path, base_url) as started:
        leader = await started.start("stand")
        assert leader["leads"]
        reader = await started.start("events")
        submitting = await started.start("submit 0 1")
        assert not submitting["leads"]
        accepted = await started.wait_for("accepted")
        waiting = await started.start(f"wait {accepted['key']}")
        ended = await started.wait_for("ended", pid=waiting["pid"])
        assert ended["state"] == "done"
        event = await started.wait_for("event", pid=reader["pid"])
        assert (event["state"], event["parameters"]["RoomId"]) == ("done", "r-0")
        assert arrived == {"r-0": 1}


@pytest.mark.slow
async def test_a_standby_takes_over_when_the_leader_is_killed(path: Path) -> None:
    """Everything that was submitted is sent; only what was in flight may be sent twice."""
    async with serve_emulator() as (base_url, arrived), processes(path, base_url) as started:
        leader = await started.start("stand")
        reader = await started.start("events")
        await started.start("submit 0 50")
        await started.wait_for("submitted")
        await started.kill(leader["pid"])
        began = asyncio.get_running_loop().time()
        other = await started.start("submit 50 1")
        accepted = await started.wait_for("accepted", pid=other["pid"])
        waiting = await started.start(f"wait {accepted['key']}")
        await started.wait_for("ended", pid=waiting["pid"])
        assert asyncio.get_running_loop().time() - began < 2  # 0.1 on an idle machine
        await started.wait_for("event", pid=reader["pid"])
        os.kill(other["pid"], signal.SIGTERM)
        await started.wait_for("closed", pid=other["pid"])
        async with asyncio.timeout(5):
            while len(arrived) < 51:
                await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_no_job_is_lost_when_workers_are_killed(path: Path) -> None:
    dice = random.Random(1)
    async with serve_emulator() as (base_url, arrived), processes(path, base_url) as started:
        running = [(await started.start(f"submit {100 * n} 100"))["pid"] for n in range(3)]
        for n in range(3, 9):
            await asyncio.sleep(dice.uniform(0.02, 0.1))
            victim = running.pop(dice.randrange(3))
            await started.kill(victim)
            running.append((await started.start(f"submit {100 * n} 60"))["pid"])
        for pid in running:
            await started.wait_for("submitted", pid=pid)
        accepted = {f"r-{number}" for number in started.numbers("accepted")}
        assert len(accepted) > 300
        async with asyncio.timeout(20):
            while not accepted <= arrived.keys():
                await asyncio.sleep(0.01)
        for pid in running:
            os.kill(pid, signal.SIGTERM)
        for pid in running:
            await started.wait_for("closed", pid=pid)
    with contextlib.closing(Journal(path)) as journal:
        assert journal._query("PRAGMA integrity_check") == [("ok",)]
        assert Counter(job.state for job in all_jobs(journal)).keys() == {JobState.DONE}
