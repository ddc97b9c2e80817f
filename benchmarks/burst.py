"""Thousands of calls awaited at once on one client: with the quota off, as fast as they go; with it on, as allowed.

``python -m benchmarks.burst``. All have a pool of the same size. Bare clients are given all the time they want to wait
for the pool, because with its default of 5 s httpx fails nearly all calls; after a minute they are cut off.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import ModuleType

import httpx
import httpx2
from matplotlib.axes import Axes

from benchmarks.overhead import captured_request, quick_server
from benchmarks.programs import KEYS, QUOTA
from benchmarks.quota import FAR
from benchmarks.quota_server import QuotaServer
from benchmarks.results import Result, bars
from volc_moderation import NoQuotas, VolcengineClient, WindowQuotas
from volc_moderation.quotas import Quotas
from volc_moderation.transport import IN_FLIGHT

CALLS = (1000, 5000, 20_000)
#: Seconds after which a bare client is cut off.
PATIENCE = 60.0
TASK = {"app_id": "app", "room_id": "p0", "task_id": "task"}

Call = Callable[[], Awaitable[object]]


async def ours(stack: AsyncExitStack, library: ModuleType, base_url: str, quotas: Quotas) -> Call:
    limits = library.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    http_client = await stack.enter_async_context(library.AsyncClient(limits=limits, trust_env=False))
    client = VolcengineClient(**KEYS, base_url=base_url, quotas=quotas, http_client=http_client)
    return lambda: client.stop_webcast(**TASK)


async def bare(stack: AsyncExitStack, library: ModuleType, base_url: str, _: Quotas) -> Call:
    limits = library.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    timeout = library.Timeout(10, pool=None)
    client = library.AsyncClient(limits=limits, timeout=timeout, trust_env=False)
    http_client = await stack.enter_async_context(client)
    request = await captured_request(base_url, **TASK)
    url, headers, body = str(request.url), dict(request.headers), request.content

    async def call() -> None:
        response = await http_client.post(url, headers=headers, content=body)
        response.raise_for_status()

    return call


async def gather(call: Call, calls: int, patience: float | None) -> tuple[Counter[str], float, float]:
    """Return how many were done, failed and cut off, the seconds, and the seconds of CPU."""
    counts: Counter[str] = Counter()

    async def one() -> None:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - counted
            counts[type(error).__name__] += 1
        else:
            counts["done"] += 1

    began, cpu = time.monotonic(), time.process_time()
    tasks = [asyncio.ensure_future(one()) for _ in range(calls)]
    _, pending = await asyncio.wait(tasks, timeout=patience)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    counts["cut off"] = len(pending)
    return counts, seconds, cpu


def add(result: Result, way: str, quota: str, counts: Counter[str], seconds: float, cpu: float) -> float:
    rate = counts["done"] / seconds
    result.add(
        way=way,
        quota=quota,
        calls=counts.total(),
        done=counts["done"],
        errors=counts.total() - counts["done"] - counts["cut off"],
        cut_off=counts["cut off"],
        seconds=seconds,
        per_second=rate,
        cpu_ms=cpu / max(1, counts["done"]) * 1e3,
    )
    return rate


async def main() -> None:
    result = Result("burst", "calls awaited at once on one client", "httpx", "httpx2", pool=IN_FLIGHT)
    ways = {
        "volc_moderation": (ours, httpx),
        "volc_moderation, httpx2": (ours, httpx2),
        "bare httpx": (bare, httpx),
        "bare httpx2": (bare, httpx2),
    }
    rates: dict[tuple[str, int], float] = {}
    async with quick_server() as base_url:
        for calls in CALLS:
            for way, (make, library) in ways.items():
                async with AsyncExitStack() as stack:
                    call = await make(stack, library, base_url, NoQuotas())
                    found = await gather(call, calls, PATIENCE)
                rates[way, calls] = add(result, way, "off", *found)
    refused = 0
    for way in ("volc_moderation", "volc_moderation, httpx2"):
        make, library = ways[way]
        for calls in CALLS:
            async with QuotaServer(limit=QUOTA, delay=FAR) as server, AsyncExitStack() as stack:
                call = await make(stack, library, server.base_url, WindowQuotas())
                add(result, way, str(QUOTA), *await gather(call, calls, None))
                refused += (await server.report()).refused
    mine = [row for row in result.rows if row["way"] in {"volc_moderation", "volc_moderation, httpx2"}]
    result.goal("errors of ours", sum(row["calls"] != row["done"] for row in mine), at_most=0)
    result.goal("refused of ours", refused, at_most=0)
    times = rates["volc_moderation", 5000] / rates["bare httpx", 5000]
    result.goal("5,000 at once, quota off: times the calls/s of bare httpx", times, at_least=2)

    def draw(panels: list[Axes]) -> None:
        names = [f"{way}, {calls:,}" for calls in CALLS for way in ways]
        bars(panels[0], names, [rates[way, calls] for calls in CALLS for way in ways], "calls/s, quota off")

    result.finish(draw, height=3.6)


if __name__ == "__main__":
    asyncio.run(main())
