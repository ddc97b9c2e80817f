"""A simulated vendor that counts arrivals in any second, after a delay each way, and a call to it with a permit."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from volc_moderation import QuotaUnavailable
from volc_moderation.quotas import Permit, Priority, Quota, QuotaKey, Quotas
from volc_moderation.quotas.permit import is_valid

KEY = QuotaKey("volcengine", "AK", "StopWebcast")


class SimulatedVendor:
    """Counts arrivals. Refuses those above ``limit``, if there is one; refused arrivals do not count."""

    def __init__(self, low: float, high: float, seed: int = 1, *, limit: float = float("inf")) -> None:
        self._random = random.Random(seed)
        self.outbound = self.inbound = (low, high)
        self._limit = limit
        self._past_second: deque[float] = deque()
        self.max_in_a_second = 0
        self.arrivals: list[float] = []
        self.refused = 0

    async def __call__(self, extra: float = 0) -> float:
        """Take a call, and return its round trip in seconds. Raises ``RefusedError``."""
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(self._random.uniform(*self.outbound) + extra)
        accepted = self._count(asyncio.get_running_loop().time())
        await asyncio.sleep(self._random.uniform(*self.inbound))
        round_trip = asyncio.get_running_loop().time() - began
        if not accepted:
            raise RefusedError(round_trip)
        return round_trip

    def _count(self, now: float) -> bool:
        while self._past_second and self._past_second[0] <= now - 1:
            self._past_second.popleft()
        if len(self._past_second) >= self._limit:
            self.refused += 1
            return False
        self.arrivals.append(now)
        self._past_second.append(now)
        self.max_in_a_second = max(self.max_in_a_second, len(self._past_second))
        return True

    def quota_share(self, quota: int, begin: float | None = None, end: float | None = None) -> float:
        """Return the calls per second as a part of the quota, by default from one second after the first one."""
        begin = self.arrivals[0] + 1 if begin is None else begin
        end = self.arrivals[-1] if end is None else end
        return sum(begin < arrival <= end for arrival in self.arrivals) / (end - begin) / quota


class RefusedError(Exception):
    """The vendor refused a call for the rate; the argument is the round trip in seconds."""


class PermitSource(Protocol):
    """The permits of one key."""

    async def acquire(self, priority: Priority) -> Permit: ...


class KeyWindow:
    """The permits of ``KEY`` in a store."""

    def __init__(self, quotas: Quotas, quota: Quota) -> None:
        self._quotas = quotas
        self._quota = quota

    async def acquire(self, priority: Priority = "interactive") -> Permit:
        return await self._quotas.acquire(KEY, self._quota, priority)


async def call(
    window: PermitSource, vendor: Callable[[], Awaitable[float]], priority: Priority = "interactive"
) -> bool:
    """Make one call as the client does, and return whether it was accepted."""
    permit = await window.acquire(priority)
    while not is_valid(permit):
        permit.abandoned(None)
        permit = await window.acquire(priority)
    sent_at = asyncio.get_running_loop().time()
    try:
        round_trip = await vendor()
    except RefusedError as refused:
        permit.throttled(refused.args[0])
        return False
    except BaseException:
        permit.abandoned(asyncio.get_running_loop().time() - sent_at)
        raise
    permit.answered(round_trip)
    return True


async def keep_calling(
    process: PermitSource, vendor: SimulatedVendor, until: float, callers: int = 60, *, counted_from: float = 0.0
) -> int:
    """Call as fast as possible, and return the number of calls that ended after ``counted_from``."""

    async def caller() -> int:
        calls = 0
        while asyncio.get_running_loop().time() < until:
            with contextlib.suppress(QuotaUnavailable):
                await call(process, vendor)
                calls += asyncio.get_running_loop().time() >= counted_from
                continue
            await asyncio.sleep(0.1)
        return calls

    return sum(await asyncio.gather(*(caller() for _ in range(callers))))
