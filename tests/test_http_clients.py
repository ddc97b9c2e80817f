"""Which HTTP client is the fastest one that is installed, and how it uses the environment."""

import sys
from typing import Any

import httpx
import httpx2
import pytest
from httpx_aiohttp import HttpxAiohttpClient
from httpx_aiohttp.httpx2 import Httpx2AiohttpClient

from tests.doubles import volcengine_client
from tests.test_sockets import CERTIFICATE, SUCCESS, answering, secure_server, serve
from volc_moderation import ConfigurationError, RetryPolicy, TransportError, fastest_http_client
from volc_moderation.gate import MAX_IN_FLIGHT, width_for
from volc_moderation.http_clients import name_of


@pytest.mark.parametrize(
    ("missing", "client_type", "name"),
    [
        ((), Httpx2AiohttpClient, "httpx2 over aiohttp"),
        (("httpx2",), HttpxAiohttpClient, "httpx over aiohttp"),
        (("httpx_aiohttp",), httpx2.AsyncClient, "httpx2"),
        (("aiohttp",), httpx2.AsyncClient, "httpx2"),
        (("aiohttp", "httpx2"), httpx.AsyncClient, "httpx"),
    ],
)
async def test_the_fastest_client_that_is_installed(
    monkeypatch: pytest.MonkeyPatch, missing: tuple[str, ...], client_type: type, name: str
) -> None:
    for module in missing:
        # As if it were not installed, nor what needs it.
        for loaded in [loaded for loaded in sys.modules if loaded.partition(".")[0] in {module, "httpx_aiohttp"}]:
            monkeypatch.delitem(sys.modules, loaded)
        monkeypatch.setitem(sys.modules, module, None)
    requests: list[bytes] = []
    async with serve(answering(SUCCESS, requests)) as base_url, fastest_http_client(base_url) as http_client:
        assert client_type.__name__ in {cls.__name__ for cls in type(http_client).__mro__}
        assert name_of(http_client) == name
        library = sys.modules[name.partition(" ")[0]]
        assert width_for(http_client, library.URL(base_url)) == MAX_IN_FLIGHT
        await volcengine_client(base_url=base_url, http_client=http_client).stop_detection(app_id="a", room_id="r")
    assert http_client.is_closed
    assert len(requests) == 1


@pytest.mark.parametrize("has_address", [True, False])
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
async def test_loopback_is_reached_directly(monkeypatch: pytest.MonkeyPatch, variable: str, has_address: bool) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:9")
    async with (
        serve(answering(SUCCESS, [])) as base_url,
        fastest_http_client(base_url if has_address else None) as http_client,
    ):
        client = volcengine_client(base_url=base_url, http_client=http_client)
        await client.stop_detection(app_id="a", room_id="r")


async def test_other_addresses_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    requests: list[bytes] = []
    async with serve(answering(SUCCESS, requests)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy)
        async with fastest_http_client() as http_client:
            client = volcengine_client(base_url="http://vendor.example", http_client=http_client)
            await client.stop_detection(app_id="a", room_id="r")
    assert len(requests) == 1


@pytest.mark.parametrize(
    ("base_url", "name"), [(None, "httpx2"), ("https://host", "httpx2"), ("http://127.0.0.1", "httpx2 over aiohttp")]
)
async def test_a_socks_proxy_rules_aiohttp_out(
    monkeypatch: pytest.MonkeyPatch, base_url: str | None, name: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:pass-word@127.0.0.1:9")
    monkeypatch.setattr(httpx2, "AsyncClient", _WithoutProxies)  # those need another package
    async with fastest_http_client(base_url) as http_client:
        assert name_of(http_client) == name


class _WithoutProxies(httpx2.AsyncClient):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"trust_env": False})


_WithoutProxies.__name__ = "AsyncClient"


@pytest.mark.parametrize("proxy", ["http://user:pass-word@host:port", "ftp://user:pass-word@host"])
def test_a_malformed_proxy(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="cannot use the proxies") as caught:
        fastest_http_client()
    assert "pass-word" not in repr(caught.value)


def test_a_malformed_address() -> None:
    with pytest.raises(ConfigurationError, match="base_url must be like"):
        fastest_http_client("https://host/path")


async def test_the_certificates_of_the_environment_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    async with secure_server() as base_url:
        async with fastest_http_client() as http_client:
            client = volcengine_client(base_url=base_url, http_client=http_client, retry=RetryPolicy(attempts=1))
            with pytest.raises(TransportError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.stop_detection(app_id="a", room_id="r")
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        async with fastest_http_client() as http_client:
            client = volcengine_client(base_url=base_url, http_client=http_client)
            await client.stop_detection(app_id="a", room_id="r")
