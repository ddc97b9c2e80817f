"""One process that submits durable work: ``python -m benchmarks.submitter`` runs one for ``submits.py``.

Each queue is used with its defaults, which all survive a power failure: SQLite synchronizes the disk at each commit.
What has no asyncio is called in threads, as web frameworks call it.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from sqlite3 import OperationalError
from typing import Any

import huey  # type: ignore[import-untyped]
import persistqueue

from volc_moderation import JournalError, VolcengineClient
from volc_moderation.jobs import Jobs
from volc_moderation.volcengine import StopWebcast

#: Submits in flight in each process.
CONCURRENCY = 64
#: The work is due after the benchmark, so that none is carried out.
DELAY = 3600  # seconds
KEYS: dict[str, Any] = {"access_key": "AK", "secret_key": "SK"}

#: Submits the stop of a room.
Submit = Callable[[str], Awaitable[object]]


async def jobs(stack: AsyncExitStack, path: str) -> Submit:
    """Submit with this package."""
    client = await stack.enter_async_context(VolcengineClient(**KEYS))
    jobs = await stack.enter_async_context(Jobs(path, clients=[client]))
    return lambda room_id: jobs.submit(StopWebcast(app_id="app", room_id=room_id, task_id="task"), delay=DELAY)


async def in_threads(stack: AsyncExitStack, submit: Callable[[str], object]) -> Submit:
    """Call in threads."""
    threads = stack.enter_context(ThreadPoolExecutor(CONCURRENCY))
    return lambda room_id: asyncio.get_running_loop().run_in_executor(threads, submit, room_id)


async def sqlite_huey(stack: AsyncExitStack, path: str) -> Submit:
    """Submit with huey on SQLite."""
    tasks = huey.SqliteHuey(filename=path)

    @tasks.task()  # type: ignore[untyped-decorator] # huey has no types
    def stop_webcast(app_id: str, room_id: str, task_id: str) -> None:
        """Stand for the call, which is not made."""

    return await in_threads(stack, lambda room_id: stop_webcast.schedule(("app", room_id, "task"), delay=DELAY))


async def persist_queue(stack: AsyncExitStack, path: str) -> Submit:
    """Submit with persist-queue, which has no delays: nothing takes what is submitted."""
    tasks = persistqueue.SQLiteAckQueue(path, multithreading=True)
    return await in_threads(stack, lambda room_id: tasks.put({"app_id": "app", "room_id": room_id, "task_id": "task"}))


QUEUES: dict[str, Callable[[AsyncExitStack, str], Awaitable[Submit]]] = {
    "volc_moderation": jobs,
    "huey": sqlite_huey,
    "persist-queue": persist_queue,
}


async def run(name: str, path: str, process: str) -> None:
    """Submit for as many seconds as standard input says, and print what was measured."""
    async with AsyncExitStack() as stack:
        submit = await QUEUES[name](stack, path)
        print("ready", flush=True)
        seconds = float(await asyncio.to_thread(sys.stdin.readline))
        end, cpu = time.monotonic() + seconds, time.process_time()
        latencies: list[float] = []
        failed = 0

        async def submitter(number: int) -> None:
            nonlocal failed
            count = 0
            while (begun := time.monotonic()) < end:
                try:
                    await submit(f"p{process}-{number}-{count}")
                except (JournalError, OperationalError):
                    failed += 1
                else:
                    latencies.append(time.monotonic() - begun)
                count += 1

        await asyncio.gather(*(submitter(number) for number in range(CONCURRENCY)))
        cpu = time.process_time() - cpu
        elapsed = time.monotonic() - end + seconds
    percentiles = statistics.quantiles(latencies, n=100)
    figures = {
        "submitted": len(latencies),
        "rate": len(latencies) / elapsed,
        "failed": failed,
        "p50": percentiles[49],
        "p99": percentiles[98],
        "cpu": cpu,
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
