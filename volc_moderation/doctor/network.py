"""The way to a server: its address, the proxy, the certificate, and one plain request over it."""

import asyncio
import base64
import contextlib
import errno
import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs

from volc_moderation.doctor.clock import ClockReading, read_date
from volc_moderation.doctor.finding import Fact, Finding, Status, Subject

#: For the answer to one request, from connecting on.
ANSWER_TIMEOUT = 5.0  # seconds
#: After this, the next address of a host is tried as well: HTTP clients do so, because IPv6 may lead nowhere.
NEXT_ADDRESS_AFTER = 0.25  # seconds
#: The longest head of a response that is read.
MAX_HEAD_BYTES = 2**16
#: A certificate that is valid for less than this should have been renewed.
MIN_CERTIFICATE_DAYS = 14
DAY = 86_400  # seconds
_PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Where a server is."""

    scheme: str
    host: str
    port: int

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Return the endpoint of a URL. Raises ``ValueError`` if it is none of http or https."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("not an address of http or https")
        return cls(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        return self.host in {"localhost", "::1"} or self.host.startswith("127.")

    @property
    def netloc(self) -> str:
        """The host and the port, as in a Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Answer(NamedTuple):
    """What a server has answered."""

    status: int
    headers: Mapping[str, str]
    #: None if the server did not tell its time.
    clock: ClockReading | None
    #: When the certificate of the server ends, in Unix seconds; None without TLS.
    certificate_ends: float | None


@attrs.frozen
class ConnectFailed(Exception):  # noqa: N818 - a result, which is never raised to users
    """No connection could be made.

    :param stage: ``connect``, ``proxy`` or ``tls``.
    """

    stage: str
    reason: str
    is_untrusted: bool = False


async def check_way(
    subject: Subject, endpoint: Endpoint, make_context: Callable[[], ssl.SSLContext], *, target: str = "/"
) -> tuple[list[Finding], Answer | None]:
    """Check the address, the proxy and the certificate of a server.

    :param make_context: returns the certificates that are trusted.
    :param target: what is requested, without a signature.

    Returns also the answer; None if there is none.
    """
    proxy = environment_proxy(endpoint)
    found = [await check_address(subject, endpoint, proxy), judge_proxy(subject, proxy)]
    if proxy is not None and proxy.scheme != "http":
        words = f"not checked through a proxy of {proxy.scheme}; the signed call shows whether it works"
        return [*found, subject.skipped("tls", words)], None
    if found[0].status is Status.FAILED:
        return found, None
    answer: Answer | ConnectFailed
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            answer = await ask(endpoint, proxy, make_context, target=target)
    except ConnectFailed as failure:
        answer = failure
    except TimeoutError:
        answer = ConnectFailed("connect", f"no answer within {ANSWER_TIMEOUT:g} s")
    found.append(judge_connection(subject, endpoint, answer, time.time()))
    return found, None if isinstance(answer, ConnectFailed) else answer


# Addresses


async def check_address(subject: Subject, endpoint: Endpoint, proxy: SplitResult | None) -> Finding:
    """Look up the address of a server."""
    facts = {"host": endpoint.host}
    try:
        found = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not the name of a host"
        detail = f"{endpoint.host} has no address: {reason}"
        if proxy is not None:
            return subject.ok("dns", f"{detail}; the proxy looks it up", **facts, addresses=[])
        step = "check the name of the host, and the DNS servers of this machine (/etc/resolv.conf)"
        return subject.failed("dns", detail, step, **facts, addresses=[])
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in found))
    names = [address for address in addresses if address != endpoint.host]
    detail = f"{endpoint.host} is {', '.join(names)}" if names else endpoint.host
    return subject.ok("dns", detail, **facts, addresses=addresses)


# Proxies


def choose_proxy(
    endpoint: Endpoint, proxies: Mapping[str, str], is_bypassed: Callable[[str], object]
) -> SplitResult | None:
    """Return the proxy for a server, or None. Servers on this machine are called directly, as the clients do.

    :param proxies: by scheme, as ``urllib.request.getproxies`` returns them.
    :param is_bypassed: returns whether a host is one of ``NO_PROXY``.
    """
    address = proxies.get(endpoint.scheme) or proxies.get("all")
    if not address or endpoint.is_loopback or is_bypassed(endpoint.netloc):
        return None
    return urlsplit(address if "://" in address else f"http://{address}")


def environment_proxy(endpoint: Endpoint) -> SplitResult | None:
    """Return the proxy of the environment for a server, or None."""
    return choose_proxy(endpoint, getproxies(), proxy_bypass)


def judge_proxy(subject: Subject, proxy: SplitResult | None) -> Finding:
    """Report the proxy, without its password."""
    if proxy is None:
        return subject.ok("proxy", "none", proxy=None)
    shown = f"{proxy.scheme}://{proxy.hostname}" + (f":{proxy.port}" if _port_of(proxy) else "")
    return subject.ok("proxy", shown, proxy=shown, has_password=proxy.password is not None)


def _port_of(proxy: SplitResult) -> int | None:
    try:
        return proxy.port
    except ValueError:
        return None


# Connections


@contextlib.asynccontextmanager
async def connect(
    endpoint: Endpoint, proxy: SplitResult | None, make_context: Callable[[], ssl.SSLContext]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to a server, through the proxy if there is one, and with TLS for https. Raises ``ConnectFailed``."""
    host, port = endpoint.host, endpoint.port
    if proxy is not None:
        host, port = proxy.hostname or "", _port_of(proxy) or _PORTS["http"]
    try:
        reader, writer = await asyncio.open_connection(
            host, port, limit=MAX_HEAD_BYTES, happy_eyeballs_delay=NEXT_ADDRESS_AFTER
        )
    except (OSError, UnicodeError) as error:
        raise ConnectFailed("connect" if proxy is None else "proxy", _reason(error)) from None
    try:
        if proxy is not None:
            await _pass_proxy(reader, writer, endpoint, proxy)
        if endpoint.scheme == "https":
            try:
                await writer.start_tls(make_context(), server_hostname=endpoint.host)
            except ssl.SSLCertVerificationError as error:
                raise ConnectFailed("tls", error.verify_message, is_untrusted=True) from None
            except (OSError, asyncio.IncompleteReadError) as error:  # an SSLError is an OSError
                raise ConnectFailed("tls", _reason(error)) from None
        yield reader, writer
    finally:
        # Not writer.wait_closed(): a server may never answer the end of TLS.
        writer.transport.abort()


async def _pass_proxy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint, proxy: SplitResult
) -> None:
    """Let a proxy connect to the server. Raises ``ConnectFailed``."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    lines = [f"CONNECT {host}:{endpoint.port} HTTP/1.1", f"Host: {host}:{endpoint.port}"]
    if proxy.username is not None:
        password = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        lines.append(f"Proxy-Authorization: Basic {base64.b64encode(password.encode()).decode()}")
    try:
        status, _ = await _request(reader, writer, "\r\n".join([*lines, "", ""]).encode())
    except (OSError, EOFError, ValueError) as error:
        raise ConnectFailed("proxy", _reason(error)) from None
    if not 200 <= status < 300:  # noqa: PLR2004 - success
        raise ConnectFailed("proxy", f"it answers HTTP {status}")


async def ask(
    endpoint: Endpoint,
    proxy: SplitResult | None,
    make_context: Callable[[], ssl.SSLContext],
    *,
    method: str = "GET",
    target: str = "/",
) -> Answer:
    """Send one request, without a signature and a body, and return the answer. Raises ``ConnectFailed``."""
    head = [
        f"{method} {target} HTTP/1.1",
        f"Host: {endpoint.netloc}",
        "User-Agent: volc-moderation-doctor",
        "Connection: close",
    ]
    if method == "POST":
        head.append("Content-Length: 0")
    request = "\r\n".join([*head, "", ""]).encode()
    async with connect(endpoint, proxy, make_context) as (reader, writer):
        sent = time.time()
        try:
            status, headers = await _request(reader, writer, request)
        except (OSError, EOFError, ValueError) as error:
            raise ConnectFailed("connect", f"no response of HTTP: {_reason(error)}") from None
        date, received = read_date(headers.get("date")), time.time()
        certificate = writer.get_extra_info("peercert") or {}
    ends = certificate.get("notAfter")
    return Answer(
        status,
        headers,
        None if date is None else ClockReading(sent, received, date, resolution=1.0),
        None if ends is None else float(ssl.cert_time_to_seconds(ends)),
    )


async def _request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, Mapping[str, str]]:
    """Send a request, and return the status and the headers of the response, with names in lower case."""
    writer.write(request)
    await writer.drain()
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise ValueError("its head is too long") from None
    first, _, rest = head.partition(b"\r\n")
    version, _, status = first.partition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise ValueError("it does not speak HTTP/1")
    try:
        headers = http.client.parse_headers(io.BytesIO(rest))
    except http.client.HTTPException:
        raise ValueError("its headers cannot be read") from None
    return int(status[:3]), {name.lower(): value for name, value in headers.items()}


def _reason(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "it closed the connection"
    if isinstance(error, ssl.SSLError):
        return (error.reason or type(error).__name__).replace("_", " ").lower()
    if isinstance(error, OSError):
        # asyncio words the errors of a connect call itself.
        known = os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else None
        return known or error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def judge_connection(
    subject: Subject, endpoint: Endpoint, answer: Answer | ConnectFailed, now: float, *, check: str = "tls"
) -> Finding:
    """Judge how a connection was made: ``answer`` is what came of it, ``now`` the Unix time."""
    if isinstance(answer, ConnectFailed):
        return _judge_failure(subject, endpoint, answer, check)
    if endpoint.scheme == "http":
        if endpoint.is_loopback:
            return subject.ok(check, "no TLS on this machine", is_encrypted=False)
        step = "use an address that begins with https"
        return subject.warning(check, "no TLS: others on the way can read the requests", step, is_encrypted=False)
    ends = answer.certificate_ends
    if ends is None:
        return subject.ok(check, "the certificate is trusted", is_encrypted=True)
    days = int((ends - now) // DAY)
    until = time.strftime("%Y-%m-%d", time.gmtime(ends))
    detail = f"the certificate is trusted, and valid until {until} ({days} days)"
    facts: dict[str, Fact] = {"is_encrypted": True, "certificate_until": until, "certificate_days": days}
    if days < MIN_CERTIFICATE_DAYS:
        return subject.warning(check, detail, "let whoever runs the server renew its certificate", **facts)
    return subject.ok(check, detail, **facts)


def _judge_failure(subject: Subject, endpoint: Endpoint, failure: ConnectFailed, check: str) -> Finding:
    facts: dict[str, Fact] = {"stage": failure.stage, "is_encrypted": False}
    if failure.stage == "proxy":
        step = "check the proxy in HTTPS_PROXY or ALL_PROXY, or list the host in NO_PROXY"
        return subject.failed(check, f"the proxy cannot be used: {failure.reason}", step, **facts)
    if failure.is_untrusted:
        step = "if the certificate is right, set SSL_CERT_FILE to the file of its authority; if not, look for who reads"
        return subject.failed(check, f"the certificate is not trusted: {failure.reason}", f"{step} along", **facts)
    if failure.stage == "tls":
        step = "check that the address and its port speak TLS, and that nothing on the way changes the connection"
        return subject.failed(check, f"no TLS connection: {failure.reason}", step, **facts)
    step = "check the address, the route and the firewall of this machine, or set HTTPS_PROXY"
    detail = f"{endpoint.host} port {endpoint.port} cannot be reached: {failure.reason}"
    return subject.failed(check, detail, step, **facts)
