"""The CPU time of a call compared with that of its bare request, and the time of the import.

``python -m benchmarks.overhead``. A server in a process of its own answers over loopback. Both send the same bytes
through equal HTTP clients, in alternate rounds; the best round of each counts.

- ``bare``: ``await client.request(…)`` with prepared address, headers and body; the status is checked.
- ``ours``: ``await client.call(action)`` with a new action: validated, permitted, encoded, signed, sent, decoded.
- ``import``: a new interpreter that imports the package, less one that imports nothing.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType

import httpx
import httpx2
from matplotlib.axes import Axes

from benchmarks.programs import KEYS
from benchmarks.results import Result, bars
from volc_moderation import VolcengineClient, WindowQuotas
from volc_moderation.gate import MAX_IN_FLIGHT
from volc_moderation.volcengine import StopWebcast

ROUNDS = 12
CALLS = 300
IMPORTS = 15
#: More than the machine can reach: every call acquires a permit, and none waits for it.
QUOTA = 1_000_000
TASK = {"app_id": "661e0000000000000000543c", "room_id": "Room1", "task_id": "task"}

SERVER = """
import asyncio
BODY = b'{"ResponseMetadata":{"RequestId":"r","Action":"StopWebcast","Version":"2020-12-01","Service":"rtc",' \\
    b'"Region":"cn-north-1"},"Result":"ok"}'
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(BODY) + BODY
async def answer(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            length = next(line for line in head.lower().split(b"\\r\\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.split(b":")[1]))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def minimal_server() -> AsyncIterator[str]:
    """Run a minimal server that keeps connections alive, in a process of its own."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


async def captured_request(base_url: str, **task: str) -> httpx.Request:
    """Return the request that the client would send to stop a webcast."""
    captured: list[httpx.Request] = []

    def capture(request: httpx.Request) -> httpx.Response:
        captured.append(request)
        return httpx.Response(200, json={"ResponseMetadata": {"RequestId": "r"}, "Result": "ok"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(capture)) as http_client:
        await VolcengineClient(**KEYS, base_url=base_url, http_client=http_client).stop_webcast(**task)
    return captured[0]


async def cost(call: Callable[[], Awaitable[object]], at_once: int) -> float:
    """Return the CPU seconds of one call."""

    async def worker() -> None:
        for _ in range(CALLS // at_once):
            await call()

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return (time.process_time() - began) / (CALLS // at_once * at_once)


async def measure(library: ModuleType, base_url: str, at_once: int) -> tuple[float, float]:
    """Return the CPU seconds of one bare request and of one call."""
    sent = await captured_request(base_url, **TASK)
    url, headers, body = str(sent.url), dict(sent.headers), sent.content
    limits = library.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    async with (
        library.AsyncClient(limits=limits, trust_env=False) as bare_client,
        library.AsyncClient(limits=limits, trust_env=False) as our_client,
    ):
        quotas = WindowQuotas({"StopWebcast": QUOTA})
        client = VolcengineClient(**KEYS, base_url=base_url, quotas=quotas, http_client=our_client)

        async def bare() -> None:
            response = await bare_client.request("POST", url, headers=headers, content=body)
            assert response.is_success

        async def ours() -> None:
            await client.call(StopWebcast(**TASK))

        costs = {"bare": 1.0, "ours": 1.0}
        for _ in range(ROUNDS):
            costs["bare"] = min(costs["bare"], await cost(bare, at_once))
            costs["ours"] = min(costs["ours"], await cost(ours, at_once))
    return costs["bare"], costs["ours"]


def import_costs(*modules: str) -> list[float]:
    """Return the seconds that each import takes in a new interpreter."""
    best = dict.fromkeys(("sys", *modules), 60.0)
    for _ in range(IMPORTS):
        for module in best:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", f"import {module}"], check=True)  # noqa: S603 - the modules are constants
            best[module] = min(best[module], time.perf_counter() - began)
    return [best[module] - best["sys"] for module in modules]


async def main() -> None:
    result = Result(
        "overhead", "CPU of a call", "httpx", "httpx2", "attrs", "cattrs", "aiolimiter", "tenacity", rounds=ROUNDS
    )
    times: dict[str, float] = {}
    async with minimal_server() as base_url:
        for library in (httpx, httpx2):
            for at_once in (1, 16):
                bare, ours = await measure(library, base_url, at_once)
                what = f"{library.__name__}, {at_once} in flight"
                times[what] = ours / bare
                result.add(what=what, bare_ms=bare * 1e3, ours_ms=ours * 1e3, times=times[what])
    bare, ours = import_costs("httpx", "volc_moderation")
    times["import, against httpx's"] = ours / bare
    result.add(what="import, against httpx's", bare_ms=bare * 1e3, ours_ms=ours * 1e3, times=ours / bare)
    result.goal("httpx, 1 in flight: times the bare request", times["httpx, 1 in flight"], at_most=1.25)
    result.goal("httpx, 16 in flight: times the bare request", times["httpx, 16 in flight"], at_most=1.15)

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], list(times), list(times.values()), "times the bare one", mark=1)

    result.finish(draw)


if __name__ == "__main__":
    asyncio.run(main())
