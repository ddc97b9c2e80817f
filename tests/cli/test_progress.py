"""The progress of a run: counts, rates and the estimated time left. The tests move the clock."""

import io
import time
from typing import Any, cast

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE
from volc_moderation.cli import progress as module
from volc_moderation.cli.progress import Progress, Tally, time_of_day
from volc_moderation.cli.terminal import Terminal
from volc_moderation.errors import QuotaUnavailable
from volc_moderation.jobs.engine import LaneStatus
from volc_moderation.jobs.job import DeferredJobs, JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.volcengine import StopWebcast

OTHER = Lane("zego", "account", "KickoutUser")


class Clock:
    """The wall clock and the monotonic clock of this machine."""

    def __init__(self) -> None:
        self.now = 50.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return NOW + self.now - 50


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def printed_progress(clock: Clock) -> tuple[Progress, io.StringIO]:
    """Return a ``Progress`` and the file that it prints to."""
    file = io.StringIO()
    progress = Progress(Terminal(cast("Any", file)))
    progress.add(LANE, 100, 150.0)
    progress.tallies[LANE]._began = clock.now
    return progress, file


def event(state: JobState = JobState.DONE, *, lane: Lane = LANE, was_gone: bool = False) -> JobEvent:
    row = DueJob(1, "key", "{}", 1, 0, None, 2)
    return JobEvent(lane, 1, None, StopWebcast, row, Outcome(state, was_gone=was_gone))


def status(
    lane: Lane = LANE, pause_reason: QuotaUnavailable | None = None, quota_rate: float | None = None
) -> LaneStatus:
    return LaneStatus(
        lane=lane,
        client=cast("Any", None),
        action_type=StopWebcast,
        pause_reason=pause_reason,
        quota_rate=quota_rate,
    )


def deferred(count: int, first_due: float, last_due: float) -> DeferredJobs:
    return DeferredJobs(count=count, first_due=first_due, last_due=last_due)


def lines(file: io.StringIO) -> list[str]:
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_each_call_is_counted_once(clock: Clock) -> None:
    tally = Tally(LANE, 10, 150.0)
    for one in (
        *(event(), event(was_gone=True), event(JobState.PENDING)),
        *(event(JobState.FAILED), event(JobState.GIVEN_UP), event(JobState.GIVEN_UP)),
    ):
        tally.count(one)
    assert (tally.done, tally.gone, tally.failed, tally.ended) == (2, 1, 3, 5)


def test_the_rate_is_measured_over_the_last_three_seconds(clock: Clock) -> None:
    tally = Tally(LANE, 1000, 150.0, began=clock.now)
    tally.count(event())
    assert tally.rate == 1  # measured over at least a second: a quota allows that many at once
    for _ in range(40):  # ten per second
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


def test_the_estimated_time_left(clock: Clock) -> None:
    tally = Tally(LANE, 100, 150.0, began=clock.now)
    assert tally.seconds_left() is None  # unknown
    for _ in range(30):
        clock.now += 0.1
        tally.count(event())
    assert tally.seconds_left() == pytest.approx(7, abs=0.3)
    tally.deferred = deferred(69, clock.time(), clock.time() + 60)
    assert tally.seconds_left() == 60  # and one call is left
    tally.deferred = deferred(70, clock.time(), clock.time() + 5)
    assert tally.seconds_left() == 5
    clock.now += 100
    assert tally.seconds_left() == 0  # all are due
    tally.pause_reason = "unavailable"
    assert tally.seconds_left() is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00"), (59.6, "1:00"), (61, "1:01"), (3599, "59:59"), (3600, "1:00:00"), (3725, "1:02:05")],
)
def test_the_time_left_is_formatted_as_on_a_clock(clock: Clock, seconds: float, text: str) -> None:
    due = clock.time() + seconds
    assert module._eta(Tally(LANE, 1, 150.0, deferred=deferred(1, due, due))) == text


def test_a_line_is_printed_every_ten_seconds(clock: Clock, printed_progress: tuple[Progress, io.StringIO]) -> None:
    progress, file = printed_progress
    for _ in range(20):
        progress.on_event(event())
    progress.on_event(event(lane=OTHER))  # all calls of this lane had ended
    with progress:
        for _ in range(300):
            clock.now += 0.1
            progress.refresh({}, [status(), status(OTHER)])
    assert lines(file) == [
        *2 * ["StopWebcast 20/100, 0/s of 150, 20 done, ETA ?"],
    ]


def test_a_line_has_all_counts(clock: Clock, printed_progress: tuple[Progress, io.StringIO]) -> None:
    progress, file = printed_progress
    for state in (JobState.DONE, JobState.FAILED):
        progress.on_event(event(state))
    progress.on_event(event(was_gone=True))
    clock.now += 10.5
    due = clock.time() + 90
    progress.refresh({LANE: deferred(2, due, due + 60)}, [status(quota_rate=75)])
    progress.refresh({LANE: deferred(2, due, due + 60)}, [status()])
    assert lines(file) == [
        f"StopWebcast 3/100, 0/s of 75, 2 done (1 already gone), 1 failed, 2 deferred until {time_of_day(due)}, ETA ?"
    ]
    assert time_of_day(due) == time.strftime("%H:%M:%S", time.localtime(due))
    assert time_of_day(None) == "?"


def test_bars_at_a_terminal(clock: Clock, printed_progress: tuple[Progress, io.StringIO]) -> None:
    progress, _ = printed_progress
    progress.add(OTHER, 0, 50.0)  # nothing to do
    for _ in range(50):
        clock.now += 0.1
        progress.on_event(event())
    progress.refresh({}, [status(pause_reason=QuotaUnavailable("unavailable"))])
    console, file = new_terminal()
    console.print(progress._bars())
    first, second, third = lines(file)
    assert first.startswith("StopWebcast ━")
    assert first.endswith("50/100 ETA ?")
    assert (second, third) == ("10/s of 150, 50 done", "waiting: unavailable")


def new_terminal() -> tuple[Terminal, io.StringIO]:
    file = io.StringIO()
    return Terminal(cast("Any", file)), file
