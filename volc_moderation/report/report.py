"""The report of a journal: one page of HTML with pictures, which needs nothing from elsewhere.

A journal may have millions of rows, so SQLite counts them, and what comes here is little. ``charts.py`` draws it; the
frame of the page and its CSS are in ``report.html``.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from volc_moderation.action import Action
from volc_moderation.errors import SourceError
from volc_moderation.jobs.job import Job, JobState, Lane
from volc_moderation.jobs.job_event import redacted_parameters
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import JobSummary
from volc_moderation.printable import json_text, printable
from volc_moderation.report.charts import Cell, Distribution, Rates, duration, histogram, rate_chart, share_bar
from volc_moderation.vendors import VENDORS, all_actions

#: At most so many bins of time, kinds of outcome, slow calls and failed ones are shown.
BINS, OUTCOMES, SLOWEST, FAILED = 300, 100, 20, 100
#: Seconds without an answer that are a rest: between two runs, or until a call that was put off is due.
REST = 60
#: Characters of a text that are shown.
LONGEST = 300

_PAGE = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))


def write_report(journal: Journal, path: Path, *, now: float) -> None:
    """Write the report of a journal to a file; ``now`` is the Unix time.

    Raises ``JournalError``, and ``SourceError`` if the file cannot be written.
    """
    summary = journal.summary()
    actions = all_actions()
    lanes = {
        number: _LaneSummary(lane, printable(name), actions.get(lane.action))
        for number, lane, name in _named(journal.lanes())
    }
    span = _span(journal)
    parts = [_figures(summary, span, now)]
    if span is not None:
        parts += [_rates(journal, lanes, span), _times(journal, lanes)]
    if summary.total:
        parts += [_outcomes(journal, lanes, summary.total), _slowest(journal, lanes)]
        parts += [_failed(journal, lanes, summary.failed + summary.given_up)]
    zone = datetime.fromtimestamp(now).astimezone().strftime("%z")
    page = _PAGE.substitute(
        title=escape(printable(journal.path.name)),
        made=f"Written on {_time(now)}. Times are local ones, UTC{zone[:3]}:{zone[3:5]}.",
        body="\n".join(parts),
    )
    _write(path, page)


class _LaneSummary(NamedTuple):
    lane: Lane
    #: The action, and what tells it from others of the same action.
    name: str
    #: None if this version does not know the action.
    action_type: type[Action[Any]] | None

    @property
    def cap(self) -> float | None:
        """Calls per second by the documents, if they say."""
        if self.action_type is None or not self.action_type.quota.published:
            return None
        return self.action_type.quota.limit / self.action_type.quota.window

    def advice(self, code: str | int | None) -> str:
        """Return what the vendor's documents say about a code."""
        if code is None or self.action_type is None:
            return ""
        vendor = VENDORS.get(self.lane.vendor)
        return "" if vendor is None else vendor.advice(self.action_type, code) or ""

    def parameters(self, job: Job) -> str:
        """Return the parameters of a job, without the tokens of users; nothing if it is not known which they are."""
        if self.action_type is None:
            return ""
        pairs = redacted_parameters(self.action_type, job.parameters).items()
        return " ".join(f"{name}={value if isinstance(value, str) else json_text(value)}" for name, value in pairs)


def _named(lanes: Mapping[int, Lane]) -> Iterable[tuple[int, Lane, str]]:
    """Return each lane with a name of its own."""
    actions = Counter(lane.action for lane in lanes.values())
    for number, lane in lanes.items():
        which = " ".join(part for part in (lane.version, "of account", lane.account[:8]) if part)
        yield number, lane, f"{lane.action} ({which})" if actions[lane.action] > 1 else lane.action


# Figures


class _Span(NamedTuple):
    """When answers came: from the first request to the last answer, and how long of it nothing happened."""

    start: float
    end: float
    first_second: int
    last_second: int
    answered: int
    rest: int

    @property
    def busy(self) -> float:
        return max(self.end - self.start - self.rest, 0.001)


def _span(journal: Journal) -> _Span | None:
    ((first, last, answered),) = _ask(journal, "SELECT min(second), max(second), sum(answered) FROM second")
    if first is None:
        return None
    ((sent, ended),) = _ask(journal, "SELECT min(sent), max(ended) FROM job")
    gaps = "SELECT second - lag(second) OVER (ORDER BY second) AS gap FROM (SELECT DISTINCT second FROM second)"
    ((rest,),) = _ask(journal, f"SELECT total(gap) FROM ({gaps}) WHERE gap > ?", REST)  # noqa: S608 - our own
    # The seconds are whole ones; the jobs know better, but of each only its last attempt.
    start = max(first - REST, min(first + 1, sent or first))
    end = max(last, min(last + 1, ended or last + 1))
    return _Span(start, end, first, last, answered, round(rest))


def _figures(summary: JobSummary, span: _Span | None, now: float) -> str:
    total = summary.total
    due = ""
    if summary.next_due is not None:
        due = f"next one due {_time(summary.next_due, now)}"
        due += f", in {duration(summary.next_due - now)}" if summary.next_due > now else ""
    figures = [
        ("done", "Done", f"{summary.done:,}", f"gone already: {summary.gone:,}" if summary.gone else ""),
        ("failed", "Failed", f"{summary.failed:,}", ""),
        ("given-up", "Given up", f"{summary.given_up:,}", ""),
        ("deferred", "Deferred", f"{summary.deferred:,}", due),
        ("left", "Left", f"{summary.left:,}", ""),
    ]
    if span is not None:
        rest = f"and {duration(span.rest)} at rest" if span.rest else f"from {_time(span.start, now)}"
        figures += [
            ("", "Duration", duration(span.busy), rest),
            ("", "Calls per second", f"{span.answered / span.busy:,.4g}", f"answers: {span.answered:,}"),
        ]
    shares = [
        ("done", summary.done - summary.gone),
        ("gone", summary.gone),
        *(("failed", summary.failed), ("given-up", summary.given_up)),
        *(("deferred", summary.deferred), ("left", summary.left)),
    ]
    said = f"{summary.done:,} of {total:,} done" if total else "No calls in this journal"
    boxes = "".join(
        f'<div class="{name}{" none" if value == "0" else ""}"><dt>{label}</dt><dd>{value}</dd>'
        f"{f'<dd>{note}</dd>' if note else ''}</div>"
        for name, label, value, note in figures
    )
    return f'<section><h2>{said}</h2>{share_bar(said, shares)}<dl class="figures">{boxes}</dl></section>'


# Charts


def _rates(journal: Journal, lanes: Mapping[int, _LaneSummary], span: _Span) -> str:
    first, seconds = span.first_second, span.last_second - span.first_second + 1
    width = -(-seconds // BINS)
    found = _ask(
        journal,
        "SELECT lane, (second - ?1) / ?2 AS bin, sum(answered), sum(done), sum(deferred), max(answered) FROM second"
        " GROUP BY lane, bin",
        first,
        width,
    )
    bins = {number: [Rates()] * -(-seconds // width) for number in lanes}
    totals: Counter[str] = Counter()
    peaks: Counter[int] = Counter()
    for number, place, answered, done, deferred, peak in found:
        covered = min(width, seconds - place * width)
        counts = {"done": done, "deferred": deferred, "failed": answered - done - deferred}
        bins[number][place] = Rates(**{name: count / covered for name, count in counts.items()})
        totals.update(counts)
        peaks[number] = max(peaks[number], peak)
    drawn = ""
    for number, lane in lanes.items():
        if not peaks[number]:
            continue
        quota = "learned" if lane.cap is None else f"{lane.cap:g} per second"
        said = f"Most answers in one second: {peaks[number]:,}. Quota: {quota}"
        chart = rate_chart(f"{lane.name}: {said}", bins[number], width=width, quota=lane.cap)
        drawn += f'<figure><h3>{escape(lane.name)}</h3><p class="soft">{said}.</p>{chart}</figure>'
    keys = _keys((name, f"{label} {totals[name]:,}") for name, label in _ANSWERS.items() if totals[name])
    mean = f", the mean of {duration(width)} each" if width > 1 else ""
    said = (
        f"By the time since {_time(first)}{mean}. The quota counts calls as they arrive at the vendor; their answers"
        " may come a little closer together."
    )
    return f'<section><h2>Answers per second</h2><p class="soft">{said}</p>{keys}{drawn}</section>'


_ANSWERS = {"done": "done", "deferred": "to be repeated", "failed": "failed or given up"}


def _times(journal: Journal, lanes: Mapping[int, _LaneSummary]) -> str:
    drawn = ""
    for column, heading, said in (
        ("round_trip", "Round trips", "From a request to its answer."),
        ("waited", "Waits", "For the quota, before the request."),
    ):
        of_lane = _distributions(journal, column)
        every = Distribution.of(cell for one in of_lane.values() for cell in one.cells)
        if not every.total:
            continue
        percents = {"median": 50, "p95": 95, "p99": 99, "max": 100}
        keys = _keys((f"upto-{at}", f"{name} {duration(every.percentile(at))}") for name, at in percents.items())
        table = _table(
            f"{heading} by action",
            {"Action": "", "Calls": "number"} | dict.fromkeys(percents, "number"),
            (
                [lanes[number].name, f"{one.total:,}", *(duration(one.percentile(at)) for at in percents.values())]
                for number, one in of_lane.items()
            ),
        )
        drawn += (
            f'<section><figure><h2>{heading}</h2><p class="soft">{said} The last attempt of each call.</p>{keys}'
            f"{histogram(heading, every)}</figure>{table if len(of_lane) > 1 else ''}</section>"
        )
    return f'<div class="two">{drawn}</div>'


def _distributions(journal: Journal, column: str) -> dict[int, Distribution]:
    """Return how the values of a column are distributed in each lane: to 0.1 ms, and from 0.1 s on to 1 percent."""
    found = _ask(
        journal,
        f"SELECT lane, min({column}), max({column}), count(*) FROM job WHERE {column} IS NOT NULL GROUP BY lane,"  # noqa: S608 - our own
        f" CASE WHEN {column} < 0.1 THEN CAST({column} * 10000 AS INTEGER)"
        f" WHEN {column} < 1 THEN 1000 + CAST({column} * 1000 AS INTEGER)"
        f" WHEN {column} < 10 THEN 2000 + CAST({column} * 100 AS INTEGER)"
        f" ELSE 3000 + CAST({column} * 10 AS INTEGER) END",
    )
    cells: dict[int, list[Cell]] = {}
    for number, *cell in found:
        cells.setdefault(number, []).append(Cell(*cell))
    return {number: Distribution.of(of_lane) for number, of_lane in cells.items()}


# Tables


def _outcomes(journal: Journal, lanes: Mapping[int, _LaneSummary], total: int) -> str:
    found = _ask(
        journal,
        "SELECT kind.*, job.message FROM (SELECT lane, state, was_gone, attempts > 0 AS tried, code, count(*) AS jobs,"
        " min(id) AS example FROM job GROUP BY lane, state, was_gone, tried, code) AS kind"
        " JOIN job ON job.id = kind.example ORDER BY jobs DESC, example LIMIT ?",
        OUTCOMES,
    )
    rows = (
        [
            f"{jobs:,}",
            f"{jobs / total:.1%}" if jobs * 1000 >= total else "< 0.1%",
            _state(JobState(state), was_gone=was_gone, was_tried=tried),
            "" if code is None else str(code),
            lanes[number].advice(code),
            lanes[number].name,
            message or "",
        ]
        for number, state, was_gone, tried, code, jobs, _, message in found
    )
    columns = {"Calls": "number", "Share": "number", "State": "state", "Code": "code"}
    columns |= {"What the vendor says of it": "words", "Action": "", "Message, for example": "words"}
    return f"<section><h2>Outcomes</h2>{_table('Outcomes', columns, rows)}</section>"


def _slowest(journal: Journal, lanes: Mapping[int, _LaneSummary]) -> str:
    slowest = journal.ordered("nullif(max(round_trip, 0), 0)", limit=SLOWEST)
    table = _jobs("Slowest calls", slowest, lanes, with_time=True)
    return f"<section><h2>Slowest calls</h2>{table}</section>" if table else ""


def _failed(journal: Journal, lanes: Mapping[int, _LaneSummary], total: int) -> str:
    jobs = journal.jobs("state IN ('failed', 'given up')", limit=FAILED)
    table = _jobs("Failed and given up", jobs, lanes, with_time=False)
    more = f'<p class="soft">The first {FAILED}; there are {total - FAILED:,} more.</p>' if total > FAILED else ""
    return f"<section><h2>Failed and given up</h2>{more}{table}</section>" if table else ""


def _jobs(name: str, jobs: Iterable[Job], lanes: Mapping[int, _LaneSummary], *, with_time: bool) -> str:
    by_lane = {lane.lane: lane for lane in lanes.values()}
    columns = {"Line": "number", "Round trip": "number", "State": "state", "Code": "code", "Message": "words"}
    columns |= {"Action": "", "Parameters": "words", "Attempts": "number", "Request": "code"}
    return _table(
        name,
        columns,
        (
            [
                "" if job.line is None else str(job.line),
                duration(job.round_trip) if with_time and job.round_trip is not None else "",
                _state(job.state, was_gone=job.was_gone, was_tried=job.attempts > 0),
                "" if job.code is None else str(job.code),
                job.message or "",
                by_lane[job.lane].name,
                by_lane[job.lane].parameters(job),
                str(job.attempts),
                job.request_id or "",
            ]
            for job in jobs
        ),
    )


def _state(state: JobState, *, was_gone: bool, was_tried: bool) -> str:
    """Return the kind of a job, as the figures have it."""
    if state is JobState.DONE and was_gone:
        return "gone"
    if state is JobState.PENDING:
        return "deferred" if was_tried else "left"
    return "on its way" if state is JobState.SENT else state.value


def _table(name: str, columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> str:
    """Write texts as a table, given the columns' names and CSS classes; columns without any text are left out.

    It scrolls in a box of its own, also for those who have only a keyboard.
    """
    kept = list(rows)
    if not kept:
        return ""
    used = [place for place in range(len(columns)) if any(row[place] for row in kept)]
    heads, classes = list(columns), list(columns.values())
    head = "".join(f'<th scope="col" class="{classes[place]}">{heads[place]}</th>' for place in used)
    body = "".join(f"<tr>{''.join(_cell(row[place], classes[place]) for place in used)}</tr>" for row in kept)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll" role="region" aria-label="{name}" tabindex="0">{table}</div>'


def _cell(text: str, name: str) -> str:
    short = printable(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
    if name == "state":
        return f'<td class="state"><span class="{short.replace(" ", "-")}">{short}</span></td>'
    written = escape(short).replace(".", ".<wbr>") if name == "code" else escape(short)
    return f'<td class="{name}">{written}</td>' if name else f"<td>{written}</td>"


def _keys(keys: Iterable[tuple[str, str]]) -> str:
    items = "".join(f'<li class="{name}">{label}</li>' for name, label in keys)
    return f'<ul class="keys">{items}</ul>'


# In and out


def _ask(journal: Journal, sql: str, *values: object) -> list[tuple[Any, ...]]:
    return journal.query(sql, values)


def _time(seconds: float, today: float | None = None) -> str:
    """Write a local time; without its date if that is today's."""
    time = datetime.fromtimestamp(seconds).astimezone()
    is_today = today is not None and time.date() == datetime.fromtimestamp(today).astimezone().date()
    return f"<time>{time:{'%H:%M:%S' if is_today else '%Y-%m-%d %H:%M:%S'}}</time>"


def _write(path: Path, page: str) -> None:
    """Write a file so that nobody sees half of it, and only its owner any, unless it was there and is open to more.

    What a pipe or a device gets, it gets as it comes.
    """
    target = Path(os.path.realpath(path))  # the file, if it is a link
    part = target.parent / f"{target.name}.{os.getpid()}.part"
    written = part if target.is_file() or not path.exists() else path
    try:
        with open(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123 - with a mode
            file.write(page)
        if written is part:
            if target.exists():
                part.chmod(target.stat().st_mode)
            part.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise SourceError(f"{path} cannot be written: {error.strerror}") from None
