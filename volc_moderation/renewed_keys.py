"""Keys that are fetched, and renewed before they expire: one refresh at a time, however many calls wait for it.

``KeySource`` is what a client needs of its keys. ``FixedKeys`` never change, ``RenewedKeys`` do. Knows no vendor.
"""

import asyncio
import contextvars
import copy
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, Self, TypeVar

from volc_moderation import telemetry
from volc_moderation.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ModerationError,
    ServerError,
    TemporaryError,
    ThrottledError,
)
from volc_moderation.log_events import LogEvent, Repeats
from volc_moderation.telemetry import Metric

K = TypeVar("K")
K_co = TypeVar("K_co", covariant=True)

#: Keys are renewed in the background from this time before they expire; short-lived keys after half of their life.
RENEW_BEFORE = 300.0  # seconds
#: The start of a renewal is drawn from this part of that time, so that many processes do not renew at once.
RENEWAL_JITTER = 0.2
#: From this time before they expire, calls wait for new keys; with short-lived keys, in the last tenth of their life.
WAIT_BEFORE = 60.0  # seconds
#: While no new keys can be had, the old ones are used until this time before they expire: a request takes time.
LAST_USE_BEFORE = 2.0  # seconds
#: Keys without an expiry are fetched again after this time: they may have been replaced.
RECHECK_INTERVAL = 60.0  # seconds
#: A refresh that takes longer has failed.
REFRESH_TIMEOUT = 60.0  # seconds
#: A call waits for so many refreshes: its keys may be refused to others before it can use them.
MAX_REFRESHES_OF_A_CALL = 3
#: The longest pause after a first failed attempt, and after a first failed refresh. It doubles with each further one,
#: up to ``MAX_PAUSE``.
FIRST_PAUSE = 1.0  # seconds
MAX_PAUSE = 20.0  # seconds
#: Refused keys are replaced at most this often: if new keys are refused as well, the keys are not what is wrong.
MIN_REPLACEMENT_INTERVAL = 10.0  # seconds

#: The code of the ``AuthenticationError`` that says that there are no valid keys.
NO_CREDENTIALS = "NoCredentials"


class NotConfiguredError(ConfigurationError):
    """A provider has nothing that it could get credentials from, so that a chain asks the next one."""


class NoKeysError(AuthenticationError):
    """There are no valid keys.

    :param source: the name of what they would come from.
    :param reason: why there are none, without a secret.
    :param is_unconfigured: whether that is because nothing is set up that they could come from.
    """

    def __init__(self, source: str, reason: str, *, is_unconfigured: bool = False) -> None:
        super().__init__(f"no valid keys: {source}: {reason}", code=NO_CREDENTIALS)
        self.source = source
        self.reason = reason
        self.is_unconfigured = is_unconfigured

    @classmethod
    def of(cls, source: str, error: Exception) -> Self:
        """Create it for what a source has raised. Only the errors of this package are known to show no secret."""
        if isinstance(error, NoKeysError):  # of a source that the source uses
            return cls(source, f"{error.source}: {error.reason}")
        if isinstance(error, ModerationError):
            return cls(source, str(error), is_unconfigured=isinstance(error, NotConfiguredError))
        return cls(source, type(error).__name__)

    def log(self) -> None:
        """Log that there are none."""
        LogEvent.KEYS_UNAVAILABLE.log("%s", self.message, provider=self.source)


class KeySource(Protocol[K]):
    """Where a client gets its keys."""

    def current(self) -> K | None:
        """Return valid keys, or None if the caller has to wait for them with ``get``."""

    async def get(self) -> K:
        """Wait for valid keys. Raises ``AuthenticationError`` if there are none."""

    def replace(self, refused: K) -> bool:
        """Replace keys that the vendor has refused. Return whether a call with others is worth a try."""


class FixedKeys(Generic[K]):
    """Keys that never change."""

    def __init__(self, keys: K) -> None:
        self._keys = keys

    def current(self) -> K | None:
        """Return the keys."""
        return self._keys

    async def get(self) -> K:
        """Return the keys."""
        return self._keys

    def replace(self, refused: K) -> bool:  # noqa: ARG002 - the contract of KeySource
        """Return False: there are no others."""
        return False


class RenewedKeys(Generic[K]):
    """Keys that are fetched, and renewed before they expire.

    :param fetch: returns new keys. It raises ``ModerationError`` with a text that shows no secret; of any other
        exception, only the type is shown.
    :param expires_at: returns when keys expire, in Unix seconds; None if they do not.
    :param name: says in errors and log records what the keys are.
    :param clock: returns the Unix time.
    :param attempts: how often a refresh tries to fetch keys if the fault may pass; for a ``fetch`` that does not do so
        itself.
    :param recheck_interval: seconds after which keys without an expiry are fetched again.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[K]],
        *,
        expires_at: Callable[[K], float | None],
        name: str,
        clock: Callable[[], float] = time.time,
        attempts: int = 1,
        recheck_interval: float = RECHECK_INTERVAL,
    ) -> None:
        #: What the keys are. It may become more precise when they are fetched.
        self.name = name
        self._fetch = fetch
        self._expires_at = expires_at
        self._clock = clock
        self._attempts = attempts
        self._recheck_interval = recheck_interval
        self._keys: K | None = None
        #: When the keys were fetched: on the wall clock, which may step, and on the loop's, which a suspend may stop.
        self._fetched = self._fetched_loop_time = 0.0
        #: The ages in seconds at which they are renewed, at which calls wait for new ones, and of their last use.
        self._renew_age = self._wait_age = self._last_age = -math.inf
        self._refresh: asyncio.Task[None] | None = None
        self._error: NoKeysError | None = None
        self._failures = 0
        #: No refresh is tried before this time, on the loop's clock.
        self._paused_until = -math.inf
        #: Whether the vendor has refused the keys, and when that was last so, on the loop's clock.
        self._is_refused = False
        self._refused_at = -math.inf
        self._repeats = Repeats()

    def current(self) -> K | None:
        """Return valid keys, or None if the caller has to wait for them with ``get``.

        Starts a refresh in the background if it is time for one.
        """
        age = self._age()
        if age < self._renew_age:
            return self._keys
        if age >= self._wait_age:
            # A refresh has just failed if none may be tried now. Until the next one, old keys are better than none.
            return self._keys if age < self._last_age and not self._is_refreshing() and not self._may_try() else None
        if self._may_try():
            self._start()
        return self._keys

    async def get(self) -> K:
        """Wait for valid keys. Raises ``AuthenticationError`` if there are none.

        If the caller is cancelled, the refresh goes on for the others.
        """
        for _ in range(MAX_REFRESHES_OF_A_CALL):
            keys = self.current()
            if keys is not None:
                return keys
            if not (self._is_refreshing() or self._may_try()):
                break
            await asyncio.wait([self._start()])
            if self._error is not None:
                break
        keys = self.current()
        if keys is not None:
            return keys
        # A copy, since each call adds to its error what is known of the call.
        raise copy.copy(self._error or NoKeysError(self.name, "the refresh was cancelled"))

    def replace(self, refused: K) -> bool:
        """Replace keys that the vendor has refused: the next ``get`` waits for others.

        Return whether a call with others is worth a try. It is not if these have just replaced others.
        """
        if self._is_refused or refused != self._keys:
            return True  # they are being renewed, or have been
        now = asyncio.get_running_loop().time()
        if now < self._refused_at + MIN_REPLACEMENT_INTERVAL:
            if self._is_worth_logging(LogEvent.KEYS_REFUSED):
                LogEvent.KEYS_REFUSED.log(
                    "%s: new keys are refused, as the old ones were", self.name, provider=self.name
                )
            return False
        self._refused_at = now
        self._is_refused = True
        self._renew_age = self._wait_age = self._last_age = self._paused_until = -math.inf
        return True

    def _age(self) -> float:
        """Return the age of the keys in seconds, by the clock that says more."""
        loop_time = asyncio.get_running_loop().time()
        return max(self._clock() - self._fetched, loop_time - self._fetched_loop_time)

    def _may_try(self) -> bool:
        return asyncio.get_running_loop().time() >= self._paused_until

    def _is_refreshing(self) -> bool:
        # A refresh of another loop is of no use here: that loop may be closed.
        return self._refresh is not None and self._refresh.get_loop() is asyncio.get_running_loop()

    def _start(self) -> "asyncio.Task[None]":
        """Return the refresh that runs, or start one."""
        if self._refresh is None or not self._is_refreshing():
            # In a context of its own, because it does not belong to the call that happens to start it.
            self._refresh = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())
        return self._refresh

    async def _run(self) -> None:
        try:
            failure = await self._try_to_fetch()
        finally:
            if self._refresh is asyncio.current_task():
                self._refresh = None
        if failure is None or not failure.is_unconfigured:
            telemetry.count(Metric.CREDENTIAL_REFRESHES, "renewed" if failure is None else "failed")
        if failure is not None:
            self._fail(failure)

    async def _try_to_fetch(self) -> NoKeysError | None:
        """Fetch keys. Return why that failed, or None."""
        failure = None
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT):
                for attempt in range(self._attempts):
                    if attempt:
                        await asyncio.sleep(_pause_after(attempt - 1))
                    try:
                        return self._accept(await self._fetch())
                    except Exception as error:  # noqa: BLE001 - whatever a provider of the user raises
                        failure = NoKeysError.of(self.name, error)
                        if not _may_pass(error):
                            break
        except TimeoutError:
            failure = NoKeysError(self.name, f"no keys within {REFRESH_TIMEOUT:g} s")
        return failure

    def _accept(self, keys: K) -> NoKeysError | None:
        """Use new keys from now on. Return what is wrong with them, or None."""
        expires_at, now, loop_time = self._expires_at(keys), self._clock(), asyncio.get_running_loop().time()
        life: float | None = None
        if expires_at is None:
            self._renew_age, self._wait_age, self._last_age = self._recheck_interval, math.inf, math.inf
        else:
            life = expires_at - now
            if life <= 0:
                return NoKeysError(self.name, "the keys have expired already")
            jitter = 1 - RENEWAL_JITTER * random.random()  # noqa: S311 - not for security
            self._renew_age = life - min(RENEW_BEFORE, life / 2) * jitter
            self._wait_age = life - min(WAIT_BEFORE, life / 10)
            self._last_age = life - min(LAST_USE_BEFORE, life / 10)
        if life is not None and keys == self._keys:
            self._pause(loop_time)  # it renews them late: to ask at once again would be useless
        else:
            self._failures = 0
        if self._keys is not None and keys != self._keys:
            LogEvent.KEYS_RENEWED.log(
                "%s: renewed%s",
                self.name,
                "" if life is None else f", for {life:.0f} s",
                provider=self.name,
                lifetime=None if life is None else round(life),
            )
        self._keys, self._fetched, self._fetched_loop_time = keys, now, loop_time
        self._error, self._is_refused = None, False
        return None

    def _fail(self, failure: NoKeysError) -> None:
        """Take note of a failed refresh."""
        self._error = failure
        self._pause(asyncio.get_running_loop().time())
        left = -1.0 if self._keys is None else self._last_age - self._age()
        if left > 0:
            if self._is_worth_logging(LogEvent.KEYS_NOT_RENEWED):
                LogEvent.KEYS_NOT_RENEWED.log(
                    "%s: not renewed, the keys in use remain valid: %s",
                    self.name,
                    failure.reason,
                    provider=self.name,
                    lifetime=None if math.isinf(left) else round(left),
                )
        elif not failure.is_unconfigured and self._is_worth_logging(LogEvent.KEYS_UNAVAILABLE):
            failure.log()

    def _pause(self, loop_time: float) -> None:
        self._paused_until = loop_time + _pause_after(self._failures)
        self._failures += 1

    def _is_worth_logging(self, event: LogEvent) -> bool:
        """Return whether an event was not logged in the last minute."""
        return self._repeats.count(event, asyncio.get_running_loop().time()) is not None


def _may_pass(error: Exception) -> bool:
    """Return whether the next attempt may succeed."""
    if isinstance(error, (ThrottledError, TemporaryError, ServerError)):
        return True
    return not isinstance(error, (APIError, ConfigurationError))


def _pause_after(failures: int) -> float:
    """Return the seconds to pause after a failure, which came after a number of others."""
    return min(MAX_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10)) * (0.5 + random.random() / 2)  # noqa: S311 - jitter
