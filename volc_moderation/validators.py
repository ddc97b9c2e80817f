"""Field rules: attrs validators. Each raises ``InvalidActionError``, which names the field and the rule."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from volc_moderation.errors import InvalidActionError

if TYPE_CHECKING:
    import attrs

#: A rule: an attrs validator. ``Any`` stands for the attribute's own type, which attrs leaves to the field.
Rule = Callable[[object, "attrs.Attribute[Any]", Any], None]


def _broken(instance: object, attribute: "attrs.Attribute[Any]", rule: str, value: object) -> InvalidActionError:
    return InvalidActionError.of(type(instance).__name__, attribute.name, rule, value)


def text(*, most: int | None = None, most_bytes: int | None = None) -> Rule:
    """Check a str that is not empty and has no control characters, at most ``most`` long."""
    rule = "a str that is not empty, without control characters"
    if most is not None:
        rule += f", of at most {most} characters"
    if most_bytes is not None:
        rule += f", of at most {most_bytes} bytes in UTF-8"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if (
            not isinstance(value, str)
            or not value
            or _UNFIT.search(value)
            or (most is not None and len(value) > most)
            or (most_bytes is not None and len(value.encode()) > most_bytes)
        ):
            raise _broken(instance, attribute, rule, value)

    return check


def given() -> Rule:
    """Check a text of a result that is no use if it is empty, such as the id that alone stops a task."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not value:
            raise ValueError(f"{attribute.name} is empty")

    return check


def message(*, most_bytes: int | None = None) -> Rule:
    """Check a str that is not empty and has a UTF-8 form, of at most ``most_bytes`` in it: anything people write."""
    rule = "a str that is not empty and can be encoded in UTF-8"
    if most_bytes is not None:
        rule += f", of at most {most_bytes} bytes"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or not value or _SURROGATE.search(value):
            raise _broken(instance, attribute, rule, value)
        if most_bytes is not None and len(value.encode()) > most_bytes:
            raise _broken(instance, attribute, rule, value)

    return check


_SURROGATE = re.compile("[\ud800-\udfff]")

#: Control characters, and lone surrogates, which have no UTF-8 form.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

_IDENTIFIER = re.compile(r"[a-zA-Z0-9_@\-.]{1,128}")


def identifier() -> Rule:
    """Check an id by the rule of https://www.volcengine.com/docs/6348/69828."""
    rule = r"a str that matches [a-zA-Z0-9_@\-\.]{1,128}"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
            raise _broken(instance, attribute, rule, value)

    return check


def integer(low: int, high: int, *, off: int | None = None) -> Rule:
    """Check an int from ``low`` to ``high``, or ``off``, the number that switches the thing off."""
    rule = f"an int from {low} to {high}" + ("" if off is None else f", or {off} for off")

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not (low <= value <= high or value == off):
            raise _broken(instance, attribute, rule, value)

    return check


def at_least(low: int) -> Rule:
    """Check an int of a list that the vendor extends: from ``low`` on, those that no document has yet included."""
    rule = f"an int of at least {low}"

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MAX_INT32:
            raise _broken(instance, attribute, rule, value)

    return check


#: Of the vendors' int32 fields.
MAX_INT32 = 2**31 - 1


def flag() -> Rule:
    """Check a bool."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, bool):
            raise _broken(instance, attribute, "a bool", value)

    return check


def ip_address() -> Rule:
    """Check an IPv4 or IPv6 address."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        try:
            ipaddress.ip_address(value if isinstance(value, str) else "")
        except ValueError:
            raise _broken(instance, attribute, "an IPv4 or IPv6 address, as a str", value) from None

    return check


def url(*, most: int | None = None) -> Rule:
    """Check an absolute http or https address, of at most ``most`` characters."""
    rule = "an absolute http or https URL" + ("" if most is None else f" of at most {most} characters")

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, str) or (most is not None and len(value) > most) or not _is_web_address(value):
            raise _broken(instance, attribute, rule, value)

    return check


def _is_web_address(value: str) -> bool:
    if _UNFIT.search(value) or " " in value:
        return False
    try:
        parts = urlsplit(value)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def model(cls: type["attrs.AttrsInstance"], **fields: Rule) -> Rule:
    """Check an instance of ``cls``, and those of its ``fields`` that are not None."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, cls):
            raise _broken(instance, attribute, f"a {cls.__name__}", value)
        for name, rule in fields.items():
            optional(rule)(instance, attribute.evolve(name=f"{attribute.name}.{name}"), getattr(value, name))

    return check


def list_of(item: Rule, *, least: int = 0, most: int | None = None) -> Rule:
    """Check a list or tuple of ``least`` to ``most`` items that each keep the rule ``item``. Use with ``as_tuple``."""
    if most is None:
        rule = "a list" + (f" of at least {least} items" if least else "")
    else:
        rule = "a list of " + (f"{least} to {most} items" if least else f"at most {most} items")

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, tuple) or len(value) < least or (most is not None and len(value) > most):
            raise _broken(instance, attribute, rule, value)
        for index, one in enumerate(value):
            item(instance, attribute.evolve(name=f"{attribute.name}[{index}]"), one)

    return check


def optional(rule: Rule) -> Rule:
    """Check only what is not None."""

    def check(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
        if value is not None:
            rule(instance, attribute, value)

    return check


def blank_as_none(value: Any) -> Any:
    """Convert the empty text to None: both vendors' samples have it for an address that is not given."""
    return None if isinstance(value, str) and not value else value


def as_tuple(value: Iterable[Any] | None) -> Any:
    """Convert a list to a tuple, so that the action stays frozen; leave anything else to the field's rule."""
    return tuple(value) if isinstance(value, list) else value
