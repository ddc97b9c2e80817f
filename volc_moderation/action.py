"""What a vendor call is: its name, method, quota, result, and the rules that its arguments keep.

An action is a frozen attrs value. It is checked when it is made, so that a wrong argument never reaches the vendor.
The rules below are attrs validators; each raises ``InvalidActionError`` with the field and the rule in its text.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

import attrs

from volc_moderation.errors import InvalidActionError

R = TypeVar("R")

Method = Literal["GET", "POST"]


@attrs.frozen
class Quota:
    """At most ``limit`` calls in any ``window`` seconds.

    If it is not ``published``, ``limit`` is where to begin, and how many there may be is learned.
    """

    limit: int
    window: float = 1.0
    published: bool = True


class Action(Generic[R]):
    """The base of every action. A subclass is ``@attrs.frozen(kw_only=True)`` and bears the vendor's name."""

    __slots__ = ()

    #: The vendor's name of the action: the name of the class.
    name: ClassVar[str]
    method: ClassVar[Method] = "POST"
    quota: ClassVar[Quota]
    #: What the vendor allows besides for one room, which the field ``room_id`` names.
    room_quota: ClassVar[Quota | None] = None
    #: Codes that mean that the room's quota is used up, not that of the action.
    room_throttle_codes: ClassVar[frozenset[str | int]] = frozenset()
    #: False if the vendor does not say that a second request has the effect of one.
    repeatable: ClassVar[bool] = True
    #: Codes that mean "it is done already" when an earlier attempt may have arrived. See ``is_already_done``.
    already_done_codes: ClassVar[frozenset[str | int]] = frozenset()
    #: The fields that name what it acts on: with the same ones, a second call before the first has ended is the same
    #: call. None: all fields.
    identity_fields: ClassVar[tuple[str, ...] | None] = None
    #: The type of the result.
    result: type[R]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = cls.__name__

    def is_already_done(self, code: str | int) -> bool:
        """Tell whether a code means that this very call is done already, when an earlier attempt may have arrived."""
        return code in self.already_done_codes


def actions_below(base: type[Action[Any]]) -> dict[str, type[Action[Any]]]:
    """Return all actions that derive from a class, by name, those that users have made included."""
    found: dict[str, type[Action[Any]]] = {}
    bases = [base]
    while bases:
        one = bases.pop(0)
        bases += one.__subclasses__()
        # With slots, attrs makes the class anew; the one that it was made from may live on for a while.
        if "__attrs_attrs__" in vars(one) and hasattr(one, "result"):
            found[one.name] = one
    return found


def method_name(action_name: str) -> str:
    """Return the name of the client's method for an action: in snake_case, without a trailing V2."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", action_name.removesuffix("V2")).lower()


def api_version(*documented: str) -> Any:
    """Declare the API version: a field that is not a parameter. The first documented version is the default.

    A later one is passed on: the vendor may publish it any day.
    """
    rule = f"one of {', '.join(map(repr, documented))}, or a later date as YYYY-MM-DD"
    latest = max(documented)

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or (value not in documented and not (_DATE.fullmatch(value) and value > latest)):
            raise InvalidActionError.of(type(instance).__name__, attribute.name, rule, value)

    return attrs.field(default=documented[0], validator=check, metadata=NOT_A_PARAMETER)


_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def unreadable_items() -> Any:
    """Declare where a result keeps the items of its lists that do not fit: one of them must not cost the others."""
    return attrs.field(default=(), metadata={KEEPS_UNREADABLE: True})


def wire_name(name: str) -> Mapping[str, str | None]:
    """Declare how the vendor spells a field where that is not plain PascalCase: metadata for ``attrs.field``."""
    return {WIRE_NAME: name}


WIRE_NAME = "wire_name"
KEEPS_UNREADABLE = "keeps_unreadable"
NOT_A_PARAMETER: Mapping[str, str | None] = {WIRE_NAME: None}
