"""Distributed jobs while workers, producers and the Redis fail: no call is lost, repeated or above the quota.

``python -m benchmarks.distributed`` takes about seven minutes. With the names of some scenarios it runs only those, and
keeps no results. The vendor enforces its quotas (150 stops and 100 starts a second) at 20 to 50 ms each way; a start
must not be repeated. The last two scenarios measure how much of the quota 1, 4 and 8 workers use, and how many calls
three workers make when no quota limits them.
"""

import asyncio
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import attrs
from matplotlib.axes import Axes
from redis.asyncio import Redis

from benchmarks.cluster import QUOTA, STOP, Cluster, Program, audit, cluster
from benchmarks.quota import FAR_DELAY
from benchmarks.quota_server import Report
from benchmarks.results import Result

#: Rows of a scenario: some 20 s at full speed.
STOPS = 3000
STARTS = 2000
PRODUCER_TIMEOUT = 150.0  # seconds
#: Seconds until a run is at full speed.
WARM_UP = 4.0
#: Seconds for which the Redis is stopped.
REDIS_DOWNTIME = 2.0
#: Seconds for which a worker is frozen.
FREEZE = 30.0

#: Numbers of workers that share the quota, and the rows that they work on.
TEAM_SIZES = (1, 4, 8)
TEAM_ROWS = 4500
#: The number of workers without a quota, and the rows that they work on.
CAPACITY_WORKERS = 3
CAPACITY_ROWS = 12_000
#: A quota that limits nothing, in calls per second.
NO_QUOTA = 100_000
HANDED_OVER_ROWS = 100_000


@attrs.define
class Course:
    """What happened in a scenario."""

    #: Of the producers.
    journals: list[Path]
    #: When the fault happened, on ``time.monotonic``; 0 if there was none.
    fault_at: float
    #: The exit codes of the producers.
    codes: list[int]


async def _wait(producer: Program) -> int:
    async with asyncio.timeout(PRODUCER_TIMEOUT):
        return await producer.wait()


async def killed(cluster: Cluster, stack: AsyncExitStack) -> Course:
    """Kill two workers, and the producer five times."""
    workers = [await stack.enter_async_context(cluster.worker()) for _ in range(3)]
    rows = cluster.write_rows("rows.csv", stops=STOPS, starts=STARTS)
    fault_at = 0.0
    for round_ in range(5):
        async with cluster.producer(rows, *(["--resume"] if round_ else [])) as producer:
            await asyncio.sleep(2.5)
            await producer.kill()
        if round_ in {1, 3}:
            fault_at = time.monotonic()
            await workers.pop().kill()
            await stack.enter_async_context(cluster.worker())
    async with cluster.producer(rows, "--resume") as producer:
        code = await _wait(producer)
    return Course([cluster.folder / "rows.csv.jobs"], fault_at, [code])


async def frozen(cluster: Cluster, stack: AsyncExitStack) -> Course:
    """Freeze one of two workers for half a minute."""
    workers = [await stack.enter_async_context(cluster.worker()) for _ in range(2)]
    rows = cluster.write_rows("rows.csv", stops=2 * STOPS, starts=STARTS)
    async with cluster.producer(rows) as producer:
        await asyncio.sleep(WARM_UP)
        fault_at = time.monotonic()
        workers[0].signal(signal.SIGSTOP)
        await asyncio.sleep(FREEZE)
        workers[0].signal(signal.SIGCONT)
        code = await _wait(producer)
    return Course([cluster.folder / "rows.csv.jobs"], fault_at, [code])


async def _restart_redis(cluster: Cluster, stack: AsyncExitStack, *, loses_data: bool) -> Course:
    for _ in range(2):
        await stack.enter_async_context(cluster.worker())
    rows = cluster.write_rows("rows.csv", stops=STOPS, starts=STARTS)
    async with cluster.producer(rows) as producer:
        await asyncio.sleep(WARM_UP)
        fault_at = time.monotonic()
        cluster.valkey.stop()
        if loses_data:
            cluster.valkey.delete_data()
        await asyncio.sleep(REDIS_DOWNTIME)
        cluster.valkey.start()
        code = await _wait(producer)
    return Course([cluster.folder / "rows.csv.jobs"], fault_at, [code])


async def restarted(cluster: Cluster, stack: AsyncExitStack) -> Course:
    """Stop the Redis for two seconds."""
    return await _restart_redis(cluster, stack, loses_data=False)


async def emptied(cluster: Cluster, stack: AsyncExitStack) -> Course:
    """Stop the Redis for two seconds, and start it without its data."""
    return await _restart_redis(cluster, stack, loses_data=True)


async def emptied_between(cluster: Cluster, stack: AsyncExitStack) -> Course:
    """Kill the producer, let the Redis lose its data, and resume the run."""
    for _ in range(2):
        await stack.enter_async_context(cluster.worker())
    rows = cluster.write_rows("rows.csv", stops=STOPS, starts=STARTS)
    async with cluster.producer(rows) as producer:
        await asyncio.sleep(WARM_UP)
        await producer.kill()
    fault_at = time.monotonic()
    cluster.valkey.stop()
    cluster.valkey.delete_data()
    cluster.valkey.start()
    async with cluster.producer(rows, "--resume") as producer:
        code = await _wait(producer)
    return Course([cluster.folder / "rows.csv.jobs"], fault_at, [code])


async def overlapping(cluster: Cluster, stack: AsyncExitStack) -> Course:
    """Run two producers whose rows overlap."""
    for _ in range(2):
        await stack.enter_async_context(cluster.worker())
    first = cluster.write_rows("first.csv", stops=STOPS, starts=STARTS)
    second = cluster.write_rows("second.csv", stops=STOPS, starts=STARTS, first=STARTS // 2)
    async with cluster.producer(first) as one, cluster.producer(second) as other:
        codes = list(await asyncio.gather(_wait(one), _wait(other)))
    return Course([cluster.folder / "first.csv.jobs", cluster.folder / "second.csv.jobs"], 0.0, codes)


async def keyless(cluster: Cluster, stack: AsyncExitStack) -> Course:
    """Run a worker without the keys of one vendor, one whose keys are refused, and one with all keys."""
    fault_at = time.monotonic()
    for keys in (cluster.zego_keys, cluster.refused_keys, None):
        await stack.enter_async_context(cluster.worker(keys=keys))
    async with cluster.producer(cluster.write_rows("rows.csv", stops=STOPS, starts=STARTS)) as producer:
        code = await _wait(producer)
    return Course([cluster.folder / "rows.csv.jobs"], fault_at, [code])


SCENARIOS: dict[str, Callable[[Cluster, AsyncExitStack], Awaitable[Course]]] = {
    "killed": killed,
    "frozen": frozen,
    "restarted": restarted,
    "emptied": emptied,
    "emptied_between": emptied_between,
    "overlapping": overlapping,
    "keyless": keyless,
}


def recovery(report: Report, fault: float) -> float:
    """Return the seconds from a fault until the vendor accepts nine tenths of the quota again within a second."""
    accepted = sorted(arrival.at for arrival in report.of(STOP).arrivals if arrival.accepted)
    first = next((index for index, at in enumerate(accepted) if at >= fault), len(accepted))
    for index in range(first, len(accepted) - int(0.9 * QUOTA)):
        if accepted[index + int(0.9 * QUOTA)] - accepted[index] <= 1:
            return max(0.0, accepted[index] - fault)
    return float("nan")


@attrs.frozen
class Timeline:
    """The stops that the vendor accepted in each second of a scenario."""

    name: str
    per_second: list[int]
    #: Seconds from the first stop to the fault; negative if there was none.
    fault: float


@asynccontextmanager
async def _ready_cluster(*, delay: tuple[float, float], quota: int = QUOTA) -> AsyncIterator[Cluster]:
    """Start a cluster whose Valkey grants permits."""
    async with cluster(delay=delay, quota=quota) as started:
        await started.valkey.wait_for_uptime()
        yield started


async def measure_scenario(result: Result, name: str) -> Timeline:
    """Run a scenario, and check that no call was lost, repeated or above the quota."""
    async with _ready_cluster(delay=FAR_DELAY) as started, AsyncExitStack() as stack:
        began = time.monotonic()
        course = await SCENARIOS[name](started, stack)
        seconds = time.monotonic() - began
        report = await started.vendor.report()
        found = audit(report, *course.journals)
    # The vendor's clock is the machine's monotonic one, too.
    recovery_s = recovery(report, course.fault_at) if course.fault_at else 0.0
    result.add(scene=name, **attrs.asdict(found), recovery_s=recovery_s, seconds=seconds, code=max(course.codes))
    result.goal(f"{name}: rows lost", found.lost, at_most=0)
    result.goal(f"{name}: starts made twice", found.doubled, at_most=0)
    result.goal(f"{name}: rows that failed", found.failed, at_most=0)
    result.goal(f"{name}: calls above the quota", found.refused, at_most=0)
    times = [arrival.at for arrival in report.of(STOP).arrivals if arrival.accepted]
    per_second = Counter(int(at - times[0]) for at in times)
    fault = course.fault_at - times[0] if course.fault_at else -1.0
    return Timeline(name, [per_second[second] for second in range(int(times[-1] - times[0]))], fault)


async def measure_team(result: Result, workers: int) -> None:
    """Measure how much of the quota some workers use."""
    async with _ready_cluster(delay=FAR_DELAY) as started, AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(started.worker())
        async with started.producer(started.write_rows("rows.csv", stops=TEAM_ROWS)) as producer:
            await _wait(producer)
        report = (await started.vendor.report()).of(STOP)
    share = report.accepted_per_second(begin=3.0, seconds=TEAM_ROWS / QUOTA - 6) / QUOTA
    result.add(scene=f"{workers} workers", rows=TEAM_ROWS, refused=report.refused, of_quota=share)
    result.goal(f"{workers} workers: calls to the quota", share, at_least=0.94)
    result.goal(f"{workers} workers: calls above the quota", report.refused, at_most=0)


async def measure_capacity(result: Result) -> None:
    """Measure how fast jobs are handed over, and how many calls workers make without a quota."""
    async with _ready_cluster(delay=(0.0, 0.0), quota=NO_QUOTA) as started:
        memory_before = started.valkey.used_memory()
        async with started.producer(started.write_rows("many.csv", stops=HANDED_OVER_ROWS)) as producer:
            began = await _wait_for_jobs(started, 1)
            ended = await _wait_for_jobs(started, HANDED_OVER_ROWS)
            memory = (started.valkey.used_memory() - memory_before) / HANDED_OVER_ROWS
            await producer.kill()
        result.add(scene="handed over", rows=HANDED_OVER_ROWS, seconds=ended - began, bytes_per_row=memory)
        result.goal("seconds to hand 100,000 rows over", ended - began, at_most=10)
        result.goal("bytes of Redis per queued row", memory, at_most=1024)
    async with _ready_cluster(delay=(0.0, 0.0), quota=NO_QUOTA) as started, AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                started.worker("--rate", f"{STOP}=50000", "--concurrency", "8", "--queue", "capacity")
            )
            for _ in range(CAPACITY_WORKERS)
        ]
        await asyncio.sleep(4)
        worker_cpu = sum(worker.cpu_seconds() for worker in workers)
        redis_cpu = started.valkey.cpu_seconds()
        rows = started.write_rows("rows.csv", stops=CAPACITY_ROWS)
        async with started.producer(rows, "--queue", "capacity") as producer:
            await _wait(producer)
            worker_cpu = sum(worker.cpu_seconds() for worker in workers) - worker_cpu
            redis_cpu = started.valkey.cpu_seconds() - redis_cpu
        report = (await started.vendor.report()).of(STOP)
    call_cpu_ms = await _measure_plain_calls()
    times = [arrival.at for arrival in report.arrivals]
    rate = CAPACITY_ROWS / (times[-1] - times[0])
    worker_cpu_ms = 1000 * worker_cpu / CAPACITY_ROWS
    result.add(
        scene="no quota",
        rows=CAPACITY_ROWS,
        calls_per_s=rate,
        worker_cpu_ms=worker_cpu_ms,
        call_cpu_ms=call_cpu_ms,
        redis_cpu_ms=1000 * redis_cpu / CAPACITY_ROWS,
    )
    result.goal("calls per second of three workers without a quota", rate, at_least=800)
    result.goal("ms of a worker's CPU per call above the call itself", worker_cpu_ms - call_cpu_ms, at_most=1.0)


async def _wait_for_jobs(started: Cluster, count: int) -> float:
    """Wait until the queue has a number of jobs; return the time on ``time.monotonic``."""
    async with Redis.from_url(started.valkey.address) as redis:
        while await redis.dbsize() < count:  # noqa: ASYNC110 - another process fills it
            await asyncio.sleep(0.01)
    return time.monotonic()


async def _measure_plain_calls() -> float:
    """Return the ms of CPU that a process needs per call if it only makes calls with shared quotas."""
    async with _ready_cluster(delay=(0.0, 0.0), quota=NO_QUOTA) as started:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.plain_calls", started.vendor.base_url, started.valkey.address),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    return float(output)


async def measure(names: list[str]) -> None:
    """Run the scenarios with these names, or all."""
    known = (*SCENARIOS, "teams", "capacity")
    if unknown := set(names).difference(known):
        raise SystemExit(f"unknown scenarios: {', '.join(sorted(unknown))}; the scenarios are {', '.join(known)}")
    title = "Distributed jobs under faults"
    result = Result("distributed", title, "httpx", "redis", quota=QUOTA, delay_ms="20-50")
    timelines = [await measure_scenario(result, name) for name in names or SCENARIOS if name in SCENARIOS]
    if not names or "teams" in names:
        for workers in TEAM_SIZES:
            await measure_team(result, workers)
    if not names or "capacity" in names:
        await measure_capacity(result)

    def draw(axes: list[Axes]) -> None:
        for panel, timeline in zip(axes, timelines, strict=True):
            panel.plot(range(len(timeline.per_second)), timeline.per_second, color="#4878a8")
            panel.axhline(QUOTA, color="#c0c0c0", linewidth=1)
            if timeline.fault >= 0:
                panel.axvline(timeline.fault, color="#c03028", linewidth=1)
            panel.set_title(timeline.name.replace("_", " "), fontsize=9)
            panel.set_ylabel("stops/s")
            panel.set_ylim(0, 1.1 * QUOTA)
        axes[-1].set_xlabel("seconds; the fault is at the line")

    result.finish(None if names else draw, panels=len(timelines), height=10)


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1:]))
