"""Faults of the network, over real sockets: the right error, in time, with the right ``maybe_sent``."""

import asyncio
import contextlib
import socket
import ssl
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from tests.doubles import NOW, mocked, volcengine_client, volcengine_success, zego_client
from volc_moderation import (
    DeadlineExceeded,
    ModerationError,
    NoQuotas,
    RetryPolicy,
    ThrottledError,
    TransportError,
    http_clients,
)
from volc_moderation.emulator import EmulatorProcess, Fault
from volc_moderation.errors import DecodeError
from volc_moderation.gate import MAX_IN_FLIGHT
from volc_moderation.transport import BaseURL
from volc_moderation.wire import Request
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.usefixtures("library")

ONCE = RetryPolicy(attempts=1)
REQUEST = Request("POST", "https://host/", {}, b"", ())
#: A key and a certificate for localhost, created for these tests.
CERTIFICATE = Path(__file__).parent / "vectors" / "localhost.pem"


@pytest.mark.parametrize(
    ("fault", "text", "status"),
    [
        (Fault(kind="status", status=502), "HTTP 502 with", 502),
        (Fault(kind="status", status=403), "HTTP 403 with", 403),
        (Fault(kind="body", body='{"Code": 0, "Mess'), "HTTP 200 with 17 bytes", 200),
        (Fault(kind="body", body=""), "HTTP 200 with 0 bytes", 200),
        (Fault(kind="body", body="[]"), "HTTP 200 with 2 bytes", 200),
        (Fault(kind="body", body='{"other": 1}'), "HTTP 200 with 12 bytes", 200),
        (Fault(kind="body", body="[" * 100_000), "HTTP 200 with 100000 bytes", 200),
        (Fault(kind="garbage"), "HTTP 200 with 128 bytes", 200),
        (Fault(kind="reset"), "ReadError|RemoteProtocolError", None),
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
            with pytest.raises(TransportError, match="ConnectError") as caught:
                await volcengine.stop_detection(app_id="a", room_id="r")
    assert not caught.value.maybe_sent


@pytest.mark.parametrize(
    ("error", "maybe_sent"),
    [
        (httpx.ConnectError(""), False),
        (httpx.ConnectTimeout(""), False),
        (httpx.PoolTimeout(""), False),
        (httpx.ProxyError(""), False),
        (httpx.WriteError(""), True),
        (httpx.WriteTimeout(""), True),
        (httpx.ReadError(""), True),
        (httpx.ReadTimeout(""), True),
        (httpx.RemoteProtocolError(""), True),
        (httpx.DecodingError(""), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
    ],
)
async def test_every_network_exception_becomes_a_transport_error(error: Exception, maybe_sent: bool) -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    async with mocked(handler) as http_client:
        with pytest.raises(TransportError) as caught:
            await volcengine_client(http_client=http_client, retry=ONCE).stop_detection(app_id="a", room_id="r")
    assert caught.value.maybe_sent is maybe_sent
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("location", ["a:b:c", "https://xn--/", "//"])
async def test_a_redirect_with_a_malformed_address(location: str) -> None:
    """Httpx parses the address of a redirect even if it must not follow it."""
    answer = httpx.Response(302, headers={"Location": location})
    async with mocked(lambda _: answer) as http_client:
        with pytest.raises(TransportError):
            await volcengine_client(http_client=http_client, retry=ONCE).stop_detection(app_id="a", room_id="r")


async def test_retry_after_of_a_proxy_is_honoured() -> None:
    page = httpx.Response(503, text="later", headers={"Retry-After": "7"})
    async with mocked(lambda _: page) as http_client:
        with pytest.raises(TransportError) as caught:
            await volcengine_client(http_client=http_client, deadline=3).stop_detection(app_id="a", room_id="r")
    assert caught.value.retry_after == 7


async def test_a_bug_in_the_http_client_is_not_hidden() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise LookupError("a bug")

    async with mocked(handler) as http_client:
        with pytest.raises(LookupError, match="a bug"):
            await volcengine_client(http_client=http_client).stop_detection(app_id="a", room_id="r")


async def test_429_of_a_proxy_is_throttling() -> None:
    page = httpx.Response(429, text="slow down", headers={"Retry-After": "7"})
    async with mocked(lambda _: page) as http_client:
        with pytest.raises(ThrottledError, match="HTTP 429") as caught:
            await volcengine_client(http_client=http_client, retry=ONCE).stop_detection(app_id="a", room_id="r")
    assert caught.value.retry_after == 7


async def test_a_malformed_success_names_the_field() -> None:
    task = {"CreateTime": "soon", "MediaType": 1, "Status": 1, "UserId": "u", "RoomId": "r"}
    answer = volcengine_success({"EventData": [task]})
    async with mocked(lambda _: answer) as http_client:
        with pytest.raises(DecodeError) as caught:
            await volcengine_client(http_client=http_client).list_detection_task(app_id="a", room_id="r")
    assert caught.value.path == "Result.event_data[0].create_time"
    assert "expected int, got str" in str(caught.value)
    assert caught.value.__context__ is None
    assert isinstance(caught.value, ModerationError)


async def test_redirects_and_credentials_of_the_given_client_are_not_used() -> None:
    """A signed request goes to one address, once, with its signature as the only credentials."""
    requests = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(302, headers={"Location": "https://elsewhere.example/"})

    transport = httpx.MockTransport(handler)
    async with httpx.AsyncClient(transport=transport, follow_redirects=True, auth=("user", "word")) as http_client:
        with pytest.raises(TransportError) as caught:
            await volcengine_client(http_client=http_client).stop_detection(app_id="a", room_id="r")
    assert caught.value.status == 302
    assert len(requests) == 1
    assert requests[0].headers["authorization"].startswith("HMAC-SHA256 ")


@pytest.mark.parametrize(
    ("base_url", "url", "host"),
    [
        ("https://rtc.volcengineapi.com", "https://rtc.volcengineapi.com", "rtc.volcengineapi.com"),
        ("https://RTC.volcengineapi.com/", "https://rtc.volcengineapi.com", "rtc.volcengineapi.com"),
        ("https://host:443", "https://host", "host"),
        ("http://host:80", "http://host", "host"),
        ("http://host:443", "http://host:443", "host:443"),
        ("http://127.0.0.1:8765", "http://127.0.0.1:8765", "127.0.0.1:8765"),
        ("http://[::1]:8765", "http://[::1]:8765", "[::1]:8765"),
    ],
)
async def test_the_signed_host_is_the_sent_host(base_url: str, url: str, host: str) -> None:
    requests = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return volcengine_success()

    async with mocked(handler) as http_client:
        await volcengine_client(http_client=http_client, base_url=base_url).stop_detection(app_id="a", room_id="r")
    assert BaseURL.parse(base_url) == BaseURL(url, host, BaseURL.parse(base_url).is_loopback)
    assert requests[0].headers["host"] == host
    assert str(requests[0].url).startswith(f"{url}/?Action=StopDetection")


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


async def test_a_chain_of_exceptions_may_be_circular() -> None:
    first, second = httpx.ConnectError("first"), httpx.ConnectError("second")
    first.__context__, second.__context__ = second, first

    async with mocked(lambda _: volcengine_success()) as http_client:
        with pytest.raises(TransportError) as caught:
            raise volcengine_client(http_client=http_client)._transport._to_transport_error(first, REQUEST)
    assert not caught.value.is_permanent


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


async def test_no_proxy_is_named_where_there_is_none() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        assert volcengine_client(http_client=http_client)._transport._route() == ""
    async with volcengine_client(base_url="http://127.0.0.1:9", retry=ONCE) as client:
        with pytest.raises(TransportError) as caught:
            await client.stop_detection(app_id="a", room_id="r")
    assert "proxy" not in str(caught.value)


async def test_a_request_is_signed_when_it_passes_the_gate() -> None:
    """No more requests are in flight than fit into the pool, and no wait makes a timestamp stale."""
    signed: list[float] = []
    hold = asyncio.Event()

    def clock() -> float:
        signed.append(NOW)
        return NOW

    async def handler(request: httpx.Request) -> httpx.Response:
        await hold.wait()
        return volcengine_success()

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas(), clock=clock)
        rooms = [f"r-{number}" for number in range(MAX_IN_FLIGHT + 5)]
        calls = [asyncio.create_task(client.stop_detection(app_id="a", room_id=room)) for room in rooms]
        await asyncio.sleep(0.1)
        assert len(signed) == MAX_IN_FLIGHT
        hold.set()
        await asyncio.gather(*calls)
    assert len(signed) == MAX_IN_FLIGHT + 5


async def test_connecting_may_take_half_of_the_timeout() -> None:
    requests = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return volcengine_success()

    async with mocked(handler) as http_client:
        await volcengine_client(http_client=http_client).stop_detection(app_id="a", room_id="r")
    assert requests[0].extensions["timeout"] == {"connect": 5, "read": 10, "write": 10, "pool": None}


async def test_a_runtime_error_of_an_open_http_client_is_not_hidden() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise RuntimeError("a bug")

    async with mocked(handler) as http_client:
        with pytest.raises(RuntimeError, match="a bug"):
            await volcengine_client(http_client=http_client).stop_detection(app_id="a", room_id="r")
