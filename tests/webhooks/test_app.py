"""The routes: every answer, repeated deliveries, and handlers that fail, are slow or are cancelled."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from volc_moderation import ConfigurationError, Event
from volc_moderation.testing import CALLBACK_SECRET as SECRET
from volc_moderation.testing import make_volcengine_callback, make_zego_callback
from volc_moderation.webhooks import UNVERIFIED, MemoryDedupeStore, Webhooks


class Handler:
    """Records its events. Raises or sleeps as the next of ``outcomes`` says, then succeeds at once."""

    def __init__(self, *outcomes: BaseException | float) -> None:
        self.events: list[Event] = []
        self.cancelled = 0
        self._outcomes = list(outcomes)

    async def __call__(self, event: Event) -> None:
        self.events.append(event)
        outcome = self._outcomes.pop(0) if self._outcomes else 0
        if isinstance(outcome, BaseException):
            raise outcome
        try:
            await asyncio.sleep(outcome)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@asynccontextmanager
async def client_for(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app") as client:
        yield client


def webhooks(handler: Any, **options: Any) -> Webhooks:
    """Return the app with a secret for both vendors."""
    return Webhooks(handler, **{"volcengine": SECRET, "zego": SECRET, **options})


async def status(app: Any, body: bytes, path: str = "/volcengine", **options: Any) -> int:
    """Send a callback to the app and return the status of the answer."""
    async with client_for(app) as client:
        response = await client.post(path, content=body, **options)
        assert response.content == b"" or response.status_code in {404, 405}
        return response.status_code


async def test_the_handler_gets_the_events_of_both_vendors() -> None:
    handler = Handler()
    app = webhooks(handler)
    assert await status(app, make_volcengine_callback(RoomId="r-1")) == 200
    assert await status(app, make_zego_callback(AuxInfo={"RoomId": "r-2"}), "/zego") == 200
    assert [(event.vendor, event.room_id) for event in handler.events] == [("volcengine", "r-1"), ("zego", "r-2")]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
async def test_the_content_type_does_not_matter(content_type: str) -> None:
    body = make_volcengine_callback()
    assert await status(webhooks(Handler()), body, headers={"content-type": content_type}) == 200


@pytest.mark.parametrize(
    ("make", "path", "answer"),
    [
        (lambda: make_volcengine_callback(secret="other"), "/volcengine", 401),
        (lambda: make_zego_callback(secret="other"), "/zego", 401),
        (make_volcengine_callback, "/zego", 400),
        (make_zego_callback, "/volcengine", 400),
        (lambda: b"", "/volcengine", 400),
        (lambda: b"\xff" * 100, "/zego", 400),
        (lambda: b"[" * 100_000, "/volcengine", 400),
        (lambda: b"%" * 100_000, "/zego", 400),
        (lambda: make_volcengine_callback(envelope={"EventData": "no JSON"}), "/volcengine", 400),
        (lambda: make_zego_callback(TaskId=5), "/zego", 400),
        (lambda: make_volcengine_callback(AudioText="a" * 2_000_000), "/volcengine", 413),
        (make_volcengine_callback, "/other", 404),
    ],
)
async def test_callbacks_that_are_refused(
    make: Callable[[], bytes], path: str, answer: int, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    with caplog.at_level(logging.DEBUG):
        assert await status(webhooks(handler), make(), path) == answer
    assert not handler.events
    assert SECRET not in caplog.text


async def test_other_methods_than_post_are_refused() -> None:
    async with client_for(webhooks(Handler())) as client:
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
            assert (await client.request(method, "/zego")).status_code == 405


async def test_a_vendor_without_a_secret_has_no_route() -> None:
    assert await status(webhooks(Handler(), zego=None), make_zego_callback(), "/zego") == 404


async def test_any_of_several_secrets_may_have_signed_and_unverified_checks_none() -> None:
    body = make_volcengine_callback()
    assert await status(webhooks(Handler(), volcengine=["new", SECRET]), body) == 200
    assert await status(webhooks(Handler(), volcengine=["new", "newer"]), body) == 401
    forged = json.dumps(json.loads(body) | {"Signature": "wrong"}).encode()
    assert await status(webhooks(Handler(), volcengine=UNVERIFIED), forged) == 200
    assert repr(UNVERIFIED) == "UNVERIFIED"


async def test_no_repr_shows_a_secret() -> None:
    app = webhooks(Handler(), volcengine=[SECRET, "older-secret"])
    mounts = [Mount("/callbacks", app), Mount("/callbacks", routes=app.routes)]
    endpoints = [route.endpoint for route in app.routes]
    assert len(endpoints) == 2
    printed = [app, app.routes, *app.routes, *endpoints, *mounts, Starlette(routes=mounts).routes, vars(app)]
    printed += [vars(route) for route in app.routes]
    assert "zego" in repr(printed)
    assert not {secret for secret in (SECRET, "older-secret") if secret in f"{printed!r}{list(map(str, printed))}"}


@pytest.mark.parametrize(
    "options",
    [
        {"volcengine": ""},
        {"zego": []},
        {"volcengine": [""]},
        {"volcengine": None, "zego": None},
        {"handler": print},
        {"handler": None},
        {"within": 0},
        {"within": True},
        {"within": "300"},
        {"within": float("inf")},
        {"within": float("nan")},
        {"most_bytes": 0},
        {"timeout": None},
        {"timeout": True},
        {"timeout": float("inf")},
    ],
)
def test_wrong_settings_raise(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        webhooks(**{"handler": Handler(), **options})


def test_the_smallest_settings_are_accepted() -> None:
    webhooks(Handler(), within=0.001, most_bytes=1, timeout=0.001)


@pytest.mark.looptime
async def test_a_handler_that_fails_or_is_late_gets_the_next_delivery(caplog: pytest.LogCaptureFixture) -> None:
    """The answer is an error, so the vendor delivers again."""
    handler, body = Handler(ValueError("broken"), 10.0), make_volcengine_callback()
    app = webhooks(handler)
    assert await status(app, body) == 500
    assert "broken" in caplog.text
    assert "failed on" in caplog.text
    assert "too late" not in caplog.text
    caplog.clear()
    began = asyncio.get_running_loop().time()
    assert await status(app, body) == 503  # too late
    assert asyncio.get_running_loop().time() - began == pytest.approx(4, abs=0.1)
    assert handler.cancelled == 1
    assert "too late" in caplog.text
    assert "failed on" not in caplog.text
    assert await status(app, body) == 200
    assert await status(app, body) == 200
    assert len(handler.events) == 3


@pytest.mark.parametrize("error", [TimeoutError("own"), asyncio.CancelledError("own")])
async def test_a_timeout_raised_by_the_handler_is_a_failure(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the timeout of ``Webhooks`` makes a handler late, and only a cancelled request cancels it."""
    handler, body = Handler(error), make_volcengine_callback()
    app = webhooks(handler)
    assert await status(app, body) == 500
    assert "failed on" in caplog.text
    assert "too late" not in caplog.text
    assert await status(app, body) == 200
    assert len(handler.events) == 2


@pytest.mark.looptime
async def test_a_handler_that_raises_when_its_time_is_up_is_late(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(_: Event) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise ValueError("in the middle") from None

    assert await status(webhooks(handle), make_volcengine_callback()) == 503
    assert "too late" in caplog.text


@pytest.mark.looptime
async def test_a_repeated_delivery_is_not_handled() -> None:
    handler, body = Handler(), make_zego_callback()
    app = webhooks(handler)
    assert [await status(app, body, "/zego") for _ in range(3)] == [200, 200, 200]
    assert len(handler.events) == 1
    assert await status(app, make_zego_callback(), "/zego") == 200
    assert len(handler.events) == 2


@pytest.mark.looptime
async def test_a_repeat_during_handling_is_answered_503() -> None:
    """Until the first delivery is handled, the outcome is unknown, so the vendor must deliver again."""
    handler, body = Handler(1.0), make_zego_callback()
    app = webhooks(handler)
    first = asyncio.create_task(status(app, body, "/zego"))
    await asyncio.sleep(0.5)
    assert await status(app, body, "/zego") == 503
    assert await first == 200
    assert await status(app, body, "/zego") == 200
    assert len(handler.events) == 1


@pytest.mark.looptime
async def test_a_cancelled_delivery_is_handled_when_it_comes_again() -> None:
    handler, body = Handler(1.0), make_zego_callback()
    app = webhooks(handler)
    call = asyncio.create_task(status(app, body, "/zego"))
    await asyncio.sleep(0.5)
    call.cancel()
    await asyncio.wait([call])
    assert await status(app, body, "/zego") == 200
    assert len(handler.events) == 2


async def test_events_are_handled_concurrently() -> None:
    handler = Handler(*[0.05] * 50)
    app = webhooks(handler)
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(status(app, make_zego_callback(), "/zego") for _ in range(50)))
    assert answers == 50 * [200]
    assert asyncio.get_running_loop().time() - began < 1.5


@pytest.mark.looptime
async def test_a_slow_sender_is_answered_408() -> None:
    async def slow_body() -> AsyncIterator[bytes]:
        for byte in make_zego_callback():
            await asyncio.sleep(1)
            yield bytes([byte])

    async with httpx.AsyncClient(transport=_StreamingTransport(webhooks(Handler())), base_url="http://app") as client:
        began = asyncio.get_running_loop().time()
        late = await client.post("/zego", content=slow_body())
        assert (late.status_code, late.headers["connection"]) == (408, "close")
        assert asyncio.get_running_loop().time() - began == pytest.approx(4, abs=0.1)


async def test_a_sender_that_disconnects_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/zego", "headers": [], "query_string": b"", "root_path": ""}
    await webhooks(Handler())(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not caplog.records


@pytest.mark.parametrize(
    ("length", "answer"),
    [
        (b"99999999999999999999999999", 413),
        (b"1048577", 413),
        (b"1048576", 200),
        (b"00000000000000000000000000000000", 200),
        *((length, 200) for length in (b"-5", b"+5", b"x", b"1e9", b"9_9", b"")),
        *((length.encode(), 200) for length in ("²", "\u0669" * 9, "\uff19" * 9)),
        *((length, 200) for length in (b"\xb2\xb3\xb9", b"\xff")),  # not ASCII in Latin-1, the encoding of headers
    ],
)
async def test_a_content_length_is_only_trusted_to_refuse_a_large_body(length: bytes, answer: int) -> None:
    sent: list[Any] = []
    body = make_zego_callback()

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", length)]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/zego",
        "headers": headers,
        "query_string": b"",
        "root_path": "",
    }
    await webhooks(Handler())(scope, receive, send)
    assert sent[0]["status"] == answer


async def test_it_can_be_mounted_in_fastapi_and_starlette_apps() -> None:
    handler = Handler()
    fastapi = FastAPI()
    fastapi.mount("/callbacks", webhooks(handler))
    assert await status(fastapi, make_zego_callback(), "/callbacks/zego") == 200
    starlette = Starlette(routes=[Mount("/callbacks", webhooks(handler)), *webhooks(handler).routes])
    assert await status(starlette, make_zego_callback(), "/callbacks/zego") == 200
    assert await status(starlette, make_volcengine_callback(), "/volcengine") == 200
    fastapi = FastAPI()
    fastapi.router.routes.extend(webhooks(handler).routes)
    assert await status(fastapi, make_volcengine_callback(), "/volcengine") == 200
    assert len(handler.events) == 4


async def test_two_apps_may_share_a_dedupe_store() -> None:
    store, handler, body = MemoryDedupeStore(), Handler(), make_zego_callback()
    assert await status(webhooks(handler, dedupe=store), body, "/zego") == 200
    assert await status(webhooks(handler, dedupe=store), body, "/zego") == 200
    assert len(handler.events) == 1


class _StreamingTransport(httpx.AsyncBaseTransport):
    """Passes on each chunk of a request as it arrives. Some versions of ``httpx.ASGITransport`` do not."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        chunks = request.stream.__aiter__()
        sent: list[Any] = []

        async def receive() -> Any:
            try:
                return {"type": "http.request", "body": await chunks.__anext__(), "more_body": True}
            except StopAsyncIteration:
                return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": request.url.path, "headers": [], "root_path": ""}
        await self._app(scope | {"query_string": b""}, receive, send)
        return httpx.Response(sent[0]["status"], headers=sent[0]["headers"])


def other_splits(body: bytes) -> list[bytes]:
    """Return callbacks of Volcengine with the same signature, in which the signed values are split differently."""
    fields = json.loads(body)
    nonce, event_id = fields["Nonce"], fields["EventId"]
    forged = [fields | {"Nonce": nonce + event_id, "EventId": f"x{number}"} for number in range(3)]
    forged += [{name: value for name, value in forged[0].items() if name != "EventId"}]
    forged += [fields | {"Nonce": nonce + event_id[0], "EventId": event_id[1:]}]
    return [json.dumps(one).encode() for one in forged]


async def test_a_signature_is_handled_once() -> None:
    """A signature over an id and a nonce is also valid for other ids and nonces."""
    genuine = make_volcengine_callback(envelope={"EventId": "57aa_img_doc", "Nonce": "4821"})
    handler = Handler()
    app = webhooks(handler)
    answers = [await status(app, body) for body in (genuine, genuine, *other_splits(genuine))]
    assert answers == 7 * [200]
    assert len(handler.events) == 1
    # This also holds if one of the others comes first, and if the first ones fail.
    handler = Handler(ValueError("broken"), ValueError("broken"))
    app = webhooks(handler)
    first, *rest = other_splits(genuine)
    assert [await status(app, body) for body in (first, genuine)] == [500, 500]
    assert [await status(app, body) for body in (genuine, first, *rest)] == 6 * [200]
    assert len(handler.events) == 3


async def test_an_event_with_a_new_nonce_is_a_repeat() -> None:
    handler = Handler()
    app = webhooks(handler)
    for nonce in ("1", "2"):
        body = make_volcengine_callback(envelope={"EventId": "57aa_img_doc", "Nonce": nonce})
        assert await status(app, body) == 200
    assert len(handler.events) == 1


async def test_a_signature_that_is_being_handled_is_answered_503() -> None:
    genuine = make_volcengine_callback(envelope={"EventId": "57aa_img_doc", "Nonce": "4821"})
    handler = Handler(0.2)
    app = webhooks(handler)
    first = asyncio.create_task(status(app, genuine))
    await asyncio.sleep(0.1)
    assert await status(app, other_splits(genuine)[0]) == 503
    assert await first == 200
    assert await status(app, other_splits(genuine)[0]) == 200
    assert len(handler.events) == 1


async def test_a_body_of_exactly_most_bytes_is_read() -> None:
    body = make_volcengine_callback()
    assert await status(webhooks(Handler(), most_bytes=len(body)), body) == 200
    assert await status(webhooks(Handler(), most_bytes=len(body) - 1), body) == 413

    async def parts() -> AsyncIterator[bytes]:
        yield body[:100]
        yield body[100:]

    for max_bytes, answer in ((len(body), 200), (len(body) - 1, 413)):
        async with client_for(webhooks(Handler(), most_bytes=max_bytes)) as client:
            assert (await client.post("/volcengine", content=parts())).status_code == answer
