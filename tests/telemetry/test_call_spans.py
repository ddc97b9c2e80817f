"""A span per call, with one below it for each attempt."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from tests.doubles import (
    mocked,
    sequential_handler,
    volcengine_client,
    volcengine_error,
    volcengine_success,
    zego_answer,
    zego_client,
)
from tests.telemetry.conftest import Exported, attributes
from tests.test_secrets import HANDLERS, assert_clean, calls, clients
from volc_moderation import (
    DeadlineExceeded,
    ModerationError,
    NoQuotas,
    NotFoundError,
    RetryPolicy,
    TransportError,
    VolcengineClient,
    WindowQuotas,
)
from volc_moderation.telemetry.instruments import ATTEMPTS, CODE, ERROR_TYPE, REQUEST_ID, RESEND_COUNT, WAITED, Metric
from volc_moderation.volcengine import ListDetectionTask

pytestmark = pytest.mark.slow

CALL = "volcengine ListDetectionTask"
ATTEMPT = "GET ListDetectionTask"
LISTED = {"Message": "success"}


async def list_tasks(client: VolcengineClient, room_id: str = "room") -> None:
    await client.list_detection_task(app_id="app", room_id=room_id)


async def test_a_call_has_a_span_with_one_below_it_for_its_attempt(exported: Exported) -> None:
    async with mocked(lambda _: volcengine_success(LISTED)) as http_client:
        client = volcengine_client(http_client=http_client, base_url="https://[::1]:8443")
        with exported.tracer_provider.get_tracer("app").start_as_current_span("handler"):
            await client.list_detection_task(app_id="app", room_id="room")
    attempt, call, handler = exported.spans
    assert (call.name, call.kind, attempt.name, attempt.kind) == (CALL, SpanKind.INTERNAL, ATTEMPT, SpanKind.CLIENT)
    assert call.parent is not None
    assert call.parent.span_id == handler.context.span_id
    assert attempt.parent is not None
    assert attempt.parent.span_id == call.context.span_id
    assert {span.context.trace_id for span in exported.spans} == {handler.context.trace_id}
    common = {
        "volc_moderation.vendor": "volcengine",
        "volc_moderation.action": "ListDetectionTask",
        "volc_moderation.request_id": "r-1",
    }
    assert attributes(call) == common | {ATTEMPTS: 1, WAITED: pytest.approx(0, abs=0.1)}
    assert attributes(attempt) == common | {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "::1",
        "server.port": 8443,
    }
    assert {call.status.status_code, attempt.status.status_code} == {StatusCode.UNSET}
    assert call.start_time is not None
    assert attempt.start_time is not None
    assert attempt.end_time is not None
    assert call.end_time is not None
    assert call.start_time <= attempt.start_time <= attempt.end_time <= call.end_time


@pytest.mark.looptime
async def test_each_attempt_has_a_span_and_the_wait_between_them_is_that_of_the_call(exported: Exported) -> None:
    """ZEGO recommends 300 s after this code, and takes that long to permit the second attempt."""
    handler, _ = sequential_handler(zego_answer(50006), zego_answer(data={"TaskId": "t"}))
    async with mocked(handler) as http_client:
        client = zego_client(http_client=http_client)
        await client.start_censor_audio(room_id="r", event_id="e", audio_language="zh", risk_type_list=["BAN"])
    first, second, call = exported.spans
    assert attributes(call)[ATTEMPTS] == 2
    assert attributes(call)[WAITED] == pytest.approx(300)
    assert CODE not in attributes(call)
    assert call.status.status_code is StatusCode.UNSET
    assert attributes(first)[CODE] == "50006"
    assert attributes(first)[ERROR_TYPE] == "TemporaryError"
    assert first.status.status_code is StatusCode.ERROR
    assert RESEND_COUNT not in attributes(first)
    assert attributes(second)[RESEND_COUNT] == 1
    assert ERROR_TYPE not in attributes(second)


@pytest.mark.looptime
async def test_the_wait_for_the_quota_is_that_of_the_call(exported: Exported) -> None:
    async with mocked(lambda _: volcengine_success(LISTED)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"ListDetectionTask": 1}))
        await asyncio.gather(list_tasks(client), list_tasks(client))
    waits = [attributes(span)[WAITED] for span in exported.spans if span.name == CALL]
    assert waits == [pytest.approx(0), pytest.approx(1, abs=0.1)]


async def test_a_refusal_is_an_error_with_the_code_of_the_vendor(exported: Exported) -> None:
    async with mocked(lambda _: volcengine_error("NotFound.TaskId", "no such task", 404)) as http_client:
        with pytest.raises(NotFoundError):
            await list_tasks(volcengine_client(http_client=http_client))
    for span in (exported.span(CALL), exported.span(ATTEMPT)):
        assert attributes(span)[CODE] == "NotFound.TaskId"
        assert attributes(span)[ERROR_TYPE] == "NotFoundError"
        assert attributes(span)[REQUEST_ID] == "r-1"
        assert span.status.status_code is StatusCode.ERROR
        assert "no such task" not in str(span.status.description)  # the vendor's text may have anything in it
    assert attributes(exported.span(ATTEMPT))["http.response.status_code"] == 404


async def test_a_request_without_a_response_has_no_status(exported: Exported) -> None:
    handler, _ = sequential_handler(httpx.ConnectError("no way"))
    async with mocked(handler) as http_client:
        with pytest.raises(TransportError):
            await list_tasks(volcengine_client(http_client=http_client, retry=RetryPolicy(attempts=1)))
    attempt = exported.span(ATTEMPT)
    assert "http.response.status_code" not in attributes(attempt)
    assert attributes(attempt)[ERROR_TYPE] == "TransportError"


async def hang(_: httpx.Request) -> httpx.Response:
    await asyncio.sleep(1000)
    raise AssertionError


@pytest.mark.looptime
async def test_a_deadline_ends_both_spans(exported: Exported) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as http_client:
        with pytest.raises(DeadlineExceeded):
            await volcengine_client(http_client=http_client).call(
                ListDetectionTask(app_id="a", room_id="r"), deadline=3
            )
    assert attributes(exported.span(CALL))[ERROR_TYPE] == "DeadlineExceeded"
    assert ERROR_TYPE in attributes(exported.span(ATTEMPT))


@pytest.mark.looptime
async def test_a_cancelled_call_ends_its_spans_and_leaves_no_context_behind(exported: Exported) -> None:
    async with httpx.AsyncClient(transport=httpx.MockTransport(hang)) as http_client:
        client = volcengine_client(http_client=http_client)

        async def cancelled() -> None:
            with suppress(TimeoutError):
                await asyncio.wait_for(list_tasks(client), 1)
            assert trace.get_current_span() is trace.INVALID_SPAN

        await asyncio.create_task(cancelled())
        task = asyncio.create_task(list_tasks(client))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
    assert [span.name for span in exported.spans] == [ATTEMPT, CALL] * 2
    for span in exported.spans:
        assert attributes(span)[ERROR_TYPE] == "CancelledError"
        assert span.status.status_code is StatusCode.UNSET  # whoever cancels a call need not see a failure


@pytest.mark.looptime
async def test_a_call_that_waits_for_its_permit_and_is_cancelled_has_no_attempt(exported: Exported) -> None:
    async with mocked(lambda _: volcengine_success(LISTED)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=WindowQuotas({"ListDetectionTask": 1}))
        await list_tasks(client)
        with suppress(TimeoutError):
            await asyncio.wait_for(list_tasks(client), 0.5)
    assert [span.name for span in exported.spans] == [ATTEMPT, CALL, CALL]
    assert attributes(exported.spans[-1])[ATTEMPTS] == 0


async def test_what_the_program_does_during_a_call_belongs_to_its_span(exported: Exported) -> None:
    """Also what hooks of the HTTP client do."""
    seen: list[int] = []

    async def note(_: object = None) -> None:
        seen.append(trace.get_current_span().get_span_context().span_id)

    async with mocked(lambda _: volcengine_success(LISTED)) as http_client:
        http_client.event_hooks = {"request": [note], "response": [note]}
        await volcengine_client(http_client=http_client).call(
            ListDetectionTask(app_id="a", room_id="r"), before_send=note
        )
    assert seen == [exported.span(CALL).context.span_id] * 3
    assert trace.get_current_span() is trace.INVALID_SPAN


async def test_calls_at_the_same_time_keep_their_spans_apart(exported: Exported) -> None:
    async def respond(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        return volcengine_success(LISTED)

    tracer = exported.tracer_provider.get_tracer("app")

    async def handle(client: VolcengineClient) -> None:
        with tracer.start_as_current_span("handler"):
            await list_tasks(client)

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas())
        await asyncio.gather(*(handle(client) for _ in range(100)))
    by_id = {span.context.span_id: span for span in exported.spans}
    attempts = [span for span in exported.spans if span.name == ATTEMPT]
    assert len({span.context.trace_id for span in attempts}) == len(attempts) == 100
    for attempt in attempts:
        assert attempt.parent is not None
        call = by_id[attempt.parent.span_id]
        assert call.parent is not None
        assert by_id[call.parent.span_id].name == "handler"


async def test_clients_of_two_event_loops_record_at_the_same_time(exported: Exported) -> None:
    async def make_calls() -> None:
        async with mocked(lambda _: volcengine_success(LISTED)) as http_client:
            client = volcengine_client(http_client=http_client, quotas=NoQuotas())
            for _ in range(50):
                await list_tasks(client)

    thread = threading.Thread(target=lambda: asyncio.run(make_calls()))
    thread.start()
    await make_calls()
    await asyncio.to_thread(thread.join)
    assert sum(span.name == CALL for span in exported.spans) == 100
    assert exported.values(Metric.CALLS) == {("volcengine", "ListDetectionTask", None): 100}


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS.keys())
async def test_nothing_that_is_exported_has_a_secret(
    exported: Exported, handler: Callable[[httpx.Request], httpx.Response]
) -> None:
    async with mocked(handler) as http_client:
        volcengine, zego = clients(http_client=http_client, retry=RetryPolicy(attempts=2, base=0))
        made: list[Callable[[], Awaitable[object]]] = calls(volcengine, zego)
        for call in made:
            with suppress(ModerationError):
                await call()
    assert len([span for span in exported.spans if span.parent is None]) == len(made)
    assert_clean(exported.text())
    for name in ("url.full", "http.url", "url.query", "SignatureNonce", "exception.stacktrace"):
        assert name not in exported.text()


async def test_tokens_of_users_are_not_exported(exported: Exported) -> None:
    """A vendor may repeat what it was sent."""
    token = "04AAAAAGusertoken"

    def echo(request: httpx.Request) -> httpx.Response:
        return volcengine_error("InvalidParameter", request.content.decode() + str(request.url))

    async with mocked(echo) as http_client:
        client = volcengine_client(http_client=http_client)
        with suppress(ModerationError):
            await client.ban_user_stream(app_id="app", room_id="room", user_id="user", token=token)
    assert token not in exported.text()


class FaultyProcessor(SpanProcessor):
    def __init__(self, fails_at: str) -> None:
        self._fails_at = fails_at

    def on_start(self, span: object, parent_context: object = None) -> None:
        assert self._fails_at != "start"

    def on_end(self, span: object) -> None:
        assert self._fails_at != "end"


@pytest.mark.parametrize("fails_at", ["start", "end"])
async def test_a_processor_that_fails_breaks_no_call(exported: Exported, fails_at: str) -> None:
    exported.tracer_provider.add_span_processor(FaultyProcessor(fails_at))
    async with mocked(lambda _: volcengine_success(LISTED)) as http_client:
        await list_tasks(volcengine_client(http_client=http_client))
    assert exported.values(Metric.CALLS) == {("volcengine", "ListDetectionTask", None): 1}
    assert trace.get_current_span() is trace.INVALID_SPAN
