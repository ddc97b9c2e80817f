"""ZEGO's refusals, and the checks of what an action is given: JSON in a POST, texts in a GET.

Ids are checked for their documented lengths only; languages, labels and kinds of risk are lists that ZEGO extends, so
any text will do. OPEN: the code for a number out of its range. Here it is the common one for a bad parameter.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

from volc_moderation.emulator.vendor import Check

Given = Mapping[str, Any]

#: https://doc-zh.zego.im/article/19702
BAD_PARAMETER = 2
TOO_LONG = 3
NO_ROOM = 104

#: As many digits has the largest number of 64 bits.
MOST_DIGITS = 19


class Refused(Exception):  # noqa: N818 - it does not leave the emulator
    """A refusal with a code of the vendor."""

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def text(most_bytes: int | None = None, *, may_be_empty: bool = False, too_long: int = TOO_LONG) -> Check:
    """Check a text of so many bytes."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or not (value or may_be_empty):
            raise Refused(BAD_PARAMETER, f"{name} is absent or malformed")
        if most_bytes is not None and len(value.encode()) > most_bytes:
            raise Refused(too_long, f"{name} is too long")
        return value

    return check


def list_of(
    check_item: Check,
    *,
    least: int = 0,
    most: int | None = None,
    in_query: bool = False,
    malformed: int = BAD_PARAMETER,
    too_many: int = BAD_PARAMETER,
) -> Check:
    """Check a list of so many items. In a query, one value is a list too."""

    def check(name: str, value: Any) -> list[Any]:
        items = [value] if in_query and isinstance(value, str) else value
        if not isinstance(items, list) or len(items) < least:
            raise Refused(malformed, f"{name} is absent or malformed")
        if most is not None and len(items) > most:
            raise Refused(too_many, f"{name} has more than {most} items")
        return [check_item(name, item) for item in items]

    return check


def number(low: int, high: int) -> Check:
    """Check a whole number of JSON, neither a text nor a flag."""

    def check(name: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise Refused(BAD_PARAMETER, f"{name} must be a whole number from {low} to {high}")
        return value

    return check


def digits(low: int, high: int) -> Check:
    """Check a whole number of a query, which is spelled in digits."""
    in_range = number(low, high)

    def check(name: str, value: Any) -> int:
        return int(in_range(name, int(value) if is_number(value) else value))

    return check


def is_number(value: Any) -> bool:
    """Tell whether a value of a query is digits, and not more than a number has."""
    return isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= MOST_DIGITS


def object_of(**fields: Check) -> Check:
    """Check an object, whose fields are all optional."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Refused(BAD_PARAMETER, f"{name} is absent or malformed")
        return {field: fields[field](f"{name}.{field}", item) for field, item in value.items() if field in fields}

    return check


def truth(name: str, value: Any) -> bool:
    """Check a flag of a query."""
    if not isinstance(value, str) or value.lower() not in {"true", "false"}:
        raise Refused(BAD_PARAMETER, f"{name} must be true or false")
    return value.lower() == "true"


def ip(name: str, value: Any) -> str:
    """Check an address of the Internet Protocol."""
    try:
        ipaddress.ip_address(A_TEXT(name, value))
    except ValueError:
        raise Refused(BAD_PARAMETER, f"{name} is not an IP address") from None
    return str(value)


A_TEXT = text()
#: 0 or 1, of JSON and of a query.
FLAG, QUERY_FLAG = number(0, 1), digits(0, 1)
TEXTS = list_of(A_TEXT)
#: The lengths that the client SDK documents. https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
ROOM_ID, USER_ID, STREAM_ID = text(128), text(64), text(256)
