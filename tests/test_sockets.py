"""Faults of the network, over real sockets, with every HTTP client: the right error, in time; nothing is sent twice."""

import asyncio
import base64
import contextlib
import gzip
import re
import socket
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.doubles import volcengine_client, volcengine_success, zego_answer, zego_client
from volc_moderation import (
    ConfigurationError,
    DeadlineExceeded,
    NoQuotas,
    RetryPolicy,
    TransportError,
    http_clients,
)
from volc_moderation.emulator import EmulatorProcess, Fault
from volc_moderation.transport import Transport
from volc_moderation.volcengine import StopDetection
from volc_moderation.wire import Request, Response
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.usefixtures("every_library")

ONCE = RetryPolicy(attempts=1)
#: A key and a certificate for localhost, created for these tests.
CERTIFICATE = Path(__file__).parent / "vectors" / "localhost.pem"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def ok(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *headers, b"Content-Length: %d" % len(body), b"", body))


SUCCESS = ok(volcengine_success().content)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return head + (await reader.readexactly(int(length[1])) if length else b"")


@contextlib.asynccontextmanager
async def serve(handler: Handler, *, scheme: str = "http") -> AsyncIterator[str]:
    """Serve each connection with the handler, until the end of the block."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type] # there is one
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await handler(reader, writer)
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(answer: bytes, requests: list[bytes]) -> Handler:
    """Answer every request of a connection alike, and record it."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            requests.append(await read_request(reader))
            writer.write(answer)
            await writer.drain()

    return handler


def closing_at_second(requests: list[bytes]) -> Handler:
    """Record requests, answer the first one, and close the connection when the second one has arrived."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            requests.append(await read_request(reader))
            if len(requests) == 2:
                return
            writer.write(ok(zego_answer(data={}).content))

    return handler


@pytest.mark.parametrize(
    ("fault", "text", "status"),
    [
        (Fault(kind="status", status=502), "HTTP 502 with", 502),
        (Fault(kind="status", status=403), "HTTP 403 with", 403),
        (Fault(kind="body", body='{"Code": 0, "Mess'), "HTTP 200 with a body of 17 bytes", 200),
        (Fault(kind="body", body=""), "HTTP 200 with a body of 0 bytes", 200),
        (Fault(kind="body", body="[]"), "HTTP 200 with a body of 2 bytes", 200),
        (Fault(kind="body", body='{"other": 1}'), "HTTP 200 with a body of 12 bytes", 200),
        (Fault(kind="body", body="[" * 100_000), "HTTP 200 with a body of 100,000 bytes", 200),
        (Fault(kind="garbage"), "HTTP 200 with a body of 128 bytes", 200),
        (Fault(kind="reset"), "ReadError|RemoteProtocolError|ServerDisconnectedError|ClientOSError", None),
    ],
)
async def test_an_unusable_response(emulator: EmulatorProcess, fault: Fault, text: str, status: int | None) -> None:
    """At both vendors: the request may have arrived, and the error says what arrived instead of a response."""
    fault.first = 2
    await emulator.play(fault)
    options: dict[str, Any] = {"base_url": emulator.base_url, "retry": ONCE, "deadline": 5}
    async with volcengine_client(**options) as volcengine, zego_client(**options) as zego:
        for call in (volcengine.stop_detection(app_id="a", room_id="r"), zego.stop_censor_audio(task_id="t")):
            with pytest.raises(TransportError, match=text) as caught:
                await call
            assert caught.value.maybe_sent
            assert caught.value.status == status
            assert caught.value.attempts == 1
    counts = await emulator.counts()
    assert counts["StopDetection"]["faults"] == counts["StopCensorAudioV2"]["faults"] == 1


async def test_a_hang_ends_with_the_timeout_or_the_deadline(emulator: EmulatorProcess) -> None:
    await emulator.play(Fault(kind="hang", first=2))
    async with zego_client(base_url=emulator.base_url, retry=ONCE, timeout=0.2) as zego:
        with pytest.raises(TransportError, match=r"no response within 0\.2 s") as silent:
            await zego.stop_censor_audio(task_id="t")
        with pytest.raises(DeadlineExceeded) as late:
            await zego.call(StopCensorAudioV2(task_id="t"), deadline=0.1)
    assert silent.value.maybe_sent
    assert late.value.maybe_sent


@pytest.mark.slow
async def test_a_dripping_response_ends_with_the_timeout() -> None:
    """Single bytes keep each read from timing out; the timeout of the request still applies."""
    gone = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            for byte in b"HTTP/1.1 200 OK\r\n" * 100:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
        writer.close()
        gone.set()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with zego_client(base_url=base_url, retry=ONCE, timeout=0.3) as zego:
            with pytest.raises(TransportError, match=r"no response within 0\.3 s"):
                await asyncio.wait_for(zego.stop_censor_audio(task_id="t"), 5)
        await gone.wait()


async def test_a_request_to_a_dead_server_was_not_sent() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{free.getsockname()[1]}"
        async with volcengine_client(base_url=base_url, retry=ONCE) as volcengine:
            with pytest.raises(TransportError, match=r"ConnectError|ClientConnectorError") as caught:
                await volcengine.stop_detection(app_id="a", room_id="r")
    assert not caught.value.maybe_sent


async def test_loopback_bypasses_the_proxy_of_the_environment(
    emulator: EmulatorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with volcengine_client(base_url=emulator.base_url) as volcengine:
        await volcengine.start_detection(app_id="a", room_id="r")


@contextlib.asynccontextmanager
async def secure_server() -> AsyncIterator[str]:
    """Serve successes over TLS, with a certificate that is not trusted by default."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = volcengine_success().content
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    async with await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


async def test_an_untrusted_certificate_is_not_retried() -> None:
    """The next attempt would fail too; nothing was sent, and the error says what to do."""
    async with secure_server() as base_url, volcengine_client(base_url=base_url) as client:
        with pytest.raises(TransportError, match=r"CERTIFICATE_VERIFY_FAILED.*SSL_CERT_FILE") as caught:
            await client.stop_detection(app_id="a", room_id="r")
    assert (caught.value.maybe_sent, caught.value.is_permanent, caught.value.attempts) == (False, True, 1)


async def test_the_certificates_of_the_environment_apply_to_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    async with secure_server() as base_url, volcengine_client(base_url=base_url) as client:
        await client.stop_detection(app_id="a", room_id="r")


async def test_clients_share_certificates_of_the_same_environment_only(
    library: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def create() -> ssl.SSLContext:
        created.append(original())
        return created[-1]

    created: list[ssl.SSLContext] = []
    original = library.create_ssl_context
    monkeypatch.setattr(library, "create_ssl_context", create)
    monkeypatch.setattr(http_clients, "_certificates_by_location", weakref.WeakValueDictionary())
    async with secure_server() as base_url, volcengine_client(base_url=base_url) as first, zego_client():
        assert len(created) == 1
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        async with volcengine_client(base_url=base_url) as other:
            await other.stop_detection(app_id="a", room_id="r")
        with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
            await first.stop_detection(app_id="a", room_id="r")
    assert len(created) == 2


@pytest.mark.parametrize("base_url", ["http://vendor.example", "https://vendor.example"])
@pytest.mark.parametrize("is_own", [True, False])
async def test_a_dead_proxy_is_named(monkeypatch: pytest.MonkeyPatch, base_url: str, is_own: bool) -> None:
    """Without its password, whether it comes from the environment or from the user's client."""
    proxy = "http://user:pass-word@127.0.0.1:9"
    monkeypatch.setenv("ALL_PROXY", proxy if is_own else "")
    async with httpx.AsyncClient(proxy=proxy) as http_client:
        client = volcengine_client(base_url=base_url, retry=ONCE, http_client=None if is_own else http_client)
        with pytest.raises(TransportError, match=r"through the proxy http://127\.0\.0\.1:9") as caught:
            await client.stop_detection(app_id="a", room_id="r")
        await client.aclose()
    assert "pass-word" not in str(caught.value)
    assert not caught.value.maybe_sent


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + 200_000 * b"a" + b"\r\n\r\n",
        b"hello\r\n\r\n",
        ok(b"no gzip", b"Content-Encoding: gzip", b"Connection: close"),
        b"",
    ],
    ids=["cut", "cut chunk", "bad chunk", "bad length", "bad header", "long header", "no HTTP", "bad gzip", "nothing"],
)
async def test_a_malformed_response(answer: bytes) -> None:
    """The request may have arrived, and the error shows no frame of the HTTP client; the next call succeeds."""
    requests: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(answer if len(requests) == 1 else SUCCESS)
        await writer.drain()

    async with serve(handler) as base_url, volcengine_client(base_url=base_url, retry=ONCE) as client:
        with pytest.raises(TransportError) as caught:
            await client.stop_detection(app_id="a", room_id="r")
        await client.stop_detection(app_id="a", room_id="r")
    assert (caught.value.maybe_sent, caught.value.status, len(requests)) == (True, None, 2)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "\n" not in str(caught.value)
    assert "Action=" not in str(caught.value)


@pytest.mark.slow
async def test_a_response_that_grows_when_it_is_decompressed() -> None:
    answer = ok(gzip.compress(bytes(2**24 + 1), compresslevel=1), b"Content-Encoding: gzip")
    async with serve(answering(answer, [])) as base_url, volcengine_client(base_url=base_url, retry=ONCE) as client:
        with pytest.raises(TransportError, match="a response of more than 16,777,216 bytes") as caught:
            await client.stop_detection(app_id="a", room_id="r")
    assert (caught.value.maybe_sent, caught.value.status) == (True, 200)


async def test_a_get_is_sent_once() -> None:
    """Aiohttp itself would send it again, with the same nonce and without a permit."""
    requests: list[bytes] = []

    async with serve(closing_at_second(requests)) as base_url, zego_client(base_url=base_url, retry=ONCE) as client:
        await client.describe_user_num(room_id=["r"])
        with pytest.raises(TransportError) as caught:
            await client.describe_user_num(room_id=["r"])
    assert (caught.value.maybe_sent, len(requests)) == (True, 2)


async def test_the_bytes_that_are_sent_are_those_that_are_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Aiohttp itself would encode some characters of the query in another way."""
    signed: list[Request] = []
    send = Transport.send

    async def record(self: Transport, request: Request, *, timeout: float) -> Response:
        signed.append(request)
        return await send(self, request, timeout=timeout)

    monkeypatch.setattr(Transport, "send", record)
    requests: list[bytes] = []
    answer = ok(zego_answer(data={}).content, b"Set-Cookie: a=b")
    async with (
        serve(answering(answer, requests)) as base_url,
        zego_client(base_url=base_url) as zego,
        volcengine_client(base_url=base_url, retry=ONCE) as volcengine,
    ):
        await zego.describe_user_num(room_id=["a b中文+~'()*!@:/?,$;=&%25#[]", "r"])
        with pytest.raises(TransportError):
            await volcengine.stop_detection(app_id="a", room_id="中文")
    for request, sent in zip(signed, requests, strict=True):
        head, _, body = sent.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        assert first == f"{request.method} {request.url.removeprefix(base_url)} HTTP/1.1"
        assert body == request.body
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert len(headers) == len(lines)
        assert headers.items() >= {name.lower(): value for name, value in request.headers.items()}.items()
        assert headers["host"] == base_url.removeprefix("http://")


@pytest.mark.slow
async def test_a_cancelled_call_leaves_no_response_to_the_next() -> None:
    """At whatever moment it is cancelled: each response names its own room."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            room = re.search(rb'"RoomId":"([^"]*)', await read_request(reader))
            assert room is not None
            answer = ok(b'{"ResponseMetadata":{"RequestId":"%s"},"Result":"ok"}' % room[1])
            for start in range(0, len(answer), 32):
                writer.write(answer[start : start + 32])
                await asyncio.sleep(0.001)

    async with serve(handler) as base_url, volcengine_client(base_url=base_url, quotas=NoQuotas()) as client:
        for number in range(30):
            cancelled = asyncio.create_task(client.stop_detection(app_id="a", room_id="cancelled"))
            await asyncio.sleep(number * 0.0004)
            cancelled.cancel()
            await asyncio.wait([cancelled])
            reply = await client.call(StopDetection(app_id="a", room_id=f"r-{number}"))
            assert reply.request_id == f"r-{number}"


async def test_an_http_client_that_is_closed_with_calls_in_flight() -> None:
    """They end at once. Whether the requests arrived is unknown, and they are not repeated."""
    arrived = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        arrived.set()
        await asyncio.sleep(60)

    async with serve(handler) as base_url:
        http_client = httpx.AsyncClient()
        async with volcengine_client(base_url=base_url, http_client=http_client) as client:
            call = asyncio.create_task(client.stop_detection(app_id="a", room_id="r"))
            await arrived.wait()
            await http_client.aclose()
            with pytest.raises(TransportError) as caught:
                await asyncio.wait_for(call, 5)
            with pytest.raises(ConfigurationError, match="the http_client is closed"):
                await client.stop_detection(app_id="a", room_id="r")
    assert (caught.value.maybe_sent, caught.value.attempts) == (True, 1)


async def test_an_http_client_that_is_closed_during_a_response() -> None:
    """Aiohttp does not tell the reader of the response, so that the timeout ends the call."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(SUCCESS[:-1])
        await asyncio.sleep(60)

    async with serve(handler) as base_url:
        http_client = httpx.AsyncClient()
        async with volcengine_client(base_url=base_url, http_client=http_client, timeout=0.2) as client:
            call = asyncio.create_task(client.stop_detection(app_id="a", room_id="r"))
            await asyncio.sleep(0.1)
            await http_client.aclose()
            with pytest.raises(TransportError) as caught:
                await asyncio.wait_for(call, 5)
    assert (caught.value.maybe_sent, caught.value.attempts) == (True, 1)


async def test_closing_a_client_keeps_the_given_http_client_open() -> None:
    async with serve(answering(SUCCESS, [])) as base_url, httpx.AsyncClient() as http_client:
        for _ in range(2):
            async with volcengine_client(base_url=base_url, http_client=http_client) as client:
                await client.stop_detection(app_id="a", room_id="r")
        assert not http_client.is_closed
    async with volcengine_client(base_url=base_url):
        pass  # closed before it has sent anything


async def test_a_handshake_that_takes_long_ends_before_anything_is_sent() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with (
        serve(handler, scheme="https") as base_url,
        volcengine_client(base_url=base_url, timeout=0.2, retry=ONCE) as client,
    ):
        with pytest.raises(TransportError, match=r"ConnectTimeout|ConnectionTimeoutError") as caught:
            await client.stop_detection(app_id="a", room_id="r")
    assert not caught.value.maybe_sent
    assert "Action=" not in str(caught.value)


async def test_finding_an_address_that_takes_long_ends_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def search(*_: object, **__: object) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", search)
    async with volcengine_client(base_url="http://vendor.example", timeout=0.2, retry=ONCE) as client:
        with pytest.raises(TransportError, match=r"ConnectTimeout|ConnectionTimeoutError") as caught:
            await client.stop_detection(app_id="a", room_id="r")
    assert not caught.value.maybe_sent


CREDENTIALS = base64.b64encode("user:päss-word".encode())


async def test_a_proxy_with_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """An http request goes to the proxy as a whole; the vendor's credentials stay in their own header."""
    requests: list[bytes] = []
    async with serve(answering(SUCCESS, requests)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.replace("//", "//user:p%C3%A4ss-word@"))
        async with volcengine_client(base_url="http://vendor.example") as client:
            await client.stop_detection(app_id="a", room_id="r")
    (request,) = requests
    assert request.startswith(b"POST http://vendor.example/?Action=StopDetection&Version=2023-11-01 HTTP/1.1\r\n")
    assert re.findall(rb"(?i)proxy-authorization: (.*)\r\n", request) == [b"Basic " + CREDENTIALS]
    assert len(re.findall(rb"(?i)\r\nauthorization: HMAC-SHA256 ", request)) == 1


async def test_a_proxy_that_connects_to_a_secure_server() -> None:
    """It sees no more than the address of the server, and the response is that of the server."""
    passed: list[bytes] = []

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            while data := await reader.read(2**16):
                passed.append(data)
                writer.write(data)

    async with secure_server() as base_url:

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            passed.append(await read_request(reader))
            to_server = await asyncio.open_connection("127.0.0.1", int(base_url.rpartition(":")[2]))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(pass_on(reader, to_server[1]), pass_on(to_server[0], writer))

        trusted = ssl.create_default_context(cafile=CERTIFICATE)
        async with (
            serve(connect) as proxy,
            httpx.AsyncClient(proxy=proxy.replace("//", "//user:p%C3%A4ss-word@"), verify=trusted) as http_client,
        ):
            client = volcengine_client(base_url=base_url, http_client=http_client)
            await client.stop_detection(app_id="a", room_id="r")
    assert passed[0].startswith(b"CONNECT localhost:")
    assert b"authorization: basic " + CREDENTIALS.lower() in passed[0].lower()
    assert b"StopDetection" not in b"".join(passed)


async def test_a_proxy_that_refuses_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[bytes] = []
    answer = b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n"
    async with serve(answering(answer, requests)) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.replace("//", "//user:p%C3%A4ss-word@"))
        async with volcengine_client(base_url="https://vendor.example", retry=ONCE) as client:
            with pytest.raises(TransportError, match=rf"through the proxy {proxy}\): 407 Who are you") as caught:
                await client.stop_detection(app_id="a", room_id="r")
    assert not caught.value.maybe_sent
    assert requests[0].startswith(b"CONNECT vendor.example:443 HTTP/1.1\r\n")
    assert re.findall(rb"(?i)authorization: (.*)\r\n", requests[0]) == [b"Basic " + CREDENTIALS]
