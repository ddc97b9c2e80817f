"""Files of calls for tests: their content, and what is read from them."""

import contextlib
import gzip
import io
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from pyarrow import parquet

from volc_moderation import SourceError
from volc_moderation.bulk.rows import BadRowError, Row, Source
from volc_moderation.bulk.sources import open_source

Rows = list[tuple[int, Row | BadRowError]]

CSV = b"task_id,note\n1,one\n2,two\n"
JSON = b'{"task_id": "1", "note": "one"}\n{"task_id": "2", "note": "two"}\n'
#: The rows of both of them.
TWO_ROWS = [{"task_id": "1", "note": "one"}, {"task_id": "2", "note": "two"}]

#: The formats of text, and how each begins, with a good row on line 2.
FORMATS = ["CSV", "JSON Lines"]
STARTS = {"CSV": b"task_id,note\n1,one\n", "JSON Lines": b'{"task_id": "0"}\n{"task_id": "1"}\n'}
#: Another good row of each.
LAST_ROWS = {"CSV": b"2,two\n", "JSON Lines": b'{"task_id": "2"}\n'}


def source_of(content: bytes) -> Source:
    """Open some bytes as standard input."""
    return open_source("-", stdin=lambda: io.BytesIO(content))


def read_all(source: Source) -> Rows:
    """Read all rows and close the file."""
    with contextlib.closing(source):
        return list(source.rows)


def rows_of(content: bytes) -> Rows:
    """Return the rows of a file."""
    return read_all(source_of(content))


def values_of(source: Source) -> list[object]:
    """Return the rows without their numbers."""
    return [row for _, row in read_all(source)]


def error_of(content: bytes) -> SourceError:
    """Return the error that ends the reading of a file."""
    with pytest.raises(SourceError) as caught:
        rows_of(content)
    return caught.value


def write_parquet(path: Any, table: Any) -> str:
    """Write a table and return the name of its file."""
    parquet.write_table(table, path)
    return str(path)


def check_printable(error: Exception) -> None:
    """Check that the message is one line that a terminal can show."""
    text = str(error)
    assert text.isprintable()
    assert len(text.encode()) < 600


class GeneratedFile(io.RawIOBase):
    """A file whose content is generated while it is read."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = iter(parts)
        self._rest = b""
        #: Bytes that were read.
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._parts, b"")
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        self.size += len(part)
        return len(part)


def compress_parts(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Compress each part as a gzip member of its own."""
    for part in parts:
        yield gzip.compress(part, mtime=0)
