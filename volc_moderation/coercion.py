"""Converts text from a command line or a table to the values that the fields of an action accept. Pure.

A list is split at commas, and a model is the vendor's JSON. Text that cannot be converted is left unchanged, so that
the field's own rule reports it.
"""

import json
from collections.abc import Callable
from typing import Any, get_args, get_origin

import attrs

from volc_moderation.action import Action
from volc_moderation.errors import DecodeError, InvalidActionError
from volc_moderation.wire import parse, to_json

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def types_in(annotation: Any) -> set[Any]:
    """Return the plain types in ``int | None``, ``Sequence[str]`` and the like."""
    return set().union(*map(types_in, get_args(annotation))) if get_origin(annotation) else {annotation}


def is_list(annotation: Any) -> bool:
    """Return whether an annotation is a list of str or int."""
    return "Sequence" in str(annotation) and bool({str, int} & types_in(annotation))


def parser_for(action: type[Action[Any]], name: str, annotation: Any) -> Callable[[str], Any] | None:
    """Return the function that parses the text of a field; None if the field accepts the text itself."""
    kinds = types_in(annotation)
    if is_list(annotation):
        return lambda text: parse_list([text], annotation)
    if model_type_in(annotation) is not None:
        return lambda text: parse_model(action, name, _load_json(text), annotation, original=text)
    if {bool, int} <= kinds:
        return parse_switch
    if bool in kinds:
        return lambda text: _BOOLEANS.get(text.lower(), text)
    return parse_integer if int in kinds else None


def parse_list(texts: list[str], annotation: Any) -> list[str | int]:
    """Parse a list from one or more texts whose items are separated by commas."""
    items = [item for text in texts for item in text.split(",")]
    return [parse_integer(item) for item in items] if int in types_in(annotation) else list(items)


def parse_integer(text: str) -> int | str:
    """Parse an integer. Returns the text itself if it is not one."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < len(str(2**64)) else text


def parse_switch(text: str) -> bool | int | str:
    """Parse a switch that is sent as 0 or 1, and may be given as a bool. Returns the text itself if it is neither."""
    return _BOOLEANS.get(text.lower(), parse_integer(text))


def model_type_in(annotation: Any) -> Any:
    """Return the type of the model, or of the list of models, that a field accepts; None if it accepts none."""
    return next((kind for kind in types_in(annotation) if attrs.has(kind)), None)


def parse_model(action: type[Action[Any]], name: str, value: object, annotation: Any, *, original: object) -> Any:
    """Convert decoded JSON to a model or a list of models.

    Raises ``InvalidActionError``, which describes ``original``, the value before it was decoded.
    """
    model_type, is_many = model_type_in(annotation), "Sequence" in str(annotation)
    value = [_without_nulls(item) for item in value] if isinstance(value, list) else _without_nulls(value)
    try:
        parsed = parse(value, list[model_type] if is_many else model_type, root=name)  # type: ignore[valid-type]
        is_whole = to_json(parsed) == value  # False if there are names that the model does not have
    except DecodeError:
        is_whole = False
    if not is_whole:
        rule = f"JSON of {'a list of' if is_many else 'the model'} {model_type.__name__}, spelled as the vendor does"
        raise InvalidActionError.of(action.name, name, rule, original)
    return parsed


def _without_nulls(value: object) -> object:
    """Drop null fields: a table of models has a null for every field that a model does not set."""
    return {name: part for name, part in value.items() if part is not None} if isinstance(value, dict) else value


def _load_json(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value
