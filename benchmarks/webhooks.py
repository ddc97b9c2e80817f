"""How many callbacks per second the webhooks handle on one core, and what verifying and parsing one costs.

``python -m benchmarks.webhooks``. The app runs with uvicorn in a process of its own. The callbacks are signed in
advance and sent over a hundred keep-alive connections. Fails if any is not answered with 200.
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


class _Callbacks(Protocol):
    """A vendor's module ``callbacks``."""

    def verify(self, body: bytes, secret: str) -> str | None: ...

    def parse(self, body: bytes) -> Event: ...


CALLBACKS = 20_000  # per run
CONNECTIONS = 100
RUNS = 3


async def handle(_: Event) -> None:
    """Do nothing."""


def serve(listener: socket.socket) -> None:
    app = Webhooks(handle, volcengine=CALLBACK_SECRET, zego=CALLBACK_SECRET)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", access_log=False))
    asyncio.run(server.serve(sockets=[listener]))


async def send_all(port: int, requests: list[bytes]) -> int:
    """Return how many requests were answered with 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    successes = 0
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        successes += head.startswith(b"HTTP/1.1 200")
    writer.close()
    return successes


def request(number: int) -> bytes:
    is_zego = number % 2
    body = make_zego_callback() if is_zego else make_volcengine_callback()
    path = "zego" if is_zego else "volcengine"
    return f"POST /{path} HTTP/1.1\r\nhost: h\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


async def run(port: int) -> float:
    """Return the callbacks per second."""
    requests_each = CALLBACKS // CONNECTIONS
    batches = [[request(number) for number in range(requests_each)] for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    successes = sum(await asyncio.gather(*(send_all(port, batch) for batch in batches)))
    seconds = time.perf_counter() - started
    assert successes == CALLBACKS, f"{CALLBACKS - successes} of {CALLBACKS} callbacks were refused"
    return CALLBACKS / seconds


def cost(function: Callable[[], object], times: int = 20_000) -> float:
    """Return the CPU time of one call in microseconds."""
    started = time.process_time()
    for _ in range(times):
        function()
    return (time.process_time() - started) / times * 1e6


def main() -> None:
    result = Result(
        "webhooks", "callbacks on one core", "starlette", "uvicorn", callbacks=CALLBACKS, at_once=CONNECTIONS
    )
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
    result.add(what="callbacks/s, slowest and fastest run", first=min(rates), second=max(rates))
    vendors: list[tuple[str, bytes, _Callbacks]] = [
        ("Volcengine", make_volcengine_callback(), volcengine_callbacks),
        ("ZEGO", make_zego_callback(), zego_callbacks),
    ]
    for name, body, callbacks in vendors:
        verifying = cost(partial(callbacks.verify, body, CALLBACK_SECRET))
        parsing = cost(partial(callbacks.parse, body))
        result.add(what=f"{name}: µs to verify, to parse", first=verifying, second=parsing)

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], [f"run {number + 1}" for number in range(RUNS)], rates, "callbacks/s")

    result.finish(draw, height=1.8)


if __name__ == "__main__":
    main()
