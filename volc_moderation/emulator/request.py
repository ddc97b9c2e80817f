"""Reads requests to the vendors, and the JSON in them and in requests to the admin API."""

import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from volc_moderation.emulator.vendor import VendorRequest

#: The deepest nesting of JSON: deeper than any call of either vendor, and shallow enough to read without risk.
MAX_JSON_DEPTH = 20


def read_call(request: Request, body: bytes) -> VendorRequest:
    """Read a request to a vendor."""
    raw_query = request.scope["query_string"].decode("latin-1")
    pairs = parse_qsl(raw_query, keep_blank_values=True)
    return VendorRequest(
        method=request.method,
        raw_query=raw_query,
        query=dict(pairs),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        parameters=json_object(body) if request.method == "POST" else _with_lists(pairs),
    )


def json_object(body: bytes) -> Mapping[str, Any] | None:
    """Read a JSON object. Return None for anything else, and for an object that cannot be written as JSON again."""
    try:
        value = json.loads(body)
        _check(value, MAX_JSON_DEPTH)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _check(value: Any, depth: int) -> None:
    """Refuse what Python reads as JSON but cannot write: lone surrogates, NaN and infinities, deep nesting."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a JSON number")
    elif isinstance(value, (dict, list)):
        if depth == 0:
            raise ValueError("nested too deeply")
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(item, depth - 1)


def _with_lists(pairs: list[tuple[str, str]]) -> Mapping[str, Any]:
    """Return a query, with a list for each name that is repeated or ends in ``[]``."""
    lists: dict[str, list[str]] = {}
    for name, value in pairs:
        lists.setdefault(name, []).append(value)
    return {name: values if name.endswith("[]") or len(values) > 1 else values[0] for name, values in lists.items()}
