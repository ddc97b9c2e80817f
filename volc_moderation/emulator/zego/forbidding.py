"""ZEGO's rules about streams and users. What the documents leave open is marked OPEN.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

from typing import Any

import attrs

from volc_moderation.emulator.rooms import Member
from volc_moderation.emulator.vendor import Medium, Rule
from volc_moderation.emulator.zego.parameters import BAD_PARAMETER, Given, Refused, list_of, number_of, text_of

DAY = 86_400
#: https://doc-zh.zego.im/article/19702
TOO_MANY_RULES = 50123
NO_RULE = 50124

LOGIN, PUBLISH = 1, 2
#: What names a rule, and how many there may be, by its type.
KEYS = {1: ("IP",), 2: ("RoomId",), 3: ("UserId",), 4: ("RoomId", "UserId")}
MOST = {1: 100, 2: 200, 3: 200, 4: 200}

_Key = tuple[int, tuple[str, ...]]


@attrs.frozen
class StreamRule:
    """What a stream may not send."""

    audio: int
    video: int
    created: int
    seconds: int


@attrs.frozen
class UserRule:
    """What users may not do, and until when."""

    privileges: list[int]
    until: int


class Forbidding:
    """The rules of one app."""

    def __init__(self) -> None:
        self._streams: dict[tuple[str, str], StreamRule] = {}
        self._users: dict[_Key, UserRule] = {}

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file: GET, 10 per second."""
        return {
            name: Rule(method="GET", quota=10, perform=perform)
            for name, perform in (
                ("SetForbidStreamRule", self._set_forbid_stream_rule),
                ("DescribeForbidStreamRules", self._describe_forbid_stream_rules),
                ("DelForbidStreamRule", self._del_forbid_stream_rule),
                ("SetForbidUserRule", self._set_forbid_user_rule),
                ("DescribeForbidUserRules", self._describe_forbid_user_rules),
                ("DelForbidUserRule", self._del_forbid_user_rule),
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
        if rule is None or rule.created + rule.seconds <= now:
            return False
        return bool(rule.audio if medium == "audio" else rule.video)

    def _set_forbid_stream_rule(self, given: Given, now: float, _: str) -> None:
        key = (text_of(given, "RoomId", most_bytes=128), text_of(given, "StreamId", most_bytes=256))
        audio = number_of(given, "DisableAudio", 0, 1, default=0)
        video = number_of(given, "DisableVideo", 0, 1, default=0)
        if not audio and not video:
            raise Refused(BAD_PARAMETER, "one of DisableAudio and DisableVideo must be 1")
        # A longer time is cut to a day.
        seconds = min(number_of(given, "EffectiveTime", 1, 10**9, default=21_600), DAY)
        self._streams[key] = StreamRule(audio, video, int(now), seconds)

    def _describe_forbid_stream_rules(self, given: Given, now: float, _: str) -> Any:
        room = text_of(given, "RoomId")
        streams = list_of(given, "StreamId", 10)
        found = [(stream, self._streams.get((room, stream))) for stream in dict.fromkeys(streams)]
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
                if rule is not None and rule.created + rule.seconds > now
            ],
        }

    def _del_forbid_stream_rule(self, given: Given, _: float, __: str) -> None:
        self._streams.pop((text_of(given, "RoomId"), text_of(given, "StreamId")), None)

    def _set_forbid_user_rule(self, given: Given, now: float, _: str) -> Any:
        key = self._key(given)
        privileges = list_of(given, "DisabledPrivilege", 2)
        if not {"1", "2"} >= set(privileges):
            raise Refused(BAD_PARAMETER, "DisabledPrivilege[] must be 1 or 2")
        until = int(now) + number_of(given, "EffectiveTime", 1, DAY)
        others = [one for one, rule in self._users.items() if one[0] == key[0] and one != key and rule.until > now]
        if len(others) >= MOST[key[0]]:
            raise Refused(TOO_MANY_RULES, "too many rules of this type")
        self._users[key] = UserRule(sorted(map(int, set(privileges))), until)
        return {"ExpireTime": until}

    def _describe_forbid_user_rules(self, given: Given, now: float, _: str) -> Any:
        wanted = number_of(given, "RuleType", 1, 4)
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
        kind = number_of(given, "RuleType", 1, 4)
        return kind, tuple(text_of(given, name) for name in KEYS[kind])
