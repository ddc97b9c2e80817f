"""How long requests take, and how much earlier a permit may therefore return.

Holding a permit until the answer costs a round trip. Most of it can be had back. A permit's next request arrives at
least the shortest way there after it was granted; its last one had arrived at least the shortest way back before the
answer was there. So a permit may return earlier by the smallest possible round trip. Only the smallest one *seen* is
known, hence the margin, and the number of answers before any of it is used; and it may become smaller from one moment
to the next, hence the limit.
"""

from collections import deque

#: The smallest round trip seen is longer than the smallest possible one, most of all at a cold start.
MARGIN = 0.010
ANSWERS_NEEDED = 100
#: Most that a permit may return early: this, or half of the round trip. Should the way there get shorter at a stroke,
#: what was sent before has still to make its way back, which is about the other half.
MOST_EARLY = 0.050
#: A request that was given up may still be on its way: for as long as the slowest of late, but at least this long.
LONGEST_WAY = 0.5
#: Round trips are remembered for this many slices of this many seconds: a minute.
SLICES = 6
SLICE = 10.0


class RoundTrips:
    """The smallest and the largest round trip of the last minute."""

    def __init__(self) -> None:
        self._slices: deque[_Slice] = deque(maxlen=SLICES)
        self._largest = 0.0
        #: Seconds by which a permit may return early.
        self.credit = 0.0

    def add(self, round_trip: float, now: float) -> None:
        """Take note of one."""
        number = int(now // SLICE)
        if not self._slices or self._slices[-1].number != number:
            self._slices.append(_Slice(number))
            while self._slices[0].number <= number - SLICES:
                self._slices.popleft()
        self._slices[-1].add(round_trip)
        self._largest = max(one.largest for one in self._slices)
        enough = sum(one.count for one in self._slices) >= ANSWERS_NEEDED
        smallest = min(one.smallest for one in self._slices)
        self.credit = max(0.0, min(smallest - MARGIN, max(MOST_EARLY, smallest / 2))) if enough else 0.0

    def still_on_its_way(self, age: float, window: float) -> float:
        """Return for how long a request that was given up ``age`` seconds after it was sent may still arrive."""
        return max(0.0, min(max(self._largest, LONGEST_WAY), window) - age)


class _Slice:
    __slots__ = ("count", "largest", "number", "smallest")

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.smallest = float("inf")
        self.largest = 0.0

    def add(self, round_trip: float) -> None:
        self.count += 1
        self.smallest = min(self.smallest, round_trip)
        self.largest = max(self.largest, round_trip)
