"""The vendor's server: checks signatures and quotas, and answers with the codes that a test asks for."""

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import httpx

from tests.toy_vendor.actions import CloseStage, CountListeners
from tests.toy_vendor.signing import sign

KEY = "toy-key"
SECRET = "toy-secret"
QUOTAS = {action.name: action.quota.limit for action in (CloseStage, CountListeners)}


class ToyServer:
    """Answers requests.

    :param clock: the time in seconds by which calls are counted.
    :param codes: the code of the first answer to each room; then the server accepts.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, codes: Mapping[str, str] | None = None) -> None:
        self._clock = clock
        self._codes = dict(codes or {})
        self._lock = threading.Lock()
        #: When each action was called.
        self.calls: dict[str, list[float]] = {name: [] for name in QUOTAS}
        self.rooms: list[str] = []

    def answer(self, action: str, headers: Mapping[str, str], body: bytes) -> dict[str, object]:
        """Return the envelope of a response."""
        with self._lock:
            calls, now = self.calls[action], self._clock()
            calls.append(now)
            if headers["x-signature"] != sign(SECRET, int(headers["x-time"]), body) or headers["x-key"] != KEY:
                return {"Id": "r", "Error": "Unsigned", "Text": "no"}
            if sum(now - 1 < at for at in calls) > QUOTAS[action]:
                return {"Id": "r", "Error": "TooFast", "Text": "no"}
            room: str = json.loads(body)["RoomId"]
            self.rooms.append(room)
            if room in self._codes:
                return {"Id": "r", "Error": self._codes.pop(room), "Text": "no"}
            return {"Id": "r", "Data": {"Count": 7} if action == "CountListeners" else {}}

    def http_client(self) -> httpx.AsyncClient:
        """Return an HTTP client that asks this server without a socket."""

        async def handler(request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(0)
            return httpx.Response(200, json=self.answer(request.url.path[1:], request.headers, request.content))

        return httpx.AsyncClient(transport=httpx.MockTransport(handler))

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Serve on a port of this machine, in threads. Return the address."""
        answer = self.answer

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                content = json.dumps(answer(self.path[1:], headers, body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()
