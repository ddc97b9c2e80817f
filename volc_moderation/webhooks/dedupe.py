"""Stores of handled events, so that a repeated delivery is not handled twice."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Literal, Protocol, cast
from weakref import WeakKeyDictionary

from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.log_events import LogEvent, Repeats
from volc_moderation.redis_client import cancellable, client_or_error

#: ``new``: the event must be handled. ``running``: another delivery of it is being handled. ``handled``: nothing is
#: left to do.
DedupeState = Literal["new", "running", "handled"]

#: Seconds that a store remembers an event by default.
DEFAULT_RETENTION = 3600
#: Seconds that a store has for an answer: the vendors do not wait long for theirs.
DEDUPE_TIMEOUT = 1.0

#: By event loop.
_unavailable: "WeakKeyDictionary[asyncio.AbstractEventLoop, Repeats]" = WeakKeyDictionary()


def log_unavailable(error: BaseException) -> None:
    """Log that the dedupe store cannot be used, but not for each callback."""
    code = type(error).__name__  # not its text, which may hold an address with a password
    loop = asyncio.get_running_loop()
    count = _unavailable.setdefault(loop, Repeats()).count(code, loop.time())
    if count is not None:
        text = "the dedupe store is unavailable, so repeated callbacks may be handled again: %s"
        LogEvent.DEDUPE_STORE_UNAVAILABLE.log(text, code, code=code, count=count)


class DedupeStore(Protocol):
    """Remembers events by their ``dedupe_key``, a short ASCII text.

    It should remember an event for twice the ``within`` of the ``Webhooks``: a callback may arrive that long before its
    time and again that long after it. If the store raises or takes more than a second, ``Webhooks`` handles the event
    as if it were new.
    """

    async def begin(self, key: str) -> DedupeState:
        """Return the state of an event. If it is new, record that it is running."""

    async def end(self, key: str, *, handled: bool) -> None:
        """Record that a running event was handled, or that handling failed and the event is new again."""


class MemoryDedupeStore:
    """Remembers events in the memory of the process.

    :param most: the greatest number of handled events to remember; the oldest are forgotten first.
    :param seconds: how long to remember a handled event.
    :param clock: returns seconds that never go back.

    Raises ``ConfigurationError`` if a setting is wrong.
    """

    def __init__(
        self,
        most: int = 100_000,
        seconds: float = DEFAULT_RETENTION,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("most", most), ("seconds", seconds)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ConfigurationError(f"{name} must be a number above 0; got {describe(value)}")
        self._max_handled = most
        self.seconds = seconds
        self._clock = clock
        self._running: set[str] = set()
        self._handled: dict[str, float] = {}  # when each key expires; the oldest first

    async def begin(self, key: str) -> DedupeState:
        """Return the state of an event. If it is new, record that it is running."""
        self._remove_expired()
        if key in self._running:
            return "running"
        if key in self._handled:
            return "handled"
        self._running.add(key)
        return "new"

    async def end(self, key: str, *, handled: bool) -> None:
        """Record that a running event was handled, or that handling failed and the event is new again."""
        self._running.discard(key)
        if handled:
            self._handled[key] = self._clock() + self.seconds
            self._remove_expired()

    def _remove_expired(self) -> None:
        now = self._clock()
        while self._handled:
            key, expires_at = next(iter(self._handled.items()))
            if expires_at > now and len(self._handled) <= self._max_handled:
                break
            del self._handled[key]


class Redis(Protocol):
    """The methods that ``RedisDedupeStore`` needs of a ``redis.asyncio`` client."""

    async def eval(self, script: str, numkeys: int, *keys_and_args: str) -> object:
        """Run a script."""

    async def aclose(self) -> None:
        """Close the connections."""


#: Marks a new event as running, for a short time in case this process dies. The value names the store that runs it.
_BEGIN = """
local state = redis.call('GET', KEYS[1])
if not state then redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2]) return 'new' end
return state == 'handled' and 'handled' or 'running'
"""

#: Ends an event, unless its mark expired and another store runs it now.
_END = """
local state = redis.call('GET', KEYS[1])
if state and state ~= ARGV[1] then return end
if ARGV[2] == '0' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], 'handled', 'EX', ARGV[2]) end
"""


class RedisDedupeStore:
    """Remembers events in Redis or Valkey, for all processes that use the same server.

    If the server is unavailable, an event counts as new: handling an event twice is better than losing it.

    :param client: a ``redis.asyncio`` client, which its creator closes, or an address like ``redis://host:6379/0``
        (extra ``redis``). Each event loop needs its own.
    :param prefix: what the keys in Redis begin with.
    :param seconds: how long to remember a handled event, on the server's clock.
    :param running_seconds: seconds after which another process may handle an event whose process died while handling
        it. Must exceed the ``timeout`` of the ``Webhooks`` by more than 1.

    Raises ``ConfigurationError`` if a setting is wrong or the extra is not installed. The error does not show the
    address.
    """

    def __init__(
        self,
        client: object,
        *,
        prefix: str = "volc_moderation:seen:",
        seconds: int = DEFAULT_RETENTION,
        running_seconds: int = 10,
    ) -> None:
        for name, value in (("seconds", seconds), ("running_seconds", running_seconds)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"{name} must be an int of at least 1; got {describe(value)}")
        if not isinstance(prefix, str):
            raise ConfigurationError(f"prefix must be a str; got {describe(prefix)}")
        self._is_own = isinstance(client, str)
        # Overwrites the address, so that no later traceback shows it.
        client = client_or_error(client, required_method="eval", used_by="RedisDedupeStore", timeout=DEDUPE_TIMEOUT)
        if isinstance(client, ConfigurationError):
            raise client
        self._redis = cast("Redis", client)
        self._prefix = prefix
        self.seconds = seconds
        self.running_seconds = running_seconds
        self._store_id = secrets.token_hex(8)

    async def aclose(self) -> None:
        """Close the connections, if the store was created with an address."""
        if self._is_own:
            await self._redis.aclose()

    async def begin(self, key: str) -> DedupeState:
        """Return the state of an event. If it is new, record that it is running."""
        reply = await self._eval(_BEGIN, key, self.running_seconds)
        if reply in {"running", "handled"}:
            return reply
        return "new"

    async def end(self, key: str, *, handled: bool) -> None:
        """Record that a running event was handled, or that handling failed and the event is new again."""
        await self._eval(_END, key, self.seconds if handled else 0)

    async def _eval(self, script: str, key: str, seconds: int) -> object:
        """Run a script. Return None if the server is unavailable."""
        try:
            async with asyncio.timeout(DEDUPE_TIMEOUT):
                request = self._redis.eval(script, 1, self._prefix + key, self._store_id, str(seconds))
                reply = await cancellable(request)
        except Exception as error:  # noqa: BLE001 - a user's own client may raise anything
            log_unavailable(error)
            return None
        return reply.decode() if isinstance(reply, bytes) else reply
