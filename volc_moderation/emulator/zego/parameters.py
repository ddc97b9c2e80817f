"""ZEGO's refusals, and the checks of the parameters of its actions: JSON in a POST, texts in a GET.

Ids are checked only for their documented lengths. ZEGO extends the lists of languages, labels and risk types, so any
text is accepted for these. OPEN: the code for a number out of its range. Here it is the one for a bad parameter.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

from volc_moderation.emulator.vendor import Check

Parameters = Mapping[str, Any]

#: https://doc-zh.zego.im/article/19702
BAD_PARAMETER = 2
TOO_LONG = 3
NO_ROOM = 104

MAX_DIGITS = 19  # of an integer with 64 bits


class Refused(Exception):  # noqa: N818 - it does not leave the emulator
    """A refusal with one of the vendor's codes."""

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def text(max_bytes: int | None = None, *, may_be_empty: bool = False, too_long: int = TOO_LONG) -> Check:
    """Return the check of a text with so many bytes."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or not (value or may_be_empty):
            raise Refused(BAD_PARAMETER, f"{name} is absent or malformed")
        if max_bytes is not None and len(value.encode()) > max_bytes:
            raise Refused(too_long, f"{name} is too long")
        return value

    return check


def list_of(
    check_item: Check,
    *,
    min_items: int = 0,
    max_items: int | None = None,
    in_query: bool = False,
    malformed: int = BAD_PARAMETER,
    too_many: int = BAD_PARAMETER,
) -> Check:
    """Return the check of a list with so many items.

    :param in_query: whether a single text is a list of one item.
    :param malformed: the code of the refusal for anything but a list.
    :param too_many: the code of the refusal for too many items.
    """

    def check(name: str, value: Any) -> list[Any]:
        items = [value] if in_query and isinstance(value, str) else value
        if not isinstance(items, list) or len(items) < min_items:
            raise Refused(malformed, f"{name} is absent or malformed")
        if max_items is not None and len(items) > max_items:
            raise Refused(too_many, f"{name} has more than {max_items} items")
        return [check_item(name, item) for item in items]

    return check


def number(low: int, high: int) -> Check:
    """Return the check of a JSON integer in a range; neither a string nor a boolean is one."""

    def check(name: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Refused(BAD_PARAMETER, f"{name} must be an integer from {low} to {high}")
        return value

    return check


def digits(low: int, high: int) -> Check:
    """Return the check of an integer in a query, which is spelled in digits."""
    in_range = number(low, high)

    def check(name: str, value: Any) -> int:
        return int(in_range(name, int(value) if is_number(value) else value))

    return check


def is_number(value: Any) -> bool:
    """Return whether a value in a query consists of digits, and not of too many."""
    return isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= MAX_DIGITS


def object_of(**fields: Check) -> Check:
    """Return the check of an object, all of whose fields are optional. Unknown fields are removed."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Refused(BAD_PARAMETER, f"{name} is absent or malformed")
        return {field: fields[field](f"{name}.{field}", item) for field, item in value.items() if field in fields}

    return check


def query_boolean(name: str, value: Any) -> bool:
    """Check a boolean in a query."""
    if not isinstance(value, str) or value.lower() not in {"true", "false"}:
        raise Refused(BAD_PARAMETER, f"{name} must be true or false")
    return value.lower() == "true"


def ip(name: str, value: Any) -> str:
    """Check an IP address."""
    try:
        ipaddress.ip_address(TEXT(name, value))
    except ValueError:
        raise Refused(BAD_PARAMETER, f"{name} is not an IP address") from None
    return str(value)


TEXT = text()
#: 0 or 1, in JSON and in a query.
BIT = number(0, 1)
QUERY_BIT = digits(0, 1)
TEXT_LIST = list_of(TEXT)
#: The lengths in bytes that the client SDK documents.
#: https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
ROOM_ID = text(128)
USER_ID = text(64)
STREAM_ID = text(256)
