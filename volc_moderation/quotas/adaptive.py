"""How much of a quota to use, when other programs use the same account.

A refusal shrinks it by a factor, once per window however many refusals there are; then it grows back by a fixed number
of calls per window. That is how TCP shares a line of unknown width, and for the same reason: it finds what is left,
and whoever does the same gets an equal share. A quota that is not published grows on as long as calls wait for it and
none is refused.
"""

from collections import deque
from math import floor, inf

from volc_moderation.action import Quota

#: What a refusal leaves of the quota in use. The mean between two refusals is then 0.93 of what others leave.
SHRINK = 0.85
#: What comes back in a window, of the documented quota: all of it in less than a minute.
GROWTH = 0.02
#: What an unpublished quota grows in a window, of where it began.
LEARNING = 0.05
#: Seconds for which refusals are remembered.
MEMORY = 60


class Refusals:
    """How many refusals there were in the last minute."""

    def __init__(self) -> None:
        self._counts: deque[list[int]] = deque()  # in which second, and how many

    def add(self, now: float) -> None:
        """Take note of one."""
        if not self._counts or self._counts[-1][0] != int(now):
            self._counts.append([int(now), 0])
        self._counts[-1][1] += 1
        self.at(now)  # which forgets the old ones

    def at(self, now: float) -> int:
        """Return their number."""
        while self._counts and self._counts[0][0] <= now - MEMORY:
            self._counts.popleft()
        return sum(count for _, count in self._counts)


class Effective:
    """The part of a quota that is used."""

    def __init__(self, quota: Quota) -> None:
        self._quota = quota
        self._value = float(quota.limit)
        self._as_of = -inf
        self._shrunk_at = -inf

    def at(self, now: float) -> int:
        """Return the number of calls per window."""
        limit = self._quota.limit
        if self._quota.published and self._value < limit:
            self._value = min(limit, self._value + GROWTH * limit * (now - self._as_of) / self._quota.window)
            self._as_of = now
        return floor(self._value)

    def short(self) -> None:
        """Take note that a call waits for a permit while all are out."""
        if not self._quota.published:
            self._value += LEARNING * self._quota.limit / self._value

    def throttled(self, now: float) -> None:
        """Take note of a refusal."""
        self.at(now)
        if now >= self._shrunk_at + self._quota.window:
            self._value = max(1.0, SHRINK * self._value)
            self._shrunk_at = self._as_of = now
