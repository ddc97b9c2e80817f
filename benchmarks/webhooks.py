"""How many callbacks a second the webhooks take on one core, a hundred at a time, and what one costs.

``python -m benchmarks.webhooks``. The app runs in a process of its own with uvicorn; the callbacks are signed
before and come over keep-alive connections. Fails if any is not answered with 200.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

import uvicorn
from matplotlib.axes import Axes

from benchmarks.results import Result, bars
from volc_moderation import Event
from volc_moderation.testing import CALLBACK_SECRET, make_volcengine_callback, make_zego_callback
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.webhooks import Webhooks
from volc_moderation.zego import callbacks as zego_callbacks


class _Rules(Protocol):
    """A vendor's ``callbacks``."""

    def verify(self, body: bytes, secret: str) -> str | None: ...

    def parse(self, body: bytes) -> Event: ...


CALLBACKS = 20_000
AT_ONCE = 100
RUNS = 3


async def handle(_: Event) -> None:
    """Do nothing."""


def serve(listener: socket.socket) -> None:
    app = Webhooks(handle, volcengine=CALLBACK_SECRET, zego=CALLBACK_SECRET)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
    asyncio.run(server.serve(sockets=[listener]))


async def send_all(port: int, requests: list[bytes]) -> int:
    """Return how many were answered with 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    good = 0
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        good += head.startswith(b"HTTP/1.1 200")
    writer.close()
    return good


def request(number: int) -> bytes:
    is_zego = number % 2
    body = make_zego_callback() if is_zego else make_volcengine_callback()
    path = "zego" if is_zego else "volcengine"
    return f"POST /{path} HTTP/1.1\r\nhost: h\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def run(port: int) -> float:
    """Return the callbacks per second."""
    each = CALLBACKS // AT_ONCE
    batches = [[request(number) for number in range(each)] for _ in range(AT_ONCE)]
    began = time.perf_counter()
    good = sum(await asyncio.gather(*(send_all(port, batch) for batch in batches)))
    seconds = time.perf_counter() - began
    assert good == CALLBACKS, f"{CALLBACKS - good} of {CALLBACKS} callbacks were not taken"
    return CALLBACKS / seconds


def cost(what: Callable[[], object], times: int = 20_000) -> float:
    """Return the microseconds of one call."""
    began = time.process_time()
    for _ in range(times):
        what()
    return (time.process_time() - began) / times * 1e6


def main() -> None:
    result = Result("webhooks", "callbacks on one core", "starlette", "uvicorn", callbacks=CALLBACKS, at_once=AT_ONCE)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    child = os.fork()
    if not child:
        try:
            serve(listener)
        finally:
            os._exit(0)
    try:
        rates = [asyncio.run(run(listener.getsockname()[1])) for _ in range(RUNS)]
    finally:
        os.kill(child, 15)
        os.waitpid(child, 0)
    result.add(what="callbacks/s, least and most of the runs", first=min(rates), second=max(rates))
    vendors: list[tuple[str, bytes, _Rules]] = [
        ("Volcengine", make_volcengine_callback(), volcengine_callbacks),
        ("ZEGO", make_zego_callback(), zego_callbacks),
    ]
    for name, body, rules in vendors:
        verifying, parsing = cost(partial(rules.verify, body, CALLBACK_SECRET)), cost(partial(rules.parse, body))
        result.add(what=f"{name}: µs to verify, to parse", first=verifying, second=parsing)

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], [f"run {number + 1}" for number in range(RUNS)], rates, "callbacks/s")

    result.finish(draw, height=1.8)


if __name__ == "__main__":
    main()
