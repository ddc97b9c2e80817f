"""Routes for the vendors' callbacks: read, verify, parse, deduplicate, handle, acknowledge.

A callback is acknowledged only after it was handled, so that the vendor delivers again what failed. Volcengine accepts
only HTTP 200 within 5 s and tries three times in all; ZEGO accepts any 2xx and retries after 2, 4, 8, 16 and 32 s.
https://www.volcengine.com/docs/6348/69820, https://doc-zh.zego.im/article/19662
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeVar, Unpack

import attrs
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from volc_moderation import telemetry
from volc_moderation.callback_checks import CallbackSecret, Unverified, normalize_secrets
from volc_moderation.errors import CallbackError, ConfigurationError, describe
from volc_moderation.event import Event, Verdict
from volc_moderation.log_events import LogEvent, Repeats
from volc_moderation.telemetry import Metric
from volc_moderation.telemetry.instruments import OTHER
from volc_moderation.vendors import VENDORS, Callbacks, CallbackSecrets
from volc_moderation.webhooks.dedupe import (
    DEDUPE_TIMEOUT,
    DEFAULT_RETENTION,
    DedupeState,
    DedupeStore,
    MemoryDedupeStore,
    RedisDedupeStore,
    log_unavailable,
)

Handler = Callable[[Event], Awaitable[object]]
T = TypeVar("T")

#: Seconds; None for any age; ``default`` for each vendor's ``callbacks.WITHIN_SECONDS``.
Within = float | Literal["default"] | None


class Webhooks:
    """An ASGI app with the route ``POST /<vendor>`` for each vendor that has a secret, such as ``POST /volcengine``.

    Use it as ``Webhooks(handler, volcengine="…", zego="…")``: mount it, add its ``routes`` to another app, or run it
    alone.

    :param handler: an async function that is awaited with each event, once, unless it fails or is late. Then the answer
        is an error, and the handler gets the vendor's next delivery.
    :param secrets: the secret of each vendor's callbacks, by the vendor's name: ``volcengine="…"`` is the secret key in
        the callback settings of the RTC console, ``zego="…"`` the project's CallbackSecret. Each may be a list while it
        is rotated. ``UNVERIFIED`` accepts callbacks from anybody: use it only where strangers cannot send requests.
    :param dedupe: remembers handled events: ``MemoryDedupeStore()``, or ``RedisDedupeStore(…)`` for several processes.
        It must remember for at least twice ``within``, because a callback may arrive that long before its time and
        again that long after it. While the store is unavailable, events count as new: handling an event twice is better
        than losing it.
    :param within: seconds that the time of a callback may lie in the past or the future. The default is 300 for ZEGO,
        which retries for 62 s and whose signature covers the time but not the content; and any age for Volcengine,
        which does not document how long it retries. A number holds for all vendors; None accepts any age. Callbacks
        of a vendor with ``UNVERIFIED`` are not checked, and neither is their age.
    :param most_bytes: the size of the largest body that is read.
    :param timeout: seconds for reading and handling a callback; Volcengine gives up after 5.
    :param clock: returns the Unix time.

    Answers: 200 handled, now or before; 400 unreadable; 401 forged or too old; 408 the sender is slow; 413 too large;
    500 the handler failed; 503 the handler is late, or another delivery of the event is being handled.

    ZEGO's signature does not cover the content. Anybody who sees a callback of ZEGO can send others with any content
    until its time is older than ``within``, so let ZEGO send them by https, to an address that nobody can guess.

    Raises ``ConfigurationError`` if a setting is wrong: an unknown vendor, an empty secret, or a ``MemoryDedupeStore``
    or ``RedisDedupeStore`` that forgets too early.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        dedupe: DedupeStore | None = None,
        within: Within = "default",
        most_bytes: int = 1_048_576,
        timeout: float = 4.0,
        clock: Callable[[], float] = time.time,
        **secrets: Unpack[CallbackSecrets],
    ) -> None:
        is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", 0))  # noqa: B004 - an object with an async __call__
        if not is_async:
            raise ConfigurationError(f"handler must be an async function; got {describe(handler)}")
        for name, value in (("most_bytes", most_bytes), ("timeout", timeout)):
            if not _is_positive(value):
                raise ConfigurationError(f"{name} must be a number above 0; got {describe(value)}")
        if within is not None and within != "default" and not _is_positive(within):
            raise ConfigurationError(f"within must be a number above 0, None or 'default'; got {describe(within)}")
        self._handler = handler
        self._max_bytes = most_bytes
        self._timeout = timeout
        self._clock = clock
        self._repeats = Repeats()
        # The registry may have vendors that the type does not know.
        secrets_by_vendor: Mapping[str, CallbackSecret | None] = secrets  # type: ignore[assignment]
        endpoints = {
            name: _Endpoint(
                webhooks=self,
                vendor=name,
                callbacks=callbacks,
                secrets=None if isinstance(secret, Unverified) else normalize_secrets(secret),
                within=callbacks.WITHIN_SECONDS if within == "default" else within,
            )
            for name, (callbacks, secret) in _by_vendor(secrets_by_vendor).items()
        }
        ages = [one.within for one in endpoints.values() if one.secrets is not None and one.within is not None]
        self._dedupe = _checked_store(dedupe, 2 * max(ages, default=0), timeout)
        self.routes = [Route(f"/{name}", endpoint, methods=["POST"]) for name, endpoint in endpoints.items()]
        self._router = Router(routes=self.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._router(scope, receive, send)

    async def receive(
        self,
        request: Request,
        vendor: str,
        callbacks: Callbacks,
        secrets: tuple[str, ...] | None,
        within: float | None,
    ) -> int:
        """Process one callback. Return the HTTP status to answer with."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                body = await self._read_body(request)
        except TimeoutError:
            return 408
        except ClientDisconnect:
            return 400  # nobody receives it
        if body is None:
            return 413
        try:
            signature_key = None
            if secrets is not None:
                signature_key = callbacks.verify(body, secrets, now=self._clock(), within=within)
            event = callbacks.parse(body)
        except CallbackError as error:
            self._log_rejected(vendor, error)
            return 400 if error.reason == "unreadable" else 401
        return await self._handle(event, [event.dedupe_key, *([signature_key] if signature_key else [])], deadline)

    async def _read_body(self, request: Request) -> bytes | None:
        """Return the body. Return None if it is too large, if possible without reading it."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._max_bytes:
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_bytes:
                return None
        return bytes(body)

    async def _handle(self, event: Event, keys: Sequence[str], deadline: float) -> int:
        """Handle an event, unless an event with any of the keys was handled or is being handled."""
        begun: list[str] = []
        try:
            state = await _call_store(partial(self._begin, keys, begun))
        except asyncio.CancelledError:
            # The server stops or the sender disconnected. The next delivery must not find the event running.
            await asyncio.shield(self._end(begun, handled=False))
            raise
        if state in ("handled", "running"):
            telemetry.count(Metric.CALLBACKS, event.vendor, "repeated" if state == "handled" else "running")
            await self._end(begun, handled=state == "handled")
            return 200 if state == "handled" else 503
        handled = False
        cancel_requests = _cancel_requests()
        scope = asyncio.timeout_at(deadline)
        try:
            async with scope:
                await self._handler(event)
            handled = True
        except (Exception, asyncio.CancelledError) as error:  # a handler may raise anything
            if isinstance(error, asyncio.CancelledError) and _cancel_requests() > cancel_requests:
                raise  # the server stops, or the sender disconnected
            is_late = scope.expired()
            telemetry.count(Metric.CALLBACKS, event.vendor, "late" if is_late else "failed")
            self._log_unhandled(event, is_late=is_late)
            return 503 if is_late else 500
        finally:
            # Shielded: the end is recorded even if the server stops now.
            await asyncio.shield(self._end(keys, handled=handled))
        _count_handled(event)
        return 200

    def _log_rejected(self, vendor: str, error: CallbackError) -> None:
        """Log a callback that is not what it should be, but not each one: anybody may send them."""
        count = self._repeats.count((vendor, error.reason), asyncio.get_running_loop().time())
        if count is not None:
            text = "a callback was refused: %s"
            LogEvent.CALLBACK_REJECTED.log(text, error, vendor=vendor, reason=error.reason, count=count)

    def _log_unhandled(self, event: Event, *, is_late: bool) -> None:
        """Log that the handler has failed, with the exception that is being handled."""
        reason = "late" if is_late else "failed"
        count = self._repeats.count((event.vendor, reason), asyncio.get_running_loop().time())
        if count is not None:
            text = "the handler was too late with a callback" if is_late else "the handler failed on a callback"
            LogEvent.CALLBACK_NOT_HANDLED.log(text, exc_info=True, vendor=event.vendor, reason=reason, count=count)

    async def _begin(self, keys: Sequence[str], begun: list[str]) -> DedupeState:
        """Begin each key, up to the first that is not new: of two deliveries of one event, the first is handled."""
        for key in keys:
            state = await self._dedupe.begin(key)
            if state in ("handled", "running"):
                return state
            begun.append(key)
        return "new"

    async def _end(self, keys: Sequence[str], *, handled: bool) -> None:
        await asyncio.gather(*(_call_store(partial(self._dedupe.end, key, handled=handled)) for key in keys))


async def _call_store(request: Callable[[], Awaitable[T]]) -> T | None:
    """Return a store's answer. Return None if it fails or times out: at worst an event is handled twice."""
    cancel_requests = _cancel_requests()
    try:
        async with asyncio.timeout(DEDUPE_TIMEOUT):
            return await request()
    except (Exception, asyncio.CancelledError) as error:  # a user's own store may raise anything
        if isinstance(error, asyncio.CancelledError) and _cancel_requests() > cancel_requests:
            raise
        log_unavailable(error)
        return None


def _count_handled(event: Event) -> None:
    telemetry.count(Metric.CALLBACKS, event.vendor, "handled")
    if event.verdict is not None:
        medium = None if event.media is None else event.media.value
        verdict = event.verdict.value if isinstance(event.verdict, Verdict) else OTHER
        telemetry.count(Metric.VERDICTS, event.vendor, medium, verdict)


def _cancel_requests() -> int:
    """Return how often this task was asked to stop. A CancelledError without a new request is an ordinary failure."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


#: The statuses of callbacks that cannot be read or trusted.
_REJECTED = frozenset({400, 401, 408, 413})


@attrs.frozen(eq=False, kw_only=True)
class _Endpoint:
    """The endpoint of one vendor: an ASGI app, because Starlette passes the request to one unchanged."""

    webhooks: Webhooks
    vendor: str
    callbacks: Callbacks
    secrets: tuple[str, ...] | None = attrs.field(repr=False)
    within: float | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        status = await self.webhooks.receive(request, self.vendor, self.callbacks, self.secrets, self.within)
        if status in _REJECTED:
            telemetry.count(Metric.CALLBACKS, self.vendor, "rejected")
        # The unread rest of a body must not be mistaken for the next request.
        headers = {"connection": "close"} if status in {408, 413} else None
        await Response(status_code=status, headers=headers)(scope, receive, send)


def _by_vendor(secrets: Mapping[str, CallbackSecret | None]) -> dict[str, tuple[Callbacks, CallbackSecret]]:
    """Return the callbacks and the secret of each vendor that has a secret, in the order of the registry."""
    senders = {name: vendor.callbacks for name, vendor in VENDORS.items() if vendor.callbacks is not None}
    names = ", ".join(senders)
    for name in secrets:
        if name not in senders:
            raise ConfigurationError(
                f"{name} is neither an option nor a vendor with callbacks; the vendors are {names}"
            )
    found = {
        name: (callbacks, secret) for name, callbacks in senders.items() if (secret := secrets.get(name)) is not None
    }
    if not found:
        raise ConfigurationError(f"at least one vendor must have a secret; the vendors are {names}")
    return found


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _checked_store(store: DedupeStore | None, seconds: float, timeout: float) -> DedupeStore:
    """Return a store that remembers for ``seconds``. Refuse one that is known to forget earlier.

    It must also remember a running event for longer than the ``timeout`` of the handler.
    """
    if store is None:
        return MemoryDedupeStore(seconds=max(DEFAULT_RETENTION, seconds))
    if isinstance(store, (MemoryDedupeStore, RedisDedupeStore)) and store.seconds < seconds:
        raise ConfigurationError(
            f"dedupe must remember for {seconds:g} s, twice the longest within, or repeated callbacks are handled "
            f"again; got {store.seconds:g} s"
        )
    if isinstance(store, RedisDedupeStore) and store.running_seconds <= timeout + DEDUPE_TIMEOUT:
        raise ConfigurationError(
            f"running_seconds of dedupe must be more than timeout and {DEDUPE_TIMEOUT:g} s, or two processes may "
            f"handle an event at the same time; got {store.running_seconds} for a timeout of {timeout:g} s"
        )
    return store
