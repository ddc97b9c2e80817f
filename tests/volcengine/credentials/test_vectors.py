"""The signature of calls to STS: vectors on which the official signer and an independent implementation agree."""

import calendar
import datetime
import hashlib
import re
import time
from typing import Any
from unittest import mock

import attrs
import pytest
import volcenginesdkcore.signv4

from tests.volcengine.credentials.double import ACCESS_KEY, ROLE_TRN, SECRET_KEY, signature_of
from tests.volcengine.credentials.http_double import Received
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.volcengine import protocol
from volc_moderation.volcengine.credentials import sts
from volc_moderation.volcengine.credentials.sts import AssumeRole
from volc_moderation.volcengine.signing import Signer, canonical_query

DATE = "20261120T083000Z"
NOW = calendar.timegm(time.strptime(DATE, "%Y%m%dT%H%M%SZ"))
HOST = "sts.volcengineapi.com"
QUERY = {
    "Action": "AssumeRole",
    "DurationSeconds": "3600",
    "RoleSessionName": "volc-moderation-1",
    "RoleTrn": ROLE_TRN,
    "Version": "2018-01-01",
}
POLICY = '{"Statement":[{"Effect":"Allow","Action":["rtc:*"],"Resource":["*"]}]}'
SOURCE_TOKEN = "STSeyJ.example+/="
FORM = "DurationSeconds=3600&RoleSessionName=volc-moderation-1&RoleTrn=trn%3Aiam%3A%3A2100000001%3Arole%2Frtc-moderator"
FORM_TYPE = "application/x-www-form-urlencoded"
CANONICAL_C1 = """GET
/
Action=AssumeRole&DurationSeconds=3600&RoleSessionName=volc-moderation-1&RoleTrn=trn%3Aiam%3A%3A2100000001%3Arole%2Frtc-moderator&Version=2018-01-01
host:sts.volcengineapi.com
x-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
x-date:20261120T083000Z

host;x-content-sha256;x-date
e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"""


@attrs.frozen(kw_only=True)
class Vector:
    signature: str
    method: str = "GET"
    query: dict[str, str] = attrs.field(factory=lambda: dict(QUERY))
    region: str = "cn-beijing"
    token: str | None = None
    content_type: str | None = None
    body: str = ""


VECTORS = {
    "C1": Vector(signature="e50c66abd222cdb48f3043955fc6326526726bf28e63e87213e217a5b555cc75"),
    "C2": Vector(
        signature="a5de10ec82d4d8ac7dcf739a4d328a5d4dc6c9b4e28bb89bdcb5a80875e6bb73", content_type="text/plain"
    ),
    "C3": Vector(
        signature="1f18b493b9449dddb2acb80b7f2ef28e9f2dde8dbe784be0ef2de3259307ec5c",
        query=QUERY | {"Policy": POLICY},
        token=SOURCE_TOKEN,
    ),
    "C4": Vector(signature="38e9ee6015b7dcbe581fa8e471433f080dcf53eaf8eb306739f6aea9269e31db", region="cn-north-1"),
    "C5": Vector(
        signature="453f40e8569185e63f458dc76cb0dd6acfefc01094fc85a24585a5a9ed005a49",
        query=QUERY | {"RoleSessionName": "a b+c~*房"},
    ),
    "C6": Vector(
        signature="27ac5ae597d2e279b9a797a43079fd19bacfc93de9afd0835a1f3691862a3233",
        method="POST",
        query={name: QUERY[name] for name in ("Action", "Version")},
        content_type=FORM_TYPE,
        body=FORM,
    ),
}


def test_the_canonical_form_of_the_first_vector_is_hashed_as_documented() -> None:
    digest = hashlib.sha256(CANONICAL_C1.encode()).hexdigest()
    assert digest == "94975edb029ddd1ae0d9d6a015a2d7be6b52bd7e45446ee60eb43ad123b1b091"


def signer_of(vector: Vector) -> Signer:
    credentials = VolcengineCredentials.make(ACCESS_KEY, SECRET_KEY, vector.token)
    return Signer(credentials, region=vector.region, service=sts.SERVICE)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_the_signer(vector: Vector) -> None:
    headers = signer_of(vector).sign(
        method=vector.method,
        host=HOST,
        query=canonical_query(vector.query),
        body=vector.body.encode(),
        now=NOW,
        content_type=vector.content_type,
    )
    assert headers["X-Date"] == DATE
    assert headers["Authorization"].rpartition("Signature=")[2] == vector.signature


@pytest.mark.parametrize("name", ["C1", "C3", "C5"])
def test_the_call(name: str) -> None:
    """The whole request: everything is in the query, in the form that is signed."""
    vector = VECTORS[name]
    action = AssumeRole(
        duration_seconds=3600,
        role_session_name=vector.query["RoleSessionName"],
        role_trn=ROLE_TRN,
        policy=vector.query.get("Policy"),
    )
    request = protocol.encode(action, url=f"https://{HOST}", host=HOST, signer=signer_of(vector), now=NOW)
    assert (request.method, request.body) == ("GET", b"")
    assert request.headers["Authorization"].rpartition("Signature=")[2] == vector.signature
    assert request.headers.get("X-Security-Token") == vector.token
    assert "+" not in request.url
    if name == "C1":
        assert CANONICAL_C1.split("\n")[2] == request.url.partition("?")[2]
    if name == "C5":
        assert "RoleSessionName=a%20b%2Bc~%2A%E6%88%BF" in request.url


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_the_double_and_the_official_signer_agree(vector: Vector) -> None:
    headers: dict[str, Any] = {"Host": HOST} | ({"Content-Type": vector.content_type} if vector.content_type else {})
    clock = mock.Mock(datetime=mock.Mock(utcnow=lambda: datetime.datetime.fromtimestamp(NOW, datetime.UTC)))
    with mock.patch.object(volcenginesdkcore.signv4, "datetime", clock):
        volcenginesdkcore.signv4.SignerV4.sign(
            "/",
            vector.method,
            headers,
            vector.body,
            None,
            vector.query,
            ACCESS_KEY,
            SECRET_KEY,
            vector.region,
            "sts",
            vector.token,
        )
    authorization = headers["Authorization"]
    assert authorization.rpartition("Signature=")[2] == vector.signature
    received = Received(
        vector.method,
        f"/?{canonical_query(vector.query)}",
        {name.lower(): value for name, value in headers.items()},
        vector.body,
    )
    scope = re.findall(r"Credential=[^/]+/(\S+),", authorization)[0]
    signed_headers = re.findall(r"SignedHeaders=([^,]+),", authorization)[0].split(";")
    assert signature_of(received, SECRET_KEY, scope, signed_headers) == vector.signature
