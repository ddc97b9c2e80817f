"""Keys of a role for a token of an OpenID Connect issuer: AssumeRoleWithOIDC, which is not signed."""

# ruff: noqa: ASYNC240 - the files are small, and in memory

from pathlib import Path
from typing import Any

import pytest

from tests.volcengine.credentials.double import ACCOUNT, NOW, OIDC_TOKEN, ROLE_KEYS, ROLE_TRN, THROTTLED, STSDouble
from volc_moderation import AuthenticationError, ConfigurationError
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.volcengine import NotConfiguredError, OIDCCredentials
from volc_moderation.volcengine.credentials.roles import EnvironmentOIDCCredentials


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f" {OIDC_TOKEN} \n")
    return path


def variables(sts: STSDouble, token_file: Path, **others: str) -> dict[str, str]:
    return {
        "VOLCENGINE_OIDC_ROLE_TRN": ROLE_TRN,
        "VOLCENGINE_OIDC_TOKEN_FILE": str(token_file),
        "VOLCENGINE_OIDC_STS_ENDPOINT": sts.url,
        **others,
    }


async def test_the_worked_example(sts: STSDouble, token_file: Path) -> None:
    """Example B. The double refuses a signature, and an action or a version that is not in the query."""
    provider = OIDCCredentials(
        ROLE_TRN, token_file, role_session_name="volc-moderation-1", endpoint=sts.url, clock=sts.clock
    )
    keys = await provider.credentials()
    assert keys == VolcengineCredentials.make(*ROLE_KEYS, expires_at=NOW + 3600, account=ACCOUNT)
    (request,) = sts.requests
    assert request.target == "/?Action=AssumeRoleWithOIDC&Version=2018-01-01"
    assert request.body == (
        "DurationSeconds=3600&RoleSessionName=volc-moderation-1"
        "&RoleTrn=trn%3Aiam%3A%3A2100000001%3Arole%2Frtc-moderator"
        f"&OIDCToken={OIDC_TOKEN}"
    )
    assert request.headers["content-length"] == "198"


async def test_the_file_is_read_at_every_refresh(sts: STSDouble, token_file: Path) -> None:
    provider = OIDCCredentials(ROLE_TRN, str(token_file), endpoint=sts.url, clock=sts.clock)
    await provider.credentials()
    sts.oidc_token = "e30.e30.bmV3"
    token_file.write_text("\n\te30.e30.bmV3\r\n")
    sts.clock.now += 3600
    await provider.credentials()
    assert [request.form["OIDCToken"] for request in sts.requests] == [OIDC_TOKEN, "e30.e30.bmV3"]


@pytest.mark.parametrize("name", ["Expiration", "ExpiredTime"])
async def test_either_name_of_the_expiry_is_read(sts: STSDouble, token_file: Path, name: str) -> None:
    answer = {"ResponseMetadata": {}, "Result": {"Credentials": sts.credentials(1800, name)}}
    sts.script = [type(THROTTLED)(answer)]
    provider = OIDCCredentials(ROLE_TRN, token_file, endpoint=sts.url, clock=sts.clock)
    assert (await provider.credentials()).expires_at == NOW + 1800


async def test_the_variables(sts: STSDouble, token_file: Path) -> None:
    """All are read, also that of the address, which one of the official SDKs documents and ignores."""
    policy = '{"Statement": []}'
    environ = variables(sts, token_file, VOLCENGINE_OIDC_ROLE_SESSION_NAME="pod-1", VOLCENGINE_OIDC_ROLE_POLICY=policy)
    keys = await OIDCCredentials.from_env(environ=environ, clock=sts.clock).credentials()
    assert keys.account == ACCOUNT
    form = sts.requests[0].form
    assert (form["RoleSessionName"], form["Policy"], form["DurationSeconds"]) == ("pod-1", policy, "3600")


async def test_empty_variables_are_unset(sts: STSDouble, token_file: Path) -> None:
    empty = {"VOLCENGINE_OIDC_ROLE_SESSION_NAME": "", "VOLCENGINE_OIDC_ROLE_POLICY": ""}
    await OIDCCredentials.from_env(environ=variables(sts, token_file, **empty), clock=sts.clock).credentials()
    assert "Policy" not in sts.requests[0].form
    assert sts.requests[0].form["RoleSessionName"].startswith("volc-moderation-")
    with pytest.raises(NotConfiguredError):
        OIDCCredentials.from_env(environ={"VOLCENGINE_OIDC_ROLE_TRN": "", "VOLCENGINE_OIDC_TOKEN_FILE": ""})


@pytest.mark.parametrize("missing", ["VOLCENGINE_OIDC_ROLE_TRN", "VOLCENGINE_OIDC_TOKEN_FILE"])
async def test_half_of_the_variables_is_an_error(sts: STSDouble, token_file: Path, missing: str) -> None:
    provider = EnvironmentOIDCCredentials(environ=variables(sts, token_file) | {missing: ""}, clock=sts.clock)
    assert provider.is_configured()
    with pytest.raises(AuthenticationError, match=f"{missing} is not set"):
        await provider.credentials()


async def test_variables_may_change(sts: STSDouble, token_file: Path) -> None:
    environ = variables(sts, token_file)
    provider = EnvironmentOIDCCredentials(environ=environ, clock=sts.clock)
    await provider.credentials()
    environ["VOLCENGINE_OIDC_ROLE_TRN"] = "trn:iam::2100000001:role/other"
    sts.clock.now += 3600
    await provider.credentials()
    assert [request.form["RoleTrn"].partition("/")[2] for request in sts.requests] == ["rtc-moderator", "other"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"two tokens", "has more than a token in it"),
        (b"a\nb", "has more than a token in it"),
        ("schlüssel".encode(), "has more than a token in it"),
        (b"\xff\xfe", "is not in UTF-8"),
        (b"x" * (2**20 + 1), "has more than 1,048,576 bytes"),
        (None, "cannot be read: No such file or directory"),
    ],
)
async def test_a_file_without_a_token_ends_in_an_error_before_any_request(
    sts: STSDouble, token_file: Path, content: bytes | None, reason: str
) -> None:
    if content is None:
        token_file.unlink()
    else:
        token_file.write_bytes(content)
    provider = OIDCCredentials(ROLE_TRN, token_file, endpoint=sts.url, clock=sts.clock)
    with pytest.raises(AuthenticationError, match=f"the token file {token_file} {reason}"):
        await provider.credentials()
    assert not sts.requests


async def test_throttled_calls_are_repeated_and_refused_ones_are_not(sts: STSDouble, token_file: Path) -> None:
    sts.script = [THROTTLED, THROTTLED]
    await OIDCCredentials(ROLE_TRN, token_file, endpoint=sts.url, clock=sts.clock).credentials()
    assert len(sts.requests) == 3
    token_file.write_text("wrong")
    with pytest.raises(AuthenticationError, match="AssumeRoleWithOIDC: AccessDenied"):
        await OIDCCredentials(ROLE_TRN, token_file, endpoint=sts.url, clock=sts.clock).credentials()
    assert len(sts.requests) == 4


@pytest.mark.parametrize("token", ["wrong", "a+b/c=="])
async def test_a_token_that_the_answer_repeats_is_not_shown(sts: STSDouble, token_file: Path, token: str) -> None:
    """The double repeats it as it is, and in the form in which it was sent."""
    token_file.write_text(token)
    with pytest.raises(AuthenticationError) as caught:
        await OIDCCredentials(ROLE_TRN, token_file, endpoint=sts.url, clock=sts.clock).credentials()
    assert "&OIDCToken=*** *** (the access policy denies the call)" in str(caught.value)


@pytest.mark.parametrize("token_file", ["", b"path", None])
def test_a_wrong_path_is_refused(token_file: Any) -> None:
    with pytest.raises(ConfigurationError, match="token_file must be the path of a file"):
        OIDCCredentials(ROLE_TRN, token_file)


def test_an_address_needs_no_scheme() -> None:
    provider = OIDCCredentials(ROLE_TRN, "/token", endpoint="sts.cn-beijing.volcengineapi.com")
    assert provider._sts._endpoint.url == "https://sts.cn-beijing.volcengineapi.com"
