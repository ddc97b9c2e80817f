"""Serves the emulator on a socket, in this process."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Iterable

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from volc_moderation.emulator.app import Emulator, connection
from volc_moderation.emulator.browser_guard import BrowserGuard

#: Seconds; longer than any client keeps an idle connection, so that the emulator never closes one first.
KEEP_ALIVE_TIMEOUT = 75


class _Protocol(H11Protocol):
    """Records which connection a request arrived on, so that the app can reset it."""

    def data_received(self, data: bytes) -> None:
        connection.set(self.transport)
        super().data_received(data)


class _Server(uvicorn.Server):
    """Releases hanging calls when it stops, and does not log the connections that it closes then."""

    def __init__(self, config: uvicorn.Config, emulator: Emulator) -> None:
        super().__init__(config)
        self._emulator = emulator

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._emulator.release_hanging_calls()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)


class Listener(socket.socket):
    """A listening socket that knows the host that ``listen`` was called with."""

    #: A name or an address.
    host: str = ""


def listen(host: str, port: int) -> Listener:
    """Open a listening socket for ``serve``.

    :param host: an address or a name of this machine. If it is a name, ``serve`` also answers requests for that name.
    :param port: 0 for a free port.

    Raises ``OSError`` if the port is in use.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # asyncio disables Nagle's algorithm only if the protocol is explicit. With Nagle, answers take 40 ms longer.
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

    Requests of web pages are answered with 403, because any page that is open in a browser can send requests to this
    machine. A request may have no ``Origin`` but this server's own, and its ``Host`` must be an IP address,
    ``localhost``, the name that ``listen`` was called with, or one of ``hosts``, with any port. A server that listens
    on all addresses, such as ``0.0.0.0`` in a container, does not know its name: to call it by the container's name,
    use ``listen(name, port)`` or ``hosts``.
    """
    names = {*hosts, *([listener.host] if isinstance(listener, Listener) else [])}
    config = uvicorn.Config(
        BrowserGuard(emulator, names),
        http=_Protocol,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_level="error",
        access_log=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_TIMEOUT,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config, emulator)
    if until is not None:
        asyncio.ensure_future(until).add_done_callback(lambda _: setattr(server, "should_exit", True))
    try:
        await server.serve(sockets=[listener])
    finally:
        await emulator.aclose()
