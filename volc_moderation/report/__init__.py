"""The HTML report of a journal."""

from volc_moderation.report.report import write_report

__all__ = ["write_report"]
