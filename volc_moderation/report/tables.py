"""The tables of a report. A column is one entry of a list below: its heading, its CSS class, and the text of a cell."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Generic, NamedTuple, TypeVar

import attrs

from volc_moderation.jobs.job import JobState, StoredJob
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.queries import JobFilter, OutcomeCount
from volc_moderation.printable import printable
from volc_moderation.report.distribution import Distribution
from volc_moderation.report.lanes import ReportedLane
from volc_moderation.report.units import duration

R = TypeVar("R")

#: Rows of each table.
MAX_OUTCOMES = 100
MAX_SLOWEST_JOBS = 20
MAX_FAILED_JOBS = 100
#: Characters of a cell.
MAX_CELL_CHARACTERS = 300

#: The percentiles that are shown, by name.
PERCENTILES = {"median": 50, "p95": 95, "p99": 99, "max": 100}


@attrs.frozen
class Column(Generic[R]):
    """A column of a table: its heading, the CSS class of its cells, and the text of the cell in a row."""

    heading: str
    css_class: str
    text: Callable[[R], str]


# Columns


class DurationRow(NamedTuple):
    """The durations of one lane."""

    lane: ReportedLane
    durations: Distribution


def _percentile_column(name: str, percent: int) -> Column[DurationRow]:
    return Column(name, "number", lambda row: duration(row.durations.percentile(percent)))


DURATION_COLUMNS: Sequence[Column[DurationRow]] = [
    Column("Action", "", lambda row: row.lane.name),
    Column("Calls", "number", lambda row: f"{row.durations.total:,}"),
    *(_percentile_column(name, percent) for name, percent in PERCENTILES.items()),
]


class OutcomeRow(NamedTuple):
    """An outcome, its lane, and the number of all jobs."""

    outcome: OutcomeCount
    lane: ReportedLane
    total: int


OUTCOME_COLUMNS: Sequence[Column[OutcomeRow]] = [
    Column("Calls", "number", lambda row: f"{row.outcome.jobs:,}"),
    Column("Share", "number", lambda row: _share(row.outcome.jobs, row.total)),
    Column(
        "State",
        "state",
        lambda row: shown_state(row.outcome.state, was_gone=row.outcome.was_gone, was_tried=row.outcome.was_tried),
    ),
    Column("Code", "code", lambda row: _code(row.outcome.code)),
    Column("Vendor's advice", "words", lambda row: row.lane.advice(row.outcome.code)),
    Column("Action", "", lambda row: row.lane.name),
    Column("Example message", "words", lambda row: row.outcome.message or ""),
]


class JobRow(NamedTuple):
    """A job and its lane."""

    job: StoredJob
    lane: ReportedLane


_LINE: Column[JobRow] = Column("Line", "number", lambda row: "" if row.job.line is None else str(row.job.line))
_ROUND_TRIP: Column[JobRow] = Column(
    "Round trip", "number", lambda row: "" if row.job.round_trip is None else duration(row.job.round_trip)
)
_COMMON_COLUMNS: Sequence[Column[JobRow]] = [
    Column(
        "State",
        "state",
        lambda row: shown_state(row.job.state, was_gone=row.job.was_gone, was_tried=row.job.attempts > 0),
    ),
    Column("Code", "code", lambda row: _code(row.job.code)),
    Column("Message", "words", lambda row: row.job.message or ""),
    Column("Action", "", lambda row: row.lane.name),
    Column("Parameters", "words", lambda row: row.lane.parameters(row.job)),
    Column("Attempts", "number", lambda row: str(row.job.attempts)),
    Column("Request", "code", lambda row: row.job.request_id or ""),
]
SLOWEST_COLUMNS = [_LINE, _ROUND_TRIP, *_COMMON_COLUMNS]
FAILED_COLUMNS = [_LINE, *_COMMON_COLUMNS]


def shown_state(state: JobState, *, was_gone: bool, was_tried: bool) -> str:
    """Return the kind of a job, in the words of the page's figures."""
    if state is JobState.DONE and was_gone:
        return "gone"
    if state is JobState.PENDING:
        return "deferred" if was_tried else "left"
    return "in flight" if state is JobState.SENT else state.value


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if count * 1000 >= total else "< 0.1%"


def _code(code: str | int | None) -> str:
    return "" if code is None else str(code)


# Sections


def outcomes_section(journal: Journal, lanes: Mapping[int, ReportedLane], total: int) -> str:
    """Return the section that counts the outcomes of all jobs, most frequent first."""
    rows = [OutcomeRow(outcome, lanes[outcome.lane_id], total) for outcome in journal.outcomes(MAX_OUTCOMES)]
    return f"<section><h2>Outcomes</h2>{table('Outcomes', OUTCOME_COLUMNS, rows)}</section>"


def slowest_section(journal: Journal, lanes: Mapping[int, ReportedLane]) -> str:
    """Return the section with the slowest jobs; empty if none was answered."""
    rows = _job_rows(journal.slowest(MAX_SLOWEST_JOBS), lanes)
    return f"<section><h2>Slowest calls</h2>{table('Slowest calls', SLOWEST_COLUMNS, rows)}</section>" if rows else ""


def failed_section(journal: Journal, lanes: Mapping[int, ReportedLane], total: int) -> str:
    """Return the section with the first of the ``total`` jobs that failed or were given up; empty if there are none."""
    failed = JobFilter(states=frozenset({JobState.FAILED, JobState.GIVEN_UP}))
    rows = _job_rows(journal.jobs(failed, limit=MAX_FAILED_JOBS), lanes)
    if not rows:
        return ""
    rest = total - MAX_FAILED_JOBS
    more = f'<p class="soft">The first {MAX_FAILED_JOBS}; there are {rest:,} more.</p>' if rest > 0 else ""
    name = "Failed and given up"
    return f"<section><h2>{name}</h2>{more}{table(name, FAILED_COLUMNS, rows)}</section>"


def _job_rows(jobs: Iterable[StoredJob], lanes: Mapping[int, ReportedLane]) -> list[JobRow]:
    by_lane = {lane.lane: lane for lane in lanes.values()}
    return [JobRow(job, by_lane[job.lane]) for job in jobs]


# HTML


def table(name: str, columns: Sequence[Column[R]], rows: Sequence[R]) -> str:
    """Return a table without the columns that have no text, in a box that scrolls."""
    cells = [[column.text(row) for column in columns] for row in rows]
    used = [number for number in range(len(columns)) if any(texts[number] for texts in cells)]
    head = "".join(f'<th scope="col" class="{columns[at].css_class}">{columns[at].heading}</th>' for at in used)
    body = "".join(f"<tr>{''.join(_cell(texts[at], columns[at].css_class) for at in used)}</tr>" for texts in cells)
    return scroll_box(name, f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def scroll_box(name: str, content: str) -> str:
    """Return a box that scrolls sideways if its content is too wide, also with the keyboard."""
    return f'<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">{content}</div>'


def _cell(text: str, css_class: str) -> str:
    shown = printable(text if len(text) <= MAX_CELL_CHARACTERS else f"{text[:MAX_CELL_CHARACTERS]}…")
    if css_class == "state":
        return f'<td class="state"><span class="{shown.replace(" ", "-")}">{shown}</span></td>'
    content = escape(shown).replace(".", ".<wbr>") if css_class == "code" else escape(shown)
    return f'<td class="{css_class}">{content}</td>' if css_class else f"<td>{content}</td>"
