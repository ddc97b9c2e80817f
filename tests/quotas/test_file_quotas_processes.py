"""Real processes that share a file of quotas: they are killed and stopped at the worst moments, and they fork."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.quotas.file_user import LEASE

pytestmark = pytest.mark.slow
LIMIT = 30


class Users:
    """Runs ``file_user.py``, and collects what it prints."""

    def __init__(self, path: Path, count: int, seconds: float, *options: str) -> None:
        self.pids: list[int] = []
        self.arrivals: dict[int, list[float]] = defaultdict(list)
        self._program = subprocess.Popen(  # noqa: S603 - this program
            [sys.executable, "-m", "tests.quotas.file_user", str(path), str(LIMIT), str(count), str(seconds), *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._program.stdout is not None
        for line in self._program.stdout:
            pid, _, what = line.partition(" ")
            if what == "started\n":
                self.pids.append(int(pid))
            else:
                self.arrivals[int(pid)].append(float(what))

    def wait_for_calls(self, calls: int) -> None:
        while self.count() < calls:
            assert self._program.poll() is None
            time.sleep(0.02)

    def count(self, pid: int | None = None) -> int:
        return len(self.arrivals[pid]) if pid else sum(map(len, list(self.arrivals.values())))

    def finish(self) -> None:
        self._close()
        assert self._program.wait() == 0

    def all_arrivals(self) -> list[float]:
        return sorted(at for arrivals in self.arrivals.values() for at in arrivals)

    def max_in_a_second(self) -> int:
        arrivals = self.all_arrivals()
        return max(sum(at - 1 < other <= at for other in arrivals) for at in arrivals)

    def longest_pause(self) -> float:
        return max(later - earlier for earlier, later in pairwise(self.all_arrivals()))

    def end(self) -> None:
        """Kill all processes. As long as the program runs, its children's numbers are theirs."""
        if self._program.poll() is None:
            for pid in self.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._program.kill()
        self._program.wait()
        self._close()

    def _close(self) -> None:
        self._reader.join()
        assert self._program.stdout is not None
        self._program.stdout.close()


@contextmanager
def users(path: Path, count: int, seconds: float, *options: str) -> Iterator[Users]:
    running = Users(path, count, seconds, *options)
    try:
        yield running
        running.finish()
    except BaseException:
        running.end()
        raise


def test_processes_that_open_a_new_file_at_once_then_one_is_killed_and_one_stopped(tmp_path: Path) -> None:
    """The others go on meanwhile. After its lease, the stopped one sends nothing with the permits that it had."""
    with users(tmp_path / "quotas", 5, 5.5) as running:
        running.wait_for_calls(20)
        killed, stopped = running.pids[:2]
        os.kill(killed, signal.SIGKILL)
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(LEASE + 1.3)
        os.kill(stopped, signal.SIGCONT)
        before = running.count(stopped)
    assert running.max_in_a_second() <= LIMIT
    assert running.count(stopped) > before
    assert running.count() > 2.5 * LIMIT
    assert running.longest_pause() < 1.2
    assert list(tmp_path.iterdir()) == [tmp_path / "quotas"]


def test_processes_that_are_killed_while_they_write(tmp_path: Path) -> None:
    with users(tmp_path / "quotas", 4, 5, "killed-in-write") as running:
        pass
    assert running.max_in_a_second() <= LIMIT
    assert max(map(running.count, running.pids[:3])) < running.count(running.pids[3])
    assert max(running.arrivals[pid][-1] for pid in running.pids[:3]) < running.arrivals[running.pids[3]][-1] - 0.5
    assert running.count() > 1.3 * LIMIT
    assert running.longest_pause() < LEASE + 1.5  # the permits of the dead ones return after the lease and a window


def test_a_process_that_is_stopped_while_it_holds_the_lock(tmp_path: Path) -> None:
    """The others go on with a new file; when it continues, what it has written does not count."""
    with users(tmp_path / "quotas", 3, 7, "stopped-in-lock") as running:
        running.wait_for_calls(5)
        stopped = running.pids[0]
        while "State:\tT" not in Path(f"/proc/{stopped}/status").read_text():
            time.sleep(0.02)
        before = running.count()
        running.wait_for_calls(before + 10)
        os.kill(stopped, signal.SIGCONT)
        own = running.count(stopped)
    assert running.max_in_a_second() <= LIMIT
    assert running.count(stopped) > own
    assert LEASE < running.longest_pause() < LEASE + 3


@pytest.mark.parametrize("option", ["shared-object", "used-before"])
def test_a_process_that_forks(tmp_path: Path, option: str) -> None:
    """Parent and children go on: with an object that was created before, or with a file that was used before."""
    with users(tmp_path / "quotas", 2, 4, option) as running:
        pass
    assert len(running.arrivals) == 3
    assert min(map(len, running.arrivals.values())) > 10
    assert running.max_in_a_second() <= LIMIT
    assert running.count() > 1.3 * LIMIT
