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

import attrs
from matplotlib.axes import Axes

from benchmarks.http_clients import Call, bare_call, our_call
from benchmarks.programs import QUOTA
from benchmarks.quota import FAR_DELAY
from benchmarks.quota_server import QuotaServer
from benchmarks.results import Result, bars
from volc_moderation import NoQuotas, WindowQuotas
from volc_moderation.gate import MAX_IN_FLIGHT

CALLS = (1000, 5000, 20_000)
#: A case is killed after this, unless there is a quota.
CASE_TIMEOUT = 60.0  # seconds
#: This limit means that there is no quota.
NO_QUOTA = 1_000_000_000  # calls per second
TASK = {"app_id": "app", "room_id": "p0", "task_id": "task"}


async def ours(stack: AsyncExitStack, client: str, base_url: str, quota: int) -> Call:
    return await our_call(stack, client, base_url, NoQuotas() if quota == NO_QUOTA else WindowQuotas(), **TASK)


async def bare(stack: AsyncExitStack, client: str, base_url: str, _: int) -> Call:
    return await bare_call(stack, client, base_url, **TASK)


WAYS: dict[str, tuple[Callable[[AsyncExitStack, str, str, int], Awaitable[Call]], str]] = {
    "volc_moderation": (ours, "httpx"),
    "volc_moderation, httpx2": (ours, "httpx2"),
    "bare httpx": (bare, "httpx"),
    "bare httpx2": (bare, "httpx2"),
}
OURS = list(WAYS)[:2]


async def run(way: str, calls: str, base_url: str, quota: str) -> None:
    """Run one case, and print its number of errors, its duration and its CPU time."""
    make, client = WAYS[way]
    async with AsyncExitStack() as stack:
        call = await make(stack, client, base_url, int(quota))
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
