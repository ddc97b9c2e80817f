"""The queue of distributed jobs in a real Valkey: its steps, its clocks, what it keeps, and who waits for it."""

import asyncio
import time
from typing import Any, cast

import pytest
from redis import Redis

from tests.doubles import volcengine_client, volcengine_yes
from tests.jobs.test_distributed import START, stop, volcengine, working, zego
from volc_moderation import ConfigurationError, JournalError
from volc_moderation.jobs import JobState
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.jobs.outcome import Ended, Outcome
from volc_moderation.jobs.queue.records import Taken, Ticket, Worker, Written, lane_of, load_worker
from volc_moderation.jobs.queue.redis_queue import LEASE, Queue, connect
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.usefixtures("redis")

BASE = "volc_moderation:{moderation}:"
LANE = Clients([volcengine_client()]).lane_of(stop())
DONE = Outcome(JobState.DONE)
ROW = "run:1:1"
DUE = f"{BASE}due:{'/'.join(LANE)}"


def ticket(number: int = 0, token: str = ROW, *, is_known: bool = False) -> Ticket:
    action = stop(number)
    return Ticket(key_of(LANE, action), LANE, dump_action(action), token, is_known=is_known)


@pytest.fixture
async def queue(valkey: str) -> Any:
    made = Queue(connect(valkey), "moderation", keep=600, reconnect=5)
    yield made
    await made.aclose()


async def take(queue: Queue, worker: str = "w", *, once: bool = False) -> list[Taken]:
    rows, _ = await queue.take(worker, LANE, 10, once=once)
    return [Taken(key.decode(), fence) for fence, key, *_ in rows]


def ended(job: Taken, outcome: Outcome = DONE) -> Written:
    return Written(job, Ended(outcome, 1, 0.0, 0.1, 0.0, time.time()))


# Opening


async def test_a_row_that_is_handed_over_again_is_told_again_and_opens_nothing(queue: Queue) -> None:
    await queue.submit([ticket()])
    (job,) = await take(queue)
    assert (await queue.record("w", [ended(job)]))[0] == [True]
    for _ in range(2):
        answers, _ = await queue.submit([ticket()])
        assert answers == [(True, None)]
    assert await take(queue) == []
    assert [told.row for _, told in await queue.read("run", "0", wait=0)] == [1, 1, 1]
    await queue.submit([ticket(token="run:1:2")])  # listed anew
    assert len(await take(queue)) == 1


async def test_an_earlier_listing_does_not_open_what_another_one_has_opened(queue: Queue) -> None:
    await queue.submit([ticket(token="first:1:1")])
    (job,) = await take(queue)
    await queue.record("w", [ended(job)])
    await queue.submit([ticket(token="second:1:1")])
    (job,) = await take(queue)
    await queue.record("w", [ended(job)])
    await queue.submit([ticket(token="first:1:1")])
    assert await take(queue) == []
    assert len(await queue.read("first", "0", wait=0)) == 2


async def test_what_is_to_be_known_is_not_opened(queue: Queue) -> None:
    answers, _ = await queue.submit([ticket(is_known=True), ticket(1)])
    assert answers == [(False, None), (True, None)]
    assert len(await take(queue)) == 1


async def test_what_is_to_be_known_is_not_opened_because_somebody_else_opened_it(queue: Queue) -> None:
    """The queue lost the row, and then another run listed the same call, which has ended."""
    await queue.submit([ticket(token="other:1:1")])
    (job,) = await take(queue)
    await queue.record("w", [ended(job)])
    answers, _ = await queue.submit([ticket(is_known=True)])
    assert answers == [(False, None)]
    assert await take(queue) == []


async def test_other_data_than_expected_open_nothing(queue: Queue, redis: Redis) -> None:
    incarnation, _ = await queue.look()
    assert (await queue.submit([ticket()], incarnation=incarnation))[0] is not None
    redis.flushall()
    assert await queue.submit([ticket()], incarnation=incarnation) == (None, True)
    assert redis.exists(f"{BASE}job:{ticket().key}") == 0


async def test_submitting_a_job_that_waits_again_and_again_leaves_no_trace(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        key = await jobs.submit(stop(), delay=600)
        for _ in range(600):
            assert await jobs.submit(stop()) == key
    assert cast("int", redis.memory_usage(f"{BASE}job:{key}")) < 8000


# What is kept


async def test_nothing_stays_for_ever(queue: Queue, valkey: str, redis: Redis) -> None:
    """But what there are few of: the queue's clock and the names of its lanes."""
    async with working(valkey, volcengine(), zego(), workers=2) as jobs:
        keys = [await jobs.submit(action) for action in (stop(), stop(1), START, StopCensorAudioV2(task_id="t"))]
        for key in keys:
            await jobs.wait(key)
    await queue.submit([ticket(9)])
    lasting = {key.decode().removeprefix(BASE) for key in redis.scan_iter() if redis.ttl(key) == -1}
    assert lasting == {"queue", "lanes", f"job:{ticket(9).key}", f"due:{'/'.join(LANE)}"}


async def test_a_redis_that_has_no_memory_left_lets_what_it_has_end(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket()])
    (job,) = await take(queue)
    redis.config_set("maxmemory", "1")
    try:
        assert (await queue.record("w", [ended(job)]))[0] == [True]
        full = Queue(queue._redis, "moderation", keep=600, reconnect=0.2)
        with pytest.raises(JournalError, match="OutOfMemoryError"):
            await full.submit([ticket(1)])
    finally:
        redis.config_set("maxmemory", "0")


# Clocks: the script's own knowledge of them is moved, which is the same as if the server's clock had been


def step_back(redis: Redis, seconds: float) -> None:
    """Have written all that is written when the clock was so much ahead."""
    step(redis, -seconds)
    due: Any = redis.zrange(DUE, 0, -1, withscores=True)
    for key, at in due:
        redis.zincrby(DUE, seconds * 1000, key)
        redis.hset(f"{BASE}job:{key.decode()}", "due", round(at + seconds * 1000))


def step(redis: Redis, seconds: float) -> None:
    wall = int(cast("bytes", redis.hget(BASE + "queue", "wall")))
    redis.hset(BASE + "queue", "wall", wall - round(seconds * 1000))


async def test_a_step_back_of_the_servers_clock_delays_nothing(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket(), ticket(1, "run:2:1")._replace(delay=1.0)])
    step_back(redis, 3600)
    assert len(await take(queue)) == 1
    _, wait = await queue.take("w", LANE, 10, once=False)
    assert wait is not None
    assert wait <= 1.0
    (job,) = await queue.find([ticket(1).key])
    assert job is not None
    assert job.due == pytest.approx(time.time() + wait, abs=1.0)


async def test_a_step_ahead_takes_no_job_from_a_worker_that_lives(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket()])
    (job,) = await take(queue)
    step(redis, 3600)
    _, workers = await queue.look()
    assert len(workers) == 1
    assert (await queue.record("w", [ended(job)]))[0] == [True]


async def outlive_a_lease(queue: Queue, redis: Redis) -> None:
    """Let time go by in which no worker is heard of."""
    for _ in range(int(LEASE // 5) + 1):
        step(redis, 5)
        await queue.look()


async def test_a_worker_that_is_not_heard_of_loses_its_jobs(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket()])
    (job,) = await take(queue)
    await outlive_a_lease(queue, redis)
    (taken,) = await take(queue, "other")
    assert taken.key == job.key
    assert taken.fence > job.fence
    for write_late in (queue.record("w", [ended(job)]), queue.send("w", [job])):
        assert (await write_late)[0] == [False]
    assert await queue.give_back("w", [job]) == 0
    assert (await queue.record("other", [ended(taken)]))[0] == [True]


async def test_a_job_that_the_worker_took_anew_is_not_lost_with_a_late_answer(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket()])
    (first,) = await take(queue)
    await outlive_a_lease(queue, redis)
    (second,) = await take(queue)
    assert (await queue.record("w", [ended(first)]))[0] == [False]
    await outlive_a_lease(queue, redis)
    (third,) = await take(queue, "other")
    assert first.fence < second.fence < third.fence


# Data that come back older than they were


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_start_that_a_snapshot_has_undone_is_not_made_again(queue: Queue, redis: Redis, is_told: bool) -> None:
    """The Redis comes back as it was before the worker took it: the worker has seen later fences than it knows of."""
    await queue.submit([ticket()])
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    rows, _ = await queue.take("w", LANE, 10, once=True)
    job = Taken(rows[0][1].decode(), rows[0][0])
    (is_own,), seen = await queue.send("w", [job])
    assert is_own
    if is_told:
        _, seen = await queue.record("w", [ended(job)])
    redis.flushall()
    for key, dumped in before.items():
        redis.restore(key, 0, dumped)  # type: ignore[arg-type]
    rows, _ = await queue.take("w", LANE, 10, once=True, seen=seen)
    assert rows == []
    (found,) = await queue.find([job.key])
    assert found is not None
    assert (found.state, found.code) == (JobState.FAILED, "Interrupted")
    await queue.submit([ticket(1)])  # what is opened from now on is as good as ever
    rows, _ = await queue.take("w", LANE, 10, once=True, seen=seen)
    assert len(rows) == 1
    assert rows[0][0] > seen


async def test_a_worker_is_not_asked_to_make_again_what_it_has_told(queue: Queue, redis: Redis) -> None:
    """The Redis has lost what the worker told, but not that it sent: the next beat finds out."""
    await queue.submit([ticket()])
    rows, _ = await queue.take("w", LANE, 10, once=True)
    job = Taken(rows[0][1].decode(), rows[0][0])
    await queue.send("w", [job])
    fence, _ = await queue.beat("w", "{}", held=[job.fence], since=0)
    await queue.beat("w", "{}", held=[], since=fence)
    (found,) = await queue.find([job.key])
    assert found is not None
    assert (found.state, found.code) == (JobState.FAILED, "Interrupted")


# Programs that go on


async def test_a_program_goes_on_after_its_redis_has_lost_all(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        key = await jobs.submit(stop())
        waiting = asyncio.create_task(jobs.wait(key))
        await asyncio.sleep(0.2)
        redis.flushall()
        redis.script_flush()
        for woken in jobs._waiters[key]:
            woken.set_result(None)  # as some time later
        with pytest.raises(JournalError, match="the queue has lost the job"):
            await waiting
        assert await jobs.submit(stop()) == key
        async with working(valkey, volcengine()):
            assert (await jobs.wait(key)).state is JobState.DONE


async def test_many_who_wait_ask_the_redis_next_to_nothing(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        keys = await asyncio.gather(*(jobs.submit(stop(number)) for number in range(500)))
        waiting = [asyncio.create_task(jobs.wait(key)) for key in keys]
        await asyncio.sleep(0.5)
        redis.config_resetstat()
        await asyncio.sleep(1)
        stats = redis.info("commandstats")
        assert sum(one["calls"] for name, one in stats.items() if name != "cmdstat_info") < 5
        assert len([client for client in redis.client_list() if client["sub"] != "0"]) == 1
        async with working(valkey, volcengine()):
            assert {job.state for job in await asyncio.gather(*waiting)} == {JobState.DONE}


async def test_a_worker_that_was_not_heard_of_sends_nothing(valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the queue has heard of it again; the job is given back, and costs no attempt."""
    asked: list[object] = []

    def answer(request: object) -> Any:
        asked.append(request)
        return volcengine_yes()

    late = True
    monkeypatch.setattr("volc_moderation.jobs.worker.boot_time", lambda: time.monotonic() + 1000 * late)

    async with DistributedJobs(valkey, clients=[volcengine(answer)]) as jobs:
        key = await jobs.submit(stop())
        working_now = asyncio.create_task(jobs.work())
        await asyncio.sleep(0.3)
        assert jobs._worker is not None
        await jobs.wait(key)
        late = False
        jobs._worker._heard = time.monotonic() - 100
        other = await jobs.submit(stop(1))
        await asyncio.sleep(0.3)
        late = True
        job = await jobs.wait(other)
        working_now.cancel()
        await asyncio.gather(working_now, return_exceptions=True)
    assert (job.state, job.attempts, len(asked)) == (JobState.DONE, 1, 2)


async def test_they_are_entered_once_and_belong_to_a_loop(valkey: str) -> None:
    jobs = DistributedJobs(valkey, clients=[volcengine()])
    for use in (jobs.submit(stop()), jobs.status("k"), jobs.wait("k"), jobs.workers(), jobs.work()):
        with pytest.raises(ConfigurationError, match="async with DistributedJobs"):
            await use
    async with jobs:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(jobs.status("k")))
    with pytest.raises(ConfigurationError, match="async with DistributedJobs"):
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
def test_wrong_settings(valkey: str, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DistributedJobs(valkey, clients=[volcengine()], **setting)


async def test_who_may_not_subscribe_is_told_so_and_does_not_storm(valkey: str, redis: Redis) -> None:
    administrator = cast("Any", redis)
    administrator.execute_command("ACL", "SETUSER", "deaf", "on", "nopass", "~*", "+@all", "resetchannels")
    try:
        address = valkey.replace("redis://", "redis://deaf:x@")
        async with DistributedJobs(address, clients=[volcengine()]) as jobs:
            key = await jobs.submit(stop())  # which tells the workers of it, but for that right
            with pytest.raises(JournalError, match="cannot be heard"):
                await jobs.wait(key)
            working_now = asyncio.create_task(jobs.work())  # it looks now and then
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


def test_what_is_no_name_of_a_lane_is_left_out() -> None:
    """Whoever can write to the Redis ends no worker and no run with it."""
    assert lane_of("zego/account/Action") is None
    assert load_worker('{"zego/account/Action":["","",1],"a/b/c/":["","",null]}') == Worker(
        {Lane("a", "b", "c", ""): ("", "", None)}
    )
    for odd in ("", "[]", '{"a/b/c/": 5}', '{"a/b/c/": ["", ""]}', "null", "\ufffd"):
        assert load_worker(odd) == Worker({})


async def test_odd_names_of_lanes_end_no_worker(valkey: str, redis: Redis) -> None:
    redis.sadd(BASE + "lanes", b"\xff\x00", "zego", "a/b/c/d/e")
    redis.hset(BASE + "worker:odd", "told", "no JSON")
    redis.zadd(BASE + "workers", {"odd": 0})
    async with working(valkey, volcengine()) as jobs:
        assert await jobs.workers() >= 1
        assert (await jobs.wait(await jobs.submit(stop()))).state is JobState.DONE
