"""Thousands of calls awaited at once on one client, with the quota off and with it on.

``python -m benchmarks.burst``. Each case runs in a process of its own and is killed after a minute, unless the quota
needs longer: httpx scans all requests that wait for its pool on every request, which may take very long. All pools have
the same size, and the bare clients have no pool timeout: with httpx's default of 5 s, nearly all calls fail. The calls
counted as done are those that the server received.
"""

import asyncio
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from types import ModuleType

import attrs
import httpx
import httpx2
from matplotlib.axes import Axes

from benchmarks.overhead import captured_request
from benchmarks.programs import KEYS, QUOTA
from benchmarks.quota import FAR_DELAY
from benchmarks.quota_server import QuotaServer
from benchmarks.results import Result, bars
from volc_moderation import NoQuotas, VolcengineClient, WindowQuotas
from volc_moderation.gate import MAX_IN_FLIGHT

CALLS = (1000, 5000, 20_000)
#: A case is killed after this, unless there is a quota.
CASE_TIMEOUT = 60.0  # seconds
#: This limit means that there is no quota.
NO_QUOTA = 1_000_000_000  # calls per second
TASK = {"app_id": "app", "room_id": "p0", "task_id": "task"}

Call = Callable[[], Awaitable[object]]


async def ours(stack: AsyncExitStack, library: ModuleType, base_url: str, quota: int) -> Call:
    limits = library.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    http_client = await stack.enter_async_context(library.AsyncClient(limits=limits, trust_env=False))
    quotas = NoQuotas() if quota == NO_QUOTA else WindowQuotas()
    client = VolcengineClient(**KEYS, base_url=base_url, quotas=quotas, http_client=http_client)
    return lambda: client.stop_webcast(**TASK)


async def bare(stack: AsyncExitStack, library: ModuleType, base_url: str, _: int) -> Call:
    limits = library.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    timeout = library.Timeout(10, pool=None)
    client = library.AsyncClient(limits=limits, timeout=timeout, trust_env=False)
    http_client = await stack.enter_async_context(client)
    request = await captured_request(base_url, **TASK)
    url, headers, body = str(request.url), dict(request.headers), request.content

    async def call() -> None:
        response = await http_client.post(url, headers=headers, content=body)
        response.raise_for_status()

    return call


WAYS: dict[str, tuple[Callable[[AsyncExitStack, ModuleType, str, int], Awaitable[Call]], ModuleType]] = {
    "volc_moderation": (ours, httpx),
    "volc_moderation, httpx2": (ours, httpx2),
    "bare httpx": (bare, httpx),
    "bare httpx2": (bare, httpx2),
}
OURS = list(WAYS)[:2]


async def run(way: str, calls: str, base_url: str, quota: str) -> None:
    """Run one case, and print its number of errors, its duration and its CPU time."""
    make, library = WAYS[way]
    async with AsyncExitStack() as stack:
        call = await make(stack, library, base_url, int(quota))
        began = time.monotonic()
        outcomes = await asyncio.gather(*(call() for _ in range(int(calls))), return_exceptions=True)
        seconds = time.monotonic() - began
    errors = Counter(type(outcome).__name__ for outcome in outcomes if isinstance(outcome, Exception))
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    print(json.dumps({"errors": errors.total(), "seconds": seconds, "cpu": cpu}), flush=True)


@attrs.frozen
class Case:
    """The result of a case. ``errors`` and ``cpu`` are unknown if it was killed."""

    done: int
    refused: int
    seconds: float = CASE_TIMEOUT
    errors: int | None = None
    cpu: float | None = None


async def measure(way: str, calls: int, quota: int) -> Case:
    delay = (0.0, 0.0) if quota == NO_QUOTA else FAR_DELAY
    async with QuotaServer(limit=quota, delay=delay) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.burst", way, str(calls), server.base_url, str(quota)),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(CASE_TIMEOUT if quota == NO_QUOTA else None):
                printed = json.loads((await process.communicate())[0])
        except TimeoutError:
            process.kill()
            await process.wait()
            printed = {}
        arrivals = [one for one in (await server.report()).arrivals if one.room_id == TASK["room_id"]]
    accepted = sum(one.accepted for one in arrivals)
    return Case(accepted, len(arrivals) - accepted, **printed)


async def main() -> None:
    result = Result("burst", "calls awaited at once on one client", "httpx", "httpx2", pool=MAX_IN_FLIGHT)
    rates: dict[tuple[str, int], float] = {}
    of_ours = {"missing": 0, "refused": 0}
    for way, quota in [(way, NO_QUOTA) for way in WAYS] + [(way, QUOTA) for way in OURS]:
        for calls in CALLS:
            case = await measure(way, calls, quota)
            result.add(
                way=way,
                quota="off" if quota == NO_QUOTA else str(quota),
                calls=calls,
                done=case.done,
                errors=case.errors,
                seconds=case.seconds,
                per_second=case.done / case.seconds,
                cpu_ms=None if case.cpu is None else case.cpu / max(1, case.done) * 1e3,
            )
            if quota == NO_QUOTA:
                rates[way, calls] = case.done / case.seconds
            if way in OURS:
                of_ours["missing"] += calls - case.done + (case.errors or 0)
                of_ours["refused"] += case.refused
    result.goal("calls of ours that were not done", of_ours["missing"], at_most=0)
    result.goal("calls of ours that were refused", of_ours["refused"], at_most=0)
    ours, theirs = rates["volc_moderation", 5000], rates["bare httpx", 5000]
    result.goal("5,000 at once, quota off: calls/s, less twice those of bare httpx", ours - 2 * theirs, at_least=0)

    def draw(panels: list[Axes]) -> None:
        names = [f"{way}, {calls:,}" for calls in CALLS for way in WAYS]
        bars(panels[0], names, [rates[way, calls] for calls in CALLS for way in WAYS], "calls/s, quota off")

    result.finish(draw, height=3.6)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]) if sys.argv[1:] else main())
