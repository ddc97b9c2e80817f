"""Whatever processes that share a quota do, and whatever becomes of their store, no second is above the quota."""

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

from tests.quotas.judge import Judge, RefusedError
from tests.quotas.processes import Processes
from volc_moderation import QuotaUnavailable
from volc_moderation.quotas import Priority, Quota
from volc_moderation.quotas.round_trips import LONGEST_WAY
from volc_moderation.quotas.shared_window import Outage, SharedWindow

#: Processes at most, which each have a third of the quota while the store is away.
MOST = 3


class Process:
    """A process with callers, which may be cancelled, and that may be killed."""

    def __init__(self, asker: SharedWindow, judge: Judge) -> None:
        self.asker = asker
        self._judge = judge
        self.callers: list[asyncio.Task[None]] = []
        self.is_dead = False
        self.was_cancelled_for_nothing = False

    async def call(self, priority: Priority, extra: float, patience: float) -> None:
        """Make a call that takes ``extra`` seconds on its way, and is given up after ``patience``."""
        try:
            permit = await self.asker.acquire(priority)
        except QuotaUnavailable:
            return
        except asyncio.CancelledError:
            self.was_cancelled_for_nothing |= asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
            raise
        sent_at = self.now()
        # What was sent arrives, whatever becomes of the sender.
        request = asyncio.get_running_loop().create_task(self._judge(extra))
        request.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            done, _ = await asyncio.wait({request}, timeout=patience)
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
        """End it without a word."""
        self.is_dead = True
        if self.asker._task is not None:
            self.asker._task.cancel()
        for caller in self.callers:
            caller.cancel()


class SharedQuota(RuleBasedStateMachine):
    """Processes that start, call, are cancelled and killed, and a store that goes, comes and forgets."""

    redis: Redis
    limit: int
    outage: Outage

    def __init__(self) -> None:
        super().__init__()
        self.redis.flushall()
        self.loop = new_event_loop()
        self.judge = Judge(0.01, 0.03)
        self.store = Processes(self.redis, Quota(self.limit), outage=self.outage, processes=MOST)
        self.processes: list[Process] = []
        self.dice = random.Random(1)
        self.start(0.0)

    def run(self, what: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(what)

    @precondition(lambda self: len(self.processes) < MOST)
    @rule(ahead=st.sampled_from([0.0, 0.5, -0.5]))
    def start(self, ahead: float) -> None:
        """Start a process, whose clock may be off."""

        async def start() -> None:
            self.processes.append(Process(self.store.start(ahead=ahead), self.judge))

        self.run(start())

    @rule(
        which=st.integers(0, MOST - 1),
        calls=st.integers(1, 60),
        priority=st.sampled_from(["interactive", "bulk"]),
        slow=st.booleans(),
    )
    def call(self, which: int, calls: int, priority: Priority, slow: bool) -> None:
        """Begin calls, of which some may take long and be given up."""

        async def begin() -> None:
            process = self.processes[which % len(self.processes)]
            for _ in range(calls):
                extra = self.dice.uniform(0.1, LONGEST_WAY - 0.04) if slow and self.dice.random() < 0.2 else 0.0
                process.callers.append(asyncio.create_task(process.call(priority, extra, 0.2)))

        self.run(begin())

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 1.0, 3.0, 15.0]))
    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self.run(asyncio.sleep(seconds))

    @rule(which=st.integers(0, MOST - 1), each=st.integers(1, 3))
    def cancel(self, which: int, each: int) -> None:
        """Cancel some callers."""
        for caller in self.processes[which % len(self.processes)].callers[::each]:
            caller.cancel()

    @precondition(lambda self: len(self.processes) > 1)
    @rule(which=st.integers(0, MOST - 1))
    def kill(self, which: int) -> None:
        """Kill a process; nobody takes its place before its share of an outage is forgotten."""
        self.processes.pop(which % len(self.processes)).kill()
        self.run(asyncio.sleep(2 if self.outage == "share" else 0.01))

    @rule(for_all=st.sampled_from([0.2, 1.0, 5.0]))
    def away(self, for_all: float) -> None:
        """Let the store be away for so long."""
        self.store.away = ConnectionError("gone")
        self.run(asyncio.sleep(for_all))
        self.store.away = None

    @rule(seconds=st.sampled_from([-60.0, -0.4, 0.4, 60.0, 3600.0, -3600.0]))
    def step(self, seconds: float) -> None:
        """Let the store's clock step, as by NTP or a failover to a machine whose clock is off."""
        self.store.stepped += seconds

    @rule()
    def forget(self) -> None:
        """Let the store forget all, as by a failover; who used it is the next to ask."""

        async def forget() -> None:
            await asyncio.gather(*(self.ask(process) for process in self.processes))
            self.store.forget()
            for process in self.processes:
                process.callers.append(asyncio.create_task(self.ask(process)))
            await asyncio.sleep(0.01)

        self.run(forget())

    async def ask(self, process: Process) -> None:
        """Ask the store, but send nothing."""
        with contextlib.suppress(QuotaUnavailable):
            (await process.asker.acquire("bulk")).abandoned(None)

    @invariant()
    def no_second_is_above_the_quota(self) -> None:
        assert self.judge.most <= self.limit

    @invariant()
    def nobody_is_cancelled_who_was_not(self) -> None:
        assert not any(process.was_cancelled_for_nothing for process in self.processes)

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
