"""Runs the jobs of a journal from the command line: progress, signals, output, report, exit code."""

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from volc_moderation import AuthenticationError, JournalError, ModerationError, SourceError
from volc_moderation.cli.environment import Environment
from volc_moderation.cli.output import Output
from volc_moderation.cli.progress import Progress, time_of
from volc_moderation.cli.rate import Rates
from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import JobSummary
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.runner import LocalRunner
from volc_moderation.report.report import write_report

if TYPE_CHECKING:
    from volc_moderation.jobs.follower import Follower

#: The exit codes of a run. ``CANNOT_GO_ON``: the journal, the queue or the Redis with the quotas fails, or what makes
#: every call senseless, such as a certificate that is not trusted.
ALL_DONE, CANNOT_GO_ON, BAD_INPUT, BAD_CREDENTIALS, SOME_FAILED, SOME_DEFERRED, INTERRUPTED = 0, 1, 2, 3, 10, 11, 130

#: Seconds between two looks at how it stands.
GLANCE = 0.25


@attrs.frozen(kw_only=True)
class RunOptions:
    """How a journal is to be run."""

    journal: Path
    #: Whether it is to go on with a journal that is there.
    is_resumed: bool = False
    rates: Rates = attrs.field(factory=Rates)
    redis: str | None = None
    engine: Literal["local", "workers"] = "local"
    #: Of the workers.
    queue: str = "moderation"
    wait_for_deferred: bool = True
    output: Path | None = None
    report: Path | None = None
    #: The command that goes on with it.
    resume: str = ""


class Interrupts:
    """The first signal asks to stop, the second one insists."""

    def __init__(self, console: Terminal) -> None:
        self.count = 0
        self._console = console
        self._ask: Callable[[], None] = lambda: None
        self._insist: Callable[[], None] = lambda: None

    def set(self, ask: Callable[[], None], insist: Callable[[], None]) -> None:
        """Say what the signals do from now on."""
        self._ask, self._insist = ask, insist
        if self.count:
            ask()

    def _hear(self) -> None:
        self.count += 1
        if self.count == 1:
            self._ask()
            self._console.print("Stopping: calls in flight are finished. Once more to stop at once.")
        else:
            self._insist()

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Hear SIGINT, SIGTERM, and SIGHUP of a terminal that is closed, unless that was to be ignored (nohup)."""
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signals.append(signal.SIGHUP)
        try:
            for one in signals:
                loop.add_signal_handler(one, self._hear)
        except NotImplementedError:  # an event loop of Windows: an interrupt ends it at once
            signals = []
        try:
            yield
        finally:
            for one in signals:
                loop.remove_signal_handler(one)


async def run_journal(
    journal: JournalThread, environment: Environment, options: RunOptions, console: Terminal, interrupts: Interrupts
) -> int:
    """Run the jobs of a journal until they have ended, show it, and return the exit code.

    Raises ``ConfigurationError`` if there is no client for some of them.
    """
    try:
        fault = await make_calls(journal, environment, options, console, interrupts)
    except JournalError as error:
        fault = error
    return await _conclude(journal, options, console, fault, interrupts)


async def make_calls(
    journal: JournalThread, environment: Environment, options: RunOptions, console: Terminal, interrupts: Interrupts
) -> ModerationError | None:
    """Run the jobs of a journal until they have ended, and show it; return what kept them from it, if anything did.

    Raises ``ModerationError`` if it cannot begin.
    """
    lanes = await journal.do(Journal.lanes)
    environment.of({lane.vendor for lane in lanes.values()})
    output = Output(options.output)
    progress = Progress(console)

    def on_event(event: JobEvent) -> None:
        progress.on_event(event)
        if not output.on_event(event):
            runner.stop()

    try:
        async with _runner_of(journal, environment, options, console, on_event) as runner:
            await runner.prepare()
            left = await journal.do(_left)
            for line in options.rates.above(lane.action_type for lane in runner.lanes):
                console.print(line, soft_wrap=True)
            for lane in runner.lanes:
                progress.add(lane.lane, left.get(lane.lane, 0), environment.cap(lane.client, lane.action_type))
            return await _run(runner, progress, interrupts) or output.fault
    finally:
        output.close()


@contextlib.asynccontextmanager
async def _runner_of(
    journal: JournalThread,
    environment: Environment,
    options: RunOptions,
    console: Terminal,
    on_event: Callable[[JobEvent], None],
) -> "AsyncIterator[LocalRunner | Follower]":
    """Make what runs the jobs: in this process, or through the workers of a queue."""
    if options.engine == "local":
        out = await journal.do(Journal.with_workers)
        if out:
            console.print(
                f"Mind that the workers of a queue have {out:,} of these calls, and may make them, too.", soft_wrap=True
            )
        yield LocalRunner(
            journal,
            environment.clients,
            on_event=on_event,
            wait_for_deferred=options.wait_for_deferred,
            priority="bulk",
        )
        return
    from volc_moderation.jobs.distributed import DistributedJobs  # noqa: PLC0415 - an extra
    from volc_moderation.jobs.follower import Follower  # noqa: PLC0415

    assert options.redis is not None  # noqa: S101 - asked for with the engine
    async with DistributedJobs(options.redis, clients=environment.clients, queue=options.queue) as jobs:
        for risk in await jobs.risks():
            console.print(f"Mind that {risk}.", soft_wrap=True)
        yield Follower(journal, jobs, on_event=on_event, wait_for_deferred=options.wait_for_deferred)


async def _run(runner: "LocalRunner | Follower", progress: Progress, interrupts: Interrupts) -> ModerationError | None:
    running = asyncio.create_task(runner.run())

    def insist() -> None:
        running.cancel()

    interrupts.set(runner.stop, insist)
    with progress:
        while True:
            done, _ = await asyncio.wait([running], timeout=GLANCE)
            with contextlib.suppress(JournalError):
                progress.refresh(await runner.deferred(), runner.lanes)
            if done:
                break
    try:
        await running
    except asyncio.CancelledError:
        pass  # by the second signal
    except ModerationError as error:
        return error
    return None


def _left(journal: Journal) -> dict[Lane, int]:
    """Return how many jobs of each lane have not ended."""
    lanes = journal.lanes()
    found = journal.query("SELECT lane, count(*) FROM job WHERE state IN ('pending', 'sent') GROUP BY lane")
    return {lanes[int(str(number))]: int(str(count)) for number, count in found}


async def _conclude(
    journal: JournalThread,
    options: RunOptions,
    console: Terminal,
    fault: ModerationError | None,
    interrupts: Interrupts,
) -> int:
    """Say what it came to, and return the exit code."""
    if isinstance(fault, JournalError):
        print_fault(console, fault)
        console.print(f"Go on with: {options.resume}", soft_wrap=True)
        return CANNOT_GO_ON
    summary = await journal.do(Journal.summary)
    console.print(summary_line(summary))
    await print_failure_codes(journal, console)
    if fault is not None:
        print_fault(console, fault)
    if summary.deferred or summary.left:
        console.print(f"Go on with: {options.resume}", soft_wrap=True)
    else:
        await _print_retry_hints(journal, options, console, summary)
    code = exit_code(summary, fault, is_interrupted=interrupts.count > 0)
    if options.report is not None:
        report = options.report
        try:
            await journal.do(lambda journal: write_report(journal, report, now=time.time()))
        except SourceError as error:
            console.print(str(error), soft_wrap=True)
            return code or CANNOT_GO_ON
        console.print(f"Report: {report}", soft_wrap=True)
    return code


async def _print_retry_hints(
    journal: JournalThread, options: RunOptions, console: Terminal, summary: JobSummary
) -> None:
    """Say how to do again what did not end well."""
    interrupted = await journal.do(Journal.interrupted)
    if summary.failed + summary.given_up > interrupted:
        console.print(f"Try those again with: {options.resume} --retry-failed", soft_wrap=True)
    if interrupted:
        console.print(
            f"Whether {interrupted:,} calls that must not be made twice were carried out is not known. Look, and if"
            f" they were not, make them with: {options.resume} --retry-interrupted",
            soft_wrap=True,
        )


def print_fault(console: Terminal, fault: ModerationError) -> None:
    """Say what ended a run."""
    said = {AuthenticationError: "The keys are refused: ", JournalError: ""}.get(type(fault), "It cannot go on: ")
    console.print(f"{said}{fault}", style="red", soft_wrap=True)


async def print_failure_codes(journal: JournalThread, console: Terminal) -> None:
    """Say with which codes jobs failed most often."""
    for code, count, message in await journal.do(_refusals):
        console.print(f"  {count:,} times {code}: {message}", soft_wrap=True)


def summary_line(summary: JobSummary) -> str:
    """Say how many jobs there are of each kind."""
    parts = [f"{summary.done:,} done"]
    if summary.gone:
        parts[0] += f" ({summary.gone:,} were gone already)"
    if summary.failed:
        parts.append(f"{summary.failed:,} failed")
    if summary.given_up:
        parts.append(f"{summary.given_up:,} given up")
    if summary.deferred:
        parts.append(f"{summary.deferred:,} deferred until {time_of(summary.next_due)}")
    if summary.left:
        parts.append(f"{summary.left:,} left")
    return ", ".join(parts) + "."


def exit_code(summary: JobSummary, fault: ModerationError | None, *, is_interrupted: bool) -> int:
    """Return what the command ends with."""
    if is_interrupted and (summary.left or summary.deferred):
        return INTERRUPTED
    if fault is not None:
        return BAD_CREDENTIALS if isinstance(fault, AuthenticationError) else CANNOT_GO_ON
    if summary.failed or summary.given_up:
        return SOME_FAILED
    return SOME_DEFERRED if summary.left or summary.deferred else ALL_DONE


def _refusals(journal: Journal) -> list[tuple[object, ...]]:
    return journal.query(
        "SELECT code, count(*), min(message) FROM job WHERE state IN ('failed', 'given up')"
        " GROUP BY code ORDER BY count(*) DESC LIMIT 5"
    )
