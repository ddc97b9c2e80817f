"""What a client shares with the clients that ``with_options`` derives from it: one of them is as good as another."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from volc_moderation.base_url import BaseURL
from volc_moderation.call_state import Call
from volc_moderation.error_codes import clock_skew
from volc_moderation.errors import ConfigurationError, ThrottledError, describe
from volc_moderation.http_clients import AsyncHTTPClient
from volc_moderation.log_events import LogEvent, Repeats, code_of
from volc_moderation.quotas.environment import SharedQuotas  # noqa: TC001 - in the type of an attribute
from volc_moderation.quotas.permit import Quotas
from volc_moderation.quotas.window import SHARING_HINT, WindowQuotas, default_quotas
from volc_moderation.transport import Transport
from volc_moderation.wire import Response

MIN_SKEW_LOGGED = 5.0  # seconds


class ClientState:
    """The event loop, the HTTP client, the store of quotas and the calls of a client.

    :param quotas: the store; None for the one that all clients of the event loop share.
    :param clock: returns the Unix time.

    Raises ``ConfigurationError`` for a wrong option.
    """

    def __init__(
        self,
        *,
        base_url: BaseURL,
        quotas: Quotas | None,
        http_client: AsyncHTTPClient | None,
        clock: Callable[[], float],
    ) -> None:
        for name, option, is_right, rule in (
            ("quotas", quotas, quotas is None or hasattr(quotas, "acquire"), "a store of quotas"),
            ("clock", clock, callable(clock), "a callable that returns the Unix time"),
        ):
            if not is_right:
                raise ConfigurationError(f"{name} must be {rule}; got {describe(option)}")
        self.transport = Transport(http_client, base_url=base_url)
        self._quotas = quotas
        #: The store that the client closes: one that ``from_env`` has created.
        self.owned_quotas: SharedQuotas | None = None
        self._clock = clock
        #: Seconds by which the vendor's clock is ahead of ours, learned when it refuses a timestamp.
        self._clock_skew = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._was_closed = False
        #: Set when the client is closed.
        self.closing = asyncio.Event()
        #: Calls that have not sent their next request yet. Closing the client ends them at once.
        self.unsent: set[Call[Any]] = set()
        #: Throttled responses, by action.
        self._throttled = Repeats()

    def now(self) -> float:
        """Return the Unix time of the vendor, as far as it is known."""
        return self._clock() + self._clock_skew

    def learn_clock_skew(self, vendor: str, response: Response) -> None:
        """Learn from a response how far the vendor's clock is ahead of ours."""
        skew = clock_skew(response, self._clock())
        if abs(skew - self._clock_skew) > MIN_SKEW_LOGGED:
            text = "the clock of this machine is %.0f s %s that of %s: signatures use the vendor's time"
            direction = "behind" if skew > 0 else "ahead of"
            LogEvent.CLOCK_CORRECTED.log(text, abs(skew), direction, vendor, vendor=vendor, seconds=skew)
        self._clock_skew = skew

    def bind(self) -> asyncio.AbstractEventLoop:
        """Bind the client to the running loop, if it is not yet bound, and return that loop.

        Raises ``ConfigurationError`` if it is closed, or bound to another loop.
        """
        self.check_open()
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._quotas = self.quotas
        if self._loop is not loop:
            raise ConfigurationError(_OTHER_LOOP)
        return loop

    @property
    def quotas(self) -> Quotas:
        """The store of permits in use. Raises ``ConfigurationError`` if it is that of a loop, and none is running."""
        if self._quotas is not None:
            return self._quotas
        try:
            return default_quotas()
        except RuntimeError:
            reason = "the client uses the quotas of its event loop, and none is running: await a call, or give quotas="
        raise _NoLoopError(reason)

    @property
    def is_closed(self) -> bool:
        """Whether the client can send no more requests."""
        return self._was_closed or self.transport.is_closed

    def check_open(self) -> None:
        """Raise ``ConfigurationError`` if the client is closed."""
        if self.is_closed:
            raise ConfigurationError(CLOSED if self._was_closed else "the http_client is closed")

    async def sleep(self, call: Call[Any], seconds: float) -> None:
        """Wait for the next attempt of a call, or until the client closes."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self.closing.wait()
        finally:
            call.waited += loop.time() - began

    async def aclose(self) -> None:
        """End the calls whose next request has not been sent, and close what is the client's own."""
        if self._loop not in (None, asyncio.get_running_loop()):
            raise ConfigurationError(_OTHER_LOOP)
        self._was_closed = True
        self.closing.set()
        now = asyncio.get_running_loop().time()
        for call in self.unsent:
            if not call.cancel_scope.expired():
                call.cancel_scope.reschedule(now)
                call.is_closed = True
        await self.transport.aclose()
        if self.owned_quotas is not None:
            await self.owned_quotas.aclose()

    def warn_throttled(self, vendor: str, call: Call[Any], error: ThrottledError) -> None:
        """Log a throttled response, but not each one: many come at once."""
        name = call.action.name
        count = self._throttled.count(name, asyncio.get_running_loop().time())
        if count is None:
            return
        call.annotate(error)
        hint = SHARING_HINT if isinstance(self._quotas, WindowQuotas) else ""
        text = "%s: other programs use the quota too, or it is smaller than documented%s"
        code = code_of(error)
        LogEvent.CALLS_THROTTLED.log(text, error, hint, vendor=vendor, action=name, code=code, count=count)


class _NoLoopError(ConfigurationError, AttributeError):
    """An ``AttributeError``, too, so that ``hasattr`` works without a loop, and with it test doubles of a client."""


CLOSED = "the client is closed"
_OTHER_LOOP = "the client belongs to another event loop; make one client per loop"
