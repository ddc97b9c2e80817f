"""Commands in processes of their own that start with the package imported, which takes a third of the CPU.

``python -m tests.jobs.forked`` is a process that has imported the commands and forks a child for each program. It reads
orders from standard input, one per line, and answers each with a number: a new program with its process id, and the
process id of one that has ended with its exit code.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from benchmarks.cluster import Program

#: What the programs import sooner or later.
MODULES = ("redis.asyncio", "volc_moderation.cli.bulk", "volc_moderation.cli.worker", "volc_moderation.jobs.follower")


class Forks:
    """The process that forks programs. Its methods block briefly."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.jobs.forked"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()

    def order(self, order: Any) -> int:
        """Give an order, and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(order)}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class ForkedProcess:
    """What ``Program`` uses of an ``asyncio.subprocess.Process``."""

    def __init__(self, forks: Forks, pid: int, stderr: asyncio.StreamReader) -> None:
        self._forks = forks
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._end)

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.returncode = self._forks.order(self.pid)
        self._ended.set()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal if it still runs: until its exit code is asked for, no other process has its id."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for its end, and return the exit code."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode


class ForkedProgram(Program):
    """A command in a forked process."""

    #: The process that forks all programs.
    forks: Forks

    async def _start(self) -> asyncio.subprocess.Process:
        with tempfile.TemporaryDirectory() as folder:
            errors = Path(folder) / "errors"
            os.mkfifo(errors)
            order = {
                "settings": self._settings,
                "arguments": self._arguments,
                "folder": str(self._folder),
                "environment": {**os.environ, **self._environment},
                "errors": str(errors),
            }
            reading = os.fdopen(os.open(errors, os.O_RDONLY | os.O_NONBLOCK), "rb")
            pid = self.forks.order(order)
        stderr = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stderr), reading)
        return cast("asyncio.subprocess.Process", ForkedProcess(self.forks, pid, stderr))


def become(order: dict[str, Any], errors: int) -> None:
    """Turn this process into the program, and run it."""
    from volc_moderation.cli import main  # noqa: PLC0415 - imported already; this module can do without it

    null = os.open(os.devnull, os.O_RDWR)
    for target, source in enumerate((null, null, errors)):
        os.dup2(source, target)
    # The old ones remember whether their files could be read at any place.
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(order["environment"])
    os.chdir(order["folder"])
    exec(order["settings"], {})  # noqa: S102 - our own
    main(order["arguments"])


def serve() -> None:
    """Carry out orders. A program leaves this function with ``SystemExit``."""
    for module in MODULES:
        __import__(module)
    for line in sys.stdin:
        order = json.loads(line)
        if isinstance(order, int):
            _, status = os.waitpid(order, 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            errors = os.open(order["errors"], os.O_WRONLY)
            answer = os.fork()
            if answer == 0:
                become(order, errors)
            os.close(errors)
        print(answer, flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    serve()
