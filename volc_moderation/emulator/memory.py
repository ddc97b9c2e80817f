"""Bounds the emulator's memory in a long run: of what has expired or ended, only a limited number is kept."""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: How many messages, callbacks, ended tasks and closed streams are kept, of each kind.
MAX_KEPT = 10_000
#: Smaller dicts are not swept.
MIN_SWEEP_SIZE = 1_000


class ExpiringDict(dict[K, V]):
    """A dict whose entries expire.

    It is swept whenever its size has doubled. So it holds at most twice as many entries as have not expired, and the
    sweeps cost little for each entry.

    :param has_expired: returns whether a value has expired at a time.
    """

    def __init__(self, has_expired: Callable[[V, float], bool]) -> None:
        super().__init__()
        self._has_expired = has_expired
        self._next_sweep_size = MIN_SWEEP_SIZE

    def put(self, key: K, value: V, now: float) -> None:
        """Set an entry."""
        self[key] = value
        if len(self) >= self._next_sweep_size:
            for expired in [key for key, value in self.items() if self._has_expired(value, now)]:
                del self[expired]
            self._next_sweep_size = max(MIN_SWEEP_SIZE, 2 * len(self))


class RecentlyEnded(Generic[K]):
    """The keys of what has ended. If there are more than ``MAX_KEPT``, the one that ended first is removed.

    :param on_remove: called with each key that is removed.
    """

    def __init__(self, on_remove: Callable[[K], object]) -> None:
        self._on_remove = on_remove
        self._keys: dict[K, None] = {}

    def add(self, key: K) -> None:
        """Record that what a key stands for has ended."""
        self._keys.pop(key, None)
        self._keys[key] = None
        if len(self._keys) > MAX_KEPT:
            oldest = next(iter(self._keys))
            del self._keys[oldest]
            self._on_remove(oldest)

    def discard(self, key: K) -> None:
        """Record that what a key stands for has started again."""
        self._keys.pop(key, None)
