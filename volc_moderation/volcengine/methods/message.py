"""The actions of ``message.py`` as methods: ``python -m tests.method_source`` has written this file."""

from collections.abc import Sequence

from volc_moderation.client import Client
from volc_moderation.volcengine.actions import Acknowledgement
from volc_moderation.volcengine.message import (
    BatchSendRoomUnicast,
    MessageVersion,
    SendBroadcast,
    SendRoomUnicast,
    SendUnicast,
)


class MessageMethods(Client):
    """One method for each action, which it creates and calls."""

    async def send_unicast(
        self,
        *,
        app_id: str | None = None,
        from_: str,
        message: str,
        binary: bool = False,
        version: MessageVersion | str | None = None,
        to: str,
    ) -> Acknowledgement:
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
        action = SendUnicast(app_id=app_id, from_=from_, message=message, binary=binary, version=version, to=to)
        return (await self.call(action)).result

    async def send_room_unicast(
        self,
        *,
        app_id: str | None = None,
        from_: str,
        message: str,
        binary: bool = False,
        version: MessageVersion | str | None = None,
        room_id: str,
        to: str,
    ) -> Acknowledgement:
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
        action = SendRoomUnicast(
            app_id=app_id, from_=from_, message=message, binary=binary, version=version, room_id=room_id, to=to
        )
        return (await self.call(action)).result

    async def batch_send_room_unicast(
        self,
        *,
        app_id: str | None = None,
        from_: str,
        message: str,
        binary: bool = False,
        version: MessageVersion | str | None = None,
        room_id: str,
        to: Sequence[str],
    ) -> Acknowledgement:
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
        action = BatchSendRoomUnicast(
            app_id=app_id, from_=from_, message=message, binary=binary, version=version, room_id=room_id, to=to
        )
        return (await self.call(action)).result

    async def send_broadcast(
        self,
        *,
        app_id: str | None = None,
        from_: str,
        message: str,
        binary: bool = False,
        version: MessageVersion | str | None = None,
        room_id: str,
    ) -> Acknowledgement:
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
        action = SendBroadcast(
            app_id=app_id, from_=from_, message=message, binary=binary, version=version, room_id=room_id
        )
        return (await self.call(action)).result
