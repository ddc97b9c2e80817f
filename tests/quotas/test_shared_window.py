"""Processes that share a quota through a real store, in virtual time: never above it, and almost none of it wasted."""

import asyncio
import contextlib
import random
from collections import Counter

import pytest
from redis import Redis

from tests.quotas.judge import Judge, call
from tests.quotas.processes import Processes
from volc_moderation import ConfigurationError, QuotaUnavailable
from volc_moderation.quotas import Permit, Priority, Quota
from volc_moderation.quotas.shared_permit import LEASE, MARGIN, Moment, SharedPermit, boot_time
from volc_moderation.quotas.shared_window import AGAIN, Outage, SharedWindow

pytestmark = pytest.mark.looptime

AWAY = ConnectionError("gone")


def now() -> float:
    return asyncio.get_running_loop().time()


async def keep_calling(process: SharedWindow, judge: Judge, until: float, callers: int = 60) -> int:
    """Call as fast as it goes, and return how often."""

    async def caller() -> int:
        calls = 0
        while now() < until:
            with contextlib.suppress(QuotaUnavailable):
                await call(process, judge)
                calls += 1
                continue
            await asyncio.sleep(0.1)
        return calls

    return sum(await asyncio.gather(*(caller() for _ in range(callers))))


@pytest.mark.parametrize(("number", "low", "high", "share"), [(1, 0.02, 0.05, 0.94), (4, 0.02, 0.05, 0.94)])
async def test_full_speed_without_a_breach(redis: Redis, number: int, low: float, high: float, share: float) -> None:
    """Measured after the first hundred answers of each process, before which no permit returns early."""
    processes, judge = Processes(redis, Quota(150)), Judge(low, high)
    calls = await asyncio.gather(*(keep_calling(processes.start(), judge, 9) for _ in range(number)))
    assert judge.most <= 150
    assert judge.share(150, 4.5, 9) >= share
    assert max(calls) / min(calls) < 1.15
    assert processes.scripts / sum(calls) < 1


@pytest.mark.parametrize("seed", range(2))
async def test_cold_starts_do_not_breach(redis: Redis, seed: int) -> None:
    """Processes that come one after the other."""
    processes, judge = Processes(redis, Quota(60), seed=seed), Judge(0.02, 0.05, seed)
    running = []
    for _ in range(5):
        running.append(asyncio.create_task(keep_calling(processes.start(), judge, 6, callers=30)))
        await asyncio.sleep(random.Random(seed).uniform(0, 0.8))
    await asyncio.gather(*running)
    assert judge.most <= 60


async def test_a_clock_that_is_off_changes_nothing(redis: Redis) -> None:
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    ahead = (0.0, 0.5, -0.5, 3600.0)
    calls = await asyncio.gather(*(keep_calling(processes.start(ahead=by), judge, 8, 30) for by in ahead))
    assert judge.most <= 60
    assert judge.share(60) >= 0.9
    assert max(calls) / min(calls) < 1.3


@pytest.mark.parametrize("limit", [1, 3])
async def test_few_permits_are_shared_fairly(redis: Redis, limit: int) -> None:
    processes, judge = Processes(redis, Quota(limit)), Judge(0.02, 0.05)
    calls = await asyncio.gather(*(keep_calling(processes.start(), judge, 40, 8) for _ in range(3)))
    assert judge.most <= limit
    assert judge.share(limit) >= 0.8
    assert max(calls) - min(calls) <= 3 + 0.1 * max(calls)


async def test_a_window_may_be_longer_than_a_second(redis: Redis) -> None:
    """As that of a room at ZEGO: once in ten seconds."""
    processes, judge = Processes(redis, Quota(1, window=10.0)), Judge(0.02, 0.05)
    await asyncio.gather(*(keep_calling(processes.start(), judge, 50, 2) for _ in range(2)))
    gaps = [later - earlier for earlier, later in zip(judge.arrivals, judge.arrivals[1:], strict=False)]
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
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    process, other = processes.start(), processes.start()
    calls = [asyncio.create_task(call(process, judge)) for _ in range(500)]
    rest = asyncio.create_task(keep_calling(other, judge, 10))
    await asyncio.sleep(3)
    for one in calls:
        one.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) > 300
    assert process.state().waiters == 0
    await rest
    assert judge.most <= 60
    assert judge.share(60, 5, 10) >= 0.9
    assert process.is_idle()


async def test_nobody_is_asked_while_nobody_waits(redis: Redis) -> None:
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    process = processes.start()
    await asyncio.gather(*(call(process, judge) for _ in range(10)))
    await asyncio.sleep(2)
    scripts = processes.scripts
    await asyncio.sleep(600)
    assert processes.scripts == scripts
    assert len(asyncio.all_tasks()) == 1
    assert redis.zcard("{test}:held") == 0


@pytest.mark.parametrize("window", [1.0, 10.0])
async def test_the_permits_of_a_dead_process_return_by_themselves(redis: Redis, window: float) -> None:
    """A window after the last moment at which it may have sent something with them."""
    processes, judge = Processes(redis, Quota(1, window=window)), Judge(0.02, 0.05)
    dead, alive = processes.start(), processes.start()
    held = await dead.acquire("interactive")
    assert isinstance(held, SharedPermit)
    assert dead._task is not None
    dead._task.cancel()
    died = now()
    waiting = asyncio.create_task(call(alive, judge))
    while held.is_valid():
        await asyncio.sleep(0.1)
    sent = now()
    await waiting
    assert sent - died == pytest.approx(LEASE - MARGIN, abs=0.2)
    assert now() - died == pytest.approx(LEASE + window, abs=0.5)


async def test_a_request_that_takes_long_keeps_its_permit(redis: Redis) -> None:
    """Longer than the store would remember a process that is silent."""
    processes, judge = Processes(redis, Quota(1)), Judge(0.02, 0.05)
    slow, other = processes.start(), processes.start()
    permit = await slow.acquire("interactive")
    waiting = asyncio.create_task(call(other, judge))
    await asyncio.sleep(4 * LEASE)
    assert not waiting.done()
    permit.answered(4 * LEASE)
    answered = now()
    await waiting
    assert now() - answered == pytest.approx(1.1, abs=0.1)


async def with_stock(process: SharedWindow, *, answered: int) -> tuple[list[Permit], list[asyncio.Task[Permit]]]:
    """Hold all of a quota of 60 while two calls wait, until the store gives ahead what returns of those answered."""
    held = [await process.acquire("interactive") for _ in range(60)]
    waiting = [asyncio.create_task(process.acquire("interactive")) for _ in range(2)]
    await asyncio.sleep(0.1)
    for permit in held[:answered]:
        permit.answered(0.01)
    await asyncio.sleep(0.5)
    assert process._stock
    return held[answered:], waiting


async def test_what_a_process_held_too_long_is_not_used(redis: Redis) -> None:
    """It stood still, as a laptop that sleeps: others may have its permits by now."""
    process = Processes(redis, Quota(60)).start()
    _, waiting = await with_stock(process, answered=60)
    stock = process._stock
    for permit in stock:
        permit.told = Moment(permit.told.loop - LEASE, permit.told.boot)  # as if it had heard of them long ago
    stale = {permit.id for permit in stock}
    used = await asyncio.gather(*waiting)
    assert not stale & {getattr(permit, "id", "") for permit in used}


async def test_a_store_that_forgot_all_is_not_believed(redis: Redis) -> None:
    """By a restart without its memory, or a failover to a replica that was behind."""
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(processes.start(), judge, 20, 40)) for _ in range(3)]
    for _ in range(4):
        await asyncio.sleep(4)
        processes.forget()
    await asyncio.gather(*running)
    assert judge.most <= 60
    assert judge.share(60, 18, 20) >= 0.9


async def test_what_a_store_gave_ahead_before_it_forgot_all_is_not_used(redis: Redis) -> None:
    """It may give the same again, to another process."""
    processes = Processes(redis, Quota(60))
    process = processes.start()
    held, waiting = await with_stock(process, answered=30)
    ahead = {permit.id for permit in process._stock}
    processes.forget()
    held[0].answered(0.01)  # of which the store is told soon, before what it gave ahead begins
    await asyncio.sleep(0.2)
    assert not ahead & {permit.id for permit in process._stock}
    used = await asyncio.gather(*waiting)
    assert not ahead & {getattr(permit, "id", "") for permit in used}


@pytest.mark.parametrize("has_returns", [False, True])
async def test_closing_does_not_wait_for_a_store_that_is_away(redis: Redis, has_returns: bool) -> None:
    processes = Processes(redis, Quota(60))
    process = processes.start()
    permit = await process.acquire("interactive")
    processes.away = AWAY
    with contextlib.suppress(QuotaUnavailable):
        async with asyncio.timeout(1):
            for _ in range(3):
                await process.acquire("interactive")
    if has_returns:
        permit.answered(0.01)
    processes.away, processes._slow = None, 60  # from now on it says nothing
    began = now()
    await process.close()
    assert now() - began < 0.5


async def test_away_means_an_error_at_once(redis: Redis) -> None:
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    process = processes.start()
    await call(process, judge)
    processes.away = AWAY
    began = now()
    outcomes = await asyncio.gather(*(call(process, judge) for _ in range(100)), return_exceptions=True)
    assert Counter(map(type, outcomes)) == {QuotaUnavailable: 100}
    assert len({id(outcome) for outcome in outcomes}) == 100  # each its own: a traceback belongs to one call
    assert now() - began < 0.1
    with pytest.raises(QuotaUnavailable, match="ConnectionError: gone"):
        await call(process, judge)
    assert now() - began < 0.1
    processes.away = None
    await asyncio.sleep(AGAIN)
    await call(process, judge)


async def test_a_store_that_does_not_answer_is_away(redis: Redis) -> None:
    processes = Processes(redis, Quota(60), slow=60)
    process = processes.start()
    with pytest.raises(QuotaUnavailable, match="TimeoutError"):
        await process.acquire("interactive")
    assert now() == pytest.approx(1, abs=0.01)


async def test_calls_may_wait_for_the_store(redis: Redis) -> None:
    processes, judge = Processes(redis, Quota(60), outage="wait"), Judge(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(processes.start(), judge, 20, 40)) for _ in range(2)]
    await asyncio.sleep(5)
    processes.away = AWAY
    await asyncio.sleep(4)
    processes.away = None
    calls = await asyncio.gather(*running)
    assert judge.most <= 60
    assert not [at for at in judge.arrivals if 6 < at < 9]
    assert judge.share(60, 12, 20) >= 0.9
    assert min(calls) > 300


async def test_processes_may_go_on_with_their_share(redis: Redis) -> None:
    """Away for five seconds: each has a third of the quota, after what was sent before is forgotten."""
    processes, judge = Processes(redis, Quota(60), outage="share", processes=3), Judge(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(processes.start(), judge, 25, 40)) for _ in range(3)]
    await asyncio.sleep(5)
    processes.away = AWAY
    await asyncio.sleep(8)
    processes.away = None
    await asyncio.gather(*running)
    assert judge.most <= 60
    assert judge.share(60, 9, 13) >= 0.8
    assert judge.share(60, 18, 25) >= 0.9


async def test_who_waits_for_the_share_is_not_refused(redis: Redis) -> None:
    """However long that takes: the first come when what was sent before is forgotten, the others one a second."""
    processes = Processes(redis, Quota(2), outage="share", processes=2)
    processes.away = AWAY
    process, loop = processes.start(), asyncio.get_running_loop()
    began, times = loop.time(), []
    for permit in asyncio.as_completed([process.acquire("interactive") for _ in range(4)]):
        (await permit).answered(0.02)
        times.append(loop.time() - began)
    assert times[0] > 2
    assert 3 <= times[3] - times[0] < 4


async def test_a_share_of_less_than_one_call_is_none(redis: Redis) -> None:
    processes = Processes(redis, Quota(1), outage="share", processes=2)
    processes.away = AWAY
    with pytest.raises(QuotaUnavailable):
        await processes.start().acquire("interactive")


async def test_a_refusal_shrinks_the_quota_of_all_once(redis: Redis) -> None:
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


async def test_an_unpublished_quota_is_learned_by_all(redis: Redis) -> None:
    processes, judge = Processes(redis, Quota(20, published=False)), Judge(0.02, 0.05, limit=40)
    one, other = processes.start(), processes.start()
    await asyncio.gather(*(keep_calling(process, judge, 40, 30) for process in (one, other)))
    assert judge.share(40, 32, 40) >= 0.8
    assert judge.refused / len(judge.arrivals) < 0.02
    newcomer = processes.start()
    await newcomer.acquire("interactive")
    assert newcomer.state().effective > 30


async def test_a_store_that_answers_nonsense_is_away(redis: Redis) -> None:
    async def exchange(_: str) -> object:
        return b"OK"

    process = Processes(redis, Quota(60)).start()
    process._exchange = exchange
    with pytest.raises(QuotaUnavailable):
        await process.acquire("interactive")


async def test_a_permit_may_be_answered_while_the_store_is_told_that_it_is_not(redis: Redis) -> None:
    process = Processes(redis, Quota(1), slow=0.5).start()
    permit = await process.acquire("interactive")
    await asyncio.sleep(LEASE / 2)
    permit.answered(LEASE / 2)
    await asyncio.sleep(1)
    async with asyncio.timeout(3):
        await process.acquire("interactive")


@pytest.mark.parametrize("outage", ["raise", "wait", "share"])
async def test_all_may_be_cancelled_while_the_store_is_away(redis: Redis, outage: Outage) -> None:
    """Who is cancelled notices it later than the one who refuses."""
    processes = Processes(redis, Quota(60), outage=outage)
    process = processes.start()
    (await process.acquire("interactive")).answered(0.01)
    processes.away = AWAY
    first = asyncio.create_task(process.acquire("interactive"))
    await asyncio.sleep(0.1)
    waiters = [asyncio.create_task(process.acquire("interactive")) for _ in range(10)]
    await asyncio.sleep(0)  # they are in the line, and the one who refuses has not looked yet
    for waiter in (first, *waiters):
        waiter.cancel()
    await asyncio.gather(first, *waiters, return_exceptions=True)
    assert process.state().waiters == 0
    processes.away = None
    await asyncio.sleep(2)
    async with asyncio.timeout(3):
        await process.acquire("interactive")


async def test_nobody_waits_for_an_asker_that_was_cancelled(redis: Redis) -> None:
    """As all tasks are at the end of a program: who was not cancelled gets an error, not somebody else's end."""
    process = Processes(redis, Quota(1)).start()
    await process.acquire("interactive")
    waiting = asyncio.create_task(process.acquire("interactive"))
    await asyncio.sleep(0.1)
    assert process._task is not None
    process._task.cancel()
    with pytest.raises(QuotaUnavailable, match="was cancelled"):
        await waiting


async def test_a_fault_of_ours_is_an_error_of_who_waits(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """And of nobody who asks later."""
    process = Processes(redis, Quota(1)).start()

    def broken(now: float) -> dict[str, object]:
        raise ArithmeticError("a bug")

    process._ask, kept = broken, process._ask  # type: ignore[method-assign]
    with pytest.raises(QuotaUnavailable, match="the quota of the store failed: ArithmeticError"):
        await process.acquire("interactive")
    assert "a bug" in caplog.text
    process._ask = kept  # type: ignore[method-assign]
    await process.acquire("interactive")


# Clocks that step


@pytest.mark.parametrize("step", [-60.0, 0.5, 3600.0])
async def test_a_step_of_the_stores_clock_changes_nothing(redis: Redis, step: float) -> None:
    """Neither a breach nor a pause, nobody is refused or cancelled."""
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    running = [asyncio.create_task(keep_calling(processes.start(), judge, 12, 40)) for _ in range(3)]
    for at in (4, 8):
        await asyncio.sleep(at - now())
        processes.stepped += step
    calls = await asyncio.gather(*running)
    assert judge.most <= 60
    assert judge.share(60, 4, 12) >= 0.9
    assert max(calls) / min(calls) < 1.3


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_who_comes_after_a_step_gets_no_more(redis: Redis, step: float) -> None:
    """It cannot know how long ago the others called: what it asks first does not move the clock."""
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    first = processes.start()
    await asyncio.gather(*(call(first, judge) for _ in range(60)))
    processes.stepped += step
    await asyncio.gather(*(call(processes.start(), judge) for _ in range(60)))
    assert judge.most <= 60
    assert now() < 3


@pytest.mark.parametrize("idle", [1.0, 600.0])
async def test_who_comes_after_a_pause_learns_what_time_it_is(redis: Redis, idle: float) -> None:
    """With a newcomer the clock stands still: what it brings back then is not early when the clock goes on."""
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    first = processes.start()
    await call(first, judge)
    await asyncio.sleep(idle)
    second = processes.start()
    began = now()
    for _ in range(6):
        await asyncio.gather(*(call(second, judge) for _ in range(60)))
        await asyncio.gather(*(call(first, judge) for _ in range(60)))
    assert judge.most <= 60
    assert now() - began < 14


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_step_between_a_newcomer_and_one_that_comes_back(redis: Redis, step: float) -> None:
    """What went by before the newcomer is lost, and one that was idle since vouches for more than the clock has."""
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    first = processes.start()
    await call(first, judge)
    await asyncio.sleep(600)
    second = processes.start()
    await asyncio.gather(*(call(second, judge) for _ in range(60)))
    processes.stepped += step
    await asyncio.gather(*(call(first, judge) for _ in range(60)))
    assert judge.most <= 60


async def test_who_was_idle_during_a_step_does_not_believe_in_it(redis: Redis) -> None:
    """An hour of its own does not mean that an hour has passed since the others called."""
    processes, judge = Processes(redis, Quota(60)), Judge(0.02, 0.05)
    idle, busy = processes.start(), processes.start()
    await call(idle, judge)
    await asyncio.sleep(3600)
    await asyncio.gather(*(call(busy, judge) for _ in range(60)))
    processes.stepped += 3600
    await asyncio.gather(*(call(idle, judge) for _ in range(60)))
    assert judge.most <= 60
    assert now() < 3604


async def test_an_hour_without_calls_is_an_hour(redis: Redis) -> None:
    """A quota that was shrunk is whole again."""
    processes = Processes(redis, Quota(100))
    process = processes.start()
    for _ in range(9):
        (await process.acquire("interactive")).throttled(0.05)
        await asyncio.sleep(1.1)
    assert process.state().effective < 50
    await asyncio.sleep(3600)
    (await process.acquire("interactive")).answered(0.05)
    assert process.state().effective == 100


# JobSummary still


async def test_a_permit_is_not_used_that_the_store_may_have_given_to_another(redis: Redis) -> None:
    """A process was stopped (SIGSTOP), or its machine slept, which the loop's clock does not tell."""
    processes = Processes(redis, Quota(60))
    process = processes.start()
    permit = await process.acquire("interactive")
    assert isinstance(permit, SharedPermit)
    assert permit.is_valid()
    permit.told = Moment(now() - LEASE + MARGIN - 0.01, boot_time())
    assert not permit.is_valid()
    permit.told = Moment(now(), boot_time() - LEASE + MARGIN - 0.01)
    assert not permit.is_valid()
    permit.told = Moment(now() - LEASE + MARGIN + 0.1, boot_time() - LEASE + MARGIN + 0.1)
    assert permit.is_valid()


async def test_a_permit_that_waits_at_the_gate_for_long_is_kept(redis: Redis) -> None:
    process = Processes(redis, Quota(60)).start()
    permit = await process.acquire("interactive")
    for _ in range(40):
        await asyncio.sleep(1)
        assert permit.is_valid()  # type: ignore[attr-defined]


# The end


async def test_closing_hears_what_the_store_was_just_asked_for(redis: Redis) -> None:
    """A call is cancelled during an exchange, then all ends: what the store gave meanwhile goes back at once."""
    processes = Processes(redis, Quota(5), slow=0.5)
    process, other = processes.start(), processes.start()
    waiting = [asyncio.create_task(process.acquire("interactive")) for _ in range(5)]
    await asyncio.sleep(0.6)  # the store has answered, and the answer is on its way
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


async def test_closing_does_not_lose_what_is_being_brought_back(redis: Redis) -> None:
    processes = Processes(redis, Quota(1), slow=0.5)
    process, other = processes.start(), processes.start()
    (await process.acquire("interactive")).answered(0.01)
    await asyncio.sleep(0.2)  # it is on its way back
    await process.close()
    closed = now()
    await other.acquire("interactive")
    assert now() - closed < 4


async def test_closing_refuses_who_waits(redis: Redis) -> None:
    process = Processes(redis, Quota(1)).start()
    await process.acquire("interactive")
    waiting = [asyncio.create_task(process.acquire(priority)) for priority in ("interactive", "bulk")]
    await asyncio.sleep(0.1)
    await process.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == 2 * [ConfigurationError]
