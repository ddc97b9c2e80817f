"""Counts the calls of each action, and refuses what a vendor would.

This is the judge of the client's limiter, so it shares nothing with it: it remembers the arrival of every call, and
accepts one only if fewer than the quota were accepted in the second that ends with it.
"""

import asyncio
from collections import deque

import attrs


@attrs.define
class Count:
    """What the emulator saw of one action."""

    quota: int | None
    received: int = 0
    #: Answered with success.
    accepted: int = 0
    #: Refused for the quota.
    throttled: int = 0
    #: Refused for anything else: signature, parameters, rules.
    rejected: int = 0
    #: Answered with a fault that was asked for.
    faults: int = 0
    #: Most calls received in any second.
    most_in_any_second: int = 0


class Counter:
    """The counts of all actions of one vendor."""

    def __init__(self, quotas: dict[str, int]) -> None:
        self._quotas = quotas
        self.counts: dict[str, Count] = {}
        self._received: dict[str, deque[float]] = {}
        self._admitted: dict[str, deque[float]] = {}

    def of(self, action: str) -> Count:
        """Return the count of an action."""
        if action not in self.counts:
            self.counts[action] = Count(self._quotas.get(action))
        return self.counts[action]

    def receive(self, action: str) -> None:
        """Note that a call arrived."""
        count = self.of(action)
        count.received += 1
        past_second = _past_second(self._received, action)
        past_second.append(asyncio.get_running_loop().time())
        count.most_in_any_second = max(count.most_in_any_second, len(past_second))

    def admit(self, action: str) -> bool:
        """Tell whether the call that arrived just now is within the quota. A refused call does not count against it."""
        quota = self.of(action).quota
        past_second = _past_second(self._admitted, action)
        if quota is not None and len(past_second) >= quota:
            return False
        past_second.append(asyncio.get_running_loop().time())
        return True


def _past_second(times: dict[str, deque[float]], action: str) -> deque[float]:
    past = times.setdefault(action, deque())
    now = asyncio.get_running_loop().time()
    while past and past[0] <= now - 1:
        past.popleft()
    return past
