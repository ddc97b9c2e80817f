"""The actions of Volcengine RTC that send a message from the server, such as a warning, to the people in a room.

They are known from the vendor's Go SDK, in two versions with the same fields; no quota is published. A message that is
sent twice arrives twice, so none is repeated after an outcome that nobody knows. A yes means that the vendor took the
message, not that it arrived.
"""

import binascii
from base64 import b64decode
from collections.abc import Sequence

from attrs import field, frozen

from volc_moderation.action import api_version, as_tuple, flag, identifier, list_of, message
from volc_moderation.errors import InvalidActionError
from volc_moderation.volcengine.actions import UNPUBLISHED, Acknowledgement, VolcengineAction

_VERSIONS = ("2023-07-20", "2020-12-01")


@frozen(kw_only=True)
class SendUnicast(VolcengineAction[Acknowledgement]):
    """Send a message to a user, in whatever room.

    :param from_: names the server (``From``); must not be a real user.
    :param to: the user.
    :param message: a text, or base64 if ``binary``.
    :param binary: whether the message is bytes, in base64.
    """

    quota = UNPUBLISHED
    repeatable = False
    result = Acknowledgement

    app_id: str = field(validator=identifier())
    from_: str = field(validator=identifier())
    to: str = field(validator=identifier())
    message: str = field(validator=message())
    binary: bool = field(default=False, validator=flag())
    version: str = api_version(*_VERSIONS)

    def __attrs_post_init__(self) -> None:
        _check_base64(self)


@frozen(kw_only=True)
class SendRoomUnicast(VolcengineAction[Acknowledgement]):
    """Send a message to a user in a room.

    :param from_: names the server (``From``); must not be a real user.
    :param to: the user.
    :param message: a text, or base64 if ``binary``.
    :param binary: whether the message is bytes, in base64.
    """

    quota = UNPUBLISHED
    repeatable = False
    result = Acknowledgement

    app_id: str = field(validator=identifier())
    room_id: str = field(validator=identifier())
    from_: str = field(validator=identifier())
    to: str = field(validator=identifier())
    message: str = field(validator=message())
    binary: bool = field(default=False, validator=flag())
    version: str = api_version(*_VERSIONS)

    def __attrs_post_init__(self) -> None:
        _check_base64(self)


@frozen(kw_only=True)
class BatchSendRoomUnicast(VolcengineAction[Acknowledgement]):
    """Send a message to several users in a room, who are not told of each other.

    :param from_: names the server (``From``); must not be a real user.
    :param to: at least one user. How many are too many is not published.
    :param message: a text, or base64 if ``binary``.
    :param binary: whether the message is bytes, in base64.
    """

    quota = UNPUBLISHED
    repeatable = False
    result = Acknowledgement

    app_id: str = field(validator=identifier())
    room_id: str = field(validator=identifier())
    from_: str = field(validator=identifier())
    to: Sequence[str] = field(converter=as_tuple, validator=list_of(identifier(), least=1))
    message: str = field(validator=message())
    binary: bool = field(default=False, validator=flag())
    version: str = api_version(*_VERSIONS)

    def __attrs_post_init__(self) -> None:
        _check_base64(self)


@frozen(kw_only=True)
class SendBroadcast(VolcengineAction[Acknowledgement]):
    """Send a message to everybody in a room.

    :param from_: names the server (``From``); must not be a real user.
    :param message: a text, or base64 if ``binary``.
    :param binary: whether the message is bytes, in base64.
    """

    quota = UNPUBLISHED
    repeatable = False
    result = Acknowledgement

    app_id: str = field(validator=identifier())
    room_id: str = field(validator=identifier())
    from_: str = field(validator=identifier())
    message: str = field(validator=message())
    binary: bool = field(default=False, validator=flag())
    version: str = api_version(*_VERSIONS)

    def __attrs_post_init__(self) -> None:
        _check_base64(self)


def _check_base64(action: SendUnicast | SendRoomUnicast | BatchSendRoomUnicast | SendBroadcast) -> None:
    if not action.binary:
        return
    try:
        b64decode(action.message.encode(), validate=True)
    except binascii.Error:
        raise InvalidActionError.of(action.name, "message", "base64, because binary is True", action.message) from None
