"""Window permits in one event loop: the vendor never counts more than N requests in any second.

A call takes a permit before it sends and returns it one second after the answer. The vendor received the request in
between, so every request of its past second still holds a permit: it can never have counted more than N. How much
earlier a permit may return is explained in ``round_trips.py``.
"""

import asyncio
import heapq
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping

import attrs

from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, QuotaUnavailable, describe
from volc_moderation.quotas.adaptive import AdaptiveLimit, ThrottleCounter
from volc_moderation.quotas.machine import clock_resolution
from volc_moderation.quotas.permit import Permit, Priority, QuotaKey, QuotaState
from volc_moderation.quotas.round_trips import LATE_ARRIVAL_ALLOWANCE, RoundTrips
from volc_moderation.quotas.store import QuotaStore
from volc_moderation.quotas.wait_queue import DEFAULT_BULK_SHARE, WaitQueue

# The pace of permits. With Redis, ``grant_permits.lua`` keeps the same pace.

#: Permits are paced while at least this part of a quota is used. Below it, none is scarce, and no call waits.
PACED_FROM = 0.5
#: While they are paced, at most this many are granted at once: what is sent in a burst returns in a burst, and more of
#: it is refused when the route to the vendor becomes shorter.
MAX_BURST = 3
#: What a permit takes of the pacer's capacity: a little less than 1, so that a coarse clock does not delay it twice.
PACE_COST = 0.99
#: When the limit outgrows its pacer, the next pacer is this many times as fast, so that few are made.
PACE_HEADROOM = 1.05
#: The longest wait between two checks of the pace: a low quota must not wait for a whole interval again.
MAX_PACE_POLL_INTERVAL = 0.02  # seconds
#: A timer of the loop may fire this much early: clocks have a resolution, and that of a virtual clock is coarse.
TIMER_RESOLUTION = 0.000_01  # seconds

#: What to do if another process uses the quota, too: the likely cause of refusals.
SHARING_HINT = (
    ". Processes share a quota with FileQuotas (on one machine) or RedisQuotas (on many): quotas=, or the variable"
    " VOLC_MODERATION_QUOTAS"
)


class WindowQuotas(QuotaStore["LocalWindow"]):
    """Window permits for the clients of one event loop: interactive calls first, else in the order of the calls.

    When the vendor throttles a call, because other programs use the same account, less of the quota is used,
    and more again later: see ``snapshot()``.

    :param limits: replaces the documented limit of an action, in calls per window, at least 1: ``{"StartDetection":
        50}`` or ``{"start_detection": 50}``. Use it for actions whose limit the vendor does not publish (learned from
        20/s on unless set here), or after the vendor has raised yours. Limits for one room stay as documented.
    :param bulk_share: interactive calls go before bulk calls; this part of the permits, at least 0 and below 1, is the
        least that bulk calls get while both wait.
    :param processes: the number of processes that use the same account at the same time, each with a store like this
        one; at least 1. Each gets an equal part of every quota, whether the others use theirs or not. A quota of fewer
        calls than processes cannot be divided: such a call raises ``ConfigurationError``. ``RedisQuotas`` shares
        quotas without these restrictions.

    Raises ``ConfigurationError`` for a wrong setting, and for the limit of an unknown action.
    """

    def __init__(
        self, limits: Mapping[str, int] | None = None, *, bulk_share: float = DEFAULT_BULK_SHARE, processes: int = 1
    ) -> None:
        super().__init__(limits, bulk_share)
        if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
            raise ConfigurationError(f"processes must be an int of at least 1; got {describe(processes)}")
        self._processes = processes
        self._inherited: dict[QuotaKey, list[float]] = {}
        self._is_monotonic = False

    def inherit_permits(self, return_times: Mapping[QuotaKey, list[float]]) -> None:
        """Take over the permits of a store that has ended: the vendor still counts the requests that were sent with it.

        :param return_times: when the permits return, by quota, on the clock of ``time.monotonic``.
        """
        for key, times in return_times.items():
            if key in self._windows and self._is_monotonic:
                self._windows[key].inherit(times)
            else:
                self._inherited.setdefault(key, []).extend(times)

    def assume_used(self, key: QuotaKey, quota: Quota) -> None:
        """Let all permits of a quota be out, as if each had just been used: another process may have used them.

        :param quota: the documented quota; a limit of the user's replaces it.
        """
        applied = self._configured_quota(key, quota)
        at = time.monotonic() + LATE_ARRIVAL_ALLOWANCE + applied.window
        self.inherit_permits({key: applied.limit * [at]})

    def permit_return_times(self) -> dict[QuotaKey, list[float]]:
        """Return when the permits that are out return, for ``inherit_permits`` of the store of another loop.

        Inherited permits that are still out are passed on.
        """
        now = time.monotonic()
        out = {key: [at for at in times if at > now] for key, times in self._inherited.items()}
        if self._is_monotonic:  # the times of a virtual loop mean nothing to other loops
            out |= {key: window.return_times(now) for key, window in self._windows.items()}
        return {key: times for key, times in out.items() if times}

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_monotonic = _is_monotonic(loop)

    def _configured_quota(self, key: QuotaKey, quota: Quota) -> Quota:
        whole = super()._configured_quota(key, quota)
        if whole.limit < self._processes:
            raise ConfigurationError(
                f"the quota of {key.action}, {whole.limit} in {whole.window:g} s, cannot be divided among"
                f" {self._processes} processes; share it with RedisQuotas"
            )
        return attrs.evolve(whole, limit=whole.limit // self._processes)

    def _create_window(self, key: QuotaKey, quota: Quota, loop: asyncio.AbstractEventLoop) -> "LocalWindow":
        inherited = self._inherited.pop(key, []) if self._is_monotonic else []
        return LocalWindow(quota, loop, self._bulk_share, inherited)


def default_quotas() -> WindowQuotas:
    """Return the store of the running loop, which its clients share unless they are given another.

    Shared, because the vendor counts per account: two clients with a store each would send twice the quota, and so
    would a client created in the same second in which another ended.
    """
    running = asyncio.get_running_loop()
    with _stores_lock:
        if running not in _stores:
            store = WindowQuotas()
            for loop in [loop for loop in _stores if loop.is_closed()]:
                store.inherit_permits(_stores.pop(loop).permit_return_times())
            _stores[running] = store
        return _stores[running]


_stores: dict[asyncio.AbstractEventLoop, WindowQuotas] = {}
_stores_lock = threading.Lock()


def _is_monotonic(loop: asyncio.AbstractEventLoop) -> bool:
    return abs(loop.time() - time.monotonic()) < 1


class LocalWindow:
    """The permits of one key, and the calls that wait for them.

    The permits are all alike, so that this object itself stands for each of them.
    """

    def __init__(
        self, quota: Quota, loop: asyncio.AbstractEventLoop, bulk_share: float, inherited: list[float]
    ) -> None:
        self._quota = quota
        self._limit = AdaptiveLimit(quota)
        self._refusals = ThrottleCounter()
        #: For how long a permit is held after an answer.
        self._length = quota.window + clock_resolution(loop)
        self._loop = loop
        self._set_pace(quota.limit)
        self._wait_queue: WaitQueue[Permit] = WaitQueue(bulk_share)
        self._granter: asyncio.Task[None] | None = None
        self._wake_up: asyncio.Future[None] | None = None
        # A permit that is out is in flight, or answered and not yet returned, or abandoned and not yet returned.
        self._in_flight = 0
        self._answered: deque[float] = deque()  # the times of the answers, in order
        self._abandoned = inherited  # the times of the returns, a heap
        #: The times of the answers of the last window whose permits returned early, in order.
        self._returned_early: deque[float] = deque()
        heapq.heapify(self._abandoned)
        self._round_trips = RoundTrips()

    async def acquire(self, priority: Priority) -> Permit:
        """Wait for a permit."""
        if not self._is_granting() and self._has_free_permit():
            if not self._is_paced():
                self._in_flight += 1
                return self
            if self._is_on_pace():
                self._in_flight += 1
                await self._take_pace()
                return self
        waiter = self._wait_queue.enqueue(priority)
        if not self._is_granting():
            self._granter = self._loop.create_task(self._grant_permits(), name="volc_moderation quota")
        return await self._wait_queue.wait(waiter)

    def answered(self, round_trip: float) -> None:
        """Take a permit back after an answer."""
        now = self._loop.time()
        self._round_trips.add(round_trip, now)
        self._in_flight -= 1
        self._answered.append(now)
        if len(self._answered) == 1:  # otherwise an earlier one returns first, and the granter knows when
            self._wake_granter()

    def throttled(self, round_trip: float) -> None:
        """Take a permit back after a throttled response."""
        now = self._loop.time()
        self._limit.record_throttle(now)
        if self._limit.current(now) < self._paced_for:
            self._set_pace(self._limit.current(now))
        self._refusals.add(now)
        self.answered(round_trip)

    def abandoned(self, age: float | None) -> None:
        """Take a permit back after a request whose outcome is unknown, or that was not sent."""
        self._in_flight -= 1
        if age is not None:
            arrived = self._loop.time() + self._round_trips.remaining_transit(age, self._length)
            heapq.heappush(self._abandoned, arrived + self._length)
        self._wake_granter()

    def state(self) -> QuotaState:
        """Return the status of the quota."""
        now = self._loop.time()
        self._has_free_permit()  # which drops the permits that have returned
        return QuotaState(
            quota=self._quota.limit,
            effective=self._limit.current(now),
            permits_out=self._permits_out(),
            waiters=len(self._wait_queue),
            refused=self._refusals.total(now),
        )

    def return_times(self, now: float) -> list[float]:
        """Return the latest times at which the permits that are out at ``now`` return."""
        in_flight = [now + LATE_ARRIVAL_ALLOWANCE] * self._in_flight
        times = [*self._abandoned, *(at + self._length for at in (*self._answered, *in_flight))]
        return [at for at in times if at > now]

    def inherit(self, return_times: Iterable[float]) -> None:
        """Take over permits that are out, and return at these times."""
        for at in return_times:
            heapq.heappush(self._abandoned, at)

    def is_idle(self) -> bool:
        """Return whether no permit is out, no call waits and nothing was learned: a new window would be the same."""
        if self._is_granting() or not self._has_free_permit():  # which drops the permits that have returned
            return False
        return not self._permits_out() and self._limit.current(self._loop.time()) == self._quota.limit

    def _set_pace(self, limit: float) -> None:
        """Set how fast permits are granted. A limit that is no more than a burst needs no pace besides its permits."""
        from aiolimiter import AsyncLimiter  # noqa: PLC0415 - looks for its version on the disk, which takes 8 ms

        self._paced_for = limit
        self._pacer = AsyncLimiter(MAX_BURST, MAX_BURST * self._length / limit) if limit > MAX_BURST else None
        self._pace_poll_interval = min(self._length / limit, MAX_PACE_POLL_INTERVAL)

    def _is_paced(self) -> bool:
        """Return whether enough of the quota is used to pace permits.

        Permits that returned early count too: if the route became shorter, the vendor still counts their requests.
        """
        used = self._permits_out() + len(self._returned_early)
        return used >= PACED_FROM * self._limit.current(self._loop.time())

    def _is_on_pace(self) -> bool:
        return self._pacer is None or self._pacer.has_capacity(PACE_COST)

    async def _take_pace(self) -> None:
        if self._pacer is not None:
            await self._pacer.acquire(PACE_COST)  # does not wait: there is capacity

    def _is_granting(self) -> bool:
        # On a loop that starts tasks eagerly, the task may have ended before it was assigned.
        return self._granter is not None and not self._granter.done()

    def _has_free_permit(self) -> bool:
        now = self._loop.time()
        early = self._length - self._round_trips.credit
        while self._answered and self._answered[0] + early <= now:
            self._returned_early.append(self._answered.popleft())
        while self._returned_early and self._returned_early[0] + self._length <= now:
            self._returned_early.popleft()
        while self._abandoned and self._abandoned[0] <= now:
            heapq.heappop(self._abandoned)
        return self._permits_out() < self._limit.current(now)

    def _permits_out(self) -> int:
        return self._in_flight + len(self._answered) + len(self._abandoned)

    async def _grant_permits(self) -> None:
        """Grant permits while calls wait: the only task that waits for them, however many calls do."""
        try:
            while self._wait_queue:
                if not self._has_free_permit() or self._is_paced():
                    # The pacer's own wait never ends on a clock that stands still between timers, as in virtual time.
                    while not self._is_on_pace():  # noqa: ASYNC110
                        await asyncio.sleep(self._pace_poll_interval)
                    await self._take_pace()
                if not self._has_free_permit():
                    self._record_shortage()
                    await self._wait_until_free()
                if self._wait_queue:
                    self._in_flight += 1
                    self._wait_queue.grant(self)
        except BaseException as error:
            # Cancelled at the end of the loop, as all tasks are, or by other code. The waiters would wait in vain, and
            # must not be cancelled themselves.
            reason = f"the task that grants permits ended: {type(error).__name__}"
            self._wait_queue.fail_all(lambda: QuotaUnavailable(reason))
            raise

    def _record_shortage(self) -> None:
        """Record that all permits are out while calls wait. An unpublished quota may turn out to be larger."""
        self._limit.record_shortage()
        limit = self._limit.current(self._loop.time())
        if limit > self._paced_for:
            faster = PACE_HEADROOM * limit
            self._set_pace(min(faster, self._quota.limit) if self._quota.published else faster)

    async def _wait_until_free(self) -> None:
        while not self._has_free_permit():
            self._wake_up = self._loop.create_future()
            next_return = self._next_return()
            timer = (
                None if next_return is None else self._loop.call_at(next_return + TIMER_RESOLUTION, self._wake_granter)
            )
            try:
                await self._wake_up
            finally:
                self._wake_up = None
                if timer:
                    timer.cancel()

    def _next_return(self) -> float | None:
        returns = self._abandoned[:1]
        if self._answered:
            returns.append(self._answered[0] + self._length - self._round_trips.credit)
        return min(returns, default=None)

    def _wake_granter(self) -> None:
        if self._wake_up and not self._wake_up.done():
            self._wake_up.set_result(None)
