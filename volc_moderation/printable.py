"""Foreign text, made fit to be shown: what a terminal, a browser or a reader of lines would obey stands as an escape.

It comes from files, vendors, journals and strangers' callbacks. An escape character could recolour or rewrite what a
terminal shows, a line break could forge a line, and the marks that turn the direction of text could hide some of it.
https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing
"""

import json
import re
import unicodedata


def printable(text: str) -> str:
    r"""Return a text on one line in which every character shows, as itself or as an escape such as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(one if _shows(one) else one.encode("unicode_escape").decode("ascii") for one in text)


def json_text(value: object, *, indent: int | None = None) -> str:
    r"""Return JSON in which every character of the texts shows, as itself or as an escape such as ``\u001b``.

    It can be encoded whatever the texts hold, half a surrogate pair too. Without ``indent`` it is one line.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    # Of what json itself writes, only line feeds do not show; those inside texts it has escaped.
    return _HIDDEN.sub(lambda found: found[0] if _shows(found[0]) else _escaped(found[0]), text)


#: All but ASCII that shows, and the line feeds between lines: what must be looked at.
_HIDDEN = re.compile(r"[^\n -~]")


def _shows(character: str) -> bool:
    """Tell whether a character shows; a wide or a narrow space, as languages have them, does."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    # Beyond the 16 bits of an escape it is a pair, which json makes; it leaves U+007F as it is.
    return f"\\u{ord(character):04x}" if character < "\U00010000" else json.dumps(character)[1:-1]
