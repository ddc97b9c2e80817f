"""Quotas that others use too: less after a refusal, more again later, and learned where they are not published."""

import asyncio
from typing import Any

import pytest

from tests.doubles import in_turn, mocked, volcengine_client, volcengine_no, zego_answer, zego_client
from tests.quotas.judge import KEY, Judge, Of, call
from volc_moderation import ModerationError, RetryPolicy, ThrottledError, WindowQuotas
from volc_moderation.quotas import Quota, QuotaKey, QuotaState
from volc_moderation.quotas.adaptive import MEMORY, Refusals

pytestmark = pytest.mark.looptime

TOO_MANY = volcengine_no("FlowLimitExceeded", status=429)
STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


async def keep_calling(window: Of, judge: Judge, seconds: float, callers: int = 60) -> None:
    end = asyncio.get_running_loop().time() + seconds

    async def caller() -> None:
        while asyncio.get_running_loop().time() < end:
            await call(window, judge)

    await asyncio.gather(*(caller() for _ in range(callers)))


async def rival(judge: Judge, rate: float, seconds: float) -> None:
    """Send at a steady rate, without a permit."""
    tasks = []
    for _ in range(int(rate * seconds)):
        tasks.append(asyncio.create_task(judge()))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_rival_is_given_way_and_its_part_is_taken_back() -> None:
    """30 of 75 calls a second come from elsewhere for a while."""
    quotas, judge = WindowQuotas(), Judge(0.02, 0.05, limit=75)
    now = asyncio.get_running_loop().time
    ours = asyncio.create_task(keep_calling(Of(quotas, Quota(75)), judge, 93))
    await asyncio.sleep(5)
    came = now()
    await rival(judge, 30, 50)
    left = now()
    sent = sum(came < at <= left for at in judge.arrivals) + judge.refused
    assert judge.refused / sent < 0.02
    assert judge.share(75, came, left) >= 0.9
    await ours
    assert judge.share(75, left + 30, left + 37) >= 0.94


async def test_it_shrinks_once_a_window_however_many_refusals() -> None:
    quotas = WindowQuotas()
    permits = [await quotas.acquire(KEY, Quota(100)) for _ in range(30)]
    for permit in permits:
        permit.throttled(0.05)
    state = quotas.snapshot()[KEY]
    assert (state.quota, state.effective, state.refused) == (100, 85, 30)
    await asyncio.sleep(1.01)
    (await quotas.acquire(KEY, Quota(100))).throttled(0.05)
    assert quotas.snapshot()[KEY].effective == 73  # 0.85 of 87


async def test_it_grows_back_to_the_documented_quota_and_no_further() -> None:
    quotas = WindowQuotas()
    (await quotas.acquire(KEY, Quota(100))).throttled(0.05)
    seen = []
    for _ in range(12):
        seen.append(quotas.snapshot()[KEY].effective)
        await asyncio.sleep(1)
    assert seen == [85, 87, 89, 91, 93, 95, 97, 99, 100, 100, 100, 100]


async def test_it_never_shrinks_to_nothing() -> None:
    quotas = WindowQuotas()
    for _ in range(20):
        (await quotas.acquire(KEY, Quota(2))).throttled(0.05)
        await asyncio.sleep(1)
    assert quotas.snapshot()[KEY].effective == 1


async def test_an_unpublished_quota_is_learned() -> None:
    """It begins at 20 a second; the vendor would allow 60."""
    quotas, judge = WindowQuotas(), Judge(0.02, 0.05, limit=60)
    quota = Quota(20, published=False)
    now = asyncio.get_running_loop().time
    began = now()
    await keep_calling(Of(quotas, quota), judge, 80)
    assert judge.share(20, began, began + 3) < 1.15
    assert judge.share(60, began + 60, began + 79) >= 0.85
    assert judge.refused / len(judge.arrivals) < 0.02


async def test_an_unpublished_quota_is_not_learned_while_nobody_waits() -> None:
    quotas = WindowQuotas()
    for _ in range(100):
        (await quotas.acquire(KEY, Quota(20, published=False))).answered(0.01)
        await asyncio.sleep(0.06)
    assert quotas.snapshot()[KEY].effective == 20


async def test_a_limit_that_was_set_is_not_learned() -> None:
    quotas, judge = WindowQuotas({"StopWebcast": 30}), Judge(0.02, 0.05)
    await keep_calling(Of(quotas, Quota(20, published=False)), judge, 20)
    assert judge.most == 30


async def test_a_snapshot_tells_how_it_stands() -> None:
    quotas = WindowQuotas()
    assert quotas.snapshot() == {}
    held = [await quotas.acquire(KEY, Quota(2)) for _ in range(2)]
    waiting = [asyncio.create_task(quotas.acquire(KEY, Quota(2))) for _ in range(3)]
    await asyncio.sleep(0)
    state = QuotaState(quota=2, effective=2, permits_out=2, waiters=3, refused=0)
    assert quotas.snapshot() == {KEY: state}
    held[0].throttled(0.1)
    assert quotas.snapshot()[KEY].refused == 1
    await asyncio.sleep(61)
    assert quotas.snapshot()[KEY].refused == 0  # only those of the last minute
    for one in waiting:
        one.cancel()


async def test_the_client_says_what_was_refused() -> None:
    quotas = WindowQuotas()
    async with mocked(lambda _: TOO_MANY) as http_client:
        client = volcengine_client(http_client=http_client, quotas=quotas, retry=RetryPolicy(attempts=1))
        with pytest.raises(ThrottledError):
            await client.stop_webcast(**STOP)
    (state,) = quotas.snapshot().values()
    assert (state.effective, state.refused) == (127, 1)  # 0.85 of 150


async def test_other_errors_say_nothing_of_the_quota() -> None:
    quotas = WindowQuotas()
    handler, _ = in_turn(volcengine_no("InternalError", status=500))
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, quotas=quotas, retry=RetryPolicy(attempts=1))
        with pytest.raises(ModerationError):
            await client.stop_webcast(**STOP)
    (state,) = quotas.snapshot().values()
    assert (state.effective, state.refused) == (150, 0)


@pytest.mark.parametrize(("code", "of_room"), [(207, True), (206, False)])
async def test_what_a_room_was_refused_does_not_shrink_the_action(code: int, of_room: bool) -> None:
    quotas = WindowQuotas()
    handler, _ = in_turn(zego_answer(code))
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client, quotas=quotas, retry=RetryPolicy(attempts=1))
        with pytest.raises(ThrottledError):
            await zego.describe_simple_stream_list(room_id="room")
    refused = {key.room: state.refused for key, state in quotas.snapshot().items()}
    assert refused == {"room": int(of_room), None: int(not of_room)}


async def test_what_was_learned_is_not_forgotten_with_the_idle() -> None:
    quotas = WindowQuotas()
    (await quotas.acquire(KEY, Quota(100))).throttled(0.05)
    await asyncio.sleep(2)
    for number in range(1100):
        (await quotas.acquire(QuotaKey("zego", "1", "DescribeUserList", str(number)), Quota(1))).answered(0.0)
    assert quotas.snapshot()[KEY].effective < 100


def test_refusals_are_forgotten_also_if_nobody_looks() -> None:
    """A vendor that refuses for a week leaves the figures of a minute."""
    refusals = Refusals()
    for second in range(10_000):
        refusals.add(second)
        refusals.add(second + 0.5)
    assert len(refusals._counts) <= MEMORY + 1
    assert refusals.at(9_999.5) == 2 * MEMORY
    assert refusals.at(10_100) == 0
