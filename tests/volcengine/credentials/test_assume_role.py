"""Keys of a role: AssumeRole, over any source of keys."""

import asyncio
import time
from typing import Any

import pytest
from volcenginesdkcore.auth.providers.sts_provider import StsCredentialProvider

from tests.volcengine.credentials.double import (
    ACCESS_KEY,
    ACCOUNT,
    NOW,
    ROLE_KEYS,
    ROLE_TRN,
    SECRET_KEY,
    THROTTLED,
    Clock,
    STSDouble,
    refusal,
)
from tests.volcengine.credentials.http_double import Answer
from volc_moderation import AuthenticationError, ConfigurationError
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.volcengine import AssumeRoleCredentials, EnvironmentCredentials, StaticCredentials

POLICY = '{"Statement":[{"Effect":"Allow","Action":["rtc:*"],"Resource":["*"]}]}'


def role(sts: STSDouble, source: Any = None, role_trn: str = ROLE_TRN, **options: Any) -> AssumeRoleCredentials:
    source = source or StaticCredentials(ACCESS_KEY, SECRET_KEY)
    return AssumeRoleCredentials(role_trn, source, endpoint=sts.url, clock=sts.clock, **options)


async def test_the_worked_example(sts: STSDouble) -> None:
    """Example A: the request of vector C1, and its answer."""
    keys = await role(sts, role_session_name="volc-moderation-1").credentials()
    (request,) = sts.requests
    assert request.query == {
        "Action": "AssumeRole",
        "DurationSeconds": "3600",
        "RoleSessionName": "volc-moderation-1",
        "RoleTrn": ROLE_TRN,
        "Version": "2018-01-01",
    }
    expected = VolcengineCredentials.make(*ROLE_KEYS, expires_at=1_795_167_000, account=ACCOUNT)
    assert keys == expected
    assert keys.expires_at == NOW + 3600
    assert keys.are_temporary


async def test_what_is_given_is_sent(sts: STSDouble) -> None:
    provider = role(sts, duration_seconds=900, policy=POLICY)
    keys = await provider.credentials()
    assert keys.expires_at == NOW + 900
    assert sts.requests[0].query["Policy"] == POLICY
    assert sts.requests[0].query["RoleSessionName"].startswith("volc-moderation-")
    sts.clock.now += 900
    await provider.credentials()
    names = [request.query["RoleSessionName"] for request in sts.requests]
    assert len(set(names)) == 2  # a new name for each session


async def test_the_official_client_is_accepted_too(sts: STSDouble) -> None:
    """The double is no stricter than the vendor, and no looser: a wrong secret is refused."""
    provider = StsCredentialProvider(
        ACCESS_KEY, SECRET_KEY, "rtc-moderator", ACCOUNT, scheme="http", host=sts.address, max_retries=1
    )
    sts.clock.now = time.time()  # that of the official signer
    credentials = await asyncio.to_thread(provider.get_credentials)
    assert (credentials.ak, credentials.sk, credentials.session_token) == ROLE_KEYS
    with pytest.raises(AuthenticationError, match="SignatureDoesNotMatch"):
        await role(sts, StaticCredentials(ACCESS_KEY, "wrong")).credentials()


async def test_a_source_that_is_temporary_signs_its_token(sts: STSDouble) -> None:
    """A role of a role. Two of the official SDKs drop the token."""
    first = role(sts)
    second = role(sts, first, "trn:iam::2100000002:role/other")
    keys = await second.credentials()
    assert keys.account == second.account == "2100000002"
    assert [request.headers.get("x-security-token") for request in sts.requests] == [None, ROLE_KEYS[2]]
    assert "x-security-token" in sts.requests[1].headers["authorization"]
    assert second.name == f"role trn:iam::2100000002:role/other by role {ROLE_TRN} by static keys"


async def test_any_source_will_do(sts: STSDouble) -> None:
    variables = {"VOLCENGINE_ACCESS_KEY": ACCESS_KEY, "VOLCENGINE_SECRET_KEY": SECRET_KEY}

    async def callable_source() -> VolcengineCredentials:
        return VolcengineCredentials.make(ACCESS_KEY, SECRET_KEY)

    for source in (EnvironmentCredentials(environ=variables), callable_source):
        assert (await role(sts, source).credentials()).account == ACCOUNT


async def test_a_source_whose_token_is_refused_is_renewed_once(sts: STSDouble) -> None:
    source = role(sts)
    await source.credentials()
    sts.pairs.pop(ROLE_KEYS[0])
    keys = await role(sts, source).credentials()
    assert keys.access_key == f"{ROLE_KEYS[0]}2"
    assert [request.headers["authorization"].split("/")[0][-3:] for request in sts.requests] == [
        "000",
        "000",
        "000",
        "001",
    ]


async def test_a_long_term_source_that_is_refused_is_not_asked_again(sts: STSDouble) -> None:
    with pytest.raises(AuthenticationError, match="InvalidAccessKey"):
        await role(sts, StaticCredentials("AKLTunknown", SECRET_KEY)).credentials()
    assert len(sts.requests) == 1


async def test_throttled_calls_are_repeated(sts: STSDouble, waits: list[float]) -> None:
    sts.script = [THROTTLED, THROTTLED]
    assert (await role(sts).credentials()).access_key == ROLE_KEYS[0]
    assert len(sts.requests) == 3
    assert all(1 <= wait <= 2 for wait in waits)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_faults_of_the_service_are_repeated_three_times_and_no_more(sts: STSDouble, status: int) -> None:
    sts.script = [Answer("<html>", status)] * 9
    with pytest.raises(AuthenticationError, match=f"AssumeRole: HTTP {status} with a body of 6 bytes"):
        await role(sts).credentials()
    assert len(sts.requests) == 3


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (refusal("AccessDenied", 403, 100013), "AccessDenied"),
        (refusal("InvalidParameter", 400), "InvalidParameter"),
        (refusal("InvalidCredential", 400, 100025), "InvalidCredential"),
        (refusal("AccessDenied", 200, 100013), "AccessDenied"),
    ],
)
async def test_refusals_are_not_repeated(sts: STSDouble, answer: Answer, code: str) -> None:
    sts.script = [answer]
    with pytest.raises(
        AuthenticationError, match=rf"no valid keys: role {ROLE_TRN} by static keys: AssumeRole: {code}"
    ):
        await role(sts).credentials()
    assert len(sts.requests) == 1


async def test_a_wrong_clock_is_corrected_once(sts: STSDouble) -> None:
    """The keys expire when our clock says so: their lifetime counts."""
    ours = Clock(NOW - 3600)
    sts.script = [Answer(refusal("InvalidTimestamp", 403, 100006).body, 403, {"Date": "Fri, 20 Nov 2026 08:30:00 GMT"})]
    provider = AssumeRoleCredentials(ROLE_TRN, StaticCredentials(ACCESS_KEY, SECRET_KEY), endpoint=sts.url, clock=ours)
    keys = await provider.credentials()
    assert keys.expires_at == ours.now + 3600
    assert len(sts.requests) == 2


async def test_a_long_retry_after_is_left_to_the_next_refresh(sts: STSDouble) -> None:
    sts.script = [Answer(THROTTLED.body, 429, {"Retry-After": "3000"})]
    with pytest.raises(AuthenticationError, match="RequestLimitExceeded"):
        await role(sts).credentials()
    assert len(sts.requests) == 1


async def test_a_service_that_is_gone(sts: STSDouble) -> None:
    provider = role(sts)
    sts._server.close()
    with pytest.raises(AuthenticationError, match=r"AssumeRole: ConnectError \(127.0.0.1"):
        await provider.credentials()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"role_trn": "moderator"}, r"role_trn must be like 'trn:iam::ACCOUNT_ID:role/NAME'; got str of length 9"),
        ({"role_trn": "trn:iam::x:role/y"}, "role_trn must be like"),
        ({"duration_seconds": 899}, "duration_seconds must be an int from 900 to 43200; got int 899"),
        ({"duration_seconds": 43_201}, "duration_seconds must be"),
        ({"duration_seconds": True}, "duration_seconds must be"),
        ({"policy": "[]"}, "policy must be a str with a JSON object"),
        ({"policy": "{"}, "policy must be a str with a JSON object"),
        ({"role_session_name": "a"}, "role_session_name must be a str of 2 to 64 characters"),
        ({"role_session_name": "a b"}, "role_session_name must be"),
        ({"source": "AK"}, "credentials must be a provider, or an async callable"),
        ({"endpoint": "https://host/path"}, "endpoint must be like"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], reason: str) -> None:
    right: dict[str, Any] = {"role_trn": ROLE_TRN, "source": StaticCredentials("AK", "SK")}
    with pytest.raises(ConfigurationError, match=reason):
        AssumeRoleCredentials(**right | options)
