"""Sends callbacks the way the vendors do, again and again until one is acknowledged, and keeps a record of it."""

import asyncio
import ipaddress
from collections import deque
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
import httpx

from volc_moderation.emulator.memory import MOST
from volc_moderation.emulator.vendor import Callback

#: Seconds for an answer: https://www.volcengine.com/docs/6348/69820. OPEN: ZEGO's.
TIMEOUT = 5.0

Outcome = Literal["pending", "delivered", "lost", "not on this machine", "not an address"]


@attrs.define(kw_only=True)
class Delivery:
    """A callback and what became of it. ``statuses`` has None where no answer came."""

    vendor: str
    event: str
    url: str
    body: Any
    attempts: int = 0
    statuses: list[int | None] = attrs.field(factory=list)
    outcome: Outcome = "pending"


class Deliveries:
    """All callbacks. Unless a client is given, they go to addresses on this machine only."""

    def __init__(self, http_client: httpx.AsyncClient | None = None) -> None:
        self._given = http_client
        self._own: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._past: deque[Delivery] = deque(maxlen=MOST)

    def send(self, callbacks: list[Callback]) -> None:
        """Send callbacks in the background."""
        for callback in callbacks:
            url, body = callback.url, dict(callback.body)
            delivery = Delivery(vendor=callback.vendor, event=callback.event, url=url, body=body)
            self._past.append(delivery)
            host = _host_of(callback.url)
            if host is None:
                delivery.outcome = "not an address"
                continue
            if self._given is None and not _is_on_this_machine(host):
                delivery.outcome = "not on this machine"
                continue
            task = asyncio.get_running_loop().create_task(self._deliver(callback, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def record(self) -> list[dict[str, Any]]:
        """Return what was sent, the oldest first."""
        return [attrs.asdict(delivery) for delivery in self._past]

    def forget(self) -> None:
        """Forget everything, and send nothing more of it."""
        for task in self._tasks:
            task.cancel()
        self._past.clear()

    async def aclose(self) -> None:
        """Stop sending."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._own is not None:
            await self._own.aclose()
            self._own = None

    async def _deliver(self, callback: Callback, delivery: Delivery) -> None:
        for pause in (0.0, *callback.pauses):
            await asyncio.sleep(pause)
            delivery.attempts += 1
            status = await self._post(callback)
            delivery.statuses.append(status)
            if status in callback.acknowledged_by:
                delivery.outcome = "delivered"
                return
        delivery.outcome = "lost"

    async def _post(self, callback: Callback) -> int | None:
        if self._given is None and self._own is None:
            self._own = httpx.AsyncClient(trust_env=False)
        client = self._given or self._own
        assert client is not None  # noqa: S101 - just made
        try:
            async with asyncio.timeout(TIMEOUT):
                response = await client.post(callback.url, json=dict(callback.body), timeout=None)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None
        return response.status_code


def _host_of(url: str) -> str | None:
    """Return the host of an address that can be called; None of a text that is none. Vendors take any text for one."""
    try:
        parts = httpx.URL(url)
        port = urlsplit(url).port  # which knows more than httpx of what is no address
    except (httpx.InvalidURL, ValueError):
        return None
    return (parts.host or None) if parts.scheme in {"http", "https"} and port != 0 else None


def _is_on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
