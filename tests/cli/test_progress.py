"""What a run shows while it runs: counts, rates, and how long it will take. The clock is moved by hand."""

import io
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE
from volc_moderation.cli import progress as module
from volc_moderation.cli.progress import LaneStatus, Progress, Tally, time_of
from volc_moderation.cli.terminal import Terminal
from volc_moderation.errors import QuotaUnavailable
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.volcengine import StopWebcast

OTHER = Lane("zego", "account", "KickoutUser")


class Clock:
    """Both clocks of this machine."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return NOW + self.now - 50


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def shown(clock: Clock) -> tuple[Progress, io.StringIO]:
    """Make a progress that is written to a file."""
    file = io.StringIO()
    progress = Progress(Terminal(cast("Any", file)))
    progress.add(LANE, 100, 150.0)
    progress.tallies[LANE]._began = clock.now
    return progress, file


def event(state: JobState = JobState.DONE, *, lane: Lane = LANE, was_gone: bool = False) -> JobEvent:
    row = DueJob(1, "key", "{}", 1, 0, None, 2)
    return JobEvent(lane, 1, None, StopWebcast, row, Outcome(state, was_gone=was_gone))


def runner(lane: Lane = LANE, pause_reason: QuotaUnavailable | None = None, cap: float | None = None) -> LaneStatus:
    return cast("LaneStatus", SimpleNamespace(lane=lane, pause_reason=pause_reason, cap=cap))


def lines(file: io.StringIO) -> list[str]:
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_each_ends_once(clock: Clock) -> None:
    tally = Tally(LANE, 10, 150.0)
    for one in (
        *(event(), event(was_gone=True), event(JobState.PENDING)),
        *(event(JobState.FAILED), event(JobState.GIVEN_UP), event(JobState.GIVEN_UP)),
    ):
        tally.count(one)
    assert (tally.done, tally.gone, tally.failed, tally.ended) == (2, 1, 3, 5)


def test_a_rate_is_that_of_the_last_three_seconds(clock: Clock) -> None:
    tally = Tally(LANE, 1000, 150.0, began=clock.now)
    tally.count(event())
    assert tally.rate == 2  # of half a second, or it would be any number at first
    for _ in range(40):  # ten in a second
        clock.now += 0.1
        tally.count(event())
    assert tally.rate == pytest.approx(10, abs=0.5)
    assert len(tally._answers) <= 41
    for _ in range(300):  # at once
        tally.count(event())
    assert tally.rate == pytest.approx(110, abs=1)
    assert len(tally._answers) <= 41
    clock.now += 1.5
    assert tally.rate == pytest.approx(105, abs=1)
    clock.now += 2
    assert tally.rate == 0
    assert not tally._answers


def test_how_long_it_will_take(clock: Clock) -> None:
    tally = Tally(LANE, 100, 150.0, began=clock.now)
    assert tally.seconds_left() is None  # nobody can tell
    for _ in range(30):
        clock.now += 0.1
        tally.count(event())
    assert tally.seconds_left() == pytest.approx(7, abs=0.3)
    tally.deferred, tally.last_due = 69, clock.time() + 60
    assert tally.seconds_left() == 60  # one call is left besides
    tally.deferred, tally.last_due = 70, clock.time() + 5
    assert tally.seconds_left() == 5
    clock.now += 100
    assert tally.seconds_left() == 0  # they are due
    tally.pause_reason = "no way"
    assert tally.seconds_left() is None


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00"), (3725, "1:02:05")],
)
def test_a_time_is_told_as_a_clock_does(clock: Clock, seconds: float, said: str) -> None:
    assert module._clock(Tally(LANE, 1, 150.0, deferred=1, last_due=clock.time() + seconds)) == said


def test_a_line_every_ten_seconds(clock: Clock, shown: tuple[Progress, io.StringIO]) -> None:
    progress, file = shown
    for _ in range(20):
        progress.on_event(event())
    progress.on_event(event(lane=OTHER))  # of which nothing was left
    with progress:
        for _ in range(300):
            clock.now += 0.1
            progress.refresh({}, [runner(), runner(OTHER)])
    assert lines(file) == [
        *2 * ["StopWebcast 20/100, 0/s of 150, 20 done, ETA ?"],
    ]


def test_a_line_tells_all(clock: Clock, shown: tuple[Progress, io.StringIO]) -> None:
    progress, file = shown
    for state in (JobState.DONE, JobState.FAILED):
        progress.on_event(event(state))
    progress.on_event(event(was_gone=True))
    clock.now += 10.5
    due = clock.time() + 90
    progress.refresh({LANE: (2, due, due + 60)}, [runner(cap=75)])
    progress.refresh({LANE: (2, due, due + 60)}, [runner()])
    assert lines(file) == [
        f"StopWebcast 3/100, 0/s of 75, 2 done (1 were gone), 1 failed, 2 deferred until {time_of(due)}, ETA ?"
    ]
    assert time_of(due) == time.strftime("%H:%M:%S", time.localtime(due))
    assert time_of(None) == "?"


def test_bars_at_a_terminal(clock: Clock, shown: tuple[Progress, io.StringIO]) -> None:
    progress, _ = shown
    progress.add(OTHER, 0, 50.0)  # nothing to do
    for _ in range(50):
        clock.now += 0.1
        progress.on_event(event())
    progress.refresh({}, [runner(pause_reason=QuotaUnavailable("no way"))])
    console, file = wide()
    console.print(progress._bars())
    first, second, third = lines(file)
    assert first.startswith("StopWebcast ━")
    assert first.endswith("50/100 ETA ?")
    assert (second, third) == ("10/s of 150, 50 done", "waiting: no way")


def wide() -> tuple[Terminal, io.StringIO]:
    file = io.StringIO()
    return Terminal(cast("Any", file)), file
