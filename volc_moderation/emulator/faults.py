"""Faults on demand: what a vendor, or the network before it, may do to a call."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs

Kind = Literal["code", "status", "body", "garbage", "reset", "hang"]


@attrs.define(kw_only=True)
class Fault:
    """A fault for the first calls of an action.

    :param action: which calls, such as ``StopCensorAudioV2``; None for all.
    :param match: only calls with these parameters: ``{"TaskId": "t-1"}``.
    :param first: for how many calls.
    :param every: only every n-th of those calls.
    :param retry_after: seconds, in a header Retry-After.
    :param kind: ``code``: the vendor's envelope with ``code``. ``status``: HTTP ``status`` with an HTML page. ``body``:
        HTTP ``status`` with ``body``, whatever it is. ``garbage``: HTTP 200 with bytes that are no text. ``reset``: the
        connection is torn down. ``hang``: no answer.
    :param carried_out: whether the call takes effect before its answer is lost.
    """

    kind: Kind
    action: str | None = None
    match: Mapping[str, Any] = attrs.field(factory=dict)
    first: int = 1
    every: int = 1
    retry_after: int | None = None
    code: str | int | None = None
    message: str = "a fault of the emulator"
    status: int | None = None
    body: str = ""
    carried_out: bool = False
    _seen: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        for is_right, rule in (
            (self.kind in get_args(Kind), f"kind must be one of {', '.join(get_args(Kind))}"),
            (self.action is None or isinstance(self.action, str), "action must be a str or None"),
            (isinstance(self.match, Mapping), "match must be an object"),
            (isinstance(self.first, int) and self.first > 0, "first must be an int of at least 1"),
            (isinstance(self.every, int) and self.every > 0, "every must be an int of at least 1"),
            (self.retry_after is None or isinstance(self.retry_after, int), "retry_after must be an int or None"),
            (self.kind != "code" or isinstance(self.code, (int, str)), "a fault of kind code needs a code"),
            (self.status is None or self.status in range(200, 600), "status must be an int from 200 to 599"),
            (isinstance(self.message, str) and isinstance(self.body, str), "message and body must be a str"),
        ):
            if not is_right:
                raise ValueError(rule)

    def asdict(self) -> dict[str, Any]:
        """Return what makes the same fault anew."""
        return attrs.asdict(self, filter=lambda field, _: field.init)

    def strikes(self, action: str, parameters: Mapping[str, Any]) -> bool:
        """Tell whether the fault is for a call, and count it."""
        if self.first <= 0 or self.action not in (None, action):
            return False
        if any(parameters.get(name) != value for name, value in self.match.items()):
            return False
        self._seen += 1
        if self._seen % self.every:
            return False
        self.first -= 1
        return True


GARBAGE = bytes(range(255, 127, -1))
PAGE = "<html><head><title>{status}</title></head><body>The emulator plays a broken gateway.</body></html>"
