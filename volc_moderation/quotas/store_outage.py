"""What one process does with the calls of a quota while the store that it shares is unavailable."""

import asyncio
from typing import Literal
from weakref import WeakKeyDictionary

import attrs

from volc_moderation.action import Quota
from volc_moderation.errors import ModerationError, QuotaUnavailable
from volc_moderation.log_events import LogEvent, Repeats
from volc_moderation.quotas.permit import Permit
from volc_moderation.quotas.wait_queue import WaitQueue
from volc_moderation.quotas.window import TIMER_RESOLUTION, LocalWindow

#: What happens to calls while the store is unavailable.
Outage = Literal["raise", "wait", "share"]
#: The store has this long to reply.
REDIS_TIMEOUT = 1.0  # seconds
#: An unavailable store is tried again after this.
RECONNECT_INTERVAL = 0.25  # seconds

#: By event loop: a store with many quotas is unavailable for all of them.
_repeats: "WeakKeyDictionary[asyncio.AbstractEventLoop, Repeats]" = WeakKeyDictionary()


class StoreOutage:
    """Whether the store is unavailable, when to try again, and what the calls that wait get meanwhile.

    :param memory: seconds after which the vendor no longer counts requests that were sent before the outage.
    :param processes: each of so many processes continues with an equal share of the quota.
    """

    def __init__(
        self, quota: Quota, loop: asyncio.AbstractEventLoop, *, mode: Outage, memory: float, processes: int
    ) -> None:
        self._quota = quota
        self._loop = loop
        self._mode: Outage = mode
        self._memory = memory
        self._processes = processes
        #: Why the store is unavailable; None if it is available.
        self._reason: str | None = None
        self.retry_at = 0.0
        self._share: LocalWindow | None = None

    @property
    def is_on(self) -> bool:
        """Whether the store is unavailable."""
        return self._reason is not None

    @property
    def has_own_share(self) -> bool:
        """Whether this process makes calls without the store."""
        return self._share is not None

    def begin(self, error: Exception) -> None:
        """Record that the store is unavailable, or still is."""
        now = self._loop.time()
        reason = str(error) if isinstance(error, ModerationError) else f"{type(error).__name__}: {error}"[:200]
        if not self.is_on and (count := self._count("unavailable")) is not None:
            text = "the store of quotas is unavailable: %s"
            LogEvent.QUOTA_STORE_UNAVAILABLE.log(text, reason, outage=self._mode, count=count)
        self._reason = reason
        self.retry_at = now + RECONNECT_INTERVAL
        share = self._quota.limit // self._processes
        if self._mode == "share" and self._share is None and share:
            quota = attrs.evolve(self._quota, limit=share, published=True)
            self._share = LocalWindow(quota, self._loop, 0.0, [now + self._memory] * share)

    def end(self) -> None:
        """Record that the store is available."""
        if self.is_on and (count := self._count("available")) is not None:
            LogEvent.QUOTA_STORE_AVAILABLE.log("the store of quotas is available again", count=count)
        self._reason = self._share = None

    def _count(self, kind: str) -> int | None:
        """Count an event of this store. Return how many quotas a record of it stands for; None for no record."""
        return _repeats.setdefault(self._loop, Repeats()).count(kind, self._loop.time())

    async def handle(self, wait_queue: WaitQueue[Permit]) -> float | None:
        """Fail the waiters, or serve the next one from our share.

        Return None, or when to try the store again if the waiters wait for that.
        """
        if self._mode == "wait":
            return self.retry_at
        if self._share is None:
            wait_queue.fail_all(lambda: QuotaUnavailable(f"the store of quotas is unavailable: {self._reason}"))
            return None
        try:
            async with asyncio.timeout(self.retry_at - self._loop.time() + TIMER_RESOLUTION):
                permit = await self._share.acquire("interactive")
        except TimeoutError:
            return None
        wait_queue.grant(permit)
        return None
