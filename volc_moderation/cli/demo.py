"""``volc-moderation demo``: a thousand tasks started and stopped by a journal at both vendors' full quotas."""

import asyncio
import os
import re
import tempfile
import time
from collections.abc import Iterable, Mapping
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

from volc_moderation import Action, ModerationError, VolcengineClient, WindowQuotas, ZegoClient
from volc_moderation.cli.emulator import Delay, complain
from volc_moderation.cli.environment import Environment
from volc_moderation.cli.files import opened
from volc_moderation.cli.rate import Rates
from volc_moderation.cli.run import INTERRUPTED, Interrupts, RunOptions, make_calls, summary_line
from volc_moderation.cli.terminal import Terminal
from volc_moderation.emulator import EmulatorProcess, Fault, Settings
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import JobSummary
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.report.report import write_report
from volc_moderation.volcengine import StartWebcast, StopWebcast
from volc_moderation.zego import StartCensorAudioV2, StopCensorAudioV2

#: What happens to some of the stops of webcasts: of every so many, one is put off for some seconds.
EVERY, SOON = 40, 3
#: These rooms are refused, and those put off for long.
REFUSED, PUT_OFF = 2, 3
LONG = 300


@attrs.frozen
class ActionCounts:
    """What the emulator saw of one action."""

    action: type[Action[Any]]
    counts: Mapping[str, Any]

    def of(self, what: str) -> int:
        """Return a count."""
        return int(self.counts.get(what) or 0)

    @property
    def is_kept(self) -> bool:
        """Whether no call was refused as one too many, and no second was above the quota."""
        return not self.of("throttled") and self.of("most_in_any_second") <= self.action.quota.limit


def demo(
    *,
    webcasts: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 600,
    audio: Annotated[int, Parameter(validator=Number(gte=1, lte=100_000))] = 400,
    delay: Delay = (0.02, 0.05),
    resume: Path | None = None,
    svg: Path | None = None,
) -> int:
    """Start and stop a thousand tasks at full quota, from a journal, against an emulator in a process of its own.

    Some stops are put off by the vendor, and a few are refused, as in life.

    Parameters
    ----------
    webcasts
        Webcasts to start and stop at Volcengine.
    audio
        Audio moderations to start and stop at ZEGO.
    delay
        Shortest and longest time, in seconds, that a request takes there, and an answer back.
    resume
        Go on with the journal of a demo.
    svg
        File to write a picture of the result to.

    """
    console = Terminal(record=svg is not None)
    for path, is_right in ((svg, _may_be_written(svg)), (resume, _is_journal(resume))):
        if not is_right:
            return complain(f"cannot use {path}")
    try:
        folder = Path(tempfile.mkdtemp(prefix="volc-moderation-")) if resume is None else resume.parent
    except OSError:
        return complain("a demo needs a directory for its journal: set TMPDIR to one")
    journal = folder / "demo.jobs" if resume is None else resume
    try:
        code = asyncio.run(_demo(console, journal, webcasts, audio, delay, is_new=resume is None))
    except (ModerationError, RuntimeError) as error:
        return complain(str(error))
    if svg is not None:
        # Without the fonts that rich's picture would load from elsewhere.
        picture = re.sub(
            r"@font-face \{.*?\}\s*", "", console.export_svg(title="volc-moderation demo"), flags=re.DOTALL
        )
        try:
            svg.write_text(picture, encoding="utf-8")
        except OSError as error:
            return complain(f"{svg} cannot be written: {error.strerror}")
    return code


def _may_be_written(path: Path | None) -> bool:
    return path is None or (os.access(path.parent, os.W_OK) and not path.is_dir())


def _is_journal(path: Path | None) -> bool:
    return path is None or path.is_file()


async def _demo(
    console: Terminal, path: Path, webcasts: int, audio: int, delay: tuple[float, float], *, is_new: bool
) -> int:
    began = time.monotonic()
    interrupts = Interrupts(console)
    settings = Settings(delay=delay)
    async with opened(partial(Journal, path)) as journal:
        port = int(await journal.do(lambda journal: journal.note("port")) or 0)
        with interrupts.heard():
            async with (
                EmulatorProcess(settings, port=port) as emulator,
                VolcengineClient(
                    access_key=settings.access_key, secret_key=settings.secret_key, base_url=emulator.base_url
                ) as volcengine,
                ZegoClient(
                    app_id=settings.app_id, server_secret=settings.server_secret, base_url=emulator.base_url
                ) as zego,
            ):
                environment = Environment([volcengine, zego], {}, WindowQuotas(), Rates())
                run = _Run(journal, environment, RunOptions(journal=path), console, interrupts)
                if is_new:
                    low, high = (round(seconds * 1000) for seconds in delay)
                    console.print(
                        f"Starting and stopping {webcasts} webcasts at Volcengine and {audio} audio moderations at ZEGO"
                        " from a journal, against an emulator that refuses what breaks a quota in any second. One way:"
                        f" {low} to {high} ms. Some stops are put off, {REFUSED} are refused."
                    )
                    address = str(urlsplit(emulator.base_url).port)
                    await journal.do(lambda journal: journal.note("port", address))
                    await run.start_and_stop(emulator, webcasts, audio)
                else:
                    await run.go_on()
                seen = await emulator.counts()
        actions: list[type[Action[Any]]] = [StartWebcast, StopWebcast, StartCensorAudioV2, StopCensorAudioV2]
        batches = [ActionCounts(action, seen[action.name]) for action in actions if action.name in seen]
        summary = await journal.do(Journal.summary)
        spans = await journal.do(_spans)
        report = path.with_suffix(".html")
        await journal.do(lambda journal: write_report(journal, report, now=time.time()))
    if batches:
        console.print(_table(batches, spans))
    return _conclude(console, batches, summary, path, report, seconds=time.monotonic() - began, interrupts=interrupts)


@attrs.frozen
class _Run:
    """The demo's journal, and what runs it."""

    journal: JournalThread
    environment: Environment
    options: RunOptions
    console: Terminal
    interrupts: Interrupts

    async def start_and_stop(self, emulator: EmulatorProcess, webcasts: int, audio: int) -> None:
        """Start all, and stop what was started."""
        page = "https://example.com/wall"
        await self._submit(
            StartWebcast(
                app_id="app", room_id=f"room-{number}", task_id="webcast", user_id="webcast_page", source_url=page
            )
            for number in range(webcasts)
        )
        await self._submit(
            StartCensorAudioV2(
                room_id=f"room-{number}", event_id="audio_room", audio_language="en", risk_type_list=["DIRTY"]
            )
            for number in range(audio)
        )
        await self._calls(wait=True)
        if self.interrupts.count:
            return
        await _misbehave(emulator)
        await self._submit(
            StopWebcast(app_id="app", room_id=f"room-{number}", task_id="webcast") for number in range(webcasts)
        )
        await self._submit(StopCensorAudioV2(task_id=task) for task in await self.journal.do(_started))
        await self._calls(wait=False)

    async def go_on(self) -> None:
        """Make the calls that are left."""
        await self._calls(wait=True)

    async def _submit(self, actions: Iterable[Action[Any]]) -> None:
        clients, now = Clients(self.environment.clients), time.time()

        def add(journal: Journal) -> None:
            for action in actions:
                lane = clients.lane_of(action)
                journal.submit(key_of(lane, action), journal.lane(lane), dump_action(action), due=now, now=now)

        await self.journal.do(add)

    async def _calls(self, *, wait: bool) -> None:
        options = attrs.evolve(self.options, wait_for_deferred=wait)
        fault = await make_calls(self.journal, self.environment, options, self.console, self.interrupts)
        if fault is not None:
            raise fault


async def _misbehave(emulator: EmulatorProcess) -> None:
    """Let the vendor be as vendors are at times."""
    for number in range(REFUSED):
        await emulator.play(
            Fault(
                kind="code",
                action="StopWebcast",
                match={"RoomId": f"room-{10 + number}"},
                code="AccessDenied.NoPermissionForApp",
                message="the app belongs to somebody else",
            )
        )
    busy = {"kind": "code", "action": "StopWebcast", "code": "ServiceUnavailableTemp", "message": "back soon"}
    for number in range(PUT_OFF):
        await emulator.play(Fault(**busy, match={"RoomId": f"room-{20 + number}"}, retry_after=LONG))  # type: ignore[arg-type]
    await emulator.play(Fault(**busy, every=EVERY, first=100, retry_after=SOON))  # type: ignore[arg-type]


def _started(journal: Journal) -> list[str]:
    """Return the ids of the audio moderations that were started."""
    lane = "lane IN (SELECT id FROM lane WHERE action = 'StartCensorAudioV2')"
    found = [job.result for job in journal.jobs(f"state = 'done' AND {lane}")]
    return [str(result["TaskId"]) for result in found if isinstance(result, dict)]


def _spans(journal: Journal) -> dict[str, float]:
    """Return how many seconds the first attempts of each action took."""
    rows = journal.query(
        "SELECT action, max(ended) - min(ended) FROM job JOIN lane ON lane.id = job.lane WHERE attempts = 1 GROUP BY 1"
    )
    return {str(action): float(str(seconds or 0)) for action, seconds in rows}


def _table(batches: list[ActionCounts], spans: Mapping[str, float]) -> Table:
    table = Table(Column("action", no_wrap=True), box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("calls", "of\nquota", "most in\nany 1 s", "too\nmany", "put off\nor refused", "first\nto last"):
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for batch in batches:
        calls, seconds = batch.of("received"), spans.get(batch.action.name, 0.0)
        table.add_row(
            batch.action.name,
            str(calls),
            f"{batch.of('accepted') / seconds / batch.action.quota.limit:.3f}" if seconds > 1 else "-",
            f"{batch.of('most_in_any_second')}/{batch.action.quota.limit}",
            str(batch.of("throttled")),
            str(batch.of("faults")),
            f"{seconds:.1f} s",
        )
    return table


def _conclude(
    console: Terminal,
    batches: list[ActionCounts],
    summary: JobSummary,
    journal: Path,
    report: Path,
    *,
    seconds: float,
    interrupts: Interrupts,
) -> int:
    console.print(f"{summary_line(summary)[:-1]}, in {seconds:.1f} s.")
    console.print(f"Report: {report}", soft_wrap=True)
    if summary.left or summary.deferred:
        console.print(f"Go on with: volc-moderation demo --resume {journal}", soft_wrap=True)
    if interrupts.count and (summary.left or summary.deferred):
        return INTERRUPTED
    return 0 if all(batch.is_kept for batch in batches) else 1
