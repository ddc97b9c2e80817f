"""The actions of ``users.py`` as methods: ``python -m tests.method_source`` has written this file."""

from collections.abc import Sequence

from volc_moderation.client import Client
from volc_moderation.zego.users import (
    DescribeSimpleStreamList,
    DescribeUserList,
    DescribeUserNum,
    DescribeUsers,
    LoginOrder,
    SimpleStreamList,
    UserCounts,
    UserList,
    UserStates,
)


class UserMethods(Client):
    """One method for each action, which it creates and calls."""

    async def describe_users(self, *, room_id: str, user_id: Sequence[str]) -> UserStates:
        """Check whether users are in a room.

        Quota: 10 calls per second and AppId.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-users

        :param room_id: the room, at most 128 bytes.
        :param user_id: 1 to 10 users, each at most 64 bytes.
        :returns: ``UserStates``: ``user_status_list`` has the ``status`` of each user.
        :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty.
        :raises DecodeError: no item of the list can be read.
        """
        action = DescribeUsers(room_id=room_id, user_id=user_id)
        return (await self.call(action)).result

    async def describe_user_list(
        self, *, room_id: str, mode: LoginOrder | int | None = None, limit: int | None = None, marker: str | None = None
    ) -> UserList:
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
        action = DescribeUserList(room_id=room_id, mode=mode, limit=limit, marker=marker)
        return (await self.call(action)).result

    async def describe_user_num(self, *, room_id: Sequence[str]) -> UserCounts:
        """Count the users in rooms.

        Quota: 10 calls per second and AppId; 1 in the test environment.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-user-num

        :param room_id: 1 to 10 rooms, each at most 128 bytes.
        :returns: ``UserCounts``: ``user_count_list`` has the number of users of each room.
        :raises DecodeError: no item of the list can be read.
        """
        action = DescribeUserNum(room_id=room_id)
        return (await self.call(action)).result

    async def describe_simple_stream_list(self, *, room_id: str) -> SimpleStreamList:
        """List the streams of a room and the users who publish them.

        Quota: 50 calls per second and AppId, and 1 call in 10 s and room.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-simple-stream-list

        :param room_id: the room, at most 128 bytes.
        :returns: ``SimpleStreamList``: ``stream_list`` has each stream with its user.
        :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty.
        :raises TemporaryError: 154: ZEGO failed to get the list; the client tries again.
        :raises DecodeError: no item of the list can be read.
        """
        action = DescribeSimpleStreamList(room_id=room_id)
        return (await self.call(action)).result
