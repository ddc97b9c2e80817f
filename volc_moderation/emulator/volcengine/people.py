"""Volcengine's actions on users: bans, kicks, streams, messages. OPEN marks what the documents do not specify."""

import math
from collections import deque
from typing import Any

from volc_moderation.emulator.memory import MAX_KEPT, ExpiringDict
from volc_moderation.emulator.rooms import Member, Rooms
from volc_moderation.emulator.vendor import ActionSpec, Fields, Medium
from volc_moderation.emulator.volcengine.parameters import (
    BOTH_VERSIONS,
    Parameters,
    Refused,
    Room,
    boolean,
    identifier,
    ip,
    list_of,
    message_of,
    number,
    room_of,
    text,
)

OLD_VERSION = "2020-12-01"
MESSAGE_VERSIONS = frozenset({OLD_VERSION, "2023-07-20"})
#: Calls per second. OPEN: no quota of messages is published.
ASSUMED_QUOTA = 20

ROOM = {"AppId": identifier, "RoomId": identifier}
USER = {**ROOM, "UserId": identifier}
#: Seconds. A longer or shorter ban is clamped: https://www.volcengine.com/docs/6348/1188353.
MIN_BAN = 10
MAX_BAN = 604_800
BAN_INTERVAL = number(0, 2**63 - 1)
#: Seconds that a stream may be banned for: https://www.volcengine.com/docs/6348/1188354.
MIN_MUTE = 60
MAX_MUTE = 259_200
#: OPEN: the default of ``Video`` and ``Audio``; the documents and the Go SDK disagree. Here a medium that is left out
#: does not change.
STREAM = {"Video": boolean, "Audio": boolean, "Token": text()}
#: OPEN: the greatest length of a message, and the greatest number of its recipients.
MESSAGE = {"From": identifier, "Message": text(), "Binary": boolean}

#: The app, room, user and IP address of a ban; None stands for any.
_Ban = tuple[str, str | None, str | None, str | None]


class People:
    """The rooms of one account, the users in them, and the bans of users and streams."""

    def __init__(self) -> None:
        #: The rooms that users have joined or left since the last ``pop_changed_rooms``.
        self._changed_rooms: dict[Room, None] = {}
        self.rooms = Rooms(self._on_change)
        self.messages: deque[Parameters] = deque(maxlen=MAX_KEPT)
        self._bans: ExpiringDict[_Ban, float] = ExpiringDict(_has_expired)  # the end, in Unix time
        self._muted: ExpiringDict[tuple[Room, str, Medium], float] = ExpiringDict(_has_expired)  # the end, in Unix time

    def actions(self) -> dict[str, ActionSpec]:
        """Return the actions of this module, by name. Quotas: https://www.volcengine.com/docs/6348/69828."""

        def both_versions(quota: int, fields: Fields, perform: Any) -> ActionSpec:
            return ActionSpec(quota=quota, versions=BOTH_VERSIONS, fields=fields, perform=perform)

        def old_version(quota: int, fields: Fields, perform: Any) -> ActionSpec:
            return ActionSpec(quota=quota, versions=frozenset({OLD_VERSION}), fields=fields, perform=perform)

        def message(perform: Any, **recipient: Any) -> ActionSpec:
            fields = Fields(required={"AppId": identifier, **recipient, **MESSAGE})
            return ActionSpec(quota=ASSUMED_QUOTA, versions=MESSAGE_VERSIONS, fields=fields, perform=perform)

        target = {"RoomId": identifier, "UserId": identifier, "ForbiddenInterval": BAN_INTERVAL}
        ban = Fields(required={"AppId": identifier}, optional={**target, "IP": ip})
        mute_time = number(MIN_MUTE, MAX_MUTE, 0)
        return {
            "BanRoomUser": both_versions(40, ban, self._ban_room_user),
            "UpdateBanRoomUserRule": both_versions(
                20, Fields(required={"AppId": identifier}, optional=target), self._update_ban_room_user_rule
            ),
            "KickUser": old_version(60, Fields(required=USER), self._kick_user),
            "DismissRoom": old_version(60, Fields(required=ROOM), self._dismiss_room),
            "BanUserStream": both_versions(
                60,
                Fields(required=USER, optional={**STREAM, "ForbiddenInterval": mute_time}),
                self._ban_user_stream,
            ),
            "UnbanUserStream": both_versions(60, Fields(required=USER, optional=STREAM), self._unban_user_stream),
            "LimitTokenPrivilege": ActionSpec(
                quota=40,
                versions=frozenset({"2023-11-01"}),
                fields=Fields(required={**USER, "Token": text(), "ForbiddenInterval": number(MIN_MUTE, MAX_MUTE)}),
                perform=self._limit_token_privilege,
            ),
            "GetRoomOnlineUsers": ActionSpec(
                method="GET",
                quota=40,
                versions=frozenset({"2023-08-01", "2023-11-01"}),
                fields=Fields(required=ROOM),
                perform=self._get_room_online_users,
            ),
            "SendUnicast": message(self._message, To=identifier),
            "SendRoomUnicast": message(self._message, RoomId=identifier, To=identifier),
            "BatchSendRoomUnicast": message(self._message, RoomId=identifier, To=list_of(identifier, min_items=1)),
            "SendBroadcast": message(self._message, RoomId=identifier),
        }

    def pop_changed_rooms(self) -> list[Room]:
        """Return the rooms that users have joined or left since the last time."""
        changed, self._changed_rooms = self._changed_rooms, {}
        return list(changed)

    def _on_change(self, room: tuple[str, ...]) -> None:
        app, name = room
        self._changed_rooms[app, name] = None

    def join(self, room: Room, member: Member, now: float) -> bool:
        """Let a user join, unless a ban keeps the user out."""
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
        """Return whether a user in a room may publish a medium."""
        return self._muted.get((room, user, medium), 0) <= now

    # Bans: https://www.volcengine.com/docs/6348/1188353

    def _ban_room_user(self, parameters: Parameters, now: float, version: str) -> Any:
        ban = self._ban_of(parameters)
        was_banned = self._bans.get(ban, 0) > now
        self._set_ban(ban, parameters, now)
        self._remove(ban)
        return _success(version, "Room has been banned" if was_banned else "success")

    def _update_ban_room_user_rule(self, parameters: Parameters, now: float, _: str) -> Any:
        ban = self._ban_of(parameters)
        # OPEN: the answer if there is no such ban. Here lifting it is a success, and so is setting it.
        if not self._set_ban(ban, parameters, now):
            self._bans.pop(ban, None)
        return {"Message": "success"}

    def _set_ban(self, ban: _Ban, parameters: Parameters, now: float) -> bool:
        """Set a ban, unless its interval is 0. Return whether it was set."""
        interval = parameters.get("ForbiddenInterval", 0)
        if interval:
            self._bans.put(ban, now + min(max(interval, MIN_BAN), MAX_BAN), now)
        return bool(interval)

    def _ban_of(self, parameters: Parameters) -> _Ban:
        app, room, user = parameters["AppId"], parameters.get("RoomId"), parameters.get("UserId")
        address = parameters.get("IP")
        if room is None and user is None and address is None:
            raise Refused("InvalidParameter", "one of RoomId, UserId and IP is needed")
        # OPEN: an address together with a room or a user. Here only the address counts.
        return (app, room, user, None) if address is None else (app, None, None, address)

    def _remove(self, ban: _Ban) -> None:
        app, room, user, address = ban
        for members_room, member in self.rooms.all_members():
            is_in_room = members_room[0] == app and room in (None, members_room[1])
            if is_in_room and user in (None, member.user_id) and address in (None, member.ip):
                self.rooms.remove(members_room, member.user_id)

    def _kick_user(self, parameters: Parameters, _: float, version: str) -> Any:
        # OPEN: the answer if the user is not in the room.
        self.rooms.remove(room_of(parameters), parameters["UserId"])
        return _success(version)

    def _dismiss_room(self, parameters: Parameters, _: float, version: str) -> Any:
        # OPEN: the answer if the room does not exist.
        self.rooms.clear(room_of(parameters))
        return _success(version)

    # Streams: https://www.volcengine.com/docs/6348/1188354

    def _ban_user_stream(self, parameters: Parameters, now: float, version: str) -> Any:
        interval = parameters.get("ForbiddenInterval", 0)
        self._mute(parameters, now + interval if interval else math.inf, now, version)
        return _success(version)

    def _unban_user_stream(self, parameters: Parameters, now: float, version: str) -> Any:
        self._mute(parameters, 0, now, version)
        return _success(version)

    def _mute(self, parameters: Parameters, until: float, now: float, version: str) -> None:
        if version == OLD_VERSION and "Token" not in parameters:
            raise Refused("InvalidParameter", "Token is absent")
        media: list[tuple[str, Medium]] = [("Video", "video"), ("Audio", "audio")]
        for name, medium in media:
            if parameters.get(name):
                self._muted.put((room_of(parameters), parameters["UserId"], medium), until, now)

    def _limit_token_privilege(self, parameters: Parameters, now: float, _: str) -> Any:
        until = now + parameters["ForbiddenInterval"]
        media: tuple[Medium, ...] = ("audio", "video")
        for medium in media:
            self._muted.put((room_of(parameters), parameters["UserId"], medium), until, now)
        return {"Message": "Success", "EndTime": int(until)}

    def _get_room_online_users(self, parameters: Parameters, _: float, __: str) -> Any:
        room = room_of(parameters)
        if room not in self.rooms:
            return {"RoomExists": False}
        users = [member.user_id for member in self.rooms.members(room)]
        visible = {"TotalUser": len(users), "VisibleUserList": users}
        return {"RoomExists": True, **visible, "TotalInvisibleUser": 0, "InvisibleUserList": []}

    def _message(self, parameters: Parameters, _: float, __: str) -> Any:
        """Accept a message. It is not delivered, because emulated users do not read."""
        message_of(parameters)
        self.messages.append(parameters)
        return {"Message": "Success"}


def _success(version: str, message: str = "success") -> dict[str, str]:
    """Return a success. The old version spells the field in lower case, according to the vendor's Go SDK."""
    return {"message" if version == OLD_VERSION else "Message": message}


def _has_expired(until: float, now: float) -> bool:
    return until <= now
