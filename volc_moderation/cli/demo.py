"""``volc-moderation demo``: starts and stops a thousand tasks from a journal, at the full quotas of both vendors."""

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import attrs
from cyclopts import Parameter
from cyclopts.validators import Number
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from volc_moderation import Action, ModerationError, VolcengineClient, ZegoClient
from volc_moderation.cli.emulator import Delay
from volc_moderation.cli.environment import Environment
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.invocation import command_line
from volc_moderation.cli.rate import Rates
from volc_moderation.cli.run import run_jobs, summary_line
from volc_moderation.cli.session import RunOptions, Session
from volc_moderation.cli.signals import Interrupts
from volc_moderation.cli.terminal import Terminal, print_error, stderr
from volc_moderation.emulator import EmulatorProcess, Fault, Settings
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import JobSummary
from volc_moderation.jobs.journal.thread import open_journal
from volc_moderation.report.report import write_report
from volc_moderation.volcengine import StartWebcast, StopWebcast
from volc_moderation.zego import StartCensorAudioV2, StopCensorAudioV2

#: Rooms whose stop is refused.
REFUSED_ROOMS = 2
#: Rooms whose stop is deferred for long, and for how many seconds.
DEFERRED_ROOMS = 3
LONG_RETRY_AFTER = 300
#: One of so many stops of webcasts is deferred briefly, and for how many seconds.
DEFERRED_EVERY = 40
SHORT_RETRY_AFTER = 3


@attrs.frozen
class ActionCounts:
    """What the emulator counted for one action."""

    action_type: type[Action[Any]]
    counts: Mapping[str, Any]

    def count(self, name: str) -> int:
        """Return a count by its name."""
        return int(self.counts.get(name) or 0)

    @property
    def is_within_quota(self) -> bool:
        """Whether no call was throttled, and no second exceeded the quota."""
        return not self.count("throttled") and self.count("most_in_any_second") <= self.action_type.quota.limit


def demo(
    *,
    webcasts: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 600,
    audio: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 400,
    delay: Delay = (0.02, 0.05),
    resume: Path | None = None,
    svg: Path | None = None,
) -> int:
    """Start and stop a thousand tasks from a journal at full quota, against an emulator in a separate process.

    As in production, the vendor defers some stops and refuses a few.

    Parameters
    ----------
    webcasts
        The number of webcasts to start and stop at Volcengine.
    audio
        The number of audio moderations to start and stop at ZEGO.
    delay
        The minimum and maximum network delay in seconds, in each direction.
    resume
        Continue with the journal of an earlier demo.
    svg
        Write a picture of the result to this file.

    """
    console = Terminal(record=svg is not None)
    for path, is_usable in ((svg, _is_writable(svg)), (resume, _is_journal(resume))):
        if not is_usable:
            return print_error(stderr(), f"cannot use {path}")
    try:
        directory = Path(tempfile.mkdtemp(prefix="volc-moderation-")) if resume is None else resume.parent
    except OSError:
        return print_error(stderr(), "a demo needs a directory for its journal: set TMPDIR to one")
    journal = directory / "demo.jobs" if resume is None else resume
    try:
        code = asyncio.run(_demo(console, journal, webcasts, audio, delay, is_new=resume is None))
    except (ModerationError, RuntimeError) as error:
        return print_error(stderr(), error)
    if svg is not None:
        # Remove the fonts, which rich's picture would load from a web server.
        picture = re.sub(
            r"@font-face \{.*?\}\s*", "", console.export_svg(title="volc-moderation demo"), flags=re.DOTALL
        )
        try:
            svg.write_text(picture, encoding="utf-8")
        except OSError as error:
            return print_error(stderr(), f"{svg} cannot be written: {error.strerror}")
    return code


def _is_writable(path: Path | None) -> bool:
    return path is None or (os.access(path.parent, os.W_OK) and not path.is_dir())


def _is_journal(path: Path | None) -> bool:
    return path is None or path.is_file()


async def _demo(
    console: Terminal, path: Path, webcasts: int, audio: int, delay: tuple[float, float], *, is_new: bool
) -> ExitCode:
    began = time.monotonic()
    interrupts = Interrupts(console)
    settings = Settings(delay=delay)
    async with aclosing(await open_journal(partial(Journal, path))) as journal:
        port = int(await journal.do(lambda journal: journal.note("port")) or 0)
        with interrupts.listen():
            async with (
                EmulatorProcess(settings, port=port) as emulator,
                VolcengineClient(
                    access_key=settings.access_key, secret_key=settings.secret_key, base_url=emulator.base_url
                ) as volcengine,
                ZegoClient(
                    app_id=settings.app_id, server_secret=settings.server_secret, base_url=emulator.base_url
                ) as zego,
            ):
                session = Session(
                    options=RunOptions(journal=path),
                    console=console,
                    interrupts=interrupts,
                    environment=Environment([volcengine, zego], {}, Rates()),
                    journal=journal,
                )
                if is_new:
                    low, high = (round(seconds * 1000) for seconds in delay)
                    console.print(
                        f"Starting and stopping {webcasts} webcasts at Volcengine and {audio} audio moderations at ZEGO"
                        " from a journal, against an emulator that refuses every call above a quota in any second."
                        f" Network delay: {low} to {high} ms in each direction. Some stops are deferred,"
                        f" {REFUSED_ROOMS} are refused."
                    )
                    address = str(urlsplit(emulator.base_url).port)
                    await journal.do(lambda journal: journal.note("port", address))
                    await _start_and_stop(session, emulator, webcasts, audio)
                else:
                    await _run_jobs(session, wait_for_deferred=True)
                counts = await emulator.counts()
        actions: list[type[Action[Any]]] = [StartWebcast, StopWebcast, StartCensorAudioV2, StopCensorAudioV2]
        batches = [ActionCounts(action, counts[action.name]) for action in actions if action.name in counts]
        summary = await journal.do(Journal.summary)
        spans = await journal.do(Journal.ending_spans)
        report = path.with_suffix(".html")
        await journal.do(lambda journal: write_report(journal, report, now=time.time()))
    if batches:
        console.print(_table(batches, spans))
    return _print_outcome(
        console, batches, summary, path, report, seconds=time.monotonic() - began, interrupts=interrupts
    )


async def _start_and_stop(session: Session, emulator: EmulatorProcess, webcasts: int, audio: int) -> None:
    """Start all tasks, and stop those that were started."""
    page = "https://example.com/wall"
    starts = (
        StartWebcast(app_id="app", room_id=f"room-{number}", task_id="webcast", user_id="webcast_page", source_url=page)
        for number in range(webcasts)
    )
    audio_starts = (
        StartCensorAudioV2(
            room_id=f"room-{number}", event_id="audio_room", audio_language="en", risk_type_list=["DIRTY"]
        )
        for number in range(audio)
    )
    stops = (StopWebcast(app_id="app", room_id=f"room-{number}", task_id="webcast") for number in range(webcasts))
    await _submit(session, starts)
    await _submit(session, audio_starts)
    await _run_jobs(session, wait_for_deferred=True)
    if session.interrupts.count:
        return
    await _inject_faults(emulator)
    await _submit(session, stops)
    await _submit(session, [StopCensorAudioV2(task_id=task_id) for task_id in await session.journal.do(_audio_tasks)])
    await _run_jobs(session, wait_for_deferred=False)


async def _submit(session: Session, actions: Iterable[Action[Any]]) -> None:
    """Write calls to the journal."""
    clients, now = Clients(session.environment.clients), time.time()

    def add(journal: Journal) -> None:
        for action in actions:
            lane, completed = clients.complete(action)
            journal.submit(key_of(lane, completed), journal.lane_id(lane), dump_action(completed), due=now, now=now)

    await session.journal.do(add)


async def _run_jobs(session: Session, *, wait_for_deferred: bool) -> None:
    """Run the jobs of the journal. Raises the ``ModerationError`` that ends the run early."""
    options = attrs.evolve(session.options, wait_for_deferred=wait_for_deferred)
    error = await run_jobs(attrs.evolve(session, options=options))
    if error is not None:
        raise error


async def _inject_faults(emulator: EmulatorProcess) -> None:
    """Let the emulator refuse and defer some stops, as vendors do."""
    for number in range(REFUSED_ROOMS):
        await emulator.play(
            Fault(
                kind="code",
                action="StopWebcast",
                match={"RoomId": f"room-{10 + number}"},
                code="AccessDenied.NoPermissionForApp",
                message="the app belongs to another account",
            )
        )
    unavailable = {
        "kind": "code",
        "action": "StopWebcast",
        "code": "ServiceUnavailableTemp",
        "message": "temporarily unavailable",
    }
    for number in range(DEFERRED_ROOMS):
        room = {"RoomId": f"room-{20 + number}"}
        await emulator.play(Fault(**unavailable, match=room, retry_after=LONG_RETRY_AFTER))  # type: ignore[arg-type]
    await emulator.play(
        Fault(**unavailable, every=DEFERRED_EVERY, first=100, retry_after=SHORT_RETRY_AFTER)  # type: ignore[arg-type]
    )


def _audio_tasks(journal: Journal) -> list[str]:
    """Return the ids of the audio moderations that were started."""
    return [str(result["TaskId"]) for result in journal.results(StartCensorAudioV2.name) if isinstance(result, dict)]


def _table(batches: list[ActionCounts], spans: Mapping[str, float]) -> Table:
    """Return a table of what the emulator counted.

    :param spans: the seconds between the first and the last answer of each action.
    """
    table = Table(Column("action", no_wrap=True), box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("calls", "of\nquota", "peak in\nany 1 s", "throttled", "deferred\nor refused", "first\nto last"):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for batch in batches:
        calls, seconds = batch.count("received"), spans.get(batch.action_type.name, 0.0)
        limit = batch.action_type.quota.limit
        table.add_row(
            batch.action_type.name,
            str(calls),
            f"{batch.count('accepted') / seconds / limit:.3f}" if seconds > 1 else "-",
            f"{batch.count('most_in_any_second')}/{limit}",
            str(batch.count("throttled")),
            str(batch.count("faults")),
            f"{seconds:.1f} s",
        )
    return table


def _print_outcome(
    console: Terminal,
    batches: list[ActionCounts],
    summary: JobSummary,
    journal: Path,
    report: Path,
    *,
    seconds: float,
    interrupts: Interrupts,
) -> ExitCode:
    """Print what became of the jobs and how to continue, and return the exit code."""
    console.print(f"{summary_line(summary)[:-1]}, in {seconds:.1f} s.")
    console.print(f"Report: {report}", soft_wrap=True)
    if summary.unfinished:
        console.print(f"Resume with: {command_line('demo', '--resume', journal)}", soft_wrap=True)
    if interrupts.count and summary.unfinished:
        return ExitCode.INTERRUPTED
    return ExitCode.SUCCESS if all(batch.is_within_quota for batch in batches) else ExitCode.FAILURE
