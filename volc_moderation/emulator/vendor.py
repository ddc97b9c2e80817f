"""What the emulator needs of each vendor."""

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from volc_moderation.emulator.counter import Counter


@attrs.frozen
class Call:
    """A request as it came."""

    method: str
    raw_query: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    #: What the action is given: the JSON body of a POST, the query of a GET. None if it cannot be read.
    parameters: Mapping[str, Any] | None

    @property
    def action(self) -> str:
        """The name of the action, or an empty text."""
        return self.query.get("Action", "")


@attrs.frozen
class Reply:
    """An answer of a vendor."""

    status: int
    envelope: Mapping[str, Any]
    is_success: bool = False


class Vendor(Protocol):
    """One vendor's rules."""

    counter: Counter

    def check(self, call: Call, now: float) -> Reply | None:
        """Refuse a call for its signature, timestamp or action; None if it may go on."""

    def throttle(self, call: Call) -> Reply:
        """Refuse a call for its rate."""

    def fail(self, call: Call, code: str | int, message: str, status: int | None) -> Reply:
        """Refuse a call with a code that was asked for."""

    def perform(self, call: Call, now: float) -> Reply:
        """Carry out a call."""
