"""The rows of a file of calls, good and bad, and how much of a file is held in memory at most."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import attrs

from volc_moderation.errors import SourceError

#: A row of a file: the names of its columns, with text from CSV and with values from JSON Lines and Parquet.
Row = Mapping[str, object]

#: Bytes of a line, of a row of CSV that spans lines, and of what a row of Parquet unpacks to. A longer line is a
#: bad row; a longer row of several lines ends the file.
MAX_ROW_BYTES = 1 << 20
#: Columns of a file.
MAX_COLUMNS = 1000
#: Characters of a name that a message quotes.
MAX_QUOTED_CHARACTERS = 60

TOO_LONG = "longer than 1 MiB"


class BadRowError(SourceError):
    """A row that cannot be read, with the reason. A source yields it in the place of the row and continues."""


@attrs.define
class Source:
    """An open file of calls.

    Its rows raise ``SourceError`` where the rest of the file cannot be read.
    """

    name: str
    #: The names of the columns; None if each row has its own.
    columns: tuple[str, ...] | None
    #: Line numbers, each with its row or with a ``BadRowError``.
    rows: Iterator[tuple[int, Row | BadRowError]]
    #: Closes the file.
    close: Callable[[], None] = lambda: None
    #: Returns the bytes of the file, as it is stored, that have been read.
    position: Callable[[], int] = lambda: 0


def quoted(name: str) -> str:
    """Return a name for a message: quoted, with control characters escaped, and cut if it is long."""
    return repr(name if len(name) <= MAX_QUOTED_CHARACTERS else f"{name[:MAX_QUOTED_CHARACTERS]}…")


def column_names_problem(columns: Sequence[str]) -> str | None:
    """Return what is wrong with the names of a file's columns; None if they are all right."""
    if len(columns) > MAX_COLUMNS:
        return f"{len(columns):,} columns; at most {MAX_COLUMNS:,} are allowed"
    if not columns:
        return "the names of the columns are missing"
    if "" in columns:
        return f"column {columns.index('') + 1:,} has no name"
    repeated = first_repeated(columns)
    return None if repeated is None else f"column {quoted(repeated)} appears twice"


def first_repeated(names: Iterable[str]) -> str | None:
    """Return the first name that appears a second time; None if there is none."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
