"""Runs the jobs of a journal from the command line: progress, signals, output, report, exit code."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from types import ModuleType

from volc_moderation import AuthenticationError, JournalError, ModerationError, SourceError
from volc_moderation.cli.environment import REDIS_VARIABLE, printable_redis
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.invocation import command_line
from volc_moderation.cli.job_counts import named
from volc_moderation.cli.output import Output, StandardOutputError
from volc_moderation.cli.plan import plan_line
from volc_moderation.cli.progress import Progress, time_of_day
from volc_moderation.cli.session import Session
from volc_moderation.cli.signals import Interrupts
from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.engine import Engine
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import JobSummary
from volc_moderation.jobs.runner import LocalRunner
from volc_moderation.printable import counted

#: Seconds between two updates of the progress.
REFRESH_INTERVAL = 0.25


async def run_journal(session: Session) -> ExitCode:
    """Run the jobs of the journal until they have ended, print the outcome, and return the exit code.

    Raises ``ConfigurationError`` if a job has no client.
    """
    if session.options.report is not None:
        _report_module()  # a package that is replaced during a long run must not cost the report
    try:
        error = await run_jobs(session, is_announced=True)
    except JournalError as journal_error:
        error = journal_error
    if isinstance(error, JournalError):
        print_fatal_error(session.console, error)
        _print_hints(session, [f"Resume with: {session.options.resume_command}"])
        return fatal_exit_code(error)
    return await _print_outcome(session, error)


async def run_jobs(session: Session, *, is_announced: bool = False) -> ModerationError | None:
    """Run the jobs of the journal until they have ended, and show the progress. Return the error that ended it early.

    :param is_announced: whether to print what will be done, and how long that takes.

    Raises ``ModerationError`` if the run cannot start.
    """
    lanes = await session.journal.do(Journal.lanes)
    session.environment.require_vendors({lane.vendor for lane in lanes.values()})
    output = Output(session.options.output, journal=session.options.journal if session.options.is_kept else None)
    progress = Progress(session.console)

    def on_event(event: JobEvent) -> None:
        progress.on_event(event)
        if not output.on_event(event):
            engine.stop()

    try:
        async with _open_engine(session, on_event) as engine:
            await engine.prepare()
            unfinished = await session.journal.do(Journal.unfinished_by_lane)
            statuses = engine.lane_statuses()
            for warning in session.options.rates.warnings(status.action_type for status in statuses):
                session.console.print(warning, soft_wrap=True)
            for status in statuses:
                quota_rate = status.quota_rate  # that of the workers, or of an earlier step of this command
                if quota_rate is None:
                    quota_rate = session.environment.quota_rate(status.client, status.action_type)
                count = unfinished.get(status.lane, 0)
                progress.add(status.lane, count, quota_rate)
                if count and is_announced:
                    is_learned = session.options.rates.is_learned(status.action_type)
                    line = plan_line(status.lane.action, count, quota_rate, is_learned=is_learned)
                    session.console.print(line, soft_wrap=True)
            return await _run_engine(engine, progress, session.interrupts) or output.error
    finally:
        output.close()


@contextlib.asynccontextmanager
async def _open_engine(session: Session, on_event: Callable[[JobEvent], None]) -> AsyncIterator[Engine]:
    """Open what runs the jobs: calls in this process, or the workers of a queue."""
    options, console, clients = session.options, session.console, session.environment.clients
    if options.engine == "local":
        with_workers = await session.journal.do(Journal.count_with_workers)
        if with_workers:
            console.print(
                f"Warning: the workers of a queue have {with_workers:,} of these calls and may send them too.",
                soft_wrap=True,
            )
        yield LocalRunner(
            session.journal,
            clients,
            on_event=on_event,
            wait_for_deferred=options.wait_for_deferred,
            priority="bulk",
        )
        return
    from volc_moderation.jobs.distributed import DistributedJobs  # noqa: PLC0415 - needs an extra
    from volc_moderation.jobs.follower import Follower  # noqa: PLC0415

    assert options.redis is not None  # noqa: S101 - ``check_redis`` has made sure
    async with DistributedJobs(options.redis, clients=clients, queue=options.queue) as jobs:
        for risk in await jobs.risks():
            console.print(f"Warning: {risk}.", soft_wrap=True)
        if not await jobs.workers():
            redis = printable_redis(options.redis)
            words = ["worker", *(["--redis", redis] if redis else []), "--queue", options.queue]
            _print_hints(session, [f"No worker listens to the queue. Start one with: {command_line(*words)}"])
        yield Follower(session.journal, jobs, on_event=on_event, wait_for_deferred=options.wait_for_deferred)


async def _run_engine(engine: Engine, progress: Progress, interrupts: Interrupts) -> ModerationError | None:
    """Run an engine to its end. The first signal stops it, the second one cancels it."""
    running = asyncio.create_task(engine.run())

    def cancel() -> None:
        running.cancel()

    interrupts.set_handlers(engine.stop, cancel)
    with progress:
        while True:
            done, _ = await asyncio.wait([running], timeout=REFRESH_INTERVAL)
            with contextlib.suppress(JournalError):  # ``run`` raises it as well
                progress.refresh(await engine.deferred(), engine.lane_statuses())
            if done:
                break
    try:
        await running
    except asyncio.CancelledError:
        pass  # by the second signal
    except ModerationError as error:
        return error
    return None


async def _print_outcome(session: Session, error: ModerationError | None) -> ExitCode:
    """Print what became of the jobs and how to continue, write the report, and return the exit code."""
    journal, options, console = session.journal, session.options, session.console
    summary = await journal.do(Journal.summary)
    console.print(summary_line(summary))
    await print_failure_codes(session)
    if error is not None:
        print_fatal_error(console, error)
    if summary.deferred or summary.left:
        _print_hints(session, [f"Resume with: {options.resume_command}"])
    else:
        interrupted = await journal.do(Journal.count_interrupted)
        _print_hints(session, retry_hints(summary, interrupted, options.resume_command))
    code = _exit_code(summary, error, is_interrupted=session.interrupts.count > 0)
    if options.report is not None:
        report = options.report
        try:
            await journal.do(lambda journal: _report_module().write_report(journal, report, now=time.time()))
        except SourceError as source_error:
            console.print(str(source_error), soft_wrap=True)
            return code or ExitCode.FAILURE
        console.print(f"Report: {report}", soft_wrap=True)
    return code


def _report_module() -> ModuleType:
    """Import the report, which only some runs need: the others start faster without it."""
    from volc_moderation.report import report  # noqa: PLC0415

    return report


def _print_hints(session: Session, hints: Sequence[str]) -> None:
    """Print sentences that end with a command, and how to complete one that lacks the password of the Redis."""
    for hint in hints:
        session.console.print(hint, soft_wrap=True)
    address = session.options.redis
    if hints and printable_redis(address) not in {address, None}:
        session.console.print(
            f"Type the password of the Redis in the place of ***, or omit --redis and set {REDIS_VARIABLE}.",
            soft_wrap=True,
        )


def retry_hints(summary: JobSummary, interrupted: int, resume_command: str) -> list[str]:
    """Return sentences with the commands that retry the jobs that did not succeed.

    :param interrupted: how many of them were interrupted.
    """
    hints = []
    if summary.failed + summary.given_up > interrupted:
        hints.append(f"Retry the failed calls with: {resume_command} --retry-failed")
    if interrupted:
        hints.append(
            f"Of the calls that must not be sent twice, {interrupted:,} {'was' if interrupted == 1 else 'were'}"
            " interrupted, and it is not known whether the vendor carried"
            f" {'it' if interrupted == 1 else 'them'} out. If it did not, send again with:"
            f" {resume_command} --retry-interrupted"
        )
    return hints


def print_fatal_error(console: Terminal, error: ModerationError) -> None:
    """Print the error that ended a run."""
    prefix = "" if isinstance(error, JournalError) else "The run cannot continue: "
    if isinstance(error, AuthenticationError):
        prefix = "The credentials were refused: "
    console.print(f"{prefix}{error}", style="red", soft_wrap=True)


async def print_failure_codes(session: Session) -> None:
    """Print the codes with which most jobs failed."""
    for code, count, message in await session.journal.do(Journal.failure_codes):
        session.console.print(f"  {counted(count, 'time')} {named(code)}: {message}", soft_wrap=True)


def summary_line(summary: JobSummary) -> str:
    """Return how many jobs of each kind a journal has, as a sentence."""
    parts = [f"{summary.done:,} done"]
    if summary.gone:
        parts[0] += f" ({summary.gone:,} already gone)"
    if summary.failed:
        parts.append(f"{summary.failed:,} failed")
    if summary.given_up:
        parts.append(f"{summary.given_up:,} given up")
    if summary.deferred:
        parts.append(f"{summary.deferred:,} deferred until {time_of_day(summary.next_due)}")
    if summary.left:
        parts.append(f"{summary.left:,} left")
    return ", ".join(parts) + "."


def _exit_code(summary: JobSummary, error: ModerationError | None, *, is_interrupted: bool) -> ExitCode:
    if is_interrupted and summary.unfinished:
        return ExitCode.INTERRUPTED
    if error is not None:
        return fatal_exit_code(error)
    if summary.failed or summary.given_up:
        return ExitCode.SOME_FAILED
    return ExitCode.SOME_DEFERRED if summary.unfinished else ExitCode.SUCCESS


def fatal_exit_code(error: ModerationError) -> ExitCode:
    """Return the exit code for the error that ended a run."""
    if isinstance(error, StandardOutputError):
        return ExitCode.OUTPUT_FAILED
    return ExitCode.CREDENTIALS if isinstance(error, AuthenticationError) else ExitCode.FAILURE
