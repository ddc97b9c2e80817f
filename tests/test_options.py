"""``with_options``, the store in use, and the ids that a result carries."""

import asyncio
import math
from typing import Any
from unittest import mock

import httpx
import pytest

from tests.doubles import (
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
    ConfigurationError,
    DeadlineExceeded,
    NoQuotas,
    RetryPolicy,
    TemporaryError,
    ThrottledError,
    TransportError,
    VolcengineClient,
    WindowQuotas,
)
from volc_moderation.emulator import Fault
from volc_moderation.quotas import Priority, Quota, QuotaKey
from volc_moderation.volcengine import ListDetectionTask, StopWebcast
from volc_moderation.wire import DecodedResponse
from volc_moderation.zego import Done

STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


class RecordingStore(NoQuotas):
    def __init__(self) -> None:
        super().__init__()
        self.priorities: list[str] = []

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Any:
        self.priorities.append(priority)
        return await super().acquire(key, quota, priority)


@pytest.mark.looptime
async def test_the_deadline_is_that_of_the_options(vendors: Vendors) -> None:
    client = vendors.zego
    vendors.emulator.play(Fault(kind="code", code=50009, action="StopCensorAudioV2"))
    with pytest.raises(TemporaryError):
        await client.with_options(deadline=3).stop_censor_audio(task_id="t")


async def test_retries_and_priority_are_those_of_the_options() -> None:
    handler, requests = sequential_handler(volcengine_error("FlowLimitExceeded", status=429))
    store = RecordingStore()
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, quotas=store)
        once = client.with_options(retry=RetryPolicy(attempts=1), priority="bulk")
        with pytest.raises(ThrottledError):
            await once.stop_webcast(**STOP)
        assert (len(requests), store.priorities) == (1, ["bulk"])
        assert (once.retry.attempts, client.retry.attempts) == (1, 5)
        with pytest.raises(ThrottledError):
            await client.call(StopWebcast(**STOP), retry=RetryPolicy(attempts=1))
        assert store.priorities == ["bulk", "interactive"]


@pytest.mark.looptime
async def test_the_timeout_is_that_of_the_options() -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(3600)
        return volcengine_success()

    once = RetryPolicy(attempts=1)
    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as http_client:
        client = volcengine_client(http_client=http_client, retry=once)
        loop = asyncio.get_running_loop()
        for call, seconds in (
            (client.with_options(timeout=2).stop_webcast(**STOP), 2),
            (client.call(StopWebcast(**STOP), timeout=3), 3),
            (client.stop_webcast(**STOP), 10),
        ):
            began = loop.time()
            with pytest.raises(TransportError, match=f"no response within {seconds} s"):
                await call
            assert loop.time() - began == pytest.approx(seconds)


async def test_the_timeout_reaches_the_http_client() -> None:
    timeouts: list[Any] = []

    def handler(request: httpx.Request) -> httpx.Response:
        timeouts.append(request.extensions["timeout"])
        return volcengine_success()

    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client)
        await client.with_options(timeout=4).stop_webcast(**STOP)
        await client.stop_webcast(**STOP)
    assert [timeout["read"] for timeout in timeouts] == [4, 10]
    assert [timeout["connect"] for timeout in timeouts] == [2, 5]


@pytest.mark.looptime
async def test_options_that_are_not_given_stay(vendors: Vendors) -> None:
    """Also of a client that was itself derived; infinity removes a deadline."""
    client = volcengine_client(http_client=vendors.http_client, deadline=2, priority="bulk", quotas=RecordingStore())
    derived = client.with_options(timeout=1).with_options(retry=RetryPolicy(attempts=2))
    assert derived._options == client.with_options(timeout=1, retry=RetryPolicy(attempts=2))._options
    assert (derived._options.deadline, derived._options.priority) == (2, "bulk")
    assert derived.with_options(deadline=math.inf)._options.deadline is None
    assert isinstance(derived, VolcengineClient)


@pytest.mark.looptime
async def test_all_share_the_quota() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await client.with_options(priority="bulk").stop_webcast(**STOP)
        with pytest.raises(DeadlineExceeded):
            await client.with_options(deadline=0.5).stop_webcast(**STOP)
        assert client.quotas is client.with_options(deadline=1).quotas


async def test_closing_one_closes_all() -> None:
    client = volcengine_client()
    derived = client.with_options(deadline=3)
    await derived.aclose()
    for closed in (client, derived):
        with pytest.raises(ConfigurationError, match="the client is closed"):
            await closed.stop_webcast(**STOP)


async def test_only_the_client_itself_is_entered() -> None:
    """The end of a block would close the client that others still use."""
    async with volcengine_client() as client:
        with pytest.raises(ConfigurationError, match="not for what its with_options returns"):
            async with client.with_options(deadline=3):
                pass
        assert not client._state.is_closed


async def test_the_clocks_difference_is_learned_by_all(vendors: Vendors) -> None:
    """A stale signature is signed again once; the next call, of another client, is right at once."""
    handler, requests = sequential_handler(
        volcengine_error("InvalidTimestamp", status=400, Date="Wed, 25 Nov 2026 12:00:00 GMT"), volcengine_success()
    )
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas())
        await client.with_options(deadline=30).stop_webcast(**STOP)
        await client.stop_webcast(**STOP)
    assert [request.headers["x-date"][:8] == "20261125" for request in requests] == [False, True, True]


async def test_the_sequence_of_calls_about_streams_increases_over_all() -> None:
    sequences: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        sequences.append(int(request.url.params["Sequence"]))
        return zego_answer(data={})

    async with mocked(handler) as http_client:
        client = zego_client(http_client=http_client, quotas=NoQuotas(), clock=lambda: 1e9)
        for one in (client, client.with_options(deadline=3), client):
            await one.forbid_rtc_stream(stream_id="stream")
    assert sequences == sorted(set(sequences))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deadline": 0}, "deadline must be a number of seconds above 0; got int 0"),
        ({"deadline": True}, "deadline must be a number of seconds above 0"),
        ({"timeout": -1.5}, "timeout must be a number of seconds above 0"),
        ({"timeout": math.inf}, "timeout must be finite"),
        ({"priority": "urgent"}, "priority must be 'interactive' or 'bulk'"),
        ({"retry": 3}, "retry must be a RetryPolicy"),
    ],
)
async def test_a_wrong_option_is_named(vendors: Vendors, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        vendors.volcengine.with_options(**options)
    with pytest.raises(ConfigurationError, match=message):
        await vendors.volcengine.call(StopWebcast(**STOP), **options)
    assert vendors.requests == []


async def test_nothing_is_created_but_the_client(vendors: Vendors) -> None:
    """No HTTP client, no certificates and no store: a web app may derive one for each request."""
    client = vendors.volcengine
    derived = client.with_options(deadline=3)
    assert {name for name, value in vars(derived).items() if vars(client)[name] is not value} == {
        "_options",
        "_is_derived",
    }


# The store in use


async def test_the_store_in_use_is_known_before_the_first_call() -> None:
    async with volcengine_client() as first, zego_client() as second:
        assert isinstance(first.quotas, WindowQuotas)
        assert first.quotas is second.quotas
    store = NoQuotas()
    assert volcengine_client(quotas=store).quotas is store


async def test_the_store_of_the_loop_is_the_one_that_calls_use(vendors: Vendors) -> None:
    client = volcengine_client(http_client=vendors.http_client)
    store = client.quotas
    await client.list_detection_task(app_id="app", room_id="room")
    assert client.quotas is store
    assert isinstance(store, WindowQuotas)
    assert [state.permits_out for key, state in store.snapshot().items() if key.action == "ListDetectionTask"]


def test_without_a_loop_there_is_no_store_yet() -> None:
    client = volcengine_client()
    with pytest.raises(ConfigurationError, match="give quotas="):
        _ = client.quotas
    assert not hasattr(client, "quotas")
    assert mock.Mock(spec=client).stop_webcast is not None


# Ids


async def test_a_result_carries_the_ids_that_support_asks_for() -> None:
    listing = {"EventData": [], "Message": "success"}
    handler, _ = sequential_handler(volcengine_success(listing, **{"X-Tt-Logid": "log-1"}))
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client)
        tasks = await client.list_detection_task(app_id="app", room_id="room")
        reply = await client.call(ListDetectionTask(app_id="app", room_id="room"))
    assert (tasks.request_id, tasks.log_id) == ("r-1", "log-1") == (reply.request_id, reply.log_id)
    assert tasks == reply.result
    assert "r-1" not in repr(tasks)


def test_a_result_that_several_responses_have_in_common_gets_ids_of_its_own() -> None:
    """As of a client of your own that returns a constant."""
    constant = Done()
    first, second, third = (DecodedResponse(constant, request_id) for request_id in ("r-1", "r-2", None))
    assert [one.result.request_id for one in (first, second, third)] == ["r-1", "r-2", None]
