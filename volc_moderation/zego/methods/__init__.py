"""Every action of ZEGO as a method of the client. It creates the action, calls it, and returns its result."""

from collections.abc import AsyncIterator

from volc_moderation.zego.methods.media_service import MediaServiceMethods
from volc_moderation.zego.methods.moderation import ModerationMethods
from volc_moderation.zego.methods.room import RoomMethods
from volc_moderation.zego.methods.rules import RuleMethods
from volc_moderation.zego.methods.users import UserMethods
from volc_moderation.zego.users import LoginOrder, User


class ZegoMethods(ModerationMethods, MediaServiceMethods, RoomMethods, UserMethods, RuleMethods):
    """One method for each action, with its docstring. Errors that all calls have in common are those of ``call``."""

    async def iter_user_list(
        self, *, room_id: str, mode: LoginOrder | int | None = None, limit: int | None = None
    ) -> AsyncIterator[User]:
        """Iterate over all users in a room, with one call of DescribeUserList for every ``limit`` users.

        Users who join or leave in the meantime may be missed. A room that does not exist has no users.

        Quota: 200 calls per second and AppId, and 1 call per second and room: 200 users a second.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-user-list

        :param room_id: the room, at most 128 bytes.
        :param mode: ``LoginOrder``, or its number: 0 lists users in the order of their login (default), 1 in reverse
            order.
        :param limit: the number of users on a page, 0 to 200; None means 200.
        :returns: each ``User``, for ``async for``.
        :raises DecodeError: no item of a page can be read.
        """
        marker: str | None = None
        while True:
            page = await self.describe_user_list(room_id=room_id, mode=mode, limit=limit, marker=marker)
            for user in page.user_list:
                yield user
            # An empty page, or one that returns the marker it was requested with, would never end.
            if not page.marker or not page.user_list or page.marker == marker:
                return
            marker = page.marker
