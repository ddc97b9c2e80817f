"""One call, from start to finish: deadlines, cancellation, event loops, closing, two clients of one account."""

import asyncio
import copy
import enum
import pickle
import time
from email.utils import formatdate
from typing import Any

import httpx
import httpx2
import pytest

from tests.doubles import (
    NOW,
    Vendors,
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
    RetryPolicy,
    TransportError,
    VolcengineClient,
    WindowQuotas,
)
from volc_moderation.emulator import EmulatorProcess, Fault
from volc_moderation.error_codes import clock_skew
from volc_moderation.gate import MAX_IN_FLIGHT
from volc_moderation.quotas import Permit, Priority, Quota, QuotaKey
from volc_moderation.volcengine import StopWebcast
from volc_moderation.wire import Response
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.usefixtures("library")

STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


async def test_a_reply_has_the_ids_that_support_asks_for() -> None:
    handler, _ = sequential_handler(volcengine_success(**{"X-Tt-Logid": "log-7"}))
    async with mocked(handler) as http_client:
        reply = await volcengine_client(http_client=http_client).call(StopWebcast(**STOP))
    assert (reply.result.message, reply.request_id, reply.log_id, reply.attempts) == ("ok", "r-1", "log-7", 1)


async def test_an_error_has_the_ids_that_support_asks_for() -> None:
    handler, _ = sequential_handler(volcengine_error("InvalidParameter", "RoomId?", 400, **{"X-Tt-Logid": "log-7"}))
    async with mocked(handler) as http_client:
        with pytest.raises(APIError) as caught:
            await volcengine_client(http_client=http_client).stop_webcast(**STOP)
    error = caught.value
    assert (error.action, error.code, error.message) == ("StopWebcast", "InvalidParameter", "RoomId?")
    assert (error.request_id, error.log_id, error.status, error.attempts) == ("r-1", "log-7", 400, 1)
    assert str(error) == (
        "StopWebcast: InvalidParameter RoomId? (the message names the parameter) [HTTP 400, request r-1]"
    )


@pytest.mark.looptime
async def test_waits_for_the_quota_count_as_waiting() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.stop_webcast(**STOP)
        reply = await client.call(StopWebcast(**STOP))
    assert reply.waited == pytest.approx(1, abs=0.01)


@pytest.mark.looptime
async def test_the_deadline_covers_the_wait_for_the_quota() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}), deadline=3.5)
        outcomes = await asyncio.gather(*(client.stop_webcast(**STOP) for _ in range(9)), return_exceptions=True)
    late = [outcome for outcome in outcomes if isinstance(outcome, DeadlineExceeded)]
    assert len(late) == 5
    assert asyncio.get_running_loop().time() == pytest.approx(3.5, abs=0.01)
    assert (late[0].maybe_sent, late[0].attempts, late[0].action) == (False, 0, "StopWebcast")
    assert isinstance(late[0], TimeoutError)
    assert str(late[0]) == "StopWebcast: not done within 3.5 s"


@pytest.mark.looptime
async def test_the_deadline_ends_a_hang(vendors: Vendors) -> None:
    """The request may have arrived. The deadline of the call passes before the timeout of the request."""
    vendors.emulator.play(Fault(kind="hang"))
    with pytest.raises(DeadlineExceeded) as caught:
        await vendors.volcengine.call(StopWebcast(**STOP), deadline=2)
    assert caught.value.maybe_sent
    assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.01)


@pytest.mark.looptime
async def test_the_last_error_is_the_cause_of_a_missed_deadline(vendors: Vendors) -> None:
    vendors.emulator.play(Fault(kind="code", code="ServiceUnavailableTemp"))
    vendors.emulator.play(Fault(kind="hang"))
    with pytest.raises(DeadlineExceeded) as caught:
        await vendors.volcengine.call(StopWebcast(**STOP), deadline=5)
    assert isinstance(caught.value.__cause__, APIError)
    assert caught.value.__cause__.code == "ServiceUnavailableTemp"
    assert caught.value.attempts == 2


@pytest.mark.looptime
async def test_the_deadline_of_a_call_overrides_that_of_the_client(vendors: Vendors) -> None:
    vendors.emulator.play(Fault(kind="hang", first=2))
    client = volcengine_client(http_client=vendors.http_client, deadline=1)
    with pytest.raises(DeadlineExceeded, match="within 3 s"):
        await client.call(StopWebcast(**STOP), deadline=3)
    with pytest.raises(DeadlineExceeded, match="within 1 s"):
        await client.stop_webcast(**STOP)


@pytest.mark.looptime
async def test_infinity_means_no_deadline(vendors: Vendors) -> None:
    vendors.emulator.play(Fault(kind="code", code=50009, action="StopCensorAudioV2"))
    client = zego_client(http_client=vendors.http_client, deadline=5)
    with pytest.raises(APIError, match="no such task"):
        await client.call(StopCensorAudioV2(task_id="t"), deadline=float("inf"))
    assert asyncio.get_running_loop().time() == pytest.approx(300, abs=1)


@pytest.mark.looptime
async def test_a_cancelled_call_sends_nothing_more(vendors: Vendors) -> None:
    vendors.emulator.play(Fault(kind="code", code=50009, first=9))
    call = asyncio.create_task(vendors.zego.stop_censor_audio(task_id="t"))
    await asyncio.sleep(100)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(1000)
    assert len(vendors.requests) == 1


class Recorder:
    """A store of quotas that records how each permit was returned."""

    def __init__(self) -> None:
        self.returned: list[float | None] = []

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
        return self

    def answered(self, round_trip: float) -> None:
        self.returned.append(round_trip)

    def throttled(self, round_trip: float) -> None:
        self.returned.append(round_trip)

    def abandoned(self, age: float | None) -> None:
        self.returned.append(age)


@pytest.mark.looptime
async def test_an_abandoned_permit_has_the_age_of_its_request() -> None:
    """A call cancelled in flight reports how long ago it was sent; one cancelled at the gate sent nothing."""

    async def hang(request: httpx.Request) -> None:
        await asyncio.sleep(9)

    quotas = Recorder()
    async with mocked(lambda _: volcengine_success()) as http_client:
        http_client.event_hooks = {"request": [hang]}
        client = volcengine_client(http_client=http_client, quotas=quotas)
        await asyncio.sleep(7)
        calls = [asyncio.create_task(client.stop_webcast(**STOP)) for _ in range(MAX_IN_FLIGHT + 1)]
        await asyncio.sleep(3)
        for call in (calls[-1], calls[0]):
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert quotas.returned[:2] == [None, pytest.approx(3, abs=0.01)]
    assert quotas.returned[2:] == [pytest.approx(9, abs=0.01)] * (MAX_IN_FLIGHT - 1)


async def test_a_timeout_of_the_store_is_not_taken_for_the_deadline() -> None:
    class Broken:
        async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
            raise TimeoutError("of the store")

    async with mocked(lambda _: volcengine_success()) as http_client:
        with pytest.raises(TimeoutError, match="of the store"):
            await volcengine_client(http_client=http_client, quotas=Broken(), deadline=9).stop_webcast(**STOP)


def test_another_event_loop_is_refused() -> None:
    http_client = mocked(lambda _: volcengine_success())
    client = volcengine_client(http_client=http_client)
    asyncio.run(client.stop_webcast(**STOP))
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(client.stop_webcast(**STOP))
    with pytest.raises(ConfigurationError, match="another event loop"):
        asyncio.run(client.aclose())


async def test_a_closed_client_is_refused() -> None:
    async with volcengine_client() as client:
        pass
    with pytest.raises(ConfigurationError, match="the client is closed"):
        await client.stop_webcast(**STOP)
    with pytest.raises(ConfigurationError, match="the client is closed"):
        await client.__aenter__()
    await client.aclose()


async def test_a_closed_http_client_is_refused() -> None:
    http_client = mocked(lambda _: volcengine_success())
    client = volcengine_client(http_client=http_client)
    await http_client.aclose()
    with pytest.raises(ConfigurationError, match="the http_client is closed"):
        await client.stop_webcast(**STOP)


@pytest.mark.looptime
async def test_closing_ends_waiting_calls() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        calls = [asyncio.create_task(client.stop_webcast(**STOP)) for _ in range(3)]
        await asyncio.sleep(0.5)
        await client.aclose()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Acknowledgement", *2 * ["ConfigurationError"]]


@pytest.mark.looptime
async def test_closing_ends_the_wait_for_a_retry() -> None:
    """It ends at once, with the error that was to be retried: the caller learns what was sent."""
    handler, requests = sequential_handler(zego_answer(50009))
    async with mocked(handler) as http_client:
        client = zego_client(http_client=http_client)
        call = asyncio.create_task(client.stop_censor_audio(task_id="t"))
        await asyncio.sleep(100)
        await client.aclose()
        with pytest.raises(APIError, match="50009"):
            await call
    assert asyncio.get_running_loop().time() == pytest.approx(100, abs=0.01)
    assert len(requests) == 1


async def test_closing_with_a_request_in_flight_sets_maybe_sent(emulator: EmulatorProcess) -> None:
    await emulator.play(Fault(kind="hang"))
    async with volcengine_client(base_url=emulator.base_url) as client:
        call = asyncio.create_task(client.stop_webcast(**STOP))
        await asyncio.sleep(0.3)
    with pytest.raises(TransportError) as caught:
        await call
    assert caught.value.maybe_sent


async def test_an_event_hook_may_call_raise_for_status() -> None:
    async def raise_for_status(response: httpx.Response) -> None:
        response.raise_for_status()

    handler, requests = sequential_handler(volcengine_error("SignatureDoesNotMatch", status=401))
    async with httpx.AsyncClient(
        transport=httpx.MockTransport(handler), event_hooks={"response": [raise_for_status]}
    ) as http_client:
        with pytest.raises(TransportError) as caught:
            await volcengine_client(http_client=http_client).stop_webcast(**STOP)
    assert (caught.value.status, len(requests)) == (401, 1)


async def test_httpx2_clients_are_accepted() -> None:
    """Responses and exceptions of httpx2 are understood too."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        if b"gone" in request.content:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(200, content=zego_answer().content)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as http_client:
        client = zego_client(http_client=http_client, retry=RetryPolicy(attempts=1))
        await client.stop_censor_audio(task_id="t")
        with pytest.raises(Exception, match=r"ConnectError \(rtc-api\.zego\.im\): refused") as caught:
            await client.stop_censor_audio(task_id="gone")
    assert type(caught.value).__name__ == "TransportError"


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.looptime
async def test_two_clients_of_one_account_share_its_quota(vendors: Vendors) -> None:
    """The vendor counts per account: a second client, or one created after another closed, gets no second quota."""
    for _ in range(2):
        client = volcengine_client(http_client=vendors.http_client)
        starts = [
            client.start_webcast(app_id="a", room_id="r", task_id="t", user_id="u", source_url="https://example.com/")
            for _ in range(150)
        ]
        await asyncio.gather(*starts)
        await client.aclose()
    count = vendors.emulator.counts()["StartWebcast"]
    assert (count["accepted"], count["throttled"]) == (300, 0)


@pytest.mark.looptime
async def test_accounts_have_quotas_of_their_own() -> None:
    quotas = WindowQuotas({"StopWebcast": 1})
    async with mocked(lambda _: volcengine_success()) as http_client:
        options: dict[str, Any] = {"secret_key": "SK", "http_client": http_client, "quotas": quotas}
        first = VolcengineClient(access_key="AK1", **options)
        second = VolcengineClient(access_key="AK2", **options)
        third = VolcengineClient(access_key="AK3", account="AK1", **options)
        await asyncio.gather(first.stop_webcast(**STOP), second.stop_webcast(**STOP))
        assert asyncio.get_running_loop().time() < 0.1
        await third.stop_webcast(**STOP)
        assert asyncio.get_running_loop().time() > 0.9


@pytest.mark.looptime
async def test_versions_of_an_action_share_its_quota() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.stop_webcast(**STOP)
        await client.stop_webcast(**STOP, version="2023-11-01")
    assert asyncio.get_running_loop().time() == pytest.approx(1, abs=0.01)


async def test_no_quotas_means_no_waiting() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas())
        await asyncio.gather(*(client.stop_webcast(**STOP) for _ in range(500)))


@pytest.mark.looptime
async def test_an_error_has_the_seconds_waited() -> None:
    """Seconds of a wait for the quota that ended with the deadline."""
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.stop_webcast(**STOP)
        with pytest.raises(DeadlineExceeded) as caught:
            await client.call(StopWebcast(**STOP), deadline=0.5)
    assert caught.value.waited == pytest.approx(0.5, abs=0.01)


class Room(str, enum.Enum):  # noqa: UP042 - its str() is not its value
    """A string enum, as programs have them."""

    LOBBY = "lobby"


async def test_an_enum_is_sent_as_its_value_everywhere() -> None:
    """In bodies and in queries: otherwise the start would act on another room than the listing."""
    sent: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sent.append(f"{request.url.query.decode()} {request.content.decode()}")
        is_zego = "SignatureNonce" in request.url.params
        return zego_answer(data={}) if is_zego else volcengine_success({"EventData": [], "Message": "ok"})

    async with mocked(handler) as http_client:
        client, zego = volcengine_client(http_client=http_client), zego_client(http_client=http_client)
        await client.start_detection(app_id="a", room_id=Room.LOBBY)
        await client.list_detection_task(app_id="a", room_id=Room.LOBBY)
        await zego.kickout_user(room_id=Room.LOBBY, user_id=[Room.LOBBY])
    assert [line.count("lobby") for line in sent] == [1, 1, 2]
    assert not [line for line in sent if "LOBBY" in line]


async def test_the_priority_is_passed_to_the_store() -> None:
    priorities: list[Priority] = []

    class Store(NoQuotas):
        async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Any:
            priorities.append(priority)
            return await super().acquire(key, quota, priority)

    async with mocked(lambda _: volcengine_success()) as http_client:
        for priority in ("interactive", "bulk"):
            client = volcengine_client(http_client=http_client, quotas=Store(), priority=priority)
            await client.stop_webcast(**STOP)
            await client.call(StopWebcast(**STOP), priority="interactive")
            await client.call(StopWebcast(**STOP), priority="bulk")
    assert priorities == ["interactive", "interactive", "bulk", "bulk", "interactive", "bulk"]


async def test_an_action_of_the_other_vendor_is_refused() -> None:
    async with volcengine_client() as client:
        with pytest.raises(ConfigurationError, match="got StopCensorAudioV2"):
            await client.call(StopCensorAudioV2(task_id="t"))


@pytest.mark.looptime
async def test_errors_survive_pickle_and_copy() -> None:
    handler, _ = sequential_handler(zego_answer(50009, message="later"))
    async with mocked(handler) as http_client:
        with pytest.raises(APIError) as caught:
            await zego_client(http_client=http_client, deadline=1).stop_censor_audio(task_id="t")
    for error in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):  # noqa: S301 - our own
        assert type(error) is type(caught.value)
        assert vars(error) == vars(caught.value)
        assert str(error) == str(caught.value)
    late = DeadlineExceeded("late", maybe_sent=True)
    assert pickle.loads(pickle.dumps(late)).maybe_sent  # noqa: S301


@pytest.mark.looptime
async def test_permits_are_returned_with_the_round_trip_or_the_age() -> None:
    """After a response, the round trip; after a broken connection, the seconds since the request was sent."""
    quotas = Recorder()

    async def slow(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.3)
        if len(quotas.returned) == 1:
            raise httpx.ReadError("")
        return volcengine_success()

    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=quotas, retry=RetryPolicy(attempts=1))
        await client.stop_webcast(**STOP)
        with pytest.raises(TransportError):
            await client.stop_webcast(**STOP)
    assert quotas.returned == [pytest.approx(0.3, abs=0.01)] * 2


@pytest.mark.looptime
async def test_a_deadline_after_a_refusal_does_not_set_maybe_sent() -> None:
    """The first attempt was refused, the second waits for a permit that never comes."""

    class Once(Recorder):
        used = False

        async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
            if self.used:
                await asyncio.Event().wait()
            self.used = True
            return self

    handler, _ = sequential_handler(volcengine_error("FlowLimitExceeded"))
    async with mocked(handler) as http_client:
        with pytest.raises(DeadlineExceeded) as caught:
            await volcengine_client(http_client=http_client, quotas=Once(), deadline=9).stop_webcast(**STOP)
    assert not caught.value.maybe_sent


@pytest.mark.looptime
async def test_retry_after_is_the_vendors_without_jitter() -> None:
    wait: dict[str, Any] = {"Retry-After": "9"}
    handler, _ = sequential_handler(volcengine_error("FlowLimitExceeded", **wait))
    async with mocked(handler) as http_client:
        with pytest.raises(APIError) as caught:
            await volcengine_client(http_client=http_client, deadline=5).stop_webcast(**STOP)
    assert caught.value.retry_after == 9


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai"])
def test_the_clock_skew_is_read_from_the_date_header(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    dates = (formatdate(NOW + 3600, usegmt=True), formatdate(NOW + 3600), "nonsense")
    skews = [clock_skew(Response(403, {"date": date}, b"", 0.1), NOW) for date in dates]
    monkeypatch.undo()
    time.tzset()
    assert skews == [3600, 3600, 0]


async def test_the_clock_skew_is_only_learned_after_a_stale_timestamp() -> None:
    handler, requests = sequential_handler(
        volcengine_error("SignatureDoesNotMatch", date="Fri, 20 Nov 2020 08:30:00 GMT")
    )
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, clock=lambda: NOW)
        for _ in range(2):
            with pytest.raises(APIError):
                await client.stop_webcast(**STOP)
    assert requests[0].headers["x-date"] == requests[1].headers["x-date"]
