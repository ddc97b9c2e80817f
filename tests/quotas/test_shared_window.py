"""Processes that share a quota through a real store, in virtual time: never above it, and almost none of it wasted."""

import asyncio
import contextlib
import random
from collections import Counter

import pytest
from redis import Redis

from tests.quotas.processes import Processes
from tests.quotas.vendor import SimulatedVendor, call, keep_calling
from volc_moderation import ConfigurationError, QuotaUnavailable
from volc_moderation.quotas import Permit, Priority, Quota
from volc_moderation.quotas.exchange import ExchangeReply, ExchangeRequest
from volc_moderation.quotas.machine import boot_time
from volc_moderation.quotas.shared_permit import PERMIT_LEASE, PERMIT_LEASE_MARGIN, ClockReading, SharedPermit
from volc_moderation.quotas.shared_window import SharedWindow
from volc_moderation.quotas.store_outage import RECONNECT_INTERVAL, Outage

pytestmark = pytest.mark.looptime

UNREACHABLE = ConnectionError("gone")


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.no_coverage
@pytest.mark.parametrize(("number", "low", "high", "share"), [(1, 0.02, 0.05, 0.94), (4, 0.02, 0.05, 0.94)])
async def test_full_speed_without_a_breach(redis: Redis, number: int, low: float, high: float, share: float) -> None:
    """Measured after the first hundred answers of each process, before which no permit returns early."""
    processes, vendor = Processes(redis, Quota(150)), SimulatedVendor(low, high)
    calls = await asyncio.gather(*(keep_calling(processes.start(), vendor, 9, counted_from=1.5) for _ in range(number)))
    assert vendor.max_in_a_second <= 150
    assert vendor.quota_share(150, 4.5, 9) >= share
    assert max(calls) / min(calls) < 1.15
    assert processes.exchanges / len(vendor.arrivals) < 1


@pytest.mark.no_coverage
@pytest.mark.parametrize("seed", range(2))
async def test_cold_starts_do_not_breach(redis: Redis, seed: int) -> None:
    """Processes that start one after the other."""
    processes, vendor = Processes(redis, Quota(60), seed=seed), SimulatedVendor(0.02, 0.05, seed)
    running = []
    for _ in range(5):
        running.append(asyncio.create_task(keep_calling(processes.start(), vendor, 6, callers=30)))
        await asyncio.sleep(random.Random(seed).uniform(0, 0.8))
    await asyncio.gather(*running)
    assert vendor.max_in_a_second <= 60


@pytest.mark.no_coverage
async def test_a_wrong_clock_of_a_process_changes_nothing(redis: Redis) -> None:
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    ahead = (0.0, 0.5, -0.5, 3600.0)
    calls = await asyncio.gather(
        *(keep_calling(processes.start(clock_ahead=by), vendor, 8, 30, counted_from=1.5) for by in ahead)
    )
    assert vendor.max_in_a_second <= 60
    assert vendor.quota_share(60) >= 0.9
    assert max(calls) / min(calls) < 1.3


@pytest.mark.no_coverage
@pytest.mark.parametrize("limit", [1, 3])
async def test_few_permits_are_shared_fairly(redis: Redis, limit: int) -> None:
    processes, vendor = Processes(redis, Quota(limit)), SimulatedVendor(0.02, 0.05)
    calls = await asyncio.gather(*(keep_calling(processes.start(), vendor, 40, 8) for _ in range(3)))
    assert vendor.max_in_a_second <= limit
    assert vendor.quota_share(limit) >= 0.8
    assert max(calls) - min(calls) <= 3 + 0.1 * max(calls)


@pytest.mark.no_coverage
async def test_a_window_may_be_longer_than_a_second(redis: Redis) -> None:
    """Such as that of a room at ZEGO: once in ten seconds."""
    processes, vendor = Processes(redis, Quota(1, window=10.0)), SimulatedVendor(0.02, 0.05)
    await asyncio.gather(*(keep_calling(processes.start(), vendor, 50, 2) for _ in range(2)))
    gaps = [later - earlier for earlier, later in zip(vendor.arrivals, vendor.arrivals[1:], strict=False)]
    assert len(gaps) >= 4
    assert min(gaps) >= 10


async def test_first_come_first_served_in_a_process(redis: Redis) -> None:
    process, order = Processes(redis, Quota(10)).start(), []

    async def numbered(number: int) -> None:
        permit = await process.acquire("interactive")
        order.append(number)
        permit.answered(0.01)

    await asyncio.gather(*(numbered(number) for number in range(50)))
    assert order == list(range(50))


async def test_interactive_calls_go_first_and_bulk_calls_get_their_share(redis: Redis) -> None:
    process = Processes(redis, Quota(10)).start()
    order: list[Priority] = []

    async def one(priority: Priority) -> None:
        permit = await process.acquire(priority)
        order.append(priority)
        permit.answered(0.01)

    await asyncio.gather(*(one("bulk") for _ in range(90)), *(one("interactive") for _ in range(90)))
    assert order[:100].count("bulk") == 10


async def test_cancelled_waiters_take_nothing_with_them(redis: Redis) -> None:
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    process, other = processes.start(), processes.start()
    calls = [asyncio.create_task(call(process, vendor)) for _ in range(500)]
    rest = asyncio.create_task(keep_calling(other, vendor, 10))
    await asyncio.sleep(3)
    for one in calls:
        one.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) > 300
    assert process.state().waiters == 0
    await rest
    assert vendor.max_in_a_second <= 60
    assert vendor.quota_share(60, 5, 10) >= 0.9
    assert process.is_idle()


async def test_the_store_is_not_used_while_no_call_waits(redis: Redis) -> None:
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    process = processes.start()
    await asyncio.gather(*(call(process, vendor) for _ in range(10)))
    await asyncio.sleep(2)
    scripts = processes.exchanges
    await asyncio.sleep(600)
    assert processes.exchanges == scripts
    assert len(asyncio.all_tasks()) == 1
    assert redis.zcard("{test}:held") == 0


@pytest.mark.parametrize("window", [1.0, 10.0])
async def test_the_permits_of_a_dead_process_return_by_themselves(redis: Redis, window: float) -> None:
    """They return a window after the last moment at which the process may have used them."""
    processes, vendor = Processes(redis, Quota(1, window=window)), SimulatedVendor(0.02, 0.05)
    dead, alive = processes.start(), processes.start()
    held = await dead.acquire("interactive")
    assert isinstance(held, SharedPermit)
    assert dead._task is not None
    dead._task.cancel()
    died = now()
    waiting = asyncio.create_task(call(alive, vendor))
    while held.is_valid():
        await asyncio.sleep(0.1)
    sent = now()
    await waiting
    assert sent - died == pytest.approx(PERMIT_LEASE - PERMIT_LEASE_MARGIN, abs=0.2)
    assert now() - died == pytest.approx(PERMIT_LEASE + window, abs=0.5)


async def test_a_request_that_takes_long_keeps_its_permit(redis: Redis) -> None:
    """It takes longer than the lease of a silent process."""
    processes, vendor = Processes(redis, Quota(1)), SimulatedVendor(0.02, 0.05)
    slow, other = processes.start(), processes.start()
    permit = await slow.acquire("interactive")
    waiting = asyncio.create_task(call(other, vendor))
    await asyncio.sleep(4 * PERMIT_LEASE)
    assert not waiting.done()
    permit.answered(4 * PERMIT_LEASE)
    answered = now()
    await waiting
    assert now() - answered == pytest.approx(1.1, abs=0.1)


async def prefetch_permits(process: SharedWindow, *, answered: int) -> tuple[list[Permit], list[asyncio.Task[Permit]]]:
    """Use all of a quota of 60 while two calls wait, until the store grants answered permits ahead of time."""
    held = [await process.acquire("interactive") for _ in range(60)]
    waiting = [asyncio.create_task(process.acquire("interactive")) for _ in range(2)]
    await asyncio.sleep(0.1)
    for permit in held[:answered]:
        permit.answered(0.01)
    await asyncio.sleep(0.5)
    assert process._prefetched
    return held[answered:], waiting


async def test_a_permit_that_was_prefetched_too_long_ago_is_not_used(redis: Redis) -> None:
    """The process stood still, as on a laptop that sleeps: others may have its permits by now."""
    process = Processes(redis, Quota(60)).start()
    _, waiting = await prefetch_permits(process, answered=60)
    prefetched = process._prefetched
    for permit in prefetched:
        permit.renewed_at = ClockReading(
            permit.renewed_at.loop - PERMIT_LEASE, permit.renewed_at.boot
        )  # as if they had been granted long ago
    stale = {permit.number for permit in prefetched}
    used = await asyncio.gather(*waiting)
    assert not stale & {getattr(permit, "number", "") for permit in used}


async def test_a_store_that_loses_its_data_causes_no_breach(redis: Redis) -> None:
    """By a restart without persistence, or a failover to a replica that was behind."""
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(processes.start(), vendor, 21, 40)) for _ in range(3)]
    for _ in range(4):
        await asyncio.sleep(4)
        processes.lose_data()
    await asyncio.gather(*running)
    assert vendor.max_in_a_second <= 60
    assert vendor.quota_share(60, 19, 21) >= 0.9


async def test_permits_prefetched_before_the_store_lost_its_data_are_not_used(redis: Redis) -> None:
    """The store may grant the same permits again, to another process."""
    processes = Processes(redis, Quota(60))
    process = processes.start()
    held, waiting = await prefetch_permits(process, answered=30)
    prefetched = {permit.number for permit in process._prefetched}
    processes.lose_data()
    held[0].answered(0.01)  # reported to the store before the prefetched permits may be used
    await asyncio.sleep(0.2)
    assert not prefetched & {permit.number for permit in process._prefetched}
    used = await asyncio.gather(*waiting)
    assert not prefetched & {getattr(permit, "number", "") for permit in used}


@pytest.mark.parametrize("has_returns", [False, True])
async def test_closing_does_not_wait_for_an_unavailable_store(redis: Redis, has_returns: bool) -> None:
    processes = Processes(redis, Quota(60))
    process = processes.start()
    permit = await process.acquire("interactive")
    processes.error = UNREACHABLE
    with contextlib.suppress(QuotaUnavailable):
        async with asyncio.timeout(1):
            for _ in range(3):
                await process.acquire("interactive")
    if has_returns:
        permit.answered(0.01)
    processes.error, processes._max_delay = None, 60  # from now on it does not reply
    began = now()
    await process.close()
    assert now() - began < 0.5


async def test_an_unavailable_store_is_an_error_at_once(redis: Redis) -> None:
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    process = processes.start()
    await call(process, vendor)
    processes.error = UNREACHABLE
    began = now()
    outcomes = await asyncio.gather(*(call(process, vendor) for _ in range(100)), return_exceptions=True)
    assert Counter(map(type, outcomes)) == {QuotaUnavailable: 100}
    assert len({id(outcome) for outcome in outcomes}) == 100  # one per call: a traceback belongs to one call
    assert now() - began < 0.1
    with pytest.raises(QuotaUnavailable, match="ConnectionError: gone"):
        await call(process, vendor)
    assert now() - began < 0.1
    processes.error = None
    await asyncio.sleep(RECONNECT_INTERVAL)
    await call(process, vendor)


async def test_a_store_that_does_not_reply_is_unavailable(redis: Redis) -> None:
    processes = Processes(redis, Quota(60), max_delay=60)
    process = processes.start()
    with pytest.raises(QuotaUnavailable, match="TimeoutError"):
        await process.acquire("interactive")
    assert now() == pytest.approx(1, abs=0.01)


@pytest.mark.no_coverage
async def test_calls_may_wait_for_the_store(redis: Redis) -> None:
    processes, vendor = Processes(redis, Quota(60), outage="wait"), SimulatedVendor(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(processes.start(), vendor, 20, 40)) for _ in range(2)]
    await asyncio.sleep(5)
    processes.error = UNREACHABLE
    await asyncio.sleep(4)
    processes.error = None
    calls = await asyncio.gather(*running)
    assert vendor.max_in_a_second <= 60
    assert not [at for at in vendor.arrivals if 6 < at < 9]
    assert vendor.quota_share(60, 12, 20) >= 0.9
    assert min(calls) > 300


@pytest.mark.no_coverage
async def test_processes_may_continue_with_their_share(redis: Redis) -> None:
    """During an outage, each has a third of the quota, once the vendor no longer counts earlier requests."""
    processes, vendor = Processes(redis, Quota(60), outage="share", processes=3), SimulatedVendor(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(processes.start(), vendor, 25, 40)) for _ in range(3)]
    await asyncio.sleep(5)
    processes.error = UNREACHABLE
    await asyncio.sleep(8)
    processes.error = None
    await asyncio.gather(*running)
    assert vendor.max_in_a_second <= 60
    assert vendor.quota_share(60, 9, 13) >= 0.8
    assert vendor.quota_share(60, 18, 25) >= 0.9


async def test_calls_that_wait_for_the_share_are_not_refused(redis: Redis) -> None:
    """However long it takes: the first go once the vendor has forgotten earlier requests, the others once a second."""
    processes = Processes(redis, Quota(2), outage="share", processes=2)
    processes.error = UNREACHABLE
    process, loop = processes.start(), asyncio.get_running_loop()
    began, times = loop.time(), []
    for permit in asyncio.as_completed([process.acquire("interactive") for _ in range(4)]):
        (await permit).answered(0.02)
        times.append(loop.time() - began)
    assert times[0] > 2
    assert 3 <= times[3] - times[0] < 4


async def test_a_share_of_less_than_one_call_is_an_error(redis: Redis) -> None:
    processes = Processes(redis, Quota(1), outage="share", processes=2)
    processes.error = UNREACHABLE
    with pytest.raises(QuotaUnavailable):
        await processes.start().acquire("interactive")


async def test_a_refusal_shrinks_the_quota_of_all_processes_once(redis: Redis) -> None:
    processes = Processes(redis, Quota(100))
    one, other = processes.start(), processes.start()
    for process in (one, other):
        for _ in range(3):
            (await process.acquire("interactive")).throttled(0.05)
    await asyncio.sleep(0.2)
    assert one.state().refused == other.state().refused == 3
    await other.acquire("interactive")
    assert other.state().effective in {85, 86}
    await asyncio.sleep(10)
    await one.acquire("interactive")
    assert one.state().effective == 100


@pytest.mark.no_coverage
async def test_all_processes_learn_an_unpublished_quota(redis: Redis) -> None:
    processes, vendor = Processes(redis, Quota(20, published=False)), SimulatedVendor(0.02, 0.05, limit=40)
    one, other = processes.start(), processes.start()
    await asyncio.gather(*(keep_calling(process, vendor, 40, 30) for process in (one, other)))
    assert vendor.quota_share(40, 32, 40) >= 0.8
    assert vendor.refused / len(vendor.arrivals) < 0.02
    newcomer = processes.start()
    await newcomer.acquire("interactive")
    assert newcomer.state().effective > 30


async def test_a_store_with_malformed_replies_is_unavailable(redis: Redis) -> None:
    async def exchange(_: ExchangeRequest) -> ExchangeReply:
        return ExchangeReply.parse(b"OK")

    process = Processes(redis, Quota(60)).start()
    process._exchange = exchange
    with pytest.raises(QuotaUnavailable):
        await process.acquire("interactive")


async def test_a_permit_may_be_answered_while_it_is_being_renewed(redis: Redis) -> None:
    process = Processes(redis, Quota(1), max_delay=0.5).start()
    permit = await process.acquire("interactive")
    await asyncio.sleep(PERMIT_LEASE / 2)
    permit.answered(PERMIT_LEASE / 2)
    await asyncio.sleep(1)
    async with asyncio.timeout(3):
        await process.acquire("interactive")


@pytest.mark.parametrize("outage", ["raise", "wait", "share"])
async def test_all_calls_may_be_cancelled_during_an_outage(redis: Redis, outage: Outage) -> None:
    """The task that fails the waiters runs before the cancelled calls."""
    processes = Processes(redis, Quota(60), outage=outage)
    process = processes.start()
    (await process.acquire("interactive")).answered(0.01)
    processes.error = UNREACHABLE
    first = asyncio.create_task(process.acquire("interactive"))
    await asyncio.sleep(0.1)
    waiters = [asyncio.create_task(process.acquire("interactive")) for _ in range(10)]
    await asyncio.sleep(0)  # they are queued, and the task that fails them has not run yet
    for waiter in (first, *waiters):
        waiter.cancel()
    await asyncio.gather(first, *waiters, return_exceptions=True)
    assert process.state().waiters == 0
    processes.error = None
    await asyncio.sleep(2)
    async with asyncio.timeout(3):
        await process.acquire("interactive")


async def test_waiters_fail_if_the_task_that_talks_to_the_store_is_cancelled(redis: Redis) -> None:
    """As all tasks are at the end of a program. Calls that were not cancelled get an error, not a cancellation."""
    process = Processes(redis, Quota(1)).start()
    await process.acquire("interactive")
    waiting = asyncio.create_task(process.acquire("interactive"))
    await asyncio.sleep(0.1)
    assert process._task is not None
    process._task.cancel()
    with pytest.raises(QuotaUnavailable, match="was cancelled"):
        await waiting


async def test_a_bug_of_ours_fails_the_waiters(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """It does not fail later calls."""
    process = Processes(redis, Quota(1)).start()

    def broken() -> int:
        raise ArithmeticError("a bug")

    process._missing, original = broken, process._missing  # type: ignore[method-assign]
    with pytest.raises(QuotaUnavailable, match="the quota of the store failed: ArithmeticError"):
        await process.acquire("interactive")
    assert "a bug" in caplog.text
    process._missing = original  # type: ignore[method-assign]
    await process.acquire("interactive")


# Steps of the store's clock


@pytest.mark.no_coverage
@pytest.mark.parametrize("step", [-60.0, 0.5, 3600.0])
async def test_a_step_of_the_stores_clock_changes_nothing(redis: Redis, step: float) -> None:
    """No breach, no pause, and no call refused or cancelled."""
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(processes.start(), vendor, 12, 40)) for _ in range(3)]
    for at in (4, 8):
        await asyncio.sleep(at - now())
        processes.clock_step += step
    calls = await asyncio.gather(*running)
    assert vendor.max_in_a_second <= 60
    assert vendor.quota_share(60, 4, 12) >= 0.9
    assert max(calls) / min(calls) < 1.3


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_new_process_after_a_step_gets_no_extra_permits(redis: Redis, step: float) -> None:
    """It cannot know how long ago the others called: its first exchange does not advance the clock."""
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    first = processes.start()
    await asyncio.gather(*(call(first, vendor) for _ in range(60)))
    processes.clock_step += step
    await asyncio.gather(*(call(processes.start(), vendor) for _ in range(60)))
    assert vendor.max_in_a_second <= 60
    assert now() < 3


@pytest.mark.no_coverage
@pytest.mark.parametrize("idle", [1.0, 600.0])
async def test_a_new_process_after_a_pause_causes_no_breach(redis: Redis, idle: float) -> None:
    """The clock stands still for a new process: permits returned then are not early when the clock advances again."""
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    first = processes.start()
    await call(first, vendor)
    await asyncio.sleep(idle)
    second = processes.start()
    began = now()
    for _ in range(6):
        await asyncio.gather(*(call(second, vendor) for _ in range(60)))
        await asyncio.gather(*(call(first, vendor) for _ in range(60)))
    assert vendor.max_in_a_second <= 60
    assert now() - began < 14


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_step_between_a_new_process_and_one_that_was_idle(redis: Redis, step: float) -> None:
    """The time before the new process is lost, and the idle one confirms more time than the clock has counted."""
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    first = processes.start()
    await call(first, vendor)
    await asyncio.sleep(600)
    second = processes.start()
    await asyncio.gather(*(call(second, vendor) for _ in range(60)))
    processes.clock_step += step
    await asyncio.gather(*(call(first, vendor) for _ in range(60)))
    assert vendor.max_in_a_second <= 60


async def test_a_process_that_was_idle_during_a_step_gets_no_extra_permits(redis: Redis) -> None:
    """An hour of its own does not mean that an hour has passed since the others called."""
    processes, vendor = Processes(redis, Quota(60)), SimulatedVendor(0.02, 0.05)
    idle, busy = processes.start(), processes.start()
    await call(idle, vendor)
    await asyncio.sleep(3600)
    await asyncio.gather(*(call(busy, vendor) for _ in range(60)))
    processes.clock_step += 3600
    await asyncio.gather(*(call(idle, vendor) for _ in range(60)))
    assert vendor.max_in_a_second <= 60
    assert now() < 3604


async def test_an_idle_hour_counts_as_an_hour(redis: Redis) -> None:
    """A quota that had shrunk is whole again."""
    processes = Processes(redis, Quota(100))
    process = processes.start()
    for _ in range(9):
        (await process.acquire("interactive")).throttled(0.05)
        await asyncio.sleep(1.1)
    assert process.state().effective < 50
    await asyncio.sleep(3600)
    (await process.acquire("interactive")).answered(0.05)
    assert process.state().effective == 100


# Processes that stand still


async def test_a_permit_near_the_end_of_its_lease_is_invalid(redis: Redis) -> None:
    """The process was stopped (SIGSTOP), or the machine slept, which the loop's clock does not show."""
    processes = Processes(redis, Quota(60))
    process = processes.start()
    permit = await process.acquire("interactive")
    assert isinstance(permit, SharedPermit)
    assert permit.is_valid()
    permit.renewed_at = ClockReading(now() - PERMIT_LEASE + PERMIT_LEASE_MARGIN - 0.01, boot_time())
    assert not permit.is_valid()
    permit.renewed_at = ClockReading(now(), boot_time() - PERMIT_LEASE + PERMIT_LEASE_MARGIN - 0.01)
    assert not permit.is_valid()
    permit.renewed_at = ClockReading(
        now() - PERMIT_LEASE + PERMIT_LEASE_MARGIN + 0.1, boot_time() - PERMIT_LEASE + PERMIT_LEASE_MARGIN + 0.1
    )
    assert permit.is_valid()


async def test_a_permit_that_waits_long_at_the_gate_stays_valid(redis: Redis) -> None:
    process = Processes(redis, Quota(60)).start()
    permit = await process.acquire("interactive")
    for _ in range(40):
        await asyncio.sleep(1)
        assert permit.is_valid()  # type: ignore[attr-defined]


# Closing


async def test_closing_waits_for_the_exchange_in_flight(redis: Redis) -> None:
    """Calls are cancelled during an exchange, then the window closes: the permits granted meanwhile return at once."""
    processes = Processes(redis, Quota(5), max_delay=0.5)
    process, other = processes.start(), processes.start()
    waiting = [asyncio.create_task(process.acquire("interactive")) for _ in range(5)]
    await asyncio.sleep(0.4)  # the store has replied, and the reply is in flight
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await process.close()
    closed = now()
    for _ in range(5):
        await other.acquire("interactive")
    assert now() - closed < 2.5
    with pytest.raises(ConfigurationError, match="these RedisQuotas are closed"):
        await process.acquire("interactive")


async def test_closing_does_not_lose_permits_that_are_being_returned(redis: Redis) -> None:
    processes = Processes(redis, Quota(1), max_delay=0.5)
    process, other = processes.start(), processes.start()
    (await process.acquire("interactive")).answered(0.01)
    await asyncio.sleep(0.2)  # the exchange that returns it is in flight
    await process.close()
    closed = now()
    await other.acquire("interactive")
    assert now() - closed < 4


async def test_closing_fails_the_waiters(redis: Redis) -> None:
    process = Processes(redis, Quota(1)).start()
    await process.acquire("interactive")
    waiting = [asyncio.create_task(process.acquire(priority)) for priority in ("interactive", "bulk")]
    await asyncio.sleep(0.1)
    await process.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == 2 * [ConfigurationError]
