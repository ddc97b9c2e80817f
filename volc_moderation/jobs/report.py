"""The report of a journal: one page of HTML with pictures, which needs nothing from elsewhere."""

from pathlib import Path

from volc_moderation.jobs.journal import Journal


def write_report(journal: Journal, path: Path, *, now: float) -> None:
    """Write the report of a journal to a file; ``now`` is the Unix time. Raises ``JournalError``."""
    path.write_text(f"<!doctype html><title>{journal.path.name}</title><p>{now}", encoding="utf-8")
