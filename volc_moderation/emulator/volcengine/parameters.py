"""Volcengine's refusals, and the checks of the parameters of its actions.

OPEN: whether a number out of its range is refused or clamped, where the page does not say. Here it is refused, with the
code InvalidParameter. A number must be a JSON integer: neither a string nor a boolean, and not 2.0.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from volc_moderation.emulator.vendor import Check


class Refused(Exception):  # noqa: N818 - it does not leave the emulator
    """A refusal with one of the vendor's codes.

    :param number: the ``CodeN`` of the vendor's gateway, if the gateway refuses the call.
    """

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

Parameters = Mapping[str, Any]
Room = tuple[str, str]


def room_of(parameters: Parameters) -> Room:
    """Return the ids of the app and the room."""
    return parameters["AppId"], parameters["RoomId"]


def identifier(name: str, value: Any) -> str:
    """Check an id of an app, a room, a user or a task."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise _refused(name, "is absent or malformed")
    return value


def text(*, min_length: int = 1, max_length: int | None = None) -> Check:
    """Return the check of a text with so many characters."""

    def check(name: str, value: Any) -> str:
        if not isinstance(value, str) or len(value) < min_length:
            raise _refused(name, "is absent or not a text")
        if max_length is not None and len(value) > max_length:
            raise _refused(name, f"has more than {max_length} characters")
        return value

    return check


def number(low: int, high: int, *others: int) -> Check:
    """Return the check of an integer in a range, or equal to one of ``others``."""

    def check(name: str, value: Any) -> int:
        if type(value) is not int or (not low <= value <= high and value not in others):
            raise _refused(name, f"must be an integer from {low} to {high}")
        return value

    return check


def boolean(name: str, value: Any) -> bool:
    """Check a JSON boolean."""
    if not isinstance(value, bool):
        raise _refused(name, "must be a boolean")
    return value


def ip(name: str, value: Any) -> str:
    """Check an IP address."""
    try:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004 - ipaddress would accept a number
        ipaddress.ip_address(value)
    except ValueError:
        raise _refused(name, "is not an IP address") from None
    return value


def list_of(check_item: Check, *, min_items: int = 0, max_items: int | None = None) -> Check:
    """Return the check of a list with so many items."""

    def check(name: str, value: Any) -> list[Any]:
        if not isinstance(value, list) or len(value) < min_items:
            raise _refused(name, "is absent or not a list")
        if max_items is not None and len(value) > max_items:
            raise _refused(name, f"has more than {max_items} items")
        return [check_item(name, item) for item in value]

    return check


def object_of(**fields: Check) -> Check:
    """Return the check of an object, all of whose fields are optional. Unknown fields are removed."""

    def check(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _refused(name, "must be an object")
        return {field: fields[field](f"{name}.{field}", item) for field, item in value.items() if field in fields}

    return check


def message_of(parameters: Parameters) -> str:
    """Return the message. A binary one must be base64."""
    message: str = parameters["Message"]
    if parameters["Binary"]:
        try:
            base64.b64decode(message.encode(), validate=True)
        except binascii.Error:
            raise _refused("Message", "is not base64") from None
    return message


def _refused(name: str, problem: str) -> Refused:
    return Refused(_CODES.get(name, "InvalidParameter"), f"{name} {problem}")
