"""Window permits in one event loop: the vendor never sees more than N requests in any second.

A call takes a permit before it sends and gives it back one second after the answer. The vendor received the request in
between, so whatever it received in its past second still holds a permit: it can never have counted more than N. How
much earlier a permit may return is said in ``round_trips.py``.
"""

import asyncio
import heapq
import threading
import time
from collections import deque
from collections.abc import Mapping

import attrs
from aiolimiter import AsyncLimiter

from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, QuotaUnavailable, describe
from volc_moderation.quotas.adaptive import Effective, Refusals
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey, QuotaState
from volc_moderation.quotas.round_trips import LONGEST_WAY, RoundTrips
from volc_moderation.quotas.store import Store
from volc_moderation.quotas.wait_queue import BULK_SHARE, WaitQueue

#: Permits go out at most this many at once: bursts make an HTTP pool collapse.
BURST = 3
#: What a permit takes of the pace: a little less than one, so that a coarse clock does not make it wait twice.
DRIP = 0.99
#: The pace is a little faster than what an unpublished quota has grown to, so that it is not made anew each time.
AHEAD = 1.5
#: Longest wait between two looks at the pace: a low quota must not wait for a whole interval again.
LOOK = 0.02
#: Seconds by which a loop's timer may be early: a clock has its resolution, and a virtual one a coarse one.
COARSE = 0.000_01


class WindowQuotas(Store["Window"]):
    """Window permits for the clients of one event loop, first come, first served.

    When the vendor refuses a call as one too many, because other programs use the same account, less of the quota is
    used, and more again later: see ``snapshot()``.

    :param limits: replaces the documented limit of an action, in calls per window: ``{"StartDetection": 50}``, or
        ``{"start_detection": 50}``. Use it for actions whose limit the vendor does not publish (learned from 20/s on
        unless set here), or after the vendor has raised yours. What a vendor allows for one room stays as documented.
    :param bulk_share: interactive calls go before bulk calls; this is what bulk calls get at least while both wait.
    :param processes: how many processes use the same account at the same time, each with a store like this one. Each
        gets an equal part of every quota, whether the others use theirs or not. A quota of fewer calls than processes
        cannot be divided: such a call raises ``ConfigurationError``. ``RedisQuotas`` shares without these limits.

    Raises ``ConfigurationError`` for a wrong setting, and for the limit of an action that there is not.
    """

    def __init__(
        self, limits: Mapping[str, int] | None = None, *, bulk_share: float = BULK_SHARE, processes: int = 1
    ) -> None:
        super().__init__(limits, bulk_share)
        if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
            raise ConfigurationError(f"processes must be an int of at least 1; got {describe(processes)}")
        self._processes = processes
        self._inherited: dict[QuotaKey, list[float]] = {}
        self._is_monotonic = False

    def inherit(self, returns: Mapping[QuotaKey, list[float]]) -> None:
        """Take over permits of a store whose loop has ended: the vendor still counts what it sent.

        Times are those of ``time.monotonic``.
        """
        for key, times in returns.items():
            self._inherited.setdefault(key, []).extend(times)

    def returns(self) -> dict[QuotaKey, list[float]]:
        """Return when the permits return that are out, for a store of another loop; what is inherited goes on to it."""
        now = time.monotonic()
        out = {key: [when for when in times if when > now] for key, times in self._inherited.items()}
        if self._is_monotonic:  # else a virtual loop, whose times mean nothing to others
            out |= {key: window.returns(now) for key, window in self._windows.items()}
        return {key: times for key, times in out.items() if times}

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_monotonic = _is_monotonic(loop)

    def _limited(self, key: QuotaKey, quota: Quota) -> Quota:
        whole = super()._limited(key, quota)
        if whole.limit < self._processes:
            raise ConfigurationError(
                f"the quota of {key.action}, {whole.limit} in {whole.window:g} s, cannot be divided among"
                f" {self._processes} processes; share it with RedisQuotas"
            )
        return attrs.evolve(whole, limit=whole.limit // self._processes)

    def _open(self, key: QuotaKey, quota: Quota, loop: asyncio.AbstractEventLoop) -> "Window":
        inherited = self._inherited.pop(key, []) if self._is_monotonic else []
        return Window(quota, loop, self._bulk_share, inherited)


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
                store.inherit(_stores.pop(loop).returns())
            _stores[running] = store
        return _stores[running]


_stores: dict[asyncio.AbstractEventLoop, WindowQuotas] = {}
_stores_lock = threading.Lock()


def _is_monotonic(loop: asyncio.AbstractEventLoop) -> bool:
    return abs(loop.time() - time.monotonic()) < 1


class Window:
    """The permits of one key, and who waits for them. They are all alike, so it stands for each of them itself."""

    def __init__(
        self, quota: Quota, loop: asyncio.AbstractEventLoop, bulk_share: float, inherited: list[float]
    ) -> None:
        self._quota = quota
        self._effective = Effective(quota)
        self._refusals = Refusals()
        self._length = quota.window
        self._loop = loop
        self._set_pace(quota.limit)
        self._wait_queue: WaitQueue[Permit] = WaitQueue(bulk_share)
        self._granter: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        # A permit is in flight, or answered and not yet returned, or abandoned and not yet returned.
        self._in_flight = 0
        self._answered: deque[float] = deque()  # when, in order
        self._abandoned = inherited  # when they return, a heap
        heapq.heapify(self._abandoned)
        self._round_trips = RoundTrips()

    async def acquire(self, priority: Priority) -> Permit:
        """Wait for a permit."""
        if not self._is_granting() and self._is_on_pace() and self._is_free():
            self._in_flight += 1
            await self._step()
            return self
        turn = self._wait_queue.join(priority)
        if not self._is_granting():
            self._granter = self._loop.create_task(self._grant(), name="volc_moderation quota")
        return await self._wait_queue.wait(turn)

    def answered(self, round_trip: float) -> None:
        """Take a permit back after an answer."""
        now = self._loop.time()
        self._round_trips.add(round_trip, now)
        self._in_flight -= 1
        self._answered.append(now)
        if len(self._answered) == 1:  # else an earlier one returns first, and the granter knows when
            self._wake_granter()

    def throttled(self, round_trip: float) -> None:
        """Take a permit back after a refusal."""
        self._effective.throttled(self._loop.time())
        self._refusals.add(self._loop.time())
        self.answered(round_trip)

    def abandoned(self, age: float | None) -> None:
        """Take a permit back after a request whose fate is unknown, or that was not sent."""
        self._in_flight -= 1
        if age is not None:
            arrived = self._loop.time() + self._round_trips.still_on_its_way(age, self._length)
            heapq.heappush(self._abandoned, arrived + self._length)
        self._wake_granter()

    def state(self) -> QuotaState:
        """Return how it stands."""
        now = self._loop.time()
        self._is_free()  # which forgets what has returned
        return QuotaState(
            quota=self._quota.limit,
            effective=self._effective.at(now),
            permits_out=self._permits_out(),
            waiters=self._wait_queue.waiting,
            refused=self._refusals.at(now),
        )

    def returns(self, now: float) -> list[float]:
        """Return when the permits return that are out at ``now``, at the latest."""
        in_flight = [now + LONGEST_WAY] * self._in_flight
        times = [*self._abandoned, *(when + self._length for when in (*self._answered, *in_flight))]
        return [when for when in times if when > now]

    def is_idle(self) -> bool:
        """Tell whether no permit is out, nobody waits and nothing was learned, so that a new one would be the same."""
        if self._is_granting() or not self._is_free():  # which forgets what has returned
            return False
        return not self._permits_out() and self._effective.at(self._loop.time()) == self._quota.limit

    def _set_pace(self, limit: float) -> None:
        """Set how fast permits go out. A limit that is no more than a burst needs no pace besides its permits."""
        self._paced_for = limit
        self._pacer = AsyncLimiter(BURST, BURST * self._length / limit) if limit > BURST else None
        self._look = min(self._length / limit, LOOK)

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
        return self._permits_out() < self._effective.at(now)

    def _permits_out(self) -> int:
        return self._in_flight + len(self._answered) + len(self._abandoned)

    async def _grant(self) -> None:
        """Hand out permits while someone waits: the one place that waits for them, however many calls do."""
        try:
            while self._wait_queue.waiting:
                # Not its own waiting: that never ends on a clock that stands still between timers, as in virtual time.
                while not self._is_on_pace():  # noqa: ASYNC110
                    await asyncio.sleep(self._look)
                await self._step()
                if not self._is_free():
                    self._learn()
                    await self._until_free()
                if self._wait_queue.waiting:
                    self._in_flight += 1
                    self._wait_queue.give(self)
        except BaseException as error:
            # By the end of the loop, when all tasks are cancelled, or by somebody else: nobody may wait for what will
            # not come, and nobody is cancelled who was not.
            reason = f"the task that hands out permits ended: {type(error).__name__}"
            self._wait_queue.refuse(lambda: QuotaUnavailable(reason))
            raise

    def _learn(self) -> None:
        """Take note that all permits are out and calls wait. What is not published may be more than was thought."""
        self._effective.short()
        if self._effective.at(self._loop.time()) > self._paced_for:
            self._set_pace(AHEAD * self._paced_for)

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
