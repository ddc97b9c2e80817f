"""Ten thousand callbacks, a hundred at a time, over a socket; and senders that mean no good, at the same time."""

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
    """Run the app alone, with an ordinary server."""
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


async def answer(reader: asyncio.StreamReader) -> int:
    """Return the status, or 0 if the connection is torn down: what is too large is not read to its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0
    return int(head.split()[1])


async def send_all(port: int, requests: list[bytes]) -> list[int]:
    """Send requests over one connection, one after the other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    statuses = []
    for one in requests:
        writer.write(one)
        statuses.append(await answer(reader))
    writer.close()
    return statuses


def genuine(number: int) -> bytes:
    if number % 2:
        return request("/zego", make_zego_callback())
    return request("/volcengine", make_volcengine_callback())


async def test_ten_thousand_callbacks(port: int) -> None:
    batches = [[genuine(number) for number in range(100)] for _ in range(100)]
    statuses = await asyncio.gather(*(send_all(port, batch) for batch in batches))
    assert {status for some in statuses for status in some} == {200}
    assert len(EVENTS) == 10_000


async def test_bad_senders_do_not_take_it_down(port: int) -> None:
    """Twenty that send 20 MB, twenty that tell so but dawdle, twenty that lie: others are served all the while."""
    large = request("/zego", bytes(20_000_000))

    async def send_large() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(large)
        status = await answer(reader)
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()
        return status

    async def send_large_without_saying_so() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /zego HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(65_536) + b"\r\n"
        status = asyncio.create_task(answer(reader))
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

    async def dawdle() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/zego", b"{", 1000))
        status = await answer(reader)
        writer.close()
        return status

    large_ones = [asyncio.create_task(send()) for send in (send_large, send_large_without_saying_so) for _ in range(20)]
    slow_ones = [asyncio.create_task(dawdle()) for _ in range(20)]
    good = await asyncio.gather(*(send_all(port, [genuine(number) for number in range(20)]) for _ in range(10)))
    assert {status for some in good for status in some} == {200}
    assert len(large_ones) == 40
    assert {await one for one in large_ones} <= {413, 0}
    assert {await one for one in slow_ones} == {408}
    assert (await send_all(port, [genuine(0)])) == [200]
