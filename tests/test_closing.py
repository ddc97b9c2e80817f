"""The end of a client, permits that are lost, and what is told while a call goes on."""

import asyncio
import logging
import time
from typing import Any

import httpx
import pytest

from tests.doubles import in_turn, mocked, volcengine_client, volcengine_no, volcengine_yes, zego_answer, zego_client
from volc_moderation import (
    APIError,
    ConfigurationError,
    DeadlineExceeded,
    NoQuotas,
    ThrottledError,
    TransportError,
    WindowQuotas,
)
from volc_moderation.gate import IN_FLIGHT
from volc_moderation.quotas import Priority, Quota, QuotaKey
from volc_moderation.volcengine import ListDetectionTask, StopWebcast
from volc_moderation.zego import DescribeUserList, KickoutUser

STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


@pytest.mark.looptime
async def test_closing_ends_calls_that_wait_for_a_permit_at_once() -> None:
    async with mocked(lambda _: volcengine_yes()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        calls = [asyncio.create_task(client.call(StopWebcast(**STOP), deadline=given)) for given in (None, 60, 60)]
        await asyncio.sleep(0.5)
        await client.aclose()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert asyncio.get_running_loop().time() == pytest.approx(0.5, abs=0.001)
    assert [type(outcome) for outcome in outcomes[1:]] == 2 * [ConfigurationError]
    assert [str(outcome) for outcome in outcomes[1:]] == 2 * ["StopWebcast: the client is closed"]


@pytest.mark.looptime
async def test_closing_ends_calls_that_wait_at_the_gate_at_once() -> None:
    """Those in flight go on, for the HTTP client is the user's."""

    async def slow(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        return volcengine_yes()

    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas())
        calls = [asyncio.create_task(client.stop_webcast(**STOP)) for _ in range(IN_FLIGHT + 3)]
        await asyncio.sleep(1)
        await client.aclose()
        done, pending = await asyncio.wait(calls, timeout=0.01)
        assert [type(call.exception()) for call in done] == 3 * [ConfigurationError]
        assert [(await call).message for call in pending] == IN_FLIGHT * ["ok"]


@pytest.mark.looptime
async def test_closing_tells_what_was_sent_before() -> None:
    """A call whose first attempt was refused, and whose second one waits for a permit, ends with the refusal."""
    handler, asked = in_turn(volcengine_no("ServiceUnavailableTemp", status=503))

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
    assert len(asked) == 1


@pytest.mark.looptime
async def test_a_deadline_that_passes_as_the_client_closes() -> None:
    async with mocked(lambda _: volcengine_yes()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.stop_webcast(**STOP)
        call = asyncio.create_task(client.call(StopWebcast(**STOP), deadline=0.5))
        await asyncio.sleep(0.5)
        assert call.cancelling()  # its time has come, and it has not heard of it yet
        await client.aclose()
        with pytest.raises(DeadlineExceeded):
            await call


async def test_on_send_is_called_before_each_request() -> None:
    sent: list[int] = []
    handler, asked = in_turn(volcengine_no("InternalError", status=500), volcengine_yes())
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client)
        await client.call(StopWebcast(**STOP), on_send=lambda: sent.append(len(asked)))
    assert sent == [0, 1]


@pytest.mark.looptime
async def test_on_send_is_not_called_of_what_never_left() -> None:
    sent: list[None] = []
    async with mocked(lambda _: volcengine_yes()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.stop_webcast(**STOP)
        with pytest.raises(DeadlineExceeded) as caught:
            await client.call(StopWebcast(**STOP), deadline=0.5, on_send=lambda: sent.append(None))
    assert (sent, caught.value.maybe_sent) == ([], False)


class Lost:
    """Permits of a store that takes the first ones away before they are used."""

    def __init__(self, lost: int) -> None:
        self.lost = lost
        self.returned: list[Any] = []

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> "Lost":
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


async def test_nothing_is_sent_on_a_permit_that_was_lost() -> None:
    """It goes back as not used, and the call takes another one; that is no attempt."""
    handler, asked = in_turn(volcengine_yes())
    quotas = Lost(3)
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, quotas=quotas)
        reply = await client.call(StopWebcast(**STOP))
    assert (quotas.returned, len(asked), reply.attempts) == ([None, None, None, "answered"], 1, 1)


class Room(Lost):
    """Tells the permit of a room from that of the action."""

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
async def test_a_refusal_shrinks_the_quota_that_it_is_about(action: Any, code: int, returned: list[Any]) -> None:
    """A refusal for a room says nothing about the quota of the whole app."""
    quotas = Room()
    async with mocked(lambda _: zego_answer(code)) as http_client:
        with pytest.raises(ThrottledError):
            await zego_client(http_client=http_client, quotas=quotas, deadline=0.5).call(action)
    assert quotas.returned == returned


@pytest.mark.looptime
async def test_a_refusal_for_the_rate_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Something else uses the quota. It is told once a minute for each action, for refusals come in crowds."""
    caplog.set_level(logging.WARNING, "volc_moderation")
    async with mocked(lambda _: volcengine_no("FlowLimitExceeded.QPSOverLimit")) as http_client:
        client = volcengine_client(http_client=http_client, deadline=0.5)
        for _ in range(3):
            with pytest.raises(ThrottledError):
                await client.stop_webcast(**STOP)
        with pytest.raises(ThrottledError):
            await client.get_web_cast_task(**STOP)
        await asyncio.sleep(60)
        with pytest.raises(ThrottledError):
            await client.stop_webcast(**STOP)
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0] for line in told] == ["StopWebcast", "GetWebCastTask", "StopWebcast"]
    assert "other programs use the quota too, or it is smaller than documented" in told[0]


@pytest.mark.looptime
async def test_calls_that_have_ended_are_forgotten() -> None:
    """However they ended: closing has nothing to tell them."""
    async with mocked(lambda _: volcengine_yes()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.call(StopWebcast(**STOP))
        with pytest.raises(DeadlineExceeded):
            await client.call(StopWebcast(**STOP), deadline=0.5)
        cancelled = asyncio.create_task(client.call(StopWebcast(**STOP)))
        await asyncio.sleep(0.1)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert not client._unsent
        await client.aclose()


async def test_a_quota_that_is_learned_by_refusals_warns_of_none(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "volc_moderation")
    async with mocked(lambda _: volcengine_no("FlowLimitExceeded.QPSOverLimit")) as http_client:
        with pytest.raises(ThrottledError):
            await volcengine_client(http_client=http_client, deadline=0.5).call(
                ListDetectionTask(app_id="app", room_id="room")
            )
    assert not caplog.records


async def test_closing_the_http_client_with_a_request_in_flight() -> None:
    """It raises a RuntimeError then: whether the request arrived is not known."""

    async def closed(_: httpx.Request) -> httpx.Response:
        await http_client.aclose()
        raise RuntimeError("the handler was closed")

    http_client = httpx.AsyncClient(transport=httpx.MockTransport(closed))
    client = volcengine_client(http_client=http_client, quotas=NoQuotas())
    began = time.monotonic()
    with pytest.raises(TransportError, match="the HTTP client was closed meanwhile") as caught:
        await client.stop_webcast(**STOP)
    assert caught.value.maybe_sent
    assert caught.value.attempts == 1
    assert time.monotonic() - began < 5
