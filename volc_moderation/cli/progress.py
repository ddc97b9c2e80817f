"""The progress of a run: bars at a terminal, otherwise a line for each lane every few seconds."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Self

import attrs
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.engine import LaneStatus
from volc_moderation.jobs.job import DeferredJobs, JobState, Lane
from volc_moderation.jobs.job_event import JobEvent

#: Seconds over which a rate is measured.
RATE_WINDOW = 3.0
#: Seconds over which answers are counted together: a run may make thousands of calls per second.
ANSWER_BIN = RATE_WINDOW / 30
#: Seconds that a rate is measured over at least: a quota allows that many calls at once.
MIN_RATE_SPAN = 1.0
#: Seconds between two lines without a terminal.
LINE_INTERVAL = 10.0


@attrs.define
class Tally:
    """The counts of one lane in this run."""

    lane: Lane
    #: Calls that had not ended when the run began.
    total: int
    #: Calls per second that the quota allows.
    quota_rate: float
    done: int = 0
    gone: int = 0
    failed: int = 0
    deferred: DeferredJobs | None = None
    #: Why the lane's calls wait; empty if they do not.
    pause_reason: str = ""
    #: Times of answers, on ``time.monotonic``, and their numbers.
    _answers: deque[tuple[float, int]] = attrs.field(factory=deque)
    _began: float = attrs.field(factory=time.monotonic)

    def count(self, event: JobEvent) -> None:
        """Count an attempt that ended."""
        now = time.monotonic()
        if self._answers and now - self._answers[-1][0] < ANSWER_BIN:
            self._answers[-1] = (self._answers[-1][0], self._answers[-1][1] + 1)
        else:
            self._answers.append((now, 1))
        if event.state is JobState.DONE:
            self.done += 1
            self.gone += event.was_gone
        elif event.state is not JobState.PENDING:
            self.failed += 1

    @property
    def ended(self) -> int:
        """Calls that ended in this run."""
        return self.done + self.failed

    @property
    def rate(self) -> float:
        """Recent answers per second."""
        now = time.monotonic()
        while self._answers and self._answers[0][0] < now - RATE_WINDOW:
            self._answers.popleft()
        span = min(RATE_WINDOW, max(now - self._began, MIN_RATE_SPAN))
        return sum(count for _, count in self._answers) / span

    def seconds_left(self) -> float | None:
        """Return the estimated seconds until all calls have ended, deferred ones included; None if unknown."""
        if self.pause_reason:
            return None
        left = self.total - self.ended
        until_due = 0.0 if self.deferred is None else max(0.0, self.deferred.last_due - time.time())
        if left <= (0 if self.deferred is None else self.deferred.count):
            return until_due
        return max(until_due, left / self.rate) if self.rate else None


class Progress:
    """Shows the tallies of a run on standard error."""

    def __init__(self, console: Terminal) -> None:
        self.tallies: dict[Lane, Tally] = {}
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next_line = time.monotonic() + LINE_INTERVAL

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._bars(), refresh=True)
            self._live.stop()

    def add(self, lane: Lane, unfinished: int, quota_rate: float) -> None:
        """Show a lane, unless all of its calls have ended."""
        if unfinished:
            self.tallies[lane] = Tally(lane, unfinished, quota_rate)

    def on_event(self, event: JobEvent) -> None:
        """Count an attempt that ended."""
        if event.lane in self.tallies:
            self.tallies[event.lane].count(event)

    def refresh(self, deferred: Mapping[Lane, DeferredJobs], lanes: Sequence[LaneStatus]) -> None:
        """Show the current status."""
        for lane in lanes:
            tally = self.tallies.get(lane.lane)
            if tally is None:
                continue
            tally.deferred = deferred.get(lane.lane)
            pause_reason = "" if lane.pause_reason is None else str(lane.pause_reason)
            if pause_reason and pause_reason != tally.pause_reason and self._live is None:
                self._console.print(f"waiting: {pause_reason}", soft_wrap=True)
            tally.pause_reason = pause_reason
            tally.quota_rate = tally.quota_rate if lane.quota_rate is None else lane.quota_rate
        if self._live is not None:
            self._live.update(self._bars(), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line += LINE_INTERVAL
            for tally in self.tallies.values():
                line = f"{tally.lane.action} {tally.ended:,}/{tally.total:,}, {_details(tally)}, ETA {_eta(tally)}"
                line += f", waiting: {tally.pause_reason}" if tally.pause_reason else ""
                self._console.print(line, soft_wrap=True)

    def _bars(self) -> RenderableType:
        parts: list[RenderableType] = []
        for tally in self.tallies.values():
            row = Table.grid(padding=(0, 1), expand=True)
            row.add_column(no_wrap=True)
            row.add_column(ratio=1)
            row.add_column(no_wrap=True, justify="right")
            row.add_column(no_wrap=True, justify="right")
            bar = ProgressBar(total=max(tally.total, 1), completed=tally.ended)
            row.add_row(tally.lane.action, bar, f"{tally.ended:,}/{tally.total:,}", f"ETA {_eta(tally)}")
            parts += [row, self._console.one_line(f"  {_details(tally)}", style="dim")]
            if tally.pause_reason:
                parts.append(self._console.one_line(f"  waiting: {tally.pause_reason}", style="yellow"))
        return Group(*parts)


def _details(tally: Tally) -> str:
    parts = [f"{tally.rate:.0f}/s of {tally.quota_rate:g}", f"{tally.done:,} done"]
    if tally.gone:
        parts[-1] += f" ({tally.gone:,} already gone)"
    if tally.failed:
        parts.append(f"{tally.failed:,} failed")
    if tally.deferred is not None:
        parts.append(f"{tally.deferred.count:,} deferred until {time_of_day(tally.deferred.first_due)}")
    return ", ".join(parts)


def _eta(tally: Tally) -> str:
    """Return the estimated time left as h:mm:ss or m:ss."""
    seconds = tally.seconds_left()
    if seconds is None:
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def time_of_day(due: float | None) -> str:
    """Return the local time of day of a Unix time."""
    return "?" if due is None else datetime.fromtimestamp(due).astimezone().strftime("%H:%M:%S")
