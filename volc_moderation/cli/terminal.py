"""What the commands print with: foreign text shows as text, and does nothing to the terminal."""

import contextlib
import logging
import os
import sys
from typing import Any, TextIO, cast

from rich.console import Console
from rich.text import Text

from volc_moderation.printable import printable


class Terminal(Console):
    """Prints each str as one line of plain text: nothing in it colours, moves, hides or forges anything.

    So does each cell of a table. What is to have several lines, or a style, is rich's own ``Text``, which must be made
    with ``one_line`` if it holds anything foreign.
    """

    def __init__(self, file: TextIO | None = None, *, record: bool = False) -> None:
        super().__init__(file=file, record=record, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a str what is printed; rich calls it for each one that it meets."""
        return super().render_str(printable(text), **options)

    def on_broken_pipe(self) -> None:
        """Leave it to who runs the command what that means; rich would end the process here."""
        raise  # noqa: PLE0704 - called while it is handled

    def one_line(self, text: str, *, style: str = "") -> Text:
        """Return a text of one line that is cut where the terminal ends."""
        made = self.render_str(text, style=style)
        made.no_wrap, made.overflow = True, "ellipsis"
        return made


class _Lasting:
    """A stream that goes on when nobody reads it any more, or its disk is full: what it would say is left out.

    A run does not end because its log does. Ctrl-C at ``bulk … 2>&1 | tee log`` ends ``tee`` first.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is left, if that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def stderr() -> Terminal:
    """Return where people read how it goes: standard error. It may be lost at any time, and nothing is raised."""
    return Terminal(cast("TextIO", _Lasting(sys.stderr)))


def stdout() -> Terminal:
    """Return where results go: standard output."""
    return Terminal(sys.stdout)


def prepare() -> None:
    """Make ready what else reaches the terminal: no text ends a command by its encoding, and no log gets between.

    What was closed by who started this is open to nowhere, lest the next file that is opened take its place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # which takes the lowest number that is free: this one
            if name != "stdin":
                setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - for good
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Without a handler, Python would print warnings as they are; what they say, the commands say themselves.
    logging.getLogger("volc_moderation").addHandler(logging.NullHandler())
