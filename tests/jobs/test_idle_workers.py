"""A new job wakes one idle worker, and lanes without due jobs ask no more: else a whole fleet asks for each job."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from redis import Redis

from tests.doubles import mocked, volcengine_client, volcengine_error, volcengine_success
from tests.jobs.test_distributed import stop, volcengine, working
from volc_moderation import NoQuotas, RetryPolicy
from volc_moderation.jobs import JobState
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.concurrency import INITIAL_CONCURRENCY, MIN_CONCURRENCY, Concurrency
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.jobs.queue.records import Claim, Submission, WorkerStatus
from volc_moderation.jobs.queue.redis_queue import RedisQueue, queue_client

pytestmark = pytest.mark.usefixtures("redis")

PREFIX = "volc_moderation:{moderation}:"
LANE = Clients([volcengine_client()]).lane_of(stop())


@pytest.fixture
async def queue(valkey: str) -> AsyncIterator[RedisQueue]:
    queue = RedisQueue(queue_client(valkey), "moderation", keep=600, reconnect=5)
    yield queue
    await queue.aclose()


class Notifications:
    """Who was notified of due jobs: workers by their ids, or ``all``."""

    def __init__(self, redis: Redis) -> None:
        self._pubsub: Any = redis.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._pubsub.psubscribe(f"{PREFIX}work*")

    def read(self) -> list[str]:
        notified = []
        while (message := self._pubsub.get_message(timeout=0.1)) is not None:
            notified.append(message["channel"].decode().removeprefix(f"{PREFIX}work").removeprefix(":") or "all")
        return sorted(notified)

    def close(self) -> None:
        self._pubsub.close()


@pytest.fixture
def notifications(redis: Redis) -> Iterator[Notifications]:
    notifications = Notifications(redis)
    notifications.read()  # the confirmation of the subscription
    yield notifications
    notifications.close()


async def submit(queue: RedisQueue, *numbers: int, lane: Lane = LANE) -> None:
    await queue.submit(
        [Submission(key_of(lane, stop(number)), lane, dump_action(stop(number)), f"-{number}") for number in numbers]
    )


async def take(queue: RedisQueue, worker: str, limit: int = 10) -> list[Claim]:
    jobs, _ = await queue.take(worker, LANE, limit, at_most_once=False)
    return [Claim(job.key, job.id) for job in jobs]


async def test_a_job_wakes_one_idle_worker_and_each_further_job_another_one(
    queue: RedisQueue, notifications: Notifications
) -> None:
    for worker in ("a", "b", "c"):
        await take(queue, worker)
    await submit(queue, 0)
    (first,) = notifications.read()
    await submit(queue, 1, 2)
    assert sorted([first, *notifications.read()]) == ["a", "b", "c"]


async def test_all_workers_are_notified_of_the_first_due_job_if_none_is_idle(
    queue: RedisQueue, notifications: Notifications
) -> None:
    """Some may not know the lane. Those that work in it find the next jobs when their calls end."""
    await submit(queue, 0)
    await submit(queue, 1)
    assert notifications.read() == ["all"]


async def test_a_worker_that_takes_all_it_can_wakes_another_one_if_jobs_are_left(
    queue: RedisQueue, notifications: Notifications
) -> None:
    later = [Submission(key_of(LANE, stop(n)), LANE, dump_action(stop(n)), f"-{n}", delay=0.3) for n in range(2)]
    await queue.submit(later)
    for worker in ("other", "idle"):
        assert await take(queue, worker) == []
    assert notifications.read() == ["all"]  # so that they learn when the jobs are due
    await asyncio.sleep(0.3)
    assert len(await take(queue, "other", limit=1)) == 1
    assert notifications.read() == ["idle"]
    assert len(await take(queue, "other", limit=1)) == 1
    assert notifications.read() == []


async def test_a_worker_that_has_left_or_gives_a_job_back_is_not_notified(
    queue: RedisQueue, notifications: Notifications
) -> None:
    for worker in ("gone", "giver", "idle"):
        await take(queue, worker)
    await queue.leave("gone")
    await submit(queue, 0, 1, 2)
    assert notifications.read() == ["giver", "idle"]
    await take(queue, "idle", limit=1)
    claims = await take(queue, "giver")
    await take(queue, "idle")
    await queue.give_back("giver", claims[:1])
    assert notifications.read() == ["idle"]


async def test_idle_workers_are_forgotten_after_a_day(queue: RedisQueue, redis: Redis) -> None:
    await take(queue, "w")
    assert 80_000 < redis.ttl(f"{PREFIX}idle:{'/'.join(LANE)}") <= 86_400


async def test_a_take_says_when_the_next_job_is_due_although_it_has_jobs(queue: RedisQueue) -> None:
    await submit(queue, 0)
    later = Submission(key_of(LANE, stop(1)), LANE, dump_action(stop(1)), "-1", delay=60.0)
    await queue.submit([later])
    jobs, wait = await queue.take("w", LANE, 10, at_most_once=False)
    assert len(jobs) == 1
    assert wait is not None
    assert 59 < wait <= 60


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each worker asks for jobs."""
    counts: Counter[str] = Counter()
    take = RedisQueue.take

    async def counted_take(self: RedisQueue, worker: str, *arguments: Any, **options: Any) -> Any:
        counts[worker] += 1
        return await take(self, worker, *arguments, **options)

    monkeypatch.setattr(RedisQueue, "take", counted_take)
    return counts


@pytest.mark.slow
async def test_workers_ask_about_once_for_each_job_that_comes_alone(valkey: str, takes: Counter[str]) -> None:
    async with working(valkey, volcengine(), workers=3) as jobs:
        for number in range(20):
            await (await jobs.submit(stop(number)))
            await asyncio.sleep(0.01)
    assert takes.total() <= 20 + 3 * 4  # some more when the lane is new, and for a heartbeat


@pytest.mark.slow
async def test_a_deferred_job_is_made_when_it_is_due_although_the_lane_has_no_other(valkey: str) -> None:
    answers = [volcengine_error("InternalError", status=500)]

    def respond(_: object) -> Any:
        return answers.pop() if answers else volcengine_success()

    client = volcengine_client(http_client=mocked(respond), quotas=NoQuotas(), retry=RetryPolicy(attempts=3, base=0.2))
    async with working(valkey, client) as jobs:
        async with asyncio.timeout(2.0):  # before the heartbeat that would find it, too
            job = await (await jobs.submit(stop()))
    assert (job.state, job.attempts) == (JobState.DONE, 2)


@pytest.mark.slow
async def test_the_next_job_of_a_worker_that_was_notified_and_died_is_found_by_others(valkey: str) -> None:
    queue = RedisQueue(queue_client(valkey), "moderation", keep=600, reconnect=5)
    await queue.heartbeat("dead", WorkerStatus({}), held=[], up_to_fence=0)
    await take(queue, "dead")
    async with working(valkey, volcengine()) as jobs:
        async with asyncio.timeout(5.0):
            assert (await (await jobs.submit(stop()))).state == JobState.DONE
    await queue.aclose()


@pytest.mark.slow
async def test_a_queue_that_loses_its_data_learns_again_which_lanes_a_worker_serves(
    valkey: str, redis: Redis, queue: RedisQueue
) -> None:
    """Otherwise, a worker reports its status only when it has changed, because that of a thousand lanes is long."""
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        working_now = asyncio.create_task(jobs.work())
        await (await jobs.submit(stop()))
        await asyncio.sleep(0.6)  # the heartbeat after the new lane
        redis.flushall()
        assert jobs._worker is not None
        jobs._worker.wake("")
        await asyncio.sleep(1.3)
        _, workers = await queue.inspect()
        assert [set(worker.lanes) for worker in workers] == [{LANE}]
        working_now.cancel()
        await asyncio.gather(working_now, return_exceptions=True)


def test_the_calls_in_flight_follow_the_waits_for_permits() -> None:
    concurrency = Concurrency(32)
    assert concurrency.current == INITIAL_CONCURRENCY
    for _ in range(100):
        concurrency.adjust(0.0)
    assert concurrency.current == 32
    concurrency.adjust(0.2)
    assert concurrency.current == 32
    for _ in range(1000):
        concurrency.adjust(2.0)
    assert concurrency.current == MIN_CONCURRENCY
    assert Concurrency(1).current == 1
