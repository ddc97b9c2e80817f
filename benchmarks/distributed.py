"""A queue with workers and producers that are killed, stopped and cut off: nothing is lost, doubled or too fast.

``python -m benchmarks.distributed``, about seven minutes; with the names of some scenes, only those, and nothing is
kept. The vendor enforces its quotas (150 stops and 100 starts a second, 20 to 50 ms each way); a start must not be made
twice. Then how much of the quota 1, 4 and 8 workers use, and how many calls three make when no quota holds them.
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

from benchmarks.quota import FAR
from benchmarks.quota_server import Report
from benchmarks.results import Result
from benchmarks.stage import QUOTA, STOP, Program, Stage, judge, stage

#: Rows of a scene: some 20 s at full speed.
STOPS, STARTS = 3000, 2000
#: Seconds from which on a run is at full speed; seconds that the Redis is away, and that a worker stands still.
WARM, AWAY, FROZEN = 4.0, 2.0, 30.0

#: How the quota is used by so many workers; how many of them make calls when no quota holds them.
TEAMS = (1, 4, 8)
TEAM_ROWS, TEAM = 4500, 3
CAPACITY_ROWS = 12_000
HANDED_ROWS = 100_000


@attrs.define
class Scene:
    """What happened on a stage: the journals of its producers, and when the fault was, on ``time.monotonic``."""

    journals: list[Path]
    fault_at: float
    codes: list[int]


async def _run(producer: Program) -> int:
    async with asyncio.timeout(150):
        return await producer.wait()


async def killed(stage: Stage, stack: AsyncExitStack) -> Scene:
    """Kill two workers and, five times, the producer."""
    workers = [await stack.enter_async_context(stage.worker()) for _ in range(3)]
    rows = stage.rows("rows.csv", stops=STOPS, starts=STARTS)
    fault_at = 0.0
    for round_ in range(5):
        async with stage.producer(rows, *(["--resume"] if round_ else [])) as producer:
            await asyncio.sleep(2.5)
            await producer.kill()
        if round_ in {1, 3}:
            fault_at = time.monotonic()
            await workers.pop().kill()
            await stack.enter_async_context(stage.worker())
    async with stage.producer(rows, "--resume") as producer:
        code = await _run(producer)
    return Scene([stage.folder / "rows.csv.jobs"], fault_at, [code])


async def frozen(stage: Stage, stack: AsyncExitStack) -> Scene:
    """Stop one of two workers for half a minute, and continue it."""
    workers = [await stack.enter_async_context(stage.worker()) for _ in range(2)]
    rows = stage.rows("rows.csv", stops=2 * STOPS, starts=STARTS)
    async with stage.producer(rows) as producer:
        await asyncio.sleep(WARM)
        fault_at = time.monotonic()
        workers[0].signal(signal.SIGSTOP)
        await asyncio.sleep(FROZEN)
        workers[0].signal(signal.SIGCONT)
        code = await _run(producer)
    return Scene([stage.folder / "rows.csv.jobs"], fault_at, [code])


async def _without_redis(stage: Stage, stack: AsyncExitStack, *, lose: bool) -> Scene:
    for _ in range(2):
        await stack.enter_async_context(stage.worker())
    rows = stage.rows("rows.csv", stops=STOPS, starts=STARTS)
    async with stage.producer(rows) as producer:
        await asyncio.sleep(WARM)
        fault_at = time.monotonic()
        stage.store.stop()
        if lose:
            stage.store.lose()
        await asyncio.sleep(AWAY)
        stage.store.start()
        code = await _run(producer)
    return Scene([stage.folder / "rows.csv.jobs"], fault_at, [code])


async def restarted(stage: Stage, stack: AsyncExitStack) -> Scene:
    """Stop the Redis for two seconds."""
    return await _without_redis(stage, stack, lose=False)


async def emptied(stage: Stage, stack: AsyncExitStack) -> Scene:
    """Stop the Redis for two seconds, and start it without its data."""
    return await _without_redis(stage, stack, lose=True)


async def emptied_between(stage: Stage, stack: AsyncExitStack) -> Scene:
    """Kill the producer, let the Redis lose its data, and resume."""
    for _ in range(2):
        await stack.enter_async_context(stage.worker())
    rows = stage.rows("rows.csv", stops=STOPS, starts=STARTS)
    async with stage.producer(rows) as producer:
        await asyncio.sleep(WARM)
        await producer.kill()
    fault_at = time.monotonic()
    stage.store.stop()
    stage.store.lose()
    stage.store.start()
    async with stage.producer(rows, "--resume") as producer:
        code = await _run(producer)
    return Scene([stage.folder / "rows.csv.jobs"], fault_at, [code])


async def overlapping(stage: Stage, stack: AsyncExitStack) -> Scene:
    """Run two producers, of which each lists half of the other's rows."""
    for _ in range(2):
        await stack.enter_async_context(stage.worker())
    first = stage.rows("first.csv", stops=STOPS, starts=STARTS)
    second = stage.rows("second.csv", stops=STOPS, starts=STARTS, first=STARTS // 2)
    async with stage.producer(first) as one, stage.producer(second) as other:
        codes = list(await asyncio.gather(_run(one), _run(other)))
    return Scene([stage.folder / "first.csv.jobs", stage.folder / "second.csv.jobs"], 0.0, codes)


async def keyless(stage: Stage, stack: AsyncExitStack) -> Scene:
    """Have workers without the keys of one vendor, and with keys that are refused, beside a good one."""
    fault_at = time.monotonic()
    for keys in (stage.zego, stage.refused, None):
        await stack.enter_async_context(stage.worker(keys=keys))
    async with stage.producer(stage.rows("rows.csv", stops=STOPS, starts=STARTS)) as producer:
        code = await _run(producer)
    return Scene([stage.folder / "rows.csv.jobs"], fault_at, [code])


SCENES: dict[str, Callable[[Stage, AsyncExitStack], Awaitable[Scene]]] = {
    "killed": killed,
    "frozen": frozen,
    "restarted": restarted,
    "emptied": emptied,
    "emptied_between": emptied_between,
    "overlapping": overlapping,
    "keyless": keyless,
}


def recovery(report: Report, fault: float) -> float:
    """Return the seconds from a fault until calls are accepted at nine tenths of a quota again, over a second."""
    accepted = sorted(one.at for one in report.of(STOP).arrivals if one.accepted)
    first = next((number for number, one in enumerate(accepted) if one >= fault), len(accepted))
    for number in range(first, len(accepted) - int(0.9 * QUOTA)):
        if accepted[number + int(0.9 * QUOTA)] - accepted[number] <= 1:
            return max(0.0, accepted[number] - fault)
    return float("nan")


@attrs.frozen
class Course:
    """How a scene went: stops that were accepted in each second, and when the fault was."""

    name: str
    per_second: list[int]
    fault: float


@asynccontextmanager
async def an_old_stage(*, delay: tuple[float, float], quota: int = QUOTA) -> AsyncIterator[Stage]:
    async with stage(delay=delay, quota=quota) as made:
        await made.store.is_old_enough()
        yield made


async def play(result: Result, name: str) -> Course:
    async with an_old_stage(delay=FAR) as here, AsyncExitStack() as stack:
        began = time.monotonic()
        scene = await SCENES[name](here, stack)
        seconds = time.monotonic() - began
        report = await here.vendor.report()
        verdict = judge(report, *scene.journals)
    # Both clocks are the machine's monotonic one.
    back = recovery(report, scene.fault_at) if scene.fault_at else 0.0
    result.add(scene=name, **attrs.asdict(verdict), recovery_s=back, seconds=seconds, code=max(scene.codes))
    result.goal(f"{name}: rows lost", verdict.lost, at_most=0)
    result.goal(f"{name}: starts made twice", verdict.doubled, at_most=0)
    result.goal(f"{name}: rows that failed", verdict.failed, at_most=0)
    result.goal(f"{name}: calls above the quota", verdict.refused, at_most=0)
    times = [one.at for one in report.of(STOP).arrivals if one.accepted]
    seconds_of = Counter(int(at - times[0]) for at in times)
    fault = scene.fault_at - times[0] if scene.fault_at else -1.0
    return Course(name, [seconds_of[second] for second in range(int(times[-1] - times[0]))], fault)


async def team(result: Result, workers: int) -> None:
    """Measure how much of the quota some workers use."""
    async with an_old_stage(delay=FAR) as here, AsyncExitStack() as stack:
        for _ in range(workers):
            await stack.enter_async_context(here.worker())
        async with here.producer(here.rows("rows.csv", stops=TEAM_ROWS)) as producer:
            await _run(producer)
        report = (await here.vendor.report()).of(STOP)
    share = report.accepted_per_second(begin=3.0, seconds=TEAM_ROWS / QUOTA - 6) / QUOTA
    result.add(scene=f"{workers} workers", rows=TEAM_ROWS, refused=report.refused, of_quota=share)
    result.goal(f"{workers} workers: calls to the quota", share, at_least=0.94)
    result.goal(f"{workers} workers: calls above the quota", report.refused, at_most=0)


async def capacity(result: Result) -> None:
    """Measure what is handed over, and made when no quota holds it."""
    async with an_old_stage(delay=(0.0, 0.0), quota=100_000) as here, AsyncExitStack() as stack:
        before = here.store.memory()
        async with here.producer(here.rows("many.csv", stops=HANDED_ROWS)) as producer:
            began = await _queued(here, 1)
            ended = await _queued(here, HANDED_ROWS)
            memory = (here.store.memory() - before) / HANDED_ROWS
            await producer.kill()
        result.add(scene="handed over", rows=HANDED_ROWS, seconds=ended - began, bytes_per_row=memory)
        result.goal("seconds to hand 100,000 rows over", ended - began, at_most=10)
        result.goal("bytes of Redis per queued row", memory, at_most=1024)
    async with an_old_stage(delay=(0.0, 0.0), quota=100_000) as here, AsyncExitStack() as stack:
        workers = [
            await stack.enter_async_context(
                here.worker("--rate", f"{STOP}=50000", "--concurrency", "8", "--queue", "capacity")
            )
            for _ in range(TEAM)
        ]
        await asyncio.sleep(4)
        cpu, store = sum(worker.cpu() for worker in workers), here.store.cpu()
        async with here.producer(here.rows("rows.csv", stops=CAPACITY_ROWS), "--queue", "capacity") as producer:
            await _run(producer)
            cpu, store = sum(worker.cpu() for worker in workers) - cpu, here.store.cpu() - store
        report = (await here.vendor.report()).of(STOP)
    alone = await _alone()
    times = [one.at for one in report.arrivals]
    rate = CAPACITY_ROWS / (times[-1] - times[0])
    per_call = 1000 * cpu / CAPACITY_ROWS
    result.add(
        scene="no quota",
        rows=CAPACITY_ROWS,
        calls_per_s=rate,
        worker_cpu_ms=per_call,
        call_cpu_ms=alone,
        redis_cpu_ms=1000 * store / CAPACITY_ROWS,
    )
    result.goal("calls per second of three workers without a quota", rate, at_least=800)
    result.goal("ms of a worker's CPU per call above the call itself", per_call - alone, at_most=1.0)


async def _queued(here: Stage, count: int) -> float:
    """Wait until so many jobs are queued; return when that was."""
    async with Redis.from_url(here.store.address) as redis:
        while await redis.dbsize() < count:  # noqa: ASYNC110 - another process fills it
            await asyncio.sleep(0.01)
    return time.monotonic()


async def _alone() -> float:
    """Return the ms of CPU that the same call costs in one process that does nothing else, with shared quotas."""
    async with an_old_stage(delay=(0.0, 0.0), quota=100_000) as here:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.plain_calls", here.vendor.base_url, here.store.address),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    return float(output)


async def measure(names: list[str]) -> None:
    known = (*SCENES, "teams", "capacity")
    if unknown := set(names).difference(known):
        raise SystemExit(f"there is no scene {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    title = "Distributed jobs under faults"
    result = Result("distributed", title, "httpx", "redis", quota=QUOTA, delay_ms="20-50")
    courses = [await play(result, name) for name in names or SCENES if name in SCENES]
    if not names or "teams" in names:
        for workers in TEAMS:
            await team(result, workers)
    if not names or "capacity" in names:
        await capacity(result)

    def draw(axes: list[Axes]) -> None:
        for one, course in zip(axes, courses, strict=True):
            one.plot(range(len(course.per_second)), course.per_second, color="#4878a8")
            one.axhline(QUOTA, color="#c0c0c0", linewidth=1)
            if course.fault >= 0:
                one.axvline(course.fault, color="#c03028", linewidth=1)
            one.set_title(course.name.replace("_", " "), fontsize=9)
            one.set_ylabel("stops/s")
            one.set_ylim(0, 1.1 * QUOTA)
        axes[-1].set_xlabel("seconds; the fault is at the line")

    result.finish(None if names else draw, panels=len(courses), height=10)


if __name__ == "__main__":
    asyncio.run(measure(sys.argv[1:]))
