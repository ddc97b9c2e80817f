"""What the actions of ZEGO have in common.

https://doc-zh.zego.im/article/19458
"""

from typing import Any, ClassVar, Generic, Literal, TypeVar

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Action, Quota, Result

R = TypeVar("R")

#: The table that explains an error code: the same number means different things in different families.
Family = Literal["moderation", "room", "media-service", "media-file", "mix"]

#: The client SDK's class documents these maximum lengths of ids, in bytes.
VALID_ROOM_ID = validators.text(most_bytes=128)
VALID_USER_ID = validators.text(most_bytes=64)
VALID_STREAM_ID = validators.text(most_bytes=256)


def optional_switch() -> Any:
    """Declare the field of a switch, as ``bool | int | None``. ZEGO's switches are numbers; None leaves one to ZEGO."""
    return field(default=None, converter=validators.bool_as_int, validator=validators.optional(validators.switch()))


class ZegoAction(Action[R], Generic[R]):
    """The base of ZEGO's actions."""

    __slots__ = ()

    room_throttle_codes = frozenset({207})
    family: ClassVar[Family] = "moderation"
    #: The quota in the test environment of a project that has one, if it is smaller.
    test_quota: ClassVar[Quota | None] = None
    #: Codes other than 0 that come with a result instead of an error. The result has a field ``code``.
    result_codes: ClassVar[frozenset[int]] = frozenset()


@frozen(kw_only=True)
class Done(Result):
    """Success without data."""
