"""Distributed jobs under faults, over a real Valkey: cancelled tasks, unexpected exceptions, workers that end."""

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

from tests.doubles import free_port, mocked, volcengine_client, volcengine_success, zego_answer, zego_client
from tests.jobs.journals import all_jobs, fill
from tests.jobs.test_distributed import stop, volcengine, working, zego
from volc_moderation import ConfigurationError, JournalError, NoQuotas, WindowQuotas
from volc_moderation.jobs import JobState
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.followed_lane import NO_WORKERS
from volc_moderation.jobs.follower import Follower
from volc_moderation.jobs.job import key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.volcengine import LimitTokenPrivilege
from volc_moderation.zego import StartCensorAudioV2

pytestmark = pytest.mark.usefixtures("redis")


PASSWORD = "pa-ss"
TOKEN = "a-token-of-a-user"


# Submitting


async def test_a_job_whose_submission_is_cancelled_is_made_if_it_was_opened(valkey: str) -> None:
    """At whatever step it is cancelled, a job that was opened is queued, so that a worker makes it."""
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
        assert len(keys) < 60, "no submission was cancelled"
    async with working(valkey, client) as jobs:
        statuses = [await jobs.status(key) for key in _all_keys(jobs)]
        opened = [job for job in statuses if job is not None]
        assert len(opened) >= 10, "each submission was cancelled before its job was opened"
        async with asyncio.timeout(10):
            ended = [await jobs.wait(job.key) for job in opened]
    assert {job.state for job in ended} == {JobState.DONE}


def _all_keys(jobs: DistributedJobs) -> list[str]:
    lane = jobs.clients.lane_of(stop())
    return [key_of(lane, stop(number)) for number in range(60)]


# Unexpected ends of a call


@pytest.mark.parametrize("error", [ValueError("s3cret"), KeyError("s3cret"), asyncio.CancelledError("s3cret")])
async def test_an_unexpected_exception_fails_only_its_own_job(valkey: str, error: BaseException) -> None:
    """At once, with the exception's name as the code: the job does not stay in flight."""

    async def handler(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["RoomId"] == "room-1":
            raise error
        return volcengine_success()

    client = volcengine_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(handler)), quotas=NoQuotas())
    async with working(valkey, client) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(3)]
        async with asyncio.timeout(10):
            ended = [await jobs.wait(key) for key in keys]
    assert [job.state for job in ended] == [JobState.DONE, JobState.FAILED, JobState.DONE]
    assert (ended[1].code, ended[1].maybe_sent) == (type(error).__name__, True)
    assert "s3cret" not in str(ended)


async def test_a_users_token_is_deleted_when_its_job_has_ended(valkey: str, redis: Redis) -> None:
    """The call needs it; then it does not stay in the Redis for a week."""
    client = volcengine(lambda _: volcengine_success({"Message": "success", "EndTime": 1}))
    action = LimitTokenPrivilege(app_id="a", room_id="r", user_id="u", token=TOKEN, forbidden_interval=60)
    async with DistributedJobs(valkey, clients=[client]) as jobs:
        key = await jobs.submit(action)
        assert TOKEN in _all_values(redis)
    async with working(valkey, client) as jobs:
        async with asyncio.timeout(10):
            job = await jobs.wait(key)
        assert job.state is JobState.DONE
        assert job.parameters["Token"] == "***"
        async with asyncio.timeout(10):
            while TOKEN in _all_values(redis):
                await asyncio.sleep(0.1)


def _all_values(redis: Redis) -> str:
    values: list[Any] = []
    for key in redis.scan_iter():
        values.append(redis.dump(key))
        kind = redis.type(key)
        if kind == b"string":
            values.append(redis.get(key))
        elif kind == b"hash":
            values.append(redis.hgetall(key))
        elif kind == b"stream":
            values.append(redis.xrange(key))
    return str(values)


# Workers


async def test_a_worker_that_ends_gives_its_jobs_back(valkey: str) -> None:
    """Another worker makes the calls at once, not only when the first one's lease has expired."""
    hold, requested = asyncio.Event(), []

    async def slow(request: httpx.Request) -> httpx.Response:
        requested.append(json.loads(request.content)["RoomId"])
        await hold.wait()
        return volcengine_success()

    client = volcengine_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(slow)), quotas=NoQuotas())
    async with (
        DistributedJobs(valkey, clients=[client], concurrency=4) as first,
        DistributedJobs(valkey, clients=[volcengine()]) as jobs,
    ):
        working_first = asyncio.create_task(first.work())
        keys = [await jobs.submit(stop(number)) for number in range(20)]
        async with asyncio.timeout(5):
            while len(requested) < 2:
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


async def test_cancelling_a_worker_at_any_step_loses_and_repeats_no_call(valkey: str) -> None:
    calls: Counter[str] = Counter()

    async def answer(request: httpx.Request) -> httpx.Response:
        calls[json.loads(request.content)["RoomId"]] += 1
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
        assert calls, "each worker was cancelled before its first call"
        async with working(valkey, client), asyncio.timeout(10):
            ended = [await jobs.wait(key) for key in keys]
    assert max(calls.values()) == 1
    for job in ended:
        was_called = calls[str(job.parameters["RoomId"])] == 1
        assert job.state is JobState.DONE if was_called and not job.maybe_sent else job.code == "Interrupted"


async def test_a_start_that_waits_for_a_permit_is_given_back_unsent(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If its request has not left when the grace period ends, another worker may make the call."""
    monkeypatch.setattr("volc_moderation.jobs.worker.GRACE_PERIOD", 0.3)
    requested: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requested.append(json.loads(request.content)["RoomId"])
        return zego_answer(data={"TaskId": "t"})

    client = zego_client(http_client=mocked(handler), quotas=WindowQuotas({"StartCensorAudioV2": 1}))
    async with (
        DistributedJobs(valkey, clients=[client]) as first,
        DistributedJobs(valkey, clients=[client]) as jobs,
    ):
        working_first = asyncio.create_task(first.work())
        keys = [
            await jobs.submit(
                StartCensorAudioV2(room_id=f"r-{n}", event_id="e", audio_language="en", risk_type_list=["BAN"])
            )
            for n in range(5)
        ]
        async with asyncio.timeout(5):
            while not requested:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        working_first.cancel()
        await asyncio.gather(working_first, return_exceptions=True)
        assert len(requested) < 5
        async with working(valkey, zego(handler)), asyncio.timeout(10):
            ended = [await jobs.wait(key) for key in keys]
    assert {(job.state, job.attempts) for job in ended} == {(JobState.DONE, 1)}
    assert sorted(requested) == [f"r-{n}" for n in range(5)]


async def test_a_run_without_workers_reports_it(valkey: str, tmp_path: Path) -> None:
    client = volcengine()
    journal = Journal(tmp_path / "stops.db")
    fill(journal, [stop()], client, now=0)
    thread = JournalThread(journal)
    async with DistributedJobs(valkey, clients=[client]) as jobs:
        follower = Follower(thread, jobs)
        await follower.prepare()
        running = asyncio.create_task(follower.run())
        async with asyncio.timeout(5):
            while not any(status.pause_reason is NO_WORKERS for status in follower.lane_statuses()):
                await asyncio.sleep(0.05)
        async with working(valkey, client), asyncio.timeout(10):
            while any(status.pause_reason for status in follower.lane_statuses()) and not running.done():
                await asyncio.sleep(0.05)
            await running
    await thread.aclose()


# Runs


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
    [
        f"http://:{PASSWORD}@localhost",
        PASSWORD,
        f"redis://:{PASSWORD}@localhost:port",
        f"redis://:{PASSWORD}@[::1",
        f"redis://:{PASSWORD}@localhost?unknown=1",
        "",
    ],
)
def test_an_invalid_address_is_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ConfigurationError, match="redis must be an address like 'redis://host:6379/0'") as refused:
        DistributedJobs(address, clients=[volcengine()])
    assert PASSWORD not in str(refused.value)
    assert PASSWORD not in _local_variables(refused.value)


async def test_the_error_of_an_unreachable_queue_shows_no_password() -> None:
    for address in (
        f"redis://:{PASSWORD}@127.0.0.1:{free_port()}",
        f"redis://127.0.0.1:{free_port()}?password={PASSWORD}",
    ):
        with pytest.raises(JournalError, match="the queue cannot be reached") as lost:
            async with DistributedJobs(address, clients=[volcengine()]):
                pass
        assert PASSWORD not in "".join(traceback.format_exception(lost.value))


def _local_variables(error: BaseException) -> str:
    """Return the local variables of the package's frames, as an error tracker would show them."""
    variables = [
        repr(frame.f_locals)
        for related in [error, error.__context__, error.__cause__]
        if related is not None
        for frame, _ in traceback.walk_tb(related.__traceback__)
        if "volc_moderation" in frame.f_code.co_filename and "tests" not in frame.f_code.co_filename
    ]
    assert variables
    return "".join(variables)


@pytest.mark.parametrize(
    ("field", "corrupted"),
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
async def test_a_corrupted_job_delays_no_other_job(valkey: str, redis: Redis, field: str, corrupted: str) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        keys = [await jobs.submit(stop(number)) for number in range(5)]
        redis.hset(f"volc_moderation:{{moderation}}:job:{keys[2]}", field, corrupted)
        async with working(valkey, volcengine()), asyncio.timeout(10):
            ended = [await jobs.wait(key) for key in keys if key != keys[2]]
            with contextlib.suppress(JournalError):  # the corrupted job may be unreadable
                await jobs.wait(keys[2])
            ended.append(await jobs.wait(await jobs.submit(stop(9))))
    assert {job.state for job in ended} == {JobState.DONE}
