"""What the commands print with: foreign text shows as text, and does nothing to the terminal."""

import logging
import sys
from typing import Any, TextIO

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

    def one_line(self, text: str, *, style: str = "") -> Text:
        """Return a text of one line that is cut where the terminal ends."""
        made = self.render_str(text, style=style)
        made.no_wrap, made.overflow = True, "ellipsis"
        return made


def stderr() -> Terminal:
    """Return where people read how it goes: standard error."""
    return Terminal(sys.stderr)


def stdout() -> Terminal:
    """Return where results go: standard output."""
    return Terminal(sys.stdout)


def prepare() -> None:
    """Make ready what else reaches the terminal: no text ends a command by its encoding, and no log gets between."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Without a handler, Python would print warnings as they are; what they say, the commands say themselves.
    logging.getLogger("volc_moderation").addHandler(logging.NullHandler())
