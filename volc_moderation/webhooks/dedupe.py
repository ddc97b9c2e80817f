"""Which events have been handled, so that a repeated delivery is not handled twice."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Literal, Protocol, cast

from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.redis_client import cancellable, client_of

#: ``new``: handle it. ``running``: another delivery of it is being handled. ``handled``: nothing is left to do.
State = Literal["new", "running", "handled"]

_log = logging.getLogger("volc_moderation")


#: Seconds that an event is remembered unless another time is given.
REMEMBERED_SECONDS = 3600


class DedupeStore(Protocol):
    """A memory of events, by their ``dedupe_key``: a short text in ASCII.

    It should remember an event for twice the ``within`` of the ``Webhooks``, from as far ahead to as far back. If it
    raises, or takes more than a second, ``Webhooks`` goes on as if the event were new.
    """

    async def begin(self, key: str) -> State:
        """Tell what is known of an event; a new one is taken note of as running."""

    async def end(self, key: str, *, handled: bool) -> None:
        """Note that an event that was new was handled, or was not and is new again."""


class MemoryDedupeStore:
    """In the memory of the process: at most ``most`` events, the last ones, each for ``seconds``.

    Raises ``ConfigurationError`` for a wrong setting.
    """

    def __init__(
        self,
        most: int = 100_000,
        seconds: float = REMEMBERED_SECONDS,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("most", most), ("seconds", seconds)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ConfigurationError(f"{name} must be a number above 0; got {describe(value)}")
        self._most = most
        self.seconds = seconds
        self._clock = clock
        self._running: set[str] = set()
        self._handled: dict[str, float] = {}  # until when, in order

    async def begin(self, key: str) -> State:
        """Tell what is known of an event."""
        self._forget_old()
        if key in self._running:
            return "running"
        if key in self._handled:
            return "handled"
        self._running.add(key)
        return "new"

    async def end(self, key: str, *, handled: bool) -> None:
        """Note how the handling ended."""
        self._running.discard(key)
        if handled:
            self._handled[key] = self._clock() + self.seconds
            self._forget_old()

    def _forget_old(self) -> None:
        now = self._clock()
        while self._handled:
            key, until = next(iter(self._handled.items()))
            if until > now and len(self._handled) <= self._most:
                break
            del self._handled[key]


class Redis(Protocol):
    """What is asked of a ``redis.asyncio`` client, or one that is like it."""

    async def eval(self, script: str, numkeys: int, *keys_and_args: str) -> object:
        """Run a script."""

    async def aclose(self) -> None:
        """Close the connections."""


#: Seconds that a store has for an answer: the vendors do not wait long either.
PATIENCE = 1.0

#: What is told if it has none. The error itself is left out: its text may hold an address with a password.
OUTAGE = "repeated callbacks cannot be told from new ones: %s"

#: Begin: running for a short time, in case this process dies. The value names who runs it.
_BEGIN = """
local found = redis.call('GET', KEYS[1])
if not found then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) return 'new' end
return found == 'handled' and 'handled' or 'running'
"""

#: End, unless the time ran out and another one runs it now.
_END = """
local found = redis.call('GET', KEYS[1])
if found and found ~= ARGV[1] then return end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], 'handled', 'EX', ARGV[2]) end
"""


class RedisDedupeStore:
    """In Redis or Valkey, for all processes that use the same one.

    If it cannot be asked, an event counts as new: one that is handled twice is better than one that is lost.

    :param client: a ``redis.asyncio`` client, which whoever made it closes, or an address like ``redis://host:6379/0``
        (extra ``redis``); one per event loop.
    :param seconds: how long an event is remembered, on the server's clock.
    :param running_seconds: after which an event whose process died in the middle may be handled by another one; more
        than the ``timeout`` of the ``Webhooks`` and a second.

    Raises ``ConfigurationError`` for a wrong setting, without the address, or if the extra is not installed.
    """

    def __init__(
        self,
        client: object,
        *,
        prefix: str = "volc_moderation:seen:",
        seconds: int = REMEMBERED_SECONDS,
        running_seconds: int = 10,
    ) -> None:
        for name, value in (("seconds", seconds), ("running_seconds", running_seconds)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name} must be an int of at least 1; got {describe(value)}")
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix must be a str; got {describe(prefix)}")
        self._is_own = isinstance(client, str)
        # The address is replaced, so that no traceback of what follows shows it.
        client = client_of(client, needs="eval", wanted_by="RedisDedupeStore", patience=PATIENCE)
        if isinstance(client, ConfigurationError):
            raise client
        self._redis = cast("Redis", client)
        self._prefix = prefix
        self.seconds = seconds
        self.running_seconds = running_seconds
        self._me = secrets.token_hex(8)

    async def aclose(self) -> None:
        """Close the connections that were made to an address."""
        if self._is_own:
            await self._redis.aclose()

    async def begin(self, key: str) -> State:
        """Tell what is known of an event."""
        answer = await self._ask(_BEGIN, key, self.running_seconds)
        if answer in {"running", "handled"}:
            return answer
        return "new"

    async def end(self, key: str, *, handled: bool) -> None:
        """Note how the handling ended."""
        await self._ask(_END, key, self.seconds if handled else 0)

    async def _ask(self, script: str, key: str, seconds: int) -> object:
        try:
            async with asyncio.timeout(PATIENCE):
                asked = self._redis.eval(script, 1, self._prefix + key, self._me, str(seconds))
                answer = await cancellable(asked)
        except Exception as error:  # noqa: BLE001 - whatever a client raises that the user brought
            _log.warning(OUTAGE, type(error).__name__)
            return None
        return answer.decode() if isinstance(answer, bytes) else answer
