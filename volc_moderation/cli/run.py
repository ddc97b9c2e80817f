"""Runs the jobs of a journal from the command line: progress, signals, output, report, exit code."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import attrs
from rich.console import Console

from volc_moderation import (
    AuthenticationError,
    ConfigurationError,
    JournalError,
    ModerationError,
    Quota,
    RedisQuotas,
    SourceError,
    VolcengineClient,
    WindowQuotas,
    ZegoClient,
)
from volc_moderation.action import Action
from volc_moderation.cli.progress import Progress, time_of
from volc_moderation.client import Client
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.event import JobEvent
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal_thread import JournalThread
from volc_moderation.jobs.report import write_report
from volc_moderation.jobs.runner import Runner
from volc_moderation.jobs.schema import Standing
from volc_moderation.quotas import QuotaState

if TYPE_CHECKING:
    from volc_moderation.jobs.follow import Follower

#: The exit codes of a run.
ALL_DONE, JOURNAL_FAILED, BAD_INPUT, BAD_CREDENTIALS, SOME_FAILED, SOME_DEFERRED, INTERRUPTED = 0, 1, 2, 3, 10, 11, 130

#: Seconds between two looks at how it stands.
GLANCE = 0.25


@attrs.frozen(kw_only=True)
class RunOptions:
    """How a journal is to be run."""

    journal: Path
    rate: int | None = None
    redis: str | None = None
    engine: Literal["local", "streaq"] = "local"
    #: Of the engine streaq.
    queue: str = "moderation"
    wait_for_deferred: bool = True
    output: Path | None = None
    report: Path | None = None
    #: The command that goes on with it.
    resume: str = ""


class Interrupts:
    """The first signal asks to stop, the second one insists."""

    def __init__(self, console: Console) -> None:
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
            self._console.print("Stopping: calls in flight are finished. Once more to stop at once.")
            self._ask()
        else:
            self._insist()

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Hear SIGINT and SIGTERM."""
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
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


@contextlib.asynccontextmanager
async def clients_of_environment(rate: int | None, redis: str | None) -> AsyncIterator["Environment"]:
    """Make a client for each vendor whose keys the environment has."""
    async with contextlib.AsyncExitStack() as stack:
        kinds: list[type[VolcengineClient | ZegoClient]] = [VolcengineClient, ZegoClient]
        limits = {name: most for kind in kinds for name, most in _limits(kind, rate).items()}
        quotas: WindowQuotas | RedisQuotas = WindowQuotas(limits)
        if redis is not None:
            quotas = await stack.enter_async_context(RedisQuotas(redis, limits))
        clients: list[Client] = []
        faults: dict[str, ConfigurationError] = {}
        for kind in kinds:
            try:
                clients.append(await stack.enter_async_context(kind.from_env(quotas=quotas)))
            except ConfigurationError as error:
                faults[kind.vendor] = error
        yield Environment(clients, faults, quotas, rate)


@attrs.frozen
class Environment:
    """The clients that the environment has keys for, and why it has not those of the others."""

    clients: Sequence[Client]
    faults: Mapping[str, ConfigurationError]
    quotas: WindowQuotas | RedisQuotas
    rate: int | None

    def of(self, vendors: set[str]) -> Clients:
        """Return the clients, if they include those of some vendors. Raises ``ConfigurationError``."""
        for vendor in sorted(vendors):
            if vendor in self.faults:
                raise self.faults[vendor]
        return Clients(self.clients)

    def cap(self, client: Client, made: type[Action[object]]) -> float:
        """Return how many calls per second there may be."""
        limits = _limits(type(client), self.rate)
        quota = client.quota_of(made)
        return limits.get(made.name, quota.limit) / quota.window

    def states(self) -> dict[str, QuotaState]:
        """Return how it stands with the quota of each action."""
        return {key.action: state for key, state in self.quotas.snapshot().items() if key.room is None}


def _limits(kind: type[Client], rate: int | None) -> dict[str, int]:
    """Return the limit of each action of a vendor at a rate below its quota."""
    if rate is None:
        return {}
    return {name: _limit(made.quota, rate) for name, made in kind.actions().items()}


def _limit(quota: Quota, rate: int) -> int:
    most = max(1, int(rate * quota.window))
    return min(most, quota.limit) if quota.published else most


class Output:
    """A file of JSON Lines: each job as it ends."""

    def __init__(self, path: Path | None) -> None:
        self._file: TextIO | None = None
        #: Why it cannot be written any more.
        self.fault: JournalError | None = None
        if path is not None:
            try:
                self._file = path.open("a", encoding="utf-8", buffering=1)
            except OSError as error:
                raise SourceError(f"{path} cannot be written: {error.strerror}") from None

    def tell(self, event: JobEvent) -> bool:
        """Write a job that has ended; return whether all could be written so far."""
        if self._file is None or self.fault is not None or not event.state.has_ended:
            return self.fault is None
        told = {name: getattr(event, name) for name in ("line", "key", "action", "parameters", "attempts")}
        told["state"] = event.state.value
        for name in ("was_gone", "code", "message", "advice", "request_id", "result"):
            if getattr(event, name):
                told[name] = getattr(event, name)
        try:
            self._file.write(json.dumps(told, ensure_ascii=False) + "\n")
        except OSError as error:
            self.fault = JournalError(f"{self._file.name} cannot be written: {error.strerror}")
        return self.fault is None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it has been said
                self._file.close()


async def run_journal(
    journal: JournalThread, environment: Environment, options: RunOptions, console: Console, interrupts: Interrupts
) -> int:
    """Run the jobs of a journal until they have ended, show it, and return the exit code.

    Raises ``ModerationError`` if it cannot begin.
    """
    fault = await make_calls(journal, environment, options, console, interrupts)
    return await _conclude(journal, options, console, fault, interrupts)


async def make_calls(
    journal: JournalThread, environment: Environment, options: RunOptions, console: Console, interrupts: Interrupts
) -> ModerationError | None:
    """Run the jobs of a journal until they have ended, and show it; return what kept them from it, if anything did.

    Raises ``ModerationError`` if it cannot begin.
    """
    lanes = await journal.do(Journal.lanes)
    environment.of({lane.vendor for lane in lanes.values()})
    output = Output(options.output)
    progress = Progress(console)

    def tell(event: JobEvent) -> None:
        progress.tell(event)
        if not output.tell(event):
            runner.stop()

    try:
        async with _runner_of(journal, environment, options, tell) as runner:
            await runner.prepare()
            left = await journal.do(_left)
            for lane in runner.lanes:
                progress.add(lane, left.get(lane.lane, 0), environment.cap(lane.client, lane.made))
            return await _run(runner, environment, progress, interrupts) or output.fault
    finally:
        output.close()


@contextlib.asynccontextmanager
async def _runner_of(
    journal: JournalThread, environment: Environment, options: RunOptions, tell: Callable[[JobEvent], None]
) -> "AsyncIterator[Runner | Follower]":
    """Make what runs the jobs: in this process, or through the workers of a queue."""
    if options.engine == "local":
        yield Runner(
            journal, environment.clients, tell=tell, wait_for_deferred=options.wait_for_deferred, priority="bulk"
        )
        return
    from volc_moderation.jobs.distributed import DistributedJobs  # noqa: PLC0415 - an extra
    from volc_moderation.jobs.follow import Follower  # noqa: PLC0415

    assert options.redis is not None  # noqa: S101 - asked for with the engine
    async with DistributedJobs(options.redis, clients=environment.clients, queue=options.queue) as jobs:
        yield Follower(journal, jobs, tell=tell)


async def _run(
    runner: "Runner | Follower", environment: Environment, progress: Progress, interrupts: Interrupts
) -> ModerationError | None:
    running = asyncio.create_task(runner.run())

    def insist() -> None:
        running.cancel()

    interrupts.set(runner.stop, insist)
    with progress:
        while True:
            done, _ = await asyncio.wait([running], timeout=GLANCE)
            with contextlib.suppress(JournalError):
                progress.refresh(await runner.deferred(), runner.lanes, environment.states())
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
    journal: JournalThread, options: RunOptions, console: Console, fault: ModerationError | None, interrupts: Interrupts
) -> int:
    """Say what it came to, and return the exit code."""
    if isinstance(fault, JournalError):
        console.print(str(fault), style="red", soft_wrap=True)
        console.print(f"Go on with: {options.resume}", soft_wrap=True)
        return JOURNAL_FAILED
    standing = await journal.do(Journal.standing)
    console.print(summary(standing))
    for code, count, message in await journal.do(_refusals):
        console.print(f"  {count:,} times {code}: {message}")
    if fault is not None:
        console.print(f"The keys are refused: {fault}", style="red", soft_wrap=True)
    if standing.deferred or standing.left:
        console.print(f"Go on with: {options.resume}", soft_wrap=True)
    elif standing.failed or standing.given_up:
        console.print(f"Try those again with: {options.resume} --retry-failed", soft_wrap=True)
    if options.report is not None:
        report = options.report
        await journal.do(lambda journal: write_report(journal, report, now=time.time()))
        console.print(f"Report: {report}", soft_wrap=True)
    return exit_code(standing, fault, is_interrupted=interrupts.count > 0)


def summary(standing: Standing) -> str:
    """Say how many jobs there are of each kind."""
    parts = [f"{standing.done:,} done"]
    if standing.gone:
        parts[0] += f" ({standing.gone:,} were gone already)"
    if standing.failed:
        parts.append(f"{standing.failed:,} failed")
    if standing.given_up:
        parts.append(f"{standing.given_up:,} given up")
    if standing.deferred:
        parts.append(f"{standing.deferred:,} deferred until {time_of(standing.next_due)}")
    if standing.left:
        parts.append(f"{standing.left:,} left")
    return ", ".join(parts) + "."


def exit_code(standing: Standing, fault: ModerationError | None, *, is_interrupted: bool) -> int:
    """Return what the command ends with."""
    if is_interrupted and (standing.left or standing.deferred):
        return INTERRUPTED
    if isinstance(fault, AuthenticationError):
        return BAD_CREDENTIALS
    if standing.failed or standing.given_up:
        return SOME_FAILED
    return SOME_DEFERRED if standing.left or standing.deferred else ALL_DONE


def _refusals(journal: Journal) -> list[tuple[object, ...]]:
    return journal.query(
        "SELECT code, count(*), min(message) FROM job WHERE state IN ('failed', 'given up')"
        " GROUP BY code ORDER BY count(*) DESC LIMIT 5"
    )


def check_streaq(redis: str | None) -> None:
    """See that the engine can be used. Raises ``SourceError``."""
    if redis is None:
        raise SourceError("--engine streaq needs --redis, such as --redis redis://localhost")
    if find_spec("streaq") is None:
        raise SourceError("streaq is not installed: pip install 'volc_moderation[streaq]'")


def stderr() -> Console:
    """Return where people read how it goes: standard error."""
    return Console(file=sys.stderr, highlight=False, markup=False)


def stdout() -> Console:
    """Return where results go: standard output."""
    return Console(highlight=False, markup=False)
