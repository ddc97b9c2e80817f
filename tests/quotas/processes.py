"""Processes that share a quota, in virtual time: the real script in a real store, or file, on the loop's clock."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis

from tests.quotas.vendor import KEY
from volc_moderation.quotas import FileQuotas, Quota
from volc_moderation.quotas.exchange import ExchangeReply, ExchangeRequest
from volc_moderation.quotas.redis_quotas import IDLE_TTL, KEY_SUFFIXES, SCRIPT, script_argument
from volc_moderation.quotas.shared_window import SharedWindow
from volc_moderation.quotas.store_outage import REDIS_TIMEOUT, Outage

#: How the script reads the time.
TIME_CALL = "redis.call('TIME')"
assert SCRIPT.count(TIME_CALL) == 1
#: The same script, which gets the time as arguments.
_TIMED_SCRIPT = SCRIPT.replace(TIME_CALL, "{ARGV[2], ARGV[3]}")
#: The store's time at the start.
EPOCH = 1_000_000  # seconds


class SharingProcesses(ABC):
    """Processes that share a quota through a store."""

    #: What every exchange raises while the store is unavailable.
    error: Exception | None = None

    @abstractmethod
    def start(self, *, clock_ahead: float = 0.0) -> SharedWindow:
        """Start a process. Its clock may be ahead of the others', in seconds."""

    @abstractmethod
    def lose_data(self) -> None:
        """Lose all data of the store."""


class Processes(SharingProcesses):
    """A Redis and the processes that use it; it takes up to ``max_delay`` seconds each way."""

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
        #: Seconds by which the store's clock has stepped.
        self.clock_step = 0.0
        self.exchanges = 0

    def start(self, *, clock_ahead: float = 0.0) -> SharedWindow:
        self._started += 1
        loop: Any = asyncio.get_running_loop()
        if clock_ahead:
            loop = ShiftedLoop(loop, clock_ahead)
        return SharedWindow(
            self._quota,
            loop,
            exchange=self._exchange,
            process=self._started,
            bulk_share=0.1,
            outage=self._outage,
            processes=self._number,
        )

    def lose_data(self) -> None:
        self._redis.delete(*self._keys)

    async def _exchange(self, request: ExchangeRequest) -> ExchangeReply:
        async with asyncio.timeout(REDIS_TIMEOUT):
            return await self._run(request)

    async def _run(self, request: ExchangeRequest) -> ExchangeReply:
        await asyncio.sleep(self._random.uniform(0, self._max_delay))
        if self.error:
            raise self.error
        self.exchanges += 1
        reply = self.run_script(request, EPOCH + self.clock_step + asyncio.get_running_loop().time())
        await asyncio.sleep(self._random.uniform(0, self._max_delay))
        return reply

    def run_script(self, request: ExchangeRequest, at: float) -> ExchangeReply:
        """Run the script at a time of the store's clock, in seconds."""
        seconds, rest = divmod(at, 1)
        argument = script_argument(request, IDLE_TTL)
        reply = self._script(keys=self._keys, args=[argument, int(seconds), round(rest * 1e6)])
        return ExchangeReply.parse(reply)


class FileProcesses(SharingProcesses):
    """A file and the processes that use it, each with stores of its own. ``virtual_machine_clock`` must be in use."""

    def __init__(self, path: Path, quota: Quota) -> None:
        self.path = path
        self._quota = quota

    def start(self, *, clock_ahead: float = 0.0) -> SharedWindow:
        """Start a process. All processes of a machine have the same clock: ``clock_ahead`` has no effect."""
        loop = asyncio.get_running_loop()
        quotas = FileQuotas(self.path)
        quotas._bind(loop)
        window = quotas._create_window(KEY, self._quota, loop)
        exchange = window._exchange

        async def fallible_exchange(request: ExchangeRequest) -> ExchangeReply:
            if self.error:
                raise self.error
            return await exchange(request)

        window._exchange = fallible_exchange
        return window

    def lose_data(self) -> None:
        self.path.unlink(missing_ok=True)


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
