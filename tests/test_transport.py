"""What is sent, and what becomes of each exception and response of httpx, without sockets."""

import asyncio
from collections.abc import AsyncIterator
from types import ModuleType

import httpx
import pytest

from tests.doubles import NOW, mocked, volcengine_client, volcengine_success
from volc_moderation import (
    ModerationError,
    NoQuotas,
    RetryPolicy,
    ThrottledError,
    TransportError,
)
from volc_moderation.action import Method
from volc_moderation.base_url import BaseURL
from volc_moderation.errors import DecodeError
from volc_moderation.gate import MAX_IN_FLIGHT
from volc_moderation.transport import Transport
from volc_moderation.wire import Request

pytestmark = pytest.mark.usefixtures("library")

ONCE = RetryPolicy(attempts=1)
REQUEST = Request("POST", "https://host/", {}, b"", ())


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
    parsed = BaseURL.parse(base_url)
    assert (parsed.url, parsed.host) == (url, host)
    sent = requests[0].url
    assert (parsed.name, parsed.port) == (sent.host, sent.port or {"http": 80, "https": 443}[sent.scheme])
    assert requests[0].headers["host"] == host
    assert str(requests[0].url).startswith(f"{url}/?Action=StopDetection")


async def test_a_chain_of_exceptions_may_be_circular() -> None:
    first, second = httpx.ConnectError("first"), httpx.ConnectError("second")
    first.__context__, second.__context__ = second, first

    async with mocked(lambda _: volcengine_success()) as http_client:
        with pytest.raises(TransportError) as caught:
            raise volcengine_client(http_client=http_client)._state.transport._to_transport_error(first, REQUEST)
    assert not caught.value.is_permanent


async def test_no_proxy_is_named_where_there_is_none() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        assert volcengine_client(http_client=http_client)._state.transport._route() == ""
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


@pytest.mark.parametrize(("method", "body"), [("POST", b"{}"), ("POST", b""), ("GET", b"")])
async def test_a_request_is_what_the_http_client_would_build(library: ModuleType, method: Method, body: bytes) -> None:
    """It has the client's own headers, unless they are replaced, and the client's cookies."""
    url = "https://host/?Action=StopWebcast&Version=2020-12-01"
    signed = {"Host": "host", "Content-Type": "application/json", "Authorization": "signature"}
    client = library.AsyncClient(
        headers={"X-Team": "a", "content-type": "text/plain", "AUTHORIZATION": "other"}, cookies={"session": "1"}
    )
    async with client:
        transport = Transport(client, base_url=BaseURL.parse("https://host"))
        for _ in range(2):
            built = transport._build(Request(method, url, signed, body, ()), 10)
            expected = client.build_request(method, url, headers=signed, content=body, timeout=(5, 10, 10, None))
            assert (built.method, built.url, built.content) == (expected.method, expected.url, expected.content)
            assert built.headers == expected.headers
            assert built.extensions == expected.extensions
            client.headers["X-Team"] = "b"  # a change counts for the next request
            client.cookies.set("session", "2")


async def test_an_event_hook_may_read_the_response() -> None:
    parts = iter([volcengine_success("ok").content])

    class Answer(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in parts:  # only once, like a socket
                yield part

    async def read(response: httpx.Response) -> None:
        await response.aread()

    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Answer()))
    async with httpx.AsyncClient(transport=transport, event_hooks={"response": [read]}) as http_client:
        await volcengine_client(http_client=http_client).stop_detection(app_id="a", room_id="r")
