"""The actions of Volcengine RTC that send a message from the server, such as a warning, to the people in a room.

They are known from the vendor's Go SDK, in two versions with the same fields; no quota is published. A message that is
sent twice arrives twice, so none is repeated after an outcome that nobody knows. A yes means that the vendor took the
message, not that it arrived.
"""

import binascii
from base64 import b64decode
from collections.abc import Sequence

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import api_version
from volc_moderation.errors import InvalidActionError
from volc_moderation.volcengine.actions import UNPUBLISHED, Acknowledgement, VolcengineAction


@frozen(kw_only=True)
class MessageAction(VolcengineAction[Acknowledgement]):
    """The base of the messages.

    :param from_: names the server (``From``); must not be a real user.
    :param message: a text, or base64 if ``binary``.
    :param binary: whether the message is bytes, in base64.
    """

    quota = UNPUBLISHED
    repeatable = False

    app_id: str = field(validator=validators.text())
    from_: str = field(validator=validators.identifier())
    message: str = field(validator=validators.message())
    binary: bool = field(default=False, validator=validators.flag())
    version: str = api_version("2023-07-20", "2020-12-01")

    def __attrs_post_init__(self) -> None:
        if not self.binary:
            return
        try:
            b64decode(self.message.encode(), validate=True)
        except binascii.Error:
            raise InvalidActionError.of(self.name, "message", "base64, because binary is True", self.message) from None


@frozen(kw_only=True)
class SendUnicast(MessageAction):
    """Send a message to a user, in whatever room. See ``MessageAction`` for the other parameters."""

    result = Acknowledgement

    to: str = field(validator=validators.text())


@frozen(kw_only=True)
class SendRoomUnicast(MessageAction):
    """Send a message to a user in a room. See ``MessageAction`` for the other parameters."""

    result = Acknowledgement

    room_id: str = field(validator=validators.text())
    to: str = field(validator=validators.text())


@frozen(kw_only=True)
class BatchSendRoomUnicast(MessageAction):
    """Send a message to several users in a room. See ``MessageAction`` for the other parameters.

    :param to: at least one user. How many are too many is not published.
    """

    result = Acknowledgement

    room_id: str = field(validator=validators.text())
    to: Sequence[str] = field(converter=validators.as_tuple, validator=validators.list_of(validators.text(), least=1))


@frozen(kw_only=True)
class SendBroadcast(MessageAction):
    """Send a message to everybody in a room. See ``MessageAction`` for the other parameters."""

    result = Acknowledgement

    room_id: str = field(validator=validators.text())
