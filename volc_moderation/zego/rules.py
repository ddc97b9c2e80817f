"""The actions of ZEGO on rules: what streams and users may not do for a while. ZEGO must have enabled them for the app.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

import enum
from collections.abc import Sequence

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota, unreadable_items, wire_name
from volc_moderation.errors import InvalidActionError
from volc_moderation.zego.actions import ROOM_ID, STREAM_ID, USER_ID, Done
from volc_moderation.zego.room import RoomAction

#: Per second and AppId.
_RULES = Quota(10)


class RuleType(enum.IntEnum):
    """What a rule about users names."""

    IP = 1
    ROOM = 2
    USER = 3
    ROOM_USER = 4


@frozen(kw_only=True)
class ForbidStreamRule:
    """What a stream may not send. Times are as ZEGO gives them: ``effective_time`` in seconds."""

    stream_id: str
    disable_audio: int = 0
    disable_video: int = 0
    create_time: int | None = None
    effective_time: int | None = None


@frozen(kw_only=True)
class ForbidStreamRules:
    """The result of DescribeForbidStreamRules. ``unreadable`` has the items that do not fit, as they came."""

    room_id: str = ""
    forbid_stream_rule_list: list[ForbidStreamRule] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class RuleExpiry:
    """The result of SetForbidUserRule: when the rule ends, as ZEGO gives it."""

    expire_time: int | None = None


@frozen(kw_only=True)
class ForbidUserRule:
    """What users may not do: privilege 1 is login, 2 publishing."""

    rule_type: RuleType | int
    ip: str | None = field(default=None, metadata=wire_name("IP"))
    room_id: str | None = None
    user_id: str | None = None
    disabled_privilege_list: list[int] = field(factory=list)
    expire_time: int | None = None


@frozen(kw_only=True)
class ForbidUserRules:
    """The result of DescribeForbidUserRules. ``unreadable`` has the items that do not fit, as they came."""

    rule_list: list[ForbidUserRule] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class SetForbidStreamRule(RoomAction[Done]):
    """Mute the audio or the video of a stream, or both. The last call for a stream wins. ZEGO must have enabled it.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/forbid-stream-rule

    :param disable_audio: 1 mutes; at least one of the two must be 1.
    :param disable_video: 1 hides; at least one of the two must be 1.
    :param effective_time: seconds, 1 to 86400 (21600). ZEGO would cut a longer one to a day.
    """

    quota = _RULES
    result = Done

    room_id: str = field(validator=ROOM_ID)
    stream_id: str = field(validator=STREAM_ID)
    disable_audio: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    disable_video: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    effective_time: int | None = field(default=None, validator=validators.optional(validators.integer(1, 86_400)))

    def __attrs_post_init__(self) -> None:
        if not (self.disable_audio or self.disable_video):
            raise InvalidActionError.of(self.name, "disable_audio", "1, unless disable_video is", self.disable_audio)


@frozen(kw_only=True)
class DescribeForbidStreamRules(RoomAction[ForbidStreamRules]):
    """List what streams of a room may not send.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-forbid-stream-rules

    :param stream_id: 1 to 10 ids.
    """

    quota = _RULES
    result = ForbidStreamRules

    room_id: str = field(validator=ROOM_ID)
    stream_id: Sequence[str] = field(
        converter=validators.as_tuple,
        validator=validators.list_of(STREAM_ID, least=1, most=10),
        metadata=wire_name("StreamId[]"),
    )


@frozen(kw_only=True)
class DelForbidStreamRule(RoomAction[Done]):
    """Let a stream send everything again. That there is no rule is no error.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/del-forbid-stream-rule
    """

    quota = _RULES
    result = Done

    room_id: str = field(validator=ROOM_ID)
    stream_id: str = field(validator=STREAM_ID)


_RULE_TYPE = validators.integer(1, 4)


@frozen(kw_only=True)
class SetForbidUserRule(RoomAction[RuleExpiry]):
    """Keep users from logging in or publishing. ZEGO must have enabled it.

    What goes on already goes on: ZEGO's older examples say that a user is stopped, its newer note that only the next
    request is refused. Call ``KickoutUser`` or ``SetForbidStreamRule`` too.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/set-forbid-user-rule

    :param rule_type: 1 for an IP (at most 100 rules), 2 a room, 3 a user, 4 a user in a room (at most 200 each).
    :param disabled_privilege: 1 login, 2 publishing.
    :param effective_time: seconds, 1 to 86400.
    :param ip: needed with rule type 1, and only with it.
    :param room_id: needed with rule types 2 and 4, and only with them.
    :param user_id: needed with rule types 3 and 4, and only with them.
    """

    quota = _RULES
    result = RuleExpiry

    rule_type: int = field(validator=_RULE_TYPE)
    disabled_privilege: Sequence[int] = field(
        converter=validators.as_tuple,
        validator=validators.list_of(validators.integer(1, 2), least=1, most=2),
        metadata=wire_name("DisabledPrivilege[]"),
    )
    effective_time: int = field(validator=validators.integer(1, 86_400))
    ip: str | None = field(
        default=None, validator=validators.optional(validators.ip_address()), metadata=wire_name("IP")
    )
    room_id: str | None = field(default=None, validator=validators.optional(ROOM_ID))
    user_id: str | None = field(default=None, validator=validators.optional(USER_ID))

    def __attrs_post_init__(self) -> None:
        _check_rule(self)


@frozen(kw_only=True)
class DescribeForbidUserRules(RoomAction[ForbidUserRules]):
    """List the rules of a type.

    An older page allows one call per second; the newer ten are the quota here.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-forbid-user-rules

    :param rule_type: 1 for IPs, 2 rooms, 3 users, 4 users in rooms.
    """

    quota = _RULES
    result = ForbidUserRules

    rule_type: int = field(validator=_RULE_TYPE)


@frozen(kw_only=True)
class DelForbidUserRule(RoomAction[Done]):
    """Delete a rule. That there is none is code 50124, a ``NotFoundError``.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/del-forbid-user-rule

    :param rule_type: 1 for an IP, 2 a room, 3 a user, 4 a user in a room; the others as in ``SetForbidUserRule``.
    """

    quota = _RULES
    already_done_codes = frozenset({50124})
    result = Done

    rule_type: int = field(validator=_RULE_TYPE)
    ip: str | None = field(
        default=None, validator=validators.optional(validators.ip_address()), metadata=wire_name("IP")
    )
    room_id: str | None = field(default=None, validator=validators.optional(ROOM_ID))
    user_id: str | None = field(default=None, validator=validators.optional(USER_ID))

    def __attrs_post_init__(self) -> None:
        _check_rule(self)


def _check_rule(action: SetForbidUserRule | DelForbidUserRule) -> None:
    for name, types in (("ip", (1,)), ("room_id", (2, 4)), ("user_id", (3, 4))):
        value = getattr(action, name)
        if (action.rule_type in types) != (value is not None):
            rule = f"a str with rule_type {' or '.join(map(str, types))}, else None"
            raise InvalidActionError.of(action.name, name, rule, value)
