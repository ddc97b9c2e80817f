"""Counts the calls of each action, and enforces the vendors' quotas.

It judges the client's quotas, so it shares no code with them. It records when each call arrives, and accepts a call
only if fewer calls than the quota were accepted in the second that ends with it.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Literal, TypeVar

import attrs

from volc_moderation.emulator.memory import ExpiringDict

K = TypeVar("K")

#: What an exceeded quota is for: all calls of the action, or its calls for one room.
QuotaScope = Literal["action", "room"]

#: So many unknown actions are counted by name. The calls of all others are counted together, under an empty name.
MAX_UNKNOWN_ACTIONS = 100


@attrs.define
class Count:
    """The calls of one action."""

    quota: int | None
    received: int = 0
    #: Answered with success.
    accepted: int = 0
    #: Refused because a quota was exceeded.
    throttled: int = 0
    #: Refused for another reason: the signature, the parameters, the state of the room or task.
    rejected: int = 0
    #: Answered with a fault that a test asked for.
    faults: int = 0
    #: The most calls received in any second.
    most_in_any_second: int = 0


class QuotaEnforcer:
    """The counts of all actions of one vendor.

    :param quotas: calls per second, by action.
    :param room_quotas: calls for one room and the number of seconds that they are counted over, by action.
    """

    def __init__(self, quotas: Mapping[str, int], room_quotas: Mapping[str, tuple[int, float]] | None = None) -> None:
        self._quotas = quotas
        self._room_quotas = room_quotas or {}
        self.counts: dict[str, Count] = {}
        self._received: dict[str, deque[float]] = {}
        self._admitted: dict[str, deque[float]] = {}
        longest = max((window for _, window in self._room_quotas.values()), default=0.0)
        self._admitted_in_room: ExpiringDict[tuple[str, str], deque[float]] = ExpiringDict(
            lambda times, now: not times or times[-1] <= now - longest
        )

    def count(self, action: str) -> Count:
        """Return the count of an action."""
        name = self._name(action)
        if name not in self.counts:
            self.counts[name] = Count(self._quotas.get(name))
        return self.counts[name]

    def receive(self, action: str) -> None:
        """Record that a call arrived now."""
        count = self.count(action)
        count.received += 1
        past_second = _times_in_window(self._received, self._name(action))
        past_second.append(asyncio.get_running_loop().time())
        count.most_in_any_second = max(count.most_in_any_second, len(past_second))

    def admit(self, action: str, room: str = "") -> QuotaScope | None:
        """Return which quota a call exceeds. If none, return None and count the call against the quotas."""
        quota = self.count(action).quota
        past_second = _times_in_window(self._admitted, action)
        if quota is not None and len(past_second) >= quota:
            return "action"
        now = asyncio.get_running_loop().time()
        if action in self._room_quotas:
            limit, window = self._room_quotas[action]
            in_room = _times_in_window(self._admitted_in_room, (action, room), window)
            if len(in_room) >= limit:
                return "room"
            in_room.append(now)
            self._admitted_in_room.put((action, room), in_room, now)
        past_second.append(now)
        return None

    def _name(self, action: str) -> str:
        is_known = action in self._quotas or action in self.counts
        return action if is_known or len(self.counts) < len(self._quotas) + MAX_UNKNOWN_ACTIONS else ""


def _times_in_window(times: dict[K, deque[float]], key: K, window: float = 1.0) -> deque[float]:
    """Return the times of a key in the last ``window`` seconds, after removing the older ones."""
    recent = times.setdefault(key, deque())
    now = asyncio.get_running_loop().time()
    while recent and recent[0] <= now - window:
        recent.popleft()
    return recent
