"""A third vendor, as small as one can be: what a package such as ``volcengine`` or ``zego`` must contain."""

from tests.toy_vendor import callbacks, error_codes
from tests.toy_vendor.actions import Closed, CloseStage, CountListeners, ListenerCount, ToyAction
from tests.toy_vendor.client import ToyClient
from volc_moderation.vendors import VENDORS, Vendor

__all__ = ["TOY", "CloseStage", "Closed", "CountListeners", "ListenerCount", "ToyAction", "ToyClient", "register"]

#: The line that ``vendors.py`` would have.
TOY = Vendor(client=ToyClient, callbacks=callbacks, advice=error_codes.advice)


def register() -> None:
    """Add the vendor to the registry of this process."""
    VENDORS[TOY.name] = TOY
