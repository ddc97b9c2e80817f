"""ZEGO's rules about streams and users. What the documents leave open is marked OPEN.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

from typing import Any

import attrs

from volc_moderation.emulator.memory import Swept
from volc_moderation.emulator.rooms import Member
from volc_moderation.emulator.vendor import Check, Fields, Medium, Rule
from volc_moderation.emulator.zego.parameters import (
    BAD_PARAMETER,
    QUERY_FLAG,
    ROOM_ID,
    STREAM_ID,
    USER_ID,
    Given,
    Refused,
    digits,
    ip,
    list_of,
)

DAY = 86_400
#: Seconds that a rule about a stream holds unless the call says otherwise.
SIX_HOURS = 21_600
#: https://doc-zh.zego.im/article/19702
TOO_MANY_RULES = 50123
NO_RULE = 50124

LOGIN, PUBLISH = 1, 2
#: What names a rule, and how many there may be, by its type.
KEYS = {1: ("IP",), 2: ("RoomId",), 3: ("UserId",), 4: ("RoomId", "UserId")}
MOST = {1: 100, 2: 200, 3: 200, 4: 200}

TYPE = {"RuleType": digits(1, 4)}
WHOM: dict[str, Check] = {"IP": ip, "RoomId": ROOM_ID, "UserId": USER_ID}
STREAM = {"RoomId": ROOM_ID, "StreamId": STREAM_ID}
SET_STREAM = Fields(
    required=STREAM,
    # A time of more than a day is cut to a day.
    optional={"DisableAudio": QUERY_FLAG, "DisableVideo": QUERY_FLAG, "EffectiveTime": digits(1, 2**63 - 1)},
)
SET_USER = Fields(
    required={
        **TYPE,
        "DisabledPrivilege[]": list_of(digits(LOGIN, PUBLISH), least=1, most=2, in_query=True),
        "EffectiveTime": digits(1, DAY),
    },
    optional=WHOM,
)

_Key = tuple[int, tuple[str, ...]]


@attrs.frozen
class StreamRule:
    """What a stream may not send."""

    audio: int
    video: int
    created: int
    seconds: int

    @property
    def until(self) -> int:
        """When the rule ends."""
        return self.created + self.seconds


@attrs.frozen
class UserRule:
    """What users may not do, and until when."""

    privileges: list[int]
    until: int


class Forbidding:
    """The rules of one app."""

    def __init__(self) -> None:
        self._streams: Swept[tuple[str, str], StreamRule] = Swept(lambda rule, now: rule.until <= now)
        self._users: Swept[_Key, UserRule] = Swept(lambda rule, now: rule.until <= now)

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file: GET, 10 per second."""
        streams = list_of(STREAM_ID, least=1, most=10, in_query=True)
        return {
            name: Rule(method="GET", quota=10, takes=takes, perform=perform)
            for name, takes, perform in (
                ("SetForbidStreamRule", SET_STREAM, self._set_forbid_stream_rule),
                (
                    "DescribeForbidStreamRules",
                    Fields(required={"RoomId": ROOM_ID, "StreamId[]": streams}),
                    self._describe_forbid_stream_rules,
                ),
                ("DelForbidStreamRule", Fields(required=STREAM), self._del_forbid_stream_rule),
                ("SetForbidUserRule", SET_USER, self._set_forbid_user_rule),
                ("DescribeForbidUserRules", Fields(required=TYPE), self._describe_forbid_user_rules),
                ("DelForbidUserRule", Fields(required=TYPE, optional=WHOM), self._del_forbid_user_rule),
            )
        }

    def forbids(self, privilege: int, room: str, member: Member, now: float) -> bool:
        """Tell whether a rule keeps a user from logging in, or from publishing."""
        user = member.user_id
        keys: list[_Key] = [(1, (member.ip or "",)), (2, (room,)), (3, (user,)), (4, (room, user))]
        found = [self._users[key] for key in keys if key in self._users]
        return any(privilege in rule.privileges and rule.until > now for rule in found)

    def silences(self, room: str, stream: str | None, medium: Medium, now: float) -> bool:
        """Tell whether a rule mutes the medium of a stream."""
        rule = self._streams.get((room, stream or ""))
        if rule is None or rule.until <= now:
            return False
        return bool(rule.audio if medium == "audio" else rule.video)

    def _set_forbid_stream_rule(self, given: Given, now: float, _: str) -> None:
        audio, video = given.get("DisableAudio", 0), given.get("DisableVideo", 0)
        if not audio and not video:
            raise Refused(BAD_PARAMETER, "one of DisableAudio and DisableVideo must be 1")
        seconds = min(given.get("EffectiveTime", SIX_HOURS), DAY)
        self._streams.put((given["RoomId"], given["StreamId"]), StreamRule(audio, video, int(now), seconds), now)

    def _describe_forbid_stream_rules(self, given: Given, now: float, _: str) -> Any:
        room = given["RoomId"]
        found = [(stream, self._streams.get((room, stream))) for stream in dict.fromkeys(given["StreamId"])]
        return {
            "RoomId": room,
            "ForbidStreamRuleList": [
                {
                    "StreamId": stream,
                    "DisableAudio": rule.audio,
                    "DisableVideo": rule.video,
                    "CreateTime": rule.created,
                    "EffectiveTime": rule.seconds,
                }
                for stream, rule in found
                if rule is not None and rule.until > now
            ],
        }

    def _del_forbid_stream_rule(self, given: Given, _: float, __: str) -> None:
        self._streams.pop((given["RoomId"], given["StreamId"]), None)

    def _set_forbid_user_rule(self, given: Given, now: float, _: str) -> Any:
        key = self._key(given)
        until = int(now) + given["EffectiveTime"]
        others = [one for one, rule in self._users.items() if one[0] == key[0] and one != key and rule.until > now]
        if len(others) >= MOST[key[0]]:
            raise Refused(TOO_MANY_RULES, "too many rules of this type")
        self._users.put(key, UserRule(sorted(set(given["DisabledPrivilege"])), until), now)
        return {"ExpireTime": until}

    def _describe_forbid_user_rules(self, given: Given, now: float, _: str) -> Any:
        wanted = given["RuleType"]
        return {
            "RuleList": [
                {
                    "RuleType": kind,
                    **dict(zip(KEYS[kind], names, strict=True)),
                    "DisabledPrivilegeList": rule.privileges,
                    "ExpireTime": rule.until,
                }
                for (kind, names), rule in self._users.items()
                if kind == wanted and rule.until > now
            ]
        }

    def _del_forbid_user_rule(self, given: Given, now: float, _: str) -> None:
        rule = self._users.pop(self._key(given), None)
        if rule is None or rule.until <= now:
            raise Refused(NO_RULE, "there is no such rule")

    def _key(self, given: Given) -> _Key:
        kind = given["RuleType"]
        names = KEYS[kind]
        # OPEN: a field that does not belong to the type. Here it is passed over.
        missing = [name for name in names if name not in given]
        if missing:
            raise Refused(BAD_PARAMETER, f"{missing[0]} is absent")
        return kind, tuple(given[name] for name in names)
