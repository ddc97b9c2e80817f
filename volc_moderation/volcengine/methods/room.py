"""The actions of ``room.py`` as methods: ``python -m tests.method_source`` has written this file."""

from volc_moderation.client import Client
from volc_moderation.volcengine.actions import Acknowledgement, APIVersion
from volc_moderation.volcengine.room import (
    BanRoomUser,
    BanUserStream,
    DismissRoom,
    GetRoomOnlineUsers,
    KickUser,
    LimitTokenPrivilege,
    OnlineUsers,
    OnlineUsersVersion,
    TokenLimit,
    UnbanUserStream,
    UpdateBanRoomUserRule,
)


class RoomMethods(Client):
    """One method for each action, which it creates and calls."""

    async def ban_room_user(
        self,
        *,
        app_id: str | None = None,
        room_id: str | None = None,
        user_id: str | None = None,
        ip: str | None = None,
        forbidden_interval: int | None = None,
        version: APIVersion | str | None = None,
    ) -> Acknowledgement:
        """Remove users from rooms, and ban them for a while. A ban also works before the users join.

        At least one of ``room_id``, ``user_id`` and ``ip`` is required. The room alone means everybody in it; room and
        user mean that user in that room; the user alone means that user in all rooms of the app; the IP means all users
        who connect from it. Repeating a ban that is in force is a success with a hint.

        Quota: 40 calls per second and account.

        https://www.volcengine.com/docs/6348/1188353 (2023-11-01). The older version is known from the vendor's Go SDK.

        :param app_id: the RTC app. None means the client's ``app_id``.
        :param room_id: the room; None means all rooms of the app.
        :param user_id: the user; None means all users.
        :param ip: a public IPv4 or IPv6 address; None means any. Only in 2023-11-01.
        :param forbidden_interval: seconds, 10 to 604800. With 0 or None, users are only removed and may come back. The
            vendor would change other numbers to the nearest allowed one; here they are refused as a mistake.
        :param version: ``2023-11-01`` or ``2020-12-01``. None means the client's ``version``, or else 2023-11-01.
        :returns: ``Acknowledgement``: the ban is in force. If it was before, ``message`` says so.
        :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
        """
        action = BanRoomUser(
            app_id=app_id,
            room_id=room_id,
            user_id=user_id,
            ip=ip,
            forbidden_interval=forbidden_interval,
            version=version,
        )
        return (await self.call(action)).result

    async def update_ban_room_user_rule(
        self,
        *,
        app_id: str | None = None,
        room_id: str | None = None,
        user_id: str | None = None,
        forbidden_interval: int | None = None,
        version: APIVersion | str | None = None,
    ) -> Acknowledgement:
        """Change the duration of a ban, or lift it.

        At least one of ``room_id`` and ``user_id`` is required. They identify the ban, as in ``BanRoomUser``.

        Quota: 20 calls per second and account.

        https://www.volcengine.com/docs/6348/1188351 (2023-11-01),
        https://www.volcengine.com/docs/6348/336039 (2020-12-01)

        :param app_id: the RTC app. None means the client's ``app_id``.
        :param room_id: the room of the ban; None means all rooms of the app.
        :param user_id: the user of the ban; None means all users.
        :param forbidden_interval: seconds, 10 to 604800; 0 lifts the ban. According to the pages, so does None.
        :param version: ``2023-11-01`` or ``2020-12-01``. None means the client's ``version``, or else 2023-11-01.
        :returns: ``Acknowledgement``: success, without data.
        :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
        """
        action = UpdateBanRoomUserRule(
            app_id=app_id, room_id=room_id, user_id=user_id, forbidden_interval=forbidden_interval, version=version
        )
        return (await self.call(action)).result

    async def kick_user(
        self, *, app_id: str | None = None, room_id: str, user_id: str, version: str | None = None
    ) -> Acknowledgement:
        """Remove a user from a room. The user may come back. The vendor's pages recommend ``BanRoomUser`` instead.

        The client SDK of the user reports error -1006.

        Quota: 60 calls per second and account.

        https://www.volcengine.com/docs/6348/357742

        :param app_id: the RTC app. None means the client's ``app_id``.
        :param room_id: the room.
        :param user_id: the user.
        :param version: ``2020-12-01``. None means the same.
        :returns: ``Acknowledgement``: success, without data.
        :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
        """
        action = KickUser(app_id=app_id, room_id=room_id, user_id=user_id, version=version)
        return (await self.call(action)).result

    async def dismiss_room(
        self, *, app_id: str | None = None, room_id: str, version: str | None = None
    ) -> Acknowledgement:
        """Remove everybody from a room. They may come back. The vendor's pages recommend ``BanRoomUser`` instead.

        The client SDKs of the users report error -1011.

        Quota: 60 calls per second and account.

        https://www.volcengine.com/docs/6348/357815

        :param app_id: the RTC app. None means the client's ``app_id``.
        :param room_id: the room.
        :param version: ``2020-12-01``. None means the same.
        :returns: ``Acknowledgement``: success, without data.
        :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
        """
        action = DismissRoom(app_id=app_id, room_id=room_id, version=version)
        return (await self.call(action)).result

    async def ban_user_stream(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str,
        video: bool = True,
        audio: bool = True,
        forbidden_interval: int | None = None,
        token: str | None = None,
        version: APIVersion | str | None = None,
    ) -> Acknowledgement:
        """Ban a user from publishing video, audio or both. The user stays in the room, and billing continues.

        The documents and the vendor's Go SDK disagree on what omitting ``video`` or ``audio`` means, so both are always
        sent: True bans the medium, False leaves it as it is.

        Quota: 60 calls per second and account.

        https://www.volcengine.com/docs/6348/1188354 (2023-11-01),
        https://www.volcengine.com/docs/6348/80654 (2020-12-01)

        :param app_id: the RTC app. None means the client's ``app_id``.
        :param room_id: the room.
        :param user_id: the user.
        :param video: whether to ban video; default True. At least one of video and audio must be True.
        :param audio: whether to ban audio; default True.
        :param forbidden_interval: seconds, 60 to 259200. With 0 or None, the ban lasts until ``UnbanUserStream``. Only
            in 2023-11-01. (A line of the page allows 10 and more; its table does not.)
        :param token: the user's token. Version 2020-12-01 requires it.
        :param version: ``2023-11-01`` or ``2020-12-01``. None means the client's ``version``, or else 2023-11-01.
        :returns: ``Acknowledgement``: success, without data.
        :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
        """
        action = BanUserStream(
            app_id=app_id,
            room_id=room_id,
            user_id=user_id,
            video=video,
            audio=audio,
            forbidden_interval=forbidden_interval,
            token=token,
            version=version,
        )
        return (await self.call(action)).result

    async def unban_user_stream(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str,
        video: bool = True,
        audio: bool = True,
        token: str | None = None,
        version: APIVersion | str | None = None,
    ) -> Acknowledgement:
        """Allow a user to publish again.

        ``video`` and ``audio`` are always sent: True allows the medium, False leaves it as it is.

        Quota: 60 calls per second and account.

        https://www.volcengine.com/docs/6348/1188356 (2023-11-01). The older version is known from the vendor's Go SDK.

        :param app_id: the RTC app. None means the client's ``app_id``.
        :param room_id: the room.
        :param user_id: the user.
        :param video: whether to allow video; default True. At least one of video and audio must be True.
        :param audio: whether to allow audio; default True.
        :param token: the user's token. Version 2020-12-01 requires it.
        :param version: ``2023-11-01`` or ``2020-12-01``. None means the client's ``version``, or else 2023-11-01.
        :returns: ``Acknowledgement``: success, without data.
        :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
        """
        action = UnbanUserStream(
            app_id=app_id, room_id=room_id, user_id=user_id, video=video, audio=audio, token=token, version=version
        )
        return (await self.call(action)).result

    async def limit_token_privilege(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str,
        token: str,
        forbidden_interval: int,
        version: str | None = None,
    ) -> TokenLimit:
        """Revoke the right to publish from a user's token for a while.

        The check of tokens on publishing must be switched on in the console.

        Quota: 40 calls per second and account.

        https://www.volcengine.com/docs/6348/1188352

        :param app_id: the RTC app. None means the client's ``app_id``.
        :param room_id: the room.
        :param user_id: the user.
        :param token: the user's token.
        :param forbidden_interval: seconds, 60 to 259200.
        :param version: ``2023-11-01``. None means the same.
        :returns: ``TokenLimit``: ``end_time`` is when the limit ends, in Unix seconds.
        :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
        """
        action = LimitTokenPrivilege(
            app_id=app_id,
            room_id=room_id,
            user_id=user_id,
            token=token,
            forbidden_interval=forbidden_interval,
            version=version,
        )
        return (await self.call(action)).result

    async def get_room_online_users(
        self, *, app_id: str | None = None, room_id: str, version: OnlineUsersVersion | str | None = None
    ) -> OnlineUsers:
        """List the users in a room.

        Quota: 40 calls per second and account.

        https://www.volcengine.com/docs/6348/1188355 (2023-11-01),
        https://www.volcengine.com/docs/6348/1150847 (2023-08-01)

        :param app_id: the RTC app. None means the client's ``app_id``.
        :param room_id: the room.
        :param version: ``2023-11-01`` or ``2023-08-01``. None means the client's ``version``, or else 2023-11-01.
        :returns: ``OnlineUsers``: at most 10000 ids of visible and of invisible users, and the totals. ``room_exists``
            is False if there is no such room.
        :raises NotFoundError: ``InvalidParameter.NotExistAppId``: there is no such app.
        """
        action = GetRoomOnlineUsers(app_id=app_id, room_id=room_id, version=version)
        return (await self.call(action)).result
