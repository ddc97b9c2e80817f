"""The lines of a text file, read in bounded memory."""

import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, NoReturn

from volc_moderation.bulk.rows import MAX_ROW_BYTES, TOO_LONG
from volc_moderation.errors import SourceError

#: Bytes of a line that is skipped because it is too long. A longer one ends the file: its end may never come.
MAX_SKIPPED_LINE_BYTES = 1 << 30

#: What reading a file raises, compressed or not.
READ_ERRORS: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
with suppress(ImportError):  # before Python 3.14
    from compression.zstd import ZstdError  # type: ignore[import-not-found,unused-ignore]

    READ_ERRORS += (ZstdError,)


def read_error(name: str, error: Exception, line: int = 0) -> SourceError:
    """Return a ``SourceError`` for one of ``READ_ERRORS``. ``line`` is the last line that was read."""
    where = f"{name}, after line {line}" if line else name
    if isinstance(error, OSError) and error.errno is not None:
        return SourceError(f"{where}: {os.strerror(error.errno)}", line=line or None)
    return SourceError(f"{where}: the compressed file is damaged: {error}", line=line or None)


class BoundedLines:
    """The decoded lines of a file.

    A line that is too long or not UTF-8 does not end the file. It sets ``problem``, which the reader of the rows takes
    and reports with the row. The reader also keeps ``row_start`` and ``row_bytes`` up to date.

    :param rows_span_lines: whether quoted text may continue a row on the next line.
    """

    def __init__(self, name: str, file: IO[bytes], *, rows_span_lines: bool) -> None:
        self._name = name
        self._file = file
        self._rows_span_lines = rows_span_lines
        #: The number of the last line that was read.
        self.number = 0
        #: The line on which the current row begins.
        self.row_start = 1
        #: The bytes read since the last row, blank lines included.
        self.row_bytes = 0
        #: What is wrong with the lines read since the last ``take_problem``.
        self.problem: str | None = None

    def __iter__(self) -> Iterator[str]:
        readline, limit = self._file.readline, MAX_ROW_BYTES + 1
        try:
            while raw := readline(limit):
                self.number += 1
                self.row_bytes += len(raw)
                if self.row_bytes > MAX_ROW_BYTES:
                    raw = self._skip_long_line(raw)
                try:
                    yield raw.decode()
                except UnicodeDecodeError as error:
                    self.problem = (
                        f"not UTF-8: byte 0x{raw[error.start]:02x} in column {error.start + 1}; save as UTF-8"
                    )
                    yield raw.decode(errors="replace")
        except READ_ERRORS as error:
            raise read_error(self._name, error, self.number) from None

    def take_problem(self) -> str | None:
        """Return what is wrong with the lines read since the last time."""
        problem, self.problem = self.problem, None
        return problem

    def _skip_long_line(self, raw: bytes) -> bytes:
        """Read a line that is too long to its end and return a blank one instead. Fail if the row has no known end."""
        if self.number > self.row_start:
            self._fail("more than 1 MiB without the end of a row; is a quote not closed?")
        if len(raw) <= MAX_ROW_BYTES:
            if self.row_bytes - len(raw) > MAX_ROW_BYTES:
                self._fail("more than 1 MiB of blank lines")
            return raw
        size, quotes = len(raw), raw.count(b'"')
        while raw and not raw.endswith(b"\n"):
            raw = self._file.readline(MAX_ROW_BYTES)
            size += len(raw)
            quotes += raw.count(b'"')
            if size > MAX_SKIPPED_LINE_BYTES:
                self._fail("longer than 1 GiB")
        if self._rows_span_lines and quotes % 2:  # the next line may be inside quoted text
            self._fail(f"{TOO_LONG}, with a quote that is not closed")
        self.problem = TOO_LONG
        return b"\n"

    def _fail(self, reason: str) -> NoReturn:
        raise SourceError(f"{self._name}, line {self.row_start}: {reason}", line=self.row_start)
