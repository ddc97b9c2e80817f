"""One quota of a shared store as one process sees it: who waits for it, and the one task that talks to the store."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from math import ceil, inf
from typing import Any, Literal

import attrs

from volc_moderation.action import Quota
from volc_moderation.errors import ConfigurationError, QuotaUnavailable
from volc_moderation.quotas.adaptive import GROWTH, LEARNING, SHRINK, Refusals
from volc_moderation.quotas.permit import Permit, Priority, QuotaState
from volc_moderation.quotas.round_trips import LONGEST_WAY, RoundTrips
from volc_moderation.quotas.shared_permit import LEASE, Moment, Return, SharedPermit
from volc_moderation.quotas.wait_queue import WaitQueue
from volc_moderation.quotas.window import BURST, COARSE, DRIP, Window

#: What to do while the store is away.
Outage = Literal["raise", "wait", "share"]
#: Runs the script with its JSON argument. Raises whatever it likes if the store is away, within ``PATIENCE``.
Exchange = Callable[[str], Awaitable[Any]]

#: How many permits a process asks for ahead, as a part of the quota. All have the same number of them in the order in
#: which the store was asked, and so the same share of the quota.
AHEAD = 1 / 30
#: Seconds that the store has for an answer, and between two tries to reach it when it is away.
PATIENCE = 1.0
AGAIN = 0.25
#: Shortest wait before asking again for what was not there.
POLL = 0.02
#: What was answered is brought back after this part of a window, if there is nothing else to say before.
BRING = 0.1
#: Seconds for which a process remembers which life of the store it knew.
MEMORY = 60.0
#: Seconds for which the store keeps a quota that nobody uses. Its keys end by its own clock, which may step by an hour
#: and do no harm. What was learned is kept longer.
KEEP = 7200.0
KEEP_LEARNED = 86_400.0

MICRO = 1_000_000

CLOSED = "these RedisQuotas are closed"

_log = logging.getLogger("volc_moderation")


class SharedWindow:
    """The permits of one key that this process holds, and who waits for them."""

    def __init__(
        self,
        quota: Quota,
        loop: asyncio.AbstractEventLoop,
        *,
        exchange: Exchange,
        process: str,
        bulk_share: float,
        outage: Outage,
        processes: int,
    ) -> None:
        self._quota = quota
        self._loop = loop
        self._exchange = exchange
        self._process = process
        self._outage = outage
        self._processes = processes
        self._wait_queue: WaitQueue[Permit] = WaitQueue(bulk_share)
        self._stock: list[SharedPermit] = []  # in the order of their start
        self._in_flight: dict[str, SharedPermit] = {}  # in the order of when they were told of
        self._returns: list[Return] = []
        self._bring_at = 0.0
        self._round_trips = RoundTrips()
        self._refusals = Refusals()
        self._throttled = False
        # What the store said last.
        self._born: int | None = None
        self._heard_at = 0.0
        #: At most so far is the store's clock ahead of the loop's; None if it was not heard of in this life.
        self._ahead_by: float | None = None
        self._effective = quota.limit
        self._out = 0
        self._ask_at = 0.0
        # While the store is away: when to try again, and the share that is used meanwhile.
        self._error: str | None = None
        self._try_at = 0.0
        self._share: Window | None = None
        self._number = 0
        self._task: asyncio.Task[None] | None = None
        self._wake: asyncio.Future[None] | None = None
        self._is_closed = False

    async def acquire(self, priority: Priority) -> Permit:
        """Wait for a permit."""
        if self._is_closed:
            raise ConfigurationError(CLOSED)
        turn = self._wait_queue.join(priority)
        self._go()
        return await self._wait_queue.wait(turn)

    def answered(self, permit: SharedPermit, round_trip: float) -> None:
        """Take a permit back after an answer."""
        now = self._loop.time()
        self._round_trips.add(round_trip, now)
        self._bring(permit, now + self._quota.window, self._round_trips.credit)

    def throttled(self, permit: SharedPermit, round_trip: float) -> None:
        """Take a permit back after a refusal, which the store is told at once."""
        self._refusals.add(self._loop.time())
        self._throttled = True
        self.answered(permit, round_trip)
        self._bring_at = self._loop.time()

    def abandoned(self, permit: SharedPermit, age: float | None) -> None:
        """Take a permit back after a request whose fate is unknown, or that was not sent."""
        at = max(self._loop.time(), permit.start)
        if age is not None:
            at += self._round_trips.still_on_its_way(age, self._quota.window) + self._quota.window
        self._bring(permit, at, 0.0)

    def state(self) -> QuotaState:
        """Return how it stands: the quota and the permits of all processes as the store last said."""
        return QuotaState(
            quota=self._quota.limit,
            effective=self._effective,
            permits_out=self._out,
            waiters=self._wait_queue.waiting,
            refused=self._refusals.at(self._loop.time()),
        )

    def is_idle(self) -> bool:
        """Tell whether this process holds nothing and nobody waits."""
        return self._task is None or self._task.done()

    def now(self) -> Moment:
        """Return this moment."""
        return Moment.now(self._loop.time)

    async def close(self) -> None:
        """Bring back all that is held, and refuse who waits.

        What the store is just being asked for is heard first: it would hold for long what nobody knows of.
        """
        self._is_closed = True
        self._wait_queue.refuse(lambda: ConfigurationError(CLOSED))
        self._wake_up()
        if self._task is not None:
            await asyncio.wait({self._task})
        self._give_back_stock()
        for permit in list(self._in_flight.values()):
            self.abandoned(permit, 0.0)
        if self._returns and self._error is None:
            await self._talk()

    def _bring(self, permit: SharedPermit, at: float, credit: float) -> None:
        self._in_flight.pop(permit.id, None)
        if not self._returns:
            self._bring_at = self._loop.time() + BRING * self._quota.window
        self._returns.append(Return(permit.id, at, credit))
        self._go()

    def _go(self) -> None:
        if self._is_closed:
            return
        # A loop that starts tasks eagerly may have ended it before it was kept.
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._run(), name="volc_moderation quota")
        else:
            self._wake_up()

    async def _run(self) -> None:
        """Hand out what the store gave, and talk to it when that is due, until there is nothing more to do."""
        try:
            while not self._is_closed:
                self._hand_out()
                now = self._loop.time()
                if self._error is not None and now < self._try_at and self._wait_queue.waiting:
                    await self._do_without()
                    continue
                due = self._talk_at()
                if due is not None and due <= now:
                    await self._talk()
                    continue
                times = [due] if due is not None else []
                times += [permit.start for permit in self._stock[:1]]
                if not times:
                    return
                await self._until(min(times))
        except Exception as error:  # noqa: BLE001 - a fault of ours, which is told to who waits
            # Nobody may wait for what will not come. Whoever asks next starts it anew.
            _log.exception("the quota of a shared store failed")
            reason = f"the quota of the store failed: {type(error).__name__}"
            self._wait_queue.refuse(lambda: QuotaUnavailable(reason))
        except asyncio.CancelledError:  # by the end of the loop, when all tasks are, or by somebody else
            self._wait_queue.refuse(lambda: QuotaUnavailable("the task that shares the quota was cancelled"))
            raise

    def _hand_out(self) -> None:
        now = self._loop.time()
        while self._stock and self._wait_queue.waiting and self._stock[0].start <= now:
            permit = self._stock.pop(0)
            if not permit.is_valid():  # the process stood still: the store may have given it to another one
                self._bring(permit, now, 0.0)
                continue
            self._in_flight[permit.id] = permit
            self._wait_queue.give(permit)
        if not self._wait_queue.waiting:
            self._give_back_stock()

    def _give_back_stock(self) -> None:
        stock, self._stock = self._stock, []
        for permit in stock:
            self.abandoned(permit, None)

    def _wanted(self) -> int:
        return min(self._wait_queue.waiting, self._ahead()) - len(self._stock)

    def _ahead(self) -> int:
        return ceil(self._effective * AHEAD)

    def _talk_at(self) -> float | None:
        """Return when to talk to the store next."""
        times = []
        if self._wanted() > 0 and len(self._stock) <= self._ahead() // 2:
            times.append(self._ask_at)
        if self._returns:
            times.append(self._bring_at)
        if oldest := next(iter(self._in_flight.values()), None):
            times.append(oldest.told.loop + LEASE / 2)
        if not times:
            return None
        return min(times) if self._error is None else max(self._try_at, min(times))

    async def _talk(self) -> None:
        """Bring permits back and ask for new ones."""
        now = self._loop.time()
        want = max(0, self._wanted()) if now >= self._ask_at else 0
        number, self._number = self._number, self._number + want
        returns, self._returns = self._returns, []
        throttled, self._throttled = self._throttled, False
        told = self.now()
        renewed = [one for one in self._in_flight.values() if now >= one.told.loop + LEASE / 4]
        ask = self._ask(now) | {
            "want": want,
            "number": number,
            "returns": [word for one in returns for word in (one.id, _micros(one.at - now), int(one.credit * MICRO))],
            "renew": [one.id for one in renewed],
            "throttled": throttled,
        }
        try:
            answer = _Answer.read(await self._exchange(json.dumps(ask)))
        except Exception as error:  # noqa: BLE001 - whatever a client raises that the user brought
            self._returns = returns + self._returns
            self._throttled = throttled or self._throttled
            self._lose(error)
            return
        if self._error is not None:
            _log.info("the store of quotas is back")
        self._error = self._share = None
        now = self._loop.time()
        for one in renewed:
            if self._in_flight.pop(one.id, None):  # else it was answered meanwhile
                one.told = told
                self._in_flight[one.id] = one
        self._effective, self._out = answer.effective, answer.out
        ahead_by = answer.now / MICRO - told.loop
        if self._born == answer.born and self._ahead_by is not None:
            ahead_by = min(ahead_by, self._ahead_by)
        elif self._born is not None:
            # The store has forgotten all: it is told of what is in flight, and what it gave ahead is not used.
            self._stock.clear()
            for one in self._in_flight.values():
                one.told = attrs.evolve(one.told, loop=-inf)
        self._born, self._heard_at, self._ahead_by = answer.born, now, ahead_by
        for offset, delay in enumerate(answer.given):
            start = now + min(delay / MICRO, 2 * self._quota.window)
            self._stock.append(SharedPermit(self, f"{self._process}:{number + offset}", start, told))
        self._stock.sort(key=lambda permit: permit.start)
        wait = min(max(POLL, answer.wait / MICRO), self._quota.window)
        self._ask_at = now + wait if len(answer.given) < want else now

    def _ask(self, now: float) -> dict[str, Any]:
        """Return what the script is always told: spans in microseconds, how long to keep what in milliseconds."""
        quota = self._quota
        ask = {
            "process": self._process,
            "away": self._share is not None,
            "credit": int(self._round_trips.credit * MICRO),
            "limit": quota.limit,
            "published": quota.published,
            "window": _micros(quota.window),
            "lease": _micros(LEASE + quota.window),
            "forget": _micros(self._forget()),
            "silence": _micros(quota.window + PATIENCE),
            "remember": int((KEEP if quota.published else KEEP_LEARNED) * 1000),
            "keep": int(KEEP * 1000),
            "growth": GROWTH,
            "learning": LEARNING,
            "shrink": SHRINK,
            "burst": BURST,
            "drip": DRIP,
        }
        if self._born is not None and now < self._heard_at + MEMORY:
            ask["born"] = self._born
        if self._ahead_by is not None:
            ask["now"] = int((now + self._ahead_by) * MICRO)
        return ask

    def _forget(self) -> float:
        """Return after how many seconds the vendor has forgotten what was sent with permits that were lost.

        Where each process goes on with its share, they come back to the store one after the other.
        """
        return self._quota.window + LONGEST_WAY + (PATIENCE + AGAIN if self._outage == "share" else 0.0)

    def _lose(self, error: Exception) -> None:
        """Take note that the store is away."""
        now = self._loop.time()
        reason = f"{type(error).__name__}: {error}"[:200]
        if self._error is None:
            _log.warning("the store of quotas is away: %s", reason)
        self._error = reason
        self._try_at = now + AGAIN
        self._give_back_stock()
        share = self._quota.limit // self._processes
        if self._outage == "share" and self._share is None and share:
            quota = attrs.evolve(self._quota, limit=share, published=True)
            self._share = Window(quota, self._loop, 0.0, [now + self._forget()] * share)

    async def _do_without(self) -> None:
        """While the store is away: refuse who waits, let them wait, or serve the next one from the own share."""
        if self._outage == "wait":
            await self._until(self._try_at)
        elif self._share is None:
            self._wait_queue.refuse(lambda: QuotaUnavailable(f"the store of quotas is away: {self._error}"))
        else:
            try:
                async with asyncio.timeout(self._try_at - self._loop.time() + COARSE):
                    permit = await self._share.acquire("interactive")
            except TimeoutError:
                return
            self._wait_queue.give(permit)

    async def _until(self, when: float) -> None:
        """Wait, but no longer than until something happens."""
        self._wake = self._loop.create_future()
        timer = self._loop.call_at(when + COARSE, self._wake_up)
        try:
            await self._wake
        finally:
            self._wake = None
            timer.cancel()

    def _wake_up(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)


@attrs.frozen
class _Answer:
    """What the script returns: spans and times in microseconds."""

    born: int
    #: The store's own time.
    now: int
    effective: int
    out: int
    wait: int
    given: tuple[int, ...]

    @classmethod
    def read(cls, reply: Any) -> "_Answer":
        """Check an answer. Raises ``ValueError`` or ``TypeError`` if it is none."""
        born, now, effective, out, wait, given = reply
        return cls(int(born), int(now), int(effective), int(out), int(wait), tuple(int(delay) for delay in given))


def _micros(seconds: float) -> int:
    return ceil(seconds * MICRO)
