"""The registry of vendors: the client, the callbacks and the error codes of each.

No other module that all vendors share imports a vendor's package; the test fixtures, the demo and the command
``sweep`` are about these two vendors. To add a vendor, write its package (``tests/toy_vendor`` is the smallest
example), add it to ``VENDORS`` and, if it sends callbacks, to ``CallbackSecrets``.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypedDict

import attrs

from volc_moderation.action import Action
from volc_moderation.callback_checks import CallbackSecret
from volc_moderation.client import Client
from volc_moderation.event import Event
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.volcengine import error_codes as volcengine_error_codes
from volc_moderation.volcengine.client import VolcengineClient
from volc_moderation.zego import callbacks as zego_callbacks
from volc_moderation.zego import error_codes as zego_error_codes
from volc_moderation.zego.client import ZegoClient


class Callbacks(Protocol):
    """The module ``callbacks`` of a vendor."""

    @property
    def WITHIN_SECONDS(self) -> float | None:  # noqa: N802 - a constant of a module
        """The maximum age of a callback by default, in seconds; None for any age."""

    def verify(
        self, body: bytes, secret: str | Sequence[str], *, now: float | None, within: float | None
    ) -> str | None:
        """Check the signature and the age.

        :param secret: the secret, or several of which any may have signed.
        :param now: the Unix time. None is allowed only if ``within`` is None.
        :param within: seconds that the time of the callback may lie in the past or the future; None for any.

        Returns a dedupe key of the signature, if it has one. Raises ``CallbackError``.
        """

    def parse(self, body: bytes) -> Event:
        """Read a callback. Raises ``CallbackError``."""


@attrs.frozen(kw_only=True)
class Vendor:
    """A vendor.

    :param client: its client. The name of the vendor is ``client.vendor``.
    :param callbacks: its module ``callbacks``; None if it sends no callbacks.
    :param advice: returns what the vendor's documents say about an error code of an action; None if nothing. The
        action is None if this version of the package does not know it.
    """

    client: type[Client]
    callbacks: Callbacks | None
    advice: Callable[[type[Action[Any]] | None, str | int], str | None]

    @property
    def name(self) -> str:
        """The name of the vendor, such as ``volcengine``."""
        return self.client.vendor


class CallbackSecrets(TypedDict, total=False):
    """The secret of each vendor's callbacks, by the vendor's name: the keyword arguments of ``Webhooks``.

    Each is a text, a list of texts of which any may have signed (while the secret is rotated), or ``UNVERIFIED``. None
    is the same as no secret. The types need a field for each vendor of ``VENDORS``; at runtime, the registry suffices.
    """

    #: Volcengine: the secret key in the callback settings of the RTC console.
    volcengine: CallbackSecret | None
    #: ZEGO: the CallbackSecret of the project.
    zego: CallbackSecret | None


#: The vendors by name, in the order in which users see them.
VENDORS: dict[str, Vendor] = {
    vendor.name: vendor
    for vendor in (
        Vendor(client=VolcengineClient, callbacks=volcengine_callbacks, advice=volcengine_error_codes.advice),
        Vendor(client=ZegoClient, callbacks=zego_callbacks, advice=zego_error_codes.advice),
    )
}


def all_actions() -> dict[str, type[Action[Any]]]:
    """Return the actions of all vendors by name, including those that users have defined."""
    return {name: action for vendor in VENDORS.values() for name, action in vendor.client.actions().items()}


def find_action(vendor: str, action: str) -> type[Action[Any]] | None:
    """Return the action of a vendor, by their names; None if this version of the package does not know it."""
    return VENDORS[vendor].client.actions().get(action) if vendor in VENDORS else None


def vendor_of(action: Action[Any]) -> Vendor:
    """Return the vendor of an action. Raises ``LookupError`` if no vendor accepts it."""
    for vendor in VENDORS.values():
        if vendor.client.accepts(action):
            return vendor
    raise LookupError(f"no vendor accepts {type(action).__name__}")
