"""No key and no signature is in any log record, repr, traceback or exception, whatever goes wrong."""

import asyncio
import io
import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import mocked, sequential_handler, volcengine_error, volcengine_success, zego_answer
from volc_moderation import ModerationError, RetryPolicy, VolcengineClient, ZegoClient
from volc_moderation.credentials import Secret, VolcengineCredentials, ZegoCredentials
from volc_moderation.quotas import QuotaKey
from volc_moderation.transport import Transport
from volc_moderation.wire import Request, Response

pytestmark = pytest.mark.usefixtures("library")

ACCESS_KEY = "AKLTverysecretaccesskey"
SECRET_KEY = "U2VjcmV0S2V5VmVyeVNlY3JldA=="
TOKEN = "STS2verysecret/+="
SERVER_SECRET = "5eCre75eCre75eCre75eCre75eCre75e"
SECRETS = (SECRET_KEY, TOKEN, SERVER_SECRET)
#: A signature: an HMAC, or the MD5 in ZEGO's query.
SIGNATURE = re.compile(r"Signature=[0-9a-f]{32}")


def echo(request: httpx.Request) -> httpx.Response:
    """Respond with all that was sent, and with the key that signed it, as no vendor should."""
    if "SignatureNonce" in request.url.params:
        return zego_answer(100000005, message=f"{request.url} {SERVER_SECRET}")
    return volcengine_error("SignatureDoesNotMatch", f"{request.url} {dict(request.headers)} {SECRET_KEY} {TOKEN}", 401)


def page(request: httpx.Request) -> httpx.Response:
    return httpx.Response(502, text=f"{request.url} {dict(request.headers)}")


def raising(error: Callable[[httpx.Request], Exception]) -> Callable[[httpx.Request], httpx.Response]:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error(request)

    return handler


def success(request: httpx.Request) -> httpx.Response:
    return zego_answer() if "SignatureNonce" in request.url.params else volcengine_success()


HANDLERS: dict[str, Callable[[httpx.Request], httpx.Response]] = {
    "success": success,
    "echo": echo,
    "page": page,
    "read error": raising(lambda request: httpx.ReadError(f"reading {request.url}", request=request)),
    "connect error": raising(lambda request: httpx.ConnectError("no way", request=request)),
    "timeout": raising(lambda request: TimeoutError()),
    "protocol error": raising(
        lambda request: httpx.RemoteProtocolError(f"illegal header line: {dict(request.headers)} {request.url}")
    ),
    "os error": raising(lambda request: ConnectionResetError(str(request.url))),
    "does not fit": lambda request: zego_answer(data=5) if "AppId" in request.url.params else volcengine_success([5]),
}


def everything(error: BaseException) -> str:
    """Return all that a program may print of an error: str, repr, attributes, and every frame with its locals."""
    printed = io.StringIO()
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        print(one, repr(one), vars(one), file=printed)
        frames = traceback.TracebackException.from_exception(one, capture_locals=True)
        # The frames of the tests contain the keys on purpose.
        for frame in frames.stack:
            if Path(__file__).parent not in Path(frame.filename).parents:
                print(frame.filename, frame.line, frame.locals, file=printed)
        todo += [one.__cause__, one.__context__]
    return printed.getvalue()


def clients(**options: Any) -> tuple[VolcengineClient, ZegoClient]:
    volcengine = VolcengineClient(access_key=ACCESS_KEY, secret_key=SECRET_KEY, session_token=TOKEN, **options)
    return volcengine, ZegoClient(app_id=1, server_secret=SERVER_SECRET, **options)


def calls(volcengine: VolcengineClient, zego: ZegoClient) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: volcengine.stop_detection(app_id="a", room_id="r"),
        lambda: volcengine.list_detection_task(app_id="a", room_id="r"),
        lambda: zego.stop_censor_audio(task_id="t"),
    ]


def assert_clean(text: str) -> None:
    assert not SIGNATURE.search(text)
    for secret in SECRETS:
        assert secret not in text


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS.keys())
async def test_no_error_shows_a_secret(
    handler: Callable[[httpx.Request], httpx.Response], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    printed = ""
    async with mocked(handler) as http_client:
        volcengine, zego = clients(http_client=http_client, retry=RetryPolicy(attempts=2, base=0))
        for call in calls(volcengine, zego):
            try:
                await call()
            except ModerationError as error:
                printed += everything(error)
    assert_clean(printed + caplog.text + "".join(str(vars(record)) for record in caplog.records))


async def test_reprs(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value that the clients hold or pass around shows a key or a signature."""
    passed: list[object] = []
    send = Transport.send

    async def record(self: Transport, request: Request, *, timeout: float) -> Response:
        response = await send(self, request, timeout=timeout)
        passed.extend((request, response))
        return response

    monkeypatch.setattr(Transport, "send", record)
    async with mocked(success) as http_client:
        volcengine, zego = clients(http_client=http_client)
        for call in calls(volcengine, zego):
            await call()
    credentials = [VolcengineCredentials.make(ACCESS_KEY, SECRET_KEY, TOKEN), ZegoCredentials.make(1, SERVER_SECRET)]
    values = [volcengine, zego, *vars(volcengine).values(), *vars(zego).values(), *passed, *credentials]
    assert len(passed) == 6
    assert_clean(" ".join(f"{one!r} {one!s}" for one in values))
    assert ACCESS_KEY not in repr(credentials)


async def test_a_timeout_of_the_caller() -> None:
    """The exceptions that asyncio chains to it end in this package."""
    async with mocked(lambda _: zego_answer()) as http_client:

        async def hang(request: httpx.Request) -> None:
            await asyncio.sleep(9)

        http_client.event_hooks = {"request": [hang]}
        volcengine, zego = clients(http_client=http_client)
        for call in calls(volcengine, zego):
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.01):
                    await call()
            assert_clean(everything(caught.value))


@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_logged_addresses_show_no_signature(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """In the form that httpx logs, and in a reason phrase that repeats an address."""
    caplog.set_level(logging.DEBUG)
    signed = "/?Signature=" + "0" * 32
    logging.getLogger(name).info("%s %s", httpx.URL(f"https://host{signed}"), f"no {signed}")
    assert_clean(caplog.text)
    assert "https://host/?Signature=***" in caplog.text


@pytest.mark.parametrize("name", ["hpack.hpack", "hpack.table"])
def test_logs_of_header_compression_show_no_secret(caplog: pytest.LogCaptureFixture, name: str) -> None:
    caplog.set_level(logging.DEBUG)
    for header in (
        (b"x-security-token", TOKEN.encode()),
        (b":path", b"/?Signature=" + b"0" * 32),
        (b"authorization", f"HMAC-SHA256 Credential={ACCESS_KEY}".encode()),
        (b"accept", b"*/*"),
    ):
        logging.getLogger(name).debug("Adding %s to the header table", header)
    assert_clean(caplog.text)
    assert ACCESS_KEY not in caplog.text
    assert "accept" in caplog.text


@pytest.mark.parametrize("result", [None, {"Message": ""}])
async def test_ids_that_repeat_a_key_are_redacted(result: object) -> None:
    """In an error response, and in a response that proves nothing."""
    metadata: dict[str, object] = {"RequestId": TOKEN}
    if result is None:
        metadata["Error"] = {"Code": f"Odd.{SECRET_KEY}", "Message": f"{ACCESS_KEY} is unknown"}
    answer = httpx.Response(400 if result is None else 200, json={"ResponseMetadata": metadata, "Result": result})
    answer.headers["X-Tt-Logid"] = TOKEN
    async with mocked(lambda _: answer) as http_client:
        volcengine, _zego = clients(http_client=http_client, retry=RetryPolicy(attempts=1))
        with pytest.raises(ModerationError) as caught:
            await volcengine.stop_detection(app_id="a", room_id="r")
    assert_clean(f"{caught.value!r} {vars(caught.value)}")
    assert ACCESS_KEY not in f"{caught.value!r} {vars(caught.value)}"


async def test_a_message_that_repeats_a_key_is_redacted() -> None:
    """A repeated stop finds no task, and the vendor's message becomes the result."""
    gone = volcengine_error("InvalidParameter.ErrorActiveTaskNotFound", f"gone, {SECRET_KEY}!")
    handler, _ = sequential_handler(httpx.ReadError(""), gone)
    async with mocked(handler) as http_client:
        volcengine, _zego = clients(http_client=http_client, retry=RetryPolicy(base=0))
        assert (await volcengine.stop_detection(app_id="a", room_id="r")).message == "gone, ***!"


def test_the_repr_of_a_quota_key_shows_little_of_its_account() -> None:
    assert "verysecret" not in repr(QuotaKey("volcengine", ACCESS_KEY, "StopWebcast"))


def test_a_secret_is_only_shown_by_reveal() -> None:
    assert Secret("word").reveal() == "word"
    assert str(Secret("word")) == repr(Secret("word")) == "Secret('***')"
