"""One call, from start to finish: deadline, retry, quota permit, encode and sign, send, decode. Knows no vendor."""

import asyncio
import copy
import random
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from volc_moderation import telemetry
from volc_moderation.action import Action, complete
from volc_moderation.base_url import BaseURL
from volc_moderation.call_options import CallOptions
from volc_moderation.call_state import AttemptPermits, Call, Reply, SendAgain
from volc_moderation.client_state import CLOSED, ClientState
from volc_moderation.errors import (
    AuthenticationError,
    ConfigurationError,
    DeadlineExceeded,
    ModerationError,
    ThrottledError,
    describe,
)
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.log_events import LogEvent, code_of
from volc_moderation.quotas.permit import Priority, Quotas
from volc_moderation.renewed_keys import KeySource
from volc_moderation.retry import RetryPolicy, next_wait, outcome_unknown, retry_after
from volc_moderation.vendor_account import VendorAccount
from volc_moderation.wire import DecodedResponse, Request, Response

R = TypeVar("R")


class Client(VendorAccount):
    """The base class of all clients. A client belongs to the event loop in which it is first used."""

    def __init__(
        self,
        *,
        keys: KeySource[Any],
        base_url: str,
        quotas: Quotas | None,
        retry: RetryPolicy | None,
        deadline: float | None,
        timeout: float,
        http_client: AsyncHTTPClient | None,
        clock: Callable[[], float],
        priority: Priority,
    ) -> None:
        super().__init__()
        self._options = CallOptions.make(deadline=deadline, timeout=timeout, priority=priority, retry=retry)
        self._base_url = BaseURL.parse(base_url)
        #: Shared with the clients that ``with_options`` returns: all that changes.
        self._state = ClientState(base_url=self._base_url, quotas=quotas, http_client=http_client, clock=clock)
        #: Whether ``with_options`` has returned it.
        self._is_derived = False
        #: What signs the requests. Shared with the clients that ``with_options`` returns.
        self._keys: KeySource[Any] = keys

    def with_options(
        self,
        *,
        deadline: float | None = None,
        timeout: float | None = None,
        priority: Priority | None = None,
        retry: RetryPolicy | None = None,
    ) -> Self:
        """Return a client whose calls have other options, and that shares everything else with this one.

        It costs next to nothing: ``await client.with_options(deadline=3).stop_webcast(…)``. Connections, quotas and the
        event loop are shared. ``async with`` is for the first client; ``aclose()`` of either closes both.

        :param deadline: seconds above 0 for a whole call, including waits for the quota and retries; ``math.inf`` for
            no limit. None means this client's.
        :param timeout: seconds above 0 for one request. None means this client's.
        :param priority: ``"interactive"`` or ``"bulk"``. None means this client's.
        :param retry: attempts and back-off. None means this client's.

        Raises ``ConfigurationError`` for a wrong option.
        """
        derived = copy.copy(self)
        options = self._options.override(deadline=deadline, timeout=timeout, priority=priority, retry=retry)
        derived._options, derived._is_derived = options, True  # noqa: SLF001 - it is one of this class
        return derived

    def is_sibling_of(self, other: object) -> bool:
        """Return whether another client is this one, or differs from it by ``with_options`` only."""
        return isinstance(other, Client) and other._state is self._state  # noqa: SLF001 - of this class

    async def call(
        self,
        action: Action[R],
        *,
        deadline: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of one request, not of this call
        priority: Priority | None = None,
        retry: RetryPolicy | None = None,
        before_send: Callable[[], Awaitable[None]] | None = None,
        on_send: Callable[[], None] | None = None,
    ) -> Reply[R]:
        """Carry out an action.

        :param deadline: seconds above 0 for the whole call, including waits for the quota and retries; None means the
            client's own. If the next wait would pass it, the error of the last attempt is raised at once, with
            ``retry_after`` set.
        :param timeout: seconds above 0 for one request; None means the client's own.
        :param priority: ``"interactive"`` or ``"bulk"``: where calls wait for the quota, interactive ones go first.
            None means the client's own.
        :param retry: None means the client's own.
        :param before_send: awaited when a request has its permits and is about to be signed. If it raises, nothing is
            sent, and its exception is raised.
        :param on_send: called right before each request leaves. A call that is cancelled before the first of these has
            no effect at the vendor.

        Raises ``APIError`` if the vendor refuses, else ``TransportError``, ``DecodeError``, ``DeadlineExceeded``,
        ``QuotaUnavailable``; ``InvalidActionError`` if a required field has a value neither in the action nor in the
        client; or ``ConfigurationError`` if an argument is wrong, or the client is closed or belongs to another event
        loop.
        """
        if not self.accepts(action):
            raise ConfigurationError(f"{type(self).__name__} calls actions of its own vendor; got {describe(action)}")
        action = complete(action, self._action_defaults)
        loop = self._state.bind()
        options = self._options
        if not (deadline is None and timeout is None and priority is None and retry is None):
            options = options.override(deadline=deadline, timeout=timeout, priority=priority, retry=retry)
        expires_at = None if options.deadline is None else loop.time() + options.deadline
        call = Call(
            action,
            options,
            expires_at=expires_at,
            before_send=before_send,
            on_send=on_send,
            cancel_scope=asyncio.timeout_at(expires_at),
        )
        recorder = telemetry.active()
        if recorder is None:
            return await self._carry_out(call)
        url = self._base_url
        call.trace = recorder.begin_call(call, vendor=self.vendor, action=action.name, host=url.name, port=url.port)
        with call.trace:
            return await self._carry_out(call)

    async def _carry_out(self, call: Call[R]) -> Reply[R]:
        """Make the attempts of a call, until its deadline or the end of the client."""
        failure: ModerationError | None = None
        try:
            async with call.cancel_scope:
                try:
                    decoded = await self._attempt(call)
                except ModerationError as error:
                    failure = error
                if failure is not None:  # outside of the except block: errors of later attempts are not chained to it
                    decoded = await retry_after(failure, call, self._attempt, self._wait_after, self._state.sleep)
        except TimeoutError:
            if not call.cancel_scope.expired():
                raise
        except ModerationError as error:
            call.annotate(error)
            raise
        else:
            return call.reply(decoded)
        finally:
            self._state.unsent.discard(call)
        # Raised outside of the except block, so that no frame of httpx, with addresses and headers, is chained to it.
        if call.is_closed:
            closed = call.last_error or ConfigurationError(CLOSED)
            call.annotate(closed)
            raise closed
        late = DeadlineExceeded(f"not done within {call.options.deadline:g} s", maybe_sent=call.sent_at is not None)
        call.annotate(late)
        raise late from call.last_error

    async def _attempt(self, call: Call[R]) -> DecodedResponse[R]:
        """Make one attempt: send a request, decode its response and return its permits."""
        if call.last_error is not None and self._state.is_closed:
            raise call.last_error
        request, response, permits = await self._send(call)
        if call.trace is not None:
            call.trace.responded(response.status, response.round_trip)
        try:
            decoded = self._decode(call.action, request, response, repeated=call.maybe_done)
        except ThrottledError as error:
            permits.throttled(response.round_trip, error.code)
            if self.quota_of(type(call.action)).published:  # refusals are how the size of others is learned
                self._state.warn_throttled(self.vendor, call, error)
            raise
        except BaseException as error:
            permits.answered(response.round_trip)
            if isinstance(error, AuthenticationError) and error.retry_after == 0:
                self._state.learn_clock_skew(self.vendor, response)
            raise
        permits.answered(response.round_trip)
        if call.trace is not None:
            call.trace.succeeded(decoded.request_id)
        return decoded

    async def _send(self, call: Call[Any]) -> tuple[Request, Response, AttemptPermits]:
        """Acquire permits and send one request. Return it, its response and the permits, which have to be returned."""
        state, options = self._state, call.options
        loop, action, transport = asyncio.get_running_loop(), call.action, state.transport
        quota = self.quota_of(type(action))
        self._state.unsent.add(call)
        while True:
            if self._keys.current() is None:
                await self._keys.get()  # before there are permits that would be held meanwhile
            key = self._quota_key_of(action)
            permits = AttemptPermits(action)
            try:
                began = loop.time()
                try:
                    await permits.acquire(state.quotas, key, quota, options.priority)
                finally:
                    waited = loop.time() - began
                    call.waited += waited
                    call.permit_wait += waited
                await transport.gate.enter(options.priority)
                try:
                    if call.before_send is not None:
                        await call.before_send()
                    request = self._sign(call, permits)
                    return request, await transport.send(request, timeout=options.timeout), permits
                finally:
                    transport.gate.leave()
            except SendAgain:
                permits.abandoned(None)  # nothing was sent
            except BaseException:
                permits.abandoned(None if call.sent_at is None else loop.time() - call.sent_at)
                raise

    def _sign(self, call: Call[Any], permits: AttemptPermits) -> Request:
        """Encode and sign a request: the last step before it is sent, so that no wait makes its timestamp stale."""
        self._state.check_open()
        call.keys = self._keys.current()
        if call.keys is None or not permits.are_valid():
            raise SendAgain
        request = self._encode(call.action, call.keys, self._state.now())
        if call.on_send is not None:
            call.on_send()
        self._state.unsent.discard(call)
        call.attempts += 1
        call.sent_at = asyncio.get_running_loop().time()
        if call.trace is not None:
            call.trace.begin_attempt(request.method)
        return request

    @abstractmethod
    def _encode(self, action: Action[Any], keys: Any, now: float) -> Request:
        """Encode and sign one request.

        :param keys: what ``_keys`` has returned.
        :param now: the time of the signature, in Unix seconds.
        """

    @abstractmethod
    def _decode(self, action: Action[R], request: Request, response: Response, *, repeated: bool) -> DecodedResponse[R]:
        """Return the vendor's success, or raise its error. ``repeated``: an earlier attempt may have arrived."""

    def _wait_after(self, call: Call[Any], error: ModerationError) -> float | None:
        """Return the seconds to wait after a failed attempt; None if the call is over."""
        call.sent_at = None
        if call.trace is not None:
            call.trace.end_attempt(error)
        call.maybe_done = call.maybe_done or outcome_unknown(error)
        call.last_error = error
        call.annotate(error)
        if self._state.is_closed:
            return None
        wait: float | None
        if self._replaces_keys(call, error):
            wait = 0.0
        else:
            wait = next_wait(
                error,
                attempt=call.attempts,
                repeatable=call.action.repeatable,
                signed_again=call.signed_again,
                policy=call.options.retry,
                draw=random.random(),  # noqa: S311 - jitter
            )
        if wait is None:
            return None
        call.signed_again = call.signed_again or isinstance(error, AuthenticationError)
        if call.expires_at is not None and asyncio.get_running_loop().time() + wait >= call.expires_at:
            if error.retry_after is None:
                error.retry_after = wait
            return None
        LogEvent.CALL_RETRIED.log(
            "%s; attempt %d in %.1f s",
            *(error, call.attempts + 1, wait),
            vendor=self.vendor,
            action=call.action.name,
            code=code_of(error),
            attempt=call.attempts + 1,
            wait=wait,
        )
        return wait

    def _replaces_keys(self, call: Call[Any], error: ModerationError) -> bool:
        """Replace keys that the vendor has refused, once in a call. Return whether to repeat the call with others."""
        if call.has_replaced_keys or call.keys is None or not self._are_refused(call.keys, error):
            return False
        call.has_replaced_keys = True
        return self._keys.replace(call.keys)

    def _are_refused(self, keys: Any, error: ModerationError) -> bool:  # noqa: ARG002 - for those who override it
        """Return whether an error says that renewed keys may help."""
        return False

    @property
    def quotas(self) -> Quotas:
        """The store of permits in use.

        Unless one was given, it is that of the event loop in which the client is used: before the first call, this
        raises ``ConfigurationError`` if no loop is running.
        """
        return self._state.quotas

    @property
    def retry(self) -> RetryPolicy:
        """How often a call is attempted, and how long it waits in between."""
        return self._options.retry

    async def __aenter__(self) -> Self:
        if self._is_derived:  # the end of the block would close the client that others still use
            raise ConfigurationError("async with is for a client itself, not for what its with_options returns")
        self._state.bind()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client, and its HTTP client unless that one was given. Closing twice does nothing.

        The store of quotas is closed if ``from_env`` created it.

        Calls whose next request has not been sent end at once. Raises ``ConfigurationError`` in another event loop.
        """
        await self._state.aclose()
