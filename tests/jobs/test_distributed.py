"""Distributed jobs over a real Valkey; the workers are tasks of this process."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.doubles import mocked, volcengine_client, volcengine_error, volcengine_success, zego_answer, zego_client
from tests.jobs.journals import all_jobs, fill
from volc_moderation import ConfigurationError, NoQuotas
from volc_moderation.jobs import JobState
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.follower import Follower
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.job_event import JobEvent  # noqa: TC001 - in the type of a variable
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.queue.records import lane_name, parse_lane_name
from volc_moderation.quotas.permit import hash_account
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import CensorTask, StartCensorAudioV2, StopCensorAudioV2

START = StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])

pytestmark = pytest.mark.usefixtures("redis")


def stop(number: int = 0) -> StopWebcast:
    return StopWebcast(app_id="app", room_id=f"room-{number}", task_id="wall")


def volcengine(handler: Callable[[httpx.Request], httpx.Response] = lambda _: volcengine_success()) -> Any:
    return volcengine_client(http_client=mocked(handler), quotas=NoQuotas())


def zego(handler: Callable[[httpx.Request], httpx.Response] = lambda _: zego_answer()) -> Any:
    return zego_client(http_client=mocked(handler), quotas=NoQuotas())


@contextlib.asynccontextmanager
async def working(address: str, *clients: Any, workers: int = 1) -> AsyncIterator[DistributedJobs]:
    """Run workers, and return a producer's jobs."""
    async with contextlib.AsyncExitStack() as stack:
        entered = [await stack.enter_async_context(DistributedJobs(address, clients=clients)) for _ in range(workers)]
        tasks = [asyncio.create_task(jobs.work()) for jobs in entered]
        try:
            async with DistributedJobs(address, clients=clients) as jobs:
                yield jobs
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_any_worker_makes_a_call_and_any_program_can_check_it(valkey: str) -> None:
    start = zego(lambda _: zego_answer(data={"TaskId": "t-1"}))
    async with working(valkey, volcengine(), start, workers=2) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(50)]
        started = await jobs.submit(START)
        ended = await asyncio.gather(*map(jobs.wait, [*keys, started]))
    assert {job.state for job in ended} == {JobState.DONE}
    assert ended[-1].result == CensorTask(task_id="t-1")
    async with DistributedJobs(valkey, clients=[volcengine()]) as elsewhere:
        job = await elsewhere.status(keys[0])
        assert job is not None
        assert (job.action, job.parameters["RoomId"], job.attempts) == ("StopWebcast", "room-0", 1)
        assert await elsewhere.status("none") is None
        with pytest.raises(KeyError):
            await elsewhere.wait("none")


async def test_a_job_can_be_read_with_redis_commands(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        key = await jobs.submit(stop())
    fields = redis.hgetall(f"volc_moderation:{{moderation}}:job:{key}")
    assert {name: fields[name] for name in (b"state", b"parameters", b"attempts")} == {
        b"state": b"pending",
        b"parameters": b'{"AppId":"app","RoomId":"room-0","TaskId":"wall"}',
        b"attempts": b"0",
    }


async def test_a_job_is_deferred_in_the_queue_for_as_long_as_the_vendor_says(valkey: str, redis: Redis) -> None:
    async with working(valkey, zego(lambda _: zego_answer(50009))) as jobs:
        key = await jobs.submit(StopCensorAudioV2(task_id="t"))
        async with asyncio.timeout(5):
            while (job := await jobs.status(key)) is None or not job.is_deferred:
                await asyncio.sleep(0.01)
    assert (job.code, job.attempts) == (50009, 1)
    assert job.due == pytest.approx(time.time() + 300, abs=5)
    (due,) = redis.zrange(f"volc_moderation:{{moderation}}:due:{'/'.join(job.lane)}", 0, -1, withscores=True)
    assert due == (key.encode(), pytest.approx(job.due * 1000, abs=1))


async def test_a_call_is_retried_after_transient_errors(valkey: str) -> None:
    answers = [volcengine_error("FailToConnect", status=502), volcengine_error("InternalError", status=500)]
    client = volcengine(lambda _: answers.pop() if answers else volcengine_success())
    async with working(valkey, client) as jobs:
        job = await jobs.wait(await jobs.submit(stop()))
    assert (job.state, job.attempts) == (JobState.DONE, 3)


async def test_the_same_job_is_queued_once_until_it_has_ended(valkey: str) -> None:
    requests = 0

    def count(_: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return volcengine_success()

    client = volcengine(count)
    async with DistributedJobs(valkey, clients=[client]) as before:
        assert len({await before.submit(stop()) for _ in range(5)}) == 1
    async with working(valkey, client) as jobs:
        key = await jobs.submit(stop())
        await jobs.wait(key)
        assert requests == 1
        assert await jobs.submit(stop()) == key
        assert (await jobs.wait(key)).state is JobState.DONE
        assert requests == 2


async def test_a_worker_leaves_jobs_of_unknown_accounts_to_others(valkey: str) -> None:
    async with DistributedJobs(valkey, clients=[volcengine_client(account="other", quotas=NoQuotas())]) as other:
        key = await other.submit(stop())
        with pytest.raises(ConfigurationError, match="none of the clients makes it"):
            await other.submit(StopCensorAudioV2(task_id="t"))
        with pytest.raises(ConfigurationError, match="delay must be a number of seconds from 0 to"):
            await other.submit(stop(1), delay=-1)
    async with working(valkey, volcengine()) as jobs:  # leaves the job to others, and counts no attempt
        await jobs.wait(await jobs.submit(stop(2)))
        job = await jobs.status(key)
        assert job is not None
        assert (job.state, job.attempts) == (JobState.PENDING, 0)
    async with working(
        valkey,
        volcengine_client(http_client=mocked(lambda _: volcengine_success()), account="other", quotas=NoQuotas()),
    ) as jobs:
        assert (await jobs.wait(key)).state is JobState.DONE


async def test_a_run_records_the_outcomes_of_the_workers_calls(valkey: str, tmp_path: Path) -> None:
    """It may be stopped and resumed: the journal gets every outcome."""
    answers = {"room-3": volcengine_error("InvalidParameter")}

    def handler(request: httpx.Request) -> httpx.Response:
        return answers.get(json.loads(request.content)["RoomId"], volcengine_success())

    client = volcengine(handler)
    path = tmp_path / "stops.db"
    journal = Journal(path)
    fill(journal, [stop(number) for number in range(300)], client, now=0)
    journal.close()
    events: list[JobEvent] = []

    async def follow(address: str, *, stop_after: float | None) -> None:
        thread = JournalThread(Journal(path))
        async with DistributedJobs(address, clients=[client]) as jobs:
            follower = Follower(thread, jobs, on_event=events.append)
            await follower.prepare()
            if stop_after is not None:
                asyncio.get_running_loop().call_later(stop_after, follower.stop)
            await follower.run()
        await thread.aclose()

    await follow(valkey, stop_after=0.1)  # there are no workers yet
    async with working(valkey, client, workers=2):
        await follow(valkey, stop_after=0.1)
        await follow(valkey, stop_after=None)
    journal = Journal(path)
    ended = all_jobs(journal)
    journal.close()
    assert [job.state for job in ended].count(JobState.DONE) == 299
    assert (ended[3].state, ended[3].code, ended[3].attempts) == (JobState.FAILED, "InvalidParameter", 1)
    assert {event.key for event in events} == {job.key for job in ended}
    assert {event.due for event in events} == {None}  # none was deferred


@pytest.mark.parametrize("version", ["", "2020-12-01", "a/b"])
def test_the_name_of_a_lane_can_be_parsed(version: str) -> None:
    lane = Lane("zego", hash_account("1"), "StopCensorAudioV2", version)
    assert parse_lane_name(lane_name(lane)) == lane
