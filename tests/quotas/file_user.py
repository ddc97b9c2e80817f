"""Processes that share a file of quotas, in real time: one program that forks them, so that Python starts only once.

``python -m tests.quotas.file_user PATH LIMIT COUNT SECONDS [OPTION …]`` starts so many processes. Each prints its
number and process id when it starts to call, and the time of each arrival. Options:

- ``shared-object``: the ``FileQuotas`` object is created before the fork.
- ``used-before``: the program has used the file in a loop of its own before the fork, and calls as well.
- ``killed-in-write``: the first three processes are killed while they hold the lock: before, in the middle of and
  after a write.
- ``stopped-in-lock``: the first one is stopped while it holds the lock, after a write.

The lease is short.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.quotas.vendor import KEY
from volc_moderation import QuotaUnavailable
from volc_moderation.quotas import FileQuotas, Quota, quota_file, shared_permit, shared_window
from volc_moderation.quotas.permit import is_valid

LEASE = 1.5  # seconds
CALLERS = 8
ROUND_TRIP = 0.02  # seconds


def shorten_lease() -> None:
    for module in (shared_permit, shared_window):
        setattr(module, "PERMIT_LEASE", LEASE)  # noqa: B010 - imported there
    quota_file.STUCK_LOCK_TIMEOUT = LEASE
    shared_permit.PERMIT_LEASE_MARGIN = 0.3


def signal_at_write(moment: str, number: int, sent: signal.Signals) -> None:
    """Let this process get a signal before, in the middle of or after a write to the file."""
    original: Any = os.pwrite
    writes = 0

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        nonlocal writes
        writes += offset > 0  # the header does not count
        if writes != number or not offset:
            return int(original(fd, data, offset))
        written = {"before": 0, "middle": len(data) // 2, "after": len(data)}[moment]
        original(fd, data[:written], offset)
        os.kill(os.getpid(), sent)
        return written

    os.pwrite = pwrite  # type: ignore[assignment]


async def keep_calling(quotas: FileQuotas, limit: int, end: float) -> None:
    async def caller() -> None:
        while time.monotonic() < end:
            try:
                permit: Any = await quotas.acquire(KEY, Quota(limit))
            except QuotaUnavailable:
                await asyncio.sleep(0.05)
                continue
            if not is_valid(permit):
                permit.abandoned(None)
                continue
            # One system call per line: the lines of several processes do not mix.
            os.write(1, f"{os.getpid()} {time.monotonic()}\n".encode())
            await asyncio.sleep(ROUND_TRIP)
            permit.answered(ROUND_TRIP)

    tasks = [asyncio.create_task(caller()) for _ in range(CALLERS)]
    await asyncio.wait(tasks, timeout=end - time.monotonic())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await quotas.aclose()


def fork(quotas: FileQuotas | None, path: Path, limit: int, end: float, number: int, options: list[str]) -> None:
    """Start a process that calls until ``end``."""
    pid = os.fork()
    if pid:
        os.write(1, f"{pid} started\n".encode())
        return
    if "killed-in-write" in options and number < 3:
        signal_at_write(("before", "middle", "after")[number], 5 + 3 * number, signal.SIGKILL)
    if "stopped-in-lock" in options and number == 0:
        signal_at_write("after", 5, signal.SIGSTOP)
    asyncio.run(keep_calling(quotas or FileQuotas(path), limit, end))
    os._exit(0)


async def use(quotas: FileQuotas, limit: int) -> None:
    for _ in range(3):
        (await quotas.acquire(KEY, Quota(limit))).answered(ROUND_TRIP)


def main() -> None:
    path, limit, count, seconds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    options = sys.argv[5:]
    shorten_lease()
    end = time.monotonic() + seconds
    own = FileQuotas(path) if {"shared-object", "used-before"} & set(options) else None
    with asyncio.Runner() as runner:
        if own and "used-before" in options:
            runner.run(use(own, limit))
        for number in range(count):
            fork(own if "shared-object" in options else None, path, limit, end, number, options)
        if own:
            runner.run(keep_calling(own, limit, end))
    statuses = [os.wait()[1] for _ in range(count)]
    sys.exit(any(status not in {0, signal.SIGKILL} for status in statuses))


if __name__ == "__main__":
    main()
