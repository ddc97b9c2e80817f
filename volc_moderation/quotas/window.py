"""Window permits in one event loop: the vendor never sees more than N requests in any second.

A call takes a permit before it sends and gives it back one second after the answer. The vendor received the request in
between, so whatever it received in its past second still holds a permit: it can never have counted more than N.

Holding a permit until the answer costs a round trip. Most of it can be had back. A permit's next request arrives at
least the shortest way there after it was granted; its last one had arrived at least the shortest way back before the
answer was there. So a permit may return earlier by the smallest possible round trip. Only the smallest one *seen* is
known, hence the margin, and the number of answers before any of it is used; and it may become smaller from one moment
to the next, hence the limit.
"""

import asyncio
import heapq
import threading
import time
from collections import deque
from collections.abc import Mapping

from aiolimiter import AsyncLimiter

from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, describe
from volc_moderation.quotas.permit import Permit, QuotaKey

#: Permits go out at most this many at once: bursts make an HTTP pool collapse.
BURST = 3
#: What a permit takes of the pace: a little less than one, so that a coarse clock does not make it wait twice.
DRIP = 0.99
#: The smallest round trip seen is longer than the smallest possible one, most of all at a cold start.
MARGIN = 0.010
ANSWERS_NEEDED = 100
#: Most that a permit may return early: this, or half of the round trip. Should the way there get shorter at a stroke,
#: what was sent before has still to make its way back, which is about the other half.
MOST_EARLY = 0.050
#: A request that was given up may still be on its way: for as long as the slowest of late, but at least this long.
LONGEST_WAY = 0.5
#: Longest wait between two looks at the pace: a low quota must not wait for a whole interval again.
LOOK = 0.02
#: Seconds by which a loop's timer may be early: a clock has its resolution, and a virtual one a coarse one.
COARSE = 0.000_01
#: Round trips are remembered for this many slices of this many seconds: a minute.
SLICES = 6
SLICE = 10.0
#: How many windows are kept before the idle ones among them are looked for.
CROWD = 1000


class WindowQuotas:
    """Window permits for the clients of one event loop, first come, first served.

    ``limits`` replaces the documented limit of an action, in calls per window: ``{"StartDetection": 50}``. Use it for
    actions whose limit the vendor does not publish (20/s unless set here), or after the vendor has raised yours. What a
    vendor allows for one room stays as documented.
    """

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self._limits = dict(limits or {})
        for action, limit in self._limits.items():
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                raise ConfigurationError(f"limits[{action!r}] must be an int of at least 1; got {describe(limit)}")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._windows: dict[QuotaKey, _Window] = {}
        self._inherited: dict[QuotaKey, list[float]] = {}
        self._is_monotonic = False
        self._crowd = CROWD

    def inherit(self, returns: Mapping[QuotaKey, list[float]]) -> None:
        """Take over permits of a store whose loop has ended: the vendor still counts what it sent."""
        for key, times in returns.items():
            self._inherited.setdefault(key, []).extend(times)

    def returns(self) -> dict[QuotaKey, list[float]]:
        """Return when the permits return that are out, for a store of another loop that tells the same time."""
        if not self._is_monotonic:  # a virtual loop, whose times mean nothing to others
            return {}
        return {key: window.returns(time.monotonic()) for key, window in self._windows.items()}

    async def acquire(self, key: QuotaKey, quota: Quota) -> Permit:
        """Wait for a permit."""
        window = self._windows.get(key)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise ConfigurationError("these WindowQuotas belong to another event loop; make one per loop")
            self._loop = loop
            self._is_monotonic = _is_monotonic(loop)
        if window is None:
            if len(self._windows) >= self._crowd:
                self._forget_idle()
            limit = quota.limit if key.room is not None else self._limits.get(key.action, quota.limit)
            window = self._windows[key] = _Window(limit, quota.window, loop, self._inherited.pop(key, []))
        await window.acquire()
        return _WindowPermit(window)

    def _forget_idle(self) -> None:
        """Forget the windows that hold nothing: rooms come and go."""
        self._windows = {key: window for key, window in self._windows.items() if not window.is_idle()}
        self._crowd = max(CROWD, 2 * len(self._windows))

    def __repr__(self) -> str:
        return f"WindowQuotas({self._limits or ''})"


def quotas_of_running_loop() -> WindowQuotas:
    """Return the store that all clients of the running loop share unless they are given another.

    Shared, because the vendor counts per account: two clients with a store each would send twice the quota, and so
    would a client made in the same second in which another ended.
    """
    running = asyncio.get_running_loop()
    with _stores_lock:
        if running not in _stores:
            store = WindowQuotas()
            for loop in [loop for loop in _stores if loop.is_closed()]:
                ended = _stores.pop(loop)
                if _is_monotonic(running):
                    store.inherit(ended.returns())
            _stores[running] = store
        return _stores[running]


_stores: dict[asyncio.AbstractEventLoop, WindowQuotas] = {}
_stores_lock = threading.Lock()


def _is_monotonic(loop: asyncio.AbstractEventLoop) -> bool:
    return abs(loop.time() - time.monotonic()) < 1


class _WindowPermit:
    __slots__ = ("_window",)

    def __init__(self, window: "_Window") -> None:
        self._window = window

    def answered(self, round_trip: float) -> None:
        self._window.answered(round_trip)

    def abandoned(self, age: float | None) -> None:
        self._window.abandoned(age)


class _Window:
    """The permits of one key, and who waits for them."""

    def __init__(self, limit: int, length: float, loop: asyncio.AbstractEventLoop, inherited: list[float]) -> None:
        self._limit = limit
        self._length = length
        self._loop = loop
        # A limit that is no more than a burst needs no pace besides its permits.
        self._pacer = AsyncLimiter(BURST, BURST * length / limit) if limit > BURST else None
        self._look = min(length / limit, LOOK)
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._granter: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        # A permit is in flight, or answered and not yet returned, or abandoned and not yet returned.
        self._in_flight = 0
        self._answered: deque[float] = deque()  # when, in order
        self._abandoned = inherited  # when they return, a heap
        heapq.heapify(self._abandoned)
        self._round_trips = _RoundTrips()

    async def acquire(self) -> None:
        if not self._is_granting() and self._is_on_pace() and self._is_free():
            self._in_flight += 1
            await self._step()
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        if not self._is_granting():
            self._granter = self._loop.create_task(self._grant(), name="volc_moderation quota")
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                # Granted and cancelled in the same turn of the loop: nothing was sent, the next one may go.
                self._in_flight -= 1
                self._wake_granter()
            raise

    def answered(self, round_trip: float) -> None:
        now = self._loop.time()
        self._round_trips.add(round_trip, now)
        self._in_flight -= 1
        self._answered.append(now)
        if len(self._answered) == 1:  # else an earlier one returns first, and the granter knows when
            self._wake_granter()

    def abandoned(self, age: float | None) -> None:
        self._in_flight -= 1
        if age is not None:
            longest_way = min(max(self._round_trips.largest, LONGEST_WAY), self._length)
            arrived = self._loop.time() + max(0.0, longest_way - age)
            heapq.heappush(self._abandoned, arrived + self._length)
        self._wake_granter()

    def returns(self, now: float) -> list[float]:
        """Return when the permits return that are out at ``now``, at the latest."""
        in_flight = [now + LONGEST_WAY] * self._in_flight
        times = [*self._abandoned, *(when + self._length for when in (*self._answered, *in_flight))]
        return [when for when in times if when > now]

    def is_idle(self) -> bool:
        """Tell whether no permit is out and nobody waits, so that a new window would be the same."""
        if self._is_granting() or not self._is_free():  # which forgets what has returned
            return False
        return not (self._in_flight or self._answered or self._abandoned)

    def _is_on_pace(self) -> bool:
        return self._pacer is None or self._pacer.has_capacity(DRIP)

    async def _step(self) -> None:
        if self._pacer is not None:
            await self._pacer.acquire(DRIP)  # does not wait: it has capacity

    def _is_granting(self) -> bool:
        # A loop that starts tasks eagerly may have ended it before it was kept.
        return self._granter is not None and not self._granter.done()

    def _is_free(self) -> bool:
        now = self._loop.time()
        early = self._length - self._round_trips.credit
        while self._answered and self._answered[0] + early <= now:
            self._answered.popleft()
        while self._abandoned and self._abandoned[0] <= now:
            heapq.heappop(self._abandoned)
        return self._in_flight + len(self._answered) + len(self._abandoned) < self._limit

    async def _grant(self) -> None:
        """Hand out permits while someone waits: the one place that waits for them, however many calls do."""
        try:
            while self._first_waiter():
                # Not its own waiting: that never ends on a clock that stands still between timers, as in virtual time.
                while not self._is_on_pace():  # noqa: ASYNC110
                    await asyncio.sleep(self._look)
                await self._step()
                await self._until_free()
                waiter = self._first_waiter()
                if waiter:
                    self._in_flight += 1
                    waiter.set_result(None)
        finally:
            # Only at the end of the loop, when all tasks are cancelled: nobody may wait for what will not come.
            for waiter in self._waiters:
                waiter.cancel()
            self._waiters.clear()

    def _first_waiter(self) -> asyncio.Future[None] | None:
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        return self._waiters[0] if self._waiters else None

    async def _until_free(self) -> None:
        while not self._is_free():
            self._wake = self._loop.create_future()
            returns = self._next_return()
            timer = None if returns is None else self._loop.call_at(returns + COARSE, self._wake_granter)
            try:
                await self._wake
            finally:
                self._wake = None
                if timer:
                    timer.cancel()

    def _next_return(self) -> float | None:
        returns = self._abandoned[:1]
        if self._answered:
            returns.append(self._answered[0] + self._length - self._round_trips.credit)
        return min(returns, default=None)

    def _wake_granter(self) -> None:
        if self._wake and not self._wake.done():
            self._wake.set_result(None)


class _RoundTrips:
    """The smallest and the largest round trip of the last minute."""

    def __init__(self) -> None:
        self._slices: deque[_Slice] = deque(maxlen=SLICES)
        self.largest = 0.0
        #: Seconds by which a permit may return early.
        self.credit = 0.0

    def add(self, round_trip: float, now: float) -> None:
        number = int(now // SLICE)
        if not self._slices or self._slices[-1].number != number:
            self._slices.append(_Slice(number))
            while self._slices[0].number <= number - SLICES:
                self._slices.popleft()
        self._slices[-1].add(round_trip)
        self.largest = max(one.largest for one in self._slices)
        enough = sum(one.count for one in self._slices) >= ANSWERS_NEEDED
        smallest = min(one.smallest for one in self._slices)
        self.credit = max(0.0, min(smallest - MARGIN, max(MOST_EARLY, smallest / 2))) if enough else 0.0


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
