"""How many calls a lane keeps in flight: just enough that one is ready whenever the quota allows it. Pure."""

# Calls in flight, including those that wait for a permit.
MIN_CONCURRENCY = 2
INITIAL_CONCURRENCY = 8
MAX_CONCURRENCY = 400
# Seconds that a call should wait for its permit. Below, the quota may run dry; above, the job could as well still be in
# the journal.
MIN_PERMIT_WAIT = 0.05
MAX_PERMIT_WAIT = 0.5
#: Calls fewer in flight after a wait that was too long. A fraction, because many calls report the same long queue.
CONCURRENCY_DECREASE = 0.25


class Concurrency:
    """The number of calls that a lane may have in flight, at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._current: float = min(INITIAL_CONCURRENCY, limit)

    @property
    def current(self) -> int:
        """The calls that may be in flight now."""
        return int(self._current)

    def adjust(self, waited: float) -> None:
        """Adjust the number to the seconds that a call has waited for its permit."""
        if waited < MIN_PERMIT_WAIT:
            self._current = min(self._limit, self._current + 1)
        elif waited > MAX_PERMIT_WAIT:
            self._current = max(min(MIN_CONCURRENCY, self._limit), self._current - CONCURRENCY_DECREASE)
