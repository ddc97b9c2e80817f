"""Counts the calls of each action, and refuses what a vendor would.

This is the judge of the client's limiter, so it shares nothing with it: it remembers the arrival of every call, and
accepts one only if fewer than the quota were accepted in the second that ends with it.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Literal, TypeVar

import attrs

from volc_moderation.emulator.memory import Swept

K = TypeVar("K")

#: Whose quota refuses a call.
Refusal = Literal["action", "room"]

#: So many names of actions that do not exist are counted apart; the others together, under no name.
MOST_UNHEARD = 100


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

    def __init__(self, quotas: Mapping[str, int], room_quotas: Mapping[str, tuple[int, float]] | None = None) -> None:
        self._quotas = quotas
        self._room_quotas = room_quotas or {}
        self.counts: dict[str, Count] = {}
        self._received: dict[str, deque[float]] = {}
        self._admitted: dict[str, deque[float]] = {}
        longest = max((window for _, window in self._room_quotas.values()), default=0.0)
        self._admitted_in_room: Swept[tuple[str, str], deque[float]] = Swept(
            lambda times, now: not times or times[-1] <= now - longest
        )

    def of(self, action: str) -> Count:
        """Return the count of an action."""
        name = self._name(action)
        if name not in self.counts:
            self.counts[name] = Count(self._quotas.get(name))
        return self.counts[name]

    def receive(self, action: str) -> None:
        """Note that a call arrived."""
        count = self.of(action)
        count.received += 1
        past_second = _past(self._received, self._name(action))
        past_second.append(asyncio.get_running_loop().time())
        count.most_in_any_second = max(count.most_in_any_second, len(past_second))

    def admit(self, action: str, room: str = "") -> Refusal | None:
        """Tell which quota refuses the call that arrived just now. A refused call does not count against any."""
        quota = self.of(action).quota
        past_second = _past(self._admitted, action)
        if quota is not None and len(past_second) >= quota:
            return "action"
        now = asyncio.get_running_loop().time()
        if action in self._room_quotas:
            limit, window = self._room_quotas[action]
            in_room = _past(self._admitted_in_room, (action, room), window)
            if len(in_room) >= limit:
                return "room"
            in_room.append(now)
            self._admitted_in_room.put((action, room), in_room, now)
        past_second.append(now)
        return None

    def _name(self, action: str) -> str:
        is_known = action in self._quotas or action in self.counts
        return action if is_known or len(self.counts) < len(self._quotas) + MOST_UNHEARD else ""


def _past(times: dict[K, deque[float]], key: K, window: float = 1.0) -> deque[float]:
    past = times.setdefault(key, deque())
    now = asyncio.get_running_loop().time()
    while past and past[0] <= now - window:
        past.popleft()
    return past
