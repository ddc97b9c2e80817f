"""Opens files of calls: CSV or JSON Lines, either of them perhaps compressed, or Parquet.

The first bytes of a file show its format; its name does not matter, so standard input needs no option. Files are read
row by row, in bounded memory.
"""

import contextlib
import gzip
import io
import sys
from collections.abc import Callable
from functools import partial
from typing import IO, cast

from volc_moderation.bulk.csv_format import read_csv
from volc_moderation.bulk.json_lines_format import read_json_lines
from volc_moderation.bulk.lines import READ_ERRORS, BoundedLines, read_error
from volc_moderation.bulk.parquet_format import read_parquet
from volc_moderation.bulk.rows import Source
from volc_moderation.errors import SourceError

#: The name of standard input.
STDIN = "-"

# How the formats begin. https://parquet.apache.org/docs/file-format/ and /file-format/data-pages/encryption/
_PARQUET = b"PAR1"
_ENCRYPTED_PARQUET = b"PARE"
_GZIP = b"\x1f\x8b"
#: XLSX (a ZIP file) and XLS.
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_ZSTD = b"\x28\xb5\x2f\xfd"
_UTF_8_BOM = b"\xef\xbb\xbf"
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")


def _unbuffered_stdin() -> IO[bytes]:
    """Return standard input without its buffer: a thread that is still reading holds the buffer's lock at exit."""
    if sys.stdin is None or sys.stdin.closed:
        raise SourceError("standard input is closed")
    return cast("IO[bytes]", getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))


def open_source(path: str, *, stdin: Callable[[], IO[bytes]] = _unbuffered_stdin) -> Source:
    """Open a file, or standard input for ``-``. Raises ``SourceError`` now, or while its rows are read."""
    name = "standard input" if path == STDIN else path
    try:
        with contextlib.ExitStack() as files:
            source = _open(name, path, stdin, files)
            source.close = files.pop_all().close
            return source
    except READ_ERRORS as error:
        raise read_error(name, error) from None


def _open(name: str, path: str, stdin: Callable[[], IO[bytes]], files: contextlib.ExitStack) -> Source:
    raw = stdin() if path == STDIN else open(path, "rb")  # noqa: PTH123, SIM115 - closed with the source
    file = files.enter_context(_PeekableFile(raw))
    source = _open_format(name, path, file, files)
    if path != STDIN:
        source.position = partial(_position_of, file)
    return source


def _position_of(file: IO[bytes]) -> int:
    """Return the bytes that have been read; another thread may ask, even after the file was closed."""
    try:
        return file.tell()
    except (OSError, ValueError):
        return 0


def _open_format(name: str, path: str, file: "_PeekableFile", files: contextlib.ExitStack) -> Source:
    start = file.peek(4)
    if start.startswith(_WORKBOOKS):
        raise SourceError(
            f"{name} is a spreadsheet in the format of Excel, or another archive: export it as CSV, in UTF-8"
        )
    if start.startswith(_PARQUET):
        if path == STDIN:
            raise SourceError("Parquet cannot be read from standard input, because its index is at its end")
        return read_parquet(name, path, files)
    if start.startswith(_ENCRYPTED_PARQUET) and b"\0" in start:  # rather than a column such as PARENT
        raise SourceError(f"{name} is encrypted Parquet; decrypt it first")
    if start.startswith(_GZIP):
        file = files.enter_context(_PeekableFile(cast("IO[bytes]", gzip.GzipFile(fileobj=cast("IO[bytes]", file)))))
    elif start.startswith(_ZSTD):
        file = files.enter_context(_PeekableFile(_open_zstd(file, name)))
    return _open_text(name, file)


class _PeekableFile(io.BufferedReader):
    """A buffered file whose first bytes can be looked at without reading them."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(cast("io.RawIOBase", file), 1 << 16)


def _open_text(name: str, file: _PeekableFile) -> Source:
    start = file.peek(64)
    if not start:
        raise SourceError(f"{name} is empty")
    if start.startswith(_UTF_16_BOMS):
        raise SourceError(f"{name} is UTF-16; save it as UTF-8")
    first = start.removeprefix(_UTF_8_BOM).lstrip()[:1]
    if first == b"[":
        raise SourceError(f"{name} is one JSON array; write one object on each line instead")
    if start.startswith(_UTF_8_BOM):
        file.read(len(_UTF_8_BOM))
    text = cast("IO[bytes]", file)
    if first == b"{":
        return read_json_lines(name, BoundedLines(name, text, rows_span_lines=False))
    return read_csv(name, BoundedLines(name, text, rows_span_lines=True))


def _open_zstd(file: _PeekableFile, name: str) -> IO[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore] # noqa: PLC0415 - of Python 3.14
    except ImportError:
        raise SourceError(
            f"{name} is compressed with zstd, which Python can read since 3.14; decompress it first"
        ) from None
    return cast("IO[bytes]", zstd.ZstdFile(file))
