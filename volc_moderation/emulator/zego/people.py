"""ZEGO's actions on users and streams. OPEN marks what the documents do not specify.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

from collections import deque
from typing import Any

from volc_moderation.emulator.memory import MAX_KEPT, ExpiringDict, RecentlyEnded
from volc_moderation.emulator.rooms import Member, Rooms
from volc_moderation.emulator.vendor import ActionSpec, Check, Fields
from volc_moderation.emulator.zego.parameters import (
    BAD_PARAMETER,
    NO_ROOM,
    QUERY_BIT,
    ROOM_ID,
    TEXT,
    USER_ID,
    Parameters,
    Refused,
    digits,
    is_number,
    list_of,
    query_boolean,
    text,
)

# Codes: https://doc-zh.zego.im/article/19702
NO_MESSAGE = 1008
NO_SUCH_ROOM = 5018
STREAM_UNKNOWN = 41004
STREAM_CLOSED = 41006
OFFLINE = 50003
TOO_MANY_USERS = 50011
MESSAGE_TOO_LONG = 50012
# Codes of the media service, where 3 means a wrong signature.
BAD_STREAM_LIST = 30006
BAD_STREAM_ID = 30009

#: Seconds after a call within which a further one for the stream needs a greater ``Sequence``.
SEQUENCE_WINDOW = 10

ROOM = {"RoomId": ROOM_ID}
PAGING = {"Mode": QUERY_BIT, "Limit": digits(0, 200), "Marker": text(may_be_empty=True)}
REASON = {"CustomReason": text(256, may_be_empty=True)}
ONE_STREAM = {"StreamId": text(256, too_long=BAD_STREAM_ID), "Sequence": TEXT}
#: Both generations of the documents spell this list ``StreamId[]``.
STREAMS = {
    "StreamId[]": list_of(
        text(256, too_long=BAD_STREAM_ID),
        min_items=1,
        max_items=20,
        in_query=True,
        malformed=BAD_STREAM_LIST,
        too_many=BAD_STREAM_LIST,
    ),
    "Sequence": TEXT,
}


class People:
    """The rooms of one app, and the users and streams in them. OPEN: whether the test environment has its own rooms."""

    def __init__(self) -> None:
        self.rooms = Rooms()
        self.messages: deque[Parameters] = deque(maxlen=MAX_KEPT)
        self._forbidden_streams: set[str] = set()
        #: When each stream was published, and when it was closed, in Unix milliseconds.
        self._streams: dict[str, tuple[int, int | None]] = {}
        self._closed: RecentlyEnded[str] = RecentlyEnded(self._streams.pop)
        #: The last sequence of each stream, and when it arrived.
        self._sequences: ExpiringDict[str, tuple[int, float]] = ExpiringDict(
            lambda last, now: now - last[1] >= SEQUENCE_WINDOW
        )

    def actions(self) -> dict[str, ActionSpec]:
        """Return the actions of this module, by name; all are GET. The quotas are those of each action's page."""

        def get(quota: int, required: Any, perform: Any, optional: Any = None, **more: Any) -> ActionSpec:
            fields = Fields(required=required, optional=optional or {})
            return ActionSpec(method="GET", quota=quota, fields=fields, perform=perform, **more)

        def stream(quota: int, test_quota: int, required: Any, perform: Any) -> ActionSpec:
            fields = Fields(required=required, brackets=True)
            more: Any = {"family": "media-service", "test_quota": test_quota}
            return ActionSpec(method="GET", quota=quota, fields=fields, perform=perform, **more)

        return {
            "KickoutUser": get(
                50, {**ROOM, "UserId[]": _up_to(5, USER_ID, TOO_MANY_USERS)}, self._kickout_user, REASON
            ),
            "CloseRoom": get(1, ROOM, self._close_room, {**REASON, "RoomCloseCallback": query_boolean}),
            "DescribeUsers": get(10, {**ROOM, "UserId[]": _up_to(10, USER_ID)}, self._describe_users),
            "DescribeUserList": get(200, ROOM, self._describe_user_list, PAGING, room_quota=(1, 1.0)),
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
        """Let a user join, and publish a stream unless it is forbidden."""
        if member.stream_id in self._forbidden_streams:
            member.stream_id = None
        self.rooms.enter((room,), member)
        if member.stream_id is not None:
            self._streams[member.stream_id] = (int(now * 1000), None)
            self._closed.discard(member.stream_id)

    def remove(self, room: str, user: str, now: float) -> None:
        """Remove a user from a room, and close the user's stream."""
        member = self.rooms.remove((room,), user)
        if member is not None and member.stream_id is not None:
            self._close_stream(member.stream_id, now)

    def _close_stream(self, stream: str, now: float) -> None:
        began, _ = self._streams.get(stream, (int(now * 1000), None))
        self._streams[stream] = (began, int(now * 1000))
        self._closed.add(stream)

    def _members(self, room: str) -> list[Member]:
        if (room,) not in self.rooms:
            raise Refused(NO_ROOM, "the room does not exist")
        return self.rooms.members((room,))

    # Rooms

    def _kickout_user(self, parameters: Parameters, now: float, _: str) -> None:
        room = parameters["RoomId"]
        self._members(room)
        # OPEN: the answer if a user is not in the room.
        for user in parameters["UserId"]:
            self.remove(room, user, now)

    def _close_room(self, parameters: Parameters, now: float, _: str) -> None:
        room = parameters["RoomId"]
        if (room,) not in self.rooms:
            raise Refused(NO_SUCH_ROOM, "the room was destroyed or does not exist")
        for member in self.rooms.members((room,)):
            self.remove(room, member.user_id, now)

    def _describe_users(self, parameters: Parameters, _: float, __: str) -> Any:
        members = {member.user_id: member for member in self._members(parameters["RoomId"])}
        return {
            "UserStatusList": [
                {"UserId": user, "Status": 1, "LoginTime": int(members[user].joined * 1000), "UserRole": 1}
                if user in members
                else {"UserId": user, "Status": 0, "LoginTime": 0, "UserRole": 0}
                for user in parameters["UserId"]
            ]
        }

    def _describe_user_list(self, parameters: Parameters, _: float, __: str) -> Any:
        members = self.rooms.members((parameters["RoomId"],))
        if parameters.get("Mode") == 1:
            members.reverse()
        limit, after = parameters.get("Limit", 200), parameters.get("Marker")
        ids = [member.user_id for member in members]
        # OPEN: the meaning of a marker. Here it is the last user of the previous page; an unknown one ends the list.
        first = 0 if not after else ids.index(after) + 1 if after in ids else len(ids)
        page = ids[first : first + limit]
        return {
            "Marker": page[-1] if page and first + limit < len(ids) else "",
            "UserList": [{"UserId": user, "UserName": user, "UserRole": 1} for user in page],
        }

    def _describe_user_num(self, parameters: Parameters, _: float, __: str) -> Any:
        counts = [(room, len(self.rooms.members((room,)))) for room in parameters["RoomId"]]
        return {"UserCountList": [{"RoomId": room, "UserCount": n, "AdminUserCount": 0} for room, n in counts]}

    def _describe_simple_stream_list(self, parameters: Parameters, _: float, __: str) -> Any:
        streams = [
            {
                "StreamId": member.stream_id,
                "UserId": member.user_id,
                "UserName": member.user_id,
                "CreateTime": self._streams[member.stream_id][0],
                "StreamNumberId": number,
            }
            for number, member in enumerate(self.rooms.members((parameters["RoomId"],)), 1)
            if member.stream_id is not None
        ]
        return {"StreamList": streams}

    def _send_custom_command(self, parameters: Parameters, _: float, __: str) -> Any:
        present = {member.user_id for member in self._members(parameters["RoomId"])}
        self.messages.append(parameters)
        failed = [user for user in parameters.get("ToUserId", ()) if user not in present]
        return {"FailUsers": [{"Uid": user, "Code": OFFLINE} for user in failed]}

    # Streams: https://www.zegocloud.com/docs/real-time-video-server/api-reference/media-service/
    # According to the documents, stream ids in the test environment are ``zegotest-<AppId>-<id>``. Here any id works.

    def _check_sequence(self, parameters: Parameters, now: float) -> list[str]:
        """Return the streams of a call. Refuse the call if its sequence has not grown."""
        streams = parameters["StreamId"] if isinstance(parameters["StreamId"], list) else [parameters["StreamId"]]
        # OPEN: what a sequence may be other than a number, and the code if it does not grow.
        if not is_number(parameters["Sequence"]):
            raise Refused(BAD_PARAMETER, "Sequence must be a number")
        sequence = int(parameters["Sequence"])
        for stream in streams:
            previous, arrived = self._sequences.get(stream, (-1, 0.0))
            if sequence <= previous and now - arrived < SEQUENCE_WINDOW:
                raise Refused(BAD_PARAMETER, "Sequence did not grow")
        for stream in streams:
            self._sequences.put(stream, (sequence, now), now)
        return streams

    def _forbid(self, parameters: Parameters, now: float, _: str) -> None:
        # According to the pages of the plural actions, an unknown stream is forbidden with success. OPEN: the singular.
        streams = self._check_sequence(parameters, now)
        self._forbidden_streams.update(streams)
        for _room, member in self.rooms.all_members():
            if member.stream_id in streams:
                self._close_stream(member.stream_id, now)
                member.stream_id = None

    def _resume(self, parameters: Parameters, now: float, _: str) -> None:
        # A user whose stream was closed publishes again after joining again.
        self._forbidden_streams.difference_update(self._check_sequence(parameters, now))

    def _describe_rtc_stream_state(self, parameters: Parameters, now: float, _: str) -> Any:
        (stream,) = self._check_sequence(parameters, now)
        if stream not in self._streams:
            raise Refused(STREAM_UNKNOWN, "there is no such stream")
        began, ended = self._streams[stream]
        if ended is not None:
            raise Refused(STREAM_CLOSED, "the stream is closed")
        return {"create_time": str(began), "close_time": ""}


def _message(name: str, value: Any) -> str:
    if value in (None, ""):
        raise Refused(NO_MESSAGE, f"{name} is empty")
    return str(text(1024, too_long=MESSAGE_TOO_LONG)(name, value))


def _up_to(max_items: int, item: Check, too_many: int = BAD_PARAMETER) -> Check:
    return list_of(item, min_items=1, max_items=max_items, in_query=True, too_many=too_many)
