"""Makes untrusted text safe to print: characters that a terminal, a browser or a line reader interprets are escaped.

The text comes from files, vendors, journals and callbacks. An escape character could recolour or overwrite a terminal,
a line break could forge a line, and marks that change the direction of text could hide parts of it.
https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing
"""

import json
import re
import unicodedata


def printable(text: str) -> str:
    r"""Return the text as one line in which every character is visible, as itself or as an escape such as ``\x1b``."""
    if text.isprintable():
        return text
    return "".join(one if _is_visible(one) else one.encode("unicode_escape").decode("ascii") for one in text)


def printable_json(value: object, *, indent: int | None = None) -> str:
    r"""Return JSON in which every character of the texts is visible, as itself or as an escape such as ``\u001b``.

    It can be encoded in UTF-8 even if the texts contain lone surrogates. Without ``indent`` it is one line.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isprintable():
        return text
    # Outside of texts, json writes no invisible character but line feeds; those inside texts are already escaped.
    return _MAYBE_INVISIBLE.sub(lambda match: match[0] if _is_visible(match[0]) else _json_escape(match[0]), text)


#: Everything but visible ASCII and the line feeds between lines.
_MAYBE_INVISIBLE = re.compile(r"[^\n -~]")


def _is_visible(character: str) -> bool:
    """Return whether a character is visible. Wide and narrow spaces, which some languages use, are."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _json_escape(character: str) -> str:
    # json.dumps writes a surrogate pair for a character above U+FFFF, but does not escape U+007F.
    return f"\\u{ord(character):04x}" if character < "\U00010000" else json.dumps(character)[1:-1]


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return a number with its noun: ``1 call``, ``1,200 calls``. ``plural`` is for a noun that does not take an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
