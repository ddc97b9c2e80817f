"""The stored form of what a call returns: JSON in the vendor's spelling. Pure."""

from functools import cache
from typing import TypeVar

import attrs

from volc_moderation.action import KEEPS_UNREADABLE
from volc_moderation.wire import DecodedResponse, dump_json, parse, to_json, wire_names

R = TypeVar("R")

#: The text of an ``Acknowledgement``, whose own text is not stored.
_SUCCESS = "success"


def dump_result(result: object) -> str | None:
    """Return the JSON of a result, or None if it only says that the call succeeded."""
    if _has_only_a_message(type(result)):  # type: ignore[arg-type] # a type is hashable
        return None
    value = to_json(result)
    is_plain_success = attrs.has(type(result)) and isinstance(value, dict) and value.keys() <= {"Message"}
    return None if is_plain_success else dump_json(value).decode()


def load_result(value: object, result_type: type[R], *, message: str | None, request_id: str | None) -> R:
    """Return the result of a job that is done.

    :param value: the stored JSON; None if the result only said that the call succeeded.
    :param message: why the job counts as done, if the vendor has answered that it is done already.

    Raises ``DecodeError`` if the JSON is no such result.
    """
    result = parse({"Message": message or _SUCCESS} if value is None else value, result_type)
    DecodedResponse(result, request_id)  # gives it the id
    if isinstance(value, dict) and (keeper := _keeper(result_type)) is not None:  # type: ignore[arg-type] # as above
        field, name = keeper
        # ``parse`` takes these items only from the lists that they were in.
        result = attrs.evolve(result, **{field: tuple(value.get(name, ()))})  # type: ignore[misc] # it has a field
    return result


@cache
def _has_only_a_message(result_type: type[object]) -> bool:
    """Return whether all that a result can say is that the call succeeded."""
    return attrs.has(result_type) and {*wire_names(result_type).values()} <= {"Message"}


@cache
def _keeper(result_type: type[object]) -> tuple[str, str] | None:
    """Return the name and the vendor's spelling of the field that keeps unreadable items, if there is one."""
    fields = attrs.fields(result_type) if attrs.has(result_type) else ()
    names = [field.name for field in fields if KEEPS_UNREADABLE in field.metadata]
    return (names[0], wire_names(result_type)[names[0]]) if names else None
