"""A thousand random routes to a vendor, in virtual time: how many calls each is refused, and how much of the quota.

``python -m benchmarks.routes`` takes about five minutes. Each route has a delay there, another one back, and jitter.
Some routes stay as they are; the others become shorter or longer at once, drift, change at random moments, or
alternate. Each change may cost the calls of the time by which a request can overtake earlier ones: see
``quotas/round_trips.py``. Of a route that alternates and is equally long in both directions, only the first two may.
"""

import asyncio
import math
import os
import random
import selectors
from collections import Counter, deque
from concurrent.futures import ProcessPoolExecutor

import attrs
from matplotlib.axes import Axes

from benchmarks.results import Result
from volc_moderation import Quota
from volc_moderation.quotas.window import LocalWindow

ROUTES = 1000
QUOTA = 150  # calls per second
SECONDS = 70.0
KINDS = ("stays", "shortens", "lengthens", "alternates", "drifts", "changes at random")
#: The longest delay of one way, and the largest jitter.
MAX_DELAY = 0.2  # seconds
MAX_JITTER = 0.05  # seconds


@attrs.frozen
class Leg:
    """A part of a route's life: from when on, and the shortest delay of each way."""

    begin: float
    there: float
    back: float


@attrs.frozen
class Route:
    """A route, and how it changes."""

    kind: str
    jitter: float
    legs: list[Leg]

    @classmethod
    def random(cls, seed: int) -> "Route":
        """Return a random route."""
        rng = random.Random(seed)
        kind = KINDS[seed % len(KINDS)]

        def leg(begin: float) -> Leg:
            return Leg(begin, rng.uniform(0, MAX_DELAY), rng.uniform(0, MAX_DELAY))

        one, other = sorted([leg(0), leg(0)], key=lambda leg: leg.there + leg.back)
        if kind == "alternates":
            one, other = (attrs.evolve(leg, back=leg.there) for leg in (one, other))
            rng.shuffle(ends := [one, other])
            one, other = ends
        change = rng.uniform(20, SECONDS - 10)
        period = rng.uniform(3, 25)
        legs = {
            "stays": [one],
            "shortens": [other, attrs.evolve(one, begin=change)],
            "lengthens": [one, attrs.evolve(other, begin=change)],
            "alternates": [
                attrs.evolve((other, one)[number % 2], begin=change + (number - 1) * period if number else 0)
                for number in range(int((SECONDS - change) / period) + 2)
            ],
            "drifts": [other, attrs.evolve(other, begin=change), attrs.evolve(one, begin=change + 20)],
            "changes at random": [leg(0), *(leg(begin) for begin in sorted(rng.uniform(5, SECONDS) for _ in range(4)))],
        }[kind]
        return cls(kind, rng.uniform(0, MAX_JITTER), legs)

    def delays(self, now: float) -> tuple[float, float]:
        """Return the shortest delays there and back."""
        index = max(index for index, leg in enumerate(self.legs) if leg.begin <= now)
        leg = self.legs[index]
        if self.kind != "drifts" or index != 1:
            return leg.there, leg.back
        after = self.legs[index + 1]
        part = (now - leg.begin) / (after.begin - leg.begin)
        return leg.there + part * (after.there - leg.there), leg.back + part * (after.back - leg.back)

    def allowed_refusals(self) -> int:
        """Return the calls of the time by which a request can overtake earlier ones, for each change."""
        changes = list(zip(self.legs, self.legs[1:], strict=False))
        if self.kind == "alternates":
            changes = changes[:2]
        return sum(math.ceil(QUOTA * max(0.0, before.there + self.jitter - after.there)) for before, after in changes)


class _VirtualClock(selectors.SelectSelector):
    """Instead of waiting, it turns the clock of the loop."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return []


@attrs.frozen
class Outcome:
    """What happened on a route."""

    route: Route
    refused: list[float]
    share: float


async def call_on(route: Route, seed: int) -> Outcome:
    """Call as fast as possible for ``SECONDS``."""
    loop, rng = asyncio.get_running_loop(), random.Random(seed)
    window = LocalWindow(Quota(QUOTA), loop, 0.1, [])
    past_second: deque[float] = deque()
    refused: list[float] = []
    accepted = 0

    def arrive() -> bool:
        nonlocal accepted
        while past_second and past_second[0] <= loop.time() - 1:
            past_second.popleft()
        if len(past_second) == QUOTA:
            refused.append(loop.time())
            return False
        past_second.append(loop.time())
        accepted += loop.time() > 1
        return True

    async def caller() -> None:
        while loop.time() < SECONDS:
            permit = await window.acquire("interactive")
            began = loop.time()
            await asyncio.sleep(route.delays(began)[0] + rng.uniform(0, route.jitter))
            is_accepted = arrive()
            await asyncio.sleep(route.delays(loop.time())[1] + rng.uniform(0, route.jitter))
            if is_accepted:
                permit.answered(loop.time() - began)
            else:
                permit.throttled(loop.time() - began)

    await asyncio.gather(*(caller() for _ in range(2 * QUOTA)))
    return Outcome(route, refused, accepted / (loop.time() - 1) / QUOTA)


def simulate(seed: int) -> Outcome:
    """Simulate one route."""
    clock = _VirtualClock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]
    try:
        return loop.run_until_complete(call_on(Route.random(seed), seed))
    finally:
        loop.close()


def main() -> None:
    result = Result("routes", "random routes, in virtual time", quota=QUOTA, routes=ROUTES, seconds=SECONDS)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(simulate, range(ROUTES), chunksize=5))
    for kind in KINDS:
        of_kind = [one for one in outcomes if one.route.kind == kind]
        result.add(
            routes=kind,
            number=len(of_kind),
            refused=sum(len(one.refused) for one in of_kind),
            most=max(len(one.refused) for one in of_kind),
            allowed=sum(one.route.allowed_refusals() for one in of_kind),
            above_allowed=sum(len(one.refused) > one.route.allowed_refusals() for one in of_kind),
            share=sum(one.share for one in of_kind) / len(of_kind),
        )
    stable = [one for one in outcomes if one.route.kind == "stays"]
    result.goal("refused on routes that stay as they are", sum(len(one.refused) for one in stable), at_most=0)
    above = [one for one in outcomes if len(one.refused) > one.route.allowed_refusals()]
    result.goal("routes with more refusals than quota x shortening", len(above), at_most=0)
    for one in above[:5]:
        print(one)

    def draw(panels: list[Axes]) -> None:
        counts = Counter((one.route.allowed_refusals(), len(one.refused)) for one in outcomes)
        panels[0].scatter(
            [allowed for allowed, _ in counts],
            [refused for _, refused in counts],
            [5 + 3 * count for count in counts.values()],
            color="#4878a8",
        )
        limit = max(allowed for allowed, _ in counts)
        panels[0].plot([0, limit], [0, limit], color="#c03028", linewidth=1)
        panels[0].set_xlabel("calls of the time by which a request can overtake earlier ones")
        panels[0].set_ylabel("calls refused")

    result.finish(draw, height=3.2)


if __name__ == "__main__":
    main()
