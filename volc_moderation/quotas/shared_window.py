"""One quota of a shared store as one process sees it: the calls that wait, and the one task that talks to the store."""

import asyncio
from collections.abc import Callable
from math import ceil, inf

import attrs

from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, QuotaUnavailable
from volc_moderation.log_events import LogEvent
from volc_moderation.quotas.adaptive import ThrottleCounter
from volc_moderation.quotas.exchange import MICROSECONDS, Exchange, ExchangeRequest, WindowRules, micros
from volc_moderation.quotas.machine import clock_resolution
from volc_moderation.quotas.permit import Permit, Priority, QuotaState
from volc_moderation.quotas.round_trips import CREDIT_MARGIN, LATE_ARRIVAL_ALLOWANCE, RoundTrips
from volc_moderation.quotas.shared_permit import PERMIT_LEASE, ClockReading, PermitReturn, SharedPermit
from volc_moderation.quotas.store_outage import RECONNECT_INTERVAL, REDIS_TIMEOUT, Outage, StoreOutage
from volc_moderation.quotas.wait_queue import WaitQueue
from volc_moderation.quotas.window import TIMER_RESOLUTION

#: All processes together request at most this part of the quota ahead of time, each as much as its calls are a part of
#: those that wait. So all calls wait equally long, whichever process they are in. Permits that are free are granted at
#: once, however many calls wait.
MAX_PREFETCH = 0.2
#: The part that one process requests before it knows of the others.
INITIAL_PREFETCH = 1 / 30
#: The most bulk calls that count as waiting, as a part of the quota: a process with a long list must not hold up those
#: in which somebody waits.
MAX_BULK_WEIGHT = 1 / 30
# Seconds until permits are requested again that the store did not have; twice as long each time.
MIN_POLL_INTERVAL = 0.02
MAX_POLL_INTERVAL = 0.16
#: A process that got fewer permits than it wanted keeps its place for this time and a window without another request.
MAX_SILENCE = 1.0  # seconds
#: Answered permits go back to the store after this part of a window, unless an exchange happens before.
MAX_RETURN_DELAY = 0.1
#: A permit that was granted ahead of time is not used if the store has not replied for this part of a window: it may
#: have lost its data.
MAX_UNCONFIRMED = 0.1
GENERATION_MEMORY = 60.0  # seconds for which a process remembers the generation of the store's data


class SharedWindow:
    """The permits of one key that this process holds, and the calls that wait for them.

    :param process: identifies this process in the store.
    :param processes: each of so many processes continues with an equal share of the quota during an outage.
    :param has_generation: whether the store still has the data of a generation; None if only an exchange can tell.
    :param refill_at: ask for more permits when this part of those that may be prefetched is left: above 0 for a store
        that takes time to reply.
    :param store_name: of the class, for messages.
    """

    def __init__(
        self,
        quota: Quota,
        loop: asyncio.AbstractEventLoop,
        *,
        exchange: Exchange,
        process: int,
        bulk_share: float,
        outage: Outage = "raise",
        processes: int = 1,
        has_generation: Callable[[int | None], bool] | None = None,
        refill_at: float = 0.5,
        store_name: str = "RedisQuotas",
    ) -> None:
        self._quota = quota
        self._loop = loop
        #: For how long a permit is held after an answer.
        self._length = quota.window + clock_resolution(loop)
        self._exchange = exchange
        self._process = process
        self._has_generation = has_generation
        self._refill_at = refill_at
        self._closed_message = f"these {store_name} are closed"
        memory = _vendor_memory(quota, outage, is_confirmed=has_generation is not None)
        self._outage = StoreOutage(quota, loop, mode=outage, memory=memory, processes=processes)
        self._rules = WindowRules(
            limit=quota.limit,
            published=quota.published,
            window=micros(quota.window),
            lease=micros(PERMIT_LEASE + quota.window),
            forget=micros(memory),
            silence=micros(quota.window + MAX_SILENCE),
        )
        self._wait_queue: WaitQueue[Permit] = WaitQueue(bulk_share)
        self._prefetched: list[SharedPermit] = []  # in the order of their start
        self._in_flight: dict[int, SharedPermit] = {}  # in the order of their renewal
        self._returns: list[PermitReturn] = []
        self._return_by = 0.0
        self._round_trips = RoundTrips()
        self._refusals = ThrottleCounter()
        self._is_throttle_unreported = False
        # From the last reply of the store.
        self._generation: int | None = None
        self._asked_at = 0.0
        self._last_reply_at = 0.0
        #: The store's clock is ahead of the loop's by at most this; None before the first reply of this generation.
        self._clock_offset: float | None = None
        self._effective = quota.limit
        #: The weights of the other processes; None before the first reply.
        self._others: int | None = None
        self._permits_out = 0
        self._request_at = 0.0
        self._poll_interval = MIN_POLL_INTERVAL
        #: The weight that the store knows.
        self._reported_weight = 0
        self._next_number = 0
        self._task: asyncio.Task[None] | None = None
        self._wake_up: asyncio.Future[None] | None = None
        self._is_closed = False

    async def acquire(self, priority: Priority) -> Permit:
        """Wait for a permit."""
        if self._is_closed:
            raise ConfigurationError(self._closed_message)
        waiter = self._wait_queue.enqueue(priority)
        self._start_or_wake()
        return await self._wait_queue.wait(waiter)

    def answered(self, permit: SharedPermit, round_trip: float) -> None:
        """Take a permit back after an answer."""
        now, credit = self._loop.time(), self._round_trips.credit
        self._round_trips.add(round_trip, now)
        if credit > self._round_trips.credit + CREDIT_MARGIN:
            self._postpone(credit - self._round_trips.credit)
        self._schedule_return(permit, now + self._length, self._round_trips.credit)

    def throttled(self, permit: SharedPermit, round_trip: float) -> None:
        """Take a permit back after a throttled response, which is reported to the store at once."""
        self._refusals.add(self._loop.time())
        self._is_throttle_unreported = True
        self.answered(permit, round_trip)
        self._return_by = self._loop.time()

    def abandoned(self, permit: SharedPermit, age: float | None) -> None:
        """Take a permit back after a request whose outcome is unknown, or that was not sent."""
        at = max(self._loop.time(), permit.start)
        if age is not None:
            at += self._round_trips.remaining_transit(age, self._quota.window) + self._length
        self._schedule_return(permit, at, 0.0)

    def state(self) -> QuotaState:
        """Return the status: the limit in use and the permits of all processes are those of the last reply."""
        return QuotaState(
            quota=self._quota.limit,
            effective=self._effective,
            permits_out=self._permits_out,
            waiters=len(self._wait_queue),
            refused=self._refusals.total(self._loop.time()),
        )

    def is_idle(self) -> bool:
        """Return whether this process holds no permit and no call waits."""
        return self._task is None or self._task.done()

    def now(self) -> ClockReading:
        """Read the clocks."""
        return ClockReading.now(self._loop.time)

    def is_current(self) -> bool:
        """Return whether the store still has the data of the last exchange, as far as this process can tell."""
        return self._has_generation is None or self._has_generation(self._generation)

    async def close(self) -> None:
        """Return all permits to the store, and fail the calls that wait.

        An exchange in flight ends first: otherwise the store would hold permits that no process knows of
        until their lease ends.
        """
        self._is_closed = True
        self._wait_queue.fail_all(lambda: ConfigurationError(self._closed_message))
        self._wake()
        if self._task is not None:
            await asyncio.wait({self._task})
        self._return_prefetched()
        for permit in list(self._in_flight.values()):
            self.abandoned(permit, 0.0)
        if self._returns and not self._outage.is_on:
            await self._synchronize()

    def _schedule_return(self, permit: SharedPermit, at: float, credit: float) -> None:
        self._in_flight.pop(permit.number, None)
        if not self._returns:
            self._return_by = self._loop.time() + MAX_RETURN_DELAY * self._quota.window
        self._returns.append(PermitReturn(permit.number, at, credit))
        self._start_or_wake()

    def _start_or_wake(self) -> None:
        if self._is_closed:
            return
        # On a loop that starts tasks eagerly, the task may have ended before it was assigned.
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run(), name="volc_moderation quota")
        else:
            self._wake()

    async def _run(self) -> None:
        """Grant the permits that the store gave, and talk to it when that is due, until there is nothing left to do."""
        try:
            while not self._is_closed:
                self._grant_permits()
                now = self._loop.time()
                if self._outage.is_on and now < self._outage.retry_at and self._wait_queue:
                    retry_at = await self._outage.handle(self._wait_queue)
                    if retry_at is not None:
                        await self._wait_until(retry_at)
                    continue
                due = self._next_exchange_at()
                if due is not None and due <= now:
                    await self._synchronize()
                    continue
                times = [due] if due is not None else []
                times += [permit.start for permit in self._prefetched[:1]]
                if not times:
                    return
                await self._wait_until(min(times))
        except Exception as error:  # noqa: BLE001 - a bug of ours, which is reported to the calls that wait
            # The waiters would wait in vain. The next call starts the task again.
            LogEvent.INTERNAL_ERROR.log("the quota of a shared store failed", exc_info=True, part="quotas")
            reason = f"the quota of the store failed: {type(error).__name__}"
            self._wait_queue.fail_all(lambda: QuotaUnavailable(reason))
        except asyncio.CancelledError:  # at the end of the loop, when all tasks are cancelled, or by other code
            self._wait_queue.fail_all(lambda: QuotaUnavailable("the task that shares the quota was cancelled"))
            raise

    def _grant_permits(self) -> None:
        now = self._loop.time()
        while self._wait_queue and self._prefetched and self._prefetched[0].start <= now <= self._confirmed_until():
            permit = self._prefetched.pop(0)
            if not permit.has_lease():  # the process stood still: another one may have got the permit from the store
                self._schedule_return(permit, now, 0.0)
                continue
            self._in_flight[permit.number] = permit
            self._wait_queue.grant(permit)
        if not self._wait_queue:
            self._return_prefetched()

    def _confirmed_until(self) -> float:
        """Return until when permits may be used that were granted ahead of time."""
        if self._has_generation is not None:
            return inf
        return max(self._asked_at + MAX_UNCONFIRMED * self._quota.window, self._last_reply_at + MIN_POLL_INTERVAL)

    def _return_prefetched(self) -> None:
        permits, self._prefetched = self._prefetched, []
        for permit in permits:
            self.abandoned(permit, None)

    def _postpone(self, seconds: float) -> None:
        """Use the prefetched permits later: the route is shorter than the credit that they were granted with."""
        for permit in self._prefetched:
            permit.start += seconds

    def _missing(self) -> int:
        """Return the number of permits to request."""
        return min(len(self._wait_queue), self._effective) - len(self._prefetched)

    def _max_prefetched(self) -> int:
        if self._others is None:
            return ceil(self._effective * INITIAL_PREFETCH)
        own = max(1, self._weight())
        return ceil(self._effective * MAX_PREFETCH * own / (own + self._others))

    def _weight(self) -> int:
        """Return how many calls wait, as far as they count."""
        interactive = min(self._wait_queue.count("interactive"), self._effective)
        return interactive + min(self._wait_queue.count("bulk"), ceil(self._effective * MAX_BULK_WEIGHT))

    def _next_exchange_at(self) -> float | None:
        """Return when to talk to the store next; None if there is no reason to."""
        times = []
        if self._missing() > 0 and len(self._prefetched) <= int(self._max_prefetched() * self._refill_at):
            times.append(self._request_at)
        if self._returns:
            times.append(self._return_by)
        if self._reported_weight and not self._wait_queue:
            times.append(self._last_reply_at + MAX_RETURN_DELAY * self._quota.window)
        if self._prefetched and self._wait_queue:
            times.append(max(self._prefetched[0].start, self._confirmed_until()))
        if oldest := next(iter(self._in_flight.values()), None):
            times.append(oldest.renewed_at.loop + PERMIT_LEASE / 2)
        if not times:
            return None
        return max(self._outage.retry_at, min(times)) if self._outage.is_on else min(times)

    async def _synchronize(self) -> None:
        """Return permits to the store, renew those in flight and request new ones, in one exchange."""
        now = self._loop.time()
        want = max(0, self._missing()) if now >= self._request_at else 0
        prefetch = max(0, self._max_prefetched() - len(self._prefetched))
        number, self._next_number = self._next_number, self._next_number + want
        returns, self._returns = self._returns, []
        is_refused, self._is_throttle_unreported = self._is_throttle_unreported, False
        sent_at = self.now()
        renewed = [permit for permit in self._in_flight.values() if now >= permit.renewed_at.loop + PERMIT_LEASE / 4]
        weight = self._weight()
        request = ExchangeRequest(
            rules=self._rules,
            process=self._process,
            weight=weight,
            want=want,
            prefetch=prefetch,
            number=number,
            returns=tuple((one.number, micros(one.at - now), int(one.credit * MICROSECONDS)) for one in returns),
            renew=tuple(permit.number for permit in renewed),
            throttled=is_refused,
            credit=int(self._round_trips.credit * MICROSECONDS),
            generation=self._generation if now < self._last_reply_at + GENERATION_MEMORY else None,
            was_away=self._outage.has_own_share,
            clock_bound=None if self._clock_offset is None else int((now + self._clock_offset) * MICROSECONDS),
            clock_generation=self._generation,
        )
        try:
            reply = await self._exchange(request)
        except Exception as error:  # noqa: BLE001 - the user's Redis client may raise anything
            self._returns = returns + self._returns
            self._is_throttle_unreported = is_refused or self._is_throttle_unreported
            self._outage.begin(error)
            self._reported_weight = 0
            self._return_prefetched()
            return
        self._outage.end()
        now = self._loop.time()
        for permit in renewed:
            if self._in_flight.pop(permit.number, None):  # otherwise it was answered meanwhile
                permit.renew(sent_at)
                self._in_flight[permit.number] = permit
        self._effective, self._permits_out, self._others = reply.effective, reply.permits_out, reply.others
        self._reported_weight = weight
        offset = reply.now / MICROSECONDS - sent_at.loop
        if self._generation == reply.generation and self._clock_offset is not None:
            offset = min(offset, self._clock_offset)
        elif self._generation is not None:
            # The store has lost its data: report the permits in flight again, and do not use the prefetched ones.
            self._prefetched.clear()
            for permit in self._in_flight.values():
                permit.renewed_at = attrs.evolve(permit.renewed_at, loop=-inf)
        self._generation, self._clock_offset = reply.generation, offset
        self._asked_at, self._last_reply_at = sent_at.loop, now
        for index, delay in enumerate(reply.delays):
            start = now + min(delay / MICROSECONDS, 2 * self._quota.window)
            self._prefetched.append(SharedPermit(self, number + index, start, sent_at))
        self._prefetched.sort(key=lambda permit: permit.start)
        is_empty = want > 0 and not reply.delays
        self._poll_interval = min(2 * self._poll_interval, MAX_POLL_INTERVAL) if is_empty else MIN_POLL_INTERVAL
        wait = min(max(self._poll_interval, reply.wait / MICROSECONDS), self._quota.window)
        is_short = len(reply.delays) < want and sum(delay > 0 for delay in reply.delays) < prefetch
        self._request_at = now + wait if is_short else now

    async def _wait_until(self, when: float) -> None:
        """Wait until ``when``, or until something happens."""
        self._wake_up = self._loop.create_future()
        timer = self._loop.call_at(when + TIMER_RESOLUTION, self._wake)
        try:
            await self._wake_up
        finally:
            self._wake_up = None
            timer.cancel()

    def _wake(self) -> None:
        if self._wake_up is not None and not self._wake_up.done():
            self._wake_up.set_result(None)


def _vendor_memory(quota: Quota, outage: Outage, *, is_confirmed: bool) -> float:
    """Return the seconds after which the vendor no longer counts requests whose permits were lost.

    Where each process continues with its share, the processes return to the store one after the other.

    :param is_confirmed: whether the store confirms that it still has its data before a permit is used.
    """
    reconnect = REDIS_TIMEOUT + RECONNECT_INTERVAL if outage == "share" else 0.0
    unconfirmed = 0.0 if is_confirmed else MAX_UNCONFIRMED * quota.window
    return quota.window + LATE_ARRIVAL_ALLOWANCE + reconnect + unconfirmed
