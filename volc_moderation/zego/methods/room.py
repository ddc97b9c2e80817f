"""The actions of ``room.py`` as methods: ``python -m tests.method_source`` has written this file."""

from collections.abc import Sequence

from volc_moderation.client import Client
from volc_moderation.zego.actions import Done
from volc_moderation.zego.room import CloseRoom, CommandOutcome, KickoutUser, SendCustomCommand


class RoomMethods(Client):
    """One method for each action, which it creates and calls."""

    async def kickout_user(self, *, room_id: str, user_id: Sequence[str], custom_reason: str | None = None) -> Done:
        """Remove users from a room. They stop publishing and playing, and may come back.

        Quota: 50 calls per second and AppId.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/kick-out-user

        :param room_id: the room, at most 128 bytes.
        :param user_id: 1 to 5 users, each at most 64 bytes.
        :param custom_reason: the reason that their clients receive, at most 256 bytes; None sends none.
        :returns: ``Done``: success, without data.
        :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty; 105, 50002 or 50003: no
            such user, or the user is offline.
        """
        action = KickoutUser(room_id=room_id, user_id=user_id, custom_reason=custom_reason)
        return (await self.call(action)).result

    async def close_room(
        self, *, room_id: str, custom_reason: str | None = None, room_close_callback: bool | None = None
    ) -> Done:
        """Remove everybody from a room.

        Quota: 1 call per second and AppId.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/close

        :param room_id: the room, at most 128 bytes.
        :param custom_reason: the reason that their clients receive, at most 256 bytes; None sends none.
        :param room_close_callback: whether the room's callback reports the closing; None means False.
        :returns: ``Done``: success, without data.
        :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty. After an attempt whose
            response was lost, this counts as success.
        """
        action = CloseRoom(room_id=room_id, custom_reason=custom_reason, room_close_callback=room_close_callback)
        return (await self.call(action)).result

    async def send_custom_command(
        self, *, room_id: str, from_user_id: str, message_content: str, to_user_id: Sequence[str] | None = None
    ) -> CommandOutcome:
        """Send a message to users in a room, such as a warning.

        The client does not repeat a call whose outcome is unknown, except after the codes for which ZEGO advises a
        retry, such as 50013. In that case, the message may arrive twice.

        Quota: 100 calls per second and AppId; 10 in the test environment.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/send-custom-command

        :param room_id: the room, at most 128 bytes.
        :param from_user_id: the sender, at most 64 bytes.
        :param message_content: the message, at most 1024 bytes.
        :param to_user_id: 1 to 10 users, each at most 64 bytes; None sends to everybody in the room.
        :returns: ``CommandOutcome``: ``fail_users`` has the users whom the message did not reach.
        :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty.
        :raises TemporaryError: 50013: ZEGO failed to send the message; the client tries again.
        :raises InvalidRequestError: 1008: the message is empty; 50011: too many users; 50012: the message is too long.
        """
        action = SendCustomCommand(
            room_id=room_id, from_user_id=from_user_id, message_content=message_content, to_user_id=to_user_id
        )
        return (await self.call(action)).result
