"""What is special about HTTP clients over aiohttp: their sessions, exceptions, pools and warnings."""

import asyncio
import errno
import gc
import ssl
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import httpx
import pytest
import yarl
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from aiohttp.http import HttpProcessingError
from httpx_aiohttp import AiohttpTransport, HttpxAiohttpClient
from httpx_aiohttp.httpx2 import Httpx2AiohttpClient
from multidict import CIMultiDict, CIMultiDictProxy

from tests.doubles import volcengine_client, zego_client
from tests.test_sockets import SUCCESS, answering, closing_at_second, serve
from volc_moderation import ConfigurationError, RetryPolicy, TransportError, aiohttp_adapter
from volc_moderation.gate import MAX_IN_FLIGHT, width_for

ONCE = RetryPolicy(attempts=1)
VENDOR = "https://vendor.example"
KEY = ConnectionKey("host", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
INFO = RequestInfo(yarl.URL(f"{VENDOR}/?Signature=0"), "GET", CIMultiDictProxy(CIMultiDict()), yarl.URL(VENDOR))
REFUSED = OSError(errno.ECONNREFUSED, "refused")


@pytest.mark.parametrize(
    ("error", "maybe_sent"),
    [
        (aiohttp.ClientConnectorError(KEY, REFUSED), False),
        (aiohttp.ClientConnectorDNSError(KEY, REFUSED), False),
        (aiohttp.ClientConnectorSSLError(KEY, REFUSED), False),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError()), False),
        (aiohttp.ClientProxyConnectionError(KEY, REFUSED), False),
        (aiohttp.ClientHttpProxyError(INFO, (), status=407), False),
        (aiohttp.ServerFingerprintMismatch(b"a", b"b", "host", 443), False),
        (aiohttp.ConnectionTimeoutError(), False),
        (aiohttp.InvalidURL("https://host/"), False),
        (aiohttp.NonHttpUrlClientError("ftp://host/"), False),
        (aiohttp.ClientConnectionError(), True),
        (aiohttp.ClientConnectionResetError(), True),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), True),
        (aiohttp.ServerConnectionError(), True),
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ServerTimeoutError(), True),
        (aiohttp.SocketTimeoutError(), True),
        (aiohttp.ClientPayloadError(), True),
        (aiohttp.ClientResponseError(INFO, (), message="Signature=0"), True),
        (aiohttp.TooManyRedirects(INFO, ()), True),
        (aiohttp.ClientError(), True),
        (HttpProcessingError(), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (ValueError("a newline in a header"), True),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_only_an_exception_that_proves_it_means_that_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch, error: Exception, maybe_sent: bool
) -> None:
    """httpx-aiohttp calls most of them a ConnectTimeout, and lets others pass."""

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(aiohttp.ClientSession, "_request", fail)
    async with HttpxAiohttpClient() as http_client:
        with pytest.raises(TransportError) as caught:
            await volcengine_client(http_client=http_client, retry=ONCE).stop_detection(app_id="a", room_id="r")
    assert caught.value.maybe_sent is maybe_sent
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert caught.value.is_permanent is isinstance(error, aiohttp.ClientConnectorCertificateError)


def session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=5, limit_per_host=3))


@pytest.mark.parametrize("given", [None, session, "session"], ids=["none", "function", "session"])
async def test_a_get_is_sent_once_with_every_kind_of_session(given: Any) -> None:
    """Whether the adapter, a function of the user or the user created it; however many clients share it."""
    requests: list[bytes] = []

    transport = AiohttpTransport(client=session() if given == "session" else given)
    async with serve(closing_at_second(requests)) as base_url, httpx.AsyncClient(transport=transport) as http_client:
        for _ in range(2):
            zego = zego_client(base_url=base_url, http_client=http_client, retry=ONCE)
        await zego.describe_user_num(room_id=["r"])
        with pytest.raises(TransportError):
            await zego.describe_user_num(room_id=["r"])
    assert len(requests) == 2


async def test_the_session_of_a_user_encodes_addresses_as_before() -> None:
    """It may have other uses, with addresses that are not encoded yet."""
    requests: list[bytes] = []
    async with serve(answering(SUCCESS, requests)) as base_url, session() as own:
        http_client = httpx.AsyncClient(transport=AiohttpTransport(client=own))
        await volcengine_client(base_url=base_url, http_client=http_client).stop_detection(app_id="a", room_id="r")
        await (await own.get(f"{base_url}/中文")).read()
    assert requests[1].startswith(b"GET /%E4%B8%AD%E6%96%87 HTTP/1.1")


async def test_the_private_attributes_of_aiohttp_exist() -> None:
    """Without them a GET might be sent twice, or with another address than the one that was signed."""
    async with session() as own:
        assert own._retry_connection is True
        assert own._build_url("https://host/?a=%2C").raw_query_string == "a=,"
    assert aiohttp_adapter._unchanged_url("https://host/?a=%2C").raw_query_string == "a=%2C"


async def test_a_session_without_the_private_attributes_is_left_as_it_is() -> None:
    transport = SimpleNamespace(proxy=None, client=None, get_client=SimpleNamespace)
    aiohttp_adapter.prepare(transport)
    assert vars(transport.client()) == {}
    assert aiohttp_adapter.transport_for(object(), "https://host/") is None


@pytest.mark.parametrize(
    ("transport", "width"),
    [
        (lambda: AiohttpTransport(limits=httpx.Limits(max_connections=4)), 4),
        (lambda: AiohttpTransport(limits=httpx.Limits(max_connections=400)), MAX_IN_FLIGHT),
        (lambda: AiohttpTransport(limits=httpx.Limits(max_connections=None)), MAX_IN_FLIGHT),
        (lambda: AiohttpTransport(client=session()), 3),
        (lambda: AiohttpTransport(client=session), MAX_IN_FLIGHT),  # unknown until the session is created
        (lambda: AiohttpTransport(client=aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))), 48),
    ],
)
async def test_the_gate_is_as_wide_as_the_pool(transport: Callable[[], AiohttpTransport], width: int) -> None:
    """Before and after the transport is prepared."""
    async with httpx.AsyncClient(transport=transport()) as http_client:
        for _ in range(2):
            assert width_for(http_client, httpx.URL(VENDOR)) == width
            volcengine_client(http_client=http_client)


async def test_the_gate_is_as_wide_as_the_pool_of_a_mounted_proxy() -> None:
    mounted = AiohttpTransport(proxy=httpx.Proxy("http://127.0.0.1:9"), limits=httpx.Limits(max_connections=2))
    async with HttpxAiohttpClient(mounts={"https://": mounted}) as http_client:
        assert width_for(http_client, httpx.URL(VENDOR)) == 2
        assert width_for(http_client, httpx.URL("http://vendor.example")) == MAX_IN_FLIGHT


@pytest.mark.parametrize("client_type", [HttpxAiohttpClient, Httpx2AiohttpClient])
async def test_a_proxy_that_aiohttp_cannot_use_is_refused(client_type: Any) -> None:
    """Aiohttp would send the request to a SOCKS proxy as if it were one of HTTP."""
    async with client_type(proxy="socks5://user:pass-word@127.0.0.1:9") as http_client:
        with pytest.raises(ConfigurationError, match="aiohttp cannot use a proxy of the scheme socks5") as caught:
            volcengine_client(http_client=http_client)
    assert "pass-word" not in str(caught.value)


async def test_what_is_reported_about_open_connections_shows_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is never closed is reported when it is collected; aiohttp names connections by their proxies."""
    reported: list[str] = []  # not the objects, which would live on
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(repr(context)))
    async with serve(answering(SUCCESS, [])) as proxy:
        http_client: Any = HttpxAiohttpClient(proxy=proxy.replace("//", "//user:pass-word@"))
        client = volcengine_client(base_url="http://vendor.example", http_client=http_client)
        await client.stop_detection(app_id="a", room_id="r")
        (connection,) = http_client._transport_for_url(httpx.URL("http://vendor.example")).client.connector._conns
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            monkeypatch.setattr(warnings, "showwarning", lambda message, *_: reported.append(str(message)))
            del http_client, client
            gc.collect()
            await asyncio.sleep(0)
    shown = repr(connection) + "".join(reported)
    for text in ("Unclosed client session", "Unclosed connector", "ConnectionKey("):
        assert text in shown
    for secret in ("pass-word", "dXNlcjpwYXNzLXdvcmQ", "Signature="):
        assert secret not in shown
