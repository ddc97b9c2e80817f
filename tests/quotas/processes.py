"""Processes that share a quota, in virtual time: the real script in a real store, on the clock of the loop."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

from redis import Redis

from volc_moderation.quotas import Quota
from volc_moderation.quotas.redis_quotas import KEY_SUFFIXES, SCRIPT
from volc_moderation.quotas.shared_window import REDIS_TIMEOUT, Outage, SharedWindow

#: How the script reads the time.
TIME_CALL = "redis.call('TIME')"
assert SCRIPT.count(TIME_CALL) == 1
#: The same script, which gets the time as arguments.
_TIMED_SCRIPT = SCRIPT.replace(TIME_CALL, "{ARGV[2], ARGV[3]}")
#: The store's time at the start.
EPOCH = 1_000_000  # seconds


class Processes:
    """A store and the processes that use it; it takes up to ``max_delay`` seconds each way."""

    def __init__(
        self,
        redis: Redis,
        quota: Quota,
        *,
        outage: Outage = "raise",
        processes: int = 1,
        max_delay: float = 0.003,
        seed: int = 1,
        key: str = "test",
    ) -> None:
        self._script = redis.register_script(_TIMED_SCRIPT)
        self._keys = [f"{{{key}}}:{part}" for part in KEY_SUFFIXES]
        self._quota = quota
        self._outage: Outage = outage
        self._number = processes
        self._max_delay = max_delay
        self._random = random.Random(seed)
        self._redis = redis
        self._started = 0
        #: What every exchange raises while the store is unavailable.
        self.error: Exception | None = None
        #: Seconds by which the store's clock has stepped.
        self.clock_step = 0.0
        self.exchanges = 0

    def start(self, *, clock_ahead: float = 0.0) -> SharedWindow:
        """Start a process. Its clock may be ahead of the others', in seconds."""
        self._started += 1
        loop: Any = asyncio.get_running_loop()
        if clock_ahead:
            loop = ShiftedLoop(loop, clock_ahead)
        return SharedWindow(
            self._quota,
            loop,
            exchange=self._exchange,
            process=f"p{self._started}",
            bulk_share=0.1,
            outage=self._outage,
            processes=self._number,
        )

    def lose_data(self) -> None:
        """Lose all data of the store."""
        self._redis.delete(*self._keys)

    async def _exchange(self, argument: str) -> Any:
        async with asyncio.timeout(REDIS_TIMEOUT):
            return await self._run(argument)

    async def _run(self, argument: str) -> Any:
        await asyncio.sleep(self._random.uniform(0, self._max_delay))
        if self.error:
            raise self.error
        self.exchanges += 1
        seconds, rest = divmod(EPOCH + self.clock_step + asyncio.get_running_loop().time(), 1)
        reply = self._script(keys=self._keys, args=[argument, int(seconds), int(rest * 1e6)])
        await asyncio.sleep(self._random.uniform(0, self._max_delay))
        return reply


class ShiftedLoop:
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
