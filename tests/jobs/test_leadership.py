"""What a new leader inherits, and what becomes of the jobs when the lead changes hands."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import NOW, mocked, volcengine_client, volcengine_success, zego_answer, zego_client
from tests.jobs.journals import all_jobs, fill
from tests.jobs.test_crash import serve_emulator
from tests.jobs.test_jobs import START, Vendor, stop, volcengine
from tests.jobs.test_shared_journal import processes
from volc_moderation import ConfigurationError, JournalError, NoQuotas, WindowQuotas
from volc_moderation.jobs import Jobs, JobState
from volc_moderation.jobs.inheritance import begin_lead
from volc_moderation.jobs.job import INTERRUPTED
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.lane_runner import LaneRunner


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stops.db"


class CountingVendor:
    """Keeps when calls arrived."""

    def __init__(self) -> None:
        self.arrived: list[float] = []

    def client(self, limit: int = 3) -> Any:
        def answer(_: httpx.Request) -> httpx.Response:
            self.arrived.append(time.monotonic())
            return volcengine_success()

        return volcengine_client(http_client=mocked(answer), quotas=WindowQuotas({"StopWebcast": limit}))


@pytest.mark.slow
async def test_a_new_leader_knows_what_the_last_one_has_sent(path: Path) -> None:
    """Also at a restart: the vendor counts calls of the last second, whoever has sent them."""
    vendor = CountingVendor()
    for first in (0, 3):
        async with Jobs(path, clients=[vendor.client()]) as jobs:
            keys = [await jobs.submit(stop(number)) for number in range(first, first + 3)]
            await asyncio.gather(*map(jobs.wait, keys))
    assert len(vendor.arrived) == 6
    assert vendor.arrived[3] - vendor.arrived[2] > 0.9


@pytest.mark.slow
async def test_after_a_kill_a_leader_assumes_that_all_permits_are_out(path: Path) -> None:
    vendor = CountingVendor()
    async with Jobs(path, clients=[vendor.client()]) as jobs:
        await jobs.wait(await jobs.submit(stop()))
    with contextlib.closing(Journal(path)) as journal, journal.transaction():
        boot = journal.note("permits")
        assert boot is not None
        journal.note("leader", boot.split('"')[1])
    async with Jobs(path, clients=[vendor.client()]) as jobs:
        await jobs.wait(await jobs.submit(stop()))
    assert 1.4 < vendor.arrived[1] - vendor.arrived[0] < 4


@pytest.mark.parametrize("note", ["", "[]", "nonsense", '{"boot": 1}'])
async def test_notes_that_cannot_be_read_are_ignored(path: Path, note: str) -> None:
    with contextlib.closing(Journal(path)) as journal, journal.transaction():
        journal.note("permits", note)
        journal.note("leader", note)
    async with Jobs(path, clients=[CountingVendor().client()]) as jobs:
        assert (await jobs.wait(await jobs.submit(stop()))).state is JobState.DONE


async def test_another_process_goes_on_if_the_runner_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who wait in the process that has failed get their result."""

    def broken(self: LaneRunner, *_: object) -> None:
        monkeypatch.undo()
        raise ArithmeticError("a bug")

    vendor = Vendor()
    vendor.release.set()
    leader = Jobs(path, clients=[volcengine()])
    await leader.__aenter__()
    async with Jobs(path, clients=[vendor.client]), asyncio.timeout(5):
        monkeypatch.setattr(LaneRunner, "_record", broken)
        key = await leader.submit(stop())
        assert (await leader.wait(key)).state is JobState.DONE
        assert vendor.calls == 1
        assert (await leader.wait(await leader.submit(stop(1)))).state is JobState.DONE
        assert "jobs no longer run in the background" in caplog.text
        with pytest.raises(ExceptionGroup):
            await leader.__aexit__(None, None, None)


async def test_a_call_in_flight_that_must_not_be_repeated_is_interrupted(path: Path) -> None:
    """When the lead changes hands without an end of the call, as after a kill."""
    zego = zego_client(http_client=mocked(lambda _: zego_answer(data={"TaskId": "t"})), quotas=NoQuotas())

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        return zego_answer()

    hanging = zego_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(hang)), quotas=NoQuotas())
    leader = Jobs(path, clients=[hanging, volcengine()], grace=0.05)
    await leader.__aenter__()
    async with Jobs(path, clients=[zego, volcengine()]) as standby, asyncio.timeout(5):
        key = await standby.submit(START)
        waiting = asyncio.create_task(standby.wait(key))
        other = await standby.submit(stop())
        assert (await standby.wait(other)).attempts == 1
        await leader.__aexit__(None, None, None)
        job = await waiting
        assert (job.state, job.code, job.maybe_sent) == (JobState.FAILED, INTERRUPTED, True)
        assert (await standby.wait(other)).attempts == 1


async def test_a_lost_wake_delays_a_job_at_most(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process was killed after it had journaled a job, and before it told the leader."""
    async with Jobs(path, clients=[volcengine()]) as leader:
        standby = Jobs(path, clients=[volcengine()])
        await standby.__aenter__()
        monkeypatch.setattr(standby._leadership, "wake", lambda *_: None)
        key = await standby.submit(stop())
        await standby.__aexit__(None, None, None)
        async with asyncio.timeout(5):
            assert (await leader.wait(key)).state is JobState.DONE


async def test_a_closed_leader_is_no_standby_of_itself(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        pass
    with pytest.raises(JournalError, match="closed"):
        await jobs.counts()
    assert not path.with_name("stops.db-sock").exists()


@pytest.mark.parametrize("grace", [0.0, 60.0])
@pytest.mark.parametrize("times", [1, 50])
async def test_a_close_that_is_cancelled_leaves_the_lead_to_others(path: Path, grace: float, times: int) -> None:
    """Whatever it is waiting for, and also if everything that it awaits afterwards is cancelled."""
    socket = path.with_name("stops.db-sock")
    async with asyncio.timeout(10):
        for steps in range(1, 12):
            vendor = Vendor()
            jobs = Jobs(path, clients=[vendor.client], grace=grace)
            await jobs.__aenter__()
            await jobs.submit(stop())
            await vendor.wait_for_calls(1)
            leader = jobs._leadership._leader
            assert leader is not None
            closing = asyncio.create_task(jobs.__aexit__(None, None, None))
            for _ in range(steps):
                await asyncio.sleep(0)
            for _ in range(times):
                closing.cancel()
                await asyncio.sleep(0)
            await asyncio.wait([closing])
            assert not socket.exists()
            await asyncio.wait([leader.running])
            with contextlib.closing(Journal(path, access="shared")) as journal:
                while not journal.take_lead():
                    await asyncio.sleep(0.001)


async def test_a_takeover_that_is_cancelled_ends_before_another_one_begins(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would recover the jobs that the other leader has in flight."""
    recovers, go_on = threading.Event(), threading.Event()
    real = Journal.recover

    def recover(self: Journal, *arguments: Any, **options: Any) -> int:
        recovers.set()
        assert go_on.wait(5)
        return real(self, *arguments, **options)

    async with Jobs(path, clients=[volcengine()]) as jobs:
        await jobs.submit(stop(), delay=60)
    monkeypatch.setattr(Journal, "recover", recover)
    with contextlib.closing(Journal(path, access="shared")) as other:
        entering = asyncio.create_task(Jobs(path, clients=[volcengine()]).__aenter__())
        async with asyncio.timeout(3):
            while not recovers.is_set():
                await asyncio.sleep(0.001)
            entering.cancel()
            await asyncio.sleep(0.02)
            assert not other.take_lead()
            go_on.set()
            with pytest.raises(asyncio.CancelledError):
                await entering
            assert other.take_lead()


async def test_a_lane_that_is_new_while_the_lead_is_taken_runs_at_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def begin(*arguments: Any) -> None:
        await begin_lead(*arguments)
        keys.append(await standby.submit(stop()))

    keys: list[str] = []
    leader = Jobs(path, clients=[volcengine()])
    await leader.__aenter__()
    async with Jobs(path, clients=[volcengine()]) as standby, asyncio.timeout(3):
        monkeypatch.setattr("volc_moderation.jobs.leader.begin_lead", begin)
        await leader.__aexit__(None, None, None)
        while not keys:
            await asyncio.sleep(0.01)
        assert (await standby.wait(keys[0])).state is JobState.DONE


@pytest.mark.parametrize("cause", ["socket", "clients"])
async def test_a_takeover_that_fails_changes_nothing(path: Path, cause: str) -> None:
    """It is tried again and again."""
    with contextlib.closing(Journal(path)) as journal:
        fill(journal, [stop()], volcengine())
        with journal.transaction():
            assert journal.take(1, 1, due=NOW, now=NOW)[0]
            journal.note("incarnation", "of a queue")
    if cause == "socket":
        path.with_name("stops.db-sock").mkdir()
    client = volcengine() if cause == "socket" else zego_client(http_client=mocked(lambda _: zego_answer()))
    with pytest.raises(JournalError if cause == "socket" else ConfigurationError):
        async with Jobs(path, clients=[client]):
            pass
    with contextlib.closing(Journal(path, access="read")) as journal:
        assert [(job.state, job.maybe_sent) for job in all_jobs(journal)] == [(JobState.SENT, False)]
        assert (journal.note("leader"), journal.note("incarnation")) == (None, "of a queue")


async def test_a_process_that_has_stopped_leading_has_no_role(path: Path) -> None:
    """What it submits before its journal is closed is for the next leader."""
    async with Jobs(path, clients=[volcengine()]) as jobs:
        await jobs._leadership.aclose(1)
        assert jobs._leadership.role is None
        async with Jobs(path, clients=[volcengine()]) as other, asyncio.timeout(3):
            key = await jobs.submit(stop())
            await other.submit(stop(1))
            assert (await other.wait(key)).state is JobState.DONE
        async with Jobs(path, clients=[volcengine()]) as other:
            await jobs._leadership.aclose(1)
            assert other._leadership._leader is not None


async def test_readers_of_events_outlast_a_time_without_a_leader(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who wait for a job are told why it does not run."""

    async def fail(*_: object) -> None:
        raise JournalError("the disk is full")

    monkeypatch.setattr("volc_moderation.jobs.leadership.NO_LEADER_TIMEOUT", 0.05)
    vendor = Vendor()
    leader = Jobs(path, clients=[vendor.client], grace=0)
    await leader.__aenter__()
    async with Jobs(path, clients=[volcengine()]) as standby, asyncio.timeout(5):
        reading = asyncio.ensure_future(anext(standby.events()))
        key = await standby.submit(stop())
        await vendor.wait_for_calls(1)
        waiting = asyncio.create_task(standby.wait(key))
        await asyncio.sleep(0.01)
        with monkeypatch.context() as patch:
            patch.setattr("volc_moderation.jobs.leader.begin_lead", fail)
            await leader.__aexit__(None, None, None)
            with pytest.raises(JournalError, match="no process runs the jobs: the disk is full"):
                await waiting
        assert (await reading).key == key


async def test_a_runner_that_ignores_its_cancellation_keeps_no_close_waiting(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one with a transport that does."""
    monkeypatch.setattr("volc_moderation.jobs.leader.CANCEL_TIMEOUT", 0.05)
    release = asyncio.Event()

    async def answer(_: httpx.Request) -> httpx.Response:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return volcengine_success()

    client = volcengine_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)), quotas=NoQuotas())
    async with asyncio.timeout(3):
        async with Jobs(path, clients=[client], grace=0.05) as jobs:
            key = await jobs.submit(stop())
            await asyncio.sleep(0.05)
            leader = jobs._leadership._leader
            assert leader is not None
        async with Jobs(path, clients=[volcengine()]) as other:
            assert (await other.wait(key)).maybe_sent
        release.set()
        await asyncio.wait([leader.running])


@pytest.mark.slow
async def test_only_calls_in_flight_are_made_twice(path: Path) -> None:
    async with serve_emulator() as (base_url, arrived), processes(path, base_url) as started:
        leader = await started.start("submit 0 200")
        others = [await started.start("stand") for _ in range(2)]
        await started.wait_for("submitted")
        await started.kill(leader["pid"])
        began = time.monotonic()
        last = await started.start("submit 200 1")
        accepted = await started.wait_for("accepted", pid=last["pid"])
        waiting = await started.start(f"wait {accepted['key']}")
        await started.wait_for("ended", pid=waiting["pid"])
        assert time.monotonic() - began < 4  # 0.1 on an idle machine
        async with asyncio.timeout(5):
            while len(arrived) < 201:
                await asyncio.sleep(0.01)
        for process in others:
            os.kill(process["pid"], signal.SIGTERM)
            await started.wait_for("closed", pid=process["pid"])
    with contextlib.closing(Journal(path)) as journal:
        in_flight = {str(job.parameters["RoomId"]) for job in journal.jobs() if job.maybe_sent}
        assert journal.counts()[JobState.DONE] == 201
    assert {room for room, count in arrived.items() if count > 1} <= in_flight


@pytest.mark.slow
async def test_a_child_of_a_killed_leader_does_not_hide_its_end(path: Path) -> None:
    """A child that was forked has the sockets of its parent, unless it closes them."""
    async with serve_emulator() as (base_url, _), processes(path, base_url) as started:
        leader = await started.start("fork")
        standby = await started.start("stand")
        await started.wait_for("forked", pid=leader["pid"])
        await started.kill(leader["pid"])
        async with asyncio.timeout(2):  # before the child ends
            with contextlib.closing(Journal(path, access="read")) as journal:
                while f"process {standby['pid']} " not in (journal.note("owner") or ""):
                    await asyncio.sleep(0.01)
