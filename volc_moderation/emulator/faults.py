"""Faults on demand: what a vendor, or the network before it, may do to a call."""

from collections.abc import Mapping
from typing import Any, Literal

import attrs


@attrs.define(kw_only=True)
class Fault:
    """A fault for the first calls of an action.

    :param action: which calls, such as ``StopCensorAudioV2``; None for all.
    :param match: only calls with these parameters: ``{"TaskId": "t-1"}``.
    :param first: for how many calls.
    :param kind: ``code``: the vendor's envelope with ``code``. ``status``: HTTP ``status`` with an HTML page. ``body``:
        HTTP ``status`` with ``body``, whatever it is. ``garbage``: HTTP 200 with bytes that are no text. ``reset``: the
        connection is torn down. ``hang``: no answer.
    :param carried_out: whether the call takes effect before its answer is lost.
    """

    kind: Literal["code", "status", "body", "garbage", "reset", "hang"]
    action: str | None = None
    match: Mapping[str, Any] = attrs.field(factory=dict)
    first: int = 1
    code: str | int | None = None
    message: str = "a fault of the emulator"
    status: int | None = None
    body: str = ""
    carried_out: bool = False

    def __attrs_post_init__(self) -> None:
        if self.kind not in {"code", "status", "body", "garbage", "reset", "hang"}:
            raise ValueError(f"kind {self.kind!r} is unknown")
        if self.kind == "code" and self.code is None:
            raise ValueError("a fault of kind 'code' needs a code")

    def matches(self, action: str, parameters: Mapping[str, Any]) -> bool:
        """Tell whether the fault is for a call."""
        if self.first <= 0 or self.action not in (None, action):
            return False
        return all(parameters.get(name) == value for name, value in self.match.items())


GARBAGE = bytes(range(255, 127, -1))
PAGE = "<html><head><title>{status}</title></head><body>The emulator plays a broken gateway.</body></html>"
