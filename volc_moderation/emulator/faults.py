"""Faults on demand: what a vendor, or the network before it, may do to a call."""

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

Kind = Literal["code", "status", "body", "garbage", "reset", "hang"]


@attrs.define(kw_only=True)
class Fault:
    """A fault for calls of an action: unless it is said otherwise, for the first one.

    :param action: which calls, such as ``StopCensorAudioV2``; None for all.
    :param match: only calls with these parameters: ``{"TaskId": "t-1"}``.
    :param every: every n-th of those calls, without end unless ``first`` is given.
    :param first: how many calls it strikes; None for 1, or for no end if ``every`` is given.
    :param retry_after: seconds, in a header Retry-After.
    :param kind: ``code``: the vendor's envelope with ``code``. ``status``: HTTP ``status`` with an HTML page. ``body``:
        HTTP ``status`` with ``body``, whatever it is. ``garbage``: HTTP 200 with bytes that are no text. ``reset``: the
        connection is torn down. ``hang``: no answer.
    :param status: without a body for 204, 205 and 304, which have none.
    :param carried_out: whether the call takes effect before its answer is lost.
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
    _seen: int = attrs.field(default=0, init=False, eq=False, repr=False)
    _struck: int = attrs.field(default=0, init=False, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        kinds = get_args(Kind)
        for is_right, rule in (
            (isinstance(self.kind, str) and self.kind in kinds, f"kind must be one of {', '.join(kinds)}"),
            (self.action is None or isinstance(self.action, str), "action must be a str or None"),
            (isinstance(self.match, Mapping), "match must be an object"),
            (self.first is None or _is_number(self.first, 1), "first must be an int of at least 1, or None"),
            (self.every is None or _is_number(self.every, 1), "every must be an int of at least 1, or None"),
            (self.retry_after is None or _is_number(self.retry_after), "retry_after must be an int from 0, or None"),
            (self.code is None or _is_number(self.code, None) or _is_text(self.code), "code must be an int or a str"),
            (self.kind != "code" or self.code is not None, "a fault of kind code needs a code"),
            (self.status is None or _is_number(self.status, 200, 599), "status must be an int from 200 to 599"),
            (_is_text(self.message) and _is_text(self.body), "message and body must be a str"),
            (isinstance(self.carried_out, bool), "carried_out must be a bool"),
        ):
            if not is_right:
                raise ValueError(rule)

    def asdict(self) -> dict[str, Any]:
        """Return what makes the same fault anew."""
        return attrs.asdict(self, filter=lambda field, _: field.init)

    @property
    def is_spent(self) -> bool:
        """Whether the fault has struck as often as it may."""
        most = 1 if self.first is None and self.every is None else self.first
        return most is not None and self._struck >= most

    def strikes(self, action: str, parameters: Mapping[str, Any]) -> bool:
        """Tell whether the fault is for a call, and count it."""
        if self.is_spent or self.action not in (None, action):
            return False
        if any(parameters.get(name) != value for name, value in self.match.items()):
            return False
        self._seen += 1
        if self._seen % (self.every or 1):
            return False
        self._struck += 1
        return True


def _is_number(value: object, low: int | None = 0, high: int | None = None) -> bool:
    """Tell whether a value is a whole number in a range; a flag is none."""
    return type(value) is int and (low is None or value >= low) and (high is None or value <= high)


def _is_text(value: object) -> bool:
    """Tell whether a value is a text that can be sent."""
    return isinstance(value, str) and _LONE_SURROGATE.search(value) is None


GARBAGE = bytes(range(255, 127, -1))
PAGE = "<html><head><title>{status}</title></head><body>The emulator plays a broken gateway.</body></html>"
