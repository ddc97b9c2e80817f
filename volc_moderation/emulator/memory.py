"""What keeps the emulator small in a long run: of what is over, not more is remembered than anybody asks for."""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

#: How much of one kind that is over is remembered: messages, callbacks, tasks, streams.
MOST = 10_000
#: From how many entries on it is worth while to look for those that are over.
LEAST_SWEPT = 1_000


class Swept(dict[K, V]):
    """A dict for what is over at some time, of itself.

    It is swept whenever it has doubled, so it holds at most twice what is not over, and a sweep costs little for each
    entry.

    :param is_over: given a value and the time, tells whether nobody needs the entry any more.
    """

    def __init__(self, is_over: Callable[[V, float], bool]) -> None:
        super().__init__()
        self._is_over = is_over
        self._sweep_at = LEAST_SWEPT

    def put(self, key: K, value: V, now: float) -> None:
        """Set an entry."""
        self[key] = value
        if len(self) >= self._sweep_at:
            for old in [old for old, kept in self.items() if self._is_over(kept, now)]:
                del self[old]
            self._sweep_at = max(LEAST_SWEPT, 2 * len(self))


class Ended(Generic[K]):
    """What has ended, by key. Of more than ``MOST``, what ended first is forgotten.

    :param forget: is told the key of each that goes.
    """

    def __init__(self, forget: Callable[[K], object]) -> None:
        self._forget = forget
        self._keys: dict[K, None] = {}

    def add(self, key: K) -> None:
        """Note that one has ended, just now."""
        self._keys.pop(key, None)
        self._keys[key] = None
        if len(self._keys) > MOST:
            oldest = next(iter(self._keys))
            del self._keys[oldest]
            self._forget(oldest)

    def discard(self, key: K) -> None:
        """Note that one has begun again."""
        self._keys.pop(key, None)
