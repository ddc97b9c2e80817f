"""``public_api.py`` covers every method of the clients."""

import inspect
import re
from pathlib import Path

import pytest

from volc_moderation import VolcengineClient, ZegoClient
from volc_moderation.client import Client
from volc_moderation.vendor_account import VendorAccount

FOLDER = Path(__file__).parent
SOURCE = (FOLDER / "public_api.py").read_text(encoding="utf-8")


@pytest.mark.parametrize("client_type", [VolcengineClient, ZegoClient])
def test_every_method_is_covered(client_type: type[Client]) -> None:
    methods = {name for name, _ in inspect.getmembers(client_type, inspect.isfunction) if not name.startswith("_")}
    methods -= {*vars(Client), *vars(VendorAccount)}
    assert len(methods) > 15
    body = SOURCE.partition(f"def {client_type.vendor}_methods(")[2].partition("\n\n\n")[0]
    assert set(re.findall(r"client\.(\w+)\(", body)) == methods
