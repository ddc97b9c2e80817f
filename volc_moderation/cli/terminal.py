"""What the commands print with. Text from files, vendors and journals cannot control the terminal."""

import contextlib
import logging
import os
import sys
from typing import Any, TextIO, cast

from rich.console import Console
from rich.text import Text

from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.printable import printable


class Terminal(Console):
    """A console that prints each str, and each cell of a table, as one line of plain text.

    Control characters and markup in a str are shown as text: they cannot colour, move, hide or forge anything. Only
    rich's own ``Text`` has styles and several lines; use ``one_line`` to make one from foreign text.
    """

    def __init__(self, file: TextIO | None = None, *, record: bool = False) -> None:
        super().__init__(file=file, record=record, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Convert a str for printing; rich calls this for every str."""
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """Raise the error again: ``app.run`` chooses the exit code. Rich itself would end the process here."""
        raise  # noqa: PLE0704 - rich calls this in its except clause

    def one_line(self, text: str, *, style: str = "") -> Text:
        """Return text of one line, which is cut at the width of the terminal."""
        line = self.render_str(text, style=style)
        line.no_wrap, line.overflow = True, "ellipsis"
        return line


class _LossyStream:
    """A stream that drops what it cannot write, because its reader has gone or its disk is full.

    A run must not end because its log does: Ctrl-C at ``bulk … 2>&1 | tee log`` ends ``tee`` first.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text if possible."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream if possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def stderr() -> Terminal:
    """Return a console for progress and errors: standard error. Text that cannot be written is dropped silently."""
    return Terminal(cast("TextIO", _LossyStream(sys.stderr)))


def stdout() -> Terminal:
    """Return a console for results: standard output."""
    return Terminal(sys.stdout)


def print_error(console: Terminal, error: Exception | str, code: ExitCode = ExitCode.USAGE) -> ExitCode:
    """Print an error on one line, and return the exit code that goes with it."""
    console.print(str(error), soft_wrap=True)
    return code


def prepare_streams() -> None:
    """Prepare the standard streams: no text fails for its encoding, and no log record is printed.

    A standard stream that was closed is connected to ``os.devnull``; otherwise the next file that is opened would take
    its place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            if name != "stdin":
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - never closed
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Without a handler, Python prints warnings itself. The commands report the same problems in their own words.
    logging.getLogger("volc_moderation").addHandler(logging.NullHandler())
