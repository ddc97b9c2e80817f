"""Bytes out, status, headers and bytes back. The only importer of httpx.

The client may be an ``httpx.AsyncClient`` or an ``httpx2.AsyncClient``: it is given nothing but str, bytes, floats and
callables, and the exceptions are those of the library that its class comes from.
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
from volc_moderation.gate import IN_FLIGHT, Gate, width_for
from volc_moderation.quotas.permit import Priority
from volc_moderation.wire import Request, Response

#: Bytes of an answer, unpacked: far more than any has, and few enough that one cannot use up the memory.
MOST_BYTES = 16 * 2**20


class AsyncHTTPClient(Protocol):
    """What an ``httpx.AsyncClient`` and an ``httpx2.AsyncClient`` have in common, as far as it is used here."""

    @property
    def is_closed(self) -> bool:
        """Whether the client can send no more."""

    async def aclose(self) -> None:
        """Close the pool."""


@attrs.frozen
class BaseURL:
    """Where a vendor listens: an http or https address with no path."""

    url: str
    #: What is sent and signed as Host: in lower case, with the port unless it is the scheme's own.
    host: str
    is_loopback: bool

    @property
    def own_accounts(self) -> str:
        """What tells the accounts of an emulator from those of the vendor, whose hosts all count as one."""
        return f"@{self.host}" if self.is_loopback else ""

    @classmethod
    def make(cls, base_url: object) -> "BaseURL":
        """Check an address."""
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
        self._owned = client is None
        if client is None:
            client = _make_client(base_url)
        self._client: httpx.AsyncClient = client  # type: ignore[assignment]  # or its twin of httpx2
        self._library = _library_of(client)
        self._host = base_url.host
        self._url = base_url.url
        self._timeout = timeout
        # The gate is as wide as the pool, so there is no wait in the pool; half of the time may go by in connecting.
        self._timeouts = (timeout / 2, timeout, timeout, None)  # connect, read, write, pool
        self._gate = Gate(width_for(client, self._library.URL(base_url.url)))

    @property
    def is_closed(self) -> bool:
        """Whether the HTTP client can send no more."""
        return self._client.is_closed

    async def aclose(self) -> None:
        """Close the HTTP client, unless it was given from outside."""
        if self._owned:
            await self._client.aclose()

    async def send(self, prepare: Callable[[], Awaitable[Request]], priority: Priority) -> tuple[Request, Response]:
        """Send what ``prepare()`` returns, which is awaited last, so that no wait makes a signature stale.

        Returns the request that was sent, and its answer.

        Raises ``TransportError``. What httpx raised stays behind: its frames hold addresses and headers, signatures
        included.
        """
        await self._gate.enter(priority)
        try:
            return await self._exchange(await prepare())
        finally:
            self._gate.leave()

    async def _exchange(self, request: Request) -> tuple[Request, Response]:
        started = asyncio.get_running_loop().time()
        try:
            # httpx's own read timeout starts again with every byte that comes; this one does not.
            async with asyncio.timeout(self._timeout):
                answer = await self._client.send(
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
                body = await _read(answer)
        except TimeoutError:
            error = TransportError(f"no answer within {self._timeout:g} s{self._route()}", maybe_sent=True)
        except (self._library.HTTPError, self._library.InvalidURL, UnicodeError) as caught:
            # httpx looks at a redirect's address even if it does not follow it.
            error = self._describe(caught, request)
        except OSError as caught:
            reason = f"the connection failed: {type(caught).__name__}{self._route()}"
            error = TransportError(reason, maybe_sent=True)
        except asyncio.CancelledError as cancelled:
            raise cancelled.with_traceback(None) from None  # its frames hold addresses and headers too
        except RuntimeError:
            if not self._client.is_closed:
                raise
            error = TransportError("the HTTP client was closed meanwhile", maybe_sent=True)
        else:
            if body is not None:
                round_trip = asyncio.get_running_loop().time() - started
                return request, Response(answer.status_code, answer.headers, body, round_trip)
            error = TransportError(
                f"an answer of more than {MOST_BYTES:,} bytes", maybe_sent=True, status=answer.status_code
            )
        raise error

    def _describe(self, error: Exception, request: Request) -> TransportError:
        library = self._library
        never_left = (
            library.ConnectError,
            library.ConnectTimeout,
            library.PoolTimeout,
            library.ProxyError,
            library.UnsupportedProtocol,
        )
        reason = f"{type(error).__name__} ({self._host}{self._route()})" + (f": {error}" if str(error) else "")
        is_untrusted = _is_untrusted(error)
        if is_untrusted:
            reason += "; if the certificate is right, let SSL_CERT_FILE name the file of its authority"
        return TransportError(
            _without_signature(request.redact(reason)),
            maybe_sent=not isinstance(error, never_left),
            # A hook of the given client may raise for the status.
            status=error.response.status_code if isinstance(error, library.HTTPStatusError) else None,
            is_permanent=is_untrusted,
        )

    def _route(self) -> str:
        """Name the proxy that requests go through, if any; without its password, which httpx keeps elsewhere.

        Neither library tells this in public. Should they keep it in another place, it is not named.
        """
        try:
            transport: Any = self._client._transport_for_url(self._library.URL(self._url))  # noqa: SLF001
            proxy = transport._pool._proxy_url  # noqa: SLF001
            return f" through the proxy {proxy.scheme.decode()}://{proxy.host.decode()}:{proxy.port}"
        except AttributeError:
            return ""


async def _read(answer: httpx.Response) -> bytes | None:
    """Read an answer to its end, and unpack it; None if it is too long, which its header need not say."""
    parts: list[bytes] = []
    size = 0
    try:
        async for part in answer.aiter_bytes():
            parts.append(part)
            size += len(part)
            if size > MOST_BYTES:
                break
        else:
            return b"".join(parts)  # what was read to its end is closed
    except BaseException:
        await answer.aclose()
        raise
    await answer.aclose()
    return None


def _make_client(base_url: BaseURL) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    try:
        verify = _certificates()
        if base_url.is_loopback:
            # A proxy set in the environment is for the way out, not for an emulator on this machine: httpx asks for
            # none where it is given a transport. The certificates of the environment hold here too.
            return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(verify=verify, limits=limits))
        return httpx.AsyncClient(verify=verify, limits=limits)
    except (ImportError, OSError) as error:
        reason = str(error)
    except (httpx.InvalidURL, ValueError) as error:
        reason = type(error).__name__  # its text may hold the password of the proxy
    raise ConfigurationError(f"httpx cannot use the proxies or certificates of the environment: {reason}")


#: To read the certificates takes 30 ms and 0.8 MB: clients that are there at the same time share them.
_certificates_by_place: "weakref.WeakValueDictionary[tuple[str | None, ...], ssl.SSLContext]" = (
    weakref.WeakValueDictionary()
)


def _certificates() -> ssl.SSLContext:
    """Return what httpx trusts: the certificates of the environment, else its own ones."""
    place = (os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    context = _certificates_by_place.get(place)
    if context is None:
        context = _certificates_by_place[place] = httpx.create_ssl_context()
    return context


def _is_untrusted(error: BaseException | None) -> bool:
    """Tell whether a certificate was refused, somewhere down the chain of what led to an error."""
    for _ in range(_LONGEST_CHAIN):
        if error is None or isinstance(error, ssl.SSLCertVerificationError):
            return error is not None
        error = error.__cause__ or error.__context__
    return False


#: Exceptions from httpx down to the ssl module: some five. Chains may be circles.
_LONGEST_CHAIN = 20


def _library_of(client: object) -> ModuleType:
    """Return the module whose exceptions the client raises."""
    if getattr(client, "params", None):
        raise ConfigurationError(
            "http_client must not have params of its own: httpx would put them in place of the query"
        )
    for cls in type(client).__mro__:
        root = cls.__module__.partition(".")[0]
        if cls.__name__ == "AsyncClient" and root in {"httpx", "httpx2"}:
            return sys.modules[root]
    raise ConfigurationError(
        f"http_client must be an httpx.AsyncClient or an httpx2.AsyncClient; got {describe(client)}"
    )


_SIGNATURE = re.compile(r"(?<=[?&]Signature=)[^&\s\"']+")


def _without_signature(line: str) -> str:
    return _SIGNATURE.sub("***", line)


class _SignatureFilter(logging.Filter):
    """Strike signatures from the addresses that httpx logs at INFO: ZEGO's travels in the query."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _without_signature(str(arg)) if isinstance(arg, str) or type(arg).__name__ == "URL" else arg
                for arg in record.args
            )
        return True


class _HeaderFilter(logging.Filter):
    """Drop what HTTP/2's header compression logs at DEBUG about the headers that carry secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage().lower()
        return not any(word in line for word in ("authorization", "x-security-token", "signature="))


# At the loggers themselves: a handler of the application's never sees the record before.
for _name in ("httpx", "httpx2"):
    logging.getLogger(_name).addFilter(_SignatureFilter())
for _name in ("hpack.hpack", "hpack.table"):
    logging.getLogger(_name).addFilter(_HeaderFilter())
