"""Processes that share a quota, in virtual time: the real script in a real store, on the clock of the loop."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from redis import Redis

from volc_moderation.quotas import Quota
from volc_moderation.quotas.redis_quotas import PARTS, SCRIPT
from volc_moderation.quotas.shared_window import PATIENCE, Outage, SharedWindow

#: How the script asks for the time.
TIME = "redis.call('TIME')"
assert SCRIPT.count(TIME) == 1
#: The same script, told the time.
_TIMED = SCRIPT.replace(TIME, "{ARGV[2], ARGV[3]}")
#: Seconds: when the store's time begins.
EPOCH = 1_000_000


class Processes:
    """A store, and the processes that use it; the way to it takes up to ``slow`` seconds."""

    def __init__(
        self,
        redis: Redis,
        quota: Quota,
        *,
        outage: Outage = "raise",
        processes: int = 1,
        slow: float = 0.003,
        seed: int = 1,
        key: str = "test",
    ) -> None:
        self._script = redis.register_script(_TIMED)
        self._keys = [f"{{{key}}}:{part}" for part in PARTS]
        self._quota = quota
        self._outage: Outage = outage
        self._number = processes
        self._slow = slow
        self._random = random.Random(seed)
        self._redis = redis
        self._started = 0
        #: Why the store cannot be reached.
        self.away: Exception | None = None
        #: Seconds by which the store's clock has stepped.
        self.stepped = 0.0
        self.scripts = 0

    def start(self, *, ahead: float = 0.0) -> SharedWindow:
        """Start a process, whose clock may be ahead."""
        self._started += 1
        loop: Any = asyncio.get_running_loop()
        if ahead:
            loop = Ahead(loop, ahead)
        return SharedWindow(
            self._quota,
            loop,
            exchange=self._exchange,
            process=f"p{self._started}",
            bulk_share=0.1,
            outage=self._outage,
            processes=self._number,
        )

    def forget(self) -> None:
        """Lose all that the store kept."""
        self._redis.delete(*self._keys)

    async def _exchange(self, argument: str) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self._run(argument)

    async def _run(self, argument: str) -> Any:
        await asyncio.sleep(self._random.uniform(0, self._slow))
        if self.away:
            raise self.away
        self.scripts += 1
        seconds, rest = divmod(EPOCH + self.stepped + asyncio.get_running_loop().time(), 1)
        reply = self._script(keys=self._keys, args=[argument, int(seconds), int(rest * 1e6)])
        await asyncio.sleep(self._random.uniform(0, self._slow))
        return reply


class Ahead:
    """An event loop whose clock is ahead of the others'."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead: float) -> None:
        self._loop = loop
        self._ahead = ahead

    def time(self) -> float:
        return self._loop.time() + self._ahead

    def call_at(self, when: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.call_at(when - self._ahead, callback)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
