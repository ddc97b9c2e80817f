"""Jobs over streaq, with a real Valkey; the workers are tasks of this process."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.doubles import mocked, volcengine_client, volcengine_no, volcengine_yes, zego_answer, zego_client
from tests.jobs.journals import all_jobs, fill

from volc_moderation import ConfigurationError, NoQuotas
from volc_moderation.jobs import JobState
from volc_moderation.jobs.distributed import DistributedJobs, Ticket
from volc_moderation.jobs.event import JobEvent  # noqa: TC001 - of a list that is made here
from volc_moderation.jobs.follow import Follower
from volc_moderation.jobs.job import Lane, hash_of, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal_thread import JournalThread
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StartCensorAudioV2, StopCensorAudioV2

START = StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])

pytestmark = pytest.mark.usefixtures("redis")


def stop(number: int = 0) -> StopWebcast:
    return StopWebcast(app_id="app", room_id=f"room-{number}", task_id="wall")


def volcengine(handler: Callable[[httpx.Request], httpx.Response] = lambda _: volcengine_yes()) -> Any:
    return volcengine_client(http_client=mocked(handler), quotas=NoQuotas())


def zego(handler: Callable[[httpx.Request], httpx.Response] = lambda _: zego_answer()) -> Any:
    return zego_client(http_client=mocked(handler), quotas=NoQuotas())


@contextlib.asynccontextmanager
async def working(address: str, *clients: Any, workers: int = 1) -> AsyncIterator[DistributedJobs]:
    """Workers, and somebody who submits."""
    made = [DistributedJobs(address, clients=clients) for _ in range(workers)]
    tasks = [asyncio.create_task(one._worker.run_async()) for one in made]
    async with DistributedJobs(address, clients=clients) as jobs:
        yield jobs
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_any_worker_makes_the_call_and_anybody_may_ask(valkey: str) -> None:
    start = zego(lambda _: zego_answer(data={"TaskId": "t-1"}))
    async with working(valkey, volcengine(), start, workers=2) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(50)]
        started = await jobs.submit(START)
        ended = await asyncio.gather(*map(jobs.wait, [*keys, started]))
    assert {job.state for job in ended} == {JobState.DONE}
    assert ended[-1].result == {"TaskId": "t-1"}
    async with DistributedJobs(valkey, clients=[volcengine()]) as elsewhere:
        job = await elsewhere.status(keys[0])
        assert job is not None
        assert (job.action, job.parameters["RoomId"], job.attempts) == ("StopWebcast", "room-0", 1)
        assert await elsewhere.status("none") is None
        with pytest.raises(KeyError):
            await elsewhere.wait("none")


async def test_nothing_is_pickled(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        await jobs.submit(stop())
    texts = [redis.get(key) for key in list(redis.scan_iter()) if redis.type(key) == b"string"]
    assert len([json.loads(text) for text in texts if text is not None]) == 2


async def test_the_vendors_wait_is_the_engines_delay(valkey: str, redis: Redis) -> None:
    async with working(valkey, zego(lambda _: zego_answer(50009))) as jobs:
        key = await jobs.submit(StopCensorAudioV2(task_id="t"))
        async with asyncio.timeout(5):
            while (job := await jobs.status(key)) is None or not job.is_deferred:
                await asyncio.sleep(0.01)
        assert (job.code, job.attempts) == (50009, 1)
        async with asyncio.timeout(5):
            while not (delayed := [key for key in redis.keys("*queue*") if redis.type(key) == b"zset"]):
                await asyncio.sleep(0.01)
        (task,) = redis.zrange(delayed[0], 0, -1)
        due = redis.zscore(delayed[0], str(task.decode()))  # type: ignore[union-attr]
        assert due is not None
        assert job.due == pytest.approx(float(due) / 1000, abs=1)


async def test_a_fault_that_passes(valkey: str) -> None:
    answers = [volcengine_no("FailToConnect", status=502), volcengine_no("InternalError", status=500)]
    client = volcengine(lambda _: answers.pop() if answers else volcengine_yes())
    async with working(valkey, client) as jobs:
        job = await jobs.wait(await jobs.submit(stop()))
    assert (job.state, job.attempts) == (JobState.DONE, 3)


async def test_the_same_job_is_queued_once_until_it_has_ended(valkey: str) -> None:
    asked = 0

    def count(_: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        return volcengine_yes()

    client = volcengine(count)
    async with DistributedJobs(valkey, clients=[client]) as before:
        assert len({await before.submit(stop()) for _ in range(5)}) == 1
    async with working(valkey, client) as jobs:
        key = await jobs.submit(stop())
        await jobs.wait(key)
        assert asked == 1
        assert await jobs.submit(stop()) == key
        assert (await jobs.wait(key)).state is JobState.DONE
        assert asked == 2


@pytest.mark.parametrize(("action", "expected", "asked"), [(stop(), "done", 1), (START, "failed", 0)])
async def test_what_a_dead_worker_had_on_its_way(
    valkey: str, redis: Redis, action: Any, expected: str, asked: int
) -> None:
    """Its task is handed to another: a stop is sent again, a start that may have arrived is not."""
    requests = 0

    def count(_: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return volcengine_yes() if action.name == "StopWebcast" else zego_answer(data={"TaskId": "t"})

    clients = [volcengine(count), zego(count)]
    async with DistributedJobs(valkey, clients=clients) as jobs:
        key = await jobs.submit(action)
        name = f"volc_moderation:moderation:{key}"
        sent = json.loads(redis.get(name) or b"{}") | {"state": "sent", "attempts": 1}
        redis.set(name, json.dumps(sent, separators=(",", ":")))
    async with working(valkey, *clients) as jobs:
        job = await jobs.wait(key)
    assert (job.state, requests) == (expected, asked)


async def test_what_was_kept_as_ended_is_not_made_again(valkey: str) -> None:
    """A worker died after it kept the outcome, and before it told streaq."""
    requests = 0

    def count(_: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return volcengine_yes()

    async with DistributedJobs(valkey, clients=[volcengine(count)]) as jobs:
        action = stop()
        lane = jobs.clients.lane_of(action)
        ticket = Ticket(key_of(lane, action), lane, '{"AppId":"app","RoomId":"room-0","TaskId":"wall"}')
        await jobs.submit(action)
        for _ in range(2):
            await jobs._perform(*ticket, 1)
    assert requests == 1


async def test_jobs_of_an_account_that_the_worker_has_no_keys_of(valkey: str) -> None:
    async with DistributedJobs(valkey, clients=[volcengine_client(account="other", quotas=NoQuotas())]) as other:
        key = await other.submit(stop())
        with pytest.raises(ConfigurationError, match="none of the clients makes it"):
            await other.submit(StopCensorAudioV2(task_id="t"))
        with pytest.raises(ConfigurationError, match="delay must be a number of seconds from 0 to"):
            await other.submit(stop(1), delay=-1)
    async with working(valkey, volcengine()) as jobs:
        job = await jobs.wait(key)
    assert (job.state, job.code) == (JobState.FAILED, "ConfigurationError")


async def test_a_run_follows_what_the_workers_do(valkey: str, tmp_path: Path) -> None:
    """It may be stopped, and go on where it was: each outcome comes into the journal, none is lost."""
    answers = {"room-3": volcengine_no("InvalidParameter")}

    def handler(request: httpx.Request) -> httpx.Response:
        return answers.get(json.loads(request.content)["RoomId"], volcengine_yes())

    client = volcengine(handler)
    path = tmp_path / "stops.db"
    journal = Journal(path)
    fill(journal, [stop(number) for number in range(300)], client, now=0)
    journal.close()
    told: list[JobEvent] = []

    async def follow(address: str, *, stop_after: float | None) -> None:
        thread = JournalThread(Journal(path))
        async with DistributedJobs(address, clients=[client]) as jobs:
            follower = Follower(thread, jobs, tell=told.append)
            await follower.prepare()
            if stop_after is not None:
                asyncio.get_running_loop().call_later(stop_after, follower.stop)
            await follower.run()
        await thread.aclose()

    await follow(valkey, stop_after=0.1)  # nobody works yet
    async with working(valkey, client, workers=2):
        await follow(valkey, stop_after=0.1)
        await follow(valkey, stop_after=None)
    journal = Journal(path)
    ended = all_jobs(journal)
    journal.close()
    assert [job.state for job in ended].count(JobState.DONE) == 299
    assert (ended[3].state, ended[3].code, ended[3].attempts) == (JobState.FAILED, "InvalidParameter", 1)
    assert {event.key for event in told} == {job.key for job in ended}
    assert {event.due for event in told} == {None}  # none was put off


def test_a_lane_travels_as_a_list() -> None:
    lane = Lane("zego", hash_of("1"), "StopCensorAudioV2")
    assert Lane._make(json.loads(json.dumps(lane))) == lane
