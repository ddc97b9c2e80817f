"""Sends callbacks as the vendors do, repeatedly until one delivery is acknowledged, and records the outcomes."""

import asyncio
import ipaddress
from collections import deque
from typing import Any, Literal
from urllib.parse import urlsplit

import attrs
import httpx

from volc_moderation.emulator.memory import MAX_KEPT
from volc_moderation.emulator.vendor import Callback

#: Seconds that Volcengine waits for an answer: https://www.volcengine.com/docs/6348/69820. OPEN: ZEGO's timeout.
CALLBACK_TIMEOUT = 5.0

Outcome = Literal["pending", "delivered", "lost", "not on this machine", "not an address"]


@attrs.define(kw_only=True)
class Delivery:
    """A callback and its outcome. ``statuses`` contains None for an attempt without an answer."""

    vendor: str
    event: str
    url: str
    body: Any
    attempts: int = 0
    statuses: list[int | None] = attrs.field(factory=list)
    outcome: Outcome = "pending"


class Deliveries:
    """The deliveries of all callbacks.

    :param http_client: sends the callbacks. Without one they are sent only to addresses on this machine.
    """

    def __init__(self, http_client: httpx.AsyncClient | None = None) -> None:
        self._users_client = http_client
        self._own_client: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._deliveries: deque[Delivery] = deque(maxlen=MAX_KEPT)

    def send(self, callbacks: list[Callback]) -> None:
        """Send callbacks in the background."""
        for callback in callbacks:
            url, body = callback.url, dict(callback.body)
            delivery = Delivery(vendor=callback.vendor, event=callback.event, url=url, body=body)
            self._deliveries.append(delivery)
            host = _host(callback.url)
            if host is None:
                delivery.outcome = "not an address"
                continue
            if self._users_client is None and not _is_on_this_machine(host):
                delivery.outcome = "not on this machine"
                continue
            task = asyncio.get_running_loop().create_task(self._deliver(callback, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def asdicts(self) -> list[dict[str, Any]]:
        """Return all deliveries, the oldest first."""
        return [attrs.asdict(delivery) for delivery in self._deliveries]

    def clear(self) -> None:
        """Forget all deliveries, and cancel those that are pending."""
        for task in self._tasks:
            task.cancel()
        self._deliveries.clear()

    async def aclose(self) -> None:
        """Stop sending."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._own_client is not None:
            await self._own_client.aclose()
            self._own_client = None

    async def _deliver(self, callback: Callback, delivery: Delivery) -> None:
        for delay in (0.0, *callback.retry_delays):
            await asyncio.sleep(delay)
            delivery.attempts += 1
            status = await self._post(callback)
            delivery.statuses.append(status)
            if status in callback.success_statuses:
                delivery.outcome = "delivered"
                return
        delivery.outcome = "lost"

    async def _post(self, callback: Callback) -> int | None:
        """Return the status of the answer, or None if there is none."""
        if self._users_client is None and self._own_client is None:
            self._own_client = httpx.AsyncClient(trust_env=False)
        client = self._users_client or self._own_client
        assert client is not None  # noqa: S101 - created above
        try:
            async with asyncio.timeout(CALLBACK_TIMEOUT):
                response = await client.post(callback.url, json=dict(callback.body), timeout=None)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError):
            return None
        return response.status_code


def _host(url: str) -> str | None:
    """Return the host of a URL that can be called, or None. The vendors accept any text in place of a URL."""
    try:
        parts = httpx.URL(url)
        port = urlsplit(url).port  # raises for some malformed URLs that httpx accepts
    except (httpx.InvalidURL, ValueError):
        return None
    return (parts.host or None) if parts.scheme in {"http", "https"} and port != 0 else None


def _is_on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
