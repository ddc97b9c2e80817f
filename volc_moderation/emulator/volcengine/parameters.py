"""Volcengine's refusals, and the checks of what an action is given.

OPEN: whether a number out of its range is refused or brought into it, where no page says. Here it is refused, with the
code InvalidParameter. A number is a number of JSON: not a text, not a flag, and 2.0 is not 2.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from volc_moderation.emulator.vendor import Check


class Refused(Exception):  # noqa: N818 - it does not leave the emulator
    """A refusal with a code of the vendor."""

    def __init__(self, code: str, message: str, status: int = 400, number: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.number = number


BOTH_VERSIONS = frozenset({"2020-12-01", "2023-11-01"})

#: https://www.volcengine.com/docs/6348/69828
_ID = re.compile(r"[a-zA-Z0-9_@.-]{1,128}")
#: https://www.volcengine.com/docs/6348/70426
_CODES = {
    "AppId": "InvalidParameter.IllegalAppId",
    "RoomId": "InvalidParameter.IllegalRoomID",
    "From": "InvalidParameter.IllegalFrom",
    "To": "InvalidParameter.IllegalTo",
}

Given = Mapping[str, Any]
Room = tuple[str, str]


def room_of(given: Given) -> Room:
    """Return the app and the room."""
    return given["AppId"], given["RoomId"]


def an_id(name: str, value: Any) -> str:
    """Check an id."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _refused(name, "is absent or malformed")
    return value


def text(*, least: int = 1, most: int | None = None) -> Check:
    """Check a text of so many characters."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) < least:
            raise _refused(name, "is absent or not a text")
        if most is not None and len(value) > most:
            raise _refused(name, f"has more than {most} characters")
        return value

    return check


def number(low: int, high: int, *others: int) -> Check:
    """Check a whole number that is in the range or one of the others."""

    def check(name: str, value: Any) -> int:
        if type(value) is not int or (not low <= value <= high and value not in others):
            raise _refused(name, f"must be a whole number from {low} to {high}")
        return value

    return check


def flag(name: str, value: Any) -> bool:
    """Check a flag."""
    if not isinstance(value, bool):
        raise _refused(name, "must be a flag")
    return value


def ip(name: str, value: Any) -> str:
    """Check an address of the Internet Protocol."""
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004 - of a number, ipaddress would make an address
        ipaddress.ip_address(value)
    except ValueError:
        raise _refused(name, "is not an IP address") from None
    return value


def list_of(check_item: Check, *, least: int = 0, most: int | None = None) -> Check:
    """Check a list of so many items."""

    def check(name: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) < least:
            raise _refused(name, "is absent or not a list")
        if most is not None and len(value) > most:
            raise _refused(name, f"has more than {most} items")
        return [check_item(name, item) for item in value]

    return check


def object_of(**fields: Check) -> Check:
    """Check an object, whose fields are all optional."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _refused(name, "must be an object")
        return {field: fields[field](f"{name}.{field}", item) for field, item in value.items() if field in fields}

    return check


def message_of(given: Given) -> str:
    """Return a message, which is base64 if it is binary."""
    message: str = given["Message"]
    if given["Binary"]:
        try:
            base64.b64decode(message.encode(), validate=True)
        except binascii.Error:
            raise _refused("Message", "is not base64") from None
    return message


def _refused(name: str, problem: str) -> Refused:
    return Refused(_CODES.get(name, "InvalidParameter"), f"{name} {problem}")
