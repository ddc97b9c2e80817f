"""Reads requests: what a vendor is asked, and the JSON of either side."""

import json
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request

from volc_moderation.emulator.vendor import Call

#: So deep may JSON be nested: deeper than any call of either vendor, and not so deep that reading it is a danger.
MOST_DEPTH = 20


def read(request: Request, body: bytes) -> Call:
    """Read a request to a vendor."""
    raw_query = request.scope["query_string"].decode("latin-1")
    pairs = parse_qsl(raw_query, keep_blank_values=True)
    return Call(
        method=request.method,
        raw_query=raw_query,
        query=dict(pairs),
        headers={name.lower(): value for name, value in request.headers.items()},
        body=body,
        parameters=json_object(body) if request.method == "POST" else _with_lists(pairs),
    )


def json_object(body: bytes) -> Mapping[str, Any] | None:
    """Read a JSON object, all of which can be written again; None if it is anything else."""
    try:
        value = json.loads(body)
        _check(value, MOST_DEPTH)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _check(value: Any, depth: int) -> None:
    """Refuse what Python takes for JSON and cannot write as such: lone surrogates, what is no number, any depth."""
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a number of JSON")
    elif isinstance(value, (dict, list)):
        if depth == 0:
            raise ValueError("nested too deep")
        for item in [*value, *value.values()] if isinstance(value, dict) else value:
            _check(item, depth - 1)


def _with_lists(pairs: list[tuple[str, str]]) -> Mapping[str, Any]:
    """Return a query with lists for names that are repeated, or say by their end that they may be."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: many if name.endswith("[]") or len(many) > 1 else many[0] for name, many in values.items()}
