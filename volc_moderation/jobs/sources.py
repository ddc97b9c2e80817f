"""Files of calls: CSV, JSON Lines, either of them compressed, or Parquet; read row by row, in bounded memory.

What a file is shows in its first bytes, not in its name, so that standard input needs no option.
"""

import contextlib
import csv
import gzip
import io
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO, cast

import attrs

from volc_moderation.errors import SourceError

#: A row: names of columns, with text from CSV, values from JSON.
Row = Mapping[str, object]

#: Standard input.
STDIN = "-"

_GZIP, _ZSTD, _PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
_BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")


@attrs.define
class Source:
    """An open file of calls."""

    name: str
    #: The names of the columns, if they are the same in all rows.
    columns: tuple[str, ...] | None
    #: Line numbers, with a row, or with the reason why it is none.
    rows: Iterator[tuple[int, Row | SourceError]]
    #: Closes the file.
    close: Callable[[], None] = lambda: None


def read_source(name: str, *, stdin: Callable[[], IO[bytes]] = lambda: sys.stdin.buffer) -> Source:
    """Open a file, or standard input for ``-``. Raises ``SourceError`` now, or while its rows are read."""
    shown = "standard input" if name == STDIN else name
    try:
        with contextlib.ExitStack() as files:
            source = _open(shown, name, stdin, files)
            source.close = files.pop_all().close
            return source
    except _FAULTS as error:
        raise _fault(shown, error) from None


def _open(shown: str, name: str, stdin: Callable[[], IO[bytes]], files: contextlib.ExitStack) -> Source:
    raw = stdin() if name == STDIN else open(name, "rb")  # noqa: PTH123, SIM115 - closed with the source
    file = files.enter_context(_Peekable(raw))
    start = file.peek(4)
    if start.startswith(_PARQUET):
        return _parquet(shown, name, files)
    if start.startswith(_GZIP):
        file = files.enter_context(_Peekable(cast("IO[bytes]", gzip.GzipFile(fileobj=cast("IO[bytes]", file)))))
    elif start.startswith(_ZSTD):
        file = files.enter_context(_Peekable(_zstd(file, shown)))
    return _text(shown, file)


class _Peekable(io.BufferedReader):
    """A buffered file whose first bytes can be looked at."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(cast("io.RawIOBase", file), 1 << 16)


def _text(name: str, file: _Peekable) -> Source:
    start = file.peek(64)
    if not start:
        raise SourceError(f"{name} is empty")
    if start.startswith(_WIDE):
        raise SourceError(f"{name} is UTF-16; save it as UTF-8")
    first = start.removeprefix(_BOM).lstrip()[:1]
    if first == b"[":
        raise SourceError(f"{name} is one JSON array; write one object in each line instead")
    lines = _Lines(name, file)
    return _json_lines(name, lines) if first == b"{" else _csv(name, lines)


class _Lines:
    """The lines of a file as text. What is not UTF-8 stays to be complained of with its row."""

    def __init__(self, name: str, file: _Peekable) -> None:
        self._name = name
        self._file = file
        self.number = 0
        self.fault: str | None = None

    def __iter__(self) -> Iterator[str]:
        try:
            for raw in self._file:
                self.number += 1
                line = raw.removeprefix(_BOM) if self.number == 1 else raw
                try:
                    yield line.decode()
                except UnicodeDecodeError as error:
                    self.fault = f"not UTF-8: byte 0x{line[error.start]:02x} in column {error.start + 1}"
                    yield line.decode(errors="replace")
        except _FAULTS as error:
            raise _fault(self._name, error, self.number) from None

    def take_fault(self) -> str | None:
        """Return what is wrong with the lines since the last time."""
        fault, self.fault = self.fault, None
        return fault


def _csv(name: str, lines: _Lines) -> Source:
    texts = iter(lines)
    head = next(texts)
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(_chain(head, texts), delimiter=delimiter, strict=True)
    columns = _header(name, reader, lines)

    def rows() -> Iterator[tuple[int, Row | SourceError]]:
        while True:
            first = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                hint = "; is there a quote that is not closed?" if lines.number > first else ""
                raise SourceError(f"{name}, line {first}: {error}{hint}", line=first) from None
            if lines.fault:
                yield lines.number, SourceError(lines.take_fault() or "", line=lines.number)
            elif len(cells) == len(columns):
                yield lines.number, dict(zip(columns, cells, strict=True))
            elif cells:
                reason = f"{len(cells)} columns, but the header has {len(columns)}"
                yield lines.number, SourceError(reason, line=lines.number)

    return Source(name, columns, rows())


def _header(name: str, reader: Iterator[list[str]], lines: _Lines) -> tuple[str, ...]:
    try:
        columns = tuple(column.strip() for column in next(reader))
        fault = lines.take_fault()
    except csv.Error as error:
        columns, fault = (), str(error)
    fault = fault or _fault_of(columns)
    if fault is not None:
        raise SourceError(f"{name}, line 1: {fault}", line=1)
    return columns


def _fault_of(columns: tuple[str, ...]) -> str | None:
    if not columns or "" in columns:
        return "a column has no name" if columns else "the names of the columns are missing"
    twice = [column for column in columns if columns.count(column) > 1]
    return f"column {twice[0]!r} is there twice" if twice else None


def _chain(head: str, rest: Iterator[str]) -> Iterator[str]:
    yield head
    yield from rest


def _json_lines(name: str, lines: _Lines) -> Source:
    def rows() -> Iterator[tuple[int, Row | SourceError]]:
        for line in lines:
            fault = lines.take_fault()
            if fault is None and not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if fault is None and not isinstance(row, dict):
                fault = "not a JSON object"
            yield lines.number, row if fault is None else SourceError(fault, line=lines.number)

    return Source(name, None, rows())


def _zstd(file: _Peekable, name: str) -> IO[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - of Python 3.14
    except ImportError:
        raise SourceError(f"{name} is compressed with zstd, which Python reads from 3.14 on; unpack it first") from None
    return cast("IO[bytes]", zstd.ZstdFile(file))


def _parquet(shown: str, name: str, files: contextlib.ExitStack) -> Source:
    if name == STDIN:
        raise SourceError("Parquet cannot be read from standard input, for its index is at its end")
    try:
        from pyarrow import parquet  # noqa: PLC0415 - an extra
    except ImportError:
        raise SourceError(f"{shown} is Parquet: pip install 'volc_moderation[parquet]'") from None
    try:
        file = files.enter_context(parquet.ParquetFile(name))
    except (OSError, ValueError) as error:
        raise SourceError(f"{shown} cannot be read: {error}") from None
    columns = tuple(file.schema_arrow.names)
    fault = _fault_of(columns)
    if fault is not None:
        raise SourceError(f"{shown}: {fault}")

    def rows() -> Iterator[tuple[int, Row | SourceError]]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=1000):
                for row in batch.to_pylist():
                    number += 1
                    yield number, {column: value for column, value in row.items() if value is not None}
        except (OSError, ValueError) as error:
            raise SourceError(f"{shown} cannot be read after row {number}: {error}", line=number or None) from None

    return Source(shown, columns, rows())


_FAULTS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
with contextlib.suppress(ImportError):  # before Python 3.14
    from compression.zstd import ZstdError  # type: ignore[import-not-found,unused-ignore]

    _FAULTS += (ZstdError,)


def _fault(name: str, error: Exception, line: int = 0) -> SourceError:
    where = f"{name}, after line {line}" if line else name
    if isinstance(error, OSError) and error.errno is not None:
        return SourceError(f"{where}: {os.strerror(error.errno)}", line=line or None)
    return SourceError(f"{where}: the compressed file is torn: {error}", line=line or None)
