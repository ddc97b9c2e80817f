"""A vendor with a quota in any second and a one-way delay with jitter, in a process of its own.

It answers StopWebcast as Volcengine does, and all actions of ZEGO as ZEGO does. It refuses a request that would exceed
the quota of its action in the second that ends with its arrival; refused requests do not count. It refuses the session
token ``REFUSED_TOKEN``. ``GET /report`` returns the requests since the last report.
"""

import asyncio
import json
import random
import re
import socket
import sys
from collections import defaultdict, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import attrs
import httpx

SUCCESS = {"ResponseMetadata": {"RequestId": "r", "Action": "StopWebcast", "Version": "2020-12-01"}, "Result": "ok"}
THROTTLED = {
    "ResponseMetadata": {
        "RequestId": "r",
        "Error": {"Code": "FlowLimitExceeded", "Message": "Request was rejected because of flow control"},
    }
}
UNAUTHORIZED = {"ResponseMetadata": {"RequestId": "r", "Error": {"Code": "SignatureDoesNotMatch", "Message": "no"}}}
ZEGO_SUCCESS = {"Code": 0, "Message": "success", "RequestId": "r", "Data": {"TaskId": "t"}}
ZEGO_THROTTLED = {"Code": 206, "Message": "qps limit", "RequestId": "r"}
#: The session token that the server refuses.
REFUSED_TOKEN = "token-refused"  # noqa: S105 - not a secret
#: The quota of each action of ZEGO.
ZEGO_QUOTA = 100  # calls per second


@attrs.frozen(kw_only=True)
class Arrival:
    """A request that arrived: when, whether the quota allowed it, and its room or task."""

    #: On the server's monotonic clock, in seconds.
    at: float
    accepted: bool
    #: The RoomId, or the TaskId of a request without a room.
    room_id: str
    action: str


@attrs.frozen
class Report:
    """The requests that the server received."""

    arrivals: list[Arrival]

    @property
    def refused(self) -> int:
        """The number of refused requests."""
        return sum(not arrival.accepted for arrival in self.arrivals)

    def of(self, action: str) -> "Report":
        """Return the requests of one action."""
        return Report([arrival for arrival in self.arrivals if arrival.action == action])

    def most_in_any_second(self) -> int:
        """Return the maximum number of requests in any second."""
        return max((in_past_second for _, in_past_second in self.past_seconds()), default=0)

    def past_seconds(self) -> list[tuple[float, int]]:
        """Return, for each arrival, its time and the number of arrivals in the second that ended with it."""
        past: deque[float] = deque()
        counts = []
        for arrival in self.arrivals:
            past.append(arrival.at)
            while past[0] <= arrival.at - 1:
                past.popleft()
            counts.append((arrival.at, len(past)))
        return counts

    def accepted_per_second(self, begin: float = 1.0, seconds: float | None = None, room_id: str = "") -> float:
        """Return the mean rate from ``begin`` seconds after the first arrival, for ``seconds`` or until the last one.

        Only rooms whose id begins with ``room_id`` count.
        """
        if not self.arrivals:
            return 0.0
        begin += self.arrivals[0].at
        end = self.arrivals[-1].at if seconds is None else begin + seconds
        counted = [
            one for one in self.arrivals if one.accepted and begin < one.at <= end and one.room_id.startswith(room_id)
        ]
        return len(counted) / (end - begin)


class QuotaServer:
    """The server in a process of its own, as ``async with QuotaServer(limit=150, delay=(0.02, 0.05)) as server``.

    :param delay: the range of the one-way delay, in seconds.
    :param changes: later ranges, by the seconds after the first request from which they apply, in ascending order. A
        range applies to what sets out from then on, so that it may overtake what set out before.
    """

    def __init__(
        self, *, limit: int, delay: tuple[float, float], changes: Mapping[float, tuple[float, float]] | None = None
    ) -> None:
        self.limit = limit
        self._delays = {0.0: delay} | dict(changes or {})
        self.base_url = ""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.quota_server", str(self.limit), json.dumps(list(self._delays.items()))),
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
        """Return the requests since the last report."""
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            arrivals = (await client.get(f"{self.base_url}/report")).json()
        return Report(
            [
                Arrival(at=at, accepted=accepted, room_id=room_id, action=action)
                for at, accepted, room_id, action in arrivals
            ]
        )


_ACTION = re.compile(rb"[?&]Action=(\w+)")


class _Vendor:
    """The delays, quotas and records of the server."""

    def __init__(self, limit: int, delays: list[tuple[float, tuple[float, float]]]) -> None:
        self._limit = limit
        #: The first applies now, the others later.
        self._delays = deque(delays)
        self._first_request_at: float | None = None
        self._past_seconds: defaultdict[str, deque[float]] = defaultdict(deque)
        self._arrivals: list[tuple[float, bool, str, str]] = []

    def report(self) -> list[tuple[float, bool, str, str]]:
        arrivals, self._arrivals = self._arrivals, []
        return arrivals

    async def delay(self) -> None:
        """Wait for the delay of one way."""
        now = asyncio.get_running_loop().time()
        if self._first_request_at is None:
            self._first_request_at = now
        while len(self._delays) > 1 and self._delays[1][0] <= now - self._first_request_at:
            self._delays.popleft()
        _, (low, high) = self._delays[0]
        if high:
            await asyncio.sleep(random.uniform(low, high))

    def count(self, action: str, room_id: str) -> bool:
        now, past_second = asyncio.get_running_loop().time(), self._past_seconds[action]
        while past_second and past_second[0] <= now - 1:
            past_second.popleft()
        fits = len(past_second) < (self._limit if action == "StopWebcast" else min(self._limit, ZEGO_QUOTA))
        if fits:
            past_second.append(now)
        self._arrivals.append((now, fits, room_id, action))
        return fits


class _Connection(asyncio.Protocol):
    """One connection; each request on it is answered by a task."""

    def __init__(self, vendor: _Vendor) -> None:
        self._vendor = vendor
        self._received = b""
        # They continue when the sender has disconnected: a request that was sent arrives.
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
        action = _ACTION.search(head)[1].decode()  # type: ignore[index] # all requests have one
        await self._vendor.delay()
        if REFUSED_TOKEN.encode() in head:
            self._write(401, UNAUTHORIZED)
            return
        fields = json.loads(body)
        accepted = self._vendor.count(action, fields.get("RoomId") or fields["TaskId"])
        await self._vendor.delay()
        if action == "StopWebcast":
            self._write(200 if accepted else 429, SUCCESS if accepted else THROTTLED)
        else:
            self._write(200, ZEGO_SUCCESS if accepted else ZEGO_THROTTLED)

    def _write(self, status: int, answer: object) -> None:
        if self._transport.is_closing():
            return
        body = json.dumps(answer).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def serve(limit: int, delays: list[tuple[float, tuple[float, float]]]) -> None:
    vendor = _Vendor(limit, delays)
    # asyncio disables Nagle's algorithm only if the protocol is explicit.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(vendor), sock=listener, backlog=8192)
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), json.loads(sys.argv[2])))
