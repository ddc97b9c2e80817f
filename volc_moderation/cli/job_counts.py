"""What the command ``jobs`` prints of a journal and of a queue alike: numbers of jobs, failures, due times."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table

from volc_moderation.cli.plan import duration
from volc_moderation.cli.progress import time_of_day
from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal.queries import ActionCount, FailureCode
from volc_moderation.printable import counted


def print_counts(console: Terminal, counts: Iterable[ActionCount], *, has_more: bool = False) -> None:
    """Print a table of the numbers of jobs by action and state.

    :param has_more: whether there are more jobs than counted in all states but ``pending``.
    """
    table = Table("action", "state", box=SIMPLE_HEAD)
    table.add_column("jobs", justify="right")
    for action, state, count in counts:
        is_part = has_more and state is not JobState.PENDING
        table.add_row(action, state.value, f"{count:,}{'+' if is_part else ''}")
    if table.row_count:
        console.print(table)


def print_failures(console: Terminal, failures: Iterable[FailureCode], *, among: str = "") -> None:
    """Print the codes with which jobs failed or were given up, most frequent first; ``among`` says of which jobs."""
    lines = [f"  {counted(count, 'time')} {named(code)}: {message}" for code, count, message in failures]
    for line in [f"Failures by code{among}:", *lines] if lines else []:
        console.print(line, soft_wrap=True)


def named(code: str | int | None) -> str:
    """Return a code as a word; a number alone would look like a count."""
    return f"code {code}" if isinstance(code, int) else str(code)


def due_line(due: float, now: float) -> str:
    """Return when the next job is due, or since when the oldest one has been. Times are Unix seconds."""
    if due > now:
        return f"The next job is due at {time_of_day(due)}, in {duration(due - now)}."
    return f"The oldest due job has been due for {duration(now - due)}, since {time_of_day(due)}."
