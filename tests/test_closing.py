"""Closing a client, permits that are lost, the callbacks of a call, warnings about the rate."""

import asyncio
import logging
import time
from typing import Any

import httpx
import pytest

from tests.doubles import (
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
    ConfigurationError,
    DeadlineExceeded,
    NoQuotas,
    ThrottledError,
    TransportError,
    WindowQuotas,
)
from volc_moderation.gate import MAX_IN_FLIGHT
from volc_moderation.quotas import Priority, Quota, QuotaKey
from volc_moderation.volcengine import ListDetectionTask, StopWebcast
from volc_moderation.zego import DescribeUserList, KickoutUser

STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


@pytest.mark.looptime
async def test_closing_ends_calls_that_wait_for_a_permit_at_once() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        calls = [
            asyncio.create_task(client.call(StopWebcast(**STOP), deadline=deadline)) for deadline in (None, 60, 60)
        ]
        await asyncio.sleep(0.5)
        await client.aclose()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.001)
    assert [type(outcome) for outcome in outcomes[1:]] == 2 * [ConfigurationError]
    assert [str(outcome) for outcome in outcomes[1:]] == 2 * ["StopWebcast: the client is closed"]


@pytest.mark.looptime
async def test_closing_ends_calls_that_wait_at_the_gate_at_once() -> None:
    """Calls in flight continue, because the HTTP client is the user's."""

    async def slow(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        return volcengine_success()

    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas())
        calls = [asyncio.create_task(client.stop_webcast(**STOP)) for _ in range(MAX_IN_FLIGHT + 3)]
        await asyncio.sleep(1)
        await client.aclose()
        done, pending = await asyncio.wait(calls, timeout=0.01)
        assert [type(call.exception()) for call in done] == 3 * [ConfigurationError]
        assert [(await call).message for call in pending] == MAX_IN_FLIGHT * ["ok"]


@pytest.mark.looptime
async def test_closing_raises_the_last_error_of_a_waiting_call() -> None:
    """A call whose first attempt was refused, and whose second one waits for a permit, ends with the refusal."""
    handler, requests = sequential_handler(volcengine_error("ServiceUnavailableTemp", status=503))

    class Once:
        taken = 0

        async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Any:
            self.taken += 1
            if self.taken > 1:
                await asyncio.Event().wait()
            return await NoQuotas().acquire(key, quota)

    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, quotas=Once())
        call = asyncio.create_task(client.stop_webcast(**STOP))
        await asyncio.sleep(30)
        await client.aclose()
        with pytest.raises(APIError, match="ServiceUnavailableTemp"):
            await call
    assert len(requests) == 1


@pytest.mark.looptime
async def test_a_deadline_that_passes_as_the_client_closes_is_a_deadline_error() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.stop_webcast(**STOP)
        call = asyncio.create_task(client.call(StopWebcast(**STOP), deadline=0.5))
        await asyncio.sleep(0.5)
        assert call.cancelling()  # the deadline has passed, and the task has not run yet
        await client.aclose()
        with pytest.raises(DeadlineExceeded):
            await call


@pytest.mark.slow
async def test_on_send_is_called_before_each_request() -> None:
    sent: list[int] = []
    handler, requests = sequential_handler(volcengine_error("InternalError", status=500), volcengine_success())
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client)
        await client.call(StopWebcast(**STOP), on_send=lambda: sent.append(len(requests)))
    assert sent == [0, 1]


@pytest.mark.looptime
async def test_on_send_is_not_called_if_no_request_is_sent() -> None:
    sent: list[None] = []
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.stop_webcast(**STOP)
        with pytest.raises(DeadlineExceeded) as caught:
            await client.call(StopWebcast(**STOP), deadline=0.5, on_send=lambda: sent.append(None))
    assert (sent, caught.value.maybe_sent) == ([], False)


class LostPermits:
    """A store whose first permits are lost before they are used."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.returned: list[Any] = []

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> "LostPermits":
        return self

    def is_valid(self) -> bool:
        self.lost -= 1
        return self.lost < 0

    def answered(self, round_trip: float) -> None:
        self.returned.append("answered")

    def throttled(self, round_trip: float) -> None:
        self.returned.append("throttled")

    def abandoned(self, age: float | None) -> None:
        self.returned.append(age)


async def test_nothing_is_sent_with_a_lost_permit() -> None:
    """The lost permit is returned as unused, and the call acquires another one; that is not an attempt."""
    handler, requests = sequential_handler(volcengine_success())
    quotas = LostPermits(3)
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, quotas=quotas)
        reply = await client.call(StopWebcast(**STOP))
    assert (quotas.returned, len(requests), reply.attempts) == ([None, None, None, "answered"], 1, 1)


class RoomPermits(LostPermits):
    """A store whose permits record whether they are those of a room or of the action."""

    def __init__(self) -> None:
        super().__init__(0)
        self.keys: list[str | None] = []

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Any:
        self.keys.append(key.room)
        return Permit(self.returned, key.room)


class Permit:
    def __init__(self, returned: list[Any], room: str | None) -> None:
        self.returned, self.room = returned, room

    def answered(self, _: float) -> None:
        self.returned.append((self.room, "answered"))

    def throttled(self, _: float) -> None:
        self.returned.append((self.room, "throttled"))

    def abandoned(self, _: float | None) -> None:
        self.returned.append((self.room, "abandoned"))


@pytest.mark.parametrize(
    ("action", "code", "returned"),
    [
        (KickoutUser(room_id="r", user_id=["u"]), 207, [(None, "answered")]),
        (KickoutUser(room_id="r", user_id=["u"]), 206, [(None, "throttled")]),
        (DescribeUserList(room_id="r"), 207, [("r", "throttled"), (None, "answered")]),
        (DescribeUserList(room_id="r"), 206, [("r", "answered"), (None, "throttled")]),
    ],
)
async def test_a_refusal_shrinks_the_quota_that_it_names(action: Any, code: int, returned: list[Any]) -> None:
    """A refusal for a room does not shrink the quota of the whole app."""
    quotas = RoomPermits()
    async with mocked(lambda _: zego_answer(code)) as http_client:
        with pytest.raises(ThrottledError):
            await zego_client(http_client=http_client, quotas=quotas, deadline=0.5).call(action)
    assert quotas.returned == returned


@pytest.mark.looptime
async def test_a_refusal_for_the_rate_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Another program uses the quota. The warning is per action, because many refusals come at once."""
    caplog.set_level(logging.WARNING, "volc_moderation")
    async with mocked(lambda _: volcengine_error("FlowLimitExceeded.QPSOverLimit")) as http_client:
        client = volcengine_client(http_client=http_client, deadline=0.5)
        for _ in range(3):
            with pytest.raises(ThrottledError):
                await client.stop_webcast(**STOP)
        with pytest.raises(ThrottledError):
            await client.get_web_cast_task(**STOP)
        await asyncio.sleep(60)
        with pytest.raises(ThrottledError):
            await client.stop_webcast(**STOP)
    messages = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in messages] == ["StopWebcast", "GetWebCastTask", "StopWebcast"]
    assert "other programs use the quota too, or it is smaller than documented" in messages[0]


@pytest.mark.looptime
async def test_the_client_keeps_no_call_that_has_ended() -> None:
    """Whether it succeeded, timed out or was cancelled."""
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.call(StopWebcast(**STOP))
        with pytest.raises(DeadlineExceeded):
            await client.call(StopWebcast(**STOP), deadline=0.5)
        cancelled = asyncio.create_task(client.call(StopWebcast(**STOP)))
        await asyncio.sleep(0.1)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert not client._state.unsent
        await client.aclose()


async def test_a_refusal_of_an_unpublished_quota_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "volc_moderation")
    async with mocked(lambda _: volcengine_error("FlowLimitExceeded.QPSOverLimit")) as http_client:
        with pytest.raises(ThrottledError):
            await volcengine_client(http_client=http_client, deadline=0.5).call(
                ListDetectionTask(app_id="app", room_id="room")
            )
    assert not caplog.records


async def test_closing_the_http_client_with_a_request_in_flight() -> None:
    """Httpx raises a RuntimeError: whether the request arrived is unknown."""

    async def closed(_: httpx.Request) -> httpx.Response:
        await http_client.aclose()
        raise RuntimeError("the handler was closed")

    http_client = httpx.AsyncClient(transport=httpx.MockTransport(closed))
    client = volcengine_client(http_client=http_client, quotas=NoQuotas())
    began = time.monotonic()
    with pytest.raises(TransportError, match="the HTTP client was closed during the request") as caught:
        await client.stop_webcast(**STOP)
    assert caught.value.maybe_sent
    assert caught.value.attempts == 1
    assert time.monotonic() - began < 5
