"""Calls/s and CPU of a call over each HTTP client, bare and ours, and the memory of a call that waits.

``python -m benchmarks.throughput``. Client and server have a core each, so that the figures are those of one core. Both
send the same bytes through equal HTTP clients, in alternate rounds in one process. Rates are those of the median round;
the CPU is that of the best one, because httpx takes up to twice as long while its pool has many idle connections.

- ``bare``: ``await client.request(…)`` with prepared address, headers and body; the status is checked.
- ``ours``: ``await client.stop_webcast(…)``: validated, permitted, encoded, signed, sent, decoded. The quota is on, but
  no call waits for it.
- With aiohttp alone, ``ours`` is what its user would write: a limiter, the vendor's signer, the decoded response.

1,000 and 5,000 calls are awaited at once, and a round ends with the last of them, or after 20 s: httpx collapses when
requests queue for its pool. ``--python PATH``, any number of times, adds rows that another Python measures, in which
this package and its extra ``bench`` are installed.
"""

import argparse
import asyncio
import importlib.util
import json
import math
import statistics
import sys
from functools import partial

import attrs
from matplotlib.axes import Axes

from benchmarks.http_clients import CLIENTS
from benchmarks.results import Result, bars
from benchmarks.throughput_case import AIOHTTP, ROUND_TIMEOUT, Round
from benchmarks.waiting_memory import OURS, WAYS
from volc_moderation.gate import MAX_IN_FLIGHT

FEW = (1, 16, MAX_IN_FLIGHT)
MANY = (1000, 5000)
#: Each case takes at least this, with httpx more: its rounds are long, and differ most.
SECONDS = 3.0
HTTPX_SECONDS = 12.0
#: The calls awaited with uvloop, and with other Pythons.
WITH_UVLOOP = (MAX_IN_FLIGHT, 1000)
WITH_OTHER_PYTHON = (MAX_IN_FLIGHT,)
BRIEF_SECONDS = 1.5
MAX_COST_ABOVE = 60  # microseconds of CPU
MIN_RATE_RATIO = 0.9
MAX_WAITING_MEMORY = 4096  # bytes of a call


@attrs.frozen
class Case:
    """The pairs of rounds over one client, with some number of calls awaited."""

    client: str
    awaited: int
    #: The version of Python, and the event loop unless it is asyncio's.
    python: str
    #: Ours and bare.
    pairs: list[tuple[Round, Round]]

    @property
    def rate_ratio(self) -> float:
        """Our rate relative to the bare one."""
        slowest = 1 / ROUND_TIMEOUT
        return statistics.median([ours.rate / max(slowest, bare.rate) for ours, bare in self.pairs] or [0.0])

    @property
    def cost_above(self) -> float:
        """The microseconds of CPU of a call above those of the bare request."""
        ours, bare = zip(*self.pairs, strict=True) if self.pairs else ([], [])
        return min((round_.cost for round_ in ours), default=math.inf) - min(
            (round_.cost for round_ in bare), default=0
        )

    def add_to(self, result: Result) -> None:
        """Add the row."""
        ours, bare = ([pair[index] for pair in self.pairs] for index in (0, 1))
        cut_off = [round_ for round_ in bare if not round_.is_whole]
        result.add(
            client=self.client,
            awaited=self.awaited,
            on=self.python,
            bare_rate=statistics.median(round_.rate for round_ in bare),
            rate=statistics.median(round_.rate for round_ in ours),
            ratio=self.rate_ratio,
            bare_us=None if cut_off else min(round_.cost for round_ in bare),
            us=min(round_.cost for round_ in ours),
            above_us=None if cut_off else self.cost_above,
            bare_done=f"{cut_off[0].calls:,} in {ROUND_TIMEOUT:g} s" if cut_off else "all",
        )


async def measure(client: str, awaited: int, loop: str, seconds: float, python: str = sys.executable) -> Case:
    process = await asyncio.create_subprocess_exec(
        *(python, "-m", "benchmarks.throughput_case", client, str(awaited), loop, str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await process.communicate()
    version, *lines = printed.decode().splitlines()
    rounds = [Round(**json.loads(line)) for line in lines]
    ours, bare = ([round_ for round_ in rounds if round_.of == of] for of in ("ours", "bare"))
    return Case(
        client, awaited, version + (f", {loop}" if loop != "asyncio" else ""), list(zip(ours, bare, strict=False))
    )


async def waiting_memory(way: str) -> float:
    """Return the bytes of a call that waits."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.waiting_memory", way), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    return float(printed)


def add_goals(result: Result, case: Case) -> None:
    what = f"{case.client}, {case.awaited:,} awaited"
    if case.awaited in MANY:
        result.goal(f"{what}: rate to the bare one", case.rate_ratio, at_least=MIN_RATE_RATIO)
    else:
        result.goal(f"{what}: CPU above the bare request, µs", case.cost_above, at_most=MAX_COST_ABOVE)


def draw(cases: list[Case], panels: list[Axes]) -> None:
    """Draw the CPU of a bare request and of a call over each client."""
    names, costs = [], []
    for case in cases:
        if case.awaited == MAX_IN_FLIGHT:
            for of, rounds in zip(("ours", "bare"), zip(*case.pairs, strict=True), strict=True):
                is_users = of == "ours" and case.client == AIOHTTP
                names.append(f"{case.client}, {'by its user' if is_users else of}")
                costs.append(min(round_.cost for round_ in rounds))
    bars(panels[0], names, costs, f"µs of CPU of a call, {MAX_IN_FLIGHT} in flight")


async def main(pythons: list[str]) -> None:
    result = Result(
        "throughput",
        "calls over each HTTP client, on one core",
        *("httpx", "httpx2", "aiohttp", "httpx-aiohttp", "uvloop", "attrs", "cattrs", "aiolimiter", "tenacity"),
        pool=MAX_IN_FLIGHT,
        round_limit=f"{ROUND_TIMEOUT:g} s",
    )
    cases = []
    for awaited in (*FEW, *MANY):
        for client in (*CLIENTS, AIOHTTP):
            case = await measure(client, awaited, "asyncio", HTTPX_SECONDS if client == "httpx" else SECONDS)
            case.add_to(result)
            cases.append(case)
            if client != AIOHTTP:
                add_goals(result, case)
    others = [(sys.executable, "uvloop", WITH_UVLOOP)] if importlib.util.find_spec("uvloop") else []
    for python, loop, numbers in others + [(python, "asyncio", WITH_OTHER_PYTHON) for python in pythons]:
        for awaited in numbers:
            for client in (*CLIENTS, AIOHTTP):
                (await measure(client, awaited, loop, BRIEF_SECONDS, python)).add_to(result)
    sizes = await asyncio.gather(*map(waiting_memory, WAYS))
    for way, size in zip(WAYS, sizes, strict=True):
        result.add(waiting=way, bytes=round(size))
        if way in OURS:
            result.goal(f"bytes of a call that waits: {way}", round(size), at_most=MAX_WAITING_MEMORY)
    result.finish(partial(draw, cases), height=3.6)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.throughput")
    parser.add_argument("--python", action="append", default=[], metavar="PATH", dest="pythons")
    asyncio.run(main(parser.parse_args().pythons))
