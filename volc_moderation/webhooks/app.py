"""Routes for the vendors' callbacks: read, verify, parse, drop what is a repeat, handle, acknowledge.

Volcengine takes HTTP 200 within 5 s for received and tries three times in all; ZEGO takes any 2xx and tries again after
2, 4, 8, 16 and 32 s. So a callback is acknowledged when it was handled, and what fails comes again.
https://www.volcengine.com/docs/6348/69820, https://doc-zh.zego.im/article/19662
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Literal, Protocol, TypeVar

import attrs
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from volc_moderation.callback_checks import secrets_of
from volc_moderation.errors import CallbackError, ConfigurationError, describe
from volc_moderation.event import Event
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.webhooks.dedupe import (
    OUTAGE,
    PATIENCE,
    REMEMBERED_SECONDS,
    DedupeStore,
    MemoryDedupeStore,
    RedisDedupeStore,
    State,
)
from volc_moderation.zego import callbacks as zego_callbacks

Handler = Callable[[Event], Awaitable[object]]
T = TypeVar("T")

_log = logging.getLogger("volc_moderation")


class _Unverified:
    """Stands where a secret would."""

    def __repr__(self) -> str:
        return "UNVERIFIED"


#: In the place of a secret: takes callbacks from anybody. Only behind something else that keeps strangers out.
UNVERIFIED: Final = _Unverified()

Secret = str | Sequence[str] | _Unverified

#: Seconds, or None for any age, or each vendor's ``callbacks.WITHIN_SECONDS``.
Within = float | Literal["default"] | None


class _Rules(Protocol):
    """What is asked of a vendor's ``callbacks``."""

    @property
    def WITHIN_SECONDS(self) -> float | None: ...  # noqa: N802 - a constant of a module

    def verify(
        self, body: bytes, secret: str | Sequence[str], *, now: float | None, within: float | None
    ) -> str | None: ...

    def parse(self, body: bytes) -> Event: ...


class Webhooks:
    """An ASGI app with ``POST /volcengine`` and ``POST /zego``. Mount it, or take its ``routes``, or run it alone.

    :param handler: an async function that is awaited with each event, once, unless it fails or is late: then the vendor
        is told so, and the next delivery is handled.
    :param volcengine: the secret key of the console's callback settings; several while it is rotated; ``UNVERIFIED``.
    :param zego: the project's CallbackSecret, likewise.
    :param dedupe: remembers what was handled: ``MemoryDedupeStore()``, or ``RedisDedupeStore(…)`` for several processes; for at least
        twice ``within``, from as far ahead to as far back, so that what comes again is known. If it cannot be asked, an
        event counts as new: one that is handled twice is better than one that is lost.
    :param within: seconds that a callback may be old or ahead. By default 300 for ZEGO, which delivers again for 62 s
        and whose signature covers the time and not the content, and any age for Volcengine, which does not say how long
        it delivers again. A number holds for both, and None takes any age from both. With ``UNVERIFIED`` nothing is
        checked, the age neither.
    :param most_bytes: the largest body that is read.
    :param timeout: seconds for reading a callback and handling it; Volcengine gives up after 5.
    :param clock: returns the Unix time.

    Answers: 200 handled, now or before; 400 unreadable; 401 forged or stale; 408 the sender is slow; 413 too large; 500
    the handler failed; 503 the handler is late, or another delivery of the event is being handled.

    ZEGO's signature does not cover the content: whoever sees a callback of ZEGO can send others, with any content, as
    long as ``within`` lets its time pass. So have them sent by https, to an address that nobody can guess.

    Raises ``ConfigurationError`` for a wrong setting, such as an empty secret, or a ``MemoryDedupeStore`` or a ``RedisDedupeStore``
    that forgets too early.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        volcengine: Secret | None = None,
        zego: Secret | None = None,
        dedupe: DedupeStore | None = None,
        within: Within = "default",
        most_bytes: int = 1_048_576,
        timeout: float = 4.0,
        clock: Callable[[], float] = time.time,
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
        self._most_bytes = most_bytes
        self._timeout = timeout
        self._clock = clock
        vendors: list[tuple[str, _Rules, Secret | None]] = [
            ("volcengine", volcengine_callbacks, volcengine),
            ("zego", zego_callbacks, zego),
        ]
        endpoints = {
            name: _Endpoint(self, rules, _checked(secret), rules.WITHIN_SECONDS if within == "default" else within)
            for name, rules, secret in vendors
            if secret is not None
        }
        windows = [one.within for one in endpoints.values() if one.secret is not None and one.within is not None]
        self._dedupe = _remembering(dedupe, 2 * max(windows, default=0), timeout)
        self.routes = [Route(f"/{name}", endpoint, methods=["POST"]) for name, endpoint in endpoints.items()]
        if not self.routes:
            raise ConfigurationError("one of volcengine and zego must have a secret")
        self._router = Router(routes=self.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self._router(scope, receive, send)

    async def receive(
        self, request: Request, rules: _Rules, secret: tuple[str, ...] | None, within: float | None
    ) -> int:
        """Take one callback and return the HTTP status that answers it."""
        until = asyncio.get_running_loop().time() + self._timeout
        try:
            async with asyncio.timeout_at(until):
                body = await self._body(request)
        except TimeoutError:
            return 408
        except ClientDisconnect:
            return 400  # nobody hears it
        if body is None:
            return 413
        try:
            signed = None if secret is None else rules.verify(body, secret, now=self._clock(), within=within)
            event = rules.parse(body)
        except CallbackError as error:
            _log.warning("a callback was refused: %s", error)
            return 400 if error.reason == "unreadable" else 401
        return await self._handle(event, [event.dedupe_key, *([signed] if signed else [])], until)

    async def _body(self, request: Request) -> bytes | None:
        """Read the body; None if it is too large, which its length may tell before it is read."""
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._most_bytes:
            return None
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._most_bytes:
                return None
        return bytes(body)

    async def _handle(self, event: Event, keys: Sequence[str], until: float) -> int:
        """Handle an event, unless one with any of the keys is being handled or was."""
        begun: list[str] = []
        try:
            state = await _patiently(partial(self._begin, keys, begun))
        except (
            asyncio.CancelledError
        ):  # the server stops, or the sender is gone: the next delivery must not wait for it
            await asyncio.shield(self._end(begun, handled=False))
            raise
        if state in ("handled", "running"):
            await self._end(begun, handled=state == "handled")
            return 200 if state == "handled" else 503
        handled = False
        cancels = _cancels()
        scope = asyncio.timeout_at(until)
        try:
            async with scope:
                await self._handler(event)
            handled = True
        except (Exception, asyncio.CancelledError) as error:  # whatever the handler raises
            if isinstance(error, asyncio.CancelledError) and _cancels() > cancels:
                raise  # the server stops, or the sender is gone
            is_late = scope.expired()
            _log.exception("the handler %s a callback", "was too late with" if is_late else "failed on")
            return 503 if is_late else 500
        finally:
            # Also if the server stops in the middle.
            await asyncio.shield(self._end(keys, handled=handled))
        return 200

    async def _begin(self, keys: Sequence[str], begun: list[str]) -> State:
        """Ask about each key, up to the first that is not new: of two deliveries of one event, the first goes on."""
        for key in keys:
            state = await self._dedupe.begin(key)
            if state in ("handled", "running"):
                return state
            begun.append(key)
        return "new"

    async def _end(self, keys: Sequence[str], *, handled: bool) -> None:
        await asyncio.gather(*(_patiently(partial(self._dedupe.end, key, handled=handled)) for key in keys))


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T | None:
    """Return what a store answers; None if it fails or takes too long, which costs no more than a repeat."""
    cancels = _cancels()
    try:
        async with asyncio.timeout(PATIENCE):
            return await ask()
    except (Exception, asyncio.CancelledError) as error:  # whatever a store raises that the user brought
        if isinstance(error, asyncio.CancelledError) and _cancels() > cancels:
            raise
        _log.warning(OUTAGE, type(error).__name__)
        return None


def _cancels() -> int:
    """Return how often somebody asked this task to stop: a CancelledError without that is an error like any other."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


@attrs.frozen(eq=False)
class _Endpoint:
    """An ASGI app, so that Starlette hands the request over as it is."""

    webhooks: Webhooks
    rules: _Rules
    secret: tuple[str, ...] | None = attrs.field(repr=False)
    within: float | None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = await self.webhooks.receive(Request(scope, receive), self.rules, self.secret, self.within)
        # What was not read must not be taken for the next request.
        headers = {"connection": "close"} if status in {408, 413} else None
        await Response(status_code=status, headers=headers)(scope, receive, send)


def _checked(secret: Secret) -> tuple[str, ...] | None:
    return None if isinstance(secret, _Unverified) else secrets_of(secret)


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")


def _remembering(dedupe: DedupeStore | None, seconds: float, timeout: float) -> DedupeStore:
    """Return a memory that lasts for ``seconds``, or refuse one that is known not to.

    What is being handled must be remembered for longer than the ``timeout`` of the handler, too.
    """
    if dedupe is None:
        return MemoryDedupeStore(seconds=max(REMEMBERED_SECONDS, seconds))
    if isinstance(dedupe, (MemoryDedupeStore, RedisDedupeStore)) and dedupe.seconds < seconds:
        raise ConfigurationError(
            f"dedupe must remember for {seconds:g} s, twice the longest within, or what comes again is handled again; "
            f"got {dedupe.seconds:g} s"
        )
    if isinstance(dedupe, RedisDedupeStore) and dedupe.running_seconds <= timeout + PATIENCE:
        raise ConfigurationError(
            f"running_seconds of dedupe must be more than timeout and {PATIENCE:g} s, or an event is handled twice at a"
            f" time; got {dedupe.running_seconds} for a timeout of {timeout:g} s"
        )
    return dedupe
