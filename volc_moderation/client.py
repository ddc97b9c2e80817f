"""One call, from start to finish: deadline, retry, quota permit, encode and sign, send, decode. Knows no vendor."""

import asyncio
import contextlib
import logging
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Self, TypedDict, TypeVar, Unpack

import attrs

from volc_moderation.action import Action, Quota, actions_below
from volc_moderation.call import Call, PermitLost, Reply
from volc_moderation.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    ModerationError,
    ThrottledError,
    describe,
)
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey, Quotas, is_valid
from volc_moderation.quotas.window import quotas_of_running_loop
from volc_moderation.retry import RetryPolicy, next_wait, outcome_unknown, retrying
from volc_moderation.transport import AsyncHTTPClient, BaseURL, Transport
from volc_moderation.wire import Answer, Request, Response

R = TypeVar("R")

#: Seconds: thirty years.
FOR_EVER = 1e9

#: Seconds for one request, from connecting to the last byte: what the vendor's Go SDK allows.
DEFAULT_TIMEOUT = 10.0

#: Seconds until refusals of one action for its rate are logged again.
WARN_AGAIN = 60.0

_log = logging.getLogger("volc_moderation")


class ClientOptions(TypedDict, total=False):
    """The settings that the clients of all vendors share."""

    base_url: str
    quotas: Quotas | None
    retry: RetryPolicy | None
    deadline: float | None
    timeout: float
    http_client: AsyncHTTPClient | None
    clock: Callable[[], float]
    priority: Priority


class Client(ABC):
    """What the clients of all vendors share. It belongs to the event loop in which it is first used."""

    vendor: ClassVar[str]
    #: The base class of the vendor's actions.
    _actions: ClassVar[type[Action[Any]]]

    def __init__(
        self,
        *,
        base_url: str,
        quotas: Quotas | None,
        retry: RetryPolicy | None,
        deadline: float | None,
        timeout: float,
        http_client: AsyncHTTPClient | None,
        clock: Callable[[], float],
        priority: Priority,
    ) -> None:
        for name, setting, is_right, rule in (
            ("quotas", quotas, quotas is None or hasattr(quotas, "acquire"), "a store of quotas"),
            ("retry", retry, retry is None or isinstance(retry, RetryPolicy), "a RetryPolicy"),
            ("clock", clock, callable(clock), "a callable that returns the Unix time"),
        ):
            if not is_right:
                raise ConfigurationError(f"{name} must be {rule}; got {describe(setting)}")
        self._base_url = BaseURL.make(base_url)
        self._quotas = quotas
        self._retry = RetryPolicy() if retry is None else retry
        self._deadline = _seconds("deadline", deadline)
        self._priority = _priority(priority)
        self._clock = clock
        # How far the vendor's clock is ahead of ours, learned when it refuses a timestamp.
        self._skew = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._closing = asyncio.Event()
        #: Calls that have not sent their next request yet, which closing ends at once.
        self._unsent: set[Call[Any]] = set()
        #: When a refusal for the rate was last logged, by action, on the loop's clock.
        self._warned_at: dict[str, float] = {}
        seconds = _seconds("timeout", timeout)
        if seconds is None:
            raise ConfigurationError("timeout must be finite: a request that hangs for ever holds its permit for ever")
        self._transport = Transport(http_client, timeout=seconds, base_url=self._base_url)

    @classmethod
    def actions(cls) -> dict[str, type[Action[Any]]]:
        """Return all actions of the vendor by name, those that you have made included."""
        return actions_below(cls._actions)

    @classmethod
    @abstractmethod
    def from_env(cls, **options: Unpack[ClientOptions]) -> Self:
        """Make a client with the keys of the environment."""

    @classmethod
    def accepts(cls, action: Action[Any]) -> bool:
        """Tell whether an action is one of the vendor's."""
        return isinstance(action, cls._actions)

    @property
    @abstractmethod
    def account(self) -> str:
        """What the vendor counts calls by."""

    def quota_of(self, action: type[Action[Any]]) -> Quota:
        """Return the documented quota of an action."""
        return action.quota

    @property
    def quotas(self) -> Quotas | None:
        """The store of permits that is used; None until the first call, unless one was given."""
        return self._quotas

    @property
    def retry(self) -> RetryPolicy:
        """How often a call is attempted."""
        return self._retry

    @abstractmethod
    def _encode(self, action: Action[Any], now: float) -> Request:
        """Encode and sign one request; ``now`` is the time of the signature, in Unix seconds."""

    @abstractmethod
    def _decode(self, action: Action[R], request: Request, response: Response, *, repeated: bool) -> Answer[R]:
        """Return the vendor's yes, or raise its no. ``repeated`` tells that an earlier attempt may have arrived."""

    async def __aenter__(self) -> Self:
        self._bind()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client, and its HTTP client unless that came from outside. Closing twice does nothing."""
        if self._loop not in (None, asyncio.get_running_loop()):
            raise ConfigurationError(_OTHER_LOOP)
        self._closed = True
        self._closing.set()
        now = asyncio.get_running_loop().time()
        for call in self._unsent:
            if not call.scope.expired():
                call.scope.reschedule(now)
                call.is_closed = True
        await self._transport.aclose()

    async def call(
        self,
        action: Action[R],
        *,
        deadline: float | None = None,
        priority: Priority | None = None,
        retry: RetryPolicy | None = None,
        before_send: Callable[[], Awaitable[None]] | None = None,
        on_send: Callable[[], None] | None = None,
    ) -> Reply[R]:
        """Carry out an action.

        ``deadline`` is in seconds, for the whole call, waits for the quota and retries included; None means the
        client's own. If the next wait would pass it, the error of the last attempt is raised at once, with
        ``retry_after`` set. ``priority`` is ``"interactive"`` or ``"bulk"``: where calls wait for the quota,
        interactive ones go first; None means the client's own. So it does for ``retry``. ``before_send`` is awaited
        when a request has its permit and is about to be signed; if it raises, nothing is sent, and that is raised.
        ``on_send`` is called right before each request leaves: until then, a call that is cancelled has had no effect.

        Raises ``APIError`` if the vendor refuses, else ``TransportError``, ``DecodeError``, ``DeadlineExceeded``,
        ``QuotaUnavailable``, or ``ConfigurationError`` if the client is closed or belongs to another event loop.
        """
        if not self.accepts(action):
            raise ConfigurationError(f"{type(self).__name__} calls actions of its own vendor; got {describe(action)}")
        loop = self._bind()
        limit = self._deadline if deadline is None else _seconds("deadline", deadline)
        priority = self._priority if priority is None else _priority(priority)
        expires = None if limit is None else loop.time() + limit
        call = Call(
            action,
            priority,
            self._retry if retry is None else retry,
            expires=expires,
            before_send=before_send,
            on_send=on_send,
            scope=asyncio.timeout_at(expires),
        )
        try:
            async with call.scope:
                answer = await retrying(
                    partial(self._attempt, call), partial(self._wait_after, call), partial(self._sleep, call)
                )
        except TimeoutError:
            if not call.scope.expired():
                raise
        except ModerationError as error:
            call.describe(error)
            raise
        else:
            return Reply(
                result=answer.result,
                request_id=answer.request_id,
                log_id=answer.log_id,
                attempts=call.attempts,
                waited=call.waited,
            )
        finally:
            self._unsent.discard(call)
        # Out of the except block, so that what httpx was doing, address and headers included, is not chained to it.
        if call.is_closed:
            ended = call.last_error or ConfigurationError(_CLOSED)
            call.describe(ended)
            raise ended
        late = DeadlineExceeded(f"not done within {limit:g} s", maybe_sent=call.sent_at is not None)
        call.describe(late)
        raise late from call.last_error

    async def _attempt(self, call: Call[R]) -> Answer[R]:
        if self._is_closed and call.last_error is not None:
            raise call.last_error
        request, response, permits = await self._send(call)
        throttled: Permit | None = None
        try:
            return self._decode(call.action, request, response, repeated=call.maybe_done)
        except AuthenticationError as error:
            if error.retry_after == 0:
                self._learn_skew(response)
            raise
        except ThrottledError as error:
            self._warn(call, error)
            if error.code not in call.action.room_throttle_codes:
                throttled = permits[-1]
            elif call.action.room_quota is not None:  # else it tells of no quota that is known
                throttled = permits[0]
            raise
        finally:
            for permit in permits:
                if permit is throttled:
                    permit.throttled(response.round_trip)
                else:
                    permit.answered(response.round_trip)

    async def _send(self, call: Call[Any]) -> tuple[Request, Response, list[Permit]]:
        """Send one request with the permits that it needs, and return it with its answer."""
        loop = asyncio.get_running_loop()
        self._unsent.add(call)
        while True:
            permits: list[Permit] = []
            try:
                asked = loop.time()
                try:
                    await self._acquire(call.action, call.priority, permits)
                finally:
                    call.waited += loop.time() - asked
                request, response = await self._transport.send(partial(self._sign, call, permits), call.priority)
            except BaseException as error:
                for permit in permits:
                    permit.abandoned(None if call.sent_at is None else loop.time() - call.sent_at)
                if not isinstance(error, PermitLost):
                    raise
            else:
                return request, response, permits

    async def _acquire(self, action: Action[Any], priority: Priority, permits: list[Permit]) -> None:
        """Add the permits that an action needs, the room's first: it may take long, and the other is not to wait."""
        assert self._quotas is not None  # noqa: S101 - set by _bind
        key, quota = QuotaKey(self.vendor, self.account, action.name), self.quota_of(type(action))
        if action.room_quota is not None:
            of_room = attrs.evolve(key, room=getattr(action, "room_id"))  # noqa: B009 - by the contract of room_quota
            permits.append(await self._quotas.acquire(of_room, action.room_quota, priority))
        permits.append(await self._quotas.acquire(key, quota, priority))

    async def _sign(self, call: Call[Any], permits: list[Permit]) -> Request:
        """Encode and sign: the last thing before sending, so that no wait makes a timestamp stale."""
        if call.before_send is not None:
            await call.before_send()
        self._check_open()
        if not all(is_valid(permit) for permit in permits):
            raise PermitLost
        request = self._encode(call.action, self._clock() + self._skew)
        if call.on_send is not None:
            call.on_send()
        self._unsent.discard(call)
        call.attempts += 1
        call.sent_at = asyncio.get_running_loop().time()
        return request

    def _warn(self, call: Call[Any], error: ThrottledError) -> None:
        """Log a refusal for the rate: once in a while, for they come in crowds."""
        now, action = asyncio.get_running_loop().time(), call.action
        # Of a quota that is not published, a refusal is how its size is learned.
        if self.quota_of(type(action)).published and now >= self._warned_at.get(action.name, -math.inf) + WARN_AGAIN:
            self._warned_at[action.name] = now
            call.describe(error)
            _log.warning("%s: other programs use the quota too, or it is smaller than documented", error)

    def _wait_after(self, call: Call[Any], error: ModerationError) -> float | None:
        call.sent_at = None
        call.maybe_done = call.maybe_done or outcome_unknown(error)
        call.last_error = error
        call.describe(error)
        if self._is_closed:
            return None
        wait = next_wait(
            error,
            attempt=call.attempts,
            repeatable=call.action.repeatable,
            signed_again=call.signed_again,
            policy=call.retry,
            draw=random.random(),  # noqa: S311 - jitter
        )
        if wait is None:
            return None
        call.signed_again = call.signed_again or isinstance(error, AuthenticationError)
        if call.expires is not None and asyncio.get_running_loop().time() + wait >= call.expires:
            if error.retry_after is None:
                error.retry_after = wait
            return None
        _log.info("%s; attempt %d in %.1f s", error, call.attempts + 1, wait)
        return wait

    async def _sleep(self, call: Call[Any], seconds: float) -> None:
        """Wait for the next attempt, or for the end of the client."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._closing.wait()
        finally:
            call.waited += loop.time() - began

    def _learn_skew(self, response: Response) -> None:
        try:
            date = parsedate_to_datetime(response.headers.get("date", ""))
            self._skew = date.replace(tzinfo=date.tzinfo or UTC).timestamp() - self._clock()
        except (ValueError, OverflowError):
            self._skew = 0.0

    def _bind(self) -> asyncio.AbstractEventLoop:
        self._check_open()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            if self._quotas is None:
                self._quotas = quotas_of_running_loop()
        if self._loop is not loop:
            raise ConfigurationError(_OTHER_LOOP)
        return loop

    @property
    def _is_closed(self) -> bool:
        return self._closed or self._transport.is_closed

    def _check_open(self) -> None:
        if self._is_closed:
            raise ConfigurationError(_CLOSED if self._closed else "the http_client is closed")


_OTHER_LOOP = "the client belongs to another event loop; make one client per loop"
_CLOSED = "the client is closed"


def _priority(priority: Priority) -> Priority:
    if priority not in ("interactive", "bulk"):
        raise ConfigurationError(f"priority must be 'interactive' or 'bulk'; got {describe(priority)}")
    return priority


def _seconds(name: str, value: float | None) -> float | None:
    """Check a span of time. None means no limit, and so does more than anybody waits, such as infinity."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ConfigurationError(f"{name} must be a number of seconds above 0; got {describe(value)}")
    return None if value >= FOR_EVER else float(value)
