"""The queries of a journal: filters, numbers of jobs, and the figures of reports."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE, record
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.queries import (
    ActionCount,
    AnswerBin,
    AnswerSpan,
    DurationCell,
    FailureCode,
    JobFilter,
    OutcomeCount,
)

START_LANE = LANE._replace(action="StartWebcast")


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Open a journal with jobs of two lanes in all states."""
    with contextlib.closing(Journal(tmp_path / "stops.db")) as journal, journal.transaction():
        stop, start = journal.lane_id(LANE), journal.lane_id(START_LANE)
        for key, lane_id in [(f"stop-{n}", stop) for n in range(6)] + [("start-0", start), ("start-1", start)]:
            journal.submit(key, lane_id, "{}", due=NOW, now=NOW)
        journal.take(stop, 5, due=NOW, now=NOW)
        journal.take(start, 2, due=NOW, now=NOW)
        journal.record(
            [
                record(1, now=NOW + 1),
                record(2, now=NOW + 3, was_gone=True, round_trip=0.09),
                record(3, now=NOW + 200, state="failed", code="No", message="no"),
                record(4, now=NOW + 200, state="given up", code="No", message="never", round_trip=2.0),
                record(5, now=NOW + 201, state="pending", code=50009, due=NOW + 500, round_trip=None),
                record(7, lane_id=start, now=NOW + 2, result='{"TaskId":"t"}', round_trip=None, waited=None),
            ]
        )
        yield journal


@pytest.mark.parametrize(
    ("selected", "keys"),
    [
        (JobFilter(), ["stop-0", "stop-1", "stop-2", "stop-3", "stop-4", "stop-5", "start-0", "start-1"]),
        (JobFilter(states=frozenset({JobState.DONE})), ["stop-0", "stop-1", "start-0"]),
        (JobFilter(states=frozenset({JobState.FAILED, JobState.GIVEN_UP})), ["stop-2", "stop-3"]),
        (JobFilter(is_deferred=True), ["stop-4"]),
        (JobFilter(was_gone=True), ["stop-1"]),
        (JobFilter(action="StartWebcast"), ["start-0", "start-1"]),
        (JobFilter(code="50009"), ["stop-4"]),
        (JobFilter(key="stop-3"), ["stop-3"]),
        (JobFilter(action="StopWebcast", states=frozenset({JobState.PENDING})), ["stop-4", "stop-5"]),
        (JobFilter(code="No", key="stop-0"), []),
    ],
)
def test_a_filter_selects_jobs(journal: Journal, selected: JobFilter, keys: list[str]) -> None:
    assert [job.key for job in journal.jobs(selected)] == keys
    assert [job.key for job in journal.jobs(selected, limit=1)] == keys[:1]


def test_jobs_are_counted_by_lane_action_and_code(journal: Journal) -> None:
    assert journal.unfinished_by_lane() == {LANE: 2, START_LANE: 1}
    assert journal.counts_by_action() == [
        ActionCount("StartWebcast", JobState.DONE, 1),
        ActionCount("StartWebcast", JobState.SENT, 1),
        ActionCount("StopWebcast", JobState.DONE, 2),
        ActionCount("StopWebcast", JobState.FAILED, 1),
        ActionCount("StopWebcast", JobState.GIVEN_UP, 1),
        ActionCount("StopWebcast", JobState.PENDING, 2),
    ]
    assert journal.failure_codes() == [FailureCode("No", 2, "never")]
    assert journal.failure_codes(0) == []
    assert journal.count_with_workers() == 0
    journal.note("incarnation", "of a queue")
    assert journal.count_with_workers() == 1


def test_the_results_and_the_time_of_an_action_are_known(journal: Journal) -> None:
    assert list(journal.results("StartWebcast")) == [{"TaskId": "t"}]
    assert journal.ending_spans() == {"StopWebcast": 199.0, "StartWebcast": 0.0}


def test_answers_are_counted_in_bins(journal: Journal) -> None:
    first = int(NOW) + 1
    assert journal.answer_span(idle_after=60) == AnswerSpan(first, first + 200, 6, 197, NOW, NOW + 200)
    assert journal.answer_span(idle_after=1000) == AnswerSpan(first, first + 200, 6, 0, NOW, NOW + 200)
    assert journal.answers_by_bin(first_second=first, width=100) == [
        AnswerBin(1, 0, 2, 2, 0, 1),
        AnswerBin(1, 1, 2, 0, 0, 2),
        AnswerBin(1, 2, 1, 0, 1, 1),
        AnswerBin(2, 0, 1, 1, 0, 1),
    ]


def test_a_journal_without_answers_has_no_span(tmp_path: Path) -> None:
    with contextlib.closing(Journal(tmp_path / "stops.db")) as journal:
        assert journal.answer_span(idle_after=60) is None


def test_durations_are_grouped_in_cells(journal: Journal) -> None:
    assert journal.duration_cells("round_trip") == [
        DurationCell(1, 0.07, 0.07, 2),
        DurationCell(1, 0.09, 0.09, 1),
        DurationCell(1, 2.0, 2.0, 1),
    ]
    assert journal.duration_cells("waited") == [DurationCell(1, 0.1, 0.1, 5)]
    assert [job.key for job in journal.slowest(2)] == ["stop-3", "stop-1"]


def test_outcomes_are_counted(journal: Journal) -> None:
    outcomes = journal.outcomes(100)
    assert {outcome.jobs for outcome in outcomes} == {1}
    assert outcomes[2] == OutcomeCount(1, JobState.FAILED, False, True, "No", 1, "no")
    assert len(outcomes) == 8
    assert journal.outcomes(3) == outcomes[:3]


def test_the_queries_of_a_snapshot_see_the_same_moment_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / "stops.db"
    with (
        contextlib.closing(Journal(path, access="shared")) as writer,
        contextlib.closing(Journal(path, access="read")) as reader,
    ):

        def submit(key: str) -> None:
            with writer.transaction():
                writer.submit(key, writer.lane_id(LANE), "{}", due=NOW, now=NOW)

        submit("first")
        with reader.snapshot():
            assert reader.summary().left == 1
            submit("second")
            assert reader.counts()[JobState.PENDING] == reader.summary().left == 1
        assert reader.summary().left == 2
