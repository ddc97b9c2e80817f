"""The routes: every answer, every repeat, and a handler that fails, dawdles or is cancelled."""

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
    """Keeps what it is given; fails or waits as often as it is told."""

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
async def calling(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://app") as client:
        yield client


def made(handler: Any, **options: Any) -> Webhooks:
    return Webhooks(handler, **{"volcengine": SECRET, "zego": SECRET, **options})


async def status(app: Any, body: bytes, path: str = "/volcengine", **options: Any) -> int:
    async with calling(app) as client:
        response = await client.post(path, content=body, **options)
        assert response.content == b"" or response.status_code in {404, 405}
        return response.status_code


async def test_a_callback_is_handed_over() -> None:
    handler = Handler()
    app = made(handler)
    assert await status(app, make_volcengine_callback(RoomId="r-1")) == 200
    assert await status(app, make_zego_callback(AuxInfo={"RoomId": "r-2"}), "/zego") == 200
    assert [(event.vendor, event.room_id) for event in handler.events] == [("volcengine", "r-1"), ("zego", "r-2")]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
async def test_the_content_type_does_not_matter(content_type: str) -> None:
    body = make_volcengine_callback()
    assert await status(made(Handler()), body, headers={"content-type": content_type}) == 200


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
async def test_what_is_refused(
    make: Callable[[], bytes], path: str, answer: int, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    with caplog.at_level(logging.DEBUG):
        assert await status(made(handler), make(), path) == answer
    assert not handler.events
    assert SECRET not in caplog.text


async def test_only_post() -> None:
    async with calling(made(Handler())) as client:
        for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH"):
            assert (await client.request(method, "/zego")).status_code == 405


async def test_a_vendor_without_a_secret_has_no_route() -> None:
    assert await status(made(Handler(), zego=None), make_zego_callback(), "/zego") == 404


async def test_several_secrets_and_none() -> None:
    body = make_volcengine_callback()
    assert await status(made(Handler(), volcengine=["new", SECRET]), body) == 200
    assert await status(made(Handler(), volcengine=["new", "newer"]), body) == 401
    forged = json.dumps(json.loads(body) | {"Signature": "eh"}).encode()
    assert await status(made(Handler(), volcengine=UNVERIFIED), forged) == 200
    assert repr(UNVERIFIED) == "UNVERIFIED"


async def test_no_repr_shows_a_secret() -> None:
    app = made(Handler(), volcengine=[SECRET, "older-secret"])
    mounts = [Mount("/callbacks", app), Mount("/callbacks", routes=app.routes)]
    endpoints = [route.endpoint for route in app.routes]
    assert len(endpoints) == 2
    shown = [app, app.routes, *app.routes, *endpoints, *mounts, Starlette(routes=mounts).routes, vars(app)]
    shown += [vars(route) for route in app.routes]
    assert "zego" in repr(shown)
    assert not {secret for secret in (SECRET, "older-secret") if secret in f"{shown!r}{list(map(str, shown))}"}


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
def test_wrong_settings(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        made(**{"handler": Handler(), **options})


def test_the_smallest_settings() -> None:
    made(Handler(), within=0.001, most_bytes=1, timeout=0.001)


@pytest.mark.looptime
async def test_a_handler_that_fails_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    """The vendor is told so, and delivers again."""
    handler, body = Handler(ValueError("broken"), 10.0), make_volcengine_callback()
    app = made(handler)
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
async def test_a_handlers_own_timeout_is_not_ours(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is a CancelledError that comes of something else that was cancelled."""
    handler, body = Handler(error), make_volcengine_callback()
    app = made(handler)
    assert await status(app, body) == 500
    assert "failed on" in caplog.text
    assert "too late" not in caplog.text
    assert await status(app, body) == 200
    assert len(handler.events) == 2


@pytest.mark.looptime
async def test_a_handler_that_is_cut_off_and_fails_is_late(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(_: Event) -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            raise ValueError("in the middle") from None

    assert await status(made(handle), make_volcengine_callback()) == 503
    assert "too late" in caplog.text


@pytest.mark.looptime
async def test_a_repeat_is_dropped() -> None:
    handler, body = Handler(), make_zego_callback()
    app = made(handler)
    assert [await status(app, body, "/zego") for _ in range(3)] == [200, 200, 200]
    assert len(handler.events) == 1
    assert await status(app, make_zego_callback(), "/zego") == 200
    assert len(handler.events) == 2


@pytest.mark.looptime
async def test_a_repeat_that_comes_too_early_comes_again() -> None:
    """While the first delivery is being handled, nobody knows how that will end."""
    handler, body = Handler(1.0), make_zego_callback()
    app = made(handler)
    first = asyncio.create_task(status(app, body, "/zego"))
    await asyncio.sleep(0.5)
    assert await status(app, body, "/zego") == 503
    assert await first == 200
    assert await status(app, body, "/zego") == 200
    assert len(handler.events) == 1


@pytest.mark.looptime
async def test_a_server_that_stops_in_the_middle_forgets_that_it_began() -> None:
    handler, body = Handler(1.0), make_zego_callback()
    app = made(handler)
    call = asyncio.create_task(status(app, body, "/zego"))
    await asyncio.sleep(0.5)
    call.cancel()
    await asyncio.wait([call])
    assert await status(app, body, "/zego") == 200
    assert len(handler.events) == 2


async def test_events_are_handled_side_by_side() -> None:
    handler = Handler(*[0.05] * 50)
    app = made(handler)
    began = asyncio.get_running_loop().time()
    answers = await asyncio.gather(*(status(app, make_zego_callback(), "/zego") for _ in range(50)))
    assert answers == 50 * [200]
    assert asyncio.get_running_loop().time() - began < 1.5


@pytest.mark.looptime
async def test_a_slow_sender_is_given_up() -> None:
    async def dawdle() -> AsyncIterator[bytes]:
        for byte in make_zego_callback():
            await asyncio.sleep(1)
            yield bytes([byte])

    async with httpx.AsyncClient(transport=_Streaming(made(Handler())), base_url="http://app") as client:
        began = asyncio.get_running_loop().time()
        late = await client.post("/zego", content=dawdle())
        assert (late.status_code, late.headers["connection"]) == (408, "close")
        assert asyncio.get_running_loop().time() - began == pytest.approx(4, abs=0.1)


async def test_a_sender_that_goes_away_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/zego", "headers": [], "query_string": b"", "root_path": ""}
    await made(Handler())(scope, receive, send)
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
        *((length, 200) for length in (b"\xb2\xb3\xb9", b"\xff")),  # as they are in Latin-1, which headers are in
    ],
)
async def test_a_lying_length(length: bytes, answer: int) -> None:
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
    await made(Handler())(scope, receive, send)
    assert sent[0]["status"] == answer


async def test_it_mounts_into_other_apps() -> None:
    handler = Handler()
    fastapi = FastAPI()
    fastapi.mount("/callbacks", made(handler))
    assert await status(fastapi, make_zego_callback(), "/callbacks/zego") == 200
    starlette = Starlette(routes=[Mount("/callbacks", made(handler)), *made(handler).routes])
    assert await status(starlette, make_zego_callback(), "/callbacks/zego") == 200
    assert await status(starlette, make_volcengine_callback(), "/volcengine") == 200
    fastapi = FastAPI()
    fastapi.router.routes.extend(made(handler).routes)
    assert await status(fastapi, make_volcengine_callback(), "/volcengine") == 200
    assert len(handler.events) == 4


async def test_a_store_of_the_users_own_is_asked() -> None:
    seen, handler, body = MemoryDedupeStore(), Handler(), make_zego_callback()
    assert await status(made(handler, dedupe=seen), body, "/zego") == 200
    assert await status(made(handler, dedupe=seen), body, "/zego") == 200
    assert len(handler.events) == 1


class _Streaming(httpx.AsyncBaseTransport):
    """Hands the request over as it comes, which ``httpx.ASGITransport`` does not in all versions."""

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
    """Move the borders between the signed values of a callback of Volcengine, which its signature does not tell."""
    fields = json.loads(body)
    nonce, event_id = fields["Nonce"], fields["EventId"]
    made = [fields | {"Nonce": nonce + event_id, "EventId": f"x{number}"} for number in range(3)]
    made += [{name: value for name, value in made[0].items() if name != "EventId"}]
    made += [fields | {"Nonce": nonce + event_id[0], "EventId": event_id[1:]}]
    return [json.dumps(one).encode() for one in made]


async def test_a_signature_that_was_handled_is_not_taken_again() -> None:
    """What was signed with an id and a nonce fits other ids and nonces as well."""
    genuine = make_volcengine_callback(envelope={"EventId": "57aa_img_doc", "Nonce": "4821"})
    handler = Handler()
    app = made(handler)
    answers = [await status(app, body) for body in (genuine, genuine, *other_splits(genuine))]
    assert answers == 7 * [200]
    assert len(handler.events) == 1
    # Also if one of the others comes first, and if nothing is handled yet.
    handler = Handler(ValueError("broken"), ValueError("broken"))
    app = made(handler)
    first, *rest = other_splits(genuine)
    assert [await status(app, body) for body in (first, genuine)] == [500, 500]
    assert [await status(app, body) for body in (genuine, first, *rest)] == 6 * [200]
    assert len(handler.events) == 3


async def test_an_event_that_is_delivered_again_with_a_new_nonce_is_known() -> None:
    handler = Handler()
    app = made(handler)
    for nonce in ("1", "2"):
        body = make_volcengine_callback(envelope={"EventId": "57aa_img_doc", "Nonce": nonce})
        assert await status(app, body) == 200
    assert len(handler.events) == 1


async def test_another_delivery_of_a_signature_waits_for_the_first_one() -> None:
    genuine = make_volcengine_callback(envelope={"EventId": "57aa_img_doc", "Nonce": "4821"})
    handler = Handler(0.2)
    app = made(handler)
    first = asyncio.create_task(status(app, genuine))
    await asyncio.sleep(0.1)
    assert await status(app, other_splits(genuine)[0]) == 503
    assert await first == 200
    assert await status(app, other_splits(genuine)[0]) == 200
    assert len(handler.events) == 1


async def test_the_largest_body_is_read() -> None:
    body = make_volcengine_callback()
    assert await status(made(Handler(), most_bytes=len(body)), body) == 200
    assert await status(made(Handler(), most_bytes=len(body) - 1), body) == 413

    async def parts() -> AsyncIterator[bytes]:
        yield body[:100]
        yield body[100:]

    for most, answer in ((len(body), 200), (len(body) - 1, 413)):
        async with calling(made(Handler(), most_bytes=most)) as client:
            assert (await client.post("/volcengine", content=parts())).status_code == answer
