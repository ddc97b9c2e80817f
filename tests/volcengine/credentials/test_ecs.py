"""Keys of the role of a server, from its metadata service: never through a proxy, and with short timeouts."""

import asyncio
import logging
import time
from typing import Any

import pytest

from tests.doubles import free_port
from tests.volcengine.credentials.double import ACCOUNT, ECS_KEYS, METADATA_TOKEN, NOW, MetadataDouble, Pair, STSDouble
from tests.volcengine.credentials.http_double import HANG, Answer, HTTPDouble
from volc_moderation import AuthenticationError, ConfigurationError
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.renewed_keys import NoKeysError
from volc_moderation.volcengine import ECSCredentials
from volc_moderation.volcengine.credentials import ecs

pytestmark = pytest.mark.slow  # hundreds of one kind

ROLES = "/volcstack/latest/iam/security_credentials"


def provider_of(metadata: MetadataDouble, role_name: str | None = None, **options: Any) -> ECSCredentials:
    defaults: dict[str, Any] = {"account": ACCOUNT, "environ": {}, "endpoint": metadata.url, "clock": metadata.clock}
    return ECSCredentials(role_name, **defaults | options)


async def test_the_worked_example(metadata: MetadataDouble) -> None:
    """Example C: a token, the role that is bound, and its keys, in this order."""
    keys = await provider_of(metadata).credentials()
    assert keys == VolcengineCredentials.make(*ECS_KEYS, expires_at=NOW + 6 * 3600, account=ACCOUNT)
    assert [(request.method, request.target) for request in metadata.requests] == [
        ("PUT", "/latest/api/token"),
        ("GET", f"{ROLES}?type=user&format=json"),
        ("GET", f"{ROLES}/rtc-moderator"),
    ]
    assert metadata.requests[0].headers["content-length"] == "0"
    assert all(request.headers["host"] == metadata.address for request in metadata.requests)


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (["rtc-moderator"], "rtc-moderator"),
        ("rtc-moderator\n", "rtc-moderator"),
        ("one\ntwo\n", "one"),
        (["one", "two"], "one"),
    ],
)
async def test_both_forms_of_the_list_of_roles(
    metadata: MetadataDouble, roles: object, role: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The first role is used. If there are several, a log record says so."""
    metadata.roles = roles
    await provider_of(metadata).credentials()
    assert metadata.requests[-1].target == f"{ROLES}/{role}"
    assert [record.count for record in caplog.records] == ([2] if role == "one" else [])  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("argument", "variable", "path"),
    [
        ("given", "", "given"),
        ("given", "ignored", "given"),
        (None, " named ", "named"),
        ("a/b c房", "", "a%2Fb%20c%E6%88%BF"),
    ],
)
async def test_a_role_that_is_named_is_not_looked_up(
    metadata: MetadataDouble, argument: str | None, variable: str, path: str
) -> None:
    """Its name is escaped in full."""
    await provider_of(metadata, argument, environ={"VOLCENGINE_ECS_METADATA": variable}).credentials()
    assert [request.target for request in metadata.requests] == ["/latest/api/token", f"{ROLES}/{path}"]


async def test_each_renewal_gets_a_new_token_and_looks_the_role_up(metadata: MetadataDouble) -> None:
    provider = provider_of(metadata)
    await provider.credentials()
    metadata.clock.now += 6 * 3600
    metadata.roles = ["new"]
    await provider.credentials()
    assert len(metadata.requests) == 6
    assert metadata.requests[-1].target == f"{ROLES}/new"


@pytest.mark.parametrize(
    ("created", "lifetime", "expires"),
    [
        (-3600, 6 * 3600, 6 * 3600),  # made an hour ago: CurrentTime is no time of the answer
        (3600, 6 * 3600, 5 * 3600),  # our clock is an hour slow: sooner is safer
        (None, 6 * 3600, 6 * 3600),
    ],
)
async def test_keys_expire_at_the_earlier_time(
    metadata: MetadataDouble, created: float | None, lifetime: float, expires: float
) -> None:
    metadata.lifetime = lifetime
    metadata.changes = {"CurrentTime": None if created is None else metadata.clock.text(created)}
    assert (await provider_of(metadata).credentials()).expires_at == NOW + expires


async def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch, metadata: MetadataDouble, sts: STSDouble) -> None:
    """A proxy would see the keys in clear text. The call to STS does use it: the trap is a proxy."""
    async with HTTPDouble(lambda _: Answer(status=502)) as trap:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, trap.url)
            monkeypatch.setenv(name.lower(), trap.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        # An address of this machine that no rule about loopback exempts.
        endpoint = metadata.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 - connects to this machine
        sts_endpoint = sts.url.replace("127.0.0.1", "0.0.0.0")  # noqa: S104 - as above
        provider = provider_of(metadata, account=None, endpoint=endpoint, sts_endpoint=sts_endpoint)
        keys = await provider.credentials()
        assert keys.access_key == ECS_KEYS[0]
        assert len(metadata.requests) == 3
        assert trap.requests
        assert all(sts_endpoint in request.target for request in trap.requests)
        assert not sts.requests


async def test_requests_time_out_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= ecs.METADATA_TIMEOUT <= 2
    monkeypatch.setattr(ecs, "METADATA_TIMEOUT", 0.05)
    async with HTTPDouble(lambda _: HANG) as silent:
        began = time.monotonic()
        with pytest.raises(AuthenticationError, match=r"no response within 0.05 s"):
            await ECSCredentials(environ={}, endpoint=silent.url, account=ACCOUNT).credentials()
        assert time.monotonic() - began < 1
        assert len(silent.requests) == 2


@pytest.mark.parametrize("value", ["true", "TRUE", " True "])
async def test_it_can_be_disabled(metadata: MetadataDouble, value: str) -> None:
    provider = provider_of(metadata, environ={"VOLCENGINE_ECS_METADATA_DISABLED": value})
    assert not provider.is_configured()
    with pytest.raises(NoKeysError, match="VOLCENGINE_ECS_METADATA_DISABLED is true") as caught:
        await provider.credentials()
    assert caught.value.is_unconfigured
    assert not metadata.requests


@pytest.mark.parametrize("value", ["", "1", "false", "yes"])
async def test_other_values_do_not_disable_it(metadata: MetadataDouble, value: str) -> None:
    await provider_of(metadata, environ={"VOLCENGINE_ECS_METADATA_DISABLED": value}).credentials()


@pytest.mark.parametrize(
    ("answers", "reason", "is_unconfigured"),
    [
        ([Answer(status=404)], "there is no metadata service: .* answered HTTP 404", True),
        ([Answer(status=405)], "there is no metadata service: .* answered HTTP 405", True),
        ([Answer(METADATA_TOKEN), Answer(status=404)], "no role is bound to this server", True),
        ([Answer(METADATA_TOKEN), Answer([])], "no role is bound to this server", True),
        ([Answer(METADATA_TOKEN), Answer("")], "no role is bound to this server", True),
        ([Answer("")], "the metadata service sent no usable token", False),
        ([Answer("to\nken")], "the metadata service sent no usable token", False),
        ([Answer("schlüssel")], "the metadata service sent no usable token", False),
        ([Answer(METADATA_TOKEN), Answer({"a": 1})], "sent no usable list of roles", False),
        ([Answer(METADATA_TOKEN), Answer([1])], "sent no usable list of roles", False),
        ([Answer(METADATA_TOKEN), Answer("<html><body>Log in</body></html>")], "sent no usable list of roles", False),
        ([Answer(METADATA_TOKEN), Answer([".."])], "sent no usable list of roles", False),
        ([Answer(METADATA_TOKEN), Answer(["a\nb"])], "sent no usable list of roles", False),
        ([Answer(METADATA_TOKEN), Answer("[" * 100_000)], "answered with 100,000 bytes", False),
        ([Answer(METADATA_TOKEN), Answer("[" * 60_000)], "sent no usable list of roles", False),
        ([Answer(METADATA_TOKEN), Answer(["r"]), Answer(status=404)], "answered HTTP 404", False),
        ([Answer(METADATA_TOKEN), Answer(["r"]), Answer("<html>")], "sent no JSON object", False),
        ([Answer(METADATA_TOKEN), Answer(["r"]), Answer([])], "sent no JSON object", False),
        ([Answer(METADATA_TOKEN), Answer(["r"]), Answer({})], "keys.access_key_id: required field missing", False),
        ([Answer(METADATA_TOKEN), Answer(["r"]), Answer("x" * 70_000)], "answered with 70,000 bytes", False),
        ([Answer(METADATA_TOKEN), Answer(status=302, headers={"Location": "http://127.0.0.1:1/"})], "HTTP 302", False),
    ],
)
async def test_answers_without_keys(
    metadata: MetadataDouble, answers: list[Answer], reason: str, is_unconfigured: bool
) -> None:
    metadata.script = list(answers)
    with pytest.raises(NoKeysError, match=reason) as caught:
        await provider_of(metadata).credentials()
    assert caught.value.is_unconfigured is is_unconfigured
    assert len(metadata.requests) == len(answers)
    assert METADATA_TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ExpiredTime": None}, "ExpiredTime|Expiration: required field missing"),  # not taken for permanent keys
        ({"ExpiredTime": "2026-11-20T22:30:00"}, "ExpiredTime: expected a time in RFC 3339 with its offset"),
        ({"ExpiredTime": "2026-11-20T16:29:59+08:00"}, "ExpiredTime: the keys have expired already"),
        ({"ExpiredTime": 1}, "keys.expired_time: expected str, got int"),
        ({"SessionToken": None}, "keys.session_token: required field missing"),
        ({"SecretAccessKey": ""}, "the keys are malformed: secret_key must be a str of printable ASCII"),
        ({"SessionToken": "a\r\nb"}, "the keys are malformed: session_token must be"),
    ],
)
async def test_keys_that_cannot_be_used(metadata: MetadataDouble, changes: dict[str, object], reason: str) -> None:
    metadata.changes = changes
    with pytest.raises(AuthenticationError, match=reason) as caught:
        await provider_of(metadata).credentials()
    assert not any(secret in str(caught.value) for secret in ECS_KEYS)


async def test_faults_are_repeated_once(metadata: MetadataDouble) -> None:
    metadata.script = [Answer(status=500)]
    await provider_of(metadata).credentials()
    assert len(metadata.requests) == 4


async def test_a_machine_without_the_service_is_not_configured() -> None:
    """Unless a role is named: then it is an error, which the next provider of a chain must not hide."""
    endpoint = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(NoKeysError, match="there is no metadata service: ConnectError") as caught:
        await ECSCredentials(environ={}, endpoint=endpoint).credentials()
    assert caught.value.is_unconfigured
    with pytest.raises(NoKeysError, match="ConnectError") as caught:
        await ECSCredentials("role", environ={}, endpoint=endpoint).credentials()
    assert not caught.value.is_unconfigured


async def test_the_account_is_learned_once(metadata: MetadataDouble, sts: STSDouble) -> None:
    sts.pairs[ECS_KEYS[0]] = Pair(ECS_KEYS[1], ECS_KEYS[2])
    provider = provider_of(metadata, account=None, sts_endpoint=sts.url)
    assert (await provider.credentials()).account == provider.account == ACCOUNT
    metadata.clock.now += 6 * 3600
    assert (await provider.credentials()).account == ACCOUNT
    assert [request.query["Action"] for request in sts.requests] == ["GetCallerIdentity"]


async def test_keys_are_used_though_the_account_is_not_known(
    metadata: MetadataDouble, sts: STSDouble, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked for again at the next renewal."""
    provider = provider_of(metadata, account=None, sts_endpoint=sts.url)
    assert (await provider.credentials()).account is None
    (record,) = caplog.records
    assert (record.event, record.levelno) == ("account_unknown", logging.WARNING)  # type: ignore[attr-defined]
    assert "InvalidAccessKey" in record.getMessage()
    sts.pairs[ECS_KEYS[0]] = Pair(ECS_KEYS[1], ECS_KEYS[2])
    metadata.clock.now += 6 * 3600
    assert (await provider.credentials()).account == ACCOUNT


@pytest.mark.parametrize("role_name", ["", "..", ".", "a\nb", "x" * 129, 5])
async def test_names_that_no_role_has_are_refused(metadata: MetadataDouble, role_name: Any) -> None:
    with pytest.raises(ConfigurationError, match="role_name must be the name of a role"):
        ECSCredentials(role_name)
    if isinstance(role_name, str) and role_name:
        provider = provider_of(metadata, environ={"VOLCENGINE_ECS_METADATA": role_name})
        with pytest.raises(AuthenticationError, match="VOLCENGINE_ECS_METADATA must be the name of a role"):
            await provider.credentials()
    assert not metadata.requests


async def test_many_calls_are_one_refresh(metadata: MetadataDouble) -> None:
    provider = provider_of(metadata)
    found = await asyncio.gather(*(provider.credentials() for _ in range(100)))
    assert len({id(keys) for keys in found}) == 1
    assert len(metadata.requests) == 3
