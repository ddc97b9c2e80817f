"""The figures and charts of a report."""

from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from typing import Literal, NamedTuple

from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import JobSummary
from volc_moderation.report.charts import Rates, histogram, rate_chart, share_bar
from volc_moderation.report.distribution import Cell, Distribution
from volc_moderation.report.lanes import ReportedLane
from volc_moderation.report.tables import DURATION_COLUMNS, PERCENTILES, DurationRow, scroll_box, table
from volc_moderation.report.units import duration, local_time

#: Bins of time in a chart.
MAX_BINS = 300
#: A run is idle while more seconds than this pass without an answer: between two runs, or until a job is due.
IDLE_AFTER = 60

#: The kinds of answers, by CSS class.
ANSWERS = {"done": "done", "deferred": "to be repeated", "failed": "failed or given up"}


class RunTime(NamedTuple):
    """The time from the first request to the last answer. Times are Unix seconds."""

    start: float
    end: float
    first_second: int
    last_second: int
    answers: int
    #: Seconds in gaps of more than ``IDLE_AFTER`` without an answer.
    idle: int

    @property
    def busy(self) -> float:
        """Seconds that were not idle; never 0."""
        return max(self.end - self.start - self.idle, 0.001)


def run_time(journal: Journal) -> RunTime | None:
    """Return when a journal's run took place; None if there was no answer yet."""
    span = journal.answer_span(idle_after=IDLE_AFTER)
    if span is None:
        return None
    first, last = span.first_second, span.last_second
    # Answers are counted in whole seconds. The jobs have exact times, but only of their last attempts.
    start = max(first - IDLE_AFTER, min(first + 1, span.first_sent or first))
    end = max(last, min(last + 1, span.last_ended or last + 1))
    return RunTime(start, end, first, last, span.answers, span.idle)


def summary_section(summary: JobSummary, time: RunTime | None, now: float) -> str:
    """Return the section with the number of jobs of each kind, and the speed of the run."""
    due = ""
    if summary.next_due is not None:
        due = f"next one due {local_time(summary.next_due, now)}"
        due += f", in {duration(summary.next_due - now)}" if summary.next_due > now else ""
    figures = [
        ("done", "Done", f"{summary.done:,}", f"gone already: {summary.gone:,}" if summary.gone else ""),
        ("failed", "Failed", f"{summary.failed:,}", ""),
        ("given-up", "Given up", f"{summary.given_up:,}", ""),
        ("deferred", "Deferred", f"{summary.deferred:,}", due),
        ("left", "Left", f"{summary.left:,}", ""),
    ]
    if time is not None:
        note = f"plus {duration(time.idle)} idle" if time.idle else f"from {local_time(time.start, now)}"
        figures += [
            ("", "Duration", duration(time.busy), note),
            ("", "Calls per second", f"{time.answers / time.busy:,.4g}", f"answers: {time.answers:,}"),
        ]
    shares = [
        ("done", summary.done - summary.gone),
        ("gone", summary.gone),
        ("failed", summary.failed),
        ("given-up", summary.given_up),
        ("deferred", summary.deferred),
        ("left", summary.left),
    ]
    heading = f"{summary.done:,} of {summary.total:,} done" if summary.total else "No calls in this journal"
    boxes = "".join(
        f'<div class="{css_class}{" none" if value == "0" else ""}"><dt>{label}</dt><dd>{value}</dd>'
        f"{f'<dd>{note}</dd>' if note else ''}</div>"
        for css_class, label, value, note in figures
    )
    return f'<section><h2>{heading}</h2>{share_bar(heading, shares)}<dl class="figures">{boxes}</dl></section>'


def rates_section(journal: Journal, lanes: Mapping[int, ReportedLane], time: RunTime) -> str:
    """Return the section with the answers per second of each lane over time."""
    seconds = time.last_second - time.first_second + 1
    width = -(-seconds // MAX_BINS)
    bins = {lane_id: [Rates()] * -(-seconds // width) for lane_id in lanes}
    totals: Counter[str] = Counter()
    peaks: Counter[int] = Counter()
    for lane_id, bin_, answers, done, deferred, peak in journal.answers_by_bin(
        first_second=time.first_second, width=width
    ):
        covered = min(width, seconds - bin_ * width)  # the last bin may be shorter
        counts = {"done": done, "deferred": deferred, "failed": answers - done - deferred}
        bins[lane_id][bin_] = Rates(**{kind: count / covered for kind, count in counts.items()})
        totals.update(counts)
        peaks[lane_id] = max(peaks[lane_id], peak)
    charts = ""
    for lane_id, lane in lanes.items():
        if not peaks[lane_id]:
            continue
        quota = "learned" if lane.quota is None else f"{lane.quota:g} per second"
        caption = f"Most answers in one second: {peaks[lane_id]:,}. Quota: {quota}"
        name = f"Chart of {lane.name}"
        chart = rate_chart(f"{lane.name}: {caption}", bins[lane_id], width=width, quota=lane.quota)
        charts += (
            f'<figure><h3>{escape(lane.name)}</h3><p class="soft">{caption}.</p>{scroll_box(name, chart)}</figure>'
        )
    legend = _legend((kind, f"{label} {totals[kind]:,}") for kind, label in ANSWERS.items() if totals[kind])
    mean = f"; each bar is the mean of {duration(width)}" if width > 1 else ""
    caption = (
        f"The time axis starts at {local_time(time.first_second)}{mean}. The quota counts calls as they arrive at the"
        " vendor; answers may come slightly closer together."
    )
    return f'<section><h2>Answers per second</h2><p class="soft">{caption}</p>{legend}{charts}</section>'


def durations_section(journal: Journal, lanes: Mapping[int, ReportedLane]) -> str:
    """Return the sections with the distribution of round trips and of waits for the quota."""
    return (
        '<div class="two">'
        + _durations(journal, lanes, "round_trip", "Round trips", "From a request to its answer.")
        + _durations(journal, lanes, "waited", "Waits", "For the quota, before the request.")
        + "</div>"
    )


def _durations(
    journal: Journal,
    lanes: Mapping[int, ReportedLane],
    column: Literal["round_trip", "waited"],
    heading: str,
    caption: str,
) -> str:
    by_lane = distributions(journal, column)
    overall = Distribution.of(cell for one in by_lane.values() for cell in one.cells)
    if not overall.total:
        return ""
    legend = _legend(
        (f"upto-{percent}", f"{name} {duration(overall.percentile(percent))}") for name, percent in PERCENTILES.items()
    )
    details = ""
    if len(by_lane) > 1:
        rows = [DurationRow(lanes[lane_id], durations) for lane_id, durations in by_lane.items()]
        details = table(f"{heading} by action", DURATION_COLUMNS, rows)
    return (
        f'<section><figure><h2>{heading}</h2><p class="soft">{caption} The last attempt of each call.</p>{legend}'
        f"{scroll_box(f'Chart of {heading}', histogram(heading, overall))}</figure>{details}</section>"
    )


def distributions(journal: Journal, column: Literal["round_trip", "waited"]) -> dict[int, Distribution]:
    """Return how the durations of each lane are distributed."""
    cells: dict[int, list[Cell]] = {}
    for lane_id, low, high, size in journal.duration_cells(column):
        cells.setdefault(lane_id, []).append(Cell(low, high, size))
    return {lane_id: Distribution.of(lane_cells) for lane_id, lane_cells in cells.items()}


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<li class="{css_class}">{label}</li>' for css_class, label in entries)
    return f'<ul class="legend">{items}</ul>'
