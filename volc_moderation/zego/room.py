"""The actions of ZEGO on the users in a room: list them, send them messages, and remove them.

Results with a list keep unreadable items unchanged in ``unreadable``. If every item is unreadable, the call raises
``DecodeError``.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

import enum
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota, unreadable_items, wire_name
from volc_moderation.zego.actions import VALID_ROOM_ID, VALID_USER_ID, Done, Family, ZegoAction

R = TypeVar("R")


class RoomAction(ZegoAction[R], Generic[R]):
    """The base of the actions on rooms. All of them are GET requests."""

    __slots__ = ()

    method = "GET"
    family: ClassVar[Family] = "room"


# Results


class UserStatus(enum.IntEnum):
    """Whether a user is in a room."""

    OUT = 0
    IN = 1


@frozen(kw_only=True)
class UserState:
    """Whether a user is in a room. ``login_time`` is in Unix milliseconds. ZEGO says to ignore ``user_role``."""

    user_id: str
    status: UserStatus | int
    login_time: int | None = None
    user_role: int | None = None


@frozen(kw_only=True)
class UserStates:
    """The result of DescribeUsers."""

    user_status_list: list[UserState] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class User:
    """A user in a room. The moderation service may be listed too, as an administrator (``user_role`` 4)."""

    user_id: str
    user_name: str = ""
    user_role: int | None = None


@frozen(kw_only=True)
class UserList:
    """A page of the users in a room. Pass ``marker`` to get the next page; it is empty on the last page."""

    marker: str = ""
    user_list: list[User] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class UserCount:
    """The number of users in a room. A running moderation counts as one user, in both numbers."""

    room_id: str
    user_count: int
    admin_user_count: int = 0


@frozen(kw_only=True)
class UserCounts:
    """The result of DescribeUserNum."""

    user_count_list: list[UserCount] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class SimpleStream:
    """A stream and the user who publishes it. ``create_time`` is in Unix milliseconds."""

    stream_id: str
    user_id: str
    user_name: str = ""
    create_time: int | None = None
    stream_number_id: int | None = None


@frozen(kw_only=True)
class SimpleStreamList:
    """The result of DescribeSimpleStreamList."""

    stream_list: list[SimpleStream] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class FailedUser:
    """A user whom a message did not reach. ``code`` is the reason: 50003 means offline."""

    uid: str
    code: int


@frozen(kw_only=True)
class CommandOutcome:
    """The result of SendCustomCommand: the users whom the message did not reach."""

    fail_users: list[FailedUser] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


# Remove users


@frozen(kw_only=True)
class KickoutUser(RoomAction[Done]):
    """Remove users from a room. They stop publishing and playing, and may come back.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/kick-out-user

    :param user_id: 1 to 5 ids of at most 64 bytes.
    :param custom_reason: the reason that their clients receive, at most 256 bytes.
    """

    quota = Quota(50)
    result = Done

    room_id: str = field(validator=VALID_ROOM_ID)
    user_id: Sequence[str] = field(
        converter=validators.as_tuple,
        validator=validators.list_of(VALID_USER_ID, least=1, most=5),
        metadata=wire_name("UserId[]"),
    )
    custom_reason: str | None = field(default=None, validator=validators.optional(validators.free_text(most_bytes=256)))


@frozen(kw_only=True)
class CloseRoom(RoomAction[Done]):
    """Remove everybody from a room.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/close

    :param custom_reason: the reason that their clients receive, at most 256 bytes.
    :param room_close_callback: whether the room's callback reports the closing; default False.
    """

    quota = Quota(1)
    #: The room does not exist any more.
    already_done_codes = frozenset({104, 5018, 5024, 50001})
    result = Done

    room_id: str = field(validator=VALID_ROOM_ID)
    custom_reason: str | None = field(default=None, validator=validators.optional(validators.free_text(most_bytes=256)))
    room_close_callback: bool | None = field(default=None, validator=validators.optional(validators.boolean()))


# List users and streams


@frozen(kw_only=True)
class DescribeUsers(RoomAction[UserStates]):
    """Check whether users are in a room.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-users

    :param user_id: 1 to 10 ids of at most 64 bytes.
    """

    quota = Quota(10)
    result = UserStates

    room_id: str = field(validator=VALID_ROOM_ID)
    user_id: Sequence[str] = field(
        converter=validators.as_tuple,
        validator=validators.list_of(VALID_USER_ID, least=1, most=10),
        metadata=wire_name("UserId[]"),
    )


@frozen(kw_only=True)
class DescribeUserList(RoomAction[UserList]):
    """List one page of the users in a room. ``client.iter_user_list`` iterates over all pages.

    A room that does not exist has no users. ZEGO allows one call per second and room.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-user-list

    :param mode: 0 lists users in the order of their login (default), 1 in reverse order.
    :param limit: the number of users on a page, 0 to 200; default 200.
    :param marker: the ``marker`` of the previous page; None for the first page.
    """

    quota = Quota(200)
    room_quota = Quota(1)
    result = UserList

    room_id: str = field(validator=VALID_ROOM_ID)
    mode: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    limit: int | None = field(default=None, validator=validators.optional(validators.integer(0, 200)))
    marker: str | None = field(default=None, validator=validators.optional(validators.text()))


@frozen(kw_only=True)
class DescribeUserNum(RoomAction[UserCounts]):
    """Count the users in rooms.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-user-num

    :param room_id: 1 to 10 ids of at most 128 bytes.
    """

    quota = Quota(10)
    test_quota = Quota(1)
    result = UserCounts

    room_id: Sequence[str] = field(
        converter=validators.as_tuple,
        validator=validators.list_of(VALID_ROOM_ID, least=1, most=10),
        metadata=wire_name("RoomId[]"),
    )


@frozen(kw_only=True)
class DescribeSimpleStreamList(RoomAction[SimpleStreamList]):
    """List the streams of a room and the users who publish them. ZEGO allows one call per ten seconds and room.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-simple-stream-list
    """

    quota = Quota(50)
    room_quota = Quota(1, window=10.0)
    result = SimpleStreamList

    room_id: str = field(validator=VALID_ROOM_ID)


@frozen(kw_only=True)
class SendCustomCommand(RoomAction[CommandOutcome]):
    """Send a message to users in a room, such as a warning.

    The client does not repeat a call whose outcome is unknown, except after the codes for which ZEGO advises a retry,
    such as 50013. In that case, the message may arrive twice.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/send-custom-command

    :param from_user_id: the sender, at most 64 bytes.
    :param message_content: the message, at most 1024 bytes.
    :param to_user_id: 1 to 10 ids of at most 64 bytes; None sends to everybody in the room.
    """

    quota = Quota(100)
    test_quota = Quota(10)
    repeatable = False
    result = CommandOutcome

    room_id: str = field(validator=VALID_ROOM_ID)
    from_user_id: str = field(validator=VALID_USER_ID)
    message_content: str = field(validator=validators.free_text(most_bytes=1024))
    to_user_id: Sequence[str] | None = field(
        default=None,
        converter=validators.as_tuple,
        validator=validators.optional(validators.list_of(VALID_USER_ID, least=1, most=10)),
        metadata=wire_name("ToUserId[]"),
    )
