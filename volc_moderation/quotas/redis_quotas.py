"""Window permits in Redis or Valkey: all processes that use the same account together stay within its quotas.

The permits and their rules are those of ``window.py``. They live in the store, are counted on its clock, and change
hands in one script, ``grant_permits.lua``. In each process, one task per quota talks to the store for all waiting
calls, see ``shared_window.py``: in one exchange it returns the answered permits and requests a few new ones ahead of
time.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast, get_args

from volc_moderation import telemetry
from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.quotas.adaptive import GROWTH_PER_WINDOW, LEARNING_PER_WINDOW, SHRINK_FACTOR
from volc_moderation.quotas.exchange import ExchangeReply, ExchangeRequest
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey
from volc_moderation.quotas.shared_window import SharedWindow
from volc_moderation.quotas.store import LEARNED_TTL, QuotaStore
from volc_moderation.quotas.store_outage import REDIS_TIMEOUT, Outage
from volc_moderation.quotas.wait_queue import DEFAULT_BULK_SHARE
from volc_moderation.quotas.window import MAX_BURST, PACE_COST, PACED_FROM
from volc_moderation.redis_client import cancellable, client_or_error

SCRIPT = Path(__file__).with_name("grant_permits.lua").read_text(encoding="utf-8")
#: The ends of the names of a quota's keys, in the order of the script's KEYS.
KEY_SUFFIXES = ("state", "held", "back", "line", "seen", "weights")

#: The Redis keeps an unused quota for this long. Its keys expire by its own clock: a step of an hour does no harm.
IDLE_TTL = 7200.0  # seconds
#: At most this many exchanges are in flight: fewer than redis-py allows a client connections, which is 50 or more.
MAX_EXCHANGES = 32


class _Script(Protocol):
    def __call__(self, *, keys: list[str], args: list[str]) -> Awaitable[Any]: ...


class _Redis(Protocol):
    """The methods used of a ``redis.asyncio`` client, or of a compatible one."""

    def register_script(self, script: str) -> _Script:
        """Return a script that loads itself into a server that does not know it."""

    async def aclose(self) -> None:
        """Close the connections."""


class RedisQuotas(QuotaStore[SharedWindow]):
    """Window permits for all processes that use the same Redis or Valkey: all calls wait equally long.

    Use it as ``async with RedisQuotas("redis://…") as quotas``, one per event loop, or call ``aclose()`` at the end, so
    that the permits return at once. The permits of a process that dies return by themselves after 10 s.

    :param client: an address such as ``redis://host:6379/0`` or ``rediss://…`` (extra ``redis``), or a
        ``redis.asyncio`` client, also one of a cluster or from Sentinel. Whoever created the client closes it.
    :param limits: as for ``WindowQuotas``; the same in all processes.
    :param bulk_share: as for ``WindowQuotas``. Interactive calls go before the bulk calls of their own process; between
        processes, ``docs/quotas.md`` says who gets how much.
    :param outage: what happens to calls while the store is unavailable. ``"raise"``: ``QuotaUnavailable`` at once.
        ``"wait"``: they wait for the store, until their deadline if they have one. ``"share"``: each of the
        ``processes`` continues with its share of the quota, after a pause, because it cannot know what the others have
        just sent. Choose this for outages of the store itself: a process that alone loses its connection uses its
        share on top of what the store grants to the others.
    :param processes: the maximum number of processes, at least 1; required for ``"share"``, and only allowed there.
    :param prefix: the beginning of the names of the keys, without ``{``.

    Raises ``ConfigurationError`` for a wrong setting.
    """

    def __init__(
        self,
        client: object,
        limits: Mapping[str, int] | None = None,
        *,
        bulk_share: float = DEFAULT_BULK_SHARE,
        outage: Outage = "raise",
        processes: int | None = None,
        prefix: str = "volc_moderation",
    ) -> None:
        super().__init__(limits, bulk_share)
        if outage not in get_args(Outage):
            raise ConfigurationError(f"outage must be one of {', '.join(get_args(Outage))}; got {describe(outage)}")
        if outage == "share" or processes is not None:
            if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
                raise ConfigurationError(f"processes must be an int of at least 1; got {describe(processes)}")
            if outage != "share":
                raise ConfigurationError("processes is for outage='share'")
        if not isinstance(prefix, str) or "{" in prefix:
            raise ConfigurationError(f"prefix must be a str without '{{'; got {describe(prefix)}")
        self._owns_client = isinstance(client, str)
        # The client replaces the address, so that no traceback from here on shows it.
        client = client_or_error(
            client, required_method="register_script", used_by="RedisQuotas", timeout=REDIS_TIMEOUT
        )
        if isinstance(client, ConfigurationError):
            raise client
        self._redis = cast("_Redis", client)
        self._script = self._redis.register_script(SCRIPT)
        self._outage: Outage = outage
        self._processes = processes or 1
        self._prefix = prefix
        # There may be a quota for each of a thousand rooms, and the client has fewer connections.
        self._exchange_slots = asyncio.Semaphore(MAX_EXCHANGES)
        self._process = 0
        self._is_closed = False

    async def aclose(self) -> None:
        """Return all permits, and close the client if it was created for an address. Closing twice does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        telemetry.unregister(self)
        await asyncio.gather(*(window.close() for window in self._windows.values()))
        if self._owns_client:
            await self._redis.aclose()

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
        """Wait for a permit.

        Raises ``QuotaUnavailable`` if the store is unavailable, unless ``outage`` says otherwise, and
        ``ConfigurationError`` if these quotas are closed or belong to another event loop.
        """
        if self._is_closed:
            raise ConfigurationError("these RedisQuotas are closed")
        return await super().acquire(key, quota, priority)

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ARG002 - the contract of QuotaStore
        # Not earlier: a process may fork after it has created the store.
        self._process = secrets.randbits(48)

    def _create_window(self, key: QuotaKey, quota: Quota, loop: asyncio.AbstractEventLoop) -> SharedWindow:
        owner = hashlib.blake2s(json.dumps([key.account, key.room]).encode(), digest_size=8).hexdigest()
        # In a cluster, the text between the braces decides the slot: it is the same for all keys of a quota.
        keys = [f"{self._prefix}:{{{key.vendor}:{key.action}:{owner}}}:{suffix}" for suffix in KEY_SUFFIXES]
        return SharedWindow(
            quota,
            loop,
            exchange=partial(self._exchange, keys, IDLE_TTL if quota.published else LEARNED_TTL),
            process=self._process,
            bulk_share=self._bulk_share,
            outage=self._outage,
            processes=self._processes,
        )

    async def _exchange(self, keys: list[str], memory: float, request: ExchangeRequest) -> ExchangeReply:
        """Run the script. Raises any exception if the Redis does not reply within ``REDIS_TIMEOUT``."""
        async with self._exchange_slots, asyncio.timeout(REDIS_TIMEOUT):
            reply = await cancellable(self._script(keys=keys, args=[script_argument(request, memory)]))
        return ExchangeReply.parse(reply)


def script_argument(request: ExchangeRequest, memory: float) -> str:
    """Return the argument of the script: spans in microseconds, times to live in milliseconds.

    :param memory: seconds for which an unused quota is kept.
    """
    rules = request.rules
    argument = {
        "process": str(request.process),  # a number of Lua would lose digits in the name of a permit
        "weight": request.weight,
        "want": request.want,
        "prefetch": request.prefetch,
        "number": request.number,
        "returns": [value for permit in request.returns for value in permit],
        "renew": request.renew,
        "throttled": request.throttled,
        "credit": request.credit,
        "away": request.was_away,
        "limit": rules.limit,
        "published": rules.published,
        "window": rules.window,
        "lease": rules.lease,
        "forget": rules.forget,
        "silence": rules.silence,
        "remember": int(memory * 1000),
        "keep": int(IDLE_TTL * 1000),
        "growth": GROWTH_PER_WINDOW,
        "learning": LEARNING_PER_WINDOW,
        "shrink": SHRINK_FACTOR,
        "paced_from": PACED_FROM,
        "burst": MAX_BURST,
        "pace_cost": PACE_COST,
    }
    if request.generation is not None:
        argument["born"] = request.generation
    if request.clock_bound is not None:
        argument["now"], argument["clock_of"] = request.clock_bound, request.clock_generation
    return json.dumps(argument)
