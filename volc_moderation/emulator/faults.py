"""Faults on demand: what a vendor, or the network in front of it, may do to a call."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

Kind = Literal["code", "status", "body", "garbage", "reset", "hang"]


@attrs.define(kw_only=True)
class Fault:
    """A fault for calls that match: by default, for the first one.

    :param kind: ``code``: the vendor's error envelope with ``code`` and ``message``. ``status``: HTTP ``status``
        (default 502) with an HTML page. ``body``: HTTP ``status`` (default 200) with any ``body``. ``garbage``: HTTP
        200 with bytes that are not text. ``reset``: the connection is reset. ``hang``: there is no answer.
    :param action: only calls of this action, such as ``StopCensorAudioV2``; None for all actions.
    :param match: only calls with these parameters: ``{"TaskId": "t-1"}``.
    :param first: how many calls get the fault; None for 1, or for no limit if ``every`` is set.
    :param every: only every n-th call that matches gets the fault.
    :param retry_after: seconds, sent in a Retry-After header.
    :param status: the HTTP status, 200 to 599. The answer has no body if it is 204, 205 or 304.
    :param carried_out: whether the call takes effect before its answer is lost.

    Raises ``ValueError`` for a wrong argument.
    """

    kind: Kind
    action: str | None = None
    match: Mapping[str, Any] = attrs.field(factory=dict)
    first: int | None = None
    every: int | None = None
    retry_after: int | None = None
    code: str | int | None = None
    message: str = "a fault of the emulator"
    status: int | None = None
    body: str = ""
    carried_out: bool = False
    _matched: int = attrs.field(default=0, init=False, eq=False, repr=False)
    _triggered: int = attrs.field(default=0, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        kinds = get_args(Kind)
        for is_valid, rule in (
            (isinstance(self.kind, str) and self.kind in kinds, f"kind must be one of {', '.join(kinds)}"),
            (self.action is None or isinstance(self.action, str), "action must be a str or None"),
            (isinstance(self.match, Mapping), "match must be an object"),
            (self.first is None or _is_int(self.first, 1), "first must be an int of at least 1, or None"),
            (self.every is None or _is_int(self.every, 1), "every must be an int of at least 1, or None"),
            (self.retry_after is None or _is_int(self.retry_after), "retry_after must be an int from 0, or None"),
            (self.code is None or _is_int(self.code, None) or _is_text(self.code), "code must be an int or a str"),
            (self.kind != "code" or self.code is not None, "a fault of kind code needs a code"),
            (self.status is None or _is_int(self.status, 200, 599), "status must be an int from 200 to 599"),
            (_is_text(self.message) and _is_text(self.body), "message and body must be a str"),
            (isinstance(self.carried_out, bool), "carried_out must be a bool"),
        ):
            if not is_valid:
                raise ValueError(rule)

    def asdict(self) -> dict[str, Any]:
        """Return the arguments that construct an equal fault."""
        return attrs.asdict(self, filter=lambda field, _: field.init)

    @property
    def is_exhausted(self) -> bool:
        """Whether as many calls have got the fault as may get it."""
        limit = 1 if self.first is None and self.every is None else self.first
        return limit is not None and self._triggered >= limit

    def is_triggered(self, action: str, parameters: Mapping[str, Any]) -> bool:
        """Return whether a call gets the fault, and count the call."""
        if self.is_exhausted or self.action not in (None, action):
            return False
        if any(parameters.get(name) != value for name, value in self.match.items()):
            return False
        self._matched += 1
        if self._matched % (self.every or 1):
            return False
        self._triggered += 1
        return True


def _is_int(value: object, low: int | None = 0, high: int | None = None) -> bool:
    """Return whether a value is an int in a range; a bool is not."""
    return type(value) is int and (low is None or value >= low) and (high is None or value <= high)


def _is_text(value: object) -> bool:
    """Return whether a value is a str that can be encoded."""
    return isinstance(value, str) and _LONE_SURROGATE.search(value) is None


#: The body of a fault of kind ``garbage``.
GARBAGE = bytes(range(255, 127, -1))
#: The body of a fault of kind ``status``.
ERROR_PAGE = "<html><head><title>{status}</title></head><body>The emulator plays a broken gateway.</body></html>"
