"""``RedisQuotas`` on a real Valkey whose clock steps, in real time."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from tests.quotas.processes import TIME_CALL
from tests.quotas.test_redis_quotas import Vendor, keep_calling
from tests.quotas.vendor import KEY
from volc_moderation import RedisQuotas
from volc_moderation.quotas import Quota, redis_quotas

#: What the script reads instead of the time: the time of the server, plus the steps, in microseconds.
STEPPED = """(function()
    local time = redis.call('TIME')
    local micros = time[1] * 1000000 + time[2] + (tonumber(redis.call('GET', 'test:step')) or 0)
    return {math.floor(micros / 1000000), micros % 1000000}
end)()"""

Step = Callable[[float], None]


@pytest.fixture
def step(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[Step]:
    """Return a function that steps the store's clock by seconds: the time that it shows, and when its keys expire."""
    monkeypatch.setattr(redis_quotas, "SCRIPT", redis_quotas.SCRIPT.replace(TIME_CALL, STEPPED))

    def step(seconds: float) -> None:
        redis.incrby("test:step", round(seconds * 1e6))
        for key in list(redis.scan_iter("volc_moderation:*")):
            redis.pexpire(key, max(1, int(redis.pttl(key)) - round(seconds * 1000)))

    yield step
    redis.delete("test:step")


@pytest.mark.no_coverage
@pytest.mark.parametrize("seconds", [-60.0, 3600.0])
async def test_a_clock_step_changes_no_rate(valkey: str, step: Step, seconds: float) -> None:
    """Two processes at full speed, a step, a new process: no call is refused or cancelled, and none is lost."""
    vendor, quota = Vendor(), Quota(40)

    async with RedisQuotas(valkey) as one, RedisQuotas(valkey) as other:
        running = [asyncio.create_task(keep_calling(quotas, vendor, quota, 4)) for quotas in (one, other)]
        await asyncio.sleep(1.5)
        step(seconds)
        await asyncio.sleep(0.05)
        async with RedisQuotas(valkey) as newcomer:
            running.append(asyncio.create_task(keep_calling(newcomer, vendor, quota, 2)))
            counts = await asyncio.gather(*running)
    assert vendor.max_in_a_second() <= 40
    assert sum(counts) >= 40 * 4 * 0.8
    assert min(counts) > 10


async def test_a_clock_step_cancels_no_call_of_a_task_group(valkey: str, step: Step) -> None:
    """A task group would take a cancelled call for one that ended, and lose it silently."""
    began, done = time.monotonic(), []

    async def call(number: int, quotas: RedisQuotas) -> None:
        (await quotas.acquire(KEY, Quota(20))).answered(0.01)
        done.append(number)

    async with RedisQuotas(valkey) as quotas, asyncio.TaskGroup() as calls:
        for number in range(60):
            calls.create_task(call(number, quotas))
        for seconds in (-60.0, 0.7, -3600.0, 3600.0):
            await asyncio.sleep(0.4)
            step(seconds)
    assert sorted(done) == list(range(60))
    assert time.monotonic() - began < 6
