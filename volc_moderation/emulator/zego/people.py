"""ZEGO's actions on people and streams. What the documents leave open is marked OPEN.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

from collections import deque
from typing import Any

from volc_moderation.emulator.memory import MOST, Ended, Swept
from volc_moderation.emulator.rooms import Member, Rooms
from volc_moderation.emulator.vendor import Check, Fields, Rule
from volc_moderation.emulator.zego.parameters import (
    A_TEXT,
    BAD_PARAMETER,
    NO_ROOM,
    QUERY_FLAG,
    ROOM_ID,
    USER_ID,
    Given,
    Refused,
    digits,
    is_number,
    list_of,
    text,
    truth,
)

#: https://doc-zh.zego.im/article/19702
TOO_MANY_USERS = 50011
TOO_LONG_A_MESSAGE = 50012
NO_MESSAGE = 1008
OFFLINE = 50003
STREAM_UNKNOWN, STREAM_CLOSED = 41004, 41006
#: Of the media service, where 3 would be a wrong signature.
BAD_LIST, BAD_STREAM = 30006, 30009

#: Seconds in which ``Sequence`` must grow.
SEQUENCE_WINDOW = 10

ROOM = {"RoomId": ROOM_ID}
PAGE = {"Mode": QUERY_FLAG, "Limit": digits(0, 200), "Marker": text(may_be_empty=True)}
WHY = {"CustomReason": text(256, may_be_empty=True)}
ONE_STREAM = {"StreamId": text(256, too_long=BAD_STREAM), "Sequence": A_TEXT}
#: Both generations of the pages spell this list ``StreamId[]``.
STREAMS = {
    "StreamId[]": list_of(
        text(256, too_long=BAD_STREAM), least=1, most=20, in_query=True, malformed=BAD_LIST, too_many=BAD_LIST
    ),
    "Sequence": A_TEXT,
}


class People:
    """The rooms of one app, and the streams in them. OPEN: whether the test environment has rooms of its own."""

    def __init__(self) -> None:
        self.rooms = Rooms()
        self.messages: deque[Given] = deque(maxlen=MOST)
        self._barred: set[str] = set()
        #: When a stream was published, and when it ended, in Unix milliseconds.
        self._streams: dict[str, tuple[int, int | None]] = {}
        self._closed: Ended[str] = Ended(self._streams.pop)
        #: The last of a stream, and when it came.
        self._sequences: Swept[str, tuple[int, float]] = Swept(lambda last, now: now - last[1] >= SEQUENCE_WINDOW)

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file, all GET. The quotas are those of each action's page."""

        def get(quota: int, required: Any, perform: Any, optional: Any = None, **more: Any) -> Rule:
            takes = Fields(required=required, optional=optional or {})
            return Rule(method="GET", quota=quota, takes=takes, perform=perform, **more)

        def stream(quota: int, test_quota: int, required: Any, perform: Any) -> Rule:
            takes = Fields(required=required, brackets=True)
            more: Any = {"family": "media-service", "test_quota": test_quota}
            return Rule(method="GET", quota=quota, takes=takes, perform=perform, **more)

        return {
            "KickoutUser": get(50, {**ROOM, "UserId[]": _up_to(5, USER_ID, TOO_MANY_USERS)}, self._kickout_user, WHY),
            "CloseRoom": get(1, ROOM, self._close_room, {**WHY, "RoomCloseCallback": truth}),
            "DescribeUsers": get(10, {**ROOM, "UserId[]": _up_to(10, USER_ID)}, self._describe_users),
            "DescribeUserList": get(200, ROOM, self._describe_user_list, PAGE, room_quota=(1, 1.0)),
            "DescribeUserNum": get(10, {"RoomId[]": _up_to(10, ROOM_ID)}, self._describe_user_num, test_quota=1),
            "DescribeSimpleStreamList": get(50, ROOM, self._describe_simple_stream_list, room_quota=(1, 10.0)),
            "SendCustomCommand": get(
                100,
                {**ROOM, "FromUserId": USER_ID, "MessageContent": _message},
                self._send_custom_command,
                {"ToUserId[]": _up_to(10, USER_ID, TOO_MANY_USERS)},
                test_quota=10,
            ),
            "ForbidRTCStream": stream(20, 5, ONE_STREAM, self._forbid),
            "ForbidRTCStreams": stream(20, 5, STREAMS, self._forbid),
            "ResumeRTCStream": stream(20, 5, ONE_STREAM, self._resume),
            "ResumeRTCStreams": stream(20, 5, STREAMS, self._resume),
            "DescribeRTCStreamState": stream(40, 10, ONE_STREAM, self._describe_rtc_stream_state),
        }

    def join(self, room: str, member: Member, now: float) -> None:
        """Let a user in, who publishes unless the stream is barred."""
        if member.stream_id in self._barred:
            member.stream_id = None
        self.rooms.enter((room,), member)
        if member.stream_id is not None:
            self._streams[member.stream_id] = (int(now * 1000), None)
            self._closed.discard(member.stream_id)

    def remove(self, room: str, user: str, now: float) -> None:
        """Take a user out, whose stream ends."""
        member = self.rooms.remove((room,), user)
        if member is not None and member.stream_id is not None:
            self._end(member.stream_id, now)

    def _end(self, stream: str, now: float) -> None:
        began, _ = self._streams.get(stream, (int(now * 1000), None))
        self._streams[stream] = (began, int(now * 1000))
        self._closed.add(stream)

    def _members(self, room: str) -> list[Member]:
        if (room,) not in self.rooms:
            raise Refused(NO_ROOM, "the room does not exist")
        return self.rooms.members((room,))

    # Rooms

    def _kickout_user(self, given: Given, now: float, _: str) -> None:
        room = given["RoomId"]
        self._members(room)
        # OPEN: a user who is not in the room.
        for user in given["UserId"]:
            self.remove(room, user, now)

    def _close_room(self, given: Given, now: float, _: str) -> None:
        room = given["RoomId"]
        if (room,) not in self.rooms:
            raise Refused(5018, "the room was destroyed or does not exist")
        for member in self.rooms.members((room,)):
            self.remove(room, member.user_id, now)

    def _describe_users(self, given: Given, _: float, __: str) -> Any:
        there = {member.user_id: member for member in self._members(given["RoomId"])}
        return {
            "UserStatusList": [
                {"UserId": user, "Status": 1, "LoginTime": int(there[user].joined * 1000), "UserRole": 1}
                if user in there
                else {"UserId": user, "Status": 0, "LoginTime": 0, "UserRole": 0}
                for user in given["UserId"]
            ]
        }

    def _describe_user_list(self, given: Given, _: float, __: str) -> Any:
        members = self.rooms.members((given["RoomId"],))
        if given.get("Mode") == 1:
            members.reverse()
        limit, after = given.get("Limit", 200), given.get("Marker")
        ids = [member.user_id for member in members]
        # OPEN: what a marker is. Here it is the last user of the page; one that nobody has got ends the list.
        first = 0 if not after else ids.index(after) + 1 if after in ids else len(ids)
        page = ids[first : first + limit]
        return {
            "Marker": page[-1] if page and first + limit < len(ids) else "",
            "UserList": [{"UserId": user, "UserName": user, "UserRole": 1} for user in page],
        }

    def _describe_user_num(self, given: Given, _: float, __: str) -> Any:
        counts = [(room, len(self.rooms.members((room,)))) for room in given["RoomId"]]
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
            for number, member in enumerate(self.rooms.members((given["RoomId"],)), 1)
            if member.stream_id is not None
        ]
        return {"StreamList": streams}

    def _send_custom_command(self, given: Given, _: float, __: str) -> Any:
        there = {member.user_id for member in self._members(given["RoomId"])}
        self.messages.append(given)
        failed = [user for user in given.get("ToUserId", ()) if user not in there]
        return {"FailUsers": [{"Uid": user, "Code": OFFLINE} for user in failed]}

    # Streams: https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/
    # In the test environment, ids there are ``zegotest-<AppId>-<id>``, say the pages. Here any id will do.

    def _named(self, given: Given, now: float) -> list[str]:
        """Return the streams of a call whose sequence grows."""
        streams = given["StreamId"] if isinstance(given["StreamId"], list) else [given["StreamId"]]
        # OPEN: what a sequence may be besides a number, and the code for one that does not grow.
        if not is_number(given["Sequence"]):
            raise Refused(BAD_PARAMETER, "Sequence must be a number")
        sequence = int(given["Sequence"])
        for stream in streams:
            before, when = self._sequences.get(stream, (-1, 0.0))
            if sequence <= before and now - when < SEQUENCE_WINDOW:
                raise Refused(BAD_PARAMETER, "Sequence did not grow")
        for stream in streams:
            self._sequences.put(stream, (sequence, now), now)
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


def _message(name: str, value: Any) -> str:
    if value in (None, ""):
        raise Refused(NO_MESSAGE, f"{name} is empty")
    return str(text(1024, too_long=TOO_LONG_A_MESSAGE)(name, value))


def _up_to(most: int, item: Check, too_many: int = BAD_PARAMETER) -> Check:
    return list_of(item, least=1, most=most, in_query=True, too_many=too_many)
