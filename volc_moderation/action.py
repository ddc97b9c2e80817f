"""What a vendor call is: its name, API version, HTTP method, quota, repeatability and result.

An action is a frozen attrs value. It is validated on construction, so an invalid argument never reaches the vendor.
``validators.py`` has the rules for its fields.
"""

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

import attrs

from volc_moderation.errors import InvalidActionError

__all__ = [
    "KEEPS_UNREADABLE",
    "NOT_A_PARAMETER",
    "WIRE_NAME",
    "Action",
    "Method",
    "Quota",
    "actions_derived_from",
    "api_version",
    "method_name",
    "unreadable_items",
    "version_of",
    "wire_name",
]

R = TypeVar("R")

#: The HTTP methods of the vendors' actions.
Method = Literal["GET", "POST"]


@attrs.frozen
class Quota:
    """At most ``limit`` calls in any ``window`` seconds.

    :param limit: the number of calls. If it is not published, the limit to start with: the real one is learned.
    :param window: the span over which the vendor counts, in seconds.
    :param published: whether the vendor publishes the quota.
    """

    limit: int
    window: float = 1.0
    published: bool = True


class Action(Generic[R]):
    """The base of every action. A subclass is ``@attrs.frozen(kw_only=True)`` and has the vendor's name."""

    __slots__ = ()

    #: The vendor's name of the action: the name of the class.
    name: ClassVar[str]
    method: ClassVar[Method] = "POST"
    quota: ClassVar[Quota]
    #: An additional quota for each room, which the field ``room_id`` names.
    room_quota: ClassVar[Quota | None] = None
    #: Codes that mean that the quota of the room is used up, not the quota of the action.
    room_throttle_codes: ClassVar[frozenset[str | int]] = frozenset()
    #: Whether a second request has the same effect as one. False if the vendor does not say so.
    repeatable: ClassVar[bool] = True
    #: Codes that mean "already done" if an earlier attempt may have arrived. See ``is_already_done``.
    already_done_codes: ClassVar[frozenset[str | int]] = frozenset()
    #: The fields that identify what the action acts on. A call with the same values as one that has not finished yet is
    #: the same call. None: all fields.
    identity_fields: ClassVar[tuple[str, ...] | None] = None
    #: The type of the result.
    result: type[R]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = cls.__name__

    def is_already_done(self, code: str | int) -> bool:
        """Return whether a code means that this call is already done, if an earlier attempt may have arrived."""
        return code in self.already_done_codes


def actions_derived_from(base: type[Action[Any]]) -> dict[str, type[Action[Any]]]:
    """Return all actions that derive from a class, by name, including actions that users have defined."""
    actions: dict[str, type[Action[Any]]] = {}
    classes = [base]
    while classes:
        cls = classes.pop(0)
        classes += cls.__subclasses__()
        # With slots, attrs creates a second class. The first one, without attributes, may exist for a while longer.
        if "__attrs_attrs__" in vars(cls) and hasattr(cls, "result"):
            actions[cls.name] = cls
    return actions


def method_name(action_name: str) -> str:
    """Return the name of the client's method for an action: in snake_case, without a trailing V2."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", action_name.removesuffix("V2")).lower()


def api_version(*documented: str) -> Any:
    """Declare the field for the API version. It is not sent as a parameter. The first version is the default.

    A later date than those documented is accepted, because the vendor may publish a new version at any time.
    """
    rule = f"one of {', '.join(map(repr, documented))}, or a later date as YYYY-MM-DD"
    latest = max(documented)

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or (value not in documented and not (_DATE.fullmatch(value) and value > latest)):
            raise InvalidActionError.of(type(instance).__name__, attribute.name, rule, value)

    return attrs.field(default=documented[0], validator=check, metadata=NOT_A_PARAMETER)


_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def version_of(action: Action[Any]) -> str:
    """Return the API version of an action, as ``api_version`` declares it; empty if its vendor has none.

    A parameter of the vendor's that is called ``version`` is none.
    """
    field = getattr(attrs.fields(type(action)), "version", None)  # type: ignore[arg-type] # each action is an attrs class
    is_declared = field is not None and field.metadata.get(WIRE_NAME, "") is None
    return str(getattr(action, "version")) if is_declared else ""  # noqa: B009 - most actions have none


def unreadable_items() -> Any:
    """Declare the field of a result that keeps the unreadable items of its lists, so that the others are not lost."""
    return attrs.field(default=(), metadata={KEEPS_UNREADABLE: True})


def wire_name(name: str) -> Mapping[str, str | None]:
    """Declare how the vendor spells a field, if not in plain PascalCase: metadata for ``attrs.field``."""
    return {WIRE_NAME: name}


#: Keys of the metadata of a field.
WIRE_NAME = "wire_name"
KEEPS_UNREADABLE = "keeps_unreadable"

#: The metadata of a field that is not sent as a parameter.
NOT_A_PARAMETER: Mapping[str, str | None] = {WIRE_NAME: None}
