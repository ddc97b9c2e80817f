"""The actions of ``rules.py`` as methods: ``python -m tests.method_source`` has written this file."""

from collections.abc import Sequence

from volc_moderation.client import Client
from volc_moderation.zego.actions import Done
from volc_moderation.zego.rules import (
    DelForbidStreamRule,
    DelForbidUserRule,
    DescribeForbidStreamRules,
    DescribeForbidUserRules,
    ForbidStreamRules,
    ForbidUserRules,
    Privilege,
    RuleExpiry,
    RuleType,
    SetForbidStreamRule,
    SetForbidUserRule,
)


class RuleMethods(Client):
    """One method for each action, which it creates and calls."""

    async def set_forbid_stream_rule(
        self,
        *,
        room_id: str,
        stream_id: str,
        disable_audio: bool | int | None = None,
        disable_video: bool | int | None = None,
        effective_time: int | None = None,
    ) -> Done:
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
        action = SetForbidStreamRule(
            room_id=room_id,
            stream_id=stream_id,
            disable_audio=disable_audio,
            disable_video=disable_video,
            effective_time=effective_time,
        )
        return (await self.call(action)).result

    async def describe_forbid_stream_rules(self, *, room_id: str, stream_id: Sequence[str]) -> ForbidStreamRules:
        """List the rules for streams of a room.

        Quota: 10 calls per second and AppId.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-forbid-stream-rules

        :param room_id: the room, at most 128 bytes.
        :param stream_id: 1 to 10 streams, each at most 256 bytes.
        :returns: ``ForbidStreamRules``: ``forbid_stream_rule_list`` has the rules.
        :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
        :raises DecodeError: no item of the list can be read.
        """
        action = DescribeForbidStreamRules(room_id=room_id, stream_id=stream_id)
        return (await self.call(action)).result

    async def del_forbid_stream_rule(self, *, room_id: str, stream_id: str) -> Done:
        """Delete the rule for a stream, which may then send audio and video again. It is no error if there is no rule.

        Quota: 10 calls per second and AppId.

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/del-forbid-stream-rule

        :param room_id: the room, at most 128 bytes.
        :param stream_id: the stream, at most 256 bytes.
        :returns: ``Done``: success, without data.
        :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
        """
        action = DelForbidStreamRule(room_id=room_id, stream_id=stream_id)
        return (await self.call(action)).result

    async def set_forbid_user_rule(
        self,
        *,
        rule_type: RuleType | int,
        disabled_privilege: Sequence[Privilege | int],
        effective_time: int,
        ip: str | None = None,
        room_id: str | None = None,
        user_id: str | None = None,
    ) -> RuleExpiry:
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
        action = SetForbidUserRule(
            rule_type=rule_type,
            disabled_privilege=disabled_privilege,
            effective_time=effective_time,
            ip=ip,
            room_id=room_id,
            user_id=user_id,
        )
        return (await self.call(action)).result

    async def describe_forbid_user_rules(self, *, rule_type: RuleType | int) -> ForbidUserRules:
        """List the rules of one type.

        Quota: 10 calls per second and AppId. (An older page allows 1; this is the newer page's.)

        https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/describe-forbid-user-rules

        :param rule_type: ``RuleType``, or its number: 1 an IP, 2 a room, 3 a user, 4 a user in a room.
        :returns: ``ForbidUserRules``: ``rule_list`` has the rules.
        :raises PermissionDeniedError: 9: rules are not enabled for the app; ask ZEGO's support.
        :raises DecodeError: no item of the list can be read.
        """
        action = DescribeForbidUserRules(rule_type=rule_type)
        return (await self.call(action)).result

    async def del_forbid_user_rule(
        self,
        *,
        rule_type: RuleType | int,
        ip: str | None = None,
        room_id: str | None = None,
        user_id: str | None = None,
    ) -> Done:
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
        action = DelForbidUserRule(rule_type=rule_type, ip=ip, room_id=room_id, user_id=user_id)
        return (await self.call(action)).result
