"""1, 2 and 4 workers for 20 AppIds over one Valkey: how calls per second grow, and what a call costs.

``python -m benchmarks.fleet`` takes about four minutes. ZEGO is an emulator for each AppId, with raised quotas. It
checks each signature, counts by arrival, and refuses what exceeds a quota. The calls are starts, which must not be
made twice: each is marked as sent in the queue.

All programs share two cores. So there are four parts, each of which something else limits:

- ``quota``: the quotas of the AppIds.
- ``slow cores``: the workers. Each may use ``CORE_PART`` of a core: it is suspended whenever it has used more.
- ``two cores``: the machine.
- ``one by one``: the producer. It submits ``RATE`` jobs a second for each AppId, one at a time. In the other parts,
  there is a backlog, and one exchange with the Valkey serves many calls.
"""

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count, product
from pathlib import Path

import attrs
from matplotlib.axes import Axes
from redis import Redis

from benchmarks.cluster import Valkey
from benchmarks.fleet_server import FleetServer, Report
from benchmarks.fleet_worker import fleet_clients
from benchmarks.process_time import cpu_seconds
from benchmarks.results import Result
from benchmarks.simulated_fleet import spread
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.zego import StartCensorAudioV2

APPS = 20
WORKERS = (1, 2, 4)
#: The part of a core that a slow worker may use.
CORE_PART = 0.15
#: Jobs per second and AppId that come one by one.
RATE = 8
#: Seconds between two looks at a slow worker.
TICK = 0.01
START = 2.5  # seconds until a worker works
WARM_UP = 4  # seconds
SECONDS = 8


@attrs.frozen
class Part:
    """What limits the calls."""

    name: str
    #: Calls per second of each AppId.
    quota: int
    #: Jobs of each AppId: more than can be made in the time. None if they come one by one.
    backlog: int | None
    is_slow: bool = False


PARTS = (
    Part("quota", quota=10, backlog=200),
    Part("slow cores", quota=1000, backlog=600, is_slow=True),
    Part("two cores", quota=1000, backlog=1000),
    Part("one by one", quota=100, backlog=None),
)


@attrs.frozen(kw_only=True)
class Usage:
    """What the programs have used until now: CPU in seconds, exchanges, commands and bytes of the Valkey."""

    worker_cpu: float
    server_cpu: float
    valkey_cpu: float
    exchanges: int
    commands: int
    bytes: int

    def since(self, before: "Usage") -> "Usage":
        """Return what was used since an earlier moment."""
        return Usage(**{name: value - getattr(before, name) for name, value in attrs.asdict(self).items()})


@attrs.frozen
class Measurement:
    """One part with a number of workers."""

    part: Part
    workers: int
    calls_per_s: float
    per_worker: Counter[str]
    per_app: Counter[str]
    refused: int
    most: int
    used: Usage
    #: Bytes of the Valkey per job, whether it has ended or not; None if the jobs were not counted.
    bytes_per_job: float | None

    @property
    def calls(self) -> int:
        """The calls within the measured seconds."""
        return self.per_worker.total()


class Worker:
    """A worker in a process of its own. It may be slow."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def slow_down(self) -> None:
        """Let it use only a part of a core, until this is cancelled."""
        loop = asyncio.get_running_loop()
        began, used = loop.time(), self._cpu()
        try:
            while True:
                is_ahead = self._cpu() - used > CORE_PART * (loop.time() - began)
                self.process.send_signal(signal.SIGSTOP if is_ahead else signal.SIGCONT)
                await asyncio.sleep(TICK)
        finally:
            self.process.send_signal(signal.SIGCONT)

    def _cpu(self) -> float:
        return int(Path(f"/proc/{self.process.pid}/schedstat").read_text(encoding="utf-8").split()[0]) / 1e9


@asynccontextmanager
async def working(number: int, *, part: Part, server: FleetServer, valkey: Valkey) -> AsyncIterator[Worker]:
    """Start a worker, and stop it at the end."""
    arguments = {"base_url": server.base_url, "redis": valkey.address, "apps": APPS, "quota": part.quota}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.fleet_worker", json.dumps({"name": f"worker-{number}", **arguments}))
    )
    try:
        yield Worker(process)
    finally:
        process.terminate()
        await process.wait()


def usage(workers: list[Worker], server: FleetServer, valkey: Valkey) -> Usage:
    with Redis.from_url(valkey.address) as redis:
        info = redis.info("all")
    calls = {
        name.removeprefix("cmdstat_"): value["calls"] for name, value in info.items() if name.startswith("cmdstat")
    }
    return Usage(
        worker_cpu=sum(cpu_seconds(worker.process.pid) for worker in workers),
        server_cpu=server.cpu_seconds(),
        valkey_cpu=info["used_cpu_user"] + info["used_cpu_sys"],
        exchanges=calls.get("eval", 0) + calls.get("evalsha", 0),
        commands=sum(calls.values()),
        bytes=info["total_net_input_bytes"] + info["total_net_output_bytes"],
    )


@asynccontextmanager
async def producing(part: Part, server: FleetServer, valkey: Valkey) -> AsyncIterator[None]:
    """Submit the backlog, or jobs one by one until the end."""
    async with AsyncExitStack() as stack:
        clients = await fleet_clients(
            stack, name="producer", base_url=server.base_url, redis=valkey.address, apps=APPS, quota=part.quota
        )
        jobs = await stack.enter_async_context(DistributedJobs(valkey.address, clients=clients))

        async def submit(number: int) -> None:
            action = StartCensorAudioV2(
                room_id=f"room-{number}", event_id="live_streaming", audio_language="en", risk_type_list=["BAN"]
            )
            await jobs.submit(action, client=clients[number % APPS])

        async def submit_one_by_one() -> None:
            loop = asyncio.get_running_loop()
            began = loop.time()
            for number in count():
                await asyncio.sleep(began + number / (APPS * RATE) - loop.time())
                await submit(number)

        if part.backlog is not None:
            await asyncio.gather(*(submit(number) for number in range(APPS * part.backlog)))
        submitting = asyncio.create_task(asyncio.sleep(0) if part.backlog else submit_one_by_one())
        try:
            yield
        finally:
            submitting.cancel()
            await asyncio.wait([submitting])


async def measure(part: Part, worker_count: int) -> Measurement:
    with Valkey(fsync="everysec") as valkey:
        await valkey.wait_for_uptime()
        memory = valkey.used_memory()
        async with FleetServer(apps=APPS, quota=part.quota) as server, AsyncExitStack() as stack:
            if part.backlog is not None:
                async with producing(part, server, valkey):
                    pass
            workers = [
                await stack.enter_async_context(working(number, part=part, server=server, valkey=valkey))
                for number in range(worker_count)
            ]
            if part.backlog is None:
                await stack.enter_async_context(producing(part, server, valkey))
            await asyncio.sleep(START)
            slowing = [asyncio.create_task(worker.slow_down()) for worker in workers if part.is_slow]
            await asyncio.sleep(WARM_UP)
            before, first = usage(workers, server, valkey), await server.report()
            await asyncio.sleep(SECONDS)
            used, last = usage(workers, server, valkey).since(before), await server.report()
            for task in slowing:
                task.cancel()
            for task in slowing:
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        memory = valkey.used_memory() - memory
    return _measurement(part, worker_count, used, first=first, last=last, memory=memory)


def _measurement(
    part: Part, worker_count: int, used: Usage, *, first: Report, last: Report, memory: int
) -> Measurement:
    per_worker = last.per("worker")
    per_worker.subtract(first.per("worker"))
    per_app = last.per("app")
    per_app.subtract(first.per("app"))
    return Measurement(
        part,
        worker_count,
        calls_per_s=per_worker.total() / (last.at - first.at),
        per_worker=per_worker,
        per_app=per_app,
        refused=sum(counts["throttled"] for counts in last.apps.values()),
        most=max(counts["most_in_any_second"] for counts in last.apps.values()),
        used=used,
        bytes_per_job=None if part.backlog is None else memory / (APPS * part.backlog),
    )


def add_row(result: Result, found: Measurement) -> None:
    used, calls = found.used, found.calls
    result.add(
        part=found.part.name,
        workers=found.workers,
        calls_per_s=round(found.calls_per_s),
        refused=found.refused,
        most=found.most,
        least_worker=spread(found.per_worker)[0],
        largest_worker=spread(found.per_worker)[1],
        least_app=spread(found.per_app)[0],
        largest_app=spread(found.per_app)[1],
        worker_cpu_ms=1000 * used.worker_cpu / calls,
        server_cpu_ms=1000 * used.server_cpu / calls,
        valkey_cpu_ms=1000 * used.valkey_cpu / calls,
        exchanges=used.exchanges / calls,
        commands=used.commands / calls,
        bytes=round(used.bytes / calls),
        bytes_per_job=None if found.bytes_per_job is None else round(found.bytes_per_job),
    )


def set_goals(result: Result, all_found: list[Measurement]) -> None:
    rates = {(found.part.name, found.workers): found.calls_per_s for found in all_found}
    for found in all_found:
        of = f"{found.part.name}, {found.workers} workers"
        result.goal(f"{of}: calls above a quota", found.refused, at_most=0)
        least, largest = spread(found.per_worker)
        result.goal(f"{of}: least part of a worker", least, at_least=0.85)
        result.goal(f"{of}: largest part of a worker", largest, at_most=1.15)
        if found.part.name == "quota":
            result.goal(f"{of}: of the quotas", found.calls_per_s / (APPS * found.part.quota), at_least=0.9)
    for workers in WORKERS[1:]:
        growth = rates["slow cores", workers] / rates["slow cores", 1]
        result.goal(f"slow cores: {workers} workers against 1", growth, at_least=0.85 * workers)


async def main() -> None:
    result = Result("fleet", "workers of 20 AppIds", "httpx", "redis", apps=APPS, seconds=SECONDS, core_part=CORE_PART)
    all_found = []
    for part, workers in product(PARTS, WORKERS):
        all_found.append(await measure(part, workers))
        add_row(result, all_found[-1])
    set_goals(result, all_found)

    def draw(axes: list[Axes]) -> None:
        for part, marker in zip(PARTS, "osd^", strict=True):
            of_part = [found for found in all_found if found.part is part]
            axes[0].plot(WORKERS, [found.calls_per_s for found in of_part], marker=marker, label=part.name)
        axes[0].set_xticks(WORKERS)
        axes[0].set_xlabel("workers")
        axes[0].set_ylabel("calls/s")
        axes[0].set_ylim(bottom=0)
        axes[0].legend(fontsize=8, title="limited by")

    result.finish(draw, height=3.0)


if __name__ == "__main__":
    asyncio.run(main())
