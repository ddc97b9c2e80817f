"""Rules for the fields of actions: attrs validators and converters.

Use them qualified: ``field(validator=validators.text())``. An argument that breaks a rule raises
``InvalidActionError``, which names the field and the rule.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from volc_moderation.errors import InvalidActionError

if TYPE_CHECKING:
    import attrs

__all__ = [
    "MAX_INT32",
    "Validator",
    "as_tuple",
    "blank_as_none",
    "bool_as_int",
    "boolean",
    "free_text",
    "identifier",
    "integer",
    "ip_address",
    "list_of",
    "model",
    "not_empty",
    "open_enum",
    "optional",
    "switch",
    "text",
    "url",
]

#: An attrs validator. ``Any`` stands for the type of the attribute, which attrs leaves to the field.
Validator = Callable[[object, "attrs.Attribute[Any]", Any], None]

#: The largest value of the vendors' int32 fields.
MAX_INT32 = 2**31 - 1


def _invalid(instance: object, attribute: "attrs.Attribute[Any]", rule: str, value: object) -> InvalidActionError:
    return InvalidActionError.of(type(instance).__name__, attribute.name, rule, value)


def text(*, most: int | None = None, most_bytes: int | None = None) -> Validator:
    """Require a str that is not empty and has no control characters.

    ``most`` limits its characters, and ``most_bytes`` its bytes in UTF-8.
    """
    rule = "a str that is not empty, without control characters"
    if most is not None:
        rule += f", of at most {most} characters"
    if most_bytes is not None:
        rule += f", of at most {most_bytes} bytes in UTF-8"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if (
            not isinstance(value, str)
            or not value
            or _CONTROL_OR_SURROGATE.search(value)
            or (most is not None and len(value) > most)
            or (most_bytes is not None and len(value.encode()) > most_bytes)
        ):
            raise _invalid(instance, attribute, rule, value)

    return check


def free_text(*, most_bytes: int | None = None) -> Validator:
    """Require a str that is not empty and can be encoded in UTF-8, in at most ``most_bytes``: anything people write."""
    rule = "a str that is not empty and can be encoded in UTF-8"
    if most_bytes is not None:
        rule += f", of at most {most_bytes} bytes"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or not value or _SURROGATE.search(value):
            raise _invalid(instance, attribute, rule, value)
        if most_bytes is not None and len(value.encode()) > most_bytes:
            raise _invalid(instance, attribute, rule, value)

    return check


#: Lone surrogates, which have no UTF-8 form.
_SURROGATE = re.compile("[\ud800-\udfff]")

#: Control characters and lone surrogates.
_CONTROL_OR_SURROGATE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def not_empty() -> Validator:
    """Require text in a result that is useless without it, such as the id that alone stops a task."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not value:
            raise ValueError(f"{attribute.name} is empty")

    return check


def identifier() -> Validator:
    """Require an id as described on https://www.volcengine.com/docs/6348/69828."""
    rule = r"a str that matches [a-zA-Z0-9_@\-\.]{1,128}"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
            raise _invalid(instance, attribute, rule, value)

    return check


_IDENTIFIER = re.compile(r"[a-zA-Z0-9_@\-.]{1,128}")


def integer(low: int, high: int, *, off: int | None = None) -> Validator:
    """Require an int from ``low`` to ``high``, or ``off``, the number that switches the feature off."""
    rule = f"an int from {low} to {high}" + ("" if off is None else f", or {off} for off")

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not (low <= value <= high or value == off):
            raise _invalid(instance, attribute, rule, value)

    return check


def open_enum(low: int) -> Validator:
    """Require an int from ``low`` to ``MAX_INT32``: a value of an enum to which the vendor may add new numbers."""
    rule = f"an int of at least {low}"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MAX_INT32:
            raise _invalid(instance, attribute, rule, value)

    return check


def boolean() -> Validator:
    """Require a bool."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, bool):
            raise _invalid(instance, attribute, "a bool", value)

    return check


def switch() -> Validator:
    """Require 0 or 1. Combine it with the converter ``bool_as_int``, which makes a bool one of them."""
    rule = "0 or 1, or a bool"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value not in {0, 1}:
            raise _invalid(instance, attribute, rule, value)

    return check


def ip_address() -> Validator:
    """Require an IPv4 or IPv6 address."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        try:
            ipaddress.ip_address(value if isinstance(value, str) else "")
        except ValueError:
            raise _invalid(instance, attribute, "an IPv4 or IPv6 address, as a str", value) from None

    return check


def url(*, most: int | None = None) -> Validator:
    """Require an absolute http or https URL of at most ``most`` characters."""
    rule = "an absolute http or https URL" + ("" if most is None else f" of at most {most} characters")

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or (most is not None and len(value) > most) or not _is_web_address(value):
            raise _invalid(instance, attribute, rule, value)

    return check


def _is_web_address(value: str) -> bool:
    if _CONTROL_OR_SURROGATE.search(value) or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def model(cls: type["attrs.AttrsInstance"], **fields: Validator) -> Validator:
    """Require an instance of ``cls`` whose ``fields`` are valid or None."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, cls):
            raise _invalid(instance, attribute, f"an instance of {cls.__name__}", value)
        for name, validator in fields.items():
            optional(validator)(instance, attribute.evolve(name=f"{attribute.name}.{name}"), getattr(value, name))

    return check


def list_of(item: Validator, *, least: int = 0, most: int | None = None) -> Validator:
    """Require ``least`` to ``most`` items, each valid by ``item``. Combine it with the converter ``as_tuple``."""
    if most is None:
        rule = "a list" + (f" of at least {least} items" if least else "")
    else:
        rule = "a list of " + (f"{least} to {most} items" if least else f"at most {most} items")

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, tuple) or len(value) < least or (most is not None and len(value) > most):
            raise _invalid(instance, attribute, rule, value)
        for index, one in enumerate(value):
            item(instance, attribute.evolve(name=f"{attribute.name}[{index}]"), one)

    return check


def optional(validator: Validator) -> Validator:
    """Accept None, or else what ``validator`` accepts."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value is not None:
            validator(instance, attribute, value)

    return check


def blank_as_none(value: Any) -> Any:
    """Convert an empty str to None: both vendors' samples use one for a URL that is not set."""
    return None if isinstance(value, str) and not value else value


def bool_as_int(value: bool | int | None) -> int | None:  # noqa: FBT001 - editors show it as the type of the field
    """Convert True to 1 and False to 0, for switches that a vendor sends as numbers."""
    return int(value) if isinstance(value, bool) else value


def as_tuple(value: Iterable[Any] | None) -> Any:
    """Convert a list to a tuple, so that the action is immutable. Other values are left to the validator."""
    return tuple(value) if isinstance(value, list) else value
