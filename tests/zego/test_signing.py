"""ZEGO's signature: its test vectors, and its formula for any input."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import keys, seconds
from volc_moderation.credentials import ZegoCredentials
from volc_moderation.zego.signing import sign

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "zego_signing.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_vectors(vector: dict[str, Any]) -> None:
    credentials = ZegoCredentials.make(vector["app_id"], vector["server_secret"])
    assert sign(credentials, nonce=vector["nonce"], timestamp=vector["timestamp"]) == vector["signature"]


@given(app_id=st.integers(1, 2**32 - 1), secret=keys, nonce=keys, timestamp=seconds)
def test_the_formula(app_id: int, secret: str, nonce: str, timestamp: int) -> None:
    joined = "".join([str(app_id), nonce, secret, str(timestamp)])
    signature = sign(ZegoCredentials.make(app_id, secret), nonce=nonce, timestamp=timestamp)
    assert signature == hashlib.md5(joined.encode(), usedforsecurity=False).hexdigest()
