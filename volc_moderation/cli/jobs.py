"""``volc-moderation jobs JOURNAL``: shows, filters and exports what a journal holds, also while it is in use."""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.box import SIMPLE_HEAD
from rich.table import Table

from volc_moderation import JournalError, SourceError
from volc_moderation.cli.output import check_apart
from volc_moderation.cli.run import ALL_DONE, BAD_INPUT, summary_line
from volc_moderation.cli.terminal import stderr, stdout
from volc_moderation.jobs.job import Job, JobState
from volc_moderation.jobs.job_event import redacted_parameters
from volc_moderation.jobs.journal import Journal
from volc_moderation.printable import json_text
from volc_moderation.report.report import write_report
from volc_moderation.vendors import all_actions

Kind = Literal["pending", "sent", "done", "failed", "given-up", "deferred", "gone"]

_CONDITIONS: dict[str, str] = {
    "deferred": "state = 'pending' AND attempts > 0",
    "gone": "state = 'done' AND was_gone",
} | {state.value.replace(" ", "-"): f"state = '{state.value}'" for state in JobState}


def jobs(
    journal: Path,
    *,
    state: Kind | None = None,
    action: str | None = None,
    code: str | None = None,
    key: str | None = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    export: bool = False,
    report: Path | None = None,
) -> int:
    """Show what a journal holds: how many jobs of each kind, and with a filter, which.

    Parameters
    ----------
    journal
        The journal; it may be in use.
    state
        Show jobs of this kind.
    action
        Show jobs of this action.
    code
        Show jobs whose last refusal or fault has this code.
    key
        Show the job with this key.
    limit
        Show so many: 50, or all with --export.
    export
        Print JSON Lines, all fields of each job.
    report
        Write a page of HTML with pictures of the run.

    """
    console = stderr()
    condition, values = _filter(state, action, code, key)
    try:
        with contextlib.closing(Journal(journal, read_only=True)) as opened:
            if report is not None:
                check_apart({"--report": report}, journal=journal)
                write_report(opened, report, now=time.time())
                console.print(f"Report: {report}", soft_wrap=True)
            most = limit if limit is not None or export else 50
            found = opened.jobs(condition or "true", values, limit=-1 if most is None else most)
            if export:
                _export(found)
            else:
                _show(opened, found, is_filtered=bool(condition))
    except (JournalError, SourceError) as error:
        console.print(str(error), soft_wrap=True)
        return BAD_INPUT
    return ALL_DONE


def _filter(state: str | None, action: str | None, code: str | None, key: str | None) -> tuple[str, list[str]]:
    conditions, values = [], []
    if state is not None:
        conditions.append(_CONDITIONS[state])
    for condition, value in (
        ("lane IN (SELECT id FROM lane WHERE action = ?)", action),
        ("CAST(code AS TEXT) = ?", code),
        ("key = ?", key),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return " AND ".join(conditions), values


def _show(journal: Journal, found: Iterator[Job], *, is_filtered: bool) -> None:
    out = stdout()
    owner = journal.note("owner")
    out.print(f"{journal.path}, last written by {owner}: {summary_line(journal.summary())}", soft_wrap=True)
    if not is_filtered:
        table = Table("action", "state", "jobs", box=SIMPLE_HEAD)
        counts = journal.query(
            "SELECT action, state, count(*) FROM job JOIN lane ON lane.id = job.lane GROUP BY 1, 2 ORDER BY 1, 2"
        )
        for name, state, count in counts:
            table.add_row(str(name), str(state), f"{count:,}")
        out.print(table)
        return
    table = Table("line", "key", "action", "state", "attempts", "code", "message", "parameters", box=SIMPLE_HEAD)
    for job in found:
        table.add_row(
            str(job.line or ""),
            job.key,
            job.action,
            job.state.value,
            str(job.attempts),
            str(job.code or ""),
            job.message or "",
            json_text(_shown(job)),
        )
    out.print(table)


def _export(found: Iterator[Job]) -> None:
    for job in found:
        told = {
            name: getattr(job, name)
            for name in (
                *("line", "key", "action", "attempts", "maybe_sent", "was_gone", "code", "message"),
                *("request_id", "result", "round_trip", "waited"),
            )
        }
        told |= {"state": job.state.value, "parameters": _shown(job)}
        for name in ("created", "due", "sent", "ended"):
            seconds = getattr(job, name)
            told[name] = None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
        print(json_text(told))  # noqa: T201 - the output


def _shown(job: Job) -> dict[str, object]:
    action_type = all_actions().get(job.action)
    return job.parameters if action_type is None else redacted_parameters(action_type, job.parameters)
