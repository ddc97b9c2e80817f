"""The way to a server: addresses, proxies and certificates that are broken in each way."""

import asyncio
import base64
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.doctor.findings import SUBJECT, find, statuses
from tests.doubles import free_port
from volc_moderation.doctor.finding import Finding
from volc_moderation.doctor.network import Answer, ConnectFailed, Endpoint, check_way, judge_connection

pytestmark = pytest.mark.slow  # hundreds of one kind

CERTIFICATE = Path(__file__).parents[1] / "vectors" / "localhost.pem"
HEAD = b"HTTP/1.1 404 Not Found\r\nDate: Thu, 20 Nov 2026 08:30:00 GMT\r\nContent-Length: 0\r\n\r\n"


@contextlib.asynccontextmanager
async def server(answer: bytes = HEAD, *, is_secure: bool = False) -> AsyncIterator[int]:
    """Serve some bytes, whatever the request is, and return the port."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read(65536)
            writer.write(answer)
            await writer.drain()
        writer.close()

    context = None
    if is_secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
    async with await asyncio.start_server(respond, "127.0.0.1", 0, ssl=context) as listening:
        yield listening.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def proxy(target: int, *, password: str | None = None, status: int = 200) -> AsyncIterator[tuple[int, list[str]]]:
    """Serve a proxy whose tunnels all lead to one port. Return its port, and the first lines of its requests."""
    requests: list[str] = []
    expected = "" if password is None else base64.b64encode(password.encode()).decode()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()
        writer.close()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        requests.append(head.splitlines()[0])
        if expected and f"Proxy-Authorization: Basic {expected}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            writer.close()
            return
        writer.write(f"HTTP/1.1 {status} Done\r\n\r\n".encode())
        if status != 200:
            writer.close()
            return
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", target)
        try:
            await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))
        finally:
            writer.transport.abort()
            other_writer.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tunnels.append(asyncio.create_task(respond(reader, writer)))

    tunnels: list[asyncio.Task[None]] = []
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listening:
        yield listening.sockets[0].getsockname()[1], requests
        for tunnel in tunnels:
            tunnel.cancel()
        await asyncio.gather(*tunnels, return_exceptions=True)


async def way(url: str) -> tuple[list[Finding], Answer | None]:
    return await check_way(SUBJECT, Endpoint.parse(url), httpx.create_ssl_context)


async def test_a_server_of_this_machine_needs_no_tls() -> None:
    async with server() as port:
        found, answer = await way(f"http://127.0.0.1:{port}")
    assert statuses(found) == {"dns": "ok", "proxy": "ok", "tls": "ok"}
    assert answer is not None
    assert answer.status == 404
    assert answer.clock is not None
    assert answer.clock.server == 1_795_163_400


async def test_an_unknown_host_fails() -> None:
    found, answer = await way("https://rtc.volcengineapi.example")
    assert statuses(found) == {"dns": "failed", "proxy": "ok"}
    assert "rtc.volcengineapi.example has no address" in found[0].detail
    assert answer is None


async def test_a_name_that_is_none_fails() -> None:
    found, _ = await way(f"https://{'a' * 64}.example")
    assert statuses(found)["dns"] == "failed"


async def test_a_closed_port_fails() -> None:
    found, _ = await way(f"http://127.0.0.1:{free_port()}")
    assert statuses(found)["tls"] == "failed"
    assert find(found, "tls").detail.endswith("cannot be reached: Connection refused")


async def test_a_certificate_that_is_not_trusted_fails() -> None:
    async with server(is_secure=True) as port:
        found, _ = await way(f"https://localhost:{port}")
    finding = find(found, "tls")
    assert statuses(found)["tls"] == "failed"
    assert "not trusted: self" in finding.detail
    assert "SSL_CERT_FILE" in finding.next_step


async def test_a_certificate_of_the_environment_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    async with server(is_secure=True) as port:
        found, _ = await way(f"https://localhost:{port}")
        assert statuses(found)["tls"] == "ok"
        assert find(found, "tls").facts["is_encrypted"] is True
        other_name, _ = await way(f"https://127.0.0.2:{port}")
    assert statuses(other_name)["tls"] == "failed"


async def test_a_server_without_tls_fails() -> None:
    async with server() as port:
        found, _ = await way(f"https://localhost:{port}")
    assert statuses(found)["tls"] == "failed"
    assert "no TLS connection" in find(found, "tls").detail


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "it closed the connection"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP/1"),
        (b"HTTP/1.1 abc\r\n\r\n", "no response of HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, "too long"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n", "headers cannot be read"),
        (b"\xff\xfe\x00\r\n\r\n", "does not speak HTTP/1"),
    ],
)
async def test_hostile_answers_fail(answer: bytes, reason: str) -> None:
    async with server(answer) as port:
        found, _ = await way(f"http://127.0.0.1:{port}")
    assert statuses(found)["tls"] == "failed"
    assert reason in find(found, "tls").detail


async def test_a_dead_proxy_fails_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pass-word@127.0.0.1:{free_port()}")
    found, _ = await way("https://vendor.example")
    assert statuses(found) == {"dns": "ok", "proxy": "ok", "tls": "failed"}
    assert find(found, "proxy").facts["has_password"] is True
    assert "the proxy cannot be used: Connection refused" in find(found, "tls").detail
    assert "pass-word" not in repr(found)


@pytest.mark.parametrize("word", ["right", "wrong"])
async def test_the_password_of_a_proxy_is_used_and_never_shown(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    async with server() as port, proxy(port, password="user:p@ss right") as (proxy_port, requests):
        monkeypatch.setenv("HTTP_PROXY", f"http://user:p%40ss%20{word}@127.0.0.1:{proxy_port}")
        found, answer = await way("http://vendor.example:8080")
    assert requests == ["CONNECT vendor.example:8080 HTTP/1.1"]
    assert (answer is not None) == (word == "right")
    assert find(found, "tls").status.value == ("warning" if word == "right" else "failed")
    if word == "wrong":
        assert "HTTP 407" in find(found, "tls").detail
    assert "ss" not in find(found, "proxy").detail.removeprefix("http://127.0.0.1")
    assert word not in repr(found)


async def test_a_certificate_is_checked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that reads along shows a certificate of its own."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    async with server(is_secure=True) as port, proxy(port) as (proxy_port, _):
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy_port}")
        found, _ = await way("https://vendor.example")
    assert "Hostname mismatch" in find(found, "tls").detail


async def test_a_proxy_may_know_hosts_that_this_machine_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server() as port, proxy(port) as (proxy_port, _):
        monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy_port}")
        found, answer = await way("http://inner.example")
    assert statuses(found) == {"dns": "ok", "proxy": "ok", "tls": "warning"}
    assert answer is not None


async def test_no_proxy_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("NO_PROXY", "inner.example")
    found, _ = await way("http://inner.example")
    assert find(found, "proxy").detail == "none"


async def test_a_proxy_of_another_kind_is_left_to_the_signed_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks5://user:pass-word@127.0.0.1:{free_port()}")
    found, answer = await way("https://vendor.example")
    assert statuses(found) == {"dns": "ok", "proxy": "ok", "tls": "skipped"}
    assert answer is None
    assert "pass-word" not in repr(found)


@pytest.mark.parametrize(("days", "status"), [(30, "ok"), (13, "warning")])
def test_a_certificate_that_ends_soon_is_a_warning(days: int, status: str) -> None:
    now = time.time()
    answer = Answer(200, {}, None, now + days * 86_400 + 60)
    finding = judge_connection(SUBJECT, Endpoint.parse("https://vendor.example"), answer, now)
    assert statuses([finding]) == {"tls": status}
    assert f"({days} days)" in finding.detail


async def test_a_server_that_is_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()  # until the other side closes
        writer.close()
        closed.set()

    closed = asyncio.Event()
    async with await asyncio.start_server(respond, "127.0.0.1", 0) as listening:
        monkeypatch.setattr("volc_moderation.doctor.network.ANSWER_TIMEOUT", 0.05)
        found, _ = await way(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        await asyncio.wait_for(closed.wait(), 1)
    assert find(found, "tls").detail.endswith("cannot be reached: no answer within 0.05 s")


def test_a_failure_is_an_exception_with_a_stage() -> None:
    assert ConnectFailed("tls", "no").stage == "tls"
