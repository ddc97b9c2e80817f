"""Durable submits per second from one process and from four, to one file: this package and other queues on SQLite.

``python -m benchmarks.submits``. Each process has 64 submits in flight. No work is carried out: it is due an hour
later. All submits that returned are counted again in the file.
"""

import asyncio
import contextlib
import json
import sqlite3
import statistics
import sys
import tempfile
from pathlib import Path

import attrs
from matplotlib.axes import Axes

from benchmarks.results import Result, bars
from benchmarks.submitter import CONCURRENCY

OURS = "volc_moderation"
#: The queries that count what is in the file.
COUNTS = {
    OURS: "SELECT count(*) FROM job",
    "huey": "SELECT count(*) FROM task",
    "persist-queue": "SELECT count(*) FROM ack_queue_default",
}
PROCESSES = (1, 4)
SECONDS = 8
#: Each way is measured this often, in turns: on a shared machine, only runs that follow each other can be compared.
ROUNDS = 3
#: The least number of submits per second from four processes.
RATE_GOAL = 2000


@attrs.frozen(kw_only=True)
class Figures:
    """What one process measured.

    :param rate: submits per second that returned.
    :param p50: of the seconds that a submit takes; and ``p99``.
    :param cpu: seconds.
    """

    submitted: int
    rate: float
    failed: int
    p50: float
    p99: float
    cpu: float


@attrs.frozen(kw_only=True)
class Measurement:
    """What one run measured.

    :param p99: that of the process in which it is the largest.
    :param lost: submits that returned and are not in the file.
    """

    rate: float
    p50: float
    p99: float
    cpu_ms: float
    failed: int
    lost: int


async def submitter(way: str, path: Path, number: int) -> asyncio.subprocess.Process:
    """Start a process, and wait until it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.submitter", way, str(path), str(number)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def measure(way: str, processes: int) -> Measurement:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "queue")
        started = [await submitter(way, path, number) for number in range(processes)]
        outputs = await asyncio.gather(*(process.communicate(f"{SECONDS}\n".encode()) for process in started))
        figures = [Figures(**json.loads(output)) for output, _ in outputs]
        count = count_submitted(way, path)
    submitted = sum(one.submitted for one in figures)
    return Measurement(
        rate=sum(one.rate for one in figures),
        p50=statistics.median(one.p50 for one in figures),
        p99=max(one.p99 for one in figures),
        cpu_ms=sum(one.cpu for one in figures) / submitted * 1e3,
        failed=sum(one.failed for one in figures),
        lost=max(0, submitted - count),
    )


def count_submitted(way: str, path: Path) -> int:
    """Return the number of submits in a file; persist-queue makes a folder of it."""
    file = path / "data.db" if path.is_dir() else path
    with contextlib.closing(sqlite3.connect(file)) as database:
        (count,) = database.execute(COUNTS[way]).fetchone()
    return int(count)


def median(measurements: list[Measurement]) -> Measurement:
    """Return the measurement with the median rate."""
    return sorted(measurements, key=lambda one: one.rate)[len(measurements) // 2]


async def main() -> None:
    result = Result(
        "submits",
        "durable submits to one file",
        *("huey", "persist-queue"),
        in_flight=f"{CONCURRENCY} per process",
        rounds=ROUNDS,
        seconds=SECONDS,
    )
    runs: dict[tuple[str, int], list[Measurement]] = {(way, number): [] for way in COUNTS for number in PROCESSES}
    for _ in range(ROUNDS):
        for (way, processes), measurements in runs.items():
            measurements.append(await measure(way, processes))
    rates: dict[str, float] = {}
    for (way, processes), measurements in runs.items():
        middle = median(measurements)
        rates[f"{way}, {processes}"] = middle.rate
        result.add(way=way, processes=processes, **attrs.asdict(middle))
    ours = runs[OURS, 4]
    result.goal("submits per second from four processes", median(ours).rate, at_least=RATE_GOAL)
    result.goal("lost submits", sum(one.lost for processes in PROCESSES for one in runs[OURS, processes]), at_most=0)
    result.goal(
        "failed submits", sum(one.failed for processes in PROCESSES for one in runs[OURS, processes]), at_most=0
    )

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], list(rates), list(rates.values()), "durable submits per second, by the number of processes")

    result.finish(draw)


if __name__ == "__main__":
    asyncio.run(main())
