"""One process at the quota of StopWebcast: how much of it each client uses, and how often it is refused.

``python -m benchmarks.quota``. A server in a process of its own refuses each request that would exceed the quota in
any second. Each client runs for the same time, with 100 calls awaited at any moment (the official SDK: 32 threads).
"""

import asyncio

from matplotlib.axes import Axes

from benchmarks.programs import QUOTA, running
from benchmarks.quota_server import QuotaServer, Report
from benchmarks.results import Result

#: The range of the one-way delay of a distant vendor.
FAR_DELAY = (0.020, 0.050)  # seconds
#: The range of the one-way delay of a near vendor.
NEAR_DELAY = (0.002, 0.005)  # seconds
#: The time measured, from one second after the first arrival.
SECONDS = 20
OURS = "volc_moderation"
PEERS = (
    f"AsyncLimiter({QUOTA}, 1), tenacity",
    f"AsyncLimiter(2, 2/{QUOTA - 2}), tenacity",
    "official SDK, 32 threads",
    "pyrate-limiter",
)


async def measure(result: Result, name: str, delay: tuple[float, float]) -> Report:
    async with QuotaServer(limit=QUOTA, delay=delay) as server, running([name], server.base_url) as (program,):
        program.go(SECONDS + 2)
        outcome = await program.result()
        report = await server.report()
    result.add(
        way=name,
        delay=f"{delay[0] * 1e3:g} to {delay[1] * 1e3:g} ms",
        sent=len(report.arrivals),
        refused=report.refused,
        most=report.most_in_any_second(),
        share=report.accepted_per_second(1, SECONDS) / QUOTA,
        lost=outcome.lost,
        cpu_ms=outcome.cpu / max(1, outcome.done) * 1e3,
    )
    return report


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


async def main() -> None:
    result = Result(
        "quota",
        f"one process at a quota of {QUOTA}/s",
        *("httpx", "httpx2", "aiolimiter", "tenacity", "pyrate-limiter", "volcenginesdk-core"),
        seconds=SECONDS,
    )
    ours = await measure(result, OURS, FAR_DELAY)
    reports = {OURS: ours} | {name: await measure(result, name, FAR_DELAY) for name in PEERS}
    over_httpx2 = await measure(result, f"{OURS}, httpx2", FAR_DELAY)
    near = await measure(result, OURS, NEAR_DELAY)
    share = ours.accepted_per_second(1, SECONDS) / QUOTA
    for name, report, min_share in (("", ours, 0.955), (", httpx2", over_httpx2, 0.955), (", near", near, 0.985)):
        result.goal(f"refused{name}", report.refused, at_most=0)
        result.goal(f"most in any second{name}", report.most_in_any_second(), at_most=QUOTA)
        result.goal(f"share of the quota{name}", report.accepted_per_second(1, SECONDS) / QUOTA, at_least=min_share)
    as_good = [
        name
        for name in PEERS
        if not reports[name].refused and reports[name].accepted_per_second(1, SECONDS) / QUOTA >= share
    ]
    result.goal("peers that are as fast and not refused", len(as_good), at_most=0)
    result.finish(lambda panels: draw(reports, panels), panels=len(reports), height=6.5)


if __name__ == "__main__":
    asyncio.run(main())
