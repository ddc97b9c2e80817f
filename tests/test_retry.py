"""Retries: the decision, and its execution by tenacity in virtual time."""

import asyncio
import logging
import math
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import (
    Vendors,
    loop_clock,
    mocked,
    sequential_handler,
    volcengine_client,
    volcengine_error,
    volcengine_success,
    zego_answer,
    zego_client,
)
from volc_moderation import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    RetryPolicy,
    ServerError,
    TemporaryError,
    ThrottledError,
    TransportError,
)
from volc_moderation.emulator import Fault
from volc_moderation.retry import next_wait
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StartCensorAudioV2, StopCensorAudioV2

STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}
START: dict[str, Any] = {"room_id": "room", "event_id": "audio_room", "audio_language": "zh", "risk_type_list": ["BAN"]}


def decide(error: ModerationError, **arguments: Any) -> float | None:
    defaults: dict[str, Any] = {
        "attempt": 1,
        "repeatable": True,
        "signed_again": False,
        "policy": RetryPolicy(),
        "draw": 0.5,
    }
    return next_wait(error, **(defaults | arguments))


@pytest.mark.looptime
@pytest.mark.parametrize("code", [50006, 50007, 50009])
async def test_a_call_waits_the_300_seconds_that_zego_recommends(vendors: Vendors, code: int) -> None:
    """Two failures, then success: 600 s on the loop's clock, each attempt with a nonce and a timestamp of its own."""
    loop = asyncio.get_running_loop()
    task = await vendors.zego.start_censor_audio(**START)
    vendors.requests.clear()
    vendors.emulator.play(Fault(kind="code", code=code, action="StopCensorAudioV2", first=2))
    began = loop.time()
    reply = await vendors.zego.call(StopCensorAudioV2(task_id=task.task_id))
    assert loop.time() - began == pytest.approx(600, abs=0.1)
    assert reply.attempts == 3
    assert reply.waited == pytest.approx(600, abs=0.1)
    sent = [request.url.params for request in vendors.requests]
    assert len({query["SignatureNonce"] for query in sent}) == 3
    assert [int(query["Timestamp"]) - int(sent[0]["Timestamp"]) for query in sent] == [0, 300, 600]
    assert vendors.emulator.counts()["StopCensorAudioV2"]["rejected"] == 0


@pytest.mark.looptime
@pytest.mark.parametrize("code", [50006, 50007, 50009])
async def test_starts_are_retried_as_zego_advises(code: int) -> None:
    """ZEGO recommends the retry, so a start is retried although it is not repeatable."""
    handler, requests = sequential_handler(zego_answer(code), zego_answer(data={"TaskId": "t"}))
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client)
        reply = await zego.call(StartCensorAudioV2(**START))
    assert (len(requests), reply.result.task_id) == (2, "t")
    assert reply.waited == 300


@pytest.mark.looptime
@pytest.mark.parametrize("code", [50006, 50007, 50009])
async def test_a_start_that_zego_wants_retried_may_have_been_carried_out(code: int) -> None:
    """ZEGO does not say that nothing happened: every error that ends the call says that a task may run."""
    for last in (zego_answer(code), zego_answer(2)):
        handler, requests = sequential_handler(zego_answer(code), last)
        async with mocked(handler) as http_client:
            zego = zego_client(http_client=http_client, retry=RetryPolicy(attempts=2))
            with pytest.raises(APIError) as caught:
                await zego.start_censor_audio(**START)
        assert (len(requests), caught.value.maybe_sent) == (2, True)


@pytest.mark.looptime
async def test_a_task_of_the_room_does_not_prove_a_users_start() -> None:
    """The first response is lost. A task that already runs does not mean that this user is moderated."""
    already_exists = volcengine_error("InvalidParameter.TaskAlreadyExists")
    for user, expected in ((None, "Acknowledgement"), ("user", "ConflictError")):
        handler, _ = sequential_handler(httpx.ReadTimeout(""), already_exists)
        async with mocked(handler) as http_client:
            start = volcengine_client(http_client=http_client).start_detection(app_id="a", room_id="r", user_id=user)
            (outcome,) = await asyncio.gather(start, return_exceptions=True)
        assert type(outcome).__name__ == expected


@pytest.mark.looptime
async def test_a_custom_message_that_failed_is_sent_again() -> None:
    """ZEGO advises it for 50013, although messages are not repeatable."""
    handler, requests = sequential_handler(zego_answer(50013), zego_answer(data={"FailUsers": []}))
    async with mocked(handler) as http_client:
        await zego_client(http_client=http_client).send_custom_command(
            room_id="r", from_user_id="server", message_content="hush"
        )
    assert len(requests) == 2


async def test_an_unproven_success_is_an_error_at_once() -> None:
    """The caller knows best whether to call again; a job calls again by itself."""
    handler, requests = sequential_handler(volcengine_success({"Message": ""}))
    async with mocked(handler) as http_client:
        with pytest.raises(DecodeError) as caught:
            await volcengine_client(http_client=http_client).stop_webcast(**STOP)
    assert (len(requests), caught.value.maybe_sent, caught.value.attempts) == (1, True, 1)


@pytest.mark.parametrize(("retry_unproven", "repeatable", "wait"), [(True, True, 0.25), (True, False, None)])
def test_a_job_retries_until_the_response_proves_the_outcome(
    retry_unproven: bool, repeatable: bool, wait: float | None
) -> None:
    error = DecodeError("odd", path="Result")
    assert decide(error, retry_unproven=retry_unproven, repeatable=repeatable) == wait
    assert decide(error, repeatable=repeatable) is None
    assert decide(error, retry_unproven=retry_unproven, repeatable=repeatable, attempt=5) is None


def test_permanent_failures_are_not_retried() -> None:
    assert decide(TransportError("no such certificate", maybe_sent=False, is_permanent=True)) is None
    assert decide(TransportError("no way", maybe_sent=False)) is not None


@pytest.mark.looptime
async def test_attempts_are_bounded() -> None:
    handler, requests = sequential_handler(zego_answer(50009))
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client, retry=RetryPolicy(attempts=3))
        with pytest.raises(TemporaryError) as caught:
            await zego.stop_censor_audio(task_id="t")
    assert len(requests) == caught.value.attempts == 3
    assert caught.value.retry_after == 300
    assert asyncio.get_running_loop().time() == pytest.approx(600, abs=0.1)


@pytest.mark.looptime
async def test_no_shumei_permission_is_not_retried() -> None:
    handler, requests = sequential_handler(zego_answer(50117))
    async with mocked(handler) as http_client:
        with pytest.raises(PermissionDeniedError, match="50117"):
            await zego_client(http_client=http_client).stop_censor_audio(task_id="t")
    assert len(requests) == 1
    assert asyncio.get_running_loop().time() < 0.1


@pytest.mark.looptime
@pytest.mark.parametrize("code", [50006, 50007, 50009])
async def test_a_wait_beyond_the_deadline_is_an_error_at_once(code: int) -> None:
    """With a deadline of 5 s, the error is raised at once, with the recommended wait."""
    handler, requests = sequential_handler(zego_answer(code))
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client, deadline=5)
        with pytest.raises(TemporaryError) as caught:
            await zego.stop_censor_audio(task_id="t")
    assert caught.value.retry_after == 300
    assert caught.value.attempts == len(requests) == 1
    assert asyncio.get_running_loop().time() < 0.1


@pytest.mark.looptime
async def test_a_back_off_beyond_the_deadline_is_in_retry_after() -> None:
    handler, _ = sequential_handler(volcengine_error("ServiceUnavailableTemp", status=503))
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, retry=RetryPolicy(attempts=100, base=8, cap=8))
        with pytest.raises(TemporaryError) as caught:
            await client.call(StopWebcast(**STOP), deadline=20)
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 8
    assert asyncio.get_running_loop().time() <= 20


@pytest.mark.looptime
async def test_throttled_calls_are_retried_in_the_next_second(vendors: Vendors) -> None:
    loop = asyncio.get_running_loop()
    await vendors.volcengine.start_webcast(**STOP, user_id="u", source_url="https://example.com/")
    vendors.emulator.play(Fault(kind="code", code="FlowLimitExceeded.QPSOverLimit", action="StopWebcast", first=2))
    began = loop.time()
    reply = await vendors.volcengine.call(StopWebcast(**STOP))
    assert reply.attempts == 3
    assert 2 <= loop.time() - began <= 4.1


@pytest.mark.looptime
async def test_a_stale_timestamp_is_signed_again_with_the_vendors_time(vendors: Vendors) -> None:
    """A clock that is an hour off is refused once, then corrected for all calls, at both vendors."""
    clients = {"clock": lambda: loop_clock() - 3600, "http_client": vendors.http_client}
    async with volcengine_client(**clients) as volcengine, zego_client(**clients) as zego:
        await volcengine.start_detection(app_id="app", room_id="room")
        await volcengine.stop_detection(app_id="app", room_id="room")
        await zego.start_censor_audio(**START)
        await zego.start_censor_audio(**START)
    counts = vendors.emulator.counts()
    assert [counts[name]["rejected"] for name in ("StartDetection", "StopDetection")] == [1, 0]
    assert (counts["StartCensorAudioV2"]["rejected"], counts["StartCensorAudioV2"]["accepted"]) == (1, 2)


@pytest.mark.parametrize(
    "date",
    [
        *("Fri, 20 Nov 2026 08:30:00 GMT", "Fri, 20 Nov 2026 08:30:00 -0000", "nonsense", ""),
        *("Fri, 20 Nov 99999999999999999999 08:30:00 GMT", "Fri, 20 Nov 2026 08:30:00 +99999999999999999"),
    ],
)
async def test_a_stale_timestamp_is_signed_again_once(date: str) -> None:
    handler, requests = sequential_handler(volcengine_error("InvalidTimestamp", date=date))
    async with mocked(handler) as http_client:
        with pytest.raises(AuthenticationError, match="InvalidTimestamp"):
            await volcengine_client(http_client=http_client).stop_webcast(**STOP)
    assert len(requests) == 2


@pytest.mark.looptime
async def test_an_unknown_outcome_is_only_retried_if_that_is_safe() -> None:
    """ZEGO's start is not safe: the error is raised at once. A stop is."""
    handler, requests = sequential_handler(httpx.ReadTimeout(""))
    async with mocked(handler) as http_client:
        zego = zego_client(http_client=http_client)
        with pytest.raises(TransportError) as caught:
            await zego.start_censor_audio(**START)
        assert (len(requests), caught.value.maybe_sent) == (1, True)
        with pytest.raises(TransportError):
            await zego.stop_censor_audio(task_id="t")
        assert len(requests) == 1 + RetryPolicy().attempts


@pytest.mark.looptime
@pytest.mark.parametrize(("code", "requests"), [("ServiceUnavailableTemp", 3), ("InvalidAccessKey", 1)])
async def test_a_retry_after_of_zero_changes_nothing(code: str, requests: int) -> None:
    """Retries still spread out, and a request that will be refused again is not signed again."""
    request_times: list[float] = []

    def handler(_: httpx.Request) -> httpx.Response:
        request_times.append(asyncio.get_running_loop().time())
        return volcengine_error(code, status=503, **{"Retry-After": "0"})

    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, retry=RetryPolicy(attempts=3, base=60, cap=60))
        with pytest.raises(APIError):
            await client.stop_detection(app_id="a", room_id="r")
    assert len(request_times) == requests
    assert len(set(request_times)) == requests


@pytest.mark.looptime
async def test_a_call_can_be_cancelled_while_the_client_closes() -> None:
    async with mocked(lambda _: zego_answer(50009)) as http_client:
        client = zego_client(http_client=http_client)
        call = asyncio.create_task(client.stop_censor_audio(task_id="t"))
        await asyncio.sleep(1)

        async def cancel() -> None:
            call.cancel()

        await asyncio.gather(client.aclose(), cancel())
        await asyncio.wait([call])
        assert call.cancelled()


@pytest.mark.slow
async def test_a_start_that_cannot_have_arrived_is_retried() -> None:
    handler, requests = sequential_handler(httpx.ConnectError("refused"), zego_answer(data={"TaskId": "t"}))
    async with mocked(handler) as http_client:
        task = await zego_client(http_client=http_client).start_censor_audio(**START)
    assert (len(requests), task.task_id) == (2, "t")


@pytest.mark.looptime
async def test_maybe_sent_remembers_earlier_attempts() -> None:
    """The first request may have arrived, even if the second one cannot have."""
    handler, _ = sequential_handler(httpx.ReadError(""), httpx.ConnectError(""))
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, retry=RetryPolicy(attempts=2))
        with pytest.raises(TransportError) as caught:
            await client.stop_webcast(**STOP)
    assert caught.value.maybe_sent


@pytest.mark.looptime
async def test_every_error_has_maybe_sent_of_earlier_attempts() -> None:
    """A call whose last attempt is throttled may have been carried out by one whose response was lost."""
    handler, _ = sequential_handler(httpx.ReadError(""), volcengine_error("FlowLimitExceeded"))
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, retry=RetryPolicy(attempts=2))
        with pytest.raises(ThrottledError) as caught:
            await client.stop_webcast(**STOP)
        assert caught.value.maybe_sent
        with pytest.raises(ThrottledError) as caught:
            await client.stop_webcast(**STOP)
        assert not caught.value.maybe_sent


@pytest.mark.looptime
async def test_already_done_is_a_success_after_a_lost_response(vendors: Vendors) -> None:
    """The stop took effect, and its response was lost. The retry finds no task, which is a success."""
    await vendors.volcengine.start_webcast(**STOP, user_id="u", source_url="https://example.com/")
    lost = Fault(kind="status", status=502, action="StopWebcast", carried_out=True)
    vendors.emulator.play(lost)
    reply = await vendors.volcengine.call(StopWebcast(**STOP))
    assert reply.attempts == 2
    assert reply.result.message == "the webcast has ended"
    with pytest.raises(NotFoundError):
        await vendors.volcengine.stop_webcast(**STOP)


@pytest.mark.looptime
async def test_the_wait_before_a_retry_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="volc_moderation")
    handler, _ = sequential_handler(zego_answer(50006), zego_answer())
    async with mocked(handler) as http_client:
        await zego_client(http_client=http_client).stop_censor_audio(task_id="t")
    assert "StopCensorAudioV2: 50006 success" in caplog.text
    assert "; attempt 2 in 300.0 s" in caplog.text


async def test_one_attempt_means_no_retry() -> None:
    handler, requests = sequential_handler(volcengine_error("InternalError", status=500), volcengine_success())
    async with mocked(handler) as http_client:
        with pytest.raises(ServerError):
            await volcengine_client(http_client=http_client, retry=RetryPolicy(attempts=1)).stop_webcast(**STOP)
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (ThrottledError("", code=206, retry_after=1.0), 1.5),
        (ThrottledError("", code=206), 1.5),
        (ThrottledError("", code=206, retry_after=7.0), 7.5),
        (TemporaryError("", code=50006, retry_after=300.0), 300.0),
        (TemporaryError("", code="FailToConnect"), 0.25),
        (ServerError("", code=1), 0.25),
        (TransportError("", maybe_sent=True), 0.25),
        (TransportError("", maybe_sent=True, status=500), 0.25),
        (TransportError("", maybe_sent=True, status=502), 0.25),
        (TransportError("", maybe_sent=True, status=300), None),
        (TransportError("", maybe_sent=True, status=403), None),
        (TransportError("", maybe_sent=True, status=302), None),
        (AuthenticationError("", code="InvalidTimestamp", retry_after=0.0), 0.0),
        (AuthenticationError("", code="SignatureDoesNotMatch"), None),
        (PermissionDeniedError("", code=50117), None),
        (APIError("", code="Unheard"), None),
        (ConfigurationError(""), None),
    ],
)
def test_the_decision(error: ModerationError, wait: float | None) -> None:
    assert decide(error) == wait


def test_back_off_grows() -> None:
    assert RetryPolicy() == RetryPolicy(attempts=5, base=0.5, cap=20.0)
    error = TransportError("", maybe_sent=True)
    waits = [decide(error, attempt=attempt, policy=RetryPolicy(attempts=99)) for attempt in (1, 2, 3, 4, 30)]
    assert waits == [0.25, 0.5, 1, 2, 10]


@pytest.mark.looptime
async def test_already_done_is_a_success_after_a_fault_inside_the_vendor() -> None:
    gone = volcengine_error("InvalidParameter.ErrorActiveTaskNotFound", "gone")
    handler, _ = sequential_handler(volcengine_error("InternalError", status=500), gone)
    async with mocked(handler) as http_client:
        assert (await volcengine_client(http_client=http_client).stop_webcast(**STOP)).message == "gone"


def test_a_call_that_is_not_repeatable_is_not_retried_if_it_may_have_been_carried_out() -> None:
    assert decide(ServerError("", code=1), repeatable=False) is None
    assert decide(TransportError("", maybe_sent=True), repeatable=False) is None
    assert decide(TransportError("", maybe_sent=False), repeatable=False) is not None
    assert decide(ThrottledError("", code=206), repeatable=False) is not None


@given(
    attempt=st.integers(1, 10_000),
    draw=st.floats(0, 1),
    base=st.floats(0, 100),
    cap=st.floats(0, 1000),
)
def test_back_off_is_bounded(attempt: int, draw: float, base: float, cap: float) -> None:
    """A back-off is never above the cap, never negative, and always a number, however many attempts there are."""
    policy = RetryPolicy(attempts=20_000, base=base, cap=cap)
    wait = decide(TransportError("", maybe_sent=False), attempt=attempt, draw=draw, policy=policy)
    assert wait is not None
    assert 0 <= wait <= cap


@pytest.mark.parametrize(
    "settings",
    [
        {"attempts": 0},
        {"attempts": True},
        {"attempts": 2.5},
        {"base": -1},
        {"cap": math.inf},
        {"cap": "9"},
        {"base": True},
    ],
)
def test_wrong_policies_are_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        RetryPolicy(**settings)


@pytest.mark.looptime
async def test_the_error_of_a_later_attempt_is_not_chained_to_that_of_the_first() -> None:
    handler, requests = sequential_handler(httpx.Response(502), volcengine_error("NotFound.Task", status=404))
    async with mocked(handler) as http_client:
        with pytest.raises(NotFoundError) as caught:
            await volcengine_client(http_client=http_client).stop_webcast(**STOP)
    assert len(requests) == 2
    assert caught.value.__context__ is None
