"""Reads Parquet with pyarrow, in bounded memory except that a page is unpacked whole, whatever its size."""

import contextlib
from collections.abc import Iterator
from typing import Any

from volc_moderation.bulk.rows import MAX_ROW_BYTES, TOO_LONG, BadRowError, Row, Source, column_names_problem, quoted
from volc_moderation.errors import SourceError
from volc_moderation.extras import require_extra

#: The bytes that pyarrow reads from the file at a time.
BUFFER_BYTES = 1 << 20
#: Rows of a batch, and the bytes that they may unpack to.
MAX_BATCH_ROWS = 1000
MAX_BATCH_BYTES = 16 << 20
#: Rows that are converted at once even if they are long, or share a dictionary that is.
SMALL_BATCH_ROWS = 8
#: Characters of a message of pyarrow's.
MAX_MESSAGE_CHARACTERS = 200


def read_parquet(name: str, path: str, files: contextlib.ExitStack) -> Source:
    """Open a file and return its rows; ``files`` closes it. Raises ``SourceError`` if it cannot be read."""
    try:
        require_extra("parquet", used_by=f"{name} is Parquet, which")
    except ModuleNotFoundError as error:
        raise SourceError(str(error)) from None
    from pyarrow import parquet  # noqa: PLC0415 - an extra

    try:
        # Read a page at a time, not a whole group of rows.
        file = files.enter_context(parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES))
        columns = tuple(file.schema_arrow.names)
        batches = file.iter_batches(batch_size=_batch_size(file.metadata))
    except Exception as error:  # noqa: BLE001 - pyarrow's errors have no common base class
        raise SourceError(f"{name} cannot be read: {_message(error)}") from None
    problem = column_names_problem(columns)
    if problem is not None:
        raise SourceError(f"{name}: {problem}")
    return Source(name, columns, _rows(name, batches))


def _rows(name: str, batches: Iterator[Any]) -> Iterator[tuple[int, Row | BadRowError]]:
    number = 0
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:  # noqa: BLE001 - as above
            reason = f"{name} cannot be read after row {number}: {_message(error)}"
            raise SourceError(reason, line=number or None) from None
        if batch is None:
            return
        for row in _rows_of_batch(batch):
            number += 1
            yield number, BadRowError(row, line=number) if isinstance(row, str) else row


def _batch_size(metadata: Any) -> int:
    """Return how many rows to read at a time: fewer if they are long."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    row_bytes = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return int(max(1, min(MAX_BATCH_ROWS, MAX_BATCH_BYTES // max(row_bytes, 1))))


def _rows_of_batch(batch: Any) -> Iterator[Row | str]:
    """Yield the rows of a batch; for a bad row, what is wrong with it. Halve the batch until a bad row is alone."""
    is_small = batch.num_rows <= SMALL_BATCH_ROWS
    problem = None
    if is_small or batch.nbytes <= MAX_ROW_BYTES:
        try:
            rows = batch.to_pylist()
        except Exception as error:  # noqa: BLE001 - dates that Python does not have, text that is not UTF-8, …
            problem = _message(error)
        else:
            for row in rows:
                if is_small and _size(row) > MAX_ROW_BYTES:
                    yield TOO_LONG
                else:
                    yield {column: value for column, value in row.items() if value is not None}
            return
    if problem is not None and batch.num_rows == 1:
        yield _bad_cell(batch) or problem
    else:
        half = batch.num_rows // 2
        yield from _rows_of_batch(batch.slice(0, half))
        yield from _rows_of_batch(batch.slice(half))


def _bad_cell(row: Any) -> str | None:
    """Return what is wrong with the first bad cell of a batch of one row, with the name of its column."""
    for name, cell in zip(row.schema.names, row.columns, strict=True):
        try:
            cell.to_pylist()
        except Exception as error:  # noqa: BLE001 - as above
            return f"column {quoted(name)}: {_message(error)}"
    return None


def _size(value: object) -> int:
    """Return about how many bytes a value takes: its characters and items."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values()))
    return sum(map(_size, value)) if isinstance(value, (list, tuple)) else 1


def _message(error: Exception) -> str:
    """Return the message of a pyarrow error as one short, printable line."""
    text = "".join(filter(str.isprintable, " ".join(str(error).split()))) or type(error).__name__
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else f"{text[:MAX_MESSAGE_CHARACTERS]}…"
