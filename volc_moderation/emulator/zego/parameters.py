"""ZEGO's refusals, and the reading of what an action is given: JSON in a POST, texts in a GET."""

from collections.abc import Mapping
from typing import Any

Given = Mapping[str, Any]

#: https://doc-zh.zego.im/article/19702
BAD_PARAMETER = 2
TOO_LONG = 3
NO_ROOM = 104


class Refused(Exception):  # noqa: N818 - it does not leave the emulator
    """A refusal with a code of the vendor."""

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def text_of(given: Given, name: str, *, most_bytes: int | None = None) -> str:
    """Read a text that must be there."""
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(BAD_PARAMETER, f"{name} is absent or malformed")
    if most_bytes is not None and len(value.encode()) > most_bytes:
        raise Refused(TOO_LONG, f"{name} is too long")
    return value


def optional_text(given: Given, name: str, *, most_bytes: int | None = None) -> str | None:
    """Read a text that may be absent."""
    return text_of(given, name, most_bytes=most_bytes) if given.get(name) else None


def list_of(given: Given, name: str, most: int, *, too_many: int = BAD_PARAMETER) -> list[str]:
    """Read a list of texts, which a query spells ``Name[]=a&Name[]=b``, or by newer pages ``Name=a&Name=b``."""
    value = given.get(f"{name}[]", given.get(name))
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(one, str) and one for one in values):
        raise Refused(BAD_PARAMETER, f"{name}[] is absent or malformed")
    if len(values) > most:
        raise Refused(too_many, f"{name}[] has more than {most} items")
    return values


def number_of(given: Given, name: str, low: int, high: int, default: int | None = None) -> int:
    """Read a whole number in its range, as a number of JSON or a text of a query."""
    value = given.get(name)
    if value is None and default is not None:
        return default
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise Refused(BAD_PARAMETER, f"{name} is absent or out of range")
    return value
