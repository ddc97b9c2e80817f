"""How long requests take, and how much earlier a permit may therefore return.

Holding a permit until the answer costs a round trip. Most of that can be regained. The next request of a permit arrives
at least the shortest one-way time after the permit was granted; its previous request had arrived at least the shortest
one-way time before its answer came. So a permit may return earlier by the smallest possible round trip. Only the
smallest *observed* one is known, hence the margin and the minimum number of answers. The smallest possible one may also
drop at any moment, hence the upper bound.
"""

from collections import deque

#: The smallest observed round trip exceeds the smallest possible one, mostly at a cold start, by up to this.
CREDIT_MARGIN = 0.010  # seconds
#: Answers in the last minute before any permit returns early.
MIN_ANSWERS = 100
#: A permit returns early by at most this, or by at most half of the round trip if that is more. If the way to the
#: vendor suddenly becomes shorter, the requests sent before still need the way back, which is about the other half.
MIN_CREDIT_LIMIT = 0.050  # seconds
#: An abandoned request may still arrive: for as long as the slowest round trip of the last minute takes, and for at
#: least this long.
LATE_ARRIVAL_ALLOWANCE = 0.5  # seconds
#: Round trips are remembered for this many slices of this length: a minute.
SLICE_COUNT = 6
SLICE_LENGTH = 10.0  # seconds


class RoundTrips:
    """The smallest and the largest round trip of the last minute."""

    def __init__(self) -> None:
        self._slices: deque[_Slice] = deque(maxlen=SLICE_COUNT)
        self._largest = 0.0
        #: Seconds by which a permit may return early.
        self.credit = 0.0

    def add(self, round_trip: float, now: float) -> None:
        """Record a round trip, in seconds."""
        number = int(now // SLICE_LENGTH)
        if not self._slices or self._slices[-1].number != number:
            self._slices.append(_Slice(number))
            while self._slices[0].number <= number - SLICE_COUNT:
                self._slices.popleft()
        self._slices[-1].add(round_trip)
        self._largest = max(one.largest for one in self._slices)
        enough = sum(one.count for one in self._slices) >= MIN_ANSWERS
        smallest = min(one.smallest for one in self._slices)
        self.credit = max(0.0, min(smallest - CREDIT_MARGIN, max(MIN_CREDIT_LIMIT, smallest / 2))) if enough else 0.0

    def remaining_transit(self, age: float, window: float) -> float:
        """Return for how many seconds a request that was abandoned ``age`` seconds after it was sent may arrive."""
        return max(0.0, min(max(self._largest, LATE_ARRIVAL_ALLOWANCE), window) - age)


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
