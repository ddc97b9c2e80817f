"""A quota for one room, besides that of the action: DescribeSimpleStreamList once in ten seconds."""

import asyncio
from typing import Any

import attrs
import httpx
import pytest

from tests.doubles import mocked, sequential_handler, zego_answer, zego_client
from volc_moderation import ModerationError, RetryPolicy, ThrottledError, WindowQuotas
from volc_moderation.quotas import Quota, QuotaKey
from volc_moderation.quotas.store import PRUNE_THRESHOLD

pytestmark = pytest.mark.looptime

STREAMS = zego_answer(data={"StreamList": []})


async def test_a_room_gets_one_call_per_window() -> None:
    arrivals: list[tuple[str, float]] = []

    def handler(request: httpx.Request) -> httpx.Response:
        arrivals.append((request.url.params["RoomId"], asyncio.get_running_loop().time()))
        return STREAMS

    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client)
        rooms = ["one", "two", "one", "one", "three"]
        await asyncio.gather(*(zego.describe_simple_stream_list(room_id=room) for room in rooms))
    began = arrivals[0][1]
    at = {room: [when - began for one, when in arrivals if one == room] for room in rooms}
    assert [len(at[room]) for room in ("one", "two", "three")] == [3, 1, 1]
    assert at["one"] == pytest.approx([0, 10, 20], abs=0.1)
    assert at["two"] + at["three"] == pytest.approx([0, 0], abs=0.1)  # rooms do not wait for each other


async def test_the_quota_of_the_action_holds_over_all_rooms() -> None:
    handler, requests = sequential_handler(STREAMS)
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client)
        calls = [asyncio.create_task(zego.describe_simple_stream_list(room_id=f"room-{n}")) for n in range(120)]
        await asyncio.sleep(0.99)
        assert len(requests) <= 50
        await asyncio.gather(*calls)
    assert len(requests) == 120


async def test_a_limit_of_the_action_does_not_change_that_of_the_room() -> None:
    handler, _ = sequential_handler(STREAMS)
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client, quotas=WindowQuotas({"DescribeSimpleStreamList": 100}))
        await asyncio.gather(*(zego.describe_simple_stream_list(room_id="room") for _ in range(2)))
    assert asyncio.get_running_loop().time() >= 10


async def test_cancelled_waiters_for_a_room_take_no_permit_with_them() -> None:
    handler, requests = sequential_handler(STREAMS)
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client)
        await zego.describe_simple_stream_list(room_id="room")
        waiting = [asyncio.create_task(zego.describe_simple_stream_list(room_id="room")) for _ in range(3)]
        await asyncio.sleep(1)
        for call in waiting[:2]:
            call.cancel()
        began = asyncio.get_running_loop().time()
        await waiting[2]
        assert asyncio.get_running_loop().time() - began == pytest.approx(9, abs=0.1)
    assert len(requests) == 2


async def test_the_permit_of_a_room_returns_if_the_wait_for_the_actions_is_cancelled() -> None:
    """Nothing was sent, so the next call for the room goes at once."""
    handler, _ = sequential_handler(STREAMS)
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client, quotas=WindowQuotas({"DescribeSimpleStreamList": 1}))
        await zego.describe_simple_stream_list(room_id="other")
        call = asyncio.create_task(zego.describe_simple_stream_list(room_id="room"))
        await asyncio.sleep(0.5)
        call.cancel()
        await asyncio.sleep(0.6)
        began = asyncio.get_running_loop().time()
        await zego.describe_simple_stream_list(room_id="room")
        assert asyncio.get_running_loop().time() - began < 0.1


async def test_a_refusal_for_the_room_waits_for_its_window() -> None:
    """Another program used up the quota of the room: the next second would be too early."""
    handler, requests = sequential_handler(zego_answer(207), STREAMS)
    async with mocked(handler) as http_client:
        began = asyncio.get_running_loop().time()
        await zego_client(http_client=http_client).describe_simple_stream_list(room_id="room")
        assert 10 <= asyncio.get_running_loop().time() - began <= 11.1
        assert len(requests) == 2
        handler, requests = sequential_handler(zego_answer(207))
    async with mocked(handler) as http_client:
        with pytest.raises(ThrottledError) as caught:
            await zego_client(http_client=http_client, deadline=5).describe_simple_stream_list(room_id="other")
        assert caught.value.retry_after == 10
        assert len(requests) == 1


@pytest.mark.parametrize(
    ("answer", "seconds"), [(zego_answer(206), 1.0), (zego_answer(121), None), (zego_answer(30002), None)]
)
async def test_other_refusals_do_not_wait_for_the_window_of_the_room(answer: Any, seconds: float | None) -> None:
    """Only 207 means 10 s: 206 is about the app, whose window is a second."""
    handler, _ = sequential_handler(answer)
    async with mocked(handler) as http_client:
        with pytest.raises(ModerationError) as caught:
            await zego_client(http_client=http_client, retry=RetryPolicy(attempts=1)).describe_simple_stream_list(
                room_id="room"
            )
    assert getattr(caught.value, "retry_after", None) == seconds


async def test_idle_rooms_are_pruned() -> None:
    """The rooms of a year leave nothing behind; rooms still in their window stay."""
    quotas = WindowQuotas()
    for number in range(5 * PRUNE_THRESHOLD):
        key = QuotaKey("zego", "1", "DescribeUserList", f"room-{number}")
        (await quotas.acquire(key, Quota(1))).answered(0.01)
        if number % 100 == 0:
            await asyncio.sleep(0.5)
    assert len(quotas._windows) <= 2 * PRUNE_THRESHOLD


async def test_a_room_in_its_window_is_not_pruned() -> None:
    quotas, held = WindowQuotas(), QuotaKey("zego", "1", "DescribeSimpleStreamList", "held")
    quota = Quota(1, window=10.0)
    (await quotas.acquire(held, quota)).answered(0.01)
    sent = await quotas.acquire(QuotaKey("zego", "1", "DescribeSimpleStreamList", "sent"), quota)
    for number in range(3 * PRUNE_THRESHOLD):
        key = QuotaKey("zego", "1", "DescribeUserList", f"room-{number}")
        (await quotas.acquire(key, Quota(1))).abandoned(None)
    sent.answered(0.01)
    await asyncio.gather(*(quotas.acquire(attrs.evolve(held, room=room), quota) for room in ("held", "sent")))
    assert asyncio.get_running_loop().time() >= 10


async def test_an_action_with_permits_out_is_not_pruned() -> None:
    quotas, key, quota = WindowQuotas(), QuotaKey("zego", "1", "DescribeUsers"), Quota(10)
    for _ in range(9):
        (await quotas.acquire(key, quota)).answered(0.01)
    last = asyncio.get_running_loop().time()
    for number in range(3 * PRUNE_THRESHOLD):
        room = QuotaKey("zego", "1", "DescribeUserList", f"room-{number}")
        (await quotas.acquire(room, Quota(1))).abandoned(None)
    for _ in range(10):
        (await quotas.acquire(key, quota)).answered(0.01)
    assert asyncio.get_running_loop().time() >= last + 1


async def test_a_new_room_has_a_quota() -> None:
    quotas, key = WindowQuotas(), QuotaKey("zego", "1", "DescribeUserList", "room")
    (await quotas.acquire(key, Quota(1))).answered(0.01)
    began = asyncio.get_running_loop().time()
    await quotas.acquire(key, Quota(1))
    assert asyncio.get_running_loop().time() - began > 0.5
