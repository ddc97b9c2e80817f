"""Volcengine's actions on people: bans, kicks, streams, messages. What the documents leave open is marked OPEN."""

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from volc_moderation.emulator.rooms import Member, Rooms
from volc_moderation.emulator.vendor import Medium, Rule
from volc_moderation.emulator.volcengine.parameters import (
    BOTH_VERSIONS,
    Refused,
    Room,
    checked_id,
    flag_of,
    id_of,
    message_of,
    number_of,
    optional_id,
    room_of,
    text_of,
)

Given = Mapping[str, Any]

OLD = "2020-12-01"
MESSAGE_VERSIONS = frozenset({OLD, "2023-07-20"})
#: OPEN: no number is published for messages.
UNPUBLISHED = 20

#: App, room, user and address of a ban; None stands for any.
_Ban = tuple[str, str | None, str | None, str | None]


class People:
    """The rooms of one account, and what keeps users out of them or silent in them."""

    def __init__(self) -> None:
        self.rooms = Rooms()
        self.messages: deque[Given] = deque(maxlen=10_000)
        self._bans: dict[_Ban, float] = {}  # until when
        self._silenced: dict[tuple[Room, str, Medium], float] = {}  # until when

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file. Quotas: https://www.volcengine.com/docs/6348/69828."""

        def both(quota: int, perform: Any) -> Rule:
            return Rule(quota=quota, versions=BOTH_VERSIONS, perform=perform)

        def old(quota: int, perform: Any) -> Rule:
            return Rule(quota=quota, versions=frozenset({OLD}), perform=perform)

        def message(perform: Any) -> Rule:
            return Rule(quota=UNPUBLISHED, versions=MESSAGE_VERSIONS, perform=perform)

        return {
            "BanRoomUser": both(40, self._ban_room_user),
            "UpdateBanRoomUserRule": both(20, self._update_ban_room_user_rule),
            "KickUser": old(60, self._kick_user),
            "DismissRoom": old(60, self._dismiss_room),
            "BanUserStream": both(60, self._ban_user_stream),
            "UnbanUserStream": both(60, self._unban_user_stream),
            "LimitTokenPrivilege": Rule(
                quota=40, versions=frozenset({"2023-11-01"}), perform=self._limit_token_privilege
            ),
            "GetRoomOnlineUsers": Rule(
                method="GET",
                quota=40,
                versions=frozenset({"2023-08-01", "2023-11-01"}),
                perform=self._get_room_online_users,
            ),
            "SendUnicast": message(self._send_unicast),
            "SendRoomUnicast": message(self._send_room_unicast),
            "BatchSendRoomUnicast": message(self._batch_send_room_unicast),
            "SendBroadcast": message(self._send_broadcast),
        }

    def join(self, room: Room, member: Member, now: float) -> bool:
        """Let a user in unless a ban keeps the user out."""
        app, name = room
        bans: list[_Ban] = [
            (app, name, None, None),
            (app, name, member.user_id, None),
            (app, None, member.user_id, None),
            (app, None, None, member.ip),
        ]
        if any(self._bans.get(ban, 0) > now for ban in bans):
            return False
        self.rooms.enter(room, member)
        return True

    def publishes(self, room: Room, user: str, medium: Medium, now: float) -> bool:
        """Tell whether a user who is in a room may publish a medium."""
        return self._silenced.get((room, user, medium), 0) <= now

    # Bans: https://www.volcengine.com/docs/6348/1188353

    def _ban_room_user(self, given: Given, now: float, version: str) -> Any:
        ban = self._ban_of(given)
        interval = number_of(given, "ForbiddenInterval")
        was_in_force = self._bans.get(ban, 0) > now
        if interval:
            # What is out of the range is brought into it.
            self._bans[ban] = now + min(max(interval, 10), 604_800)
        self._remove(ban)
        return _yes(version, "Room has been banned" if was_in_force else "success")

    def _update_ban_room_user_rule(self, given: Given, now: float, _: str) -> Any:
        ban = self._ban_of({name: value for name, value in given.items() if name != "IP"})
        interval = number_of(given, "ForbiddenInterval")
        # OPEN: a rule that is not there. Here lifting it is a success, and so is setting it.
        if interval:
            self._bans[ban] = now + min(max(interval, 10), 604_800)
        else:
            self._bans.pop(ban, None)
        return {"Message": "success"}

    def _ban_of(self, given: Given) -> _Ban:
        app, room, user = id_of(given, "AppId"), optional_id(given, "RoomId"), optional_id(given, "UserId")
        ip = given.get("IP")
        if room is None and user is None and ip is None:
            raise Refused("InvalidParameter", "one of RoomId, UserId and IP is needed")
        # OPEN: an address together with a room or a user. Here the address stands alone.
        return (app, room, user, None) if ip is None else (app, None, None, str(ip))

    def _remove(self, ban: _Ban) -> None:
        app, room, user, ip = ban
        for where, member in self.rooms.everybody():
            is_there = where[0] == app and room in (None, where[1])
            if is_there and user in (None, member.user_id) and ip in (None, member.ip):
                self.rooms.remove(where, member.user_id)

    def _kick_user(self, given: Given, _: float, version: str) -> Any:
        # OPEN: a user who is not there.
        self.rooms.remove(room_of(given), id_of(given, "UserId"))
        return _yes(version)

    def _dismiss_room(self, given: Given, _: float, version: str) -> Any:
        # OPEN: a room that does not exist.
        self.rooms.clear(room_of(given))
        return _yes(version)

    # Streams: https://www.volcengine.com/docs/6348/1188354

    def _ban_user_stream(self, given: Given, now: float, version: str) -> Any:
        interval = number_of(given, "ForbiddenInterval")
        if interval and not 60 <= interval <= 259_200:  # noqa: PLR2004 - the documented range
            raise Refused("InvalidParameter", "ForbiddenInterval is out of range")  # OPEN: or brought into it
        self._silence(given, now + interval if interval else math.inf, version)
        return _yes(version)

    def _unban_user_stream(self, given: Given, _: float, version: str) -> Any:
        self._silence(given, 0, version)
        return _yes(version)

    def _silence(self, given: Given, until: float, version: str) -> None:
        room, user = room_of(given), id_of(given, "UserId")
        if version == OLD:
            text_of(given, "Token")
        # OPEN: what leaving one out means; documents and Go SDK disagree. Here it stays as it is.
        if flag_of(given, "Video"):
            self._silenced[room, user, "video"] = until
        if flag_of(given, "Audio"):
            self._silenced[room, user, "audio"] = until

    def _limit_token_privilege(self, given: Given, now: float, _: str) -> Any:
        room, user = room_of(given), id_of(given, "UserId")
        text_of(given, "Token")
        interval = number_of(given, "ForbiddenInterval")
        if not 60 <= interval <= 259_200:  # noqa: PLR2004 - the documented range
            raise Refused("InvalidParameter", "ForbiddenInterval is out of range")
        media: tuple[Medium, ...] = ("audio", "video")
        self._silenced |= {(room, user, medium): now + interval for medium in media}
        return {"Message": "Success", "EndTime": int(now + interval)}

    def _get_room_online_users(self, given: Given, _: float, __: str) -> Any:
        room = room_of(given)
        if room not in self.rooms:
            return {"RoomExists": False}
        users = [member.user_id for member in self.rooms.members(room)]
        visible = {"TotalUser": len(users), "VisibleUserList": users}
        return {"RoomExists": True, **visible, "TotalInvisibleUser": 0, "InvisibleUserList": []}

    # Messages are taken, not delivered: there is nobody to read them.

    def _send_unicast(self, given: Given, _: float, __: str) -> Any:
        id_of(given, "AppId")
        id_of(given, "To")
        return self._take(given)

    def _send_room_unicast(self, given: Given, _: float, __: str) -> Any:
        room_of(given)
        id_of(given, "To")
        return self._take(given)

    def _batch_send_room_unicast(self, given: Given, _: float, __: str) -> Any:
        room_of(given)
        users = given.get("To")
        if not isinstance(users, list) or not users:
            raise Refused("InvalidParameter.IllegalTo", "To must be a list of users")
        for user in users:
            checked_id(user, "To")
        return self._take(given)

    def _send_broadcast(self, given: Given, _: float, __: str) -> Any:
        room_of(given)
        return self._take(given)

    def _take(self, given: Given) -> Any:
        id_of(given, "From")
        message_of(given)
        self.messages.append(given)
        return {"Message": "Success"}


def _yes(version: str, message: str = "success") -> dict[str, str]:
    """Answer yes: the older version spells it in lower case, says the vendor's Go SDK."""
    return {"message" if version == OLD else "Message": message}
