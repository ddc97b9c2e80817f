"""The actions of Volcengine RTC that send a message from the server, such as a warning, to the users in a room.

They are known from the vendor's Go SDK, in two versions with the same fields. No quota is published. A message that is
sent twice arrives twice, so the client does not repeat a call whose outcome is unknown. Success means that the vendor
accepted the message, not that it arrived.
"""

import binascii
from base64 import b64decode
from collections.abc import Sequence
from typing import Literal

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import FROM_CLIENT, api_version
from volc_moderation.errors import InvalidActionError
from volc_moderation.volcengine.actions import UNPUBLISHED_QUOTA, Acknowledgement, VolcengineAction

#: The versions of messages, as ``APIVersion`` for the other actions.
MessageVersion = Literal["2023-07-20", "2020-12-01"]


@frozen(kw_only=True)
class MessageAction(VolcengineAction[Acknowledgement]):
    """The base of the actions that send a message."""

    quota = UNPUBLISHED_QUOTA
    repeatable = False

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    from_: str = field(validator=validators.identifier())
    message: str = field(validator=validators.free_text())
    binary: bool = field(default=False, validator=validators.boolean())
    version: MessageVersion | str | None = api_version("2023-07-20", "2020-12-01")

    def __attrs_post_init__(self) -> None:
        if not self.binary:
            return
        try:
            b64decode(self.message.encode(), validate=True)
        except binascii.Error:
            raise InvalidActionError.of(self.name, "message", "base64, because binary is True", self.message) from None


@frozen(kw_only=True)
class SendUnicast(MessageAction):
    """Send a message to a user, whichever room the user is in.

    A message that is sent twice arrives twice, so the client does not repeat a call whose outcome is unknown.

    Quota: not published; it is learned, from 20 calls per second and account on.

    Known from the vendor's Go SDK: https://github.com/volcengine/volc-sdk-golang

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param from_: the sender (``From``): 1 to 128 letters, digits, ``_``, ``@``, ``-`` and ``.``. It must not be a
        real user.
    :param message: text, or base64 if ``binary`` is True. The vendor does not publish a maximum length.
    :param binary: whether the message is binary, encoded in base64; default False.
    :param version: ``2023-07-20`` or ``2020-12-01``. None means the client's ``version``, or else 2023-07-20.
    :param to: the id of the user.
    :returns: ``Acknowledgement``: the vendor accepted the message. It need not have arrived.
    :raises InvalidRequestError: ``InvalidParameter.SizeOverLimit``: the message is too large;
        ``InvalidParameter.IllegalFrom``: the sender is malformed; ``InvalidParameter.IllegalTo``: the receiver is.
    :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
    """

    result = Acknowledgement

    to: str = field(validator=validators.text())


@frozen(kw_only=True)
class SendRoomUnicast(MessageAction):
    """Send a message to a user in a room.

    A message that is sent twice arrives twice, so the client does not repeat a call whose outcome is unknown.

    Quota: not published; it is learned, from 20 calls per second and account on.

    Known from the vendor's Go SDK: https://github.com/volcengine/volc-sdk-golang

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param from_: the sender (``From``): 1 to 128 letters, digits, ``_``, ``@``, ``-`` and ``.``. It must not be a
        real user.
    :param message: text, or base64 if ``binary`` is True. The vendor does not publish a maximum length.
    :param binary: whether the message is binary, encoded in base64; default False.
    :param version: ``2023-07-20`` or ``2020-12-01``. None means the client's ``version``, or else 2023-07-20.
    :param room_id: the room.
    :param to: the id of the user.
    :returns: ``Acknowledgement``: the vendor accepted the message. It need not have arrived.
    :raises InvalidRequestError: ``InvalidParameter.SizeOverLimit``: the message is too large;
        ``InvalidParameter.IllegalFrom``: the sender is malformed; ``InvalidParameter.IllegalTo``: the receiver is.
    :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
    """

    result = Acknowledgement

    room_id: str = field(validator=validators.text())
    to: str = field(validator=validators.text())


@frozen(kw_only=True)
class BatchSendRoomUnicast(MessageAction):
    """Send a message to several users in a room.

    A message that is sent twice arrives twice, so the client does not repeat a call whose outcome is unknown.

    Quota: not published; it is learned, from 20 calls per second and account on.

    Known from the vendor's Go SDK: https://github.com/volcengine/volc-sdk-golang

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param from_: the sender (``From``): 1 to 128 letters, digits, ``_``, ``@``, ``-`` and ``.``. It must not be a
        real user.
    :param message: text, or base64 if ``binary`` is True. The vendor does not publish a maximum length.
    :param binary: whether the message is binary, encoded in base64; default False.
    :param version: ``2023-07-20`` or ``2020-12-01``. None means the client's ``version``, or else 2023-07-20.
    :param room_id: the room.
    :param to: the ids of at least 1 user. The vendor does not publish a maximum.
    :returns: ``Acknowledgement``: the vendor accepted the message. It need not have arrived.
    :raises InvalidRequestError: ``InvalidParameter.UserCountOverLimit``: too many users;
        ``InvalidParameter.SizeOverLimit``: the message is too large;
        ``InvalidParameter.IllegalFrom``: the sender is malformed; ``InvalidParameter.IllegalTo``: the receiver is.
    :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
    """

    result = Acknowledgement

    room_id: str = field(validator=validators.text())
    to: Sequence[str] = field(converter=validators.as_tuple, validator=validators.list_of(validators.text(), least=1))


@frozen(kw_only=True)
class SendBroadcast(MessageAction):
    """Send a message to everybody in a room.

    A message that is sent twice arrives twice, so the client does not repeat a call whose outcome is unknown.

    Quota: not published; it is learned, from 20 calls per second and account on.

    Known from the vendor's Go SDK: https://github.com/volcengine/volc-sdk-golang

    :param app_id: the RTC app. None means the client's ``app_id``.
    :param from_: the sender (``From``): 1 to 128 letters, digits, ``_``, ``@``, ``-`` and ``.``. It must not be a
        real user.
    :param message: text, or base64 if ``binary`` is True. The vendor does not publish a maximum length.
    :param binary: whether the message is binary, encoded in base64; default False.
    :param version: ``2023-07-20`` or ``2020-12-01``. None means the client's ``version``, or else 2023-07-20.
    :param room_id: the room.
    :returns: ``Acknowledgement``: the vendor accepted the message. It need not have arrived.
    :raises InvalidRequestError: ``InvalidParameter.SizeOverLimit``: the message is too large;
        ``InvalidParameter.IllegalFrom``: the sender is malformed.
    :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
    """

    result = Acknowledgement

    room_id: str = field(validator=validators.text())
