"""ZEGO's side of a fleet: an emulator for each AppId, all on one port, in a process of its own.

Each emulator checks the signatures of its AppId and enforces its quotas, as it does everywhere else. ``GET /report``
returns what has arrived: the counts of each AppId, and the number of calls that each worker made. A worker is known by
its ``User-Agent``.
"""

import asyncio
import json
import re
import socket
import sys
from collections import Counter
from types import TracebackType
from typing import Self

import attrs
import httpx
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from benchmarks.process_time import cpu_seconds
from volc_moderation.emulator import Emulator, Settings

ACTION = "StartCensorAudioV2"
FIRST_APP_ID = 1_000_000
SERVER_SECRET = "0123456789abcdef" * 2

_APP_ID = re.compile(rb"AppId=(\d+)")


@attrs.frozen
class Report:
    """What the server has received."""

    #: Of each AppId, the counts of its emulator.
    apps: dict[int, dict[str, int]]
    #: The calls that were accepted, by the worker and the AppId.
    calls: dict[tuple[str, int], int]
    #: When this was, on the server's clock, in seconds.
    at: float

    def per(self, part: str) -> Counter[str]:
        """Return the accepted calls of each ``worker`` or ``app``."""
        counts: Counter[str] = Counter()
        for (worker, app_id), count in self.calls.items():
            counts[worker if part == "worker" else str(app_id)] += count
        return counts


class FleetServer:
    """The server as ``async with FleetServer(apps=20, quota=100) as server``.

    :param quota: calls per second of each AppId.
    """

    def __init__(self, *, apps: int, quota: int) -> None:
        self._arguments = str(apps), str(quota)
        self.base_url = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.fleet_server", *self._arguments), stdout=asyncio.subprocess.PIPE
        )
        assert self._process.stdout is not None
        self.base_url = f"http://127.0.0.1:{int(await self._process.stdout.readline())}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        await self._process.wait()

    def cpu_seconds(self) -> float:
        """Return the seconds of CPU that it has used."""
        return cpu_seconds(self._process.pid)

    async def report(self) -> Report:
        """Return what it has received."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            report = (await client.get(f"{self.base_url}/report")).json()
        return Report(
            {int(app_id): counts for app_id, counts in report["apps"].items()},
            {(worker, app_id): count for worker, app_id, count in report["calls"]},
            report["at"],
        )


class _Server:
    """Passes each request on to the emulator of its AppId, and counts the successful ones."""

    def __init__(self, apps: int, quota: int) -> None:
        self._emulators = {
            app_id: Emulator(Settings(app_id=app_id, server_secret=SERVER_SECRET, quotas={ACTION: quota}))
            for app_id in range(FIRST_APP_ID, FIRST_APP_ID + apps)
        }
        self._calls: Counter[tuple[str, int]] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        found = _APP_ID.search(scope["query_string"])
        if found is None:
            await self._send_report(send)
            return
        app_id = int(found[1])
        worker = next((value for name, value in scope["headers"] if name == b"user-agent"), b"").decode()

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.body" and b'"Code":0' in message["body"]:
                self._calls[worker, app_id] += 1
            await send(message)

        await self._emulators[app_id](scope, receive, count_and_send)

    async def _send_report(self, send: Send) -> None:
        apps = {app_id: emulator.counts().get(ACTION, {}) for app_id, emulator in self._emulators.items()}
        calls = [[*key, count] for key, count in self._calls.items()]
        body = json.dumps({"apps": apps, "calls": calls, "at": asyncio.get_running_loop().time()}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})


async def _serve(apps: int, quota: int) -> None:
    # asyncio disables Nagle's algorithm only if the protocol is explicit.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        _Server(apps, quota), log_level="warning", access_log=False, lifespan="off", timeout_keep_alive=75
    )
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
