"""Jobs: loading, running, memory, and a quota kept full while calls are deferred.

``python -m benchmarks.jobs`` takes about ten minutes. The "instant" vendor is in this process, answers at once and has
no quota, so that the cost of the journal remains. The other parts run against the emulator, at 150 calls per second
with 20 to 50 ms each way.
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
from benchmarks.quota import FAR_DELAY
from benchmarks.results import Result
from volc_moderation import VolcengineClient
from volc_moderation.bulk.load import LoadProgress, load_actions
from volc_moderation.emulator import EmulatorProcess, Fault, Settings
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.runner import LocalRunner

QUOTA = 150  # calls per second
FEW_ROWS = 10_000
MANY_ROWS = 1_000_000
# The comparison with the same calls without a journal. Its rounds are many and short: on a shared machine, only runs
# that follow each other can be compared.
COMPARED_ROWS = 20_000
ROUNDS = 15

DEFERRED_RUN_ROWS = 20_000
#: One call of this many is deferred.
DEFERRED_EVERY = 20
RETRY_AFTER = 20  # seconds
#: Seconds over which the rate of first attempts is measured, throughout the run.
RATE_SPAN = 10


async def in_process(mode: str, rows: int) -> dict[str, float]:
    """Measure in a new process, whose memory does not include that of earlier measurements."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.instant", mode, str(rows)), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    figures: dict[str, float] = json.loads(output)
    return figures


async def cost_of_a_journal(result: Result) -> None:
    large, small = await in_process("with", MANY_ROWS), await in_process("with", FEW_ROWS)
    for rows, figures in ((FEW_ROWS, small), (MANY_ROWS, large)):
        result.add(
            part="instant",
            rows=rows,
            loaded_per_s=figures["load"],
            run_per_s=figures["run"],
            peak_mb=figures["peak"],
        )
    modes = {"bare": "httpx alone", "without": "without a journal", "with": "with a journal"}
    rounds = [{mode: (await in_process(mode, COMPARED_ROWS))["run"] for mode in modes} for _ in range(ROUNDS)]
    rates = {mode: statistics.median(rates[mode] for rates in rounds) for mode in modes}
    for mode, part in modes.items():
        result.add(part=part, rows=COMPARED_ROWS, run_per_s=rates[mode])
    ratio = statistics.median(rates["with"] / rates["without"] for rates in rounds)
    result.goal("rows loaded, checked and written per second", large["load"], at_least=50_000)
    result.goal("speed with a journal to that without", ratio, at_least=0.95)
    result.goal("calls per second with a journal", rates["with"], at_least=8000)
    result.goal("MB at 1,000,000 rows above those at 10,000", large["peak"] - small["peak"], at_most=30)


async def run_with_deferred(result: Result, folder: Path) -> list[float]:
    """Run with one in twenty calls deferred; return the first attempts' share of the quota in each span."""
    first_attempts: list[float] = []
    states: Counter[str] = Counter()

    def on_event(event: JobEvent) -> None:
        states[event.state.value] += 1
        if event.attempts == 1:
            first_attempts.append(time.monotonic())

    async with (
        EmulatorProcess(Settings(delay=FAR_DELAY)) as emulator,
        VolcengineClient(**KEYS, base_url=emulator.base_url) as client,
    ):
        busy = Fault(
            kind="code",
            action="StopWebcast",
            code="ServiceUnavailableTemp",
            every=DEFERRED_EVERY,
            first=MANY_ROWS,
            retry_after=RETRY_AFTER,
        )
        await emulator.play(busy)
        journal, clients = JournalThread(Journal(folder / "jobs")), Clients([client])
        file, loaded = write_rows(folder / "rows.csv", DEFERRED_RUN_ROWS), LoadProgress()
        await journal.do(
            lambda journal: load_actions(
                journal,
                actions_of(file, loaded),
                lambda _vendor, _account: clients,
                skip_bad_rows=False,
                now=time.time(),
                progress=loaded,
            )
        )
        runner = LocalRunner(journal, [client], on_event=on_event)
        await runner.prepare()
        await runner.run()
        counts = (await emulator.counts())["StopWebcast"]
        await journal.aclose()
    shares = []
    start = first_attempts[0] + 1
    while start + RATE_SPAN <= first_attempts[-1]:
        shares.append(sum(start < at <= start + RATE_SPAN for at in first_attempts) / RATE_SPAN / QUOTA)
        start += RATE_SPAN
    result.add(
        part="one in twenty put off",
        rows=DEFERRED_RUN_ROWS,
        put_off=states["pending"],
        refused=counts["throttled"],
        most=counts["most_in_any_second"],
        of_quota=statistics.mean(shares),
        least_in_10_s=min(shares),
        done=states["done"],
    )
    result.goal("first attempts to the quota", statistics.mean(shares), at_least=0.94)
    result.goal("jobs that did not end done", DEFERRED_RUN_ROWS - states["done"], at_most=0)
    result.goal("calls refused as too many, some put off", counts["throttled"], at_most=0)
    return shares


async def measure() -> None:
    result = Result("jobs", "Durable jobs", "httpx", rows=MANY_ROWS, quota=QUOTA, delay_ms="20-50")
    with tempfile.TemporaryDirectory() as folder:
        shares = await run_with_deferred(result, Path(folder))
    await cost_of_a_journal(result)

    def draw(axes: list[Axes]) -> None:
        axes[0].plot([RATE_SPAN * (number + 1) for number in range(len(shares))], shares, color="#4878a8")
        axes[0].set_title("first attempts, one in twenty deferred", fontsize=9)
        axes[0].set_xlabel("seconds")
        axes[0].set_ylim(0, 1.1)
        axes[0].set_ylabel("share of the quota")

    result.finish(draw)


if __name__ == "__main__":
    asyncio.run(measure())
