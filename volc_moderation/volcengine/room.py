"""The actions of Volcengine RTC on the users in a room: list them, remove or ban them, and ban their streams.

Sources: https://www.volcengine.com/docs/6348/69828 and the pages named at each action.
"""

from typing import Literal

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import FROM_CLIENT, Quota, Result, api_version, wire_name
from volc_moderation.errors import InvalidActionError
from volc_moderation.volcengine.actions import Acknowledgement, APIVersion, VolcengineAction

#: In seconds. What 0 means is described at each action.
_VALID_BAN_DURATION = validators.optional(validators.integer(10, 604_800, off=0))

_OLDER_VERSION = "2020-12-01"

#: The versions of GetRoomOnlineUsers, as ``APIVersion`` for the others.
OnlineUsersVersion = Literal["2023-11-01", "2023-08-01"]


@frozen(kw_only=True)
class TokenLimit(Result):
    """The result of LimitTokenPrivilege. The limit ends at ``end_time``, in Unix seconds."""

    end_time: int
    message: str = ""


@frozen(kw_only=True)
class OnlineUsers(Result):
    """The result of GetRoomOnlineUsers. If there is no such room, only ``room_exists`` is set.

    Each list has at most 10000 users. The totals count all users.
    """

    room_exists: bool
    total_user: int = 0
    visible_user_list: list[str] = field(factory=list)
    total_invisible_user: int = 0
    invisible_user_list: list[str] = field(factory=list)


@frozen(kw_only=True)
class BanRoomUser(VolcengineAction[Acknowledgement]):
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

    quota = Quota(40)
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    ip: str | None = field(
        default=None, validator=validators.optional(validators.ip_address()), metadata=wire_name("IP")
    )
    forbidden_interval: int | None = field(default=None, validator=_VALID_BAN_DURATION)
    version: APIVersion | str | None = api_version("2023-11-01", _OLDER_VERSION)

    def __attrs_post_init__(self) -> None:
        if self.room_id is None and self.user_id is None and self.ip is None:
            raise InvalidActionError.of(self.name, "room_id", "a str, unless user_id or ip is given", None)
        if self.ip is not None and self.version == _OLDER_VERSION:
            raise InvalidActionError.of(self.name, "ip", f"None with version {_OLDER_VERSION}", self.ip)


@frozen(kw_only=True)
class UpdateBanRoomUserRule(VolcengineAction[Acknowledgement]):
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

    quota = Quota(20)
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    user_id: str | None = field(default=None, validator=validators.optional(validators.text()))
    forbidden_interval: int | None = field(default=None, validator=_VALID_BAN_DURATION)
    version: APIVersion | str | None = api_version("2023-11-01", _OLDER_VERSION)

    def __attrs_post_init__(self) -> None:
        if self.room_id is None and self.user_id is None:
            raise InvalidActionError.of(self.name, "room_id", "a str, unless user_id is given", None)


@frozen(kw_only=True)
class KickUser(VolcengineAction[Acknowledgement]):
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

    quota = Quota(60)
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str = field(validator=validators.text())
    version: str | None = api_version(_OLDER_VERSION)


@frozen(kw_only=True)
class DismissRoom(VolcengineAction[Acknowledgement]):
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

    quota = Quota(60)
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    version: str | None = api_version(_OLDER_VERSION)


@frozen(kw_only=True)
class BanUserStream(VolcengineAction[Acknowledgement]):
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

    quota = Quota(60)
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str = field(validator=validators.text())
    video: bool = field(default=True, validator=validators.boolean())
    audio: bool = field(default=True, validator=validators.boolean())
    forbidden_interval: int | None = field(
        default=None, validator=validators.optional(validators.integer(60, 259_200, off=0))
    )
    token: str | None = field(default=None, validator=validators.optional(validators.text()), repr=False)
    version: APIVersion | str | None = api_version("2023-11-01", _OLDER_VERSION)

    def __attrs_post_init__(self) -> None:
        _check_stream(self, self.name)
        if self.forbidden_interval is not None and self.version == _OLDER_VERSION:
            raise InvalidActionError.of(
                self.name, "forbidden_interval", f"None with version {_OLDER_VERSION}", self.forbidden_interval
            )


@frozen(kw_only=True)
class UnbanUserStream(VolcengineAction[Acknowledgement]):
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

    quota = Quota(60)
    result = Acknowledgement

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str = field(validator=validators.text())
    video: bool = field(default=True, validator=validators.boolean())
    audio: bool = field(default=True, validator=validators.boolean())
    token: str | None = field(default=None, validator=validators.optional(validators.text()), repr=False)
    version: APIVersion | str | None = api_version("2023-11-01", _OLDER_VERSION)

    def __attrs_post_init__(self) -> None:
        _check_stream(self, self.name)


def _check_stream(action: BanUserStream | UnbanUserStream, name: str) -> None:
    if not (action.video or action.audio):
        raise InvalidActionError.of(name, "video", "True, unless audio is", action.video)
    if action.token is None and action.version == _OLDER_VERSION:
        raise InvalidActionError.of(name, "token", f"a str with version {_OLDER_VERSION}", None)


@frozen(kw_only=True)
class LimitTokenPrivilege(VolcengineAction[TokenLimit]):
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

    quota = Quota(40)
    result = TokenLimit

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    user_id: str = field(validator=validators.text())
    token: str = field(validator=validators.text(), repr=False)
    forbidden_interval: int = field(validator=validators.integer(60, 259_200))
    version: str | None = api_version("2023-11-01")


@frozen(kw_only=True)
class GetRoomOnlineUsers(VolcengineAction[OnlineUsers]):
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

    method = "GET"
    quota = Quota(40)
    result = OnlineUsers

    app_id: str | None = field(default=None, validator=validators.optional(validators.text()), metadata=FROM_CLIENT)
    room_id: str = field(validator=validators.text())
    version: OnlineUsersVersion | str | None = api_version("2023-11-01", "2023-08-01")
