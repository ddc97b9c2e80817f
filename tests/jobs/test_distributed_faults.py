"""Jobs of a queue under faults, with a real Valkey: cancelled submitting, odd exceptions, workers that come and go."""

import asyncio
import contextlib
import json
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from tests.doubles import free_port, mocked, volcengine_client, volcengine_yes, zego_answer, zego_client
from tests.jobs.journals import all_jobs, fill
from tests.jobs.test_distributed import stop, volcengine, working, zego
from volc_moderation import ConfigurationError, JournalError, NoQuotas, WindowQuotas
from volc_moderation.jobs import JobState
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.follower import NO_WORKERS, Follower
from volc_moderation.jobs.job import key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.volcengine import LimitTokenPrivilege
from volc_moderation.zego import StartCensorAudioV2

pytestmark = pytest.mark.usefixtures("redis")


PASSWORD = "pa-ss"
TOKEN = "a-token-of-a-user"


# Submitting


async def test_submitting_that_is_cancelled_queues_all_the_same(valkey: str) -> None:
    """At each of its steps: what was opened is queued, lest nobody ever makes it."""
    client = volcengine()
    async with DistributedJobs(valkey, clients=[client]) as jobs:
        keys = []
        for steps in range(60):
            submitting = asyncio.create_task(jobs.submit(stop(steps)))
            for _ in range(steps):
                await asyncio.sleep(0)
            submitting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                keys.append(await submitting)
        assert len(keys) < 60, "none was cancelled"
    async with working(valkey, client) as jobs:
        found = [await jobs.status(key) for key in await _all_keys(jobs)]
        opened = [job for job in found if job is not None]
        assert len(opened) >= 10, "each was cancelled before it was opened"
        async with asyncio.timeout(10):
            ended = [await jobs.wait(job.key) for job in opened]
    assert {job.state for job in ended} == {JobState.DONE}


async def _all_keys(jobs: DistributedJobs) -> list[str]:
    lane = jobs.clients.lane_of(stop())
    return [key_of(lane, stop(number)) for number in range(60)]


# Odd ends of a call


@pytest.mark.parametrize("error", [ValueError("s3cret"), KeyError("s3cret"), asyncio.CancelledError("s3cret")])
async def test_an_exception_fails_its_own_job(valkey: str, error: BaseException) -> None:
    """By its name, and not some time later: it does not stay on its way for ever."""

    async def handler(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["RoomId"] == "room-1":
            raise error
        return volcengine_yes()

    client = volcengine_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(handler)), quotas=NoQuotas())
    async with working(valkey, client) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(3)]
        async with asyncio.timeout(10):
            ended = [await jobs.wait(key) for key in keys]
    assert [job.state for job in ended] == [JobState.DONE, JobState.FAILED, JobState.DONE]
    assert (ended[1].code, ended[1].maybe_sent) == (type(error).__name__, True)
    assert "s3cret" not in str(ended)


async def test_a_token_is_not_kept_longer_than_its_job(valkey: str, redis: Redis) -> None:
    """It is needed until the call is made, and is not in Redis for a week."""
    client = volcengine(lambda _: volcengine_yes({"Message": "success", "EndTime": 1}))
    action = LimitTokenPrivilege(app_id="a", room_id="r", user_id="u", token=TOKEN, forbidden_interval=60)
    async with DistributedJobs(valkey, clients=[client]) as jobs:
        key = await jobs.submit(action)
        assert TOKEN in _everything(redis)
    async with working(valkey, client) as jobs:
        async with asyncio.timeout(10):
            job = await jobs.wait(key)
        assert job.state is JobState.DONE
        assert job.parameters["Token"] == "***"
        async with asyncio.timeout(10):
            while TOKEN in _everything(redis):
                await asyncio.sleep(0.1)


def _everything(redis: Redis) -> str:
    found: list[Any] = []
    for key in redis.scan_iter():
        found.append(redis.dump(key))
        kind = redis.type(key)
        if kind == b"string":
            found.append(redis.get(key))
        elif kind == b"hash":
            found.append(redis.hgetall(key))
        elif kind == b"stream":
            found.append(redis.xrange(key))
    return str(found)


# Workers


async def test_a_worker_that_ends_leaves_nothing_behind(valkey: str) -> None:
    """Another one makes it at once, and not only when the first is taken for dead."""
    hold, asked = asyncio.Event(), []

    async def slow(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["RoomId"])
        await hold.wait()
        return volcengine_yes()

    client = volcengine_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(slow)), quotas=NoQuotas())
    async with (
        DistributedJobs(valkey, clients=[client], concurrency=4) as first,
        DistributedJobs(valkey, clients=[volcengine()]) as jobs,
    ):
        working_first = asyncio.create_task(first.work())
        keys = [await jobs.submit(stop(number)) for number in range(20)]
        async with asyncio.timeout(5):
            while len(asked) < 2:
                await asyncio.sleep(0.01)
        assert await jobs.workers() == 1
        working_first.cancel()
        hold.set()
        await asyncio.gather(working_first, return_exceptions=True)
        assert await jobs.workers() == 0
        async with working(valkey, volcengine()):
            began = asyncio.get_running_loop().time()
            async with asyncio.timeout(10):
                ended = [await jobs.wait(key) for key in keys]
            assert asyncio.get_running_loop().time() - began < 5
    assert {job.state for job in ended} == {JobState.DONE}


async def test_a_worker_that_is_cancelled_at_any_moment_loses_and_doubles_nothing(valkey: str) -> None:
    made: Counter[str] = Counter()

    async def answer(request: httpx.Request) -> httpx.Response:
        made[json.loads(request.content)["RoomId"]] += 1
        await asyncio.sleep(0)
        return zego_answer(data={"TaskId": "t"})

    client = zego_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(answer)), quotas=NoQuotas())
    async with DistributedJobs(valkey, clients=[client], concurrency=2) as jobs:
        keys = []
        for steps in range(0, 400, 10):
            start = StartCensorAudioV2(room_id=f"r-{steps}", event_id="e", audio_language="en", risk_type_list=["BAN"])
            keys.append(await jobs.submit(start))
            working_now = asyncio.create_task(jobs.work())
            for _ in range(steps):
                await asyncio.sleep(0)
            working_now.cancel()
            await asyncio.gather(working_now, return_exceptions=True)
        assert made, "none was far enough"
        async with working(valkey, client), asyncio.timeout(10):
            ended = [await jobs.wait(key) for key in keys]
    assert max(made.values()) == 1
    for job in ended:
        is_made = made[str(job.parameters["RoomId"])] == 1
        assert job.state is JobState.DONE if is_made and not job.maybe_sent else job.code == "Interrupted"


async def test_a_start_that_waits_for_a_permit_is_handed_back_unsent(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the time to finish is over, and it has not left, the next worker may make it."""
    monkeypatch.setattr("volc_moderation.jobs.worker.GRACE", 0.3)
    asked: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["RoomId"])
        return zego_answer(data={"TaskId": "t"})

    held = zego_client(http_client=mocked(handler), quotas=WindowQuotas({"StartCensorAudioV2": 1}))
    async with (
        DistributedJobs(valkey, clients=[held]) as first,
        DistributedJobs(valkey, clients=[held]) as jobs,
    ):
        working_first = asyncio.create_task(first.work())
        keys = [
            await jobs.submit(
                StartCensorAudioV2(room_id=f"r-{n}", event_id="e", audio_language="en", risk_type_list=["BAN"])
            )
            for n in range(5)
        ]
        async with asyncio.timeout(5):
            while not asked:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        working_first.cancel()
        await asyncio.gather(working_first, return_exceptions=True)
        assert len(asked) < 5
        async with working(valkey, zego(handler)), asyncio.timeout(10):
            ended = [await jobs.wait(key) for key in keys]
    assert {(job.state, job.attempts) for job in ended} == {(JobState.DONE, 1)}
    assert sorted(asked) == [f"r-{n}" for n in range(5)]


async def test_a_run_without_workers_says_so(valkey: str, tmp_path: Path) -> None:
    client = volcengine()
    journal = Journal(tmp_path / "stops.db")
    fill(journal, [stop()], client, now=0)
    thread = JournalThread(journal)
    async with DistributedJobs(valkey, clients=[client]) as jobs:
        follower = Follower(thread, jobs)
        await follower.prepare()
        running = asyncio.create_task(follower.run())
        async with asyncio.timeout(5):
            while not any(lane.pause_reason is NO_WORKERS for lane in follower.lanes):
                await asyncio.sleep(0.05)
        assert "volc-moderation worker" in str(NO_WORKERS)
        async with working(valkey, client), asyncio.timeout(10):
            while any(lane.pause_reason for lane in follower.lanes) and not running.done():
                await asyncio.sleep(0.05)
            await running
    await thread.aclose()


# Following


async def test_a_run_waits_for_rows_that_are_due_later(valkey: str, tmp_path: Path) -> None:
    client = volcengine()
    journal = Journal(tmp_path / "stops.db")
    keys = fill(journal, [stop(0), stop(1)], client, now=0)
    with journal.transaction():
        journal._db.execute("UPDATE job SET due = ?, delay = 2 WHERE key = ?", (time.time() + 2, keys[1]))
    thread = JournalThread(journal)
    async with working(valkey, client), DistributedJobs(valkey, clients=[client]) as jobs:
        follower = Follower(thread, jobs)
        await follower.prepare()
        async with asyncio.timeout(15):
            await follower.run()
        states = await thread.do(lambda journal: [job.state for job in all_jobs(journal)])
    await thread.aclose()
    assert states == [JobState.DONE, JobState.DONE]


# Addresses


@pytest.mark.parametrize(
    "address",
    [f"http://:{PASSWORD}@localhost", PASSWORD, f"redis://:{PASSWORD}@localhost:port", f"redis://:{PASSWORD}@[::1", ""],
)
def test_an_address_that_is_none_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ConfigurationError, match="redis must be an address like 'redis://host:6379/0'") as refused:
        DistributedJobs(address, clients=[volcengine()])
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in _ours(refused.value)


async def test_a_queue_that_cannot_be_reached_shows_no_password() -> None:
    for form in (
        f"redis://:{PASSWORD}@127.0.0.1:{free_port()}",
        f"redis://127.0.0.1:{free_port()}?password={PASSWORD}",
    ):
        with pytest.raises(JournalError, match="the queue cannot be reached") as lost:
            async with DistributedJobs(form, clients=[volcengine()]):
                pass
        assert PASSWORD not in "".join(traceback.format_exception(lost.value))


def _ours(error: BaseException) -> str:
    """Return the local variables of the package's frames, as a tool that reports errors would show them."""
    found = [
        repr(frame.f_locals)
        for one in [error, error.__context__, error.__cause__]
        if one is not None
        for frame, _ in traceback.walk_tb(one.__traceback__)
        if "volc_moderation" in frame.f_code.co_filename and "tests" not in frame.f_code.co_filename
    ]
    assert found
    return "".join(found)


@pytest.mark.parametrize(
    ("field", "spoiled"),
    [
        ("attempts", "many"),
        ("code", "{no JSON"),
        ("line", "first"),
        ("created", "then"),
        ("due", "soon"),
        ("maybe_sent", "perhaps"),
        ("outcome", "]["),
        ("parameters", "\ufffd{"),
        ("lane", "nowhere"),
        ("state", "odd"),
    ],
)
async def test_a_spoiled_job_holds_up_no_other_one(valkey: str, redis: Redis, field: str, spoiled: str) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(5)]
        redis.hset(f"volc_moderation:{{moderation}}:job:{keys[2]}", field, spoiled)
        async with working(valkey, volcengine()), asyncio.timeout(10):
            ended = [await jobs.wait(key) for key in keys if key != keys[2]]
            with contextlib.suppress(JournalError):  # what cannot be read is told
                await jobs.wait(keys[2])
            ended.append(await jobs.wait(await jobs.submit(stop(9))))
    assert {job.state for job in ended} == {JobState.DONE}
