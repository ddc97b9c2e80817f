"""Reads CSV as spreadsheets write it: separated by commas, semicolons or tabs."""

import csv
import itertools
from collections.abc import Iterator

from volc_moderation.bulk.lines import BoundedLines
from volc_moderation.bulk.rows import BadRowError, Row, Source, column_names_problem
from volc_moderation.errors import SourceError


def read_csv(name: str, lines: BoundedLines) -> Source:
    """Read the header, and return the rows below it. Raises ``SourceError`` for a bad header."""
    texts = iter(lines)
    header = next(texts, "")
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(itertools.chain((header,), texts), delimiter=delimiter, strict=True)
    columns = _read_header(name, reader, lines)
    return Source(name, columns, _rows(name, reader, lines, columns))


def _rows(
    name: str, reader: Iterator[list[str]], lines: BoundedLines, columns: tuple[str, ...]
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
        elif len(cells) == len(columns):
            yield lines.number, dict(zip(columns, cells, strict=True))
        elif cells:
            reason = f"{len(cells)} columns, but the header has {len(columns)}"
            yield lines.number, BadRowError(reason, line=lines.number)
        else:  # a blank line
            continue
        lines.row_bytes = 0


def _read_header(name: str, reader: Iterator[list[str]], lines: BoundedLines) -> tuple[str, ...]:
    try:
        columns = tuple(column.strip() for column in next(reader))
        problem = lines.take_problem()
    except csv.Error as error:
        columns, problem = (), _message(error)
    problem = problem or column_names_problem(columns)
    if problem is not None:
        raise SourceError(f"{name}, line 1: {problem}", line=1)
    return columns


def _message(error: csv.Error) -> str:
    """Return the message with tabs escaped, and without its advice for programmers."""
    return str(error).replace("\t", r"\t").partition(" - ")[0]
