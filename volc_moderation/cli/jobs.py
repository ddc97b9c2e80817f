"""``volc-moderation jobs JOURNAL``: shows, filters and exports the jobs of a journal, even while it is in use."""

import contextlib
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.box import SIMPLE_HEAD
from rich.table import Table

from volc_moderation import JournalError, SourceError
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.output import check_outputs
from volc_moderation.cli.run import summary_line
from volc_moderation.cli.terminal import print_error, stderr, stdout
from volc_moderation.jobs.job import JobState, StoredJob
from volc_moderation.jobs.job_event import redacted_parameters
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.queries import JobFilter
from volc_moderation.printable import printable_json
from volc_moderation.vendors import find_action

#: Jobs that are shown without ``--limit``.
DEFAULT_LIMIT = 50
#: The fields of an exported job, beside its state, parameters and times.
EXPORTED_FIELDS = (
    *("line", "key", "action", "attempts", "maybe_sent", "was_gone", "code", "message"),
    *("request_id", "result", "round_trip", "waited"),
)
#: The times of an exported job.
EXPORTED_TIMES = ("created", "due", "sent", "ended")

StateOption = Literal["pending", "sent", "done", "failed", "given-up", "deferred", "gone"]


def jobs(
    journal: Path,
    *,
    state: StateOption | None = None,
    action: str | None = None,
    code: str | None = None,
    key: str | None = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    export: bool = False,
    report: Path | None = None,
) -> int:
    """Show how many jobs of each kind a journal has, or, with a filter, which jobs.

    Parameters
    ----------
    journal
        The journal; it may be in use.
    state
        Show the jobs in this state. Deferred jobs wait for their next attempt; gone ones are done because there was
        nothing to stop or remove.
    action
        Show the jobs of this action.
    code
        Show the jobs whose last error has this code.
    key
        Show the job with this key.
    limit
        The maximum number of jobs to show; by default 50, or all with --export.
    export
        Print all fields of each job as JSON Lines.
    report
        Write an HTML page with charts of the run to this file.

    """
    console = stderr()
    is_filtered = any(value is not None for value in (state, action, code, key))
    try:
        with contextlib.closing(Journal(journal, access="read")) as opened:
            if report is not None:
                from volc_moderation.report.report import write_report  # noqa: PLC0415 - only this option needs it

                check_outputs({"--report": report}, journal=journal)
                write_report(opened, report, now=time.time())
                console.print(f"Report: {report}", soft_wrap=True)
            max_jobs = limit if limit is not None or export else DEFAULT_LIMIT
            selected = opened.jobs(_job_filter(state, action, code, key), limit=max_jobs)
            if export:
                _export(selected)
            elif is_filtered:
                _show_jobs(opened, selected)
            else:
                _show_counts(opened)
    except (JournalError, SourceError) as error:
        return print_error(console, error)
    return ExitCode.SUCCESS


def _job_filter(state: StateOption | None, action: str | None, code: str | None, key: str | None) -> JobFilter:
    is_deferred, was_gone = state == "deferred", state == "gone"
    # An option is the value of a state with a hyphen, or one of the two kinds that are part of a state.
    states = frozenset() if state is None or is_deferred or was_gone else frozenset({JobState(state.replace("-", " "))})
    return JobFilter(states=states, action=action, code=code, key=key, is_deferred=is_deferred, was_gone=was_gone)


def _show_counts(journal: Journal) -> None:
    """Print the number of jobs by action and state."""
    table = Table("action", "state", "jobs", box=SIMPLE_HEAD)
    with journal.snapshot():
        summary, counts = _summary(journal), journal.counts_by_action()
    stdout().print(summary, soft_wrap=True)
    for action, state, count in counts:
        table.add_row(action, state.value, f"{count:,}")
    stdout().print(table)


def _show_jobs(journal: Journal, selected: Iterable[StoredJob]) -> None:
    """Print a table of jobs."""
    stdout().print(_summary(journal), soft_wrap=True)
    table = Table("line", "key", "action", "state", "attempts", "code", "message", "parameters", box=SIMPLE_HEAD)
    for job in selected:
        table.add_row(
            str(job.line or ""),
            job.key,
            job.action,
            job.state.value,
            str(job.attempts),
            str(job.code or ""),
            job.message or "",
            printable_json(_redacted(job)),
        )
    stdout().print(table)


def _summary(journal: Journal) -> str:
    return f"{journal.path}, last written by {journal.note('owner')}: {summary_line(journal.summary())}"


def _export(selected: Iterable[StoredJob]) -> None:
    """Print jobs as JSON Lines."""
    for job in selected:
        fields = {name: getattr(job, name) for name in EXPORTED_FIELDS}
        fields |= {"state": job.state.value, "parameters": _redacted(job)}
        for name in EXPORTED_TIMES:
            seconds = getattr(job, name)
            fields[name] = None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
        print(printable_json(fields))  # noqa: T201 - the output


def _redacted(job: StoredJob) -> dict[str, object]:
    """Return the parameters of a job without secrets."""
    action_type = find_action(job.lane.vendor, job.action)
    return job.parameters if action_type is None else redacted_parameters(action_type, job.parameters)
