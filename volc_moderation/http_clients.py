"""Creates HTTP clients, with the pool and the certificates that the transport needs.

The clients of aiohttp come from httpx-aiohttp: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient`` that sends with
aiohttp. ``aiohttp_adapter.py`` is about how these differ from the others.
"""

import contextlib
import os
import ssl
import sys
import weakref
from collections.abc import Callable
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, Protocol, Self

from volc_moderation import aiohttp_adapter
from volc_moderation.base_url import BaseURL
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.gate import MAX_IN_FLIGHT


class AsyncHTTPClient(Protocol):
    """What this package uses of an ``httpx.AsyncClient`` or an ``httpx2.AsyncClient``."""

    @property
    def is_closed(self) -> bool:
        """Whether the client is closed, and can send no more requests."""

    async def aclose(self) -> None:
        """Close the connections."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None: ...


#: For each HTTP client except the default one, from the fastest on: the module and the name of its class, and the
#: library that it belongs to.
_CLIENTS = (
    ("httpx_aiohttp.httpx2", "Httpx2AiohttpClient", "httpx2"),
    ("httpx_aiohttp", "HttpxAiohttpClient", "httpx"),
    ("httpx2", "AsyncClient", "httpx2"),
)


def fastest_http_client(base_url: str | None = None) -> AsyncHTTPClient:
    """Create the fastest HTTP client that is installed: httpx2 over aiohttp, httpx over aiohttp, httpx2, or httpx.

    Its pool has as many connections as one client of a vendor can use: give each of them its own. It uses the proxies
    and certificates of the environment. aiohttp supports no SOCKS proxy: if the environment has one, the client is one
    of the last two. Close it, or use it with ``async with``.

    :param base_url: the address that requests go to, if it is only one. A proxy of the environment is for other
        machines: the client connects directly to ``localhost``, ``127.0.0.1``, ``[::1]`` and to any loopback address
        that is given here.

    Raises ``ConfigurationError`` if the address is malformed, or if the proxies or certificates cannot be used.
    """
    parsed = None if base_url is None else BaseURL.parse(base_url)
    needs_socks = not (parsed and parsed.is_loopback) and _has_socks_proxy()
    for module, name, library in _CLIENTS:
        if needs_socks and module.startswith("httpx_aiohttp"):
            continue
        with contextlib.suppress(ImportError):
            client: AsyncHTTPClient = _create(import_module(library), getattr(import_module(module), name), parsed)
            return client
    return default_http_client(parsed)


def default_http_client(base_url: BaseURL | None) -> AsyncHTTPClient:
    """Create a client of httpx. Raises ``ConfigurationError``."""
    import httpx  # noqa: PLC0415 - takes about as long as importing this package, and other clients do not need it

    client: AsyncHTTPClient = _create(httpx, httpx.AsyncClient, base_url)
    return client


def direct_http_client(base_url: BaseURL) -> AsyncHTTPClient:
    """Create a client of httpx that uses no proxy, whatever the environment says. Raises ``ConfigurationError``."""
    import httpx  # noqa: PLC0415 - as above

    client: AsyncHTTPClient = _create(httpx, httpx.AsyncClient, base_url, uses_proxies=False)
    return client


def _has_socks_proxy() -> bool:
    from urllib.request import getproxies  # noqa: PLC0415 - imports much else

    return any(proxy.lower().startswith("socks") for proxy in getproxies().values())


def _create(
    library: Any, client_type: Callable[..., Any], base_url: BaseURL | None, *, uses_proxies: bool = True
) -> Any:
    """Create a client. Raises ``ConfigurationError``."""
    # A proxy of the environment is for other machines, not for an emulator on this one. Its certificates are for both.
    is_on_this_machine = base_url is not None and base_url.is_loopback
    direct = ("all://localhost", "all://127.0.0.1", "all://[::1]") if base_url is None else ()
    try:
        return client_type(
            verify=certificates(library),
            limits=library.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT),
            trust_env=uses_proxies and not is_on_this_machine,
            mounts=dict.fromkeys(direct),
        )
    except (ImportError, OSError) as error:
        reason = str(error)
    except (library.InvalidURL, ValueError) as error:
        reason = type(error).__name__  # its message may contain the proxy's password
    raise ConfigurationError(f"httpx cannot use the proxies or certificates of the environment: {reason}")


#: Reading the certificates takes 30 ms and 0.8 MB, so clients that exist at the same time share them. The keys are the
#: library, and the values of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.
_certificates_by_location: "weakref.WeakValueDictionary[tuple[str | None, ...], ssl.SSLContext]" = (
    weakref.WeakValueDictionary()
)


def certificates(library: Any) -> ssl.SSLContext:
    """Return the certificates that a library trusts: those of the environment, else its own."""
    location = (library.__name__, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    context = _certificates_by_location.get(location)
    if context is None:
        context = _certificates_by_location[location] = library.create_ssl_context()
    return context


def library_of(client: object) -> ModuleType:
    """Return httpx or httpx2: the module whose exceptions the client raises. Raises ``ConfigurationError``."""
    if getattr(client, "params", None):
        raise ConfigurationError("http_client must not have params of its own: httpx would replace the query with them")
    for cls in type(client).__mro__:
        root = cls.__module__.partition(".")[0]
        if cls.__name__ == "AsyncClient" and root in {"httpx", "httpx2"}:
            return sys.modules[root]
    raise ConfigurationError(
        f"http_client must be an httpx.AsyncClient or an httpx2.AsyncClient; got {describe(client)}"
    )


def name_of(client: AsyncHTTPClient) -> str:
    """Return which library sends the requests of a client, such as ``httpx2 over aiohttp``."""
    library = library_of(client)
    transport = aiohttp_adapter.transport_for(client, library.URL("https://host"))
    return f"{library.__name__} over aiohttp" if aiohttp_adapter.is_aiohttp(transport) else library.__name__
