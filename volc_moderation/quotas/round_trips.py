"""How long requests take, and how much earlier a permit may therefore return.

Holding a permit until the answer costs a round trip. Most of that can be regained. The next request of a permit arrives
at least the shortest one-way time after the permit was granted; its previous request had arrived at least the shortest
one-way time before its answer came. So a permit may return earlier by the smallest possible round trip: the credit.
Only the smallest *observed* one is known, hence the margin and the minimum number of answers.

The smallest possible one may drop at any moment, and the first answer that shows it comes a whole way back later. The
requests that are sent meanwhile arrive too early if the credit exceeds the new way there plus the old way back. So the
credit is at most about the way back as long as the route is on trial. After a trial in which round trips became neither
shorter nor longer, the credit is nearly the whole round trip. If the way there becomes shorter then, the calls of the
time that it gained are refused. That begins a new trial. If the credit was larger than a round trip, trials take twice
as long from then on, and round trips are remembered for twice as long, so that a route that changes again and again
does not cost this again and again.
"""

from collections import deque
from math import inf

#: The smallest observed round trip exceeds the smallest possible one, mostly at a cold start, by up to this.
CREDIT_MARGIN = 0.010  # seconds
#: Answers in the last minute before any permit returns early.
MIN_ANSWERS = 100
#: On trial, a permit returns early by at most this, or by at most half of the round trip if that is more: about the way
#: back.
TRIAL_CREDIT_LIMIT = 0.050  # seconds
FIRST_TRIAL = 30.0  # seconds
#: 32 minutes.
MAX_TRIAL = 64 * FIRST_TRIAL  # seconds
#: An abandoned request may still arrive: for as long as the slowest round trip of the last minute takes, and for at
#: least this long.
LATE_ARRIVAL_ALLOWANCE = 0.5  # seconds
#: Round trips are recorded in slices of time of this length.
SLICE_LENGTH = 10.0  # seconds
#: The slices of a minute. The smallest round trip is remembered for longer: for two trials.
SLICE_COUNT = 6


class RoundTrips:
    """The smallest and the largest recent round trip, and the credit that follows."""

    def __init__(self) -> None:
        self._slice = _Slice(-SLICE_COUNT)
        self._earlier: deque[_Slice] = deque()
        # Of the earlier slices of the last minute.
        self._earlier_largest = 0.0
        self._earlier_count = 0
        self._smallest = inf
        self._trial = FIRST_TRIAL
        self._trial_ends_at = inf
        #: Seconds by which a permit may return early.
        self.credit = 0.0

    def add(self, round_trip: float, now: float) -> None:
        """Record a round trip, in seconds."""
        number = int(now // SLICE_LENGTH)
        if number != self._slice.number:
            self._begin_slice(number, now)
        if round_trip < self._smallest - CREDIT_MARGIN:  # the route is new, or shorter than it was
            if round_trip < self.credit:
                self._trial = min(2 * self._trial, MAX_TRIAL)
            self._trial_ends_at = now + self._trial
        self._slice.add(round_trip)
        self._smallest = min(self._smallest, round_trip)
        self.credit = self._compute_credit(now)

    def remaining_transit(self, age: float, window: float) -> float:
        """Return for how many seconds a request that was abandoned ``age`` seconds after it was sent may arrive."""
        largest = max(self._earlier_largest, self._slice.largest, LATE_ARRIVAL_ALLOWANCE)
        return max(0.0, min(largest, window) - age)

    def _compute_credit(self, now: float) -> float:
        if self._earlier_count + self._slice.count < MIN_ANSWERS:
            return 0.0
        credit = self._smallest - CREDIT_MARGIN
        if now < self._trial_ends_at:
            credit = min(credit, max(TRIAL_CREDIT_LIMIT, self._smallest / 2))
        return max(0.0, credit)

    def _begin_slice(self, number: int, now: float) -> None:
        """Begin a new slice, and forget old ones."""
        if self._slice.count >= MIN_ANSWERS and self._slice.smallest > self._smallest + CREDIT_MARGIN:
            # The route is longer than it was. It may change again, and its way there may even be shorter.
            self._trial_ends_at = now + self._trial
        self._earlier.append(self._slice)
        self._slice = _Slice(number)
        memory = int(2 * self._trial / SLICE_LENGTH)
        while self._earlier and self._earlier[0].number <= number - memory:
            self._earlier.popleft()
        last_minute = [one for one in self._earlier if one.number > number - SLICE_COUNT]
        self._earlier_largest = max((one.largest for one in last_minute), default=0.0)
        self._earlier_count = sum(one.count for one in last_minute)
        self._smallest = min((one.smallest for one in self._earlier), default=inf)
        self.credit = self._compute_credit(now)


class _Slice:
    __slots__ = ("count", "largest", "number", "smallest")

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.smallest = inf
        self.largest = 0.0

    def add(self, round_trip: float) -> None:
        self.count += 1
        self.smallest = min(self.smallest, round_trip)
        self.largest = max(self.largest, round_trip)
