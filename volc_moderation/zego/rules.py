"""The actions of ZEGO on rules, which restrict streams and users for a while. ZEGO must enable them for the app.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

import enum
from collections.abc import Sequence

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota, Result, unreadable_items, wire_name
from volc_moderation.errors import InvalidActionError
from volc_moderation.zego.actions import VALID_ROOM_ID, VALID_STREAM_ID, VALID_USER_ID, Done, optional_switch
from volc_moderation.zego.room import RoomAction

#: Per second and AppId.
_RULES_QUOTA = Quota(10)


class RuleType(enum.IntEnum):
    """The kind of users to which a rule applies."""

    IP = 1
    ROOM = 2
    USER = 3
    ROOM_USER = 4


class Privilege(enum.IntEnum):
    """What a rule forbids."""

    LOGIN = 1
    PUBLISH = 2


@frozen(kw_only=True)
class ForbidStreamRule:
    """A rule that keeps a stream from sending audio or video. ``effective_time`` is in seconds.

    ``create_time`` is returned as ZEGO sends it.
    """

    stream_id: str
    disable_audio: int = 0
    disable_video: int = 0
    create_time: int | None = None
    effective_time: int | None = None


@frozen(kw_only=True)
class ForbidStreamRules(Result):
    """The result of DescribeForbidStreamRules. ``unreadable`` keeps unreadable items unchanged."""

    room_id: str = ""
    forbid_stream_rule_list: list[ForbidStreamRule] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class RuleExpiry(Result):
    """The result of SetForbidUserRule: the time at which the rule ends, as ZEGO sends it."""

    expire_time: int | None = None


@frozen(kw_only=True)
class ForbidUserRule:
    """A rule that denies privileges to users. ``expire_time`` is as ZEGO sends it."""

    rule_type: RuleType | int
    ip: str | None = field(default=None, metadata=wire_name("IP"))
    room_id: str | None = None
    user_id: str | None = None
    disabled_privilege_list: list[Privilege | int] = field(factory=list)
    expire_time: int | None = None


@frozen(kw_only=True)
class ForbidUserRules(Result):
    """The result of DescribeForbidUserRules. ``unreadable`` keeps unreadable items unchanged."""

    rule_list: list[ForbidUserRule] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class SetForbidStreamRule(RoomAction[Done]):
    """Disable the audio of a stream, its video, or both. The last call for a stream applies. ZEGO must enable it.

    Quota: 10 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/forbid-stream-rule

    :param room_id: the room, at most 128 bytes.
    :param stream_id: the stream, at most 256 bytes.
    :param disable_audio: 1 or True disables audio; default 0. At least one of the two must be 1.
    :param disable_video: 1 or True disables video; default 0. At least one of the two must be 1.
    :param effective_time: seconds, 1 to 86400; None means 21600. ZEGO would shorten a longer time to a day.
    :returns: ``Done``: success, without data.
    :raises NotFoundError: 138: there is no such stream; 104, 5018, 5024 or 50001: no such room.
    :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
    :raises ConflictError: 50123: too many rules are in force; delete one first.
    """

    quota = _RULES_QUOTA
    result = Done

    room_id: str = field(validator=VALID_ROOM_ID)
    stream_id: str = field(validator=VALID_STREAM_ID)
    disable_audio: bool | int | None = optional_switch()
    disable_video: bool | int | None = optional_switch()
    effective_time: int | None = field(default=None, validator=validators.optional(validators.integer(1, 86_400)))

    def __attrs_post_init__(self) -> None:
        if not (self.disable_audio or self.disable_video):
            raise InvalidActionError.of(self.name, "disable_audio", "1, unless disable_video is", self.disable_audio)


@frozen(kw_only=True)
class DescribeForbidStreamRules(RoomAction[ForbidStreamRules]):
    """List the rules for streams of a room.

    Quota: 10 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-forbid-stream-rules

    :param room_id: the room, at most 128 bytes.
    :param stream_id: 1 to 10 streams, each at most 256 bytes.
    :returns: ``ForbidStreamRules``: ``forbid_stream_rule_list`` has the rules.
    :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
    :raises DecodeError: no item of the list can be read.
    """

    quota = _RULES_QUOTA
    result = ForbidStreamRules

    room_id: str = field(validator=VALID_ROOM_ID)
    stream_id: Sequence[str] = field(
        converter=validators.as_tuple,
        validator=validators.list_of(VALID_STREAM_ID, least=1, most=10),
        metadata=wire_name("StreamId[]"),
    )


@frozen(kw_only=True)
class DelForbidStreamRule(RoomAction[Done]):
    """Delete the rule for a stream, which may then send audio and video again. It is no error if there is no rule.

    Quota: 10 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/del-forbid-stream-rule

    :param room_id: the room, at most 128 bytes.
    :param stream_id: the stream, at most 256 bytes.
    :returns: ``Done``: success, without data.
    :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
    """

    quota = _RULES_QUOTA
    result = Done

    room_id: str = field(validator=VALID_ROOM_ID)
    stream_id: str = field(validator=VALID_STREAM_ID)


_VALID_RULE_TYPE = validators.integer(1, 4)


@frozen(kw_only=True)
class SetForbidUserRule(RoomAction[RuleExpiry]):
    """Ban users from logging in or publishing. ZEGO must enable it.

    Do not expect the rule to end what is already in progress: ZEGO's older examples say that a user is stopped, but
    its newer note says that only the next request is refused. Call ``KickoutUser`` or ``SetForbidStreamRule`` too.

    Quota: 10 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/set-forbid-user-rule

    :param rule_type: ``RuleType``, or its number: 1 an IP (at most 100 rules), 2 a room, 3 a user, 4 a user in a
        room (at most 200 rules each).
    :param disabled_privilege: one or both of ``Privilege.LOGIN`` (1) and ``Privilege.PUBLISH`` (2).
    :param effective_time: seconds, 1 to 86400.
    :param ip: the IPv4 or IPv6 address; required with rule type 1, otherwise None.
    :param room_id: the room, at most 128 bytes; required with rule types 2 and 4, otherwise None.
    :param user_id: the user, at most 64 bytes; required with rule types 3 and 4, otherwise None.
    :returns: ``RuleExpiry``: when the rule ends, as ZEGO sends it.
    :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
    :raises ConflictError: 50123: too many rules are in force; delete one first.
    """

    quota = _RULES_QUOTA
    result = RuleExpiry

    rule_type: RuleType | int = field(validator=_VALID_RULE_TYPE)
    disabled_privilege: Sequence[Privilege | int] = field(
        converter=validators.as_tuple,
        validator=validators.list_of(validators.integer(1, 2), least=1, most=2),
        metadata=wire_name("DisabledPrivilege[]"),
    )
    effective_time: int = field(validator=validators.integer(1, 86_400))
    ip: str | None = field(
        default=None, validator=validators.optional(validators.ip_address()), metadata=wire_name("IP")
    )
    room_id: str | None = field(default=None, validator=validators.optional(VALID_ROOM_ID))
    user_id: str | None = field(default=None, validator=validators.optional(VALID_USER_ID))

    def __attrs_post_init__(self) -> None:
        _check_rule(self)


@frozen(kw_only=True)
class DescribeForbidUserRules(RoomAction[ForbidUserRules]):
    """List the rules of one type.

    Quota: 10 calls per second and AppId. (An older page allows 1; this is the newer page's.)

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-forbid-user-rules

    :param rule_type: ``RuleType``, or its number: 1 an IP, 2 a room, 3 a user, 4 a user in a room.
    :returns: ``ForbidUserRules``: ``rule_list`` has the rules.
    :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
    :raises DecodeError: no item of the list can be read.
    """

    quota = _RULES_QUOTA
    result = ForbidUserRules

    rule_type: RuleType | int = field(validator=_VALID_RULE_TYPE)


@frozen(kw_only=True)
class DelForbidUserRule(RoomAction[Done]):
    """Delete a rule.

    Quota: 10 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/del-forbid-user-rule

    :param rule_type: ``RuleType``, or its number: 1 an IP, 2 a room, 3 a user, 4 a user in a room.
    :param ip: the IPv4 or IPv6 address; required with rule type 1, otherwise None.
    :param room_id: the room, at most 128 bytes; required with rule types 2 and 4, otherwise None.
    :param user_id: the user, at most 64 bytes; required with rule types 3 and 4, otherwise None.
    :returns: ``Done``: success, without data.
    :raises NotFoundError: 50124: there is no such rule. After an attempt whose response was lost, this counts as
        success.
    :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
    """

    quota = _RULES_QUOTA
    already_done_codes = frozenset({50124})
    result = Done

    rule_type: RuleType | int = field(validator=_VALID_RULE_TYPE)
    ip: str | None = field(
        default=None, validator=validators.optional(validators.ip_address()), metadata=wire_name("IP")
    )
    room_id: str | None = field(default=None, validator=validators.optional(VALID_ROOM_ID))
    user_id: str | None = field(default=None, validator=validators.optional(VALID_USER_ID))

    def __attrs_post_init__(self) -> None:
        _check_rule(self)


def _check_rule(action: SetForbidUserRule | DelForbidUserRule) -> None:
    for name, types in (("ip", (1,)), ("room_id", (2, 4)), ("user_id", (3, 4))):
        value = getattr(action, name)
        if (action.rule_type in types) != (value is not None):
            rule = f"a str with rule_type {' or '.join(map(str, types))}, else None"
            raise InvalidActionError.of(action.name, name, rule, value)
