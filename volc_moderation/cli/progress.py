"""What a run of jobs shows while it runs: bars at a terminal, a line now and then elsewhere."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol, Self

import attrs
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.job_event import JobEvent

#: Seconds that a rate is taken over.
SPAN = 3.0
#: Seconds between two lines where there is no terminal.
EVERY = 10.0


class LaneStatus(Protocol):
    """What is asked of a lane that is run, here or by workers."""

    @property
    def lane(self) -> Lane:
        """Which one it is."""

    @property
    def pause_reason(self) -> Exception | None:
        """What stands in the way of all of its calls."""

    @property
    def cap(self) -> float | None:
        """Calls per second that the quota in force allows, if that is known."""


@attrs.define
class Tally:
    """How it stands with one lane."""

    lane: Lane
    #: Calls that had not ended when the run began.
    total: int
    #: Calls per second that the quota allows.
    cap: float
    done: int = 0
    gone: int = 0
    failed: int = 0
    #: How many wait for their next attempt, when the first is due, and the last, in Unix seconds.
    deferred: int = 0
    next_due: float | None = None
    last_due: float | None = None
    pause_reason: str = ""
    #: When answers came, and how many, on ``time.monotonic``.
    _answers: deque[tuple[float, int]] = attrs.field(factory=deque)
    _began: float = attrs.field(factory=time.monotonic)

    def count(self, event: JobEvent) -> None:
        """Count what happened to a job."""
        now = time.monotonic()
        # A tenth of a second together: a run may make thousands of calls in one.
        if self._answers and now - self._answers[-1][0] < SPAN / 30:
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
        """Answers per second of late."""
        now = time.monotonic()
        while self._answers and self._answers[0][0] < now - SPAN:
            self._answers.popleft()
        span = min(SPAN, max(now - self._began, 0.5))
        return sum(count for _, count in self._answers) / span

    def seconds_left(self) -> float | None:
        """Return how long it will take, those that wait for their next attempt included; None if nobody can tell."""
        if self.pause_reason:
            return None
        left = self.total - self.ended
        until_due = max(0.0, (self.last_due or 0.0) - time.time())
        if left <= self.deferred:
            return until_due
        return max(until_due, left / self.rate) if self.rate else None


class Progress:
    """Shows tallies on standard error."""

    def __init__(self, console: Terminal) -> None:
        self.tallies: dict[Lane, Tally] = {}
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next_line = time.monotonic() + EVERY

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.update(self._bars(), refresh=True)
            self._live.stop()

    def add(self, lane: Lane, left: int, cap: float) -> None:
        """Show a lane in which ``left`` calls have not ended."""
        if left:
            self.tallies[lane] = Tally(lane, left, cap)

    def on_event(self, event: JobEvent) -> None:
        """Count what happened to a job."""
        if event.lane in self.tallies:
            self.tallies[event.lane].count(event)

    def refresh(self, deferred: Mapping[Lane, tuple[int, float, float]], lanes: Sequence[LaneStatus]) -> None:
        """Show how it stands."""
        for lane in lanes:
            tally = self.tallies.get(lane.lane)
            if tally is None:
                continue
            tally.deferred, tally.next_due, tally.last_due = deferred.get(lane.lane, (0, None, None))
            pause_reason = "" if lane.pause_reason is None else str(lane.pause_reason)
            if pause_reason and pause_reason != tally.pause_reason and self._live is None:
                self._console.print(f"waiting: {pause_reason}", soft_wrap=True)
            tally.pause_reason = pause_reason
            tally.cap = tally.cap if lane.cap is None else lane.cap
        if self._live is not None:
            self._live.update(self._bars(), refresh=True)
        elif time.monotonic() >= self._next_line:
            self._next_line += EVERY
            for tally in self.tallies.values():
                line = f"{tally.lane.action} {tally.ended:,}/{tally.total:,}, {_details(tally)}, ETA {_clock(tally)}"
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
            row.add_row(tally.lane.action, bar, f"{tally.ended:,}/{tally.total:,}", f"ETA {_clock(tally)}")
            parts += [row, self._console.one_line(f"  {_details(tally)}", style="dim")]
            if tally.pause_reason:
                parts.append(self._console.one_line(f"  waiting: {tally.pause_reason}", style="yellow"))
        return Group(*parts)


def _details(tally: Tally) -> str:
    parts = [f"{tally.rate:.0f}/s of {tally.cap:g}", f"{tally.done:,} done"]
    if tally.gone:
        parts[-1] += f" ({tally.gone:,} were gone)"
    if tally.failed:
        parts.append(f"{tally.failed:,} failed")
    if tally.deferred:
        parts.append(f"{tally.deferred:,} deferred until {time_of(tally.next_due)}")
    return ", ".join(parts)


def _clock(tally: Tally) -> str:
    seconds = tally.seconds_left()
    if seconds is None:
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def time_of(due: float | None) -> str:
    """Return a time of day, of this place."""
    return "?" if due is None else datetime.fromtimestamp(due).astimezone().strftime("%H:%M:%S")
