"""One process of a web app that stops webcasts: ``python -m benchmarks.web_worker`` runs one for ``web.py``.

Requests and responses are lines on standard input and output, so that the cost of a web server, which is the same with
every store of quotas, is not measured. ``Worker`` starts such a process.
"""

import asyncio
import logging
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any

from volc_moderation import FileQuotas, ModerationError, RedisQuotas, VolcengineClient, WindowQuotas
from volc_moderation.quotas import Quotas

#: A user waits no longer than this for the response.
DEADLINE = 5.0  # seconds
KEYS: dict[str, Any] = {"access_key": "AK", "secret_key": "SK"}


async def open_store(stack: AsyncExitStack, name: str, address: str) -> Quotas:
    """Open a store of quotas by its name; ``address`` is that of Redis, or the path of the file."""
    if name == "RedisQuotas":
        return await stack.enter_async_context(RedisQuotas(address))
    if name == "FileQuotas":
        return await stack.enter_async_context(FileQuotas(address))
    if name == "WindowQuotas(processes=4)":
        return WindowQuotas(processes=4)
    return WindowQuotas()


class Worker:
    """A process of the web app.

    :param store: the store of its quotas, as ``open_store`` takes it.
    :param room_id: the RoomId of its calls, by which the vendor tells processes apart.
    """

    def __init__(self, store: str, room_id: str, base_url: str, address: str) -> None:
        self._arguments = (store, room_id, base_url, address)
        self._responses: dict[int, asyncio.Future[bool]] = {}
        self._next_number = 0

    async def start(self) -> None:
        """Start it, and wait until it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.web_worker", *self._arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        await self._process.stdout.readline()
        self._reader = asyncio.create_task(self._read())

    async def request(self) -> bool:
        """Let it stop a webcast; return whether that succeeded."""
        assert self._process.stdin is not None
        number, self._next_number = self._next_number, self._next_number + 1
        response: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._responses[number] = response
        self._process.stdin.write(f"{number}\n".encode())
        return await response

    async def aclose(self) -> None:
        """Let it end as a web server does at a restart, when all requests have been answered."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(DEADLINE):
                await self._process.wait()
        except TimeoutError:
            self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            number, result = line.split()
            self._responses.pop(int(number)).set_result(result == b"ok")


async def run(store: str, room_id: str, base_url: str, address: str) -> None:
    """Answer requests until standard input ends."""
    logging.getLogger("volc_moderation").setLevel(logging.ERROR)  # refused calls are counted by the vendor
    loop = asyncio.get_running_loop()
    requests = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        quotas = await open_store(stack, store, address)
        client = await stack.enter_async_context(
            VolcengineClient(**KEYS, base_url=base_url, quotas=quotas, deadline=DEADLINE)
        )

        async def answer(number: str) -> None:
            try:
                await client.stop_webcast(app_id="app", room_id=room_id, task_id=f"task-{number}")
            except ModerationError:
                print(number, "failed", flush=True)
            else:
                print(number, "ok", flush=True)

        print("ready", flush=True)
        async for line in requests:
            tasks.create_task(answer(line.decode().strip()))


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
