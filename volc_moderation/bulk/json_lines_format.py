"""Reads JSON Lines: one object on each line."""

import json
from collections.abc import Iterator
from typing import Any, NoReturn

from volc_moderation.bulk.lines import BoundedLines
from volc_moderation.bulk.rows import BadRowError, Row, Source, first_repeated, quoted

_NOT_AN_OBJECT = "not a JSON object"


def read_json_lines(name: str, lines: BoundedLines) -> Source:
    """Return the rows of a file."""
    return Source(name, None, _rows(lines))


def _rows(lines: BoundedLines) -> Iterator[tuple[int, Row | BadRowError]]:
    decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant).raw_decode
    for line in lines:
        lines.row_start = lines.number + 1
        text = line.strip(" \t\r\n")
        problem = lines.take_problem() if lines.problem else None
        if problem is None:
            if not text:
                continue
            try:
                row, end = decode(text)
            except BadRowError as error:
                problem = error.message
            except (ValueError, RecursionError):
                problem = _NOT_AN_OBJECT
            else:
                problem = None if end == len(text) and isinstance(row, dict) else _NOT_AN_OBJECT
        lines.row_bytes = 0
        yield lines.number, row if problem is None else BadRowError(problem, line=lines.number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object as a dict. Raises ``BadRowError`` if a name appears twice."""
    row = dict(pairs)
    if len(row) < len(pairs):
        raise BadRowError(f"{quoted(first_repeated(name for name, _ in pairs) or '')} appears twice")
    return row


def _refuse_constant(name: str) -> NoReturn:
    raise BadRowError(f"{name} is not JSON")
