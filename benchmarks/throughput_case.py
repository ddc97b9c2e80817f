"""Rounds of calls over one HTTP client, alternately bare and ours, for ``throughput.py``: each case in its own process.

The first line printed is the Python; then each round is a line. A round that takes longer than ``ROUND_TIMEOUT`` is
reported as it is then, and ends the process: httpx scans all requests that wait for its pool on every request.
"""

import asyncio
import gc
import json
import os
import platform
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

import attrs
from aiolimiter import AsyncLimiter

from benchmarks.http_clients import Call, bare_aiohttp_call, bare_call, our_call, users_aiohttp_call
from benchmarks.minimal_server import minimal_server, pin_client
from volc_moderation import WindowQuotas
from volc_moderation.gate import MAX_IN_FLIGHT

#: The client that a user of aiohttp would write, instead of ours.
AIOHTTP = "aiohttp"
#: More than the machine can reach: every call acquires a permit, and none waits for it.
UNREACHED_QUOTA = 1_000_000  # calls per second
#: The calls of a round, unless more are awaited at once.
CALLS = 192
#: Rounds of this time do not count: each request costs httpx time for each idle connection, and those expire after 5 s.
WARM_UP = {"httpx": 6.0}  # seconds
ROUND_TIMEOUT = 20.0  # seconds


@attrs.frozen
class Round:
    """One round: calls that were done, seconds, and seconds of CPU; ``is_whole`` unless it took too long."""

    of: str
    calls: int
    seconds: float
    cpu: float
    is_whole: bool = True

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    @property
    def cost(self) -> float:
        """Microseconds of CPU of a call."""
        return self.cpu / max(1, self.calls) * 1e6


async def _measure(of: str, call: Call, awaited: int) -> Round:
    done = 0

    async def worker() -> None:
        nonlocal done
        for _ in range(max(1, CALLS // awaited)):
            await call()
            done += 1

    def now(*, is_whole: bool) -> Round:
        return Round(of, done, time.perf_counter() - began, time.process_time() - cpu, is_whole)

    def give_up() -> None:
        _print(now(is_whole=False))
        os._exit(0)  # to cancel the calls may take as long as to make them

    began, cpu = time.perf_counter(), time.process_time()
    timer = threading.Timer(ROUND_TIMEOUT, give_up)
    timer.start()
    try:
        await asyncio.gather(*(worker() for _ in range(awaited)))
        return now(is_whole=True)
    finally:
        timer.cancel()


def _print(round_: Round) -> None:
    print(json.dumps(attrs.asdict(round_)), flush=True)


async def _calls(stack: AsyncExitStack, client: str, base_url: str) -> dict[str, Call]:
    """Return our call, first, and the bare one."""
    if client == AIOHTTP:
        ours = await users_aiohttp_call(stack, base_url, AsyncLimiter(UNREACHED_QUOTA, 1))
        return {"ours": ours, "bare": await bare_aiohttp_call(stack, base_url)}
    quotas = WindowQuotas({"StopWebcast": UNREACHED_QUOTA})
    ours = await our_call(stack, client, base_url, quotas)
    return {"ours": ours, "bare": await bare_call(stack, client, base_url)}


async def run(client: str, awaited: int, seconds: float) -> None:
    """Run rounds for ``seconds``, but at least one of each."""
    print(platform.python_version(), flush=True)
    async with minimal_server() as base_url, AsyncExitStack() as stack:
        pin_client()
        calls = await _calls(stack, client, base_url)
        for call in calls.values():
            await asyncio.gather(*(call() for _ in range(min(awaited, MAX_IN_FLIGHT))))
        gc.collect()
        gc.freeze()
        counted_from = time.monotonic() + (WARM_UP.get(client, 0) if awaited <= MAX_IN_FLIGHT else 0)
        end = counted_from + seconds
        counts = False
        while not (counts and time.monotonic() >= end):
            counts = time.monotonic() >= counted_from
            for of, call in calls.items():
                gc.collect()
                round_ = await _measure(of, call, awaited)
                if counts:
                    _print(round_)


def new_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop  # noqa: PLC0415 - optional

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def main(client: str, awaited: str, loop: str, seconds: str) -> None:
    with asyncio.Runner(loop_factory=new_loop(loop)) as runner:
        runner.run(run(client, int(awaited), float(seconds)))


if __name__ == "__main__":
    main(*sys.argv[1:])
