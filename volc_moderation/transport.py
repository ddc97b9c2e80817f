"""Sends signed bytes, and returns the status, headers and bytes of the response.

The client may be an ``httpx.AsyncClient`` or an ``httpx2.AsyncClient``: its requests and exceptions are those of the
library that its class comes from. Either may send with aiohttp: ``aiohttp_adapter.py`` is about the differences.
"""

import asyncio
import logging
import re
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING

from volc_moderation import aiohttp_adapter, telemetry
from volc_moderation.base_url import BaseURL
from volc_moderation.errors import TransportError
from volc_moderation.gate import gate_for
from volc_moderation.http_clients import AsyncHTTPClient, default_http_client, library_of
from volc_moderation.wire import Request, Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    import httpx

#: The longest response, decompressed: far longer than any real one, and short enough not to exhaust the memory.
MAX_RESPONSE_BYTES = 16 * 2**20

#: More than the addresses that requests repeat: those of Volcengine's POST requests, one for each action.
MAX_PARSED_URLS = 32


class Transport:
    """Sends signed requests through one HTTP client, a bounded number at a time."""

    def __init__(self, client: AsyncHTTPClient | None, *, base_url: BaseURL) -> None:
        self._owns_client = client is None
        if client is None:
            client = default_http_client(base_url)
        self._client: httpx.AsyncClient = client  # type: ignore[assignment]  # or its twin of httpx2
        self._library = library_of(client)
        self._host = base_url.host
        self._url = base_url.url
        url = self._library.URL(base_url.url)
        #: Each request is sent within it. It is as wide as the pool, so that requests do not wait in the pool.
        self.gate = gate_for(client, url)
        #: What the client raises besides ``OSError``. httpx parses a redirect's address even if it does not follow it.
        self._errors: tuple[type[Exception], ...] = (self._library.HTTPError, self._library.InvalidURL, UnicodeError)
        transport = aiohttp_adapter.transport_for(client, url)
        self._is_aiohttp: bool = aiohttp_adapter.is_aiohttp(transport)
        if self._is_aiohttp:
            aiohttp_adapter.prepare(transport)
            self._errors += aiohttp_adapter.error_types()
        # Parsing an address takes several times as long as signing a request.
        self._parse_url = lru_cache(MAX_PARSED_URLS)(self._library.URL)

    @property
    def is_closed(self) -> bool:
        """Whether the HTTP client is closed, and can send no more requests."""
        return self._client.is_closed

    async def aclose(self) -> None:
        """Close the HTTP client, unless the user gave it."""
        if self._owns_client:
            await self._client.aclose()

    async def send(self, request: Request, *, timeout: float) -> Response:  # noqa: ASYNC109 - for one request
        """Send a signed request, and return the response.

        :param timeout: the longest time from connecting to the last byte of the response, in seconds.

        Instrumentations of HTTP clients do not show the request.

        Raises ``TransportError``, which is not chained to the exception of httpx: the frames of that one hold addresses
        and headers, including signatures.
        """
        recorder = telemetry.active()
        if recorder is None:
            return await self._send(request, timeout)
        with recorder.without_instrumentations():
            return await self._send(request, timeout)

    async def _send(self, request: Request, timeout: float) -> Response:  # noqa: ASYNC109 - for one request
        started = asyncio.get_running_loop().time()
        try:
            # httpx's own read timeout starts again with every byte that arrives; this one does not.
            async with asyncio.timeout(timeout):
                # The request is in no variable of this frame, which the traceback of a timeout shows.
                response = await self._client.send(
                    self._build(request, timeout), stream=True, auth=None, follow_redirects=False
                )
                body = await self._read(response)
        except TimeoutError:
            error = TransportError(f"no response within {timeout:g} s{self._route()}", maybe_sent=True)
        except self._errors as caught:
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
                self.gate.answered(round_trip)
                return Response(response.status_code, response.headers, body, round_trip)
            error = TransportError(
                f"a response of more than {MAX_RESPONSE_BYTES:,} bytes", maybe_sent=True, status=response.status_code
            )
        raise error

    def _build(self, request: Request, timeout: float) -> "httpx.Request":
        """Create the request that ``client.build_request`` would create, with the client's own headers and cookies.

        That method takes longer than all else that is done for a call: it parses the address, and copies the headers
        three times.
        """
        headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in request.headers.items()]
        if request.body or request.method != "GET":
            headers.append((b"Content-Length", b"%d" % len(request.body)))
        replaced = {name.lower() for name, _ in headers}
        headers = [header for header in self._client.headers.raw if header[0].lower() not in replaced] + headers
        # Connecting may take half of the time. aiohttp's timeout of that name covers only TCP and TLS; what it takes as
        # the timeout of the pool also covers finding the address, and the proxy.
        pool_timeout = timeout / 2 if self._is_aiohttp else None
        built: httpx.Request = self._library.Request(
            request.method,
            self._parse_url(request.url),
            headers=headers,
            cookies=self._client.cookies,
            stream=self._library.ByteStream(request.body),
            extensions={"timeout": {"connect": timeout / 2, "read": timeout, "write": timeout, "pool": pool_timeout}},
        )
        built.read()  # for event hooks
        return built

    async def _read(self, response: "httpx.Response") -> bytes | None:
        """Read and decompress a response. Return None if it is too long: its Content-Length need not show that."""
        stream: AsyncIterable[bytes]
        if response.is_stream_consumed or "content-encoding" in response.headers:  # consumed by an event hook
            stream = response.aiter_bytes()
        else:
            stream = response.stream  # type: ignore[assignment]  # the same bytes for less CPU
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in stream:
                chunks.append(chunk)
                size += len(chunk)
                if size > MAX_RESPONSE_BYTES:
                    return None
            if not self._is_aiohttp and self.gate.admit_early():
                # Lets the next request join the queue of the pool, so that it gets this connection at once. httpx
                # checks each idle connection for each request, and many are idle if many responses arrive together.
                await asyncio.sleep(0)
        finally:
            await response.aclose()
        return b"".join(chunks)

    def _to_transport_error(self, error: Exception, request: Request) -> TransportError:
        library, text = self._library, str(error)
        if self._is_aiohttp:
            error, text = aiohttp_adapter.cause_of(error)
            maybe_sent = not aiohttp_adapter.proves_nothing_sent(error)
        else:
            maybe_sent = not isinstance(
                error,
                (
                    library.ConnectError,
                    library.ConnectTimeout,
                    library.PoolTimeout,
                    library.ProxyError,
                    library.UnsupportedProtocol,
                ),
            )
        reason = f"{type(error).__name__} ({self._host}{self._route()})" + (f": {text}" if text else "")
        is_untrusted = _is_untrusted(error)
        if is_untrusted:
            reason += "; if the certificate is right, set SSL_CERT_FILE to the file of its authority"
        return TransportError(
            _without_signature(request.redact(reason)),
            maybe_sent=maybe_sent,
            # An event hook of the user's client may call raise_for_status().
            status=error.response.status_code if isinstance(error, library.HTTPStatusError) else None,
            is_permanent=is_untrusted,
        )

    def _route(self) -> str:
        """Describe the proxy that requests go through, if any, without its password, which httpx keeps elsewhere.

        Neither library has a public API for this. If the private attributes change, the proxy is not named.
        """
        transport = aiohttp_adapter.transport_for(self._client, self._library.URL(self._url))
        try:
            if self._is_aiohttp:
                proxy = transport.proxy.url
                return f" through the proxy {proxy.scheme}://{proxy.host}:{proxy.port}"
            proxy = transport._pool._proxy_url  # noqa: SLF001
            return f" through the proxy {proxy.scheme.decode()}://{proxy.host.decode()}:{proxy.port}"
        except AttributeError:
            return ""


def _is_untrusted(error: BaseException | None) -> bool:
    """Return whether an error, or one that it is chained to, is a refused certificate."""
    for _ in range(_MAX_CHAIN_LENGTH):
        if error is None or isinstance(error, ssl.SSLCertVerificationError):
            return error is not None
        error = error.__cause__ or error.__context__
    return False


#: There are about five exceptions from httpx down to the ssl module. A chain may be circular.
_MAX_CHAIN_LENGTH = 20


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
