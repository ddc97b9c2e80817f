"""What a vendor call is: its name, API version, HTTP method, quota, repeatability and result.

An action is a frozen attrs value. It is validated on construction, so an invalid argument never reaches the vendor.
``validators.py`` has the rules for its fields.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import attrs

from volc_moderation.errors import InvalidActionError

__all__ = [
    "FROM_CLIENT",
    "KEEPS_UNREADABLE",
    "NOT_A_PARAMETER",
    "WIRE_NAME",
    "Action",
    "Method",
    "Quota",
    "Result",
    "actions_derived_from",
    "api_version",
    "complete",
    "documented_versions",
    "is_required",
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


@attrs.frozen(kw_only=True)
class Result:
    """The base of results, which carry the ids that the vendor's support asks for.

    They are not compared, and not part of the result's JSON. Unless a client has returned the result, they are None.

    :param request_id: the vendor's id of the request.
    :param log_id: the id of the vendor's log, if it has one.
    """

    request_id: str | None = attrs.field(default=None, eq=False, repr=False, metadata={"wire_name": None})
    log_id: str | None = attrs.field(default=None, eq=False, repr=False, metadata={"wire_name": None})


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
    """Declare the field for the API version, as ``version: str | None``. It is not sent as a parameter.

    None means the ``version`` of the client, if it is one of those documented, or else the first of them. A later date
    than those documented is accepted, because the vendor may publish a new version at any time.
    """
    rule = f"one of {', '.join(map(repr, documented))}, or a later date as YYYY-MM-DD"
    latest = max(documented)

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value is None or value in documented:
            return
        if not isinstance(value, str) or not _DATE.fullmatch(value) or value <= latest:
            raise InvalidActionError.of(type(instance).__name__, attribute.name, rule, value)

    return attrs.field(default=None, validator=check, metadata={**NOT_A_PARAMETER, _VERSIONS: documented})


_DATE = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def documented_versions(action_type: type[Action[Any]]) -> tuple[str, ...]:
    """Return the API versions of an action, the default first; empty if its vendor has none.

    A parameter of the vendor's that is called ``version`` is none.
    """
    return _open_fields(action_type).versions  # type: ignore[arg-type] # a type is hashable


class _OpenFields(NamedTuple):
    """The fields that an action may leave to the client."""

    required: tuple[str, ...]
    #: The documented versions, if it has a field ``version`` of ours.
    versions: tuple[str, ...]


@cache
def _open_fields(action_type: type[Action[Any]]) -> _OpenFields:
    fields = attrs.fields(action_type)  # type: ignore[arg-type] # each action is an attrs class
    versions = next((field.metadata[_VERSIONS] for field in fields if _VERSIONS in field.metadata), ())
    return _OpenFields(tuple(field.name for field in fields if _FROM_CLIENT in field.metadata), versions)


def version_of(action: Action[Any]) -> str:
    """Return the API version of an action: its own, or else the default; empty if its vendor has none."""
    versions = documented_versions(type(action))
    if not versions:
        return ""
    return getattr(action, "version") or versions[0]  # noqa: B009 - most vendors have none


def complete(action: Action[R], defaults: Mapping[str, str]) -> Action[R]:
    """Return an action with a client's defaults for what the action leaves to the client, by the names of its fields.

    Raises ``InvalidActionError`` if a required field has a value in neither.
    """
    required, versions = _open_fields(type(action))  # type: ignore[arg-type] # a type is hashable
    values: dict[str, str] = {}
    for name in required:
        if getattr(action, name) is None:
            if name not in defaults:
                raise InvalidActionError.of(action.name, name, f"given, here or as {name}= of the client", None)
            values[name] = defaults[name]
    version = defaults.get("version")
    if version in versions and getattr(action, "version") is None:  # noqa: B009 - as above
        values["version"] = version
    return attrs.evolve(action, **values) if values else action  # type: ignore[misc] # each action is an attrs class


def is_required(attribute: "attrs.Attribute[Any]") -> bool:
    """Return whether a value of a field must be given, in the action or, if it is ``FROM_CLIENT``, by the client."""
    return attribute.default is attrs.NOTHING or _FROM_CLIENT in attribute.metadata


def unreadable_items() -> Any:
    """Declare the field of a result that keeps the unreadable items of its lists, so that the others are not lost."""
    return attrs.field(default=(), metadata={KEEPS_UNREADABLE: True})


def wire_name(name: str) -> Mapping[str, str | None]:
    """Declare how the vendor spells a field, if not in plain PascalCase: metadata for ``attrs.field``."""
    return {WIRE_NAME: name}


#: Keys of the metadata of a field.
WIRE_NAME = "wire_name"
KEEPS_UNREADABLE = "keeps_unreadable"
_VERSIONS = "versions"
_FROM_CLIENT = "from_client"

#: The metadata of a field that is required, but may be None in an action: the client then has the value.
FROM_CLIENT: Mapping[str, bool] = {_FROM_CLIENT: True}

#: The metadata of a field that is not sent as a parameter.
NOT_A_PARAMETER: Mapping[str, str | None] = {WIRE_NAME: None}
