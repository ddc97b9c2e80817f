"""The table of jobs that the command ``jobs`` prints: whole to a file or a pipe, and fitted to a terminal."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.job import StoredJob
from volc_moderation.jobs.job_event import redacted_parameters
from volc_moderation.printable import printable, printable_json
from volc_moderation.vendors import find_action
from volc_moderation.wire import wire_names

#: Characters of a key that a terminal shows. ``--key`` accepts them.
SHORT_KEY_LENGTH = 8
#: The width of a terminal from which a job takes one line; a narrower one has the message on a second line.
WIDE = 140
#: The smallest width to which a column is cut.
MIN_COLUMN_WIDTH = 12
GAP = "  "


class Column(NamedTuple):
    """A column of the table.

    :param text: returns the text of a job.
    :param is_flexible: whether it may be cut if the terminal is too narrow.
    :param is_number: whether it is aligned to the right.
    """

    heading: str
    text: Callable[[StoredJob], str]
    is_flexible: bool = False
    is_number: bool = False


def redacted(job: StoredJob) -> Mapping[str, object]:
    """Return the parameters of a job without secrets."""
    action_type = find_action(job.lane.vendor, job.action)
    return job.parameters if action_type is None else redacted_parameters(action_type, job.parameters)


def target(job: StoredJob) -> str:
    """Return what identifies the target of a job, such as its room and user; all parameters if they have no ids."""
    action_type = find_action(job.lane.vendor, job.action)
    names: Collection[str] = [name for name in job.parameters if name.endswith("Id")]
    if action_type is not None and action_type.identity_fields is not None:
        wire = wire_names(action_type)
        names = {wire[field] for field in action_type.identity_fields}
    ids = [_id(value) for name, value in redacted(job).items() if name in names and name != "AppId"]
    return " ".join(filter(None, ids)) or printable_json(redacted(job))


def _id(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


LINE = Column("line", lambda job: str(job.line or ""), is_number=True)
KEY = Column("key", lambda job: job.key)
SHORT_KEY = Column("key", lambda job: job.key[:SHORT_KEY_LENGTH])
ACTION = Column("action", lambda job: job.action)
STATE = Column("state", lambda job: job.state.value)
ATTEMPTS = Column("attempts", lambda job: str(job.attempts), is_number=True)
CODE = Column("code", lambda job: "" if job.code is None else str(job.code), is_flexible=True)
TARGET = Column("target", target, is_flexible=True)
PARAMETERS = Column("parameters", lambda job: printable_json(redacted(job)), is_flexible=True)
MESSAGE = Column("message", lambda job: job.message or "", is_flexible=True)


def print_jobs(console: Terminal, jobs: Iterable[StoredJob], *, is_terminal: bool, full_keys: bool) -> None:
    """Print a table of jobs. Only a terminal cuts texts: at its width."""
    key = KEY if full_keys or not is_terminal else SHORT_KEY
    if not is_terminal:
        columns, details = [LINE, key, ACTION, STATE, ATTEMPTS, CODE, PARAMETERS, MESSAGE], None
    elif console.width >= WIDE:
        columns, details = [LINE, key, ACTION, STATE, ATTEMPTS, CODE, TARGET, MESSAGE], None
    else:
        columns, details = [key, ACTION, STATE, ATTEMPTS, CODE, TARGET], MESSAGE
    shown = list(jobs)
    rows = [[printable(column.text(job)) for column in columns] for job in shown]
    widths = [
        max(cell_len(text) for text in texts)
        for texts in zip([column.heading for column in columns], *rows, strict=True)
    ]
    if is_terminal:
        widths = fitted(widths, columns, console.width)
    head = _line([column.heading for column in columns], columns, widths)
    _print_line(console, head, style="bold", is_cut=is_terminal)
    for job, row in zip(shown, rows, strict=True):
        _print_line(console, _line(row, columns, widths), is_cut=is_terminal)
        if details is not None and details.text(job):
            _print_line(console, GAP + details.text(job), style="dim", is_cut=is_terminal)


def _print_line(console: Terminal, line: str, *, is_cut: bool, style: str = "") -> None:
    if is_cut:
        console.print(line, style=style, no_wrap=True, overflow="ellipsis")
    else:
        console.print(line, soft_wrap=True)


def fitted(widths: Sequence[int], columns: Sequence[Column], width: int) -> list[int]:
    """Return the widths of columns for a line of at most ``width`` if possible: the widest are cut first."""
    narrowed = list(widths)
    excess = sum(widths) + len(GAP) * (len(widths) - 1) - width
    while excess > 0:
        flexible = [at for at, column in enumerate(columns) if column.is_flexible and narrowed[at] > MIN_COLUMN_WIDTH]
        if not flexible:
            break
        widest = max(flexible, key=lambda at: narrowed[at])
        narrowed[widest] -= 1
        excess -= 1
    return narrowed


def _line(texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    cells = [_cell(text, column, width) for text, column, width in zip(texts, columns, widths, strict=True)]
    return GAP.join(cells).rstrip()


def _cell(text: str, column: Column, width: int) -> str:
    length = cell_len(text)
    if length > width:
        return f"{set_cell_size(text, width - 1)}…"
    padding = " " * (width - length)
    return padding + text if column.is_number else text + padding
