"""ZEGO's rules that forbid streams and users. OPEN marks what the documents do not specify.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

from typing import Any

import attrs

from volc_moderation.emulator.memory import ExpiringDict
from volc_moderation.emulator.rooms import Member
from volc_moderation.emulator.vendor import ActionSpec, Check, Fields, Medium
from volc_moderation.emulator.zego.parameters import (
    BAD_PARAMETER,
    QUERY_BIT,
    ROOM_ID,
    STREAM_ID,
    USER_ID,
    Parameters,
    Refused,
    digits,
    ip,
    list_of,
)

#: Seconds.
MAX_EFFECTIVE_TIME = 86_400
DEFAULT_EFFECTIVE_TIME = 21_600

# Codes: https://doc-zh.zego.im/article/19702
TOO_MANY_RULES = 50123
NO_RULE = 50124

LOGIN_PRIVILEGE = 1
PUBLISH_PRIVILEGE = 2
#: By the type of a rule: the fields that identify it.
KEY_FIELDS = {1: ("IP",), 2: ("RoomId",), 3: ("UserId",), 4: ("RoomId", "UserId")}
#: By the type of a rule: how many rules may be in force.
MAX_RULES = {1: 100, 2: 200, 3: 200, 4: 200}

RULE_TYPE = {"RuleType": digits(1, 4)}
KEY: dict[str, Check] = {"IP": ip, "RoomId": ROOM_ID, "UserId": USER_ID}
STREAM = {"RoomId": ROOM_ID, "StreamId": STREAM_ID}
SET_STREAM = Fields(
    required=STREAM,
    # A longer time than a day is accepted and clamped.
    optional={"DisableAudio": QUERY_BIT, "DisableVideo": QUERY_BIT, "EffectiveTime": digits(1, 2**63 - 1)},
)
SET_USER = Fields(
    required={
        **RULE_TYPE,
        "DisabledPrivilege[]": list_of(
            digits(LOGIN_PRIVILEGE, PUBLISH_PRIVILEGE), min_items=1, max_items=2, in_query=True
        ),
        "EffectiveTime": digits(1, MAX_EFFECTIVE_TIME),
    },
    optional=KEY,
)

_Key = tuple[int, tuple[str, ...]]


@attrs.frozen
class StreamRule:
    """A rule that mutes a stream. ``audio`` and ``video`` are 0 or 1; times are in Unix seconds."""

    audio: int
    video: int
    created: int
    seconds: int

    @property
    def until(self) -> int:
        """The end of the rule, in Unix time."""
        return self.created + self.seconds


@attrs.frozen
class UserRule:
    """A rule that forbids users privileges, until a Unix time."""

    privileges: list[int]
    until: int


class ForbidRules:
    """The rules of one app."""

    def __init__(self) -> None:
        self._streams: ExpiringDict[tuple[str, str], StreamRule] = ExpiringDict(lambda rule, now: rule.until <= now)
        self._users: ExpiringDict[_Key, UserRule] = ExpiringDict(lambda rule, now: rule.until <= now)

    def actions(self) -> dict[str, ActionSpec]:
        """Return the actions of this module, by name: GET, 10 calls per second each."""
        streams = list_of(STREAM_ID, min_items=1, max_items=10, in_query=True)
        return {
            name: ActionSpec(method="GET", quota=10, fields=fields, perform=perform)
            for name, fields, perform in (
                ("SetForbidStreamRule", SET_STREAM, self._set_forbid_stream_rule),
                (
                    "DescribeForbidStreamRules",
                    Fields(required={"RoomId": ROOM_ID, "StreamId[]": streams}),
                    self._describe_forbid_stream_rules,
                ),
                ("DelForbidStreamRule", Fields(required=STREAM), self._del_forbid_stream_rule),
                ("SetForbidUserRule", SET_USER, self._set_forbid_user_rule),
                ("DescribeForbidUserRules", Fields(required=RULE_TYPE), self._describe_forbid_user_rules),
                ("DelForbidUserRule", Fields(required=RULE_TYPE, optional=KEY), self._del_forbid_user_rule),
            )
        }

    def forbids(self, privilege: int, room: str, member: Member, now: float) -> bool:
        """Return whether a rule forbids a user a privilege: to log in to a room, or to publish in it."""
        user = member.user_id
        keys: list[_Key] = [(1, (member.ip or "",)), (2, (room,)), (3, (user,)), (4, (room, user))]
        rules = [self._users[key] for key in keys if key in self._users]
        return any(privilege in rule.privileges and rule.until > now for rule in rules)

    def is_muted(self, room: str, stream: str | None, medium: Medium, now: float) -> bool:
        """Return whether a rule mutes a medium of a stream."""
        rule = self._streams.get((room, stream or ""))
        if rule is None or rule.until <= now:
            return False
        return bool(rule.audio if medium == "audio" else rule.video)

    def _set_forbid_stream_rule(self, parameters: Parameters, now: float, _: str) -> None:
        audio, video = parameters.get("DisableAudio", 0), parameters.get("DisableVideo", 0)
        if not audio and not video:
            raise Refused(BAD_PARAMETER, "one of DisableAudio and DisableVideo must be 1")
        seconds = min(parameters.get("EffectiveTime", DEFAULT_EFFECTIVE_TIME), MAX_EFFECTIVE_TIME)
        self._streams.put(
            (parameters["RoomId"], parameters["StreamId"]), StreamRule(audio, video, int(now), seconds), now
        )

    def _describe_forbid_stream_rules(self, parameters: Parameters, now: float, _: str) -> Any:
        room = parameters["RoomId"]
        rules = [(stream, self._streams.get((room, stream))) for stream in dict.fromkeys(parameters["StreamId"])]
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
                for stream, rule in rules
                if rule is not None and rule.until > now
            ],
        }

    def _del_forbid_stream_rule(self, parameters: Parameters, _: float, __: str) -> None:
        self._streams.pop((parameters["RoomId"], parameters["StreamId"]), None)

    def _set_forbid_user_rule(self, parameters: Parameters, now: float, _: str) -> Any:
        key = self._key(parameters)
        until = int(now) + parameters["EffectiveTime"]
        others = [
            other for other, rule in self._users.items() if other[0] == key[0] and other != key and rule.until > now
        ]
        if len(others) >= MAX_RULES[key[0]]:
            raise Refused(TOO_MANY_RULES, "too many rules of this type")
        self._users.put(key, UserRule(sorted(set(parameters["DisabledPrivilege"])), until), now)
        return {"ExpireTime": until}

    def _describe_forbid_user_rules(self, parameters: Parameters, now: float, _: str) -> Any:
        rule_type = parameters["RuleType"]
        return {
            "RuleList": [
                {
                    "RuleType": rule_type,
                    **dict(zip(KEY_FIELDS[rule_type], names, strict=True)),
                    "DisabledPrivilegeList": rule.privileges,
                    "ExpireTime": rule.until,
                }
                for (its_type, names), rule in self._users.items()
                if its_type == rule_type and rule.until > now
            ]
        }

    def _del_forbid_user_rule(self, parameters: Parameters, now: float, _: str) -> None:
        rule = self._users.pop(self._key(parameters), None)
        if rule is None or rule.until <= now:
            raise Refused(NO_RULE, "there is no such rule")

    def _key(self, parameters: Parameters) -> _Key:
        rule_type = parameters["RuleType"]
        names = KEY_FIELDS[rule_type]
        # OPEN: a field that does not belong to the type. Here it is ignored.
        missing = [name for name in names if name not in parameters]
        if missing:
            raise Refused(BAD_PARAMETER, f"{missing[0]} is absent")
        return rule_type, tuple(parameters[name] for name in names)
