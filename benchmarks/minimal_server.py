"""A server that answers each request at once as Volcengine answers StopWebcast, in a process of its own.

It does as little as possible, so that the clients, not the server, limit what is measured. Where the system allows it,
client and server each have a core of their own.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator

_BODY = (
    b'{"ResponseMetadata":{"RequestId":"r","Action":"StopWebcast","Version":"2020-12-01","Service":"rtc",'
    b'"Region":"cn-north-1"},"Result":"ok"}'
)
_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_BODY) + _BODY
_BACKLOG = 8192


@contextlib.asynccontextmanager
async def minimal_server() -> AsyncIterator[str]:
    """Run the server, and yield its base URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.minimal_server"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


def pin_client() -> None:
    """Let this process run on the first core only."""
    _pin(0)


def _pin(index: int) -> None:
    if sys.platform == "linux":  # elsewhere the system decides
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            os.sched_setaffinity(0, {cores[index]})


class _Connection(asyncio.Protocol):
    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if not end:
                return
            _, _, after = head.lower().partition(b"content-length:")
            length = int(after.partition(b"\r\n")[0])
            if len(rest) < length:
                return
            self._received = rest[length:]
            self._transport.write(_RESPONSE)


async def _serve() -> None:
    _pin(-1)
    # asyncio disables Nagle's algorithm only if the protocol is explicit.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(_Connection, sock=listener, backlog=_BACKLOG)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
