"""Ten thousand callbacks over a hundred connections, and hostile senders at the same time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn

from volc_moderation import Event
from volc_moderation.emulator import listen
from volc_moderation.testing import CALLBACK_SECRET, make_volcengine_callback, make_zego_callback
from volc_moderation.webhooks import Webhooks

EVENTS: set[str] = set()


async def handle(event: Event) -> None:
    EVENTS.add(event.dedupe_key)


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Run the app with uvicorn, and return its port."""
    EVENTS.clear()
    listener = listen("127.0.0.1", 0)
    app = Webhooks(handle, volcengine=CALLBACK_SECRET, zego=CALLBACK_SECRET, timeout=2)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()[1]
    server.should_exit = True
    await serving


def request(path: str, body: bytes, length: int | None = None) -> bytes:
    return f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: {length or len(body)}\r\n\r\n".encode() + body


async def read_status(reader: asyncio.StreamReader) -> int:
    """Return the status of the answer, or 0 if the connection is reset: too large a body is not read to its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0
    return int(head.split()[1])


async def send_all(port: int, requests: list[bytes]) -> list[int]:
    """Send requests over one connection, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    statuses = []
    for content in requests:
        writer.write(content)
        statuses.append(await read_status(reader))
    writer.close()
    return statuses


def genuine(number: int) -> bytes:
    if number % 2:
        return request("/zego", make_zego_callback())
    return request("/volcengine", make_volcengine_callback())


@pytest.mark.no_coverage
async def test_ten_thousand_callbacks(port: int) -> None:
    batches = [[genuine(number) for number in range(100)] for _ in range(100)]
    statuses = await asyncio.gather(*(send_all(port, batch) for batch in batches))
    assert {status for batch in statuses for status in batch} == {200}
    assert len(EVENTS) == 10_000


@pytest.mark.slow
async def test_hostile_senders_do_not_disturb_others(port: int) -> None:
    """Twenty senders announce 20 MB, twenty send them in chunks without a length, and twenty stop in the middle."""
    large = request("/zego", bytes(20_000_000))

    async def send_large() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(large)
        status = await read_status(reader)
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()
        return status

    async def send_large_in_chunks() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /zego HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
        status = asyncio.create_task(read_status(reader))
        with contextlib.suppress(OSError):
            for _ in range(305):
                if status.done():
                    break
                writer.write(chunk)
                await writer.drain()
        try:
            return await status
        finally:
            writer.close()

    async def stop_in_the_middle() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/zego", b"{", 1000))
        status = await read_status(reader)
        writer.close()
        return status

    large_ones = [asyncio.create_task(send()) for send in (send_large, send_large_in_chunks) for _ in range(20)]
    slow_ones = [asyncio.create_task(stop_in_the_middle()) for _ in range(20)]
    genuine_ones = await asyncio.gather(*(send_all(port, [genuine(number) for number in range(20)]) for _ in range(10)))
    assert {status for statuses in genuine_ones for status in statuses} == {200}
    assert len(large_ones) == 40
    assert {await one for one in large_ones} <= {413, 0}
    assert {await one for one in slow_ones} == {408}
    assert (await send_all(port, [genuine(0)])) == [200]
