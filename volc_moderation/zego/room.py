"""The actions of ZEGO on the users in a room: remove them, and send them messages.

Results with a list keep unreadable items unchanged in ``unreadable``. If every item is unreadable, the call raises
``DecodeError``.

https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/
"""

from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota, Result, unreadable_items, wire_name
from volc_moderation.zego.actions import VALID_ROOM_ID, VALID_USER_ID, Done, Family, ZegoAction

R = TypeVar("R")


class RoomAction(ZegoAction[R], Generic[R]):
    """The base of the actions on rooms. All of them are GET requests."""

    __slots__ = ()

    method = "GET"
    family: ClassVar[Family] = "room"


@frozen(kw_only=True)
class FailedUser:
    """A user whom a message did not reach. ``code`` is the reason: 50003 means offline."""

    uid: str
    code: int


@frozen(kw_only=True)
class CommandOutcome(Result):
    """The result of SendCustomCommand: the users whom the message did not reach."""

    fail_users: list[FailedUser] = field(factory=list)
    unreadable: tuple[object, ...] = unreadable_items()


@frozen(kw_only=True)
class KickoutUser(RoomAction[Done]):
    """Remove users from a room. They stop publishing and playing, and may come back.

    Quota: 50 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/kick-out-user

    :param room_id: the room, at most 128 bytes.
    :param user_id: 1 to 5 users, each at most 64 bytes.
    :param custom_reason: the reason that their clients receive, at most 256 bytes; None sends none.
    :returns: ``Done``: success, without data.
    :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty; 105, 50002 or 50003: no
        such user, or the user is offline.
    """

    quota = Quota(50)
    result = Done

    room_id: str = field(validator=VALID_ROOM_ID)
    user_id: Sequence[str] = field(
        converter=validators.as_tuple,
        validator=validators.list_of(VALID_USER_ID, least=1, most=5),
        metadata=wire_name("UserId[]"),
    )
    custom_reason: str | None = field(default=None, validator=validators.optional(validators.free_text(most_bytes=256)))


@frozen(kw_only=True)
class CloseRoom(RoomAction[Done]):
    """Remove everybody from a room.

    Quota: 1 call per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/close

    :param room_id: the room, at most 128 bytes.
    :param custom_reason: the reason that their clients receive, at most 256 bytes; None sends none.
    :param room_close_callback: whether the room's callback reports the closing; None means False.
    :returns: ``Done``: success, without data.
    :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty. After an attempt whose
        response was lost, this counts as success.
    """

    quota = Quota(1)
    #: The room does not exist any more.
    already_done_codes = frozenset({104, 5018, 5024, 50001})
    result = Done

    room_id: str = field(validator=VALID_ROOM_ID)
    custom_reason: str | None = field(default=None, validator=validators.optional(validators.free_text(most_bytes=256)))
    room_close_callback: bool | None = field(default=None, validator=validators.optional(validators.boolean()))


@frozen(kw_only=True)
class SendCustomCommand(RoomAction[CommandOutcome]):
    """Send a message to users in a room, such as a warning.

    The client does not repeat a call whose outcome is unknown, except after the codes for which ZEGO advises a
    retry, such as 50013. In that case, the message may arrive twice.

    Quota: 100 calls per second and AppId; 10 in the test environment.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/room/send-custom-command

    :param room_id: the room, at most 128 bytes.
    :param from_user_id: the sender, at most 64 bytes.
    :param message_content: the message, at most 1024 bytes.
    :param to_user_id: 1 to 10 users, each at most 64 bytes; None sends to everybody in the room.
    :returns: ``CommandOutcome``: ``fail_users`` has the users whom the message did not reach.
    :raises NotFoundError: 104, 5018, 5024 or 50001: the room does not exist, or is empty.
    :raises TemporaryError: 50013: ZEGO failed to send the message; the client tries again.
    :raises InvalidRequestError: 1008: the message is empty; 50011: too many users; 50012: the message is too long.
    """

    quota = Quota(100)
    test_quota = Quota(10)
    repeatable = False
    result = CommandOutcome

    room_id: str = field(validator=VALID_ROOM_ID)
    from_user_id: str = field(validator=VALID_USER_ID)
    message_content: str = field(validator=validators.free_text(most_bytes=1024))
    to_user_id: Sequence[str] | None = field(
        default=None,
        converter=validators.as_tuple,
        validator=validators.optional(validators.list_of(VALID_USER_ID, least=1, most=10)),
        metadata=wire_name("ToUserId[]"),
    )
