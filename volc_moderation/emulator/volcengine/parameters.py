"""Volcengine's refusals, and the reading of what an action is given."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any


class Refused(Exception):  # noqa: N818 - it does not leave the emulator
    """A refusal with a code of the vendor."""

    def __init__(self, code: str, message: str, status: int = 400, number: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.number = number


BOTH_VERSIONS = frozenset({"2020-12-01", "2023-11-01"})

_ID = re.compile(r"[a-zA-Z0-9_@.-]{1,128}")
_CODES = {
    "AppId": "InvalidParameter.IllegalAppId",
    "RoomId": "InvalidParameter.IllegalRoomID",
    "From": "InvalidParameter.IllegalFrom",
    "To": "InvalidParameter.IllegalTo",
}

Room = tuple[str, str]


def room_of(given: Mapping[str, Any]) -> Room:
    """Read the app and the room."""
    return id_of(given, "AppId"), id_of(given, "RoomId")


def id_of(given: Mapping[str, Any], name: str) -> str:
    """Read an id that must be there."""
    return checked_id(given.get(name), name)


def optional_id(given: Mapping[str, Any], name: str) -> str | None:
    """Read an id that may be absent."""
    return None if given.get(name) is None else id_of(given, name)


def checked_id(value: object, name: str) -> str:
    """Check an id."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Refused(_CODES.get(name, "InvalidParameter"), f"{name} is absent or malformed")
    return value


def text_of(given: Mapping[str, Any], name: str) -> str:
    """Read a text that must be there."""
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise Refused("InvalidParameter", f"{name} is absent")
    return value


def number_of(given: Mapping[str, Any], name: str, default: int = 0) -> int:
    """Read a whole number."""
    value = given.get(name, default)
    if type(value) is not int:
        raise Refused("InvalidParameter", f"{name} must be a number")
    return value


def flag_of(given: Mapping[str, Any], name: str) -> bool:
    """Read a flag, False by default."""
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise Refused("InvalidParameter", f"{name} must be a flag")
    return value


def message_of(given: Mapping[str, Any]) -> str:
    """Read a message, which is base64 if it is binary."""
    message = text_of(given, "Message")
    if flag_of(given, "Binary"):
        try:
            base64.b64decode(message.encode(), validate=True)
        except binascii.Error:
            raise Refused("InvalidParameter", "Message is not base64") from None
    return message
