"""Volcengine's signature: the test vectors of the published algorithm, and the official signer for any input."""

import calendar
import datetime
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import volcenginesdkcore.signv4
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import keys, names, seconds, texts
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.volcengine.signing import Signer, canonical_query

ACCESS_KEY = "AKLTexample0000000000000000000000000"
SECRET_KEY = "U0tleGFtcGxlc2VjcmV0a2V5Zm9ydGVzdHM9PQ=="
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "volcengine_signing.json").read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_vectors(vector: dict[str, Any]) -> None:
    headers = vector["headers"]
    credentials = VolcengineCredentials.make(ACCESS_KEY, SECRET_KEY, headers.get("X-Security-Token"))
    signer = Signer(credentials, region=vector["region"], service=vector["service"])
    query = canonical_query(vector["query"])
    assert query == vector["canonical_query"]
    signed = signer.sign(
        method=vector["method"],
        host=vector["host"],
        query=query,
        body=vector["body"].encode(),
        now=calendar.timegm(time.strptime(headers["X-Date"], "%Y%m%dT%H%M%SZ")),
        content_type=headers.get("Content-Type"),
        path=vector["path"],
    )
    assert signed.pop("Authorization") == vector["authorization"]
    assert signed == headers
    assert signer._keyed_hash.digest() == hmac.digest(bytes.fromhex(vector["signing_key_hex"]), b"", "sha256")
    if "canonical_request" in vector:
        digest = hashlib.sha256(vector["canonical_request"].encode()).hexdigest()
        assert digest == vector["canonical_request_sha256"]


def official(
    method: str, host: str, query: dict[str, str], body: str, content_type: str | None, credentials: list[str], now: int
) -> dict[str, str]:
    """Sign with the vendor's own signer at the second ``now``."""
    headers = {"Host": host} | ({"Content-Type": content_type} if content_type else {})
    access_key, secret_key, token = credentials
    clock = mock.Mock(datetime=mock.Mock(utcnow=lambda: datetime.datetime.fromtimestamp(now, datetime.UTC)))
    with mock.patch.object(volcenginesdkcore.signv4, "datetime", clock):
        volcenginesdkcore.signv4.SignerV4.sign(
            "/", method, headers, body, None, query, access_key, secret_key, "cn-north-1", "rtc", token or None
        )
    return headers


@pytest.mark.slow
@given(
    method=st.sampled_from(["GET", "POST"]),
    host=st.sampled_from(["rtc.volcengineapi.com", "127.0.0.1:8765", "host:443", "host:80", "h:4430"]),
    query=st.dictionaries(names | texts, texts | st.just(""), max_size=6),
    body=texts,
    keys=st.tuples(keys, keys, st.just("") | keys),
    now=seconds,
)
def test_the_official_signer_agrees(
    method: str, host: str, query: dict[str, str], body: str, keys: tuple[str, str, str], now: int
) -> None:
    """The headers are identical for any Unicode in names and values, empty values, session tokens and any second."""
    content_type = "application/json" if method == "POST" else None
    access_key, secret_key, token = keys
    signer = Signer(VolcengineCredentials.make(access_key, secret_key, token or None), region="cn-north-1")
    ours = signer.sign(
        method=method, host=host, query=canonical_query(query), body=body.encode(), now=now, content_type=content_type
    )
    assert ours == official(method, host, query, body, content_type, list(keys), now)


@given(first=seconds, second=seconds)
def test_the_cached_key_changes_with_the_day(first: int, second: int) -> None:
    """A signer that signed on one day gives the same signature on another day as a new signer."""
    credentials = VolcengineCredentials.make("AK", "SK")
    request: dict[str, Any] = {"method": "GET", "host": "h", "query": "a=b", "body": b""}
    signer = Signer(credentials, region="cn-north-1")
    signer.sign(**request, now=first)
    new_signer = Signer(credentials, region="cn-north-1")
    assert signer.sign(**request, now=second) == new_signer.sign(**request, now=second)


def test_the_query_is_sorted_by_its_encoded_bytes() -> None:
    assert canonical_query({"b": "2", "a": "", "B": "1 +*~/", "é": "房"}) == "%C3%A9=%E6%88%BF&B=1%20%2B%2A~%2F&a=&b=2"
