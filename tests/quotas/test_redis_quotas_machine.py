"""Whatever the processes that share a quota and their store do, no second is above the quota (a state machine)."""

import asyncio
import contextlib
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from looptime import new_event_loop
from redis import Redis

from tests.quotas.processes import Processes
from tests.quotas.vendor import RefusedError, SimulatedVendor
from volc_moderation import QuotaUnavailable
from volc_moderation.quotas import Priority, Quota
from volc_moderation.quotas.round_trips import LATE_ARRIVAL_ALLOWANCE
from volc_moderation.quotas.shared_window import Outage, SharedWindow

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

    redis: Redis
    limit: int
    outage: Outage

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.loop = new_event_loop()
        self.vendor = SimulatedVendor(0.01, 0.03)
        self.store = Processes(self.redis, Quota(self.limit), outage=self.outage, processes=MAX_PROCESSES)
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

    @rule(seconds=st.sampled_from([-60.0, -0.4, 0.4, 60.0, 3600.0, -3600.0]))
    def step(self, seconds: float) -> None:
        """Step the store's clock, as NTP does, or a failover to a machine whose clock is off."""
        self.store.clock_step += seconds

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


@pytest.mark.no_coverage
@pytest.mark.parametrize(("limit", "outage"), [(3, "raise"), (30, "wait"), (45, "share")])
def test_the_quota_holds(redis: Redis, limit: int, outage: Outage) -> None:
    SharedQuota.redis, SharedQuota.limit, SharedQuota.outage = redis, limit, outage
    run_state_machine_as_test(
        SharedQuota,
        settings=settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
