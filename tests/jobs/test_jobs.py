"""Jobs in a program that goes on, with a real journal and its thread."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import mocked, volcengine_client, volcengine_no, volcengine_yes, zego_answer, zego_client
from tests.jobs.journals import all_jobs
from volc_moderation import ConfigurationError, JournalError, NoQuotas
from volc_moderation.jobs import JobEvent, Jobs, JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StartCensorAudioV2, StopCensorAudioV2

START = StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])


def stop(number: int = 0) -> StopWebcast:
    return StopWebcast(app_id="app", room_id=f"room-{number}", task_id="wall")


def volcengine(handler: Callable[[httpx.Request], httpx.Response] = lambda _: volcengine_yes()) -> Any:
    return volcengine_client(http_client=mocked(handler), quotas=NoQuotas())


class Vendor:
    """A vendor whose answers are held back until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0
        self.http_client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        self.client = volcengine_client(http_client=self.http_client, quotas=NoQuotas())

    async def _answer(self, _: httpx.Request) -> httpx.Response:
        self.asked += 1
        await self.go.wait()
        return volcengine_yes()

    async def asked_for(self, calls: int) -> None:
        async with asyncio.timeout(5):
            while self.asked < calls:
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
        assert (await jobs.wait(started)).result == {"TaskId": "t-1"}
        found = await jobs.status(started)
        assert found is not None
        assert found.action == "StartCensorAudioV2"
        assert (await jobs.counts())[JobState.DONE] == 2
        assert await jobs.status("none") is None
        with pytest.raises(KeyError):
            await jobs.wait("none")


async def test_what_was_submitted_is_on_disk_before_submit_returns(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        key = await jobs.submit(stop())
        other = Journal(path, read_only=True)
        assert [job.key for job in all_jobs(other)] == [key]
        other.close()


async def test_what_was_submitted_survives_a_loss_of_power(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor, commits = Vendor(), []
    transaction = Journal.transaction

    def keep(journal: Journal, *, durable: bool = False) -> Any:
        commits.append(durable)
        return transaction(journal, durable=durable)

    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        await jobs.counts()
        monkeypatch.setattr(Journal, "transaction", keep)
        await jobs.submit(stop())
        assert True in commits


async def test_who_watches_is_told_at_once(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        events = jobs.events()
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        key = await jobs.submit(stop())
        assert (await asyncio.wait_for(first, 5)).key == key


async def test_jobs_that_cannot_begin_let_the_journal_go(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And what was on its way when a process ended is told by the next one."""
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        await jobs.submit(stop())
        await vendor.asked_for(1)
    assert "when the last process ended" not in caplog.text
    caplog.set_level("INFO")
    zego = zego_client(http_client=mocked(lambda _: zego_answer()), quotas=NoQuotas())
    with pytest.raises(ConfigurationError, match="none of the clients has"):
        async with Jobs(path, clients=[zego]):
            pass
    for expected in ("1 jobs were on their way when the last process ended", ""):
        async with Jobs(path, clients=[volcengine()]) as jobs:
            async with asyncio.timeout(5):
                while (await jobs.counts())[JobState.DONE] == 0:
                    await asyncio.sleep(0.01)
        assert [line for line in caplog.messages if "last process" in line] == ([expected] if expected else [])
        caplog.clear()


async def test_what_was_left_is_done_by_the_next_process(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(3)]
        late = await jobs.submit(stop(99), delay=0.3)
        await vendor.asked_for(3)
        waiting = asyncio.create_task(jobs.wait(keys[0]))
        await asyncio.sleep(0)
    with pytest.raises(JournalError, match="what is left is done the next time"):
        await waiting
    async with Jobs(path, clients=[volcengine()]) as jobs:
        for key in (*keys, late):
            assert (await jobs.wait(key)).state is JobState.DONE


async def test_the_end_of_the_block_finishes_what_is_in_flight(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        key = await jobs.submit(stop())
        await vendor.asked_for(1)
        asyncio.get_running_loop().call_later(0.1, vendor.go.set)
    journal = Journal(path, read_only=True)
    found = journal.find(key)
    assert found is not None
    assert found.state is JobState.DONE
    journal.close()


async def test_the_same_job_is_made_once_while_it_waits_and_again_when_it_is_on_its_way(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        keys = {await jobs.submit(stop(), delay=0.2), await jobs.submit(stop(), delay=0.2)}
        assert len(keys) == 1
        await vendor.asked_for(1)
        await jobs.submit(stop())
        vendor.go.set()
        assert (await jobs.wait(*keys)).state is JobState.DONE
        assert vendor.asked == 2
        await jobs.submit(stop())
        assert (await jobs.wait(*keys)).state is JobState.DONE
        assert vendor.asked == 3


async def test_events_tell_what_happens(path: Path) -> None:
    answers = iter([volcengine_no("InternalError", status=500), volcengine_yes(), volcengine_no("InvalidParameter")])
    async with Jobs(path, clients=[volcengine(lambda _: next(answers))]) as jobs:
        told: list[JobEvent] = []

        async def watch() -> None:
            told.extend([event async for event in jobs.events()])

        watching = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await jobs.wait(await jobs.submit(stop()))
        await jobs.wait(await jobs.submit(stop(1)))
    await watching
    assert [(event.state, event.attempts, event.code) for event in told] == [
        (JobState.PENDING, 1, "InternalError"),
        (JobState.DONE, 2, None),
        (JobState.FAILED, 1, "InvalidParameter"),
    ]
    assert told[0].due is not None
    assert told[1].parameters == {"AppId": "app", "RoomId": "room-0", "TaskId": "wall"}
    assert told[2].advice == "the message names the parameter"


async def test_who_waits_may_go_away(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        key = await jobs.submit(stop())
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(jobs.wait(key), 0.01)
        vendor.go.set()
        assert (await jobs.wait(key)).state is JobState.DONE


async def test_refused_keys_and_a_dead_vendor_do_not_end_it(path: Path) -> None:
    answers: list[httpx.Response | Exception] = [
        volcengine_no("InvalidAccessKey", status=401),
        httpx.ConnectError("no way"),
        volcengine_yes(),
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


async def test_a_thousand_at_once(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        keys = await asyncio.gather(*(jobs.submit(stop(number)) for number in range(1000)))
        ended = await asyncio.gather(*map(jobs.wait, keys))
    assert len(set(keys)) == 1000
    assert {job.state for job in ended} == {JobState.DONE}


async def test_what_was_done_long_ago_is_forgotten(path: Path) -> None:
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


async def test_a_journal_that_cannot_forget_is_used_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def forget(_: Journal, *, before: float) -> int:
        raise JournalError(f"cannot forget what was before {before:g}")

    monkeypatch.setattr(Journal, "forget", forget)
    async with Jobs(path, clients=[volcengine()], clock=lambda: 1000.0, keep=100) as jobs:
        async with asyncio.timeout(5):
            while "cannot forget what was before 900" not in caplog.text:
                await asyncio.sleep(0.01)
        assert (await jobs.wait(await jobs.submit(stop()))).state is JobState.DONE
        assert not any(task.done() for task in jobs._tasks)


async def test_what_was_done_is_kept_for_a_week(path: Path) -> None:
    now = 10_000_000.0
    async with Jobs(path, clients=[volcengine()], clock=lambda: now) as jobs:
        key = await jobs.submit(stop())
        await jobs.wait(key)
    for later, is_there in ((6.9, True), (7.1, False)):
        async with Jobs(path, clients=[volcengine()], clock=lambda later=later: now + later * 86_400) as jobs:  # type: ignore[misc]
            await asyncio.sleep(0.1)
            assert (await jobs.status(key) is not None) is is_there


async def test_who_waited_leaves_nothing_behind(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(3)]
        await asyncio.gather(*(jobs.wait(key) for key in (*keys, *keys)))
        assert not jobs._waiters


class Derived(StopWebcast):
    """Is no action of its own, since it is not decorated."""


async def test_a_job_of_a_client_that_does_not_make_it_is_refused(path: Path) -> None:
    """Before it is written down: the next process could not open the journal."""
    zego = zego_client(http_client=mocked(lambda _: zego_answer()), quotas=NoQuotas())
    async with Jobs(path, clients=[volcengine(), zego]) as jobs:
        with pytest.raises(ConfigurationError, match="StopWebcast: this client does not make it"):
            await jobs.submit(stop(), client=zego)
        assert sum((await jobs.counts()).values()) == 0


@pytest.mark.parametrize("delay", [-1, -0.001, float("nan"), float("inf"), 1e300, "5", None, True])
async def test_a_delay_that_is_none(path: Path, delay: Any) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        with pytest.raises(ConfigurationError, match="delay must be a number of seconds from 0 to 31,622,400; got "):
            await jobs.submit(stop(), delay=delay)
        assert sum((await jobs.counts()).values()) == 0


async def test_what_is_submitted_on_its_way_waits_for_its_delay(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        key = await jobs.submit(stop())
        await vendor.asked_for(1)
        await jobs.submit(stop(), delay=0.3)
        began = asyncio.get_running_loop().time()
        vendor.go.set()
        await jobs.wait(key)
        assert vendor.asked == 2
        assert asyncio.get_running_loop().time() - began >= 0.3


async def test_wrong_use(path: Path) -> None:
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
            async with Jobs(path, clients=[volcengine()]):
                pass
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(jobs.submit(stop())))
    with pytest.raises(JournalError, match="closed"):
        await jobs.submit(stop())
    with pytest.raises(ConfigurationError, match="make new ones"):
        await jobs.__aenter__()
    with pytest.raises(ConfigurationError, match="at least one"):
        async with Jobs(path.with_name("other"), clients=[]):
            pass


async def test_two_accounts_of_one_vendor_need_a_word(path: Path) -> None:
    first, second = volcengine(), volcengine_client(http_client=mocked(lambda _: volcengine_yes()), account="second")
    async with Jobs(path, clients=[first, second]) as jobs:
        with pytest.raises(ConfigurationError, match="say which: client="):
            await jobs.submit(stop())
        assert await jobs.submit(stop(), client=first) != await jobs.submit(stop(), client=second)
