"""The queue in a real Valkey: its steps, its clocks, what it keeps, and the programs that wait for it."""

import asyncio
import time
from typing import Any, cast

import pytest
from redis import Redis

from tests.doubles import volcengine_client, volcengine_success
from tests.jobs.test_distributed import START, stop, volcengine, working, zego
from volc_moderation import ConfigurationError, JournalError
from volc_moderation.jobs import JobState
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.jobs.outcome import EndedAttempt, Outcome
from volc_moderation.jobs.queue.records import (
    Claim,
    ClaimedAttempt,
    Submission,
    WorkerLaneStatus,
    WorkerStatus,
    load_worker_status,
    parse_lane_name,
)
from volc_moderation.jobs.queue.redis_queue import WORKER_LEASE, RedisQueue, queue_client
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.usefixtures("redis")

PREFIX = "volc_moderation:{moderation}:"
LANE = Clients([volcengine_client()]).lane_of(stop())
DONE = Outcome(JobState.DONE)
TOKEN = "run:1:1"
DUE_KEY = f"{PREFIX}due:{'/'.join(LANE)}"
NO_STATUS = WorkerStatus({})


def submission(number: int = 0, token: str = TOKEN, *, must_exist: bool = False) -> Submission:
    action = stop(number)
    return Submission(key_of(LANE, action), LANE, dump_action(action), token, must_exist=must_exist)


@pytest.fixture
async def queue(valkey: str) -> Any:
    queue = RedisQueue(queue_client(valkey), "moderation", keep=600, reconnect=5)
    yield queue
    await queue.aclose()


async def take(
    queue: RedisQueue, worker: str = "w", *, at_most_once: bool = False, known_fence: int = 0
) -> list[Claim]:
    jobs, _ = await queue.take(worker, LANE, 10, at_most_once=at_most_once, known_fence=known_fence)
    return [Claim(job.key, job.id) for job in jobs]


def attempt(claim: Claim, outcome: Outcome = DONE) -> ClaimedAttempt:
    return ClaimedAttempt(claim, EndedAttempt(outcome, 1, 0.0, 0.1, 0.0, time.time()))


# Opening jobs


async def test_submitting_a_row_again_sends_its_outcome_again_and_opens_nothing(queue: RedisQueue) -> None:
    await queue.submit([submission()])
    (claim,) = await take(queue)
    assert (await queue.record("w", [attempt(claim)]))[0] == [True]
    for _ in range(2):
        results, _ = await queue.submit([submission()])
        assert results == [(True, None)]
    assert await take(queue) == []
    assert [update.row_id for _, update in await queue.read_updates("run", "0", wait=0)] == [1, 1, 1]
    await queue.submit([submission(token="run:1:2")])  # a new listing
    assert len(await take(queue)) == 1


async def test_an_earlier_listing_does_not_reopen_the_job_of_another_one(queue: RedisQueue) -> None:
    await queue.submit([submission(token="first:1:1")])
    (claim,) = await take(queue)
    await queue.record("w", [attempt(claim)])
    await queue.submit([submission(token="second:1:1")])
    (claim,) = await take(queue)
    await queue.record("w", [attempt(claim)])
    await queue.submit([submission(token="first:1:1")])
    assert await take(queue) == []
    assert len(await queue.read_updates("first", "0", wait=0)) == 2


async def test_a_lost_job_that_must_exist_is_not_opened(queue: RedisQueue) -> None:
    results, _ = await queue.submit([submission(must_exist=True), submission(1)])
    assert results == [(False, None), (True, None)]
    assert len(await take(queue)) == 1


async def test_a_lost_job_that_must_exist_is_not_opened_after_another_run_has_opened_it(queue: RedisQueue) -> None:
    """The queue has lost the row. Then another run has listed the same call, which has ended."""
    await queue.submit([submission(token="other:1:1")])
    (claim,) = await take(queue)
    await queue.record("w", [attempt(claim)])
    results, _ = await queue.submit([submission(must_exist=True)])
    assert results == [(False, None)]
    assert await take(queue) == []


async def test_a_submission_for_other_data_opens_nothing(queue: RedisQueue, redis: Redis) -> None:
    incarnation, _ = await queue.inspect()
    assert (await queue.submit([submission()], incarnation=incarnation))[0] is not None
    redis.flushall()
    assert await queue.submit([submission()], incarnation=incarnation) == (None, True)
    assert redis.exists(f"{PREFIX}job:{submission().key}") == 0


async def test_submitting_a_waiting_job_many_times_does_not_make_it_larger(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        key = await jobs.submit(stop(), delay=600)
        for _ in range(600):
            assert await jobs.submit(stop()) == key
    assert cast("int", redis.memory_usage(f"{PREFIX}job:{key}")) < 8000


# What is kept


async def test_all_keys_expire_after_the_jobs_have_ended(queue: RedisQueue, valkey: str, redis: Redis) -> None:
    """Except for two small ones: the queue's clocks and the names of its lanes."""
    async with working(valkey, volcengine(), zego(), workers=2) as jobs:
        keys = [await jobs.submit(action) for action in (stop(), stop(1), START, StopCensorAudioV2(task_id="t"))]
        for key in keys:
            await jobs.wait(key)
    await queue.submit([submission(9)])
    persistent = {key.decode().removeprefix(PREFIX) for key in redis.scan_iter() if redis.ttl(key) == -1}
    assert persistent == {"queue", "lanes", f"job:{submission(9).key}", f"due:{'/'.join(LANE)}"}


async def test_a_redis_without_free_memory_lets_its_jobs_end(queue: RedisQueue, redis: Redis) -> None:
    await queue.submit([submission()])
    (claim,) = await take(queue)
    redis.config_set("maxmemory", "1")
    try:
        assert (await queue.record("w", [attempt(claim)]))[0] == [True]
        impatient = RedisQueue(queue._redis, "moderation", keep=600, reconnect=0.2)
        with pytest.raises(JournalError, match="OutOfMemoryError"):
            await impatient.submit([submission(1)])
    finally:
        redis.config_set("maxmemory", "0")


# Clocks. The tests change the time that the script has saved, which has the effect of a step of the server's clock.


def step_back(redis: Redis, seconds: float) -> None:
    """Change the stored times as if they had been written before the clock stepped back."""
    step(redis, -seconds)
    due: Any = redis.zrange(DUE_KEY, 0, -1, withscores=True)
    for key, at in due:
        redis.zincrby(DUE_KEY, seconds * 1000, key)
        redis.hset(f"{PREFIX}job:{key.decode()}", "due", round(at + seconds * 1000))


def step(redis: Redis, seconds: float) -> None:
    wall = int(cast("bytes", redis.hget(PREFIX + "queue", "wall")))
    redis.hset(PREFIX + "queue", "wall", wall - round(seconds * 1000))


async def test_a_backward_step_of_the_servers_clock_delays_nothing(queue: RedisQueue, redis: Redis) -> None:
    await queue.submit([submission(), submission(1, "run:2:1")._replace(delay=1.0)])
    step_back(redis, 3600)
    assert len(await take(queue)) == 1
    _, wait = await queue.take("w", LANE, 10, at_most_once=False)
    assert wait is not None
    assert wait <= 1.0
    (job,) = await queue.find([submission(1).key])
    assert job is not None
    assert job.due == pytest.approx(time.time() + wait, abs=1.0)


async def test_a_forward_step_of_the_servers_clock_takes_no_job_from_a_live_worker(
    queue: RedisQueue, redis: Redis
) -> None:
    await queue.submit([submission()])
    (claim,) = await take(queue)
    step(redis, 3600)
    _, workers = await queue.inspect()
    assert len(workers) == 1
    assert (await queue.record("w", [attempt(claim)]))[0] == [True]


async def expire_leases(queue: RedisQueue, redis: Redis) -> None:
    """Let time pass without contact to any worker."""
    for _ in range(int(WORKER_LEASE // 5) + 1):
        step(redis, 5)
        await queue.inspect()


async def test_a_worker_whose_lease_expires_loses_its_jobs(queue: RedisQueue, redis: Redis) -> None:
    await queue.submit([submission()])
    (claim,) = await take(queue)
    await expire_leases(queue, redis)
    (newer,) = await take(queue, "other")
    assert newer.key == claim.key
    assert newer.fence > claim.fence
    for late_write in (queue.record("w", [attempt(claim)]), queue.mark_sent("w", [claim])):
        assert (await late_write)[0] == [False]
    assert await queue.give_back("w", [claim]) == 0
    assert (await queue.record("other", [attempt(newer)]))[0] == [True]


async def test_a_late_record_does_not_drop_a_job_that_the_worker_has_claimed_again(
    queue: RedisQueue, redis: Redis
) -> None:
    await queue.submit([submission()])
    (first,) = await take(queue)
    await expire_leases(queue, redis)
    (second,) = await take(queue)
    assert (await queue.record("w", [attempt(first)]))[0] == [False]
    await expire_leases(queue, redis)
    (third,) = await take(queue, "other")
    assert first.fence < second.fence < third.fence


# Older data that a Redis restores


@pytest.mark.parametrize("is_recorded", [True, False])
async def test_a_start_that_a_snapshot_has_undone_is_not_repeated(
    queue: RedisQueue, redis: Redis, is_recorded: bool
) -> None:
    """The Redis restores data from before the claim. The worker has seen a larger fence than these have."""
    await queue.submit([submission()])
    snapshot = {key: redis.dump(key) for key in redis.scan_iter()}
    (claim,) = await take(queue, at_most_once=True)
    (is_valid,), fence = await queue.mark_sent("w", [claim])
    assert is_valid
    if is_recorded:
        _, fence = await queue.record("w", [attempt(claim)])
    redis.flushall()
    for key, dumped in snapshot.items():
        redis.restore(key, 0, dumped)  # type: ignore[arg-type]
    assert await take(queue, at_most_once=True, known_fence=fence) == []
    (found,) = await queue.find([claim.key])
    assert found is not None
    assert (found.state, found.code) == (JobState.FAILED, "Interrupted")
    await queue.submit([submission(1)])  # jobs that are opened from now on are not affected
    (claim,) = await take(queue, at_most_once=True, known_fence=fence)
    assert claim.fence > fence


async def test_a_start_whose_record_a_redis_has_lost_is_not_repeated(queue: RedisQueue, redis: Redis) -> None:
    """The Redis has lost the outcome, but not that the request was sent: the next heartbeat detects it."""
    await queue.submit([submission()])
    (claim,) = await take(queue, at_most_once=True)
    await queue.mark_sent("w", [claim])
    fence, *_ = await queue.heartbeat("w", NO_STATUS, held=[claim.fence], up_to_fence=0)
    await queue.heartbeat("w", NO_STATUS, held=[], up_to_fence=fence)
    (found,) = await queue.find([claim.key])
    assert found is not None
    assert (found.state, found.code) == (JobState.FAILED, "Interrupted")


# Programs that go on


async def test_a_program_goes_on_after_its_redis_has_lost_its_data(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        key = await jobs.submit(stop())
        waiting = asyncio.create_task(jobs.wait(key))
        await asyncio.sleep(0.2)
        redis.flushall()
        redis.script_flush()
        for notified in jobs._waiters[key]:
            notified.set_result(None)  # as after RECHECK_INTERVAL
        with pytest.raises(JournalError, match="the queue has lost the job"):
            await waiting
        assert await jobs.submit(stop()) == key
        async with working(valkey, volcengine()):
            assert (await jobs.wait(key)).state is JobState.DONE


@pytest.mark.no_coverage
async def test_many_waiters_send_almost_no_requests(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        keys = await asyncio.gather(*(jobs.submit(stop(number)) for number in range(500)))
        waiting = [asyncio.create_task(jobs.wait(key)) for key in keys]
        await asyncio.sleep(0.5)
        redis.config_resetstat()
        await asyncio.sleep(1)
        stats = redis.info("commandstats")
        assert sum(command["calls"] for name, command in stats.items() if name != "cmdstat_info") < 5
        assert len([client for client in redis.client_list() if client["sub"] != "0"]) == 1
        async with working(valkey, volcengine()):
            assert {job.state for job in await asyncio.gather(*waiting)} == {JobState.DONE}


async def test_a_worker_whose_lease_may_have_expired_sends_nothing(
    valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the lease is renewed. The job is given back, and no attempt is counted."""
    requests: list[object] = []

    def respond(request: object) -> Any:
        requests.append(request)
        return volcengine_success()

    is_late = True
    monkeypatch.setattr("volc_moderation.jobs.worker.boot_time", lambda: time.monotonic() + 1000 * is_late)

    async with DistributedJobs(valkey, clients=[volcengine(respond)]) as jobs:
        key = await jobs.submit(stop())
        working_now = asyncio.create_task(jobs.work())
        await asyncio.sleep(0.3)
        assert jobs._worker is not None
        await jobs.wait(key)
        is_late = False
        jobs._worker._lease_renewed_at = time.monotonic() - 100
        other = await jobs.submit(stop(1))
        await asyncio.sleep(0.3)
        is_late = True
        job = await jobs.wait(other)
        working_now.cancel()
        await asyncio.gather(working_now, return_exceptions=True)
    assert (job.state, job.attempts, len(requests)) == (JobState.DONE, 1, 2)


async def test_distributed_jobs_are_entered_once_and_belong_to_one_event_loop(valkey: str) -> None:
    jobs = DistributedJobs(valkey, clients=[volcengine()])
    for use in (jobs.submit(stop()), jobs.status("k"), jobs.wait("k"), jobs.workers(), jobs.work()):
        with pytest.raises(ConfigurationError, match="async with DistributedJobs"):
            await use
    async with jobs:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(jobs.status("k")))
    with pytest.raises(JournalError, match="closed"):
        await jobs.status("k")
    with pytest.raises(ConfigurationError, match="entered before"):
        async with jobs:
            pass


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"queue": ""}, "queue must be a name"),
        ({"queue": "a{b}"}, "queue must be a name"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"keep": 1.5}, "keep must be"),
        ({"reconnect": -1}, "reconnect must be"),
    ],
)
def test_invalid_settings_are_refused(valkey: str, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DistributedJobs(valkey, clients=[volcengine()], **setting)


async def test_a_user_without_the_right_to_subscribe_gets_an_error_and_sends_few_requests(
    valkey: str, redis: Redis
) -> None:
    administrator = cast("Any", redis)
    administrator.execute_command("ACL", "SETUSER", "deaf", "on", "nopass", "~*", "+@all", "resetchannels")
    try:
        address = valkey.replace("redis://", "redis://deaf:x@")
        async with DistributedJobs(address, clients=[volcengine()]) as jobs:
            key = await jobs.submit(stop())  # the notification of workers is refused, too
            with pytest.raises(JournalError, match="notifications cannot be received"):
                await jobs.wait(key)
            working_now = asyncio.create_task(jobs.work())  # the worker polls
            async with asyncio.timeout(10):
                while (job := await jobs.status(key)) is None or not job.state.has_ended:
                    await asyncio.sleep(0.1)
            redis.config_resetstat()
            await asyncio.sleep(1)
            assert redis.info("stats")["total_commands_processed"] < 50
            working_now.cancel()
            await asyncio.gather(working_now, return_exceptions=True)
    finally:
        administrator.execute_command("ACL", "DELUSER", "deaf")


def test_invalid_lane_names_and_statuses_are_left_out() -> None:
    """Other programs that write to the Redis cannot stop a worker or a run."""
    assert parse_lane_name("zego/account/Action") is None
    assert load_worker_status('{"zego/account/Action":["","",1],"a/b/c/":["","",null]}') == WorkerStatus(
        {Lane("a", "b", "c", ""): WorkerLaneStatus("", "", None)}
    )
    for invalid in ("", "[]", '{"a/b/c/": 5}', '{"a/b/c/": ["", ""]}', "null", "\ufffd"):
        assert load_worker_status(invalid) == NO_STATUS


async def test_invalid_lane_names_do_not_stop_a_worker(valkey: str, redis: Redis) -> None:
    redis.sadd(PREFIX + "lanes", b"\xff\x00", "zego", "a/b/c/d/e")
    redis.hset(PREFIX + "worker:odd", "told", "no JSON")
    redis.zadd(PREFIX + "workers", {"odd": 0})
    async with working(valkey, volcengine()) as jobs:
        assert await jobs.workers() >= 1
        assert (await jobs.wait(await jobs.submit(stop()))).state is JobState.DONE
