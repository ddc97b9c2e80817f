"""From text, as a command line or a table has it, to what a field of an action takes. Pure.

A list is split at commas, a model is the vendor's JSON. What cannot be read is left as it is, for the field's rule.
"""

import json
from collections.abc import Callable
from typing import Any, get_args, get_origin

import attrs

from volc_moderation.action import Action
from volc_moderation.errors import InvalidActionError
from volc_moderation.wire import parse, to_json

_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def types_in(annotation: Any) -> set[Any]:
    """Return the plain types in ``int | None``, ``Sequence[str]`` and the like."""
    return set().union(*map(types_in, get_args(annotation))) if get_origin(annotation) else {annotation}


def is_list(annotation: Any) -> bool:
    """Tell whether it is a list of text or of whole numbers."""
    return "Sequence" in str(annotation) and bool({str, int} & types_in(annotation))


def reader_of(action: type[Action[Any]], name: str, annotation: Any) -> Callable[[str], Any] | None:
    """Return what reads the text of a field; None if the field takes the text itself."""
    kinds = types_in(annotation)
    if is_list(annotation):
        return lambda text: read_list([text], annotation)
    if model_in(annotation) is not None:
        return lambda text: read_model(action, name, _json(text), annotation, given=text)
    if bool in kinds:
        return lambda text: _FLAGS.get(text.lower(), text)
    return read_number if int in kinds else None


def read_list(texts: list[str], annotation: Any) -> list[str | int]:
    """Read a list from one or more texts with commas."""
    words = [word for one in texts for word in one.split(",")]
    return [read_number(word) for word in words] if int in types_in(annotation) else list(words)


def read_number(text: str) -> int | str:
    """Read a whole number."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < len(str(2**64)) else text


def model_in(annotation: Any) -> Any:
    """Return the model that a field takes, or a list of it; None if it takes none."""
    return next((one for one in types_in(annotation) if attrs.has(one)), None)


def read_model(action: type[Action[Any]], name: str, value: object, annotation: Any, *, given: object) -> Any:
    """Read a model, or a list of them, from JSON that was decoded. Raises ``InvalidActionError``."""
    model, many = model_in(annotation), "Sequence" in str(annotation)
    value = [_given(one) for one in value] if isinstance(value, list) else _given(value)
    read = parse(value, list[model] if many else model, root=name)  # type: ignore[valid-type]
    if to_json(read) != value:  # not JSON, not of the type, or with names that the model does not have
        rule = f"JSON of a {'list of ' if many else ''}{model.__name__}, spelled as the vendor does"
        raise InvalidActionError.of(action.name, name, rule, given)
    return read


def _given(value: object) -> object:
    """Leave out what is null: a table of models has a null wherever one model has nothing."""
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value


def _json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
