"""What metrics show of stores, as another thread reads it."""

import asyncio
import gc
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.doubles import aged_quota_file, mocked, volcengine_client, volcengine_success
from tests.telemetry.conftest import Exported
from volc_moderation import FileQuotas, NoQuotas, Quota, RedisQuotas, WindowQuotas, telemetry
from volc_moderation.jobs import Jobs
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.runner import MEASURE_PAUSE
from volc_moderation.quotas.permit import QuotaKey, hash_account
from volc_moderation.telemetry import sources
from volc_moderation.telemetry.instruments import Metric
from volc_moderation.volcengine import StopWebcast

pytestmark = pytest.mark.slow

KEY = QuotaKey("volcengine", "account", "StopWebcast")
ATTRIBUTES = ("volcengine", hash_account("account"), "StopWebcast")
STOP = StopWebcast(app_id="app", room_id="room", task_id="wall")


async def read(exported: Exported, metric: Metric) -> dict[tuple[object, ...], float]:
    """Return the values of a metric as a thread of a reader gets them."""
    return await asyncio.to_thread(exported.values, metric)


async def occupy(store: Any, count: int, key: QuotaKey = KEY, limit: int = 2) -> "list[asyncio.Task[Any]]":
    """Let calls take permits, or wait for them."""
    tasks = [asyncio.create_task(store.acquire(key, Quota(limit))) for _ in range(count)]
    await asyncio.sleep(0.05)
    return tasks


async def end(tasks: "list[asyncio.Task[Any]]") -> None:
    for task in tasks:
        task.cancel()
    for acquired in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(acquired, BaseException):
            acquired.abandoned(None)


async def test_permits_waiters_and_the_limit_of_a_quota(exported: Exported) -> None:
    store = WindowQuotas()
    tasks = await occupy(store, 5)
    assert await read(exported, Metric.QUOTA_PERMITS) == {ATTRIBUTES: 2}
    assert await read(exported, Metric.QUOTA_WAITERS) == {ATTRIBUTES: 3}
    assert await read(exported, Metric.QUOTA_LIMIT) == {ATTRIBUTES: 2}
    assert "account" not in str([*exported.values(Metric.QUOTA_LIMIT)]).replace("volc_moderation.account", "")
    await end(tasks)


async def test_a_loop_may_read_the_metrics_of_its_own_stores(exported: Exported) -> None:
    store = WindowQuotas()
    tasks = await occupy(store, 1)
    assert exported.values(Metric.QUOTA_PERMITS) == {ATTRIBUTES: 1}
    await end(tasks)


async def test_values_of_several_stores_are_added_up_and_the_largest_limit_counts(exported: Exported) -> None:
    stores = WindowQuotas(), WindowQuotas({"StopWebcast": 3})
    tasks = await occupy(stores[0], 1) + await occupy(stores[1], 2)
    assert await read(exported, Metric.QUOTA_PERMITS) == {ATTRIBUTES: 3}
    assert await read(exported, Metric.QUOTA_LIMIT) == {ATTRIBUTES: 3}
    await end(tasks)


async def test_rooms_share_their_values(exported: Exported) -> None:
    store = WindowQuotas()
    tasks = await occupy(store, 1)
    for room in range(100):
        tasks += await occupy_room(store, f"room-{room}")
    await asyncio.sleep(0)
    assert await read(exported, Metric.QUOTA_PERMITS) == {ATTRIBUTES: 1}
    assert await read(exported, Metric.QUOTA_WAITERS) == {ATTRIBUTES: 100}
    await end(tasks)


async def occupy_room(store: WindowQuotas, room: str) -> "list[asyncio.Task[Any]]":
    key = QuotaKey("volcengine", "account", "StopWebcast", room)
    return [asyncio.create_task(store.acquire(key, Quota(1))) for _ in range(2)]


@pytest.mark.slow
async def test_a_metric_keeps_no_store_alive(exported: Exported) -> None:
    store = WindowQuotas()
    await end(await occupy(store, 1))
    del store
    gc.collect()
    assert await read(exported, Metric.QUOTA_LIMIT) == {}


@pytest.mark.slow
async def test_closed_stores_are_not_shown(exported: Exported, tmp_path: Path, valkey: str, redis: Redis) -> None:
    for store in (FileQuotas(aged_quota_file(tmp_path / "quotas")), RedisQuotas(valkey)):
        tasks = await occupy(store, 1)
        await asyncio.gather(*tasks)
        assert (await read(exported, Metric.QUOTA_LIMIT))[ATTRIBUTES] == 2
        await end(tasks)
        await store.aclose()
        assert await read(exported, Metric.QUOTA_LIMIT) == {}


def test_stores_of_a_loop_that_has_ended_are_not_shown(exported: Exported) -> None:
    async def use() -> WindowQuotas:
        store = WindowQuotas()
        await end(await occupy(store, 1))
        return store

    store = asyncio.run(use())
    assert exported.values(Metric.QUOTA_LIMIT) == {}
    assert store.snapshot()


@pytest.mark.slow
async def test_a_reader_waits_for_a_busy_loop_only_shortly_and_shows_what_was_before(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "ASK_TIMEOUT", 0.05)
    store = WindowQuotas()
    tasks = await occupy(store, 1)
    assert await read(exported, Metric.QUOTA_PERMITS) == {ATTRIBUTES: 1}
    found: list[dict[tuple[object, ...], float]] = []
    thread = threading.Thread(target=lambda: found.append(exported.values(Metric.QUOTA_PERMITS)))
    began = time.monotonic()
    thread.start()
    thread.join()  # this loop does nothing meanwhile
    assert time.monotonic() < began + 1
    assert found == [{ATTRIBUTES: 1}]
    await end(tasks)


def test_stores_of_other_loops_are_asked_there(exported: Exported) -> None:
    """Each store belongs to its loop, and so does what it says."""
    started, stop = threading.Event(), threading.Event()
    asked_in: list[threading.Thread] = []

    class Store(WindowQuotas):
        def snapshot(self) -> Any:
            asked_in.append(threading.current_thread())
            return super().snapshot()

    async def use() -> None:
        store = Store()
        tasks = await occupy(store, 1)
        started.set()
        await asyncio.to_thread(stop.wait)
        await end(tasks)

    thread = threading.Thread(target=lambda: asyncio.run(use()))
    thread.start()
    started.wait()
    assert exported.values(Metric.QUOTA_PERMITS) == {ATTRIBUTES: 1}
    stop.set()
    thread.join()
    assert {*asked_in} == {thread}


async def test_jobs_of_a_journal_by_state_and_the_age_of_the_oldest_due_one(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volc_moderation.jobs.runner.MEASURE_PAUSE", 0)
    path = tmp_path / "stops.db"
    now = time.time()
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), quotas=NoQuotas())
    async with Jobs(path, clients=[client], clock=lambda: now) as jobs:
        await (await jobs.submit(STOP))
        await jobs.submit(StopWebcast(app_id="app", room_id="other", task_id="wall"), delay=60)
        values = await read(exported, Metric.JOBS)
        assert {state: count for (name, state), count in values.items() if name == str(path)} == {
            "pending": 1,
            "sent": 0,
            "done": 1,
            "failed": 0,
            "given up": 0,
        }
        assert await read(exported, Metric.JOBS_OLDEST_DUE) == {(str(path),): 0}
        now += 100  # which the clock of due times does not follow
        assert await read(exported, Metric.JOBS_OLDEST_DUE) == {(str(path),): 0}
    assert await read(exported, Metric.JOBS) == {}


@pytest.mark.slow
async def test_the_oldest_due_job_of_a_lane_that_makes_no_calls(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volc_moderation.jobs.runner.MEASURE_PAUSE", 0)
    store = WindowQuotas({"StopWebcast": 1})
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), quotas=store)
    async with Jobs(tmp_path / "stops.db", clients=[client], grace=0.0) as jobs:
        for number in range(100):
            await jobs.submit(StopWebcast(app_id="app", room_id=f"room-{number}", task_id="wall"))
        await asyncio.sleep(0.2)
        (age,) = (await read(exported, Metric.JOBS_OLDEST_DUE)).values()
        assert 0.1 < age < 10


async def test_a_large_journal_is_counted_rarely(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), quotas=NoQuotas())
    async with Jobs(tmp_path / "stops.db", clients=[client]) as jobs:
        monkeypatch.setattr("volc_moderation.jobs.runner.MEASURE_PAUSE", 1e6 * MEASURE_PAUSE)
        await (await jobs.submit(STOP))
        before = await read(exported, Metric.JOBS)
        assert sum(before.values()) == 1
        await (await jobs.submit(StopWebcast(app_id="app", room_id="other", task_id="wall")))
        assert await read(exported, Metric.JOBS) == before


@pytest.mark.slow
async def test_jobs_of_a_queue(exported: Exported, valkey: str, redis: Redis) -> None:
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), quotas=NoQuotas())
    async with DistributedJobs(valkey, clients=[client]) as worker:
        task = asyncio.create_task(worker.work())
        await (await worker.submit(STOP))
        await worker.submit(StopWebcast(app_id="app", room_id="later", task_id="wall"), delay=60)
        assert await read(exported, Metric.JOBS) == {("moderation", "pending"): 1, ("moderation", "sent"): 0}
        assert await read(exported, Metric.JOBS_OLDEST_DUE) == {("moderation",): 0}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await read(exported, Metric.JOBS) == {}


async def test_a_source_that_fails_is_left_out(exported: Exported) -> None:
    class Source:
        pass

    def fail(_: Source) -> list[telemetry.Measurement]:
        raise ValueError

    async def fail_late(_: Source) -> list[telemetry.Measurement]:
        raise ValueError

    failing = [Source(), Source()]
    telemetry.register(failing[0], fail)
    telemetry.register(failing[1], fail_late)
    store = WindowQuotas()
    tasks = await occupy(store, 1)
    assert await read(exported, Metric.QUOTA_PERMITS) == {ATTRIBUTES: 1}
    await end(tasks)
