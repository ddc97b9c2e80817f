"""A vendor that takes time and counts: a quota in any second, a one-way delay with jitter, in a process of its own.

It answers StopWebcast as Volcengine does, and all actions of ZEGO as ZEGO does. It refuses what would be one more than
the quota of the action in the second that ends with its arrival; what it refuses does not count. It refuses the
session token ``REFUSED``. It tells what it saw on ``GET /report`` and forgets it then.
"""

import asyncio
import json
import random
import re
import socket
import sys
from collections import defaultdict, deque
from types import TracebackType
from typing import Self

import attrs
import httpx

YES = {"ResponseMetadata": {"RequestId": "r", "Action": "StopWebcast", "Version": "2020-12-01"}, "Result": "ok"}
NO = {
    "ResponseMetadata": {
        "RequestId": "r",
        "Error": {"Code": "FlowLimitExceeded", "Message": "Request was rejected because of flow control"},
    }
}
BAD_KEYS = {"ResponseMetadata": {"RequestId": "r", "Error": {"Code": "SignatureDoesNotMatch", "Message": "no"}}}
ZEGO_YES = {"Code": 0, "Message": "success", "RequestId": "r", "Data": {"TaskId": "t"}}
ZEGO_NO = {"Code": 206, "Message": "qps limit", "RequestId": "r"}
#: A session token that is refused.
REFUSED = "token-refused"
#: Calls per second that ZEGO allows.
ZEGO_QUOTA = 100


@attrs.frozen(kw_only=True)
class Arrival:
    """A request that came: when, whether the quota allowed it, and from whom: its RoomId."""

    at: float
    accepted: bool
    who: str
    action: str


@attrs.frozen
class Report:
    """What the server saw."""

    arrivals: list[Arrival]

    @property
    def refused(self) -> int:
        """Return how many were refused."""
        return sum(not arrival.accepted for arrival in self.arrivals)

    def of(self, action: str) -> "Report":
        """Return what was seen of one action."""
        return Report([arrival for arrival in self.arrivals if arrival.action == action])

    def most_in_any_second(self) -> int:
        """Return the most that were received in any second."""
        return max((in_past_second for _, in_past_second in self.past_seconds()), default=0)

    def past_seconds(self) -> list[tuple[float, int]]:
        """Return, at each arrival, how many there were in the second that ended with it."""
        past: deque[float] = deque()
        counts = []
        for arrival in self.arrivals:
            past.append(arrival.at)
            while past[0] <= arrival.at - 1:
                past.popleft()
            counts.append((arrival.at, len(past)))
        return counts

    def accepted_per_second(self, begin: float = 1.0, seconds: float | None = None, who: str = "") -> float:
        """Return the mean from ``begin`` seconds after the first arrival on, for ``seconds`` or until the last one."""
        if not self.arrivals:
            return 0.0
        begin += self.arrivals[0].at
        end = self.arrivals[-1].at if seconds is None else begin + seconds
        counted = [one for one in self.arrivals if one.accepted and begin < one.at <= end and one.who.startswith(who)]
        return len(counted) / (end - begin)


class QuotaServer:
    """The server in a process of its own, as ``async with QuotaServer(limit=150, delay=(0.02, 0.05)) as server``."""

    def __init__(self, *, limit: int, delay: tuple[float, float]) -> None:
        self.limit = limit
        self._delay = delay
        self.base_url = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.quota_server", str(self.limit), *map(str, self._delay)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.base_url = f"http://127.0.0.1:{int(await self._process.stdout.readline())}"
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        await self._process.wait()

    async def report(self) -> Report:
        """Return what was seen since the last report."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            seen = (await client.get(f"{self.base_url}/report")).json()
        return Report([Arrival(at=at, accepted=accepted, who=who, action=action) for at, accepted, who, action in seen])


_ACTION = re.compile(rb"[?&]Action=(\w+)")


class _Vendor:
    """What the server counts."""

    def __init__(self, limit: int, delay: tuple[float, float]) -> None:
        self._limit = limit
        self._delay = delay
        self._past_seconds: defaultdict[str, deque[float]] = defaultdict(deque)
        self._seen: list[tuple[float, bool, str, str]] = []

    def report(self) -> list[tuple[float, bool, str, str]]:
        seen, self._seen = self._seen, []
        return seen

    async def travel(self) -> None:
        """Wait for one way."""
        if self._delay[1]:
            await asyncio.sleep(random.uniform(*self._delay))

    def count(self, action: str, who: str) -> bool:
        now, past_second = asyncio.get_running_loop().time(), self._past_seconds[action]
        while past_second and past_second[0] <= now - 1:
            past_second.popleft()
        fits = len(past_second) < (self._limit if action == "StopWebcast" else min(self._limit, ZEGO_QUOTA))
        if fits:
            past_second.append(now)
        self._seen.append((now, fits, who, action))
        return fits


class _Connection(asyncio.Protocol):
    """One connection; each request on it is answered by a task."""

    def __init__(self, vendor: _Vendor) -> None:
        self._vendor = vendor
        self._received = b""
        # They go on where the sender is gone: what was sent arrives.
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, rest = self._received.partition(b"\r\n\r\n")
            _, _, length = head.lower().partition(b"content-length:")
            size = int(length.partition(b"\r\n")[0] or 0)
            if len(rest) < size:
                return
            self._received = rest[size:]
            task = asyncio.create_task(self._answer(head, rest[:size]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /report"):
            self._write(200, self._vendor.report())
            return
        action = _ACTION.search(head)[1].decode()  # type: ignore[index] # all of ours have one
        await self._vendor.travel()
        if REFUSED.encode() in head:
            self._write(401, BAD_KEYS)
            return
        given = json.loads(body)
        accepted = self._vendor.count(action, given.get("RoomId") or given["TaskId"])
        await self._vendor.travel()
        if action == "StopWebcast":
            self._write(200 if accepted else 429, YES if accepted else NO)
        else:
            self._write(200, ZEGO_YES if accepted else ZEGO_NO)

    def _write(self, status: int, answer: object) -> None:
        if self._transport.is_closing():
            return
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve(limit: int, low: float, high: float) -> None:
    vendor = _Vendor(limit, (low, high))
    # The protocol is named because asyncio switches Nagle's algorithm off only then.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(vendor), sock=listener, backlog=8192)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
