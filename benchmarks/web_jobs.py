"""A web app of four processes with one journal: stops are submitted faster than the quota, and processes are killed.

``python -m benchmarks.web_jobs`` takes about six minutes. The app of ``web_jobs_app.py`` runs under ``uvicorn --workers
4`` and gets 300 requests per second, each of which submits one stop, on 64 connections that are kept alive. First for a
minute; then 20,000 requests, during which a random process is killed 50 times. A response says that the stop is on
disk: then the vendor must receive it. A request whose process was killed is not repeated. A kill repeats at most the
calls that are in flight, and those that ended in the last third of a second, which may not be in the journal yet.
"""

import asyncio
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import attrs
from matplotlib.axes import Axes

from benchmarks.programs import QUOTA
from benchmarks.quota import FAR_DELAY, draw_arrivals
from benchmarks.quota_server import QuotaServer, Report
from benchmarks.results import Result
from benchmarks.web_jobs_app import NUMBERS
from volc_moderation.jobs.journal import Journal

WORKERS = 4
REQUEST_RATE = 300  # per second
CONNECTIONS = 64
SECONDS = 60
#: The seconds at the start that the rate at the vendor leaves out.
WARM_UP = 5
KILLS = 50
SUBMITS_WITH_KILLS = 20_000
#: Seconds between two kills, at least: the mean over the submits.
KILL_INTERVAL = SUBMITS_WITH_KILLS / REQUEST_RATE / KILLS
#: Seconds until a process that was killed has been replaced.
RESTART_TIMEOUT = 20.0
START_TIMEOUT = 30.0  # seconds
#: The status of the response to a stop that is on disk.
ACCEPTED = "202"
#: Seconds for which a request may wait for its response.
REQUEST_TIMEOUT = 20.0
#: Seconds until all jobs must have ended, from the last submit on.
DRAIN_TIMEOUT = 300.0
SEED = 20


@attrs.frozen
class App:
    """The web app: the process that starts its workers, its port and its folder."""

    process: asyncio.subprocess.Process
    port: int
    folder: Path

    def workers(self) -> list[int]:
        """Return the process ids of the workers that are ready."""
        return [int(file.stem) for file in self.folder.glob("*.process") if is_running(int(file.stem))]

    def interrupted(self, worker: int) -> tuple[int, int]:
        """Return how many calls of a worker were in flight when it was killed, and how many may not be recorded."""
        in_flight, repeatable = NUMBERS.unpack((self.folder / f"{worker}.process").read_bytes())
        return in_flight, repeatable

    async def wait_for_workers(self, number: int, timeout: float) -> None:  # noqa: ASYNC109 - for a message of its own
        """Wait until so many workers are ready."""
        end = time.monotonic() + timeout
        while len(self.workers()) < number:
            if time.monotonic() > end:
                raise AssertionError(f"{len(self.workers())} of {number} workers are ready after {timeout:g} s")
            await asyncio.sleep(0.05)


def is_running(process: int) -> bool:
    """Return whether a process runs: one that has ended may still be listed until its parent notices."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0] not in "ZX"
    return False


@asynccontextmanager
async def running_app(folder: Path, vendor_url: str) -> AsyncIterator[App]:
    """Run the web app."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "benchmarks.web_jobs_app:app", "--workers", str(WORKERS)),
        *("--port", str(port), "--log-level", "critical", "--no-access-log"),
        env=os.environ
        | {
            "JOBS": str(folder),
            "VOLCENGINE_ACCESS_KEY": "AK",
            "VOLCENGINE_SECRET_KEY": "SK",
            "VOLCENGINE_RTC_BASE_URL": vendor_url,
        },
    )
    app = App(process, port, folder)
    try:
        await app.wait_for_workers(WORKERS, START_TIMEOUT)
        yield app
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await process.wait()
        except TimeoutError:
            for worker in app.workers():
                os.kill(worker, signal.SIGKILL)
            process.kill()
            await process.wait()


class Users:
    """Submit stops at a constant rate, whether the app keeps up or not.

    :ivar submitted: the rooms whose stop the app has accepted.
    :ivar latencies: seconds from when the request was due until the response, of each of them.
    :ivar broken: the number of requests that got no response, or another one, by the reason.
    """

    def __init__(self, port: int, prefix: str) -> None:
        self._port = port
        self._prefix = prefix
        self._idle: asyncio.Queue[_Connection | None] = asyncio.Queue()
        for _ in range(CONNECTIONS):
            self._idle.put_nowait(None)
        self.submitted: list[str] = []
        self.latencies: list[float] = []
        self.broken: Counter[str] = Counter()

    async def submit(self, count: int) -> None:
        """Make so many requests."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                due = start + number / REQUEST_RATE
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tasks.create_task(self._request(f"{self._prefix}-{number}", due))

    async def _request(self, room_id: str, due: float) -> None:
        connection = await self._idle.get()
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                connection = connection or await _Connection.open(self._port)
                status = await connection.delete(f"/rooms/{room_id}")
        except (OSError, EOFError, TimeoutError) as error:
            status = type(error).__name__
            if connection is not None:
                connection.close()
            connection = None
        self._idle.put_nowait(connection)
        if status == ACCEPTED:
            self.submitted.append(room_id)
            self.latencies.append(time.monotonic() - due)
        else:
            self.broken[status] += 1


@attrs.frozen
class _Connection:
    """A connection that is kept alive. An HTTP client would need the CPU that the app needs."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, port: int) -> "_Connection":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def delete(self, path: str) -> str:
        """Make a request, and return the status of the response."""
        self.writer.write(f"DELETE {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n".encode())
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length:")
        await self.reader.readexactly(int(length.partition(b"\r\n")[0]))
        return head.split(maxsplit=2)[1].decode()

    def close(self) -> None:
        self.writer.close()


def jobs_left(folder: Path) -> int:
    """Return the number of jobs that have not ended."""
    with closing(Journal(folder / "jobs", access="read")) as journal:
        return sum(count for state, count in journal.counts().items() if not state.has_ended)


async def drain(folder: Path) -> None:
    """Wait until all jobs have ended; what has not ended in time is counted as lost."""
    end = time.monotonic() + DRAIN_TIMEOUT
    while await asyncio.to_thread(jobs_left, folder) and time.monotonic() < end:  # noqa: ASYNC110 - other processes
        await asyncio.sleep(1)
    await asyncio.sleep(1)


async def kill_workers(app: App) -> list[tuple[int, int]]:
    """Kill random workers; return how many calls of each were in flight, and how many may be repeated."""
    chooser, interrupted = random.Random(SEED), []
    for _ in range(KILLS):
        await asyncio.sleep(KILL_INTERVAL)
        await app.wait_for_workers(max(1, WORKERS // 2), RESTART_TIMEOUT)
        worker = chooser.choice(app.workers())
        os.kill(worker, signal.SIGKILL)
        while is_running(worker):  # noqa: ASYNC110 - the child of another process
            await asyncio.sleep(0.01)
        interrupted.append(app.interrupted(worker))
    return interrupted


async def measure(result: Result, part: str, submits: int, *, kills: int) -> Report:
    """Run the app, the users and the vendor; check what the vendor received."""
    with tempfile.TemporaryDirectory() as name:
        async with (
            QuotaServer(limit=QUOTA, delay=FAR_DELAY) as server,
            running_app(Path(name), server.base_url) as app,
        ):
            users = Users(app.port, part.partition(" ")[0])
            if kills:
                _, interrupted = await asyncio.gather(users.submit(submits), kill_workers(app))
            else:
                interrupted = []
                await users.submit(submits)
            await drain(app.folder)
            report = await server.report()
    accepted = Counter(arrival.room_id for arrival in report.arrivals if arrival.accepted)
    if users.broken:
        print(part, "- not accepted:", dict(users.broken))
    percentiles = statistics.quantiles(users.latencies, n=100)
    lost = sum(not accepted[room_id] for room_id in users.submitted)
    repeats = accepted.total() - len(accepted)
    share = report.accepted_per_second(WARM_UP, submits / REQUEST_RATE - WARM_UP) / QUOTA
    result.add(
        part=part,
        submits=len(users.submitted),
        broken=users.broken.total(),
        p50_ms=percentiles[49] * 1e3,
        p99_ms=percentiles[98] * 1e3,
        share=share,
        refused=report.refused,
        most=report.most_in_any_second(),
        lost=lost,
        repeats=repeats,
        in_flight=sum(in_flight for in_flight, _ in interrupted),
        repeatable=sum(repeatable for _, repeatable in interrupted),
    )
    result.goal(f"{part}: most in any second", report.most_in_any_second(), at_most=QUOTA)
    result.goal(f"{part}: lost", lost, at_most=0)
    result.goal(f"{part}: calls carried out again", repeats, at_most=sum(repeatable for _, repeatable in interrupted))
    if not kills:
        result.goal(f"{part}: ms of a submit, 99 of 100", percentiles[98] * 1e3, at_most=50)
        result.goal(f"{part}: share of the quota", share, at_least=0.94)
        result.goal(f"{part}: requests that were not accepted", users.broken.total(), at_most=0)
    return report


async def main() -> None:
    result = Result(
        "web_jobs",
        "a web app of four processes with one journal",
        *("uvicorn", "starlette"),
        requests=f"{REQUEST_RATE}/s",
        quota=QUOTA,
        delay="20 to 50 ms",
    )
    reports = {
        part: await measure(result, part, submits, kills=kills)
        for part, submits, kills in (
            ("undisturbed", REQUEST_RATE * SECONDS, 0),
            (f"killed {KILLS} times", SUBMITS_WITH_KILLS, KILLS),
        )
    }

    def draw(panels: list[Axes]) -> None:
        for axes, (part, report) in zip(panels, reports.items(), strict=True):
            draw_arrivals(axes, report, part)

    result.finish(draw, panels=len(reports), height=4.5)


if __name__ == "__main__":
    asyncio.run(main())
