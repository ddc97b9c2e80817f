"""How much of a quota to use when other programs use the same account.

A throttled response lowers the limit by a factor, once per window, however many refusals there are; then the limit
grows back by a fixed number of calls per window. TCP shares a link of unknown width in the same way, for the same
reason: the limit converges on what the others leave, and all who do the same get equal shares. An unpublished quota
keeps growing as long as calls wait for it and none is refused.
"""

from collections import deque
from math import floor, inf

from volc_moderation.action import Quota

#: A refusal multiplies the limit by this. The mean between two refusals is then 0.93 of what the others leave.
SHRINK_FACTOR = 0.85
#: The limit grows back by this part of the documented quota per window: to all of it in less than a minute.
GROWTH_PER_WINDOW = 0.02
#: An unpublished quota grows by this part of its initial limit per window.
LEARNING_PER_WINDOW = 0.05
#: Refusals are counted for this long.
REFUSAL_MEMORY = 60  # seconds


class ThrottleCounter:
    """Counts the refusals of the last minute."""

    def __init__(self) -> None:
        self._counts: deque[list[int]] = deque()  # pairs of a second and its number of refusals

    def add(self, now: float) -> None:
        """Count one refusal."""
        if not self._counts or self._counts[-1][0] != int(now):
            self._counts.append([int(now), 0])
        self._counts[-1][1] += 1
        self.total(now)  # which drops the old ones

    def total(self, now: float) -> int:
        """Return the number of refusals in the last minute."""
        while self._counts and self._counts[0][0] <= now - REFUSAL_MEMORY:
            self._counts.popleft()
        return sum(count for _, count in self._counts)


class AdaptiveLimit:
    """The part of a quota that is used at present."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._value = float(quota.limit)
        self._updated_at = -inf
        self._shrunk_at = -inf

    def current(self, now: float) -> int:
        """Return the limit in calls per window."""
        limit = self._quota.limit
        if self._quota.published and self._value < limit:
            growth = GROWTH_PER_WINDOW * limit * (now - self._updated_at) / self._quota.window
            self._value = min(limit, self._value + growth)
            self._updated_at = now
        return floor(self._value)

    def record_shortage(self) -> None:
        """Record that a call waits while all permits are out: an unpublished quota grows."""
        if not self._quota.published:
            self._value += LEARNING_PER_WINDOW * self._quota.limit / self._value

    def record_throttle(self, now: float) -> None:
        """Record a throttled response: the limit shrinks, at most once per window."""
        self.current(now)
        if now >= self._shrunk_at + self._quota.window:
            self._value = max(1.0, SHRINK_FACTOR * self._value)
            self._shrunk_at = self._updated_at = now
