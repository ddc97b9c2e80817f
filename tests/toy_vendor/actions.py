"""The actions."""

from typing import Generic, TypeVar

from attrs import field, frozen

from volc_moderation import Action, Quota, validators

R = TypeVar("R")


class ToyAction(Action[R], Generic[R]):
    """The base of the vendor's actions."""

    __slots__ = ()


@frozen(kw_only=True)
class Closed:
    """The stage is closed: the answer has no data."""


@frozen(kw_only=True)
class ListenerCount:
    """The number of listeners of a stage."""

    count: int


@frozen(kw_only=True)
class CloseStage(ToyAction[Closed]):
    """Close the stage of a room."""

    quota = Quota(10)
    already_done_codes = frozenset({"StageClosed"})
    result = Closed

    room_id: str = field(validator=validators.text())
    reasons: tuple[str, ...] = field(default=(), converter=validators.as_tuple)


@frozen(kw_only=True)
class CountListeners(ToyAction[ListenerCount]):
    """Count the listeners of a stage."""

    quota = Quota(5)
    result = ListenerCount

    room_id: str = field(validator=validators.text())
