"""The journal: one SQLite file with one row per call, and the thread that keeps it off the event loop."""

from volc_moderation.jobs.journal.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread, open_journal

__all__ = ["Journal", "JournalThread", "open_journal"]
