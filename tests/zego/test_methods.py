"""What ZEGO's methods do besides making the call: order, pages, result_codes, the test environment."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.doubles import in_turn, mocked, zego_answer, zego_client
from volc_moderation import NotFoundError, RetryPolicy, ServerError, ThrottledError
from volc_moderation.zego import User

DONE = zego_answer()


def users(marker: str, *ids: str) -> httpx.Response:
    return zego_answer(data={"Marker": marker, "UserList": [{"UserId": one, "UserName": one.upper()} for one in ids]})


@pytest.mark.looptime
async def test_all_users_page_after_page() -> None:
    handler, asked = in_turn(users("m-1", "a", "b"), users("m-2", "c"), users("", "d"))
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client)
        found = [user async for user in zego.iter_user_list(room_id="room", mode=1, limit=2)]
        assert asyncio.get_running_loop().time() >= 2  # one page per second and room
    assert found[0] == User(user_id="a", user_name="A")
    assert [user.user_id for user in found] == ["a", "b", "c", "d"]
    assert [request.url.params.get("Marker") for request in asked] == [None, "m-1", "m-2"]
    assert {(request.url.params["Mode"], request.url.params["Limit"]) for request in asked} == {("1", "2")}


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("pages", "calls"),
    [([users("")], 1), ([users("m-1", "a"), users("m-1", "b")], 2), ([users("m-1")], 1), ([zego_answer(data={})], 1)],
)
async def test_pages_end(pages: list[httpx.Response], calls: int) -> None:
    """An absent room has no users; a marker that leads to itself, or to an empty page, does not go on for ever."""
    handler, asked = in_turn(*pages)
    async with mocked(handler) as http_client:
        async for _ in zego_client(http_client=http_client).iter_user_list(room_id="room"):
            pass
    assert len(asked) == calls


@pytest.mark.looptime
async def test_calls_about_streams_are_in_order() -> None:
    """Each sequence is larger than the one before, also when many calls fall into one millisecond, and in a retry."""
    handler, asked = in_turn(zego_answer(42001), DONE)
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client, clock=lambda: 1_700_000_000.5)
        await zego.forbid_rtc_stream(stream_id="s")
        await asyncio.gather(*(zego.resume_rtc_stream(stream_id="s") for _ in range(5)))
        await zego.forbid_rtc_streams(stream_id=["s", "t"])
        await zego.describe_rtc_stream_state(stream_id="s", sequence="given")
    sequences = [request.url.params["Sequence"] for request in asked]
    assert sequences == [str(1_700_000_000_500 + n) for n in range(8)] + ["given"]


@pytest.mark.parametrize(
    ("code", "data", "alive"),
    [
        (0, {"create_time": "2026-11-20 10:00:00", "close_time": ""}, True),
        (41006, {"create_time": "2026-11-20 10:00:00", "close_time": "2026-11-20 10:05:00"}, False),
        (41004, None, False),
    ],
)
async def test_the_state_of_a_stream_is_a_result(code: int, data: Any, alive: bool) -> None:
    handler, _ = in_turn(zego_answer(code, data))
    async with mocked(handler) as http_client:
        state = await zego_client(http_client=http_client).describe_rtc_stream_state(stream_id="s")
    assert (state.code, state.is_alive) == (code, alive)
    assert state.close_time == (data or {}).get("close_time")


async def test_other_actions_have_the_same_codes_as_errors() -> None:
    handler, _ = in_turn(zego_answer(41004))
    async with mocked(handler) as http_client:
        with pytest.raises(NotFoundError):
            await zego_client(http_client=http_client).forbid_rtc_stream(stream_id="s")


@pytest.mark.looptime
@pytest.mark.parametrize("code", [104, 5018, 5024, 50001])
async def test_a_room_that_is_gone_after_a_fault_was_closed(code: int) -> None:
    """The first attempt may have closed it; without one, the room was not there."""
    handler, asked = in_turn(zego_answer(1), zego_answer(code))
    async with mocked(handler) as http_client:
        await zego_client(http_client=http_client).close_room(room_id="room")
    assert len(asked) == 2
    handler, asked = in_turn(zego_answer(code))
    async with mocked(handler) as http_client:
        with pytest.raises(NotFoundError):
            await zego_client(http_client=http_client).close_room(room_id="room")


async def test_a_message_is_not_sent_twice() -> None:
    handler, asked = in_turn(zego_answer(1))
    async with mocked(handler) as http_client:
        with pytest.raises(ServerError) as caught:
            await zego_client(http_client=http_client).send_custom_command(
                room_id="r", from_user_id="s", message_content="m"
            )
    assert len(asked) == 1
    assert caught.value.maybe_sent


async def test_whom_a_message_did_not_reach() -> None:
    handler, _ = in_turn(zego_answer(data={"FailUsers": [{"Uid": "gone", "Code": 50003}]}))
    async with mocked(handler) as http_client:
        outcome = await zego_client(http_client=http_client).send_custom_command(
            room_id="r", from_user_id="s", message_content="m", to_user_id=["gone", "here"]
        )
    assert [(user.uid, user.code) for user in outcome.fail_users] == [("gone", 50003)]


@pytest.mark.looptime
async def test_the_test_environment_has_quotas_of_its_own() -> None:
    """Forbid and resume: 20 per second, but 5 in the test environment, counted apart."""
    handler, asked = in_turn(DONE)
    async with mocked(handler) as http_client:
        for is_test, quota in ((True, 5), (False, 20)):
            zego = zego_client(http_client=http_client, is_test=is_test)
            calls = [asyncio.create_task(zego.forbid_rtc_stream(stream_id="s")) for _ in range(30)]
            await asyncio.sleep(0.99)
            assert 0.8 * quota <= len(asked) <= quota
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            asked.clear()


async def test_each_family_reads_its_own_codes() -> None:
    """30002 is "too often" for streams only; 206 for rooms only."""
    for code, is_stream in ((30002, True), (206, False)):
        handler, _ = in_turn(zego_answer(code))
        async with mocked(handler) as http_client:
            zego = zego_client(http_client=http_client, retry=RetryPolicy(attempts=1))
            call = zego.forbid_rtc_stream(stream_id="s") if is_stream else zego.close_room(room_id="r")
            with pytest.raises(ThrottledError):
                await call
