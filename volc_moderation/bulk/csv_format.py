"""Reads CSV as spreadsheets write it: separated by commas, semicolons or tabs."""

import csv
import itertools
import re
from collections.abc import Iterator

from volc_moderation.bulk.lines import BoundedLines
from volc_moderation.bulk.rows import BadRowError, Row, Source, column_names_problem
from volc_moderation.errors import SourceError
from volc_moderation.printable import counted

#: The first line of some files for Excel. The header shows the delimiter as well.
_SEPARATOR_LINE = re.compile(r"sep=.?[\r\n]*", re.IGNORECASE)


def read_csv(name: str, lines: BoundedLines) -> Source:
    """Read the header, and return the rows below it. Raises ``SourceError`` for a bad header."""
    texts = iter(lines)
    header = next(texts, "")
    if _SEPARATOR_LINE.fullmatch(header):
        header = next(texts, "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(itertools.chain((header,), texts), delimiter=delimiter, strict=True)
    columns, width = _read_header(name, reader, lines)
    return Source(name, columns, _rows(name, reader, lines, columns, width))


def _rows(
    name: str, reader: Iterator[list[str]], lines: BoundedLines, columns: tuple[str, ...], width: int
) -> Iterator[tuple[int, Row | BadRowError]]:
    lines.row_bytes = 0
    while True:
        lines.row_start = lines.number + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            hint = "; is a quote not closed?" if lines.number > lines.row_start else ""
            reason = f"{name}, line {lines.row_start}: {_message(error)}{hint}"
            raise SourceError(reason, line=lines.row_start) from None
        if lines.problem:
            yield lines.number, BadRowError(lines.take_problem() or "", line=lines.number)
        elif not cells or not (cells[0].strip() or "".join(cells).strip()):  # a blank row
            continue
        elif len(cells) != width:
            reason = f"{counted(len(cells), 'column')}, but the header has {width:,}"
            yield lines.number, BadRowError(reason, line=lines.number)
        elif width > len(columns) and any(cells[len(columns) :]):
            number = next(index for index, cell in enumerate(cells, 1) if cell and index > len(columns))
            yield lines.number, BadRowError(f"column {number:,} has a value, but no name", line=lines.number)
        else:
            yield lines.number, dict(zip(columns, cells, strict=False))
        lines.row_bytes = 0


def _read_header(name: str, reader: Iterator[list[str]], lines: BoundedLines) -> tuple[tuple[str, ...], int]:
    """Return the names of the columns, and the number of cells of a row.

    Spreadsheets write more cells than there are names if cells on the right were used once. They must be empty.
    """
    cells: list[str] = []
    try:
        cells = [cell.strip() for cell in next(reader)]
        problem = lines.take_problem()
    except csv.Error as error:
        problem = _message(error)
    columns = cells[: max((number for number, cell in enumerate(cells, 1) if cell), default=0)]
    problem = problem or column_names_problem(columns)
    if problem is not None:
        raise SourceError(f"{name}, line 1: {problem}", line=1)
    return tuple(columns), len(cells)


def _message(error: csv.Error) -> str:
    """Return the message with tabs escaped, and without its advice for programmers."""
    return str(error).replace("\t", r"\t").partition(" - ")[0]
