"""Files of calls: CSV, JSON Lines, either of them compressed, or Parquet; read row by row, in bounded memory.

What a file is shows in its first bytes, not in its name, so that standard input needs no option. A row that is longer
than 1 MiB is a bad row. The pages of Parquet are the exception: a page is unpacked whole, whatever its size.
"""

import contextlib
import csv
import gzip
import io
import itertools
import json
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any, NoReturn, cast

import attrs

from volc_moderation.errors import SourceError

#: A row: names of columns, with text from CSV, values from JSON.
Row = Mapping[str, object]

#: Standard input.
STDIN = "-"

#: Bytes of a line, of a row of CSV that spans lines, and of what a row of Parquet unpacks to.
LONGEST_LINE = 1 << 20
#: Bytes of a line of which the rest is passed over; a longer one ends the file, for nobody waits for its end.
LONGEST_PASSED_OVER = 1 << 30
#: Columns of a file.
MOST_COLUMNS = 1000
#: Bytes that Parquet is read by, and of a batch of its rows.
_BUFFER, _BATCH = 1 << 20, 16 << 20
#: Rows of Parquet that are made at once even if they are long, or share a dictionary that is.
_FEW = 8
#: Characters that a message shows of a name, and of what a library says.
SHOWN, _SAID = 60, 200

_TOO_LONG = "longer than 1 MiB"
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_PARQUET, _SEALED_PARQUET = b"PAR1", b"PARE"
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


def quoted(name: str) -> str:
    """Return a name as messages show it: in quotes, without what a terminal would obey, and cut if it is long."""
    return repr(name if len(name) <= SHOWN else f"{name[:SHOWN]}…")


def _stdin() -> IO[bytes]:
    """Return standard input without its buffer, which a thread that still reads holds when the process ends."""
    if sys.stdin is None or sys.stdin.closed:
        raise SourceError("standard input is closed")
    return cast("IO[bytes]", getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))


def read_source(name: str, *, stdin: Callable[[], IO[bytes]] = _stdin) -> Source:
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
    if start.startswith(_SEALED_PARQUET) and b"\0" in start:  # rather than a column such as PARENT
        raise SourceError(f"{shown} is encrypted Parquet; decrypt it first")
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
    if start.startswith(_BOM):
        file.read(len(_BOM))
    if first == b"{":
        return _json_lines(name, _Lines(name, file, has_quotes=False))
    return _csv(name, _Lines(name, file, has_quotes=True))


class _Lines:
    """The lines of a file as text. What is wrong with one of them stays to be complained of with its row.

    :param has_quotes: whether a row may go on over several lines.
    """

    def __init__(self, name: str, file: _Peekable, *, has_quotes: bool) -> None:
        self._name = name
        self._file = file
        self._has_quotes = has_quotes
        self.number = 0
        #: Where the row begins, and the bytes since the last one, blank lines included: both set by who reads the rows.
        self.first = 1
        self.size = 0
        self.fault: str | None = None

    def __iter__(self) -> Iterator[str]:
        read, most = self._file.readline, LONGEST_LINE + 1
        try:
            while raw := read(most):
                self.number += 1
                self.size += len(raw)
                if self.size > LONGEST_LINE:
                    raw = self._pass_over(raw)
                try:
                    yield raw.decode()
                except UnicodeDecodeError as error:
                    self.fault = f"not UTF-8: byte 0x{raw[error.start]:02x} in column {error.start + 1}"
                    yield raw.decode(errors="replace")
        except _FAULTS as error:
            raise _fault(self._name, error, self.number) from None

    def _pass_over(self, raw: bytes) -> bytes:
        """Return a blank line in place of one that is too long, and read to its end. Fail if that has no end."""
        if self.number > self.first:
            self._fail("more than 1 MiB without the end of a row; is there a quote that is not closed?")
        if len(raw) <= LONGEST_LINE:
            if self.size - len(raw) > LONGEST_LINE:
                self._fail("more than 1 MiB of blank lines")
            return raw
        size, quotes = len(raw), raw.count(b'"')
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(LONGEST_LINE)
            size += len(raw)
            quotes += raw.count(b'"')
            if size > LONGEST_PASSED_OVER:
                self._fail("longer than 1 GiB")
        if self._has_quotes and quotes % 2:  # the next line may be the inside of a text
            self._fail(f"{_TOO_LONG}, with a quote that is not closed")
        self.fault = _TOO_LONG
        return b"\n"

    def _fail(self, reason: str) -> NoReturn:
        raise SourceError(f"{self._name}, line {self.first}: {reason}", line=self.first)

    def take_fault(self) -> str | None:
        """Return what is wrong with the lines since the last time."""
        fault, self.fault = self.fault, None
        return fault


def _csv(name: str, lines: _Lines) -> Source:
    texts = iter(lines)
    head = next(texts, "")
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(itertools.chain((head,), texts), delimiter=delimiter, strict=True)
    columns = _header(name, reader, lines)

    def rows() -> Iterator[tuple[int, Row | SourceError]]:
        lines.size = 0
        while True:
            lines.first = lines.number + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                hint = "; is there a quote that is not closed?" if lines.number > lines.first else ""
                raise SourceError(f"{name}, line {lines.first}: {_said_of(error)}{hint}", line=lines.first) from None
            if lines.fault:
                yield lines.number, SourceError(lines.take_fault() or "", line=lines.number)
            elif len(cells) == len(columns):
                yield lines.number, dict(zip(columns, cells, strict=True))
            elif cells:
                reason = f"{len(cells)} columns, but the header has {len(columns)}"
                yield lines.number, SourceError(reason, line=lines.number)
            else:
                continue
            lines.size = 0

    return Source(name, columns, rows())


def _header(name: str, reader: Iterator[list[str]], lines: _Lines) -> tuple[str, ...]:
    try:
        columns = tuple(column.strip() for column in next(reader))
        fault = lines.take_fault()
    except csv.Error as error:
        columns, fault = (), _said_of(error)
    fault = fault or _fault_of(columns)
    if fault is not None:
        raise SourceError(f"{name}, line 1: {fault}", line=1)
    return columns


def _said_of(error: csv.Error) -> str:
    """Return what is wrong, without a tab, and without advice for programmers."""
    return str(error).replace("\t", r"\t").partition(" - ")[0]


def _fault_of(columns: tuple[str, ...]) -> str | None:
    if len(columns) > MOST_COLUMNS:
        return f"{len(columns):,} columns; there may be {MOST_COLUMNS:,}"
    if not columns or "" in columns:
        return "a column has no name" if columns else "the names of the columns are missing"
    twice = _first_repeated(columns)
    return None if twice is None else f"column {quoted(twice)} is there twice"


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _json_lines(name: str, lines: _Lines) -> Source:
    decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant).raw_decode

    def rows() -> Iterator[tuple[int, Row | SourceError]]:
        for line in lines:
            lines.first = lines.number + 1
            text = line.strip(" \t\r\n")
            fault = lines.take_fault() if lines.fault else None
            if fault is None:
                if not text:
                    continue
                try:
                    row, end = decode(text)
                except SourceError as error:
                    fault = error.message
                except (ValueError, RecursionError):
                    fault = _NO_OBJECT
                else:
                    fault = None if end == len(text) and isinstance(row, dict) else _NO_OBJECT
            lines.size = 0
            yield lines.number, row if fault is None else SourceError(fault, line=lines.number)

    return Source(name, None, rows())


_NO_OBJECT = "not a JSON object"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of JSON, unless it says two things of one name."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise SourceError(f"{quoted(_first_repeated(name for name, _ in pairs) or '')} is there twice")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise SourceError(f"{name} is not JSON")


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
        # Read a page at a time, not a whole group of rows.
        file = files.enter_context(parquet.ParquetFile(name, pre_buffer=False, buffer_size=_BUFFER))
        columns = tuple(file.schema_arrow.names)
        batches = file.iter_batches(batch_size=_size_of_batch(file.metadata))
    except Exception as error:  # noqa: BLE001 - pyarrow raises errors of many kinds, without a base
        raise SourceError(f"{shown} cannot be read: {_said(error)}") from None
    fault = _fault_of(columns)
    if fault is not None:
        raise SourceError(f"{shown}: {fault}")

    def rows() -> Iterator[tuple[int, Row | SourceError]]:
        number = 0
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:  # noqa: BLE001 - as above
                reason = f"{shown} cannot be read after row {number}: {_said(error)}"
                raise SourceError(reason, line=number or None) from None
            if batch is None:
                return
            for row in _rows_of(batch):
                number += 1
                yield number, SourceError(row, line=number) if isinstance(row, str) else row

    return Source(shown, columns, rows())


def _size_of_batch(metadata: Any) -> int:
    """Return how many rows to read at a time: less than 1,000 if they are long."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    longest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return int(max(1, min(1000, _BATCH // max(longest, 1))))


def _rows_of(batch: Any) -> Iterator[Row | str]:
    """Return the rows of a batch, or what is wrong with one. Halve the batch until that is a row of its own."""
    few = batch.num_rows <= _FEW
    fault = None
    if few or batch.nbytes <= LONGEST_LINE:
        try:
            rows = batch.to_pylist()
        except Exception as error:  # noqa: BLE001 - dates that Python has not, text that is not UTF-8, …
            fault = _said(error)
        else:
            for row in rows:
                if few and _length(row) > LONGEST_LINE:
                    yield _TOO_LONG
                else:
                    yield {column: value for column, value in row.items() if value is not None}
            return
    if fault is not None and batch.num_rows == 1:
        yield _fault_of_cell(batch) or fault
    else:
        half = batch.num_rows // 2
        yield from _rows_of(batch.slice(0, half))
        yield from _rows_of(batch.slice(half))


def _fault_of_cell(row: Any) -> str | None:
    for name, cell in zip(row.schema.names, row.columns, strict=True):
        try:
            cell.to_pylist()
        except Exception as error:  # noqa: BLE001 - as above
            return f"column {quoted(name)}: {_said(error)}"
    return None


def _length(value: object) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_length, value.values()))
    return sum(map(_length, value)) if isinstance(value, (list, tuple)) else 1


def _said(error: Exception) -> str:
    """Return what a library says of a fault, in one line that is not long."""
    text = "".join(filter(str.isprintable, " ".join(str(error).split()))) or type(error).__name__
    return text if len(text) <= _SAID else f"{text[:_SAID]}…"


_FAULTS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
with contextlib.suppress(ImportError):  # before Python 3.14
    from compression.zstd import ZstdError  # type: ignore[import-not-found,unused-ignore]

    _FAULTS += (ZstdError,)


def _fault(name: str, error: Exception, line: int = 0) -> SourceError:
    where = f"{name}, after line {line}" if line else name
    if isinstance(error, OSError) and error.errno is not None:
        return SourceError(f"{where}: {os.strerror(error.errno)}", line=line or None)
    return SourceError(f"{where}: the compressed file is torn: {error}", line=line or None)
