"""A small HTTP server on loopback, which records each request, byte for byte, and answers as a test says."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

import attrs


@attrs.frozen
class Received:
    """A request as it arrived."""

    method: str
    #: Path and query, as they were sent.
    target: str
    #: Names are in lower case.
    headers: dict[str, str]
    body: str

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return _unique(self.target.partition("?")[2])

    @property
    def form(self) -> dict[str, str]:
        return _unique(self.body)


def _unique(text: str) -> dict[str, str]:
    pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text))
    assert len(dict(pairs)) == len(pairs), text
    return dict(pairs)


@attrs.frozen
class Answer:
    """What a server answers."""

    body: object = ""
    status: int = 200
    headers: dict[str, str] = attrs.field(factory=dict)

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


#: An answer, or what never comes.
HANG = Answer(status=0)


class HTTPDouble:
    """Serves one connection after the other, or many at once.

    ``script`` holds answers that come before those of ``answer``. An assertion that fails in ``answer`` fails the test,
    at the end of the ``async with`` block.
    """

    def __init__(self, answer: Callable[[Received], Answer] = lambda _: Answer(), *, port: int = 0) -> None:
        self.requests: list[Received] = []
        self.script: list[Answer] = []
        self.in_flight = self.most_in_flight = 0
        #: Awaited before each answer.
        self.before: Callable[[], Awaitable[object]] | None = None
        self._answer = answer
        self._port = port
        self._faults: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._faults and exc is None:
            raise self._faults[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while True:
                    await self._serve_one(await _read(reader), writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve_one(self, request: Received, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.before is not None:
                await self.before()
            answer = self.script.pop(0) if self.script else self._judge(request)
            if answer is HANG:
                await asyncio.sleep(3600)
        finally:
            self.in_flight -= 1
        content = answer.content
        headers = {"Content-Length": str(len(content))} | answer.headers
        lines = [f"HTTP/1.1 {answer.status} Status", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await writer.drain()
        if int(headers["Content-Length"]) != len(content):
            writer.close()

    def _judge(self, request: Received) -> Answer:
        try:
            return self._answer(request)
        except BaseException as fault:
            self._faults.append(fault)
            raise


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    headers = dict(pairs)
    assert len(headers) == len(pairs), "a header is repeated"
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, target, headers, body.decode())
