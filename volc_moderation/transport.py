"""Sends signed bytes, and returns the status, headers and bytes of the response.

This is the only module of the SDK that imports httpx; the emulator and the test fixtures do so, too.

The client may be an ``httpx.AsyncClient`` or an ``httpx2.AsyncClient``: it receives nothing but str, bytes, floats and
callables, and the exceptions caught are those of the library that its class comes from.
"""

import asyncio
import logging
import os
import re
import ssl
import sys
import weakref
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs
import httpx

from volc_moderation.errors import ConfigurationError, TransportError, describe
from volc_moderation.gate import MAX_IN_FLIGHT, Gate, width_for
from volc_moderation.quotas.permit import Priority
from volc_moderation.wire import Request, Response

#: The longest response, decompressed: far longer than any real one, and short enough not to exhaust the memory.
MAX_RESPONSE_BYTES = 16 * 2**20


class AsyncHTTPClient(Protocol):
    """What this package uses of an ``httpx.AsyncClient`` or an ``httpx2.AsyncClient``."""

    @property
    def is_closed(self) -> bool:
        """Whether the client is closed, and can send no more requests."""

    async def aclose(self) -> None:
        """Close the connections."""


@attrs.frozen
class BaseURL:
    """The address of a vendor: http or https, without a path."""

    url: str
    #: The Host header that is sent and signed: in lower case, with the port unless it is the scheme's default.
    host: str
    is_loopback: bool

    @property
    def account_suffix(self) -> str:
        """Distinguishes the accounts of an emulator from those of the vendor, whose hosts all share their quotas."""
        return f"@{self.host}" if self.is_loopback else ""

    @classmethod
    def parse(cls, base_url: object) -> "BaseURL":
        """Parse an address. Raises ``ConfigurationError`` if it is not one."""
        rule = "base_url must be like 'https://host' or 'http://127.0.0.1:8000', without path, query or user"
        if not isinstance(base_url, str):
            raise ConfigurationError(f"{rule}; got {describe(base_url)}")
        try:
            parts = urlsplit(base_url)
            name, port = parts.hostname, parts.port
        except ValueError:
            raise ConfigurationError(rule) from None
        if (
            parts.scheme not in {"http", "https"}
            or not name
            or not base_url.isascii()
            or not base_url.isprintable()
            or " " in base_url
            or parts.path not in {"", "/"}
            or parts.query
            or parts.fragment
            or "@" in parts.netloc
        ):
            raise ConfigurationError(rule)
        host = f"[{name}]" if ":" in name else name
        if port is not None and port != {"http": 80, "https": 443}[parts.scheme]:
            host += f":{port}"
        is_loopback = name in {"localhost", "::1"} or name.startswith("127.")
        return cls(f"{parts.scheme}://{host}", host, is_loopback)


class Transport:
    """Sends signed requests through one HTTP client, a bounded number at a time."""

    def __init__(self, client: AsyncHTTPClient | None, *, timeout: float, base_url: BaseURL) -> None:
        self._owns_client = client is None
        if client is None:
            client = _make_client(base_url)
        self._client: httpx.AsyncClient = client  # type: ignore[assignment]  # or its twin of httpx2
        self._library = _library_of(client)
        self._host = base_url.host
        self._url = base_url.url
        self._timeout = timeout
        # The gate is as wide as the pool, so requests do not wait in the pool. Connecting may take half of the time.
        self._timeouts = (timeout / 2, timeout, timeout, None)  # connect, read, write, pool
        self._gate = Gate(width_for(client, self._library.URL(base_url.url)))

    @property
    def is_closed(self) -> bool:
        """Whether the HTTP client is closed, and can send no more requests."""
        return self._client.is_closed

    async def aclose(self) -> None:
        """Close the HTTP client, unless the user gave it."""
        if self._owns_client:
            await self._client.aclose()

    async def send(self, prepare: Callable[[], Awaitable[Request]], priority: Priority) -> tuple[Request, Response]:
        """Send the request that ``prepare()`` returns. It is awaited last, so that no wait makes a signature stale.

        Returns the request and its response.

        Raises ``TransportError``, which is not chained to the exception of httpx: the frames of that one hold addresses
        and headers, including signatures.
        """
        await self._gate.enter(priority)
        try:
            return await self._exchange(await prepare())
        finally:
            self._gate.leave()

    async def _exchange(self, request: Request) -> tuple[Request, Response]:
        started = asyncio.get_running_loop().time()
        try:
            # httpx's own read timeout starts again with every byte that arrives; this one does not.
            async with asyncio.timeout(self._timeout):
                response = await self._client.send(
                    self._client.build_request(
                        request.method,
                        request.url,
                        headers=request.headers,
                        content=request.body,
                        timeout=self._timeouts,
                    ),
                    stream=True,
                    auth=None,
                    follow_redirects=False,
                )
                body = await _read(response)
        except TimeoutError:
            error = TransportError(f"no response within {self._timeout:g} s{self._route()}", maybe_sent=True)
        except (self._library.HTTPError, self._library.InvalidURL, UnicodeError) as caught:
            # httpx parses a redirect's address even if it does not follow the redirect.
            error = self._to_transport_error(caught, request)
        except OSError as caught:
            reason = f"the connection failed: {type(caught).__name__}{self._route()}"
            error = TransportError(reason, maybe_sent=True)
        except asyncio.CancelledError as cancelled:
            raise cancelled.with_traceback(None) from None  # its frames also hold addresses and headers
        except RuntimeError:
            if not self._client.is_closed:
                raise
            error = TransportError("the HTTP client was closed during the request", maybe_sent=True)
        else:
            if body is not None:
                round_trip = asyncio.get_running_loop().time() - started
                return request, Response(response.status_code, response.headers, body, round_trip)
            error = TransportError(
                f"a response of more than {MAX_RESPONSE_BYTES:,} bytes", maybe_sent=True, status=response.status_code
            )
        raise error

    def _to_transport_error(self, error: Exception, request: Request) -> TransportError:
        library = self._library
        not_sent = (
            library.ConnectError,
            library.ConnectTimeout,
            library.PoolTimeout,
            library.ProxyError,
            library.UnsupportedProtocol,
        )
        reason = f"{type(error).__name__} ({self._host}{self._route()})" + (f": {error}" if str(error) else "")
        is_untrusted = _is_untrusted(error)
        if is_untrusted:
            reason += "; if the certificate is right, set SSL_CERT_FILE to the file of its authority"
        return TransportError(
            _without_signature(request.redact(reason)),
            maybe_sent=not isinstance(error, not_sent),
            # An event hook of the user's client may call raise_for_status().
            status=error.response.status_code if isinstance(error, library.HTTPStatusError) else None,
            is_permanent=is_untrusted,
        )

    def _route(self) -> str:
        """Describe the proxy that requests go through, if any, without its password, which httpx keeps elsewhere.

        Neither library has a public API for this. If the private attributes change, the proxy is not named.
        """
        try:
            transport: Any = self._client._transport_for_url(self._library.URL(self._url))  # noqa: SLF001
            proxy = transport._pool._proxy_url  # noqa: SLF001
            return f" through the proxy {proxy.scheme.decode()}://{proxy.host.decode()}:{proxy.port}"
        except AttributeError:
            return ""


async def _read(response: httpx.Response) -> bytes | None:
    """Read and decompress a whole response. Return None if it is too long: its Content-Length need not show that."""
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in response.aiter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_RESPONSE_BYTES:
                break
        else:
            return b"".join(chunks)  # httpx closes a response that was read to its end
    except BaseException:
        await response.aclose()
        raise
    await response.aclose()
    return None


def _make_client(base_url: BaseURL) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    try:
        verify = _certificates()
        if base_url.is_loopback:
            # A proxy of the environment is for other machines, not for an emulator on this one: httpx uses no proxy if
            # it is given a transport. The certificates of the environment apply here too.
            return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=verify, limits=limits))
        return httpx.AsyncClient(verify=verify, limits=limits)
    except (ImportError, OSError) as error:
        reason = str(error)
    except (httpx.InvalidURL, ValueError) as error:
        reason = type(error).__name__  # its message may contain the proxy's password
    raise ConfigurationError(f"httpx cannot use the proxies or certificates of the environment: {reason}")


#: Reading the certificates takes 30 ms and 0.8 MB, so clients that exist at the same time share them. The keys are the
#: values of ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.
_certificates_by_location: "weakref.WeakValueDictionary[tuple[str | None, ...], ssl.SSLContext]" = (
    weakref.WeakValueDictionary()
)


def _certificates() -> ssl.SSLContext:
    """Return the certificates that httpx trusts: those of the environment, else its own."""
    location = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    context = _certificates_by_location.get(location)
    if context is None:
        context = _certificates_by_location[location] = httpx.create_ssl_context()
    return context


def _is_untrusted(error: BaseException | None) -> bool:
    """Return whether an error, or one that it is chained to, is a refused certificate."""
    for _ in range(_MAX_CHAIN_LENGTH):
        if error is None or isinstance(error, ssl.SSLCertVerificationError):
            return error is not None
        error = error.__cause__ or error.__context__
    return False


#: There are about five exceptions from httpx down to the ssl module. A chain may be circular.
_MAX_CHAIN_LENGTH = 20


def _library_of(client: object) -> ModuleType:
    """Return the module whose exceptions the client raises."""
    if getattr(client, "params", None):
        raise ConfigurationError("http_client must not have params of its own: httpx would replace the query with them")
    for cls in type(client).__mro__:
        root = cls.__module__.partition(".")[0]
        if cls.__name__ == "AsyncClient" and root in {"httpx", "httpx2"}:
            return sys.modules[root]
    raise ConfigurationError(
        f"http_client must be an httpx.AsyncClient or an httpx2.AsyncClient; got {describe(client)}"
    )


_SIGNATURE = re.compile(r"(?<=[?&]Signature=)[^&\s\"']+")


def _without_signature(text: str) -> str:
    return _SIGNATURE.sub("***", text)


class _SignatureFilter(logging.Filter):
    """Redacts the addresses that httpx logs at INFO: ZEGO's signature is in the query."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _without_signature(str(arg)) if isinstance(arg, str) or type(arg).__name__ == "URL" else arg
                for arg in record.args
            )
        return True


class _HeaderFilter(logging.Filter):
    """Drops the DEBUG records of HTTP/2's header compression about headers that carry secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage().lower()
        return not any(word in line for word in ("authorization", "x-security-token", "signature="))


# On the loggers themselves, so that the application's handlers only see the redacted records.
for _name in ("httpx", "httpx2"):
    logging.getLogger(_name).addFilter(_SignatureFilter())
for _name in ("hpack.hpack", "hpack.table"):
    logging.getLogger(_name).addFilter(_HeaderFilter())
