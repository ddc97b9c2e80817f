"""Four processes with one journal: how fast another one takes the lead, how long ``wait`` takes, and what idling costs.

``python -m benchmarks.lead`` takes about a minute. A process leads or stands by. One of the standbys submits a hundred
jobs a second while the leader is killed, or is asked to end; then a new process replaces it. The vendor answers at
once, and there is no quota.
"""

import asyncio
import json
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from benchmarks.quota_server import QuotaServer
from benchmarks.results import Result, bars

PROCESSES = 4
ROUNDS = 12
WAITS = 30
IDLE_SECONDS = 10
#: Seconds of load before the leader ends.
LOAD_SECONDS = 0.4
#: Seconds after which idle processes have done what follows a start and a call.
SETTLE_SECONDS = 3
TIMEOUT = 15
NO_LIMIT = 1_000_000  # calls per second


class Process:
    """One of the processes.

    :param calls: gets this process and the time of each call that it makes.
    """

    def __init__(self, calls: "asyncio.Queue[tuple[Process, float]]") -> None:
        self._calls = calls
        self._answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def start(self, *arguments: str) -> None:
        """Start it, and wait until its jobs are open."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.lead_process", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        await self.answer()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said = json.loads(line)
            if said["what"] == "called":
                self._calls.put_nowait((self, said["at"]))
            else:
                self._answers.put_nowait(said)

    def tell(self, line: str) -> None:
        """Tell it what to do."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def answer(self) -> dict[str, Any]:
        """Wait for its answer."""
        async with asyncio.timeout(TIMEOUT):
            return await self._answers.get()

    async def ask(self, line: str) -> dict[str, Any]:
        """Tell it what to do, and wait for its answer."""
        self.tell(line)
        return await self.answer()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    async def aclose(self) -> None:
        """Kill it if it still runs."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()
        await self._reading


class Group:
    """Processes that share one journal.

    :param quotas: the file of quotas; without one, there is no quota.
    """

    def __init__(self, journal: Path, base_url: str, quotas: Path | None = None) -> None:
        self._arguments = (str(journal), base_url, str(quotas or ""))
        self._calls: asyncio.Queue[tuple[Process, float]] = asyncio.Queue()
        self.processes: list[Process] = []
        self._jobs = 0

    async def fill(self) -> None:
        """Start processes until there are enough."""
        missing = [Process(self._calls) for _ in range(PROCESSES - len(self.processes))]
        self.processes += missing
        await asyncio.gather(*(process.start(*self._arguments) for process in missing))

    async def aclose(self) -> None:
        """Kill all processes."""
        await asyncio.gather(*(process.aclose() for process in self.processes))

    def new_room(self) -> str:
        """Return a room of which there is no job."""
        self._jobs += 1
        return f"room-{self._jobs}"

    async def find_leader(self) -> Process:
        """Return the process that makes the call of a new job."""
        self.forget_calls()
        await self.processes[0].ask(f"submit {self.new_room()}")
        leader, _ = await self.next_call()
        return leader

    def forget_calls(self) -> None:
        """Let ``next_call`` return only calls that are made from now on."""
        while not self._calls.empty():
            self._calls.get_nowait()

    async def next_call(self) -> tuple[Process, float]:
        """Wait for a call; return the process that makes it, and when."""
        async with asyncio.timeout(TIMEOUT):
            return await self._calls.get()


@asynccontextmanager
async def running(group: Group) -> AsyncIterator[Group]:
    try:
        await group.fill()
        yield group
    finally:
        await group.aclose()


async def succession(group: Group, number: signal.Signals) -> float:
    """End the leader with a signal; return the seconds until another process makes a call."""
    leader = await group.find_leader()
    submitter = next(process for process in group.processes if process is not leader)
    submitter.tell(f"load {group.new_room()}")
    await asyncio.sleep(LOAD_SECONDS)
    began = time.monotonic()
    leader.signal(number)
    maker, at = leader, began
    while maker is leader:
        maker, at = await group.next_call()
    await submitter.ask("unload")
    await leader.aclose()
    group.processes.remove(leader)
    await group.fill()
    return at - began


async def wait_for_other(group: Group, submitter: Process, waiter: Process) -> float:
    """Return the seconds from before a submit in one process until ``wait`` returns in the other."""
    submitted = await submitter.ask(f"submit {group.new_room()}")
    ended = await waiter.ask(f"wait {submitted['key']}")
    assert ended["state"] == "done", ended
    return float(ended["at"] - submitted["before"])


async def waits(group: Group) -> dict[str, list[float]]:
    leader = await group.find_leader()
    one, other, *_ = [process for process in group.processes if process is not leader]
    pairs = {
        "submit in a standby, wait in another": (one, other),
        "submit in a standby, wait in the leader": (one, leader),
        "submit in the leader, wait in a standby": (leader, other),
    }
    return {
        name: [await wait_for_other(group, submitter, waiter) for _ in range(WAITS)]
        for name, (submitter, waiter) in pairs.items()
    }


async def idle_cpu(group: Group) -> list[float]:
    """Return the milliseconds of CPU that each process uses per second, when it has nothing to do any more."""
    await group.find_leader()
    for process in group.processes:
        await process.ask(f"call {group.new_room()}")  # so that each has used its quotas
    await asyncio.sleep(SETTLE_SECONDS)
    before = [(await process.ask("cpu"))["seconds"] for process in group.processes]
    await asyncio.sleep(IDLE_SECONDS)
    after = [(await process.ask("cpu"))["seconds"] for process in group.processes]
    return [(end - start) / IDLE_SECONDS * 1e3 for start, end in zip(before, after, strict=True)]


async def main() -> None:
    result = Result(
        "lead", "several processes with one journal", processes=PROCESSES, rounds=ROUNDS, waits=WAITS, quota="none"
    )
    medians: dict[str, float] = {}

    def add(what: str, unit: str, values: list[float]) -> float:
        result.add(what=what, unit=unit, median=statistics.median(values), most=max(values), measured=len(values))
        return statistics.median(values)

    def add_ms(what: str, seconds: list[float]) -> None:
        medians[what] = add(what, "ms", [value * 1e3 for value in seconds])

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with QuotaServer(limit=NO_LIMIT, delay=(0, 0)) as server:
            async with running(Group(folder / "jobs", server.base_url)) as group:
                for what, seconds in (await waits(group)).items():
                    add_ms(what, seconds)
                    result.goal(f"{what}: median, ms", medians[what], at_most=100)
                killed = [await succession(group, signal.SIGKILL) for _ in range(ROUNDS)]
                add_ms("takeover: the leader is killed", killed)
                result.goal("takeover: the longest, s", max(killed), at_most=2)
                ended = [await succession(group, signal.SIGTERM) for _ in range(ROUNDS)]
                add_ms("handover: the leader closes", ended)
                result.goal("handover: median, s", statistics.median(ended), at_most=0.5)
            async with (
                running(Group(folder / "jobs", server.base_url)) as plain,
                running(Group(folder / "other-jobs", server.base_url, folder / "quotas")) as with_quotas,
            ):
                idle = await asyncio.gather(idle_cpu(plain), idle_cpu(with_quotas))
        for what, cpu in zip(("idle, NoQuotas", "idle, FileQuotas"), idle, strict=True):
            add(what, "ms of CPU per s", cpu)
            result.goal(f"{what}: ms of CPU per s of a process", max(cpu), at_most=2)

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], list(medians), list(medians.values()), "milliseconds, median")

    result.finish(draw)


if __name__ == "__main__":
    asyncio.run(main())
