"""Volcengine's actions on people: bans, kicks, streams, messages. What the documents leave open is marked OPEN."""

import math
from collections import deque
from typing import Any

from volc_moderation.emulator.memory import MOST, Swept
from volc_moderation.emulator.rooms import Member, Rooms
from volc_moderation.emulator.vendor import Fields, Medium, Rule
from volc_moderation.emulator.volcengine.parameters import (
    BOTH_VERSIONS,
    Given,
    Refused,
    Room,
    an_id,
    flag,
    ip,
    list_of,
    message_of,
    number,
    room_of,
    text,
)

OLD = "2020-12-01"
MESSAGE_VERSIONS = frozenset({OLD, "2023-07-20"})
#: OPEN: no number is published for messages.
UNPUBLISHED = 20

ROOM = {"AppId": an_id, "RoomId": an_id}
USER = {**ROOM, "UserId": an_id}
#: What is out of the range, from 10 seconds to a week, is brought into it. https://www.volcengine.com/docs/6348/1188353
BAN = number(0, 2**63 - 1)
LEAST_BAN, MOST_BAN = 10, 604_800
#: Seconds that a stream may be banned for. https://www.volcengine.com/docs/6348/1188354
LEAST_SILENCE, MOST_SILENCE = 60, 259_200
#: OPEN: what leaving ``Video`` or ``Audio`` out means; documents and Go SDK disagree. Here it stays as it is.
STREAM = {"Video": flag, "Audio": flag, "Token": text()}
#: OPEN: how long a message may be, and how many may get it.
WORDS = {"From": an_id, "Message": text(), "Binary": flag}

#: App, room, user and address of a ban; None stands for any.
_Ban = tuple[str, str | None, str | None, str | None]


class People:
    """The rooms of one account, and what keeps users out of them or silent in them."""

    def __init__(self) -> None:
        #: Where somebody came or went since ``take_changed``.
        self._changed: dict[Room, None] = {}
        self.rooms = Rooms(self._note_change)
        self.messages: deque[Given] = deque(maxlen=MOST)
        self._bans: Swept[_Ban, float] = Swept(_has_passed)  # until when
        self._silenced: Swept[tuple[Room, str, Medium], float] = Swept(_has_passed)  # until when

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file. Quotas: https://www.volcengine.com/docs/6348/69828."""

        def both(quota: int, takes: Fields, perform: Any) -> Rule:
            return Rule(quota=quota, versions=BOTH_VERSIONS, takes=takes, perform=perform)

        def old(quota: int, takes: Fields, perform: Any) -> Rule:
            return Rule(quota=quota, versions=frozenset({OLD}), takes=takes, perform=perform)

        def message(perform: Any, **to: Any) -> Rule:
            takes = Fields(required={"AppId": an_id, **to, **WORDS})
            return Rule(quota=UNPUBLISHED, versions=MESSAGE_VERSIONS, takes=takes, perform=perform)

        whom = {"RoomId": an_id, "UserId": an_id, "ForbiddenInterval": BAN}
        ban = Fields(required={"AppId": an_id}, optional={**whom, "IP": ip})
        silence = number(LEAST_SILENCE, MOST_SILENCE, 0)
        return {
            "BanRoomUser": both(40, ban, self._ban_room_user),
            "UpdateBanRoomUserRule": both(
                20, Fields(required={"AppId": an_id}, optional=whom), self._update_ban_room_user_rule
            ),
            "KickUser": old(60, Fields(required=USER), self._kick_user),
            "DismissRoom": old(60, Fields(required=ROOM), self._dismiss_room),
            "BanUserStream": both(
                60, Fields(required=USER, optional={**STREAM, "ForbiddenInterval": silence}), self._ban_user_stream
            ),
            "UnbanUserStream": both(60, Fields(required=USER, optional=STREAM), self._unban_user_stream),
            "LimitTokenPrivilege": Rule(
                quota=40,
                versions=frozenset({"2023-11-01"}),
                takes=Fields(
                    required={**USER, "Token": text(), "ForbiddenInterval": number(LEAST_SILENCE, MOST_SILENCE)}
                ),
                perform=self._limit_token_privilege,
            ),
            "GetRoomOnlineUsers": Rule(
                method="GET",
                quota=40,
                versions=frozenset({"2023-08-01", "2023-11-01"}),
                takes=Fields(required=ROOM),
                perform=self._get_room_online_users,
            ),
            "SendUnicast": message(self._take, To=an_id),
            "SendRoomUnicast": message(self._take, RoomId=an_id, To=an_id),
            "BatchSendRoomUnicast": message(self._take, RoomId=an_id, To=list_of(an_id, least=1)),
            "SendBroadcast": message(self._take, RoomId=an_id),
        }

    def take_changed(self) -> list[Room]:
        """Return the rooms where somebody came or went since."""
        changed, self._changed = self._changed, {}
        return list(changed)

    def _note_change(self, room: tuple[str, ...]) -> None:
        app, name = room
        self._changed[app, name] = None

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
        was_in_force = self._bans.get(ban, 0) > now
        self._set_ban(ban, given, now)
        self._remove(ban)
        return _yes(version, "Room has been banned" if was_in_force else "success")

    def _update_ban_room_user_rule(self, given: Given, now: float, _: str) -> Any:
        ban = self._ban_of(given)
        # OPEN: a rule that is not there. Here lifting it is a success, and so is setting it.
        if not self._set_ban(ban, given, now):
            self._bans.pop(ban, None)
        return {"Message": "success"}

    def _set_ban(self, ban: _Ban, given: Given, now: float) -> bool:
        """Set a ban if it is for any time."""
        interval = given.get("ForbiddenInterval", 0)
        if interval:
            self._bans.put(ban, now + min(max(interval, LEAST_BAN), MOST_BAN), now)
        return bool(interval)

    def _ban_of(self, given: Given) -> _Ban:
        app, room, user, address = given["AppId"], given.get("RoomId"), given.get("UserId"), given.get("IP")
        if room is None and user is None and address is None:
            raise Refused("InvalidParameter", "one of RoomId, UserId and IP is needed")
        # OPEN: an address together with a room or a user. Here the address stands alone.
        return (app, room, user, None) if address is None else (app, None, None, address)

    def _remove(self, ban: _Ban) -> None:
        app, room, user, address = ban
        for where, member in self.rooms.everybody():
            is_there = where[0] == app and room in (None, where[1])
            if is_there and user in (None, member.user_id) and address in (None, member.ip):
                self.rooms.remove(where, member.user_id)

    def _kick_user(self, given: Given, _: float, version: str) -> Any:
        # OPEN: a user who is not there.
        self.rooms.remove(room_of(given), given["UserId"])
        return _yes(version)

    def _dismiss_room(self, given: Given, _: float, version: str) -> Any:
        # OPEN: a room that does not exist.
        self.rooms.clear(room_of(given))
        return _yes(version)

    # Streams: https://www.volcengine.com/docs/6348/1188354

    def _ban_user_stream(self, given: Given, now: float, version: str) -> Any:
        interval = given.get("ForbiddenInterval", 0)
        self._silence(given, now + interval if interval else math.inf, now, version)
        return _yes(version)

    def _unban_user_stream(self, given: Given, now: float, version: str) -> Any:
        self._silence(given, 0, now, version)
        return _yes(version)

    def _silence(self, given: Given, until: float, now: float, version: str) -> None:
        if version == OLD and "Token" not in given:
            raise Refused("InvalidParameter", "Token is absent")
        media: list[tuple[str, Medium]] = [("Video", "video"), ("Audio", "audio")]
        for name, medium in media:
            if given.get(name):
                self._silenced.put((room_of(given), given["UserId"], medium), until, now)

    def _limit_token_privilege(self, given: Given, now: float, _: str) -> Any:
        until = now + given["ForbiddenInterval"]
        media: tuple[Medium, ...] = ("audio", "video")
        for medium in media:
            self._silenced.put((room_of(given), given["UserId"], medium), until, now)
        return {"Message": "Success", "EndTime": int(until)}

    def _get_room_online_users(self, given: Given, _: float, __: str) -> Any:
        room = room_of(given)
        if room not in self.rooms:
            return {"RoomExists": False}
        users = [member.user_id for member in self.rooms.members(room)]
        visible = {"TotalUser": len(users), "VisibleUserList": users}
        return {"RoomExists": True, **visible, "TotalInvisibleUser": 0, "InvisibleUserList": []}

    def _take(self, given: Given, _: float, __: str) -> Any:
        """Take a message. It is not delivered: there is nobody to read it."""
        message_of(given)
        self.messages.append(given)
        return {"Message": "Success"}


def _yes(version: str, message: str = "success") -> dict[str, str]:
    """Answer yes: the older version spells it in lower case, says the vendor's Go SDK."""
    return {"message" if version == OLD else "Message": message}


def _has_passed(until: float, now: float) -> bool:
    return until <= now
