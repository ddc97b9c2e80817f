"""Durable jobs: loading, running, memory; a quota kept full while calls are put off.

``python -m benchmarks.jobs``, about ten minutes. "Instant" is a vendor in this process that answers at once, without
a quota: what is left is the cost of the journal. The other parts are against the emulator, at 150 calls a second with
20 to 50 ms each way.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from matplotlib.axes import Axes

from benchmarks.instant import KEYS, actions_of, write_rows
from benchmarks.quota import FAR
from benchmarks.results import Result
from volc_moderation import VolcengineClient
from volc_moderation.bulk.load import LoadProgress, load
from volc_moderation.emulator import EmulatorProcess, Fault, Settings
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.runner import LocalRunner

QUOTA = 150
FEW, MANY = 10_000, 1_000_000
#: Rows, and rounds, of the comparison with the same calls without a journal. The rounds are many and short: on a shared
#: machine, only what ran right before or after can be compared.
COMPARED, ROUNDS = 20_000, 15

DEFERRED_ROWS, EVERY, WAIT = 20_000, 20, 20
#: Seconds over which the rate of first attempts is looked at, throughout the run.
SPAN = 10


async def in_process(how: str, rows: int) -> dict[str, float]:
    """Measure in a process of its own, whose memory is not that of what was measured before."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.instant", how, str(rows)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    found: dict[str, float] = json.loads(output)
    return found


async def cost_of_a_journal(result: Result) -> None:
    large, small = await in_process("with", MANY), await in_process("with", FEW)
    for rows, found in ((FEW, small), (MANY, large)):
        result.add(part="instant", rows=rows, loaded_per_s=found["load"], run_per_s=found["run"], peak_mb=found["peak"])
    rounds = [(await in_process("without", COMPARED), await in_process("with", COMPARED)) for _ in range(ROUNDS)]
    for side, part in enumerate(("without a journal", "with a journal")):
        result.add(part=part, rows=COMPARED, run_per_s=statistics.median(one[side]["run"] for one in rounds))
    kept = statistics.median(with_it["run"] / without["run"] for without, with_it in rounds)
    result.goal("rows loaded, checked and written per second", large["load"], at_least=50_000)
    result.goal("speed with a journal to that without", kept, at_least=0.9)
    result.goal("MB at 1,000,000 rows above those at 10,000", large["peak"] - small["peak"], at_most=30)


async def some_put_off(result: Result, folder: Path) -> list[float]:
    """Run with one in twenty calls put off; return the share of the quota of first attempts in each span."""
    firsts: list[float] = []
    states: Counter[str] = Counter()

    def tell(event: JobEvent) -> None:
        states[event.state.value] += 1
        if event.attempts == 1:
            firsts.append(time.monotonic())

    async with (
        EmulatorProcess(Settings(delay=FAR)) as emulator,
        VolcengineClient(**KEYS, base_url=emulator.base_url) as client,
    ):
        busy = Fault(
            kind="code", action="StopWebcast", code="ServiceUnavailableTemp", every=EVERY, first=MANY, retry_after=WAIT
        )
        await emulator.play(busy)
        journal, clients = JournalThread(Journal(folder / "jobs")), Clients([client])
        file, loaded = write_rows(folder / "rows.csv", DEFERRED_ROWS), LoadProgress()
        await journal.do(
            lambda journal: load(
                journal, actions_of(file, loaded), lambda _: clients, skip_bad=False, now=time.time(), loaded=loaded
            )
        )
        runner = LocalRunner(journal, [client], on_event=tell)
        await runner.prepare()
        await runner.run()
        counts = (await emulator.counts())["StopWebcast"]
        await journal.aclose()
    spans = []
    start = firsts[0] + 1
    while start + SPAN <= firsts[-1]:
        spans.append(sum(start < at <= start + SPAN for at in firsts) / SPAN / QUOTA)
        start += SPAN
    result.add(
        part="one in twenty put off",
        rows=DEFERRED_ROWS,
        put_off=states["pending"],
        refused=counts["throttled"],
        most=counts["most_in_any_second"],
        of_quota=statistics.mean(spans),
        least_in_10_s=min(spans),
        done=states["done"],
    )
    result.goal("first attempts to the quota", statistics.mean(spans), at_least=0.94)
    result.goal("jobs that did not end done", DEFERRED_ROWS - states["done"], at_most=0)
    result.goal("calls refused as too many, some put off", counts["throttled"], at_most=0)
    return spans


async def measure() -> None:
    result = Result("jobs", "Durable jobs", "httpx", rows=MANY, quota=QUOTA, delay_ms="20-50")
    with tempfile.TemporaryDirectory() as folder:
        spans = await some_put_off(result, Path(folder))
    await cost_of_a_journal(result)

    def draw(axes: list[Axes]) -> None:
        axes[0].plot([SPAN * (number + 1) for number in range(len(spans))], spans, color="#4878a8")
        axes[0].set_title("first attempts, one in twenty put off", fontsize=9)
        axes[0].set_xlabel("seconds")
        axes[0].set_ylim(0, 1.1)
        axes[0].set_ylabel("of the quota")

    result.finish(draw)


if __name__ == "__main__":
    asyncio.run(measure())
