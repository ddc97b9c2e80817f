"""Window permits in virtual time: never more than the quota in any second, and almost none of it wasted."""

import asyncio
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from looptime import new_event_loop

from tests.quotas.vendor import KEY, KeyWindow, SimulatedVendor, call
from volc_moderation import ConfigurationError, QuotaUnavailable, WindowQuotas
from volc_moderation.quotas import Quota, QuotaKey, window
from volc_moderation.quotas.round_trips import RoundTrips
from volc_moderation.quotas.window import MAX_BURST, LocalWindow, default_quotas


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.looptime
@pytest.mark.parametrize(("low", "high", "expected"), [(0.02, 0.05, 0.95), (0.002, 0.005, 0.98), (0.08, 0.12, 0.88)])
async def test_full_speed_without_a_breach(low: float, high: float, expected: float) -> None:
    """1,500 calls awaited at once. The share is exact, because time is virtual."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(low, high)
    await asyncio.gather(*(call(KeyWindow(quotas, Quota(150)), vendor) for _ in range(1500)))
    assert vendor.max_in_a_second <= 150
    assert vendor.quota_share(150) >= expected


@pytest.mark.no_coverage
@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(5))
async def test_cold_starts_do_not_breach(seed: int) -> None:
    """The smallest round trip is not known yet: no permit returns early before there are enough answers."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(0.02, 0.05, seed)
    await asyncio.gather(*(call(KeyWindow(quotas, Quota(150)), vendor) for _ in range(600)))
    assert vendor.max_in_a_second <= 150


@pytest.mark.no_coverage
@pytest.mark.looptime
@pytest.mark.parametrize(("there", "back", "then"), [(0.2, 0.2, 0.05), (0.3, 0.3, 0.02), (0.05, 0.05, 0.01)])
async def test_a_way_to_the_vendor_that_becomes_shorter_does_not_breach(there: float, back: float, then: float) -> None:
    """Long round trips let permits return early; the first short one is only known after a long way back."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(there, there)
    vendor.inbound = (back, back)
    calls = asyncio.gather(*(call(KeyWindow(quotas, Quota(150)), vendor) for _ in range(1500)))
    await asyncio.sleep(5)
    vendor.outbound = (then, then)
    await calls
    assert vendor.max_in_a_second <= 150


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.looptime
async def test_slow_requests_that_are_abandoned_do_not_breach() -> None:
    """They arrive after their caller has given up, and the vendor counts them all the same."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(0.02, 0.05)
    rng = random.Random(1)

    async def one() -> None:
        permit = await quotas.acquire(KEY, Quota(150))
        request = asyncio.create_task(vendor(extra=rng.uniform(0.2, 0.5) if rng.random() < 0.05 else 0))
        done, _ = await asyncio.wait({request}, timeout=0.12)
        if done:
            permit.answered(request.result())
        else:
            permit.abandoned(0.12)

    await asyncio.gather(*(one() for _ in range(2000)))
    assert vendor.max_in_a_second <= 150


@pytest.mark.looptime
async def test_first_come_first_served() -> None:
    quotas, vendor, order = WindowQuotas(), SimulatedVendor(0.01, 0.01), []

    async def numbered(number: int) -> None:
        permit = await quotas.acquire(KEY, Quota(10))
        order.append(number)
        permit.answered(await vendor())

    await asyncio.gather(*(numbered(number) for number in range(50)))
    assert order == list(range(50))


@pytest.mark.looptime
@pytest.mark.parametrize(("quota", "calls"), [(150, 48), (150, 75), (20, 10), (2, 1), (1, 1)])
async def test_calls_wait_for_nothing_while_less_than_half_of_the_quota_is_used(quota: int, calls: int) -> None:
    quotas, loop = WindowQuotas(), asyncio.get_running_loop()
    for _ in range(3):
        began = loop.time()
        permits = await asyncio.gather(*(quotas.acquire(KEY, Quota(quota)) for _ in range(calls)))
        assert loop.time() == began
        for permit in permits:
            permit.answered(0.0)
        await asyncio.sleep(1.01)


@pytest.mark.looptime
async def test_sequential_calls_wait_for_nothing_while_less_than_half_of_the_quota_is_used() -> None:
    quotas, vendor, loop = WindowQuotas(), SimulatedVendor(0.007, 0.007), asyncio.get_running_loop()
    for _ in range(300):
        began = loop.time()
        permit = await quotas.acquire(KEY, Quota(150))
        assert loop.time() == began
        permit.answered(await vendor())


@pytest.mark.looptime
async def test_the_second_half_of_a_quota_is_not_granted_in_one_burst() -> None:
    """What is sent in a burst returns in a burst; the next ones are paced all the same."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(0.0, 0.0)
    await asyncio.gather(*(call(KeyWindow(quotas, Quota(150)), vendor) for _ in range(450)))
    after = [arrival - vendor.arrivals[0] for arrival in vendor.arrivals]
    assert sum(at == 0 for at in after) == 75 + MAX_BURST
    for begin in (0.01, 0.2, 1.0, 1.05, 1.5, 2.0):
        assert sum(begin < at <= begin + 0.1 for at in after) <= 150 / 10 + 2 * MAX_BURST
    assert after[-1] < 3


@pytest.mark.no_coverage
@pytest.mark.looptime
async def test_cancelled_waiters_take_nothing_with_them() -> None:
    """A fifth of 1,500 calls is cancelled while waiting: the rest go at full speed, and so do the next thousand."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(0.02, 0.05)
    loop = asyncio.get_running_loop()
    calls = [asyncio.create_task(call(KeyWindow(quotas, Quota(150)), vendor)) for _ in range(1500)]
    await asyncio.sleep(0.5)
    waiting = [one for one in calls if not one.done()]
    for one in random.Random(1).sample(waiting, 300):
        one.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    cancelled = sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert cancelled == 300
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert vendor.quota_share(150) >= 0.94
    began = loop.time()
    await asyncio.gather(*(call(KeyWindow(quotas, Quota(150)), vendor) for _ in range(1000)))
    assert 1000 / (loop.time() - began) / 150 >= 0.93
    assert vendor.max_in_a_second <= 150


@pytest.mark.looptime
async def test_cancelled_at_the_moment_of_the_grant() -> None:
    """The permit of a call that is granted and cancelled in one iteration of the loop goes to the next call at once."""
    quotas = WindowQuotas()
    held = await quotas.acquire(KEY, Quota(1))
    first = asyncio.create_task(quotas.acquire(KEY, Quota(1)))
    second = asyncio.create_task(quotas.acquire(KEY, Quota(1)))
    held.answered(0)
    await asyncio.sleep(0.5)
    window = quotas._windows[KEY]
    window._in_flight += 1
    window._wait_queue.grant(window)  # the grant
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert window._in_flight == 0
    await second
    assert asyncio.get_running_loop().time() == pytest.approx(1, abs=0.01)


@pytest.mark.looptime
async def test_all_cancelled_at_the_moment_of_the_grant() -> None:
    """The granter runs before the cancelled calls."""
    quotas = WindowQuotas()
    held = await quotas.acquire(KEY, Quota(1))
    waiters = [asyncio.create_task(quotas.acquire(KEY, Quota(1))) for _ in range(3)]
    await asyncio.sleep(0.5)
    window = quotas._windows[KEY]
    for waiter in waiters:
        waiter.cancel()
    held.abandoned(None)
    window._in_flight += 1
    window._wait_queue.grant(window)  # the grant
    await asyncio.gather(*waiters, return_exceptions=True)
    assert quotas.snapshot()[KEY].permits_out == 0
    assert quotas.snapshot()[KEY].waiters == 0
    async with asyncio.timeout(0.1):
        await quotas.acquire(KEY, Quota(1))


@pytest.mark.looptime
async def test_all_waiters_cancelled() -> None:
    """No call waits, so no task runs, and the next call goes at once."""
    quotas = WindowQuotas()
    held = await quotas.acquire(KEY, Quota(1))
    waiters = [asyncio.create_task(quotas.acquire(KEY, Quota(1))) for _ in range(10)]
    await asyncio.sleep(0.1)
    for waiter in waiters:
        waiter.cancel()
    await asyncio.gather(*waiters, return_exceptions=True)
    held.answered(0)
    await asyncio.sleep(5)
    assert len(asyncio.all_tasks()) == 1
    began = asyncio.get_running_loop().time()
    (await quotas.acquire(KEY, Quota(1))).answered(0)
    assert asyncio.get_running_loop().time() - began < 0.01


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("slowest", "age", "returns"),
    [
        (0.1, 0.0, 1.5),  # at least half a second to arrive
        (0.8, 0.0, 1.8),  # or as long as the slowest recent round trip
        (0.8, 0.3, 1.5),
        (9.0, 0.0, 2.0),  # but no longer than a window
        (0.1, 5.0, 1.0),  # it arrived long ago
        (0.1, None, 1.0),  # nothing was sent: only the other permit is waited for
    ],
)
async def test_an_abandoned_request_may_still_arrive(slowest: float, age: float | None, returns: float) -> None:
    quotas, loop = WindowQuotas(), asyncio.get_running_loop()
    (await quotas.acquire(KEY, Quota(2))).answered(slowest)
    (await quotas.acquire(KEY, Quota(2))).abandoned(age)
    began = loop.time()
    await quotas.acquire(KEY, Quota(2))
    await quotas.acquire(KEY, Quota(2))
    assert loop.time() - began == pytest.approx(returns, abs=0.001)


@pytest.mark.looptime
async def test_a_limit_may_be_set() -> None:
    quotas, vendor = WindowQuotas({"StopWebcast": 10}), SimulatedVendor(0.0, 0.0)
    await asyncio.gather(*(call(KeyWindow(quotas, Quota(150)), vendor) for _ in range(40)))
    assert vendor.max_in_a_second == 10


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "9"])
def test_a_wrong_limit_is_named(limit: int) -> None:
    with pytest.raises(ConfigurationError, match="StopWebcast"):
        WindowQuotas({"StopWebcast": limit})


def test_a_store_belongs_to_one_loop() -> None:
    quotas = WindowQuotas()

    async def acquire() -> None:
        await quotas.acquire(KEY, Quota(1))

    asyncio.run(acquire())
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(acquire())


def test_the_default_store_is_one_per_loop() -> None:
    async def stores() -> tuple[WindowQuotas, WindowQuotas]:
        return default_quotas(), default_quotas()

    first, second = asyncio.run(stores()), asyncio.run(stores())
    assert first[0] is first[1]
    assert second[0] is second[1]
    assert first[0] is not second[0]


@pytest.mark.slow
def test_consecutive_loops_share_a_quota() -> None:
    """A program that calls ``asyncio.run`` for every job sends no more than one that does not."""
    key = QuotaKey("volcengine", "one loop after the other", "StopWebcast")

    async def job(answered: bool) -> None:
        permit = await default_quotas().acquire(key, Quota(5))
        if answered:
            permit.answered(0.0)

    began = time.monotonic()
    for number in range(12):
        asyncio.run(job(answered=number % 3 > 0))
    assert time.monotonic() - began >= 2


def test_virtual_loops_do_not_inherit() -> None:
    """The times of one mean nothing to another."""
    key = QuotaKey("volcengine", "virtual", "StopWebcast")

    async def acquire() -> float:
        for _ in range(3):
            (await default_quotas().acquire(key, Quota(3))).answered(0)
        return asyncio.get_running_loop().time()

    for _ in range(2):
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            assert runner.run(acquire()) < 0.1


def test_threads_may_each_have_a_loop() -> None:
    """Stores come and go with their loops, at the same time."""
    key = QuotaKey("volcengine", "threads", "StopWebcast")

    async def acquire() -> None:
        (await default_quotas().acquire(key, Quota(1000))).answered(0)

    def work() -> None:
        for _ in range(50):
            asyncio.run(acquire())

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work) for _ in range(4)]:
            future.result()


#: From Python 3.12 on, a loop may start tasks eagerly.
FACTORIES = {None, getattr(asyncio, "eager_task_factory", None)}


@pytest.mark.slow
@pytest.mark.parametrize("factory", FACTORIES)
def test_any_task_factory(factory: Any) -> None:
    """Calls that wait get a permit, however tasks are started."""
    quotas = WindowQuotas()

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        async with asyncio.timeout(5):
            for _ in range(300):
                (await quotas.acquire(KEY, Quota(1000))).answered(0)

    asyncio.run(main())


@pytest.mark.no_coverage
@given(
    limit=st.integers(1, 30),
    low=st.floats(0, 0.2),
    jitter=st.floats(0, 0.008),
    plan=st.lists(
        st.tuples(st.floats(0, 0.4), st.integers(1, 60), st.integers(0, 59)),
        min_size=1,
        max_size=8,
    ),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_no_second_is_ever_above_the_quota(
    limit: int, low: float, jitter: float, plan: list[tuple[float, int, int]], seed: int
) -> None:
    """Bursts, pauses and cancelled calls in any order, at any delay: the vendor never counts more than the quota."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(low, low + jitter, seed)

    async def main() -> None:
        tasks: list[asyncio.Task[bool]] = []
        for pause, calls, cancelled in plan:
            begun = [asyncio.create_task(call(KeyWindow(quotas, Quota(limit)), vendor)) for _ in range(calls)]
            tasks += begun
            await asyncio.sleep(pause)
            for task in begun[:cancelled]:
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]

    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(main())
    assert vendor.max_in_a_second <= limit


@pytest.mark.looptime
async def test_a_window_may_be_longer_than_a_second() -> None:
    quotas, loop = WindowQuotas(), asyncio.get_running_loop()
    (await quotas.acquire(KEY, Quota(1, window=5.0))).answered(0.0)
    began = loop.time()
    await quotas.acquire(KEY, Quota(1, window=5.0))
    assert loop.time() - began == pytest.approx(5, abs=0.01)


def test_permits_of_several_loops_are_inherited() -> None:
    quotas = WindowQuotas()

    async def acquire() -> None:
        await quotas.acquire(KEY, Quota(2))

    began = time.monotonic()
    for _ in range(2):
        quotas.inherit_permits({KEY: [began + 0.2]})
    asyncio.run(acquire())
    assert 0.2 <= time.monotonic() - began < 0.5


def quotas_of_ended_loops() -> set[QuotaKey]:
    """Return the quotas whose permits are still out in the stores of closed loops."""
    return {key for loop, store in window._stores.items() if loop.is_closed() for key in store.permit_return_times()}


@pytest.mark.slow
def test_a_quota_outlives_a_loop_that_does_not_use_it() -> None:
    """The requests of one loop still count if the next one uses another quota or none, or is virtual."""
    key, other = (QuotaKey("volcengine", "unused in between", action) for action in ("StopWebcast", "StopDetection"))

    async def acquire(key: QuotaKey) -> None:
        (await default_quotas().acquire(key, Quota(1))).answered(0)

    async def acquire_nothing() -> None:
        default_quotas()

    asyncio.run(acquire(key))
    began = time.monotonic()
    assert quotas_of_ended_loops() == {key}
    asyncio.run(acquire(other))
    asyncio.run(acquire_nothing())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(acquire(key))
    asyncio.run(acquire(key))
    assert time.monotonic() - began >= 0.98
    time.sleep(1.05)
    assert quotas_of_ended_loops() == set()  # rooms come and go


def test_real_and_virtual_loops_do_not_inherit_from_each_other() -> None:
    key = QuotaKey("volcengine", "real and virtual", "StopWebcast")

    async def acquire(ahead: float = 0.0) -> None:
        await asyncio.sleep(ahead)
        async with asyncio.timeout(0.5):
            (await default_quotas().acquire(key, Quota(1))).answered(0)

    asyncio.run(acquire())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(acquire())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(acquire(ahead=time.monotonic() + 100))
    key = QuotaKey("volcengine", "virtual and real", "StopWebcast")
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(acquire(ahead=time.monotonic() + 100))
    asyncio.run(acquire())


async def test_waiters_fail_if_the_granter_is_cancelled() -> None:
    """As all tasks are at the end of a program."""
    quotas = WindowQuotas()
    await quotas.acquire(KEY, Quota(1))
    waiting = asyncio.create_task(quotas.acquire(KEY, Quota(1)))
    await asyncio.sleep(0.01)
    granter = quotas._windows[KEY]._granter
    assert granter is not None
    granter.cancel()
    with pytest.raises(QuotaUnavailable, match="ended: CancelledError"):
        await waiting


def test_round_trips_of_the_last_minute() -> None:
    trips = RoundTrips()
    for _ in range(99):
        trips.add(0.05, 0.0)
    assert trips.credit == 0  # too few answers
    trips.add(0.05, 0.0)
    assert trips.credit == pytest.approx(0.04)
    trips.add(9.0, 1.0)
    assert trips.remaining_transit(1.0, 60.0) == 8
    trips.add(0.1, 61.0)
    assert trips.remaining_transit(0.1, 60.0) == pytest.approx(0.4)
    assert trips.credit == 0


class CoarseLoop:
    """An event loop like uvloop's, whose clock shows whole milliseconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.call_at, self.create_future, self.create_task = loop.call_at, loop.create_future, loop.create_task

    def time(self) -> float:
        return int(self._loop.time() * 1000) / 1000


@pytest.mark.looptime
async def test_a_coarse_clock_returns_no_permit_early() -> None:
    """The first call of a permit is answered just before the clock turns, the next one is sent just after."""
    loop = asyncio.get_running_loop()
    limited: Any = LocalWindow(Quota(1), CoarseLoop(loop), 0.1, [])  # type: ignore[arg-type]
    permit = await limited.acquire("interactive")
    await asyncio.sleep(0.0009)
    permit.answered(0.0)
    answered_at = loop.time()
    await limited.acquire("interactive")
    assert loop.time() - answered_at >= 1
