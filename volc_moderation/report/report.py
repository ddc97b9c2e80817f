"""Writes the report of a journal: one HTML page that loads nothing from elsewhere.

A journal may have millions of rows, so SQLite computes the figures: see ``jobs/journal/queries.py``.
"""

import contextlib
import os
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

from volc_moderation.errors import SourceError
from volc_moderation.jobs.journal import Journal
from volc_moderation.printable import printable
from volc_moderation.report.figures import durations_section, rates_section, run_time, summary_section
from volc_moderation.report.lanes import reported_lanes
from volc_moderation.report.tables import failed_section, outcomes_section, slowest_section
from volc_moderation.report.units import local_time

_PAGE = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))


def write_report(journal: Journal, path: Path, *, now: float) -> None:
    """Write the report of a journal to a file. ``now`` is the Unix time.

    Raises ``JournalError``, and ``SourceError`` if the file cannot be written.
    """
    _write_whole(path, _page(journal, now))


def _page(journal: Journal, now: float) -> str:
    summary = journal.summary()
    lanes = reported_lanes(journal)
    time = run_time(journal)
    sections = [summary_section(summary, time, now)]
    if time is not None:
        sections += [rates_section(journal, lanes, time), durations_section(journal, lanes)]
    if summary.total:
        sections += [outcomes_section(journal, lanes, summary.total), slowest_section(journal, lanes)]
        sections += [failed_section(journal, lanes, summary.failed + summary.given_up)]
    zone = datetime.fromtimestamp(now).astimezone().strftime("%z")
    return _PAGE.substitute(
        title=escape(printable(journal.path.name)),
        written=f"Written on {local_time(now)}. Times are local, UTC{zone[:3]}:{zone[3:5]}.",
        body="\n".join(sections),
    )


def _write_whole(path: Path, page: str) -> None:
    """Write a file atomically. A new one is readable by its owner only.

    An existing file keeps its permissions, and a link its target. A pipe or a device is written directly.
    """
    target = Path(os.path.realpath(path))
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
