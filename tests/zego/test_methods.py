"""ZEGO's methods: sequences of stream calls, pages of users, result codes, and the test environment."""

import asyncio
import re
from collections.abc import Iterator
from inspect import getdoc, signature
from typing import Any

import httpx
import pytest

from tests.actions import ACTIONS
from tests.doubles import mocked, sequential_handler, zego_answer, zego_client
from tests.test_methods import parameter
from volc_moderation import NotFoundError, RetryPolicy, ServerError, ThrottledError
from volc_moderation.zego import User, ZegoAction, ZegoClient
from volc_moderation.zego.error_codes import find_code

DONE = zego_answer()


def users(marker: str, *ids: str) -> httpx.Response:
    return zego_answer(data={"Marker": marker, "UserList": [{"UserId": one, "UserName": one.upper()} for one in ids]})


@pytest.mark.looptime
async def test_iter_user_list_yields_the_users_of_all_pages() -> None:
    handler, requests = sequential_handler(users("m-1", "a", "b"), users("m-2", "c"), users("", "d"))
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client)
        listed = [user async for user in zego.iter_user_list(room_id="room", mode=1, limit=2)]
        assert asyncio.get_running_loop().time() >= 2  # one page per second and room
    assert listed[0] == User(user_id="a", user_name="A")
    assert [user.user_id for user in listed] == ["a", "b", "c", "d"]
    assert [request.url.params.get("Marker") for request in requests] == [None, "m-1", "m-2"]
    assert {(request.url.params["Mode"], request.url.params["Limit"]) for request in requests} == {("1", "2")}


def test_editors_describe_the_iteration_like_the_call_for_one_page() -> None:
    iteration, page = ZegoClient.iter_user_list, ZegoClient.describe_user_list
    described = re.findall(r"^:param (\w+): ", getdoc(iteration) or "", re.MULTILINE)
    assert described == [name for name in signature(iteration).parameters if name != "self"]
    for name in described:
        assert parameter(getdoc(iteration) or "", name) == parameter(getdoc(page) or "", name)
        assert signature(iteration).parameters[name] == signature(page).parameters[name]
    assert ":returns: each ``User``" in (getdoc(iteration) or "")
    assert "Quota: 200 calls per second and AppId, and 1 call per second and room" in (getdoc(iteration) or "")


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("pages", "calls"),
    [([users("")], 1), ([users("m-1", "a"), users("m-1", "b")], 2), ([users("m-1")], 1), ([zego_answer(data={})], 1)],
)
async def test_the_iteration_over_pages_ends(pages: list[httpx.Response], calls: int) -> None:
    """A room that does not exist has no users. A repeated marker and an empty page end the iteration."""
    handler, requests = sequential_handler(*pages)
    async with mocked(handler) as http_client:
        async for _ in zego_client(http_client=http_client).iter_user_list(room_id="room"):
            pass
    assert len(requests) == calls


@pytest.mark.looptime
async def test_the_sequence_of_calls_about_streams_increases() -> None:
    """Each sequence is larger than the one before, even within one millisecond and in a retry."""
    handler, requests = sequential_handler(zego_answer(42001), DONE)
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client, clock=lambda: 1_700_000_000.5)
        await zego.forbid_rtc_stream(stream_id="s")
        await asyncio.gather(*(zego.resume_rtc_stream(stream_id="s") for _ in range(5)))
        await zego.forbid_rtc_streams(stream_id=["s", "t"])
        await zego.describe_rtc_stream_state(stream_id="s", sequence="given")
    sequences = [request.url.params["Sequence"] for request in requests]
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
    handler, _ = sequential_handler(zego_answer(code, data))
    async with mocked(handler) as http_client:
        state = await zego_client(http_client=http_client).describe_rtc_stream_state(stream_id="s")
    assert (state.code, state.is_alive) == (code, alive)
    assert state.close_time == (data or {}).get("close_time")


async def test_a_result_code_of_one_action_is_an_error_of_another() -> None:
    handler, _ = sequential_handler(zego_answer(41004))
    async with mocked(handler) as http_client:
        with pytest.raises(NotFoundError):
            await zego_client(http_client=http_client).forbid_rtc_stream(stream_id="s")


@pytest.mark.looptime
@pytest.mark.parametrize("code", [104, 5018, 5024, 50001])
async def test_a_room_that_does_not_exist_after_a_fault_counts_as_closed(code: int) -> None:
    """An earlier attempt may have closed it. Without one, the room did not exist."""
    handler, requests = sequential_handler(zego_answer(1), zego_answer(code))
    async with mocked(handler) as http_client:
        await zego_client(http_client=http_client).close_room(room_id="room")
    assert len(requests) == 2
    handler, requests = sequential_handler(zego_answer(code))
    async with mocked(handler) as http_client:
        with pytest.raises(NotFoundError):
            await zego_client(http_client=http_client).close_room(room_id="room")


async def test_a_message_with_an_unknown_outcome_is_not_repeated() -> None:
    handler, requests = sequential_handler(zego_answer(1))
    async with mocked(handler) as http_client:
        with pytest.raises(ServerError) as caught:
            await zego_client(http_client=http_client).send_custom_command(
                room_id="r", from_user_id="s", message_content="m"
            )
    assert len(requests) == 1
    assert caught.value.maybe_sent


async def test_the_users_whom_a_message_did_not_reach_are_listed() -> None:
    handler, _ = sequential_handler(zego_answer(data={"FailUsers": [{"Uid": "gone", "Code": 50003}]}))
    async with mocked(handler) as http_client:
        outcome = await zego_client(http_client=http_client).send_custom_command(
            room_id="r", from_user_id="s", message_content="m", to_user_id=["gone", "here"]
        )
    assert [(user.uid, user.code) for user in outcome.fail_users] == [("gone", 50003)]


@pytest.mark.looptime
async def test_the_test_environment_has_its_own_quotas() -> None:
    """A stream may be forbidden 20 times per second, but 5 times in the test environment, counted separately."""
    handler, requests = sequential_handler(DONE)
    async with mocked(handler) as http_client:
        for is_test, quota in ((True, 5), (False, 20)):
            zego = zego_client(http_client=http_client, is_test=is_test)
            calls = [asyncio.create_task(zego.forbid_rtc_stream(stream_id="s")) for _ in range(30)]
            await asyncio.sleep(0.99)
            assert 0.8 * quota <= len(requests) <= quota
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            requests.clear()


async def test_each_family_has_its_own_codes() -> None:
    """30002 means throttled only for streams, 206 only for rooms."""
    for code, is_stream in ((30002, True), (206, False)):
        handler, _ = sequential_handler(zego_answer(code))
        async with mocked(handler) as http_client:
            zego = zego_client(http_client=http_client, retry=RetryPolicy(attempts=1))
            call = zego.forbid_rtc_stream(stream_id="s") if is_stream else zego.close_room(room_id="r")
            with pytest.raises(ThrottledError):
                await call


def codes_named_by(action: type[ZegoAction[Any]]) -> Iterator[tuple[str, int]]:
    """Yield each code in the docstring of an action, with the error that it says the code raises."""
    docstring = getdoc(action) or ""
    for error, text in re.findall(r"^:raises (\w+): (.+?)(?=^:|\Z)", docstring, re.MULTILINE | re.DOTALL):
        for codes in re.findall(r"(?:^|; )(\d[\d, or]*): ", " ".join(text.split())):
            yield from ((error, int(code)) for code in re.findall(r"\d+", codes))


def test_the_codes_in_docstrings_raise_the_errors_that_these_say() -> None:
    for action in ACTIONS:
        if issubclass(action, ZegoAction):
            for error, code in codes_named_by(action):
                info = find_code(code, action.family)
                assert info.error_type.__name__ == error, (action.name, code)
                assert code not in action.result_codes
                if info.retry_after == 300:
                    assert "again after 300 s" in " ".join((getdoc(action) or "").split())
