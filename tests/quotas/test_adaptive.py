"""Quotas that others use too: they shrink after a refusal, grow back later, and are learned if unpublished."""

import asyncio
from typing import Any

import pytest

from tests.doubles import mocked, sequential_handler, volcengine_client, volcengine_error, zego_answer, zego_client
from tests.quotas.vendor import KEY, KeyWindow, SimulatedVendor, call
from volc_moderation import ModerationError, RetryPolicy, ThrottledError, WindowQuotas
from volc_moderation.quotas import Quota, QuotaKey, QuotaState
from volc_moderation.quotas.adaptive import REFUSAL_MEMORY, ThrottleCounter

pytestmark = pytest.mark.looptime

TOO_MANY = volcengine_error("FlowLimitExceeded", status=429)
STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


async def keep_calling(window: KeyWindow, vendor: SimulatedVendor, seconds: float, callers: int = 60) -> None:
    end = asyncio.get_running_loop().time() + seconds

    async def caller() -> None:
        while asyncio.get_running_loop().time() < end:
            await call(window, vendor)

    await asyncio.gather(*(caller() for _ in range(callers)))


async def rival(vendor: SimulatedVendor, rate: float, seconds: float) -> None:
    """Send at a steady rate, without permits."""
    tasks = []
    for _ in range(int(rate * seconds)):
        tasks.append(asyncio.create_task(vendor()))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.no_coverage
async def test_a_rival_gets_its_part_and_we_take_it_back_when_it_leaves() -> None:
    """For a while, another program makes 30 of the 75 calls a second."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(0.02, 0.05, limit=75)
    now = asyncio.get_running_loop().time
    ours = asyncio.create_task(keep_calling(KeyWindow(quotas, Quota(75)), vendor, 93))
    await asyncio.sleep(5)
    rival_came = now()
    await rival(vendor, 30, 50)
    rival_left = now()
    sent = sum(rival_came < at <= rival_left for at in vendor.arrivals) + vendor.refused
    assert vendor.refused / sent < 0.02
    assert vendor.quota_share(75, rival_came, rival_left) >= 0.9
    await ours
    assert vendor.quota_share(75, rival_left + 30, rival_left + 37) >= 0.94


async def test_the_limit_shrinks_once_per_window_however_many_refusals() -> None:
    quotas = WindowQuotas()
    permits = [await quotas.acquire(KEY, Quota(100)) for _ in range(30)]
    for permit in permits:
        permit.throttled(0.05)
    state = quotas.snapshot()[KEY]
    assert (state.quota, state.effective, state.refused) == (100, 85, 30)
    await asyncio.sleep(1.01)
    (await quotas.acquire(KEY, Quota(100))).throttled(0.05)
    assert quotas.snapshot()[KEY].effective == 73  # 0.85 of 87


async def test_the_limit_grows_back_to_the_documented_quota_and_no_further() -> None:
    quotas = WindowQuotas()
    (await quotas.acquire(KEY, Quota(100))).throttled(0.05)
    limits = []
    for _ in range(12):
        limits.append(quotas.snapshot()[KEY].effective)
        await asyncio.sleep(1)
    assert limits == [85, 87, 89, 91, 93, 95, 97, 99, 100, 100, 100, 100]


async def test_the_limit_never_shrinks_to_zero() -> None:
    quotas = WindowQuotas()
    for _ in range(20):
        (await quotas.acquire(KEY, Quota(2))).throttled(0.05)
        await asyncio.sleep(1)
    assert quotas.snapshot()[KEY].effective == 1


@pytest.mark.no_coverage
async def test_an_unpublished_quota_is_learned() -> None:
    """It begins at 20 a second; the vendor would allow 60."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(0.02, 0.05, limit=60)
    quota = Quota(20, published=False)
    now = asyncio.get_running_loop().time
    began = now()
    await keep_calling(KeyWindow(quotas, quota), vendor, 80)
    assert vendor.quota_share(20, began, began + 3) < 1.15
    assert vendor.quota_share(60, began + 60, began + 79) >= 0.85
    assert vendor.refused / len(vendor.arrivals) < 0.02


async def test_an_unpublished_quota_does_not_grow_while_no_call_waits() -> None:
    quotas = WindowQuotas()
    for _ in range(100):
        (await quotas.acquire(KEY, Quota(20, published=False))).answered(0.01)
        await asyncio.sleep(0.06)
    assert quotas.snapshot()[KEY].effective == 20


async def test_a_limit_that_the_user_set_does_not_grow() -> None:
    quotas, vendor = WindowQuotas({"StopWebcast": 30}), SimulatedVendor(0.02, 0.05)
    await keep_calling(KeyWindow(quotas, Quota(20, published=False)), vendor, 20)
    assert vendor.max_in_a_second == 30


async def test_a_snapshot_shows_the_status() -> None:
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
    assert quotas.snapshot()[KEY].refused == 0  # it counts those of the last minute
    for one in waiting:
        one.cancel()


async def test_the_client_reports_refusals_to_the_store() -> None:
    quotas = WindowQuotas()
    async with mocked(lambda _: TOO_MANY) as http_client:
        client = volcengine_client(http_client=http_client, quotas=quotas, retry=RetryPolicy(attempts=1))
        with pytest.raises(ThrottledError):
            await client.stop_webcast(**STOP)
    (state,) = quotas.snapshot().values()
    assert (state.effective, state.refused) == (127, 1)  # 0.85 of 150


async def test_other_errors_do_not_shrink_the_quota() -> None:
    quotas = WindowQuotas()
    handler, _ = sequential_handler(volcengine_error("InternalError", status=500))
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, quotas=quotas, retry=RetryPolicy(attempts=1))
        with pytest.raises(ModerationError):
            await client.stop_webcast(**STOP)
    (state,) = quotas.snapshot().values()
    assert (state.effective, state.refused) == (150, 0)


@pytest.mark.parametrize(("code", "is_rooms"), [(207, True), (206, False)])
async def test_a_refusal_for_a_room_does_not_shrink_the_quota_of_the_action(code: int, is_rooms: bool) -> None:
    quotas = WindowQuotas()
    handler, _ = sequential_handler(zego_answer(code))
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client, quotas=quotas, retry=RetryPolicy(attempts=1))
        with pytest.raises(ThrottledError):
            await zego.describe_simple_stream_list(room_id="room")
    refused = {key.room: state.refused for key, state in quotas.snapshot().items()}
    assert refused == {"room": int(is_rooms), None: int(not is_rooms)}


async def test_a_window_that_has_learned_is_not_pruned() -> None:
    quotas = WindowQuotas()
    (await quotas.acquire(KEY, Quota(100))).throttled(0.05)
    await asyncio.sleep(2)
    for number in range(1100):
        (await quotas.acquire(QuotaKey("zego", "1", "DescribeUserList", str(number)), Quota(1))).answered(0.0)
    assert quotas.snapshot()[KEY].effective < 100


def test_old_refusals_are_dropped_even_if_nobody_reads_them() -> None:
    """A vendor that refuses calls for a week leaves the counts of a minute."""
    refusals = ThrottleCounter()
    for second in range(10_000):
        refusals.add(second)
        refusals.add(second + 0.5)
    assert len(refusals._counts) <= REFUSAL_MEMORY + 1
    assert refusals.total(9_999.5) == 2 * REFUSAL_MEMORY
    assert refusals.total(10_100) == 0
