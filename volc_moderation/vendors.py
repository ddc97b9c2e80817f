"""The registry of vendors: for each name its client, its callbacks and what its documents say about a code.

No other shared module names a vendor. To add one, write its package and add it to ``VENDORS``.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.event import Event
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.volcengine import protocol as volcengine_protocol
from volc_moderation.volcengine.client import VolcengineClient
from volc_moderation.zego import callbacks as zego_callbacks
from volc_moderation.zego import protocol as zego_protocol
from volc_moderation.zego.client import ZegoClient


class Callbacks(Protocol):
    """What a vendor's module ``callbacks`` offers."""

    @property
    def WITHIN_SECONDS(self) -> float | None:  # noqa: N802 - a constant of a module
        """The greatest age of a callback that is accepted by default, in seconds; None accepts any age."""

    def verify(
        self, body: bytes, secret: str | Sequence[str], *, now: float | None, within: float | None
    ) -> str | None:
        """Check the signature. Returns a dedupe key of the signature, if it has one. Raises ``CallbackError``."""

    def parse(self, body: bytes) -> Event:
        """Read a callback. Raises ``CallbackError``."""


@attrs.frozen(kw_only=True)
class Vendor:
    """A vendor. Its name is that of its client, ``client.vendor``."""

    client: type[Client]
    #: None if the vendor sends no callbacks.
    callbacks: Callbacks | None
    #: Returns what the vendor's documents say about the code of an action, if they say anything.
    advice: Callable[[type[Action[Any]], str | int], str | None]

    @property
    def name(self) -> str:
        """The name of the vendor, such as ``volcengine``."""
        return self.client.vendor


#: By name, in the order in which they are listed to users.
VENDORS: dict[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(client=VolcengineClient, callbacks=volcengine_callbacks, advice=volcengine_protocol.advice),
        Vendor(client=ZegoClient, callbacks=zego_callbacks, advice=zego_protocol.advice),
    )
}


def all_actions() -> dict[str, type[Action[Any]]]:
    """Return the actions of all vendors by name, those that users have defined included."""
    return {name: action for vendor in VENDORS.values() for name, action in vendor.client.actions().items()}


def vendor_of(action: Action[Any]) -> Vendor:
    """Return the vendor of an action. Raises ``LookupError`` if no vendor accepts it."""
    for vendor in VENDORS.values():
        if vendor.client.accepts(action):
            return vendor
    raise LookupError(f"no vendor accepts {type(action).__name__}")
