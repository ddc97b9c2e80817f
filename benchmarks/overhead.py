"""What a call costs above the bare httpx request that it makes, in CPU of this process.

``python -m benchmarks.overhead``. A server in a process of its own answers over loopback; both send the same bytes
through an ``httpx.AsyncClient`` of the same make, in alternate rounds; the best round of each counts.

- ``bare``: ``await client.request(…)`` with address, headers and body made beforehand, and the status looked at.
- ``ours``: ``await client.call(action)`` with a new action: checked, permitted, encoded, signed, sent, decoded.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx

from benchmarks.machine import describe_machine
from volc_moderation import VolcengineClient, WindowQuotas
from volc_moderation.transport import IN_FLIGHT
from volc_moderation.volcengine import StopWebcast

ROUNDS = 12
CALLS = 300
GOAL = 1.25
#: Above what the machine can reach, so that the quota is asked on every call and no call waits for it.
QUOTA = 1_000_000

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
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[str]:
    """Run the smallest server that keeps connections alive, in a process of its own."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


async def cost(call: Callable[[], Awaitable[object]], at_once: int) -> float:
    """Return the CPU seconds of one call."""

    async def worker() -> None:
        for _ in range(CALLS // at_once):
            await call()

    began = time.process_time()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    return (time.process_time() - began) / (CALLS // at_once * at_once)


async def measure(base_url: str, at_once: int) -> tuple[float, float]:
    """Return the CPU seconds of one bare request and of one call."""
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    captured: list[httpx.Request] = []

    async def capture(request: httpx.Request) -> None:
        captured.append(request)

    hooked = httpx.AsyncClient(event_hooks={"request": [capture]}, trust_env=False)
    keys: dict[str, Any] = {"access_key": "AK", "secret_key": "SK", "base_url": base_url}
    action: dict[str, Any] = {"app_id": "661e0000000000000000543c", "room_id": "Room1", "task_id": "task"}
    async with (
        hooked,
        httpx.AsyncClient(limits=limits, trust_env=False) as bare_client,
        VolcengineClient(**keys, quotas=WindowQuotas({"StopWebcast": QUOTA})) as client,
    ):
        await VolcengineClient(**keys, http_client=hooked).stop_webcast(**action)
        sent = captured[0]
        url, headers, body = str(sent.url), dict(sent.headers), sent.content

        async def bare() -> None:
            response = await bare_client.request("POST", url, headers=headers, content=body)
            assert response.is_success

        async def ours() -> None:
            await client.call(StopWebcast(**action))

        costs = {"bare": 1.0, "ours": 1.0}
        for _ in range(ROUNDS):
            costs["bare"] = min(costs["bare"], await cost(bare, at_once))
            costs["ours"] = min(costs["ours"], await cost(ours, at_once))
    return costs["bare"], costs["ours"]


async def main() -> None:
    print(describe_machine("httpx", "attrs", "cattrs", "aiolimiter", "tenacity"))
    worst = 0.0
    async with server() as base_url:
        for at_once in (1, 16):
            bare, ours = await measure(base_url, at_once)
            worst = max(worst, ours / bare)
            print(
                f"{at_once:2} in flight: bare {bare * 1e6:5.0f} µs, ours {ours * 1e6:5.0f} µs of CPU a call: "
                f"{ours / bare:.3f} times (+{(ours - bare) * 1e6:.0f} µs)"
            )
    print(f"worst {worst:.3f} times (goal: at most {GOAL:g})")
    if worst > GOAL:
        raise SystemExit(1)


if __name__ == "__main__":
    asyncio.run(main())
