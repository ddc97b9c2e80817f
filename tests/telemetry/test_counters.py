"""What is counted: calls, attempts, refusals, waits, callbacks, verdicts, and refreshes of credentials."""

import asyncio
import json
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
from tests.telemetry.conftest import Exported
from tests.webhooks.test_app import Handler, status, webhooks
from volc_moderation import APIError, ModerationError, NoQuotas, RetryPolicy, WindowQuotas
from volc_moderation.renewed_keys import RenewedKeys
from volc_moderation.telemetry.instruments import MAX_SERIES, OTHER, Metric
from volc_moderation.testing import make_volcengine_callback, make_zego_callback
from volc_moderation.transport import Transport
from volc_moderation.volcengine import StopWebcast
from volc_moderation.webhooks import MemoryDedupeStore
from volc_moderation.wire import Response

pytestmark = pytest.mark.slow

STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


@pytest.mark.looptime
async def test_calls_and_attempts_by_what_became_of_them(exported: Exported) -> None:
    handler, _ = sequential_handler(
        volcengine_error("FlowLimitExceeded", status=429),
        volcengine_success(),
        httpx.ReadError("broken"),
        volcengine_error("InvalidParameter"),
    )
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas(), retry=RetryPolicy(attempts=2, base=0))
        await client.stop_webcast(**STOP)
        with pytest.raises(ModerationError):
            await client.stop_webcast(**STOP)
    action = "volcengine", "StopWebcast"
    assert exported.values(Metric.CALLS) == {(*action, None): 1, (*action, "InvalidRequestError"): 1}
    assert exported.values(Metric.ATTEMPTS) == {
        (*action, "ThrottledError"): 1,
        (*action, None): 1,
        (*action, "TransportError"): 1,
        (*action, "InvalidRequestError"): 1,
    }
    assert exported.values(Metric.REFUSALS) == {(*action, "FlowLimitExceeded"): 1, (*action, "InvalidParameter"): 1}
    assert exported.values(Metric.ROUND_TRIPS).keys() == {action}


@pytest.mark.looptime
async def test_the_time_that_requests_wait_for_their_permits(exported: Exported) -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"StopWebcast": 1}))
        await asyncio.gather(*(client.stop_webcast(**STOP) for _ in range(4)))
        (waited,) = exported.values(Metric.QUOTA_WAIT).values()
        assert waited == pytest.approx(0 + 1 + 2 + 3, abs=0.5)
        with pytest.raises(ModerationError):
            await client.call(StopWebcast(**STOP), deadline=0.5)
        assert exported.values(Metric.QUOTA_WAIT)["volcengine", "StopWebcast"] == pytest.approx(waited + 0.5, abs=0.1)


async def test_a_cancelled_call_is_counted(exported: Exported) -> None:
    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as http_client:
        task = asyncio.create_task(volcengine_client(http_client=http_client).stop_webcast(**STOP))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
    for metric in (Metric.CALLS, Metric.ATTEMPTS):
        assert exported.values(metric) == {("volcengine", "StopWebcast", "CancelledError"): 1}


@pytest.mark.slow
async def test_a_vendor_cannot_make_up_more_codes_than_are_kept(
    exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volc_moderation.telemetry.recorder.MAX_SERIES", 50)
    assert MAX_SERIES >= 50
    codes = iter(range(1, 10_000))
    async with mocked(lambda _: zego_answer(300_000_000 + next(codes))) as http_client:
        client = zego_client(http_client=http_client, quotas=NoQuotas(), retry=RetryPolicy(attempts=1))
        for _ in range(200):
            with pytest.raises(APIError):
                await client.stop_censor_audio(task_id="t")
    refusals = exported.values(Metric.REFUSALS)
    assert len(refusals) == 51
    assert refusals["zego", "StopCensorAudioV2", OTHER] == 150


@pytest.mark.no_coverage
async def test_ten_thousand_calls(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"ResponseMetadata": {"RequestId": "r-1"}, "Result": {"Message": "success"}}).encode()

    async def answer(*_: object, **__: object) -> Response:
        await asyncio.sleep(0)
        return Response(200, {}, body, 0.001)

    monkeypatch.setattr(Transport, "send", answer)
    client = volcengine_client(quotas=NoQuotas())
    for _ in range(100):
        await asyncio.gather(*(client.stop_webcast(**STOP) for _ in range(100)))
    assert exported.values(Metric.CALLS) == {("volcengine", "StopWebcast", None): 10_000}
    assert exported.values(Metric.ROUND_TRIPS) == {("volcengine", "StopWebcast"): pytest.approx(10)}
    assert len({span.context.span_id for span in exported.spans}) == 20_000


async def test_refreshes_of_credentials(exported: Exported) -> None:
    outcomes: list[str | Exception] = [ValueError("no"), "keys"]

    async def fetch() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    keys = RenewedKeys(fetch, expires_at=lambda _: None, name="a provider")
    with pytest.raises(APIError):
        await keys.get()
    keys._paused_until = 0.0
    assert await keys.get() == "keys"
    assert exported.values(Metric.CREDENTIAL_REFRESHES) == {("failed",): 1, ("renewed",): 1}


async def test_callbacks_by_outcome_and_verdicts_by_medium(exported: Exported) -> None:
    app = webhooks(Handler(ValueError("no"), 1.0), timeout=0.05, dedupe=MemoryDedupeStore())
    body = make_volcengine_callback()
    assert [await status(app, body) for _ in range(4)] == [500, 503, 200, 200]
    assert await status(app, make_zego_callback(), "/zego") == 200
    assert await status(app, b"{}") == 400
    assert await status(app, body.replace(b"a", b"b"), "/zego") == 400
    values = exported.values(Metric.CALLBACKS)
    assert values.pop(("zego", "rejected")) == 1
    assert values == {
        ("volcengine", "failed"): 1,
        ("volcengine", "late"): 1,
        ("volcengine", "handled"): 1,
        ("volcengine", "repeated"): 1,
        ("volcengine", "rejected"): 1,
        ("zego", "handled"): 1,
    }
    verdicts = exported.values(Metric.VERDICTS)
    assert sum(verdicts.values()) == 2
    assert {vendor for vendor, _, _ in verdicts} == {"volcengine", "zego"}
    assert {medium for _, medium, _ in verdicts} <= {"audio", "video"}
    assert {verdict for _, _, verdict in verdicts} <= {"PASS", "REVIEW", "REJECT"}


async def test_a_delivery_while_another_is_handled(exported: Exported) -> None:
    handler = Handler(0.1)
    app = webhooks(handler)
    body = make_volcengine_callback()
    first = asyncio.create_task(status(app, body))
    await asyncio.sleep(0.02)
    assert await status(app, body) == 503
    await first
    assert exported.values(Metric.CALLBACKS) == {("volcengine", "running"): 1, ("volcengine", "handled"): 1}


async def test_what_is_exported_is_what_the_table_says(exported: Exported) -> None:
    store = WindowQuotas()
    async with mocked(lambda _: volcengine_success()) as http_client:
        await volcengine_client(http_client=http_client, quotas=store).stop_webcast(**STOP)
    data = exported.metrics()
    assert {Metric.CALLS.metric, Metric.QUOTA_PERMITS.metric} <= data.keys() <= {metric.metric for metric in Metric}
    for metric in Metric:
        assert metric.metric.startswith("volc_moderation.")
        if metric.metric in data:
            one = data[metric.metric]
            assert (one.unit, one.description) == (metric.unit, metric.description)
        assert all({*(point.attributes or {})} <= {*metric.attributes} for point in exported.points(metric))
