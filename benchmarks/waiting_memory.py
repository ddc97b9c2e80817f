"""The memory of a call that waits, the user's task included: ``python -m benchmarks.waiting_memory WAY``.

``throughput.py`` runs each way in a process of its own. The server never answers, so the first calls, as many as the
pool has connections, stay in flight, and all others wait.
"""

import asyncio
import gc
import sys
import tempfile
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.http_clients import Call, bare_aiohttp_call, bare_call, our_call
from volc_moderation import FileQuotas, WindowQuotas
from volc_moderation.gate import MAX_IN_FLIGHT

CALLS = 5000
#: The client of our calls.
CLIENT = "httpx2 over aiohttp"
#: The calls in flight use it up.
SMALL_QUOTA = {"StopWebcast": MAX_IN_FLIGHT}
LARGE_QUOTA = {"StopWebcast": 1_000_000}
#: Until calls have arrived where they wait: those in flight, and all others.
SETTLING_TIME = 4.0  # seconds


async def _wait_for_event(_: AsyncExitStack, __: str) -> Call:
    return asyncio.Event().wait


async def _wait_for_window(stack: AsyncExitStack, base_url: str) -> Call:
    return await our_call(stack, CLIENT, base_url, WindowQuotas(SMALL_QUOTA))


async def _wait_for_file(stack: AsyncExitStack, base_url: str) -> Call:
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    quotas = await stack.enter_async_context(FileQuotas(Path(folder, "quotas"), SMALL_QUOTA))
    return await our_call(stack, CLIENT, base_url, quotas)


async def _wait_for_connection(stack: AsyncExitStack, base_url: str) -> Call:
    return await our_call(stack, CLIENT, base_url, WindowQuotas(LARGE_QUOTA))


WAYS: dict[str, Callable[[AsyncExitStack, str], Awaitable[Call]]] = {
    "a task that waits for an event": _wait_for_event,
    "ours, for WindowQuotas": _wait_for_window,
    "ours, for FileQuotas": _wait_for_file,
    "ours, for a connection": _wait_for_connection,
    "bare httpx2, for a connection": lambda stack, base_url: bare_call(stack, "httpx2", base_url),
    "bare aiohttp, for a connection": bare_aiohttp_call,
}
OURS = [way for way in WAYS if way.startswith("ours")]


async def _ignore(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def bytes_per_call(way: str) -> float:
    """Return the bytes of memory of a waiting call."""
    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(_ignore, "127.0.0.1", 0, backlog=MAX_IN_FLIGHT)
        stack.callback(server.close)
        call = await WAYS[way](stack, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        tasks = [asyncio.ensure_future(call()) for _ in range(MAX_IN_FLIGHT)]
        await asyncio.sleep(SETTLING_TIME)
        gc.collect()
        tracemalloc.start()
        tasks += [asyncio.ensure_future(call()) for _ in range(CALLS)]
        await asyncio.sleep(SETTLING_TIME)
        gc.collect()
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert not any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return size / CALLS


if __name__ == "__main__":
    print(asyncio.run(bytes_per_call(sys.argv[1])))
