"""Jobs in a program that keeps running, with a real journal and its thread."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import mocked, volcengine_client, volcengine_error, volcengine_success, zego_answer, zego_client
from tests.jobs.journals import all_jobs
from volc_moderation import ConfigurationError, JournalError, NoQuotas
from volc_moderation.jobs import JobEvent, Jobs, JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import CensorTask, StartCensorAudioV2, StopCensorAudioV2

START = StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])


def stop(number: int = 0) -> StopWebcast:
    return StopWebcast(app_id="app", room_id=f"room-{number}", task_id="wall")


def volcengine(handler: Callable[[httpx.Request], httpx.Response] = lambda _: volcengine_success()) -> Any:
    return volcengine_client(http_client=mocked(handler), quotas=NoQuotas())


class Vendor:
    """A vendor whose answers are held back until ``release`` is set."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.calls = 0
        self.http_client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.client = volcengine_client(http_client=self.http_client, quotas=NoQuotas())

    async def _answer(self, _: httpx.Request) -> httpx.Response:
        self.calls += 1
        await self.release.wait()
        return volcengine_success()

    async def wait_for_calls(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.calls < count:
                await asyncio.sleep(0.005)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stops.db"


async def test_a_job_is_done_in_the_background(path: Path) -> None:
    zego = zego_client(http_client=mocked(lambda _: zego_answer(data={"TaskId": "t-1"})), quotas=NoQuotas())
    async with Jobs(path, clients=[volcengine(), zego]) as jobs:
        stopped, started = await jobs.submit(stop()), await jobs.submit(START)
        done = await jobs.wait(stopped)
        assert (done.state, done.attempts, done.request_id) == (JobState.DONE, 1, "r-1")
        assert (await jobs.wait(started)).result == CensorTask(task_id="t-1")
        job = await jobs.status(started)
        assert job is not None
        assert job.action == "StartCensorAudioV2"
        assert (await jobs.counts())[JobState.DONE] == 2
        assert await jobs.status("none") is None
        with pytest.raises(KeyError):
            await jobs.wait("none")


async def test_a_job_is_in_the_journal_before_submit_returns(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        key = await jobs.submit(stop())
        other = Journal(path, access="read")
        assert [job.key for job in all_jobs(other)] == [key]
        other.close()


async def test_a_submitted_job_survives_a_power_failure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor, commits = Vendor(), []
    transaction = Journal.transaction

    def recorded(journal: Journal, *, durable: bool = False) -> Any:
        commits.append(durable)
        return transaction(journal, durable=durable)

    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        await jobs.counts()
        monkeypatch.setattr(Journal, "transaction", recorded)
        await jobs.submit(stop())
        assert True in commits


async def test_a_reader_of_events_gets_them_at_once(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        events = jobs.events()
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        key = await jobs.submit(stop())
        assert (await asyncio.wait_for(first, 5)).key == key


async def test_jobs_that_cannot_start_release_the_journal(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The next process that can start logs how many jobs were in flight."""
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        await jobs.submit(stop())
        await vendor.wait_for_calls(1)
    assert "when the last process ended" not in caplog.text
    caplog.set_level("INFO")
    zego = zego_client(http_client=mocked(lambda _: zego_answer()), quotas=NoQuotas())
    with pytest.raises(ConfigurationError, match="none of the clients has"):
        async with Jobs(path, clients=[zego]):
            pass
    for expected in ("1 jobs were in flight when the last process ended", ""):
        async with Jobs(path, clients=[volcengine()]) as jobs:
            async with asyncio.timeout(5):
                while (await jobs.counts())[JobState.DONE] == 0:
                    await asyncio.sleep(0.01)
        assert [line for line in caplog.messages if "last process" in line] == ([expected] if expected else [])
        caplog.clear()


@pytest.mark.slow
async def test_remaining_jobs_are_done_by_the_next_process(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(3)]
        late = await jobs.submit(stop(99), delay=0.3)
        await vendor.wait_for_calls(3)
        waiting = asyncio.create_task(jobs.wait(keys[0]))
        await asyncio.sleep(0)
    with pytest.raises(JournalError, match="run in another process, or at the next start"):
        await waiting
    async with Jobs(path, clients=[volcengine()]) as jobs:
        for key in (*keys, late):
            assert (await jobs.wait(key)).state is JobState.DONE


async def test_the_end_of_the_block_finishes_calls_in_flight(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        key = await jobs.submit(stop())
        await vendor.wait_for_calls(1)
        asyncio.get_running_loop().call_later(0.1, vendor.release.set)
    journal = Journal(path, access="read")
    job = journal.find(key)
    assert job is not None
    assert job.state is JobState.DONE
    journal.close()


async def test_a_job_runs_once_while_pending_and_again_if_submitted_in_flight(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        keys = {await jobs.submit(stop(), delay=0.2), await jobs.submit(stop(), delay=0.2)}
        assert len(keys) == 1
        await vendor.wait_for_calls(1)
        await jobs.submit(stop())
        vendor.release.set()
        assert (await jobs.wait(*keys)).state is JobState.DONE
        assert vendor.calls == 2
        await jobs.submit(stop())
        assert (await jobs.wait(*keys)).state is JobState.DONE
        assert vendor.calls == 3


async def test_events_describe_each_attempt(path: Path) -> None:
    answers = iter(
        [volcengine_error("InternalError", status=500), volcengine_success(), volcengine_error("InvalidParameter")]
    )
    async with Jobs(path, clients=[volcengine(lambda _: next(answers))]) as jobs:
        events: list[JobEvent] = []

        async def watch() -> None:
            events.extend([event async for event in jobs.events()])

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await jobs.wait(await jobs.submit(stop()))
        await jobs.wait(await jobs.submit(stop(1)))
    await watching
    assert [(event.state, event.attempts, event.code) for event in events] == [
        (JobState.PENDING, 1, "InternalError"),
        (JobState.DONE, 2, None),
        (JobState.FAILED, 1, "InvalidParameter"),
    ]
    assert events[0].due is not None
    assert events[1].parameters == {"AppId": "app", "RoomId": "room-0", "TaskId": "wall"}
    assert events[2].advice == "the message names the parameter"


async def test_waiting_can_be_cancelled(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        key = await jobs.submit(stop())
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(jobs.wait(key), 0.01)
        vendor.release.set()
        assert (await jobs.wait(key)).state is JobState.DONE


@pytest.mark.slow
async def test_refused_keys_and_an_unreachable_vendor_do_not_end_the_jobs(path: Path) -> None:
    answers: list[httpx.Response | Exception] = [
        volcengine_error("InvalidAccessKey", status=401),
        httpx.ConnectError("no way"),
        volcengine_success(),
    ]

    def handler(_: httpx.Request) -> httpx.Response:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with Jobs(path, clients=[volcengine(handler)]) as jobs:
        async with asyncio.timeout(10):
            job = await jobs.wait(await jobs.submit(stop()))
        assert (job.state, job.attempts) == (JobState.DONE, 1)


@pytest.mark.no_coverage
@pytest.mark.slow
async def test_a_thousand_jobs_are_submitted_at_once(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        keys = await asyncio.gather(*(jobs.submit(stop(number)) for number in range(1000)))
        ended = await asyncio.gather(*map(jobs.wait, keys))
    assert len(set(keys)) == 1000
    assert {job.state for job in ended} == {JobState.DONE}


async def test_old_jobs_that_are_done_are_deleted(path: Path) -> None:
    now = 1_000_000.0
    async with Jobs(path, clients=[volcengine()], clock=lambda: now) as jobs:
        key = await jobs.submit(stop())
        await jobs.wait(key)
    async with Jobs(path, clients=[volcengine()], clock=lambda: now + 50, keep=100) as jobs:
        assert await jobs.status(key) is not None
    async with Jobs(path, clients=[volcengine()], clock=lambda: now + 200, keep=100) as jobs:
        async with asyncio.timeout(5):
            while await jobs.status(key) is not None:
                await asyncio.sleep(0.01)


async def test_a_journal_that_cannot_delete_old_jobs_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def delete_done(_: Journal, *, before: float) -> int:
        raise JournalError(f"cannot delete what was before {before:g}")

    monkeypatch.setattr(Journal, "delete_done", delete_done)
    async with Jobs(path, clients=[volcengine()], clock=lambda: 1000.0, keep=100) as jobs:
        async with asyncio.timeout(5):
            while "cannot delete what was before 900" not in caplog.text:
                await asyncio.sleep(0.01)
        assert (await jobs.wait(await jobs.submit(stop()))).state is JobState.DONE
        assert jobs._leadership._leader is not None
        assert not any(task.done() for task in jobs._leadership._leader._tasks)


@pytest.mark.slow
async def test_jobs_that_are_done_are_kept_for_a_week(path: Path) -> None:
    now = 10_000_000.0
    async with Jobs(path, clients=[volcengine()], clock=lambda: now) as jobs:
        key = await jobs.submit(stop())
        await jobs.wait(key)
    for days, is_kept in ((6.9, True), (7.1, False)):
        async with Jobs(path, clients=[volcengine()], clock=lambda days=days: now + days * 86_400) as jobs:  # type: ignore[misc]
            await asyncio.sleep(0.1)
            assert (await jobs.status(key) is not None) is is_kept


async def test_waiting_leaves_nothing_behind(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(3)]
        await asyncio.gather(*(jobs.wait(key) for key in (*keys, *keys)))
        assert not jobs._listeners._waiters


class Derived(StopWebcast):
    """An undecorated subclass, which is no action of its own."""


async def test_a_client_that_does_not_make_the_call_is_refused(path: Path) -> None:
    """Before the job is journaled: the next process could not open the journal."""
    zego = zego_client(http_client=mocked(lambda _: zego_answer()), quotas=NoQuotas())
    async with Jobs(path, clients=[volcengine(), zego]) as jobs:
        with pytest.raises(ConfigurationError, match="StopWebcast: this client does not make it"):
            await jobs.submit(stop(), client=zego)
        assert sum((await jobs.counts()).values()) == 0


@pytest.mark.parametrize("delay", [-1, -0.001, float("nan"), float("inf"), 1e300, "5", None, True])
async def test_an_invalid_delay_is_refused(path: Path, delay: Any) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        with pytest.raises(ConfigurationError, match="delay must be a number of seconds from 0 to 31,622,400; got "):
            await jobs.submit(stop(), delay=delay)
        assert sum((await jobs.counts()).values()) == 0


@pytest.mark.slow
async def test_a_job_submitted_in_flight_waits_for_its_delay(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        key = await jobs.submit(stop())
        await vendor.wait_for_calls(1)
        await jobs.submit(stop(), delay=0.3)
        began = asyncio.get_running_loop().time()
        vendor.release.set()
        await jobs.wait(key)
        assert vendor.calls == 2
        assert asyncio.get_running_loop().time() - began >= 0.3


async def test_wrong_use_is_refused(path: Path) -> None:
    jobs = Jobs(path, clients=[volcengine()])
    with pytest.raises(ConfigurationError, match="async with Jobs"):
        await jobs.submit(stop())
    async with jobs:
        with pytest.raises(ConfigurationError, match="none of the clients makes it"):
            await jobs.submit(StopCensorAudioV2(task_id="t"))
        with pytest.raises(ConfigurationError, match="client must be one of the clients"):
            await jobs.submit(stop(), client=volcengine())
        with pytest.raises(ConfigurationError, match="Derived is no action of its own"):
            await jobs.submit(Derived(app_id="a", room_id="r", task_id="t"))
        with pytest.raises(ConfigurationError, match="a job is an action"):
            await jobs.submit("StopWebcast")  # type: ignore[arg-type]
        with pytest.raises(JournalError, match="is in use"):
            Journal(path)
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(jobs.submit(stop())))
    with pytest.raises(JournalError, match="closed"):
        await jobs.submit(stop())
    with pytest.raises(ConfigurationError, match="create new ones"):
        await jobs.__aenter__()
    with pytest.raises(ConfigurationError, match="at least one"):
        async with Jobs(path.with_name("other"), clients=[]):
            pass


async def test_two_accounts_of_one_vendor_need_the_client(path: Path) -> None:
    first, second = (
        volcengine(),
        volcengine_client(http_client=mocked(lambda _: volcengine_success()), account="second"),
    )
    async with Jobs(path, clients=[first, second]) as jobs:
        with pytest.raises(ConfigurationError, match="say which: client="):
            await jobs.submit(stop())
        assert await jobs.submit(stop(), client=first) != await jobs.submit(stop(), client=second)
