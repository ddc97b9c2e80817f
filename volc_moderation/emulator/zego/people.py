"""ZEGO's actions on people and streams. What the documents leave open is marked OPEN.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

from collections import deque
from typing import Any

from volc_moderation.emulator.rooms import Member, Rooms
from volc_moderation.emulator.vendor import Rule
from volc_moderation.emulator.zego.parameters import (
    BAD_PARAMETER,
    NO_ROOM,
    Given,
    Refused,
    list_of,
    number_of,
    optional_text,
    text_of,
)

TOO_MANY_USERS = 50011
OFFLINE = 50003
STREAM_UNKNOWN, STREAM_CLOSED = 41004, 41006

#: Seconds in which ``Sequence`` must grow.
SEQUENCE_WINDOW = 10


class People:
    """The rooms of one app, and the streams in them."""

    def __init__(self) -> None:
        self.rooms = Rooms()
        self.messages: deque[Given] = deque(maxlen=10_000)
        self._barred: set[str] = set()
        #: When a stream was published, and when it ended, in Unix milliseconds.
        self._streams: dict[str, tuple[int, int | None]] = {}
        self._sequences: dict[str, tuple[int, float]] = {}

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file, all GET."""

        def get(quota: int, perform: Any, room_quota: tuple[int, float] | None = None) -> Rule:
            return Rule(method="GET", quota=quota, room_quota=room_quota, perform=perform)

        def stream(quota: int, perform: Any) -> Rule:
            return Rule(method="GET", quota=quota, family="media-service", perform=perform)

        return {
            "KickoutUser": get(50, self._kickout_user),
            "CloseRoom": get(1, self._close_room),
            "DescribeUsers": get(10, self._describe_users),
            "DescribeUserList": get(200, self._describe_user_list, (1, 1.0)),
            "DescribeUserNum": get(10, self._describe_user_num),
            "DescribeSimpleStreamList": get(50, self._describe_simple_stream_list, (1, 10.0)),
            "SendCustomCommand": get(100, self._send_custom_command),
            "ForbidRTCStream": stream(20, self._forbid),
            "ForbidRTCStreams": stream(20, self._forbid),
            "ResumeRTCStream": stream(20, self._resume),
            "ResumeRTCStreams": stream(20, self._resume),
            "DescribeRTCStreamState": stream(40, self._describe_rtc_stream_state),
        }

    def join(self, room: str, member: Member, now: float) -> None:
        """Let a user in, who publishes unless the stream is barred."""
        if member.stream_id in self._barred:
            member.stream_id = None
        self.rooms.enter((room,), member)
        if member.stream_id is not None:
            self._streams[member.stream_id] = (int(now * 1000), None)

    def remove(self, room: str, user: str, now: float) -> None:
        """Take a user out, whose stream ends."""
        member = self.rooms.remove((room,), user)
        if member is not None and member.stream_id is not None:
            self._end(member.stream_id, now)

    def _end(self, stream: str, now: float) -> None:
        began, _ = self._streams.get(stream, (int(now * 1000), None))
        self._streams[stream] = (began, int(now * 1000))

    def _members(self, room: str) -> list[Member]:
        if (room,) not in self.rooms:
            raise Refused(NO_ROOM, "the room does not exist")
        return self.rooms.members((room,))

    # Rooms

    def _kickout_user(self, given: Given, now: float, _: str) -> None:
        room = text_of(given, "RoomId", most_bytes=128)
        users = list_of(given, "UserId", 5, too_many=TOO_MANY_USERS)
        optional_text(given, "CustomReason", most_bytes=256)
        self._members(room)
        # OPEN: a user who is not in the room.
        for user in users:
            self.remove(room, user, now)

    def _close_room(self, given: Given, now: float, _: str) -> None:
        room = text_of(given, "RoomId", most_bytes=128)
        optional_text(given, "CustomReason", most_bytes=256)
        if (room,) not in self.rooms:
            raise Refused(5018, "the room was destroyed or does not exist")
        for member in self.rooms.members((room,)):
            self.remove(room, member.user_id, now)

    def _describe_users(self, given: Given, _: float, __: str) -> Any:
        there = {member.user_id: member for member in self._members(text_of(given, "RoomId"))}
        users = list_of(given, "UserId", 10)
        return {
            "UserStatusList": [
                {"UserId": user, "Status": 1, "LoginTime": int(there[user].joined * 1000), "UserRole": 1}
                if user in there
                else {"UserId": user, "Status": 0, "LoginTime": 0, "UserRole": 0}
                for user in users
            ]
        }

    def _describe_user_list(self, given: Given, _: float, __: str) -> Any:
        members = self.rooms.members((text_of(given, "RoomId"),))
        if number_of(given, "Mode", 0, 1, default=0) == 1:
            members.reverse()
        limit = number_of(given, "Limit", 0, 200, default=200)
        after = optional_text(given, "Marker")
        ids = [member.user_id for member in members]
        # OPEN: what a marker is. Here it is the last user of the page; one that nobody has got ends the list.
        first = 0 if after is None else ids.index(after) + 1 if after in ids else len(ids)
        page = ids[first : first + limit]
        return {
            "Marker": page[-1] if page and first + limit < len(ids) else "",
            "UserList": [{"UserId": user, "UserName": user, "UserRole": 1} for user in page],
        }

    def _describe_user_num(self, given: Given, _: float, __: str) -> Any:
        counts = [(room, len(self.rooms.members((room,)))) for room in list_of(given, "RoomId", 10)]
        return {"UserCountList": [{"RoomId": room, "UserCount": n, "AdminUserCount": 0} for room, n in counts]}

    def _describe_simple_stream_list(self, given: Given, _: float, __: str) -> Any:
        streams = [
            {
                "StreamId": member.stream_id,
                "UserId": member.user_id,
                "UserName": member.user_id,
                "CreateTime": self._streams[member.stream_id][0],
                "StreamNumberId": number,
            }
            for number, member in enumerate(self.rooms.members((text_of(given, "RoomId"),)), 1)
            if member.stream_id is not None
        ]
        return {"StreamList": streams}

    def _send_custom_command(self, given: Given, _: float, __: str) -> Any:
        text_of(given, "FromUserId")
        text_of(given, "MessageContent", most_bytes=1024)
        there = {member.user_id for member in self._members(text_of(given, "RoomId"))}
        has_receivers = "ToUserId[]" in given or "ToUserId" in given
        users = list_of(given, "ToUserId", 10, too_many=TOO_MANY_USERS) if has_receivers else []
        self.messages.append(given)
        return {"FailUsers": [{"Uid": user, "Code": OFFLINE} for user in users if user not in there]}

    # Streams: https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/

    def _ordered(self, given: Given, streams: list[str], now: float) -> None:
        sequence = text_of(given, "Sequence")
        # OPEN: what a sequence may be besides a number, and the code for one that does not grow.
        if not (sequence.isascii() and sequence.isdecimal()):
            raise Refused(BAD_PARAMETER, "Sequence must be a number")
        for stream in streams:
            before, when = self._sequences.get(stream, (-1, 0.0))
            if int(sequence) <= before and now - when < SEQUENCE_WINDOW:
                raise Refused(BAD_PARAMETER, "Sequence did not grow")
        self._sequences |= {stream: (int(sequence), now) for stream in streams}

    def _named(self, given: Given, now: float) -> list[str]:
        is_one = isinstance(given.get("StreamId"), str)
        streams = [text_of(given, "StreamId", most_bytes=256)] if is_one else list_of(given, "StreamId", 20)
        self._ordered(given, streams, now)
        return streams

    def _forbid(self, given: Given, now: float, _: str) -> None:
        # An unknown stream is barred, and a success, say the pages of the plural. OPEN: the singular.
        streams = self._named(given, now)
        self._barred.update(streams)
        for _room, member in self.rooms.everybody():
            if member.stream_id in streams:
                self._end(member.stream_id, now)
                member.stream_id = None

    def _resume(self, given: Given, now: float, _: str) -> None:
        # Who was stopped publishes again by joining again.
        self._barred.difference_update(self._named(given, now))

    def _describe_rtc_stream_state(self, given: Given, now: float, _: str) -> Any:
        (stream,) = self._named(given, now)
        if stream not in self._streams:
            raise Refused(STREAM_UNKNOWN, "there is no such stream")
        began, ended = self._streams[stream]
        if ended is not None:
            raise Refused(STREAM_CLOSED, "the stream is closed")
        return {"create_time": str(began), "close_time": ""}
