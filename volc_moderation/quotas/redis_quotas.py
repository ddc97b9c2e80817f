"""Window permits in Redis or Valkey: all processes that use the same account together stay within its quotas.

The permits and their rules are those of ``window.py``; they live in the store, are counted on its clock, and change
hands in one script, ``exchange.lua``. In each process one task per quota talks to the store for all calls that wait,
``asker.py``: it asks for a few permits ahead of time, and brings back what was answered meanwhile in the same breath.
"""

import asyncio
import hashlib
import json
import secrets
from collections.abc import Awaitable, Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, cast, get_args

from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey
from volc_moderation.quotas.shared_window import CLOSED, PATIENCE, Outage, SharedWindow
from volc_moderation.quotas.store import Store
from volc_moderation.quotas.wait_queue import BULK_SHARE
from volc_moderation.redis_client import cancellable, client_of

SCRIPT = Path(__file__).with_name("exchange.lua").read_text(encoding="utf-8")
#: What is kept of each quota, in the order of the script's KEYS.
PARTS = ("state", "held", "back", "line", "seen")

#: Exchanges at a time: less than the 50 or more connections that redis-py allows a client.
CONNECTIONS = 32


class _Script(Protocol):
    def __call__(self, *, keys: list[str], args: list[str]) -> Awaitable[Any]: ...


class _Redis(Protocol):
    """What is asked of a ``redis.asyncio`` client, or one that is like it."""

    def register_script(self, script: str) -> _Script:
        """Return a script that loads itself where it is not known."""

    async def aclose(self) -> None:
        """Close the connections."""


class RedisQuotas(Store[SharedWindow]):
    """Window permits for all processes that use the same Redis or Valkey, first come, first served in each.

    Use it as ``async with RedisQuotas("redis://…") as quotas``, one per event loop, or call ``aclose()`` at the end, so
    that what is held goes back at once. The permits of a process that dies return after 10 s.

    :param client: an address like ``redis://host:6379/0`` or ``rediss://…`` (extra ``redis``), or a ``redis.asyncio``
        client, also of a cluster or from Sentinel, which whoever made it closes.
    :param limits: as for ``WindowQuotas``; the same in all processes.
    :param bulk_share: as for ``WindowQuotas``. Interactive calls go before the bulk calls of their own process.
    :param outage: what happens while the store is away. ``"raise"``: ``QuotaUnavailable`` at once. ``"wait"``: calls
        wait for it, at most until their deadline. ``"share"``: each of the ``processes`` goes on with its share of the
        quota; after a pause, because nobody knows what the others have just sent. That is for an outage of the store: a
        process that alone cannot reach it sends its share besides what the store gives to the others.
    :param processes: how many processes there are at most, for ``"share"``.
    :param prefix: what the names of the keys begin with.

    Raises ``ConfigurationError`` for a wrong setting.
    """

    def __init__(
        self,
        client: object,
        limits: Mapping[str, int] | None = None,
        *,
        bulk_share: float = BULK_SHARE,
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
        self._is_own = isinstance(client, str)
        # The address is replaced, so that no traceback of what follows shows it.
        client = client_of(client, needs="register_script", wanted_by="RedisQuotas", patience=PATIENCE)
        if isinstance(client, ConfigurationError):
            raise client
        self._redis = cast("_Redis", client)
        self._script = self._redis.register_script(SCRIPT)
        self._outage: Outage = outage
        self._processes = processes or 1
        self._prefix = prefix
        # There may be a quota for each of a thousand rooms, and the client has fewer connections.
        self._gate = asyncio.Semaphore(CONNECTIONS)
        self._process = ""
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Bring back what is held, and close the connections that were made to an address. Twice does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.gather(*(asker.close() for asker in self._windows.values()))
        if self._is_own:
            await self._redis.aclose()

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Permit:
        """Wait for a permit. Raises ``QuotaUnavailable`` if the store is away, unless ``outage`` says otherwise."""
        if self._is_closed:
            raise ConfigurationError(CLOSED)
        return await super().acquire(key, quota, priority)

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:  # noqa: ARG002 - the contract of Store
        # Not before: a process may fork after it made the store.
        self._process = secrets.token_hex(6)

    def _open(self, key: QuotaKey, quota: Quota, loop: asyncio.AbstractEventLoop) -> SharedWindow:
        whose = hashlib.blake2s(json.dumps([key.account, key.room]).encode(), digest_size=8).hexdigest()
        # In a cluster, what is between the braces decides where the keys are: all in one place.
        keys = [f"{self._prefix}:{{{key.vendor}:{key.action}:{whose}}}:{part}" for part in PARTS]
        return SharedWindow(
            quota,
            loop,
            exchange=partial(self._exchange, keys),
            process=self._process,
            bulk_share=self._bulk_share,
            outage=self._outage,
            processes=self._processes,
        )

    async def _exchange(self, keys: list[str], argument: str) -> Any:
        async with self._gate, asyncio.timeout(PATIENCE):
            return await cancellable(self._script(keys=keys, args=[argument]))
