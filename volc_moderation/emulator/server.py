"""The emulator on a socket: in this process with ``serve``, in one of its own with ``EmulatorProcess``."""

import asyncio
import contextlib
import json
import logging
import socket
import sys
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Any, Self

import attrs
import httpx
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from volc_moderation.emulator.app import Emulator, Settings, connection
from volc_moderation.emulator.faults import Fault
from volc_moderation.emulator.guard import Guard

#: Longer than any client keeps an idle connection, so that it is never the emulator that closes one.
KEEP_ALIVE = 75
#: Seconds for a process to come up, and to end.
START = 30
END = 10


class _Protocol(H11Protocol):
    """Tells the app which connection a request came over, so that it can tear it down."""

    def data_received(self, data: bytes) -> None:
        connection.set(self.transport)
        super().data_received(data)


class _Server(uvicorn.Server):
    """Lets hanging calls go at the end, and does not report what it cuts off then."""

    def __init__(self, config: uvicorn.Config, emulator: Emulator) -> None:
        super().__init__(config)
        self._emulator = emulator

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._emulator.let_go()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


class Listener(socket.socket):
    """A socket that listens, and knows by which host it was told to."""

    #: A name or an address, as ``listen`` was given it.
    host: str = ""


def listen(host: str, port: int) -> Listener:
    """Open a socket for ``serve``; port 0 takes a free one.

    ``host`` is an address or a name of this machine. What listens on a name answers to requests for that name too: see
    ``serve``.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # The protocol is named because asyncio switches Nagle's algorithm off only then; with it, answers take 40 ms more.
    listener = Listener(family, kind, protocol or socket.IPPROTO_TCP)
    listener.host = host
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(4096)
    except OSError:
        listener.close()
        raise
    return listener


async def serve(
    emulator: Emulator, listener: socket.socket, until: Awaitable[object] | None = None, *, hosts: Iterable[str] = ()
) -> None:
    """Serve until ``until`` is done, or until the process is interrupted.

    Web pages are refused with 403, for any page that is open in a browser can send requests here. So a request may have
    no ``Origin`` but this server's own, and its ``Host`` must be an IP address, ``localhost``, the name that ``listen``
    was given, or one of ``hosts``, with any port. On all addresses, as with ``0.0.0.0`` in a container, addresses and
    ``localhost`` will do as well; who calls by the container's name needs ``listen(name, port)``, or ``hosts``.
    """
    names = {*hosts, *([listener.host] if isinstance(listener, Listener) else [])}
    config = uvicorn.Config(
        Guard(emulator, names),
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_level="error",
        access_log=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config, emulator)
    if until is not None:
        asyncio.ensure_future(until).add_done_callback(lambda _: setattr(server, "should_exit", True))
    try:
        await server.serve(sockets=[listener])
    finally:
        await emulator.aclose()


def settings_line(settings: Settings) -> bytes:
    """Return what a process of the emulator reads first of its standard input."""
    return json.dumps(attrs.asdict(settings)).encode() + b"\n"


class EmulatorProcess:
    """An emulator in a process of its own, as ``async with EmulatorProcess() as emulator``.

    It ends with the block, and also if this process dies. ``base_url`` is where it listens: at a free port, or at
    ``port``.
    """

    def __init__(self, settings: Settings | None = None, *, port: int = 0) -> None:
        self.settings = settings or Settings()
        self._port = port
        self.base_url = ""
        self._process: asyncio.subprocess.Process | None = None
        self._http: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "volc_moderation.emulator", str(self._port)),
            start_new_session=True,  # an interrupt at the terminal is for the parent, which ends this one
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(START):
                # Not among the arguments, which every user of the machine can read: there are keys in it.
                self._process.stdin.write(settings_line(self.settings))
                with contextlib.suppress(ConnectionError):  # it ended before it read, as the next line tells
                    await self._process.stdin.drain()
                ready = await self._process.stdout.readline()
            if not ready:
                raise RuntimeError("the emulator did not start")
        except BaseException:
            await self._end()
            raise
        self.base_url = json.loads(ready)["base_url"]
        self._http = httpx.AsyncClient(base_url=self.base_url, trust_env=False)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.aclose()
        await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            async with asyncio.timeout(END):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def play(self, fault: Fault) -> None:
        """Play a fault for the next calls that it matches."""
        await self._admin("POST", "faults", json=fault.asdict())

    async def counts(self) -> dict[str, dict[str, Any]]:
        """Return what was seen of each action."""
        counts: dict[str, dict[str, Any]] = (await self._admin("GET", "counts")).json()
        return counts

    async def join(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> bool:
        """Let a user join a room, as ``Emulator.join`` does."""
        who = {"vendor": vendor, "room_id": room_id, "user_id": user_id, **options}
        return (await self._admin("POST", "join", json=who)).status_code != httpx.codes.FORBIDDEN

    async def leave(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> None:
        """Let a user leave a room."""
        await self._admin("POST", "leave", json={"vendor": vendor, "room_id": room_id, "user_id": user_id, **options})

    async def report(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> int:
        """Let every moderation that covers a user call back, as ``Emulator.report`` does."""
        what = {"vendor": vendor, "room_id": room_id, "user_id": user_id, **options}
        return int((await self._admin("POST", "report", json=what)).json()["callbacks"])

    async def callbacks(self) -> list[dict[str, Any]]:
        """Return the callbacks, with what became of them."""
        callbacks: list[dict[str, Any]] = (await self._admin("GET", "callbacks")).json()
        return callbacks

    async def reset(self) -> None:
        """Forget all tasks, people, faults, nonces, callbacks and counts."""
        await self._admin("POST", "reset")

    async def _admin(self, method: str, route: str, **arguments: Any) -> httpx.Response:
        assert self._http is not None  # noqa: S101 - set by __aenter__
        response = await self._http.request(method, f"/_emulator/{route}", **arguments)
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise ValueError(response.json()["error"])
        return response if response.status_code == httpx.codes.FORBIDDEN else response.raise_for_status()
