"""The actions of ZEGO that list the users and streams of a room.

Results with a list keep unreadable items unchanged in ``unreadable``. If every item is unreadable, the call raises
``DecodeError``.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

import enum
from collections.abc import Sequence

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota, Result, unreadable_items, wire_name
from volc_moderation.zego.actions import VALID_ROOM_ID, VALID_USER_ID
from volc_moderation.zego.room import RoomAction


class LoginOrder(enum.IntEnum):
    """The order in which users are listed."""

    #: Those who logged in first.
    FIRST = 0
    #: Those who logged in last.
    LAST = 1


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
class UserStates(Result):
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
class UserList(Result):
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
class UserCounts(Result):
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
class SimpleStreamList(Result):
    """The result of DescribeSimpleStreamList."""

    stream_list: list[SimpleStream] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class DescribeUsers(RoomAction[UserStates]):
    """Check whether users are in a room.

    Quota: 10 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-users

    :param room_id: the room, at most 128 bytes.
    :param user_id: 1 to 10 users, each at most 64 bytes.
    :returns: ``UserStates``: ``user_status_list`` has the ``status`` of each user.
    :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty.
    :raises DecodeError: no item of the list can be read.
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

    A room that does not exist has no users.

    Quota: 200 calls per second and AppId, and 1 call per second and room.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-user-list

    :param room_id: the room, at most 128 bytes.
    :param mode: ``LoginOrder``, or its number: 0 lists users in the order of their login (default), 1 in reverse
        order.
    :param limit: the number of users on a page, 0 to 200; None means 200.
    :param marker: the ``marker`` of the previous page; None for the first page.
    :returns: ``UserList``: ``user_list`` has the users; ``marker`` is empty on the last page.
    :raises DecodeError: no item of the list can be read.
    """

    quota = Quota(200)
    room_quota = Quota(1)
    result = UserList

    room_id: str = field(validator=VALID_ROOM_ID)
    mode: LoginOrder | int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    limit: int | None = field(default=None, validator=validators.optional(validators.integer(0, 200)))
    marker: str | None = field(default=None, validator=validators.optional(validators.text()))


@frozen(kw_only=True)
class DescribeUserNum(RoomAction[UserCounts]):
    """Count the users in rooms.

    Quota: 10 calls per second and AppId; 1 in the test environment.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-user-num

    :param room_id: 1 to 10 rooms, each at most 128 bytes.
    :returns: ``UserCounts``: ``user_count_list`` has the number of users of each room.
    :raises DecodeError: no item of the list can be read.
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
    """List the streams of a room and the users who publish them.

    Quota: 50 calls per second and AppId, and 1 call in 10 s and room.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-simple-stream-list

    :param room_id: the room, at most 128 bytes.
    :returns: ``SimpleStreamList``: ``stream_list`` has each stream with its user.
    :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty.
    :raises TemporaryError: 154: ZEGO failed to get the list; the client tries again.
    :raises DecodeError: no item of the list can be read.
    """

    quota = Quota(50)
    room_quota = Quota(1, window=10.0)
    result = SimpleStreamList

    room_id: str = field(validator=VALID_ROOM_ID)
