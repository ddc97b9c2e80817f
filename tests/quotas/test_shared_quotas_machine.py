"""Whatever processes that share a quota, their store and their machine do, no second is above it (a state machine)."""

import asyncio
import contextlib
import itertools
import os
import random
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from looptime import new_event_loop
from redis import Redis

from tests.quotas.processes import FileProcesses, Processes, SharingProcesses
from tests.quotas.vendor import RefusedError, SimulatedVendor
from volc_moderation import QuotaUnavailable
from volc_moderation.quotas import Priority, Quota, shared_permit
from volc_moderation.quotas.machine import boot_time
from volc_moderation.quotas.permit import is_valid
from volc_moderation.quotas.round_trips import LATE_ARRIVAL_ALLOWANCE
from volc_moderation.quotas.shared_window import SharedWindow
from volc_moderation.quotas.store_outage import Outage

#: Processes at a time. Each has a third of the quota while the store is unavailable.
MAX_PROCESSES = 3


class Process:
    """A process, which may be killed, with callers, which may be cancelled."""

    def __init__(self, window: SharedWindow, vendor: SimulatedVendor) -> None:
        self.window = window
        self._vendor = vendor
        self.callers: list[asyncio.Task[None]] = []
        self.is_dead = False
        self.was_cancelled_wrongly = False

    async def call(self, priority: Priority, extra: float, timeout: float) -> None:
        """Make a call whose request takes ``extra`` seconds longer, and abandon it after ``timeout`` seconds."""
        try:
            permit = await self.window.acquire(priority)
        except QuotaUnavailable:
            return
        except asyncio.CancelledError:
            self.was_cancelled_wrongly |= asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
            raise
        if not is_valid(permit):
            permit.abandoned(None)
            return
        sent_at = self.now()
        # A request that was sent arrives, whatever happens to the sender.
        request = asyncio.get_running_loop().create_task(self._vendor(extra))
        request.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            done, _ = await asyncio.wait({request}, timeout=timeout)
        except asyncio.CancelledError:
            if not self.is_dead:
                permit.abandoned(self.now() - sent_at)
            raise
        if not done:
            permit.abandoned(self.now() - sent_at)
        elif isinstance(request.exception(), RefusedError):
            permit.throttled(self.now() - sent_at)
        else:
            permit.answered(self.now() - sent_at)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def kill(self) -> None:
        """End the process without closing its window."""
        self.is_dead = True
        if self.window._task is not None:
            self.window._task.cancel()
        for caller in self.callers:
            caller.cancel()


class SharedQuota(RuleBasedStateMachine):
    """Processes start, call, are cancelled and killed; their store becomes unavailable, returns and loses its data."""

    limit: int
    outage: Outage
    create_store: Callable[[], SharingProcesses]
    #: Seconds for which the machine has slept. The loop's clock does not show them.
    slept = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.loop = new_event_loop()
        self.vendor = SimulatedVendor(0.01, 0.03)
        self.store = type(self).create_store()
        self.processes: list[Process] = []
        self.rng = random.Random(1)
        self.start(0.0)

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(coroutine)

    @precondition(lambda self: len(self.processes) < MAX_PROCESSES)
    @rule(clock_ahead=st.sampled_from([0.0, 0.5, -0.5]))
    def start(self, clock_ahead: float) -> None:
        """Start a process, whose clock may be off."""

        async def start() -> None:
            self.processes.append(Process(self.store.start(clock_ahead=clock_ahead), self.vendor))

        self.run(start())

    @rule(
        which=st.integers(0, MAX_PROCESSES - 1),
        calls=st.integers(1, 60),
        priority=st.sampled_from(["interactive", "bulk"]),
        slow=st.booleans(),
    )
    def call(self, which: int, calls: int, priority: Priority, slow: bool) -> None:
        """Begin calls, some of which may take long and be abandoned."""

        async def begin() -> None:
            process = self.processes[which % len(self.processes)]
            for _ in range(calls):
                extra = (
                    self.rng.uniform(0.1, LATE_ARRIVAL_ALLOWANCE - 0.04) if slow and self.rng.random() < 0.2 else 0.0
                )
                process.callers.append(asyncio.create_task(process.call(priority, extra, 0.2)))

        self.run(begin())

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 1.0, 3.0, 15.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.run(asyncio.sleep(seconds))

    @rule(which=st.integers(0, MAX_PROCESSES - 1), each=st.integers(1, 3))
    def cancel(self, which: int, each: int) -> None:
        """Cancel some callers."""
        for caller in self.processes[which % len(self.processes)].callers[::each]:
            caller.cancel()

    @precondition(lambda self: len(self.processes) > 1)
    @rule(which=st.integers(0, MAX_PROCESSES - 1))
    def kill(self, which: int) -> None:
        """Kill a process. No other takes its place before the vendor stops counting the share that it may have used."""
        self.processes.pop(which % len(self.processes)).kill()
        self.run(asyncio.sleep(2 if self.outage == "share" else 0.01))

    @rule(duration=st.sampled_from([0.2, 1.0, 5.0]))
    def make_store_unavailable(self, duration: float) -> None:
        """Make the store unavailable for some seconds."""
        self.store.error = ConnectionError("gone")
        self.run(asyncio.sleep(duration))
        self.store.error = None

    @precondition(lambda self: isinstance(self.store, Processes))
    @rule(seconds=st.sampled_from([-60.0, -0.4, 0.4, 60.0, 3600.0, -3600.0]))
    def step(self, seconds: float) -> None:
        """Step the store's clock, as NTP does, or a failover to a machine whose clock is off."""
        assert isinstance(self.store, Processes)
        self.store.clock_step += seconds

    @precondition(lambda self: isinstance(self.store, FileProcesses))
    @rule()
    def remove_file(self) -> None:
        """Remove the file while calls wait and others are in flight."""
        self.store.lose_data()

    @precondition(lambda self: isinstance(self.store, FileProcesses))
    @rule(begin=st.floats(0, 1), size=st.integers(1, 2000), seed=st.integers(0, 1000))
    def damage_file(self, begin: float, size: int, seed: int) -> None:
        """Overwrite a part of the file."""
        with self._opened_file() as fd:
            rest = os.fstat(fd).st_size - 8  # without the magic number: what has another one is not ours
            at = int(begin * rest)
            os.pwrite(fd, random.Random(seed).randbytes(min(size, max(rest - at, 0))), 8 + at)

    @precondition(lambda self: isinstance(self.store, FileProcesses))
    @rule(part=st.sampled_from([0.0, 0.01, 0.5, 0.99]))
    def truncate_file(self, part: float) -> None:
        """Cut the file short."""
        with self._opened_file() as fd:
            os.ftruncate(fd, int(part * os.fstat(fd).st_size))

    @contextlib.contextmanager
    def _opened_file(self) -> Iterator[int]:
        assert isinstance(self.store, FileProcesses)
        self.store.path.touch()
        fd = os.open(self.store.path, os.O_RDWR)
        try:
            yield fd
        finally:
            os.close(fd)

    @rule(seconds=st.sampled_from([1.0, 3600.0]))
    def sleep(self, seconds: float) -> None:
        """Let the machine sleep."""
        type(self).slept += seconds

    @rule()
    def lose_data(self) -> None:
        """Make the store lose its data, as in a failover. The processes that used it are the next to ask."""

        async def lose_data() -> None:
            await asyncio.gather(*(self.request_permit(process) for process in self.processes))
            self.store.lose_data()
            for process in self.processes:
                process.callers.append(asyncio.create_task(self.request_permit(process)))
            await asyncio.sleep(0.01)

        self.run(lose_data())

    async def request_permit(self, process: Process) -> None:
        """Acquire a permit from the store, but send nothing."""
        with contextlib.suppress(QuotaUnavailable):
            (await process.window.acquire("bulk")).abandoned(None)

    @invariant()
    def no_second_is_above_the_quota(self) -> None:
        assert self.vendor.max_in_a_second <= self.limit

    @invariant()
    def no_caller_is_cancelled_wrongly(self) -> None:
        assert not any(process.was_cancelled_wrongly for process in self.processes)

    def teardown(self) -> None:
        for process in self.processes:
            process.kill()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()

        async def end() -> None:
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(end())
        self.loop.close()


@pytest.fixture(autouse=True)
def _the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedQuota, "slept", 0.0)
    monkeypatch.setattr(shared_permit, "boot_time", lambda: boot_time() + SharedQuota.slept)


def run(limit: int, outage: Outage, create_store: Callable[[], SharingProcesses]) -> None:
    SharedQuota.limit, SharedQuota.outage, SharedQuota.create_store = limit, outage, staticmethod(create_store)
    run_state_machine_as_test(
        SharedQuota,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


@pytest.mark.no_coverage
@pytest.mark.parametrize(("limit", "outage"), [(3, "raise"), (30, "wait"), (45, "share")])
def test_the_quota_holds_with_redis(redis: Redis, limit: int, outage: Outage) -> None:
    def create() -> Processes:
        redis.flushall()
        return Processes(redis, Quota(limit), outage=outage, processes=MAX_PROCESSES)

    run(limit, outage, create)


@pytest.mark.no_coverage
@pytest.mark.usefixtures("virtual_machine_clock")
@pytest.mark.parametrize("limit", [3, 30])
def test_the_quota_holds_with_a_file(tmp_path: Path, limit: int) -> None:
    numbers = itertools.count()
    run(limit, "raise", lambda: FileProcesses(tmp_path / str(next(numbers)), Quota(limit)))
