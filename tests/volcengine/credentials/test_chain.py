"""The first of several providers that has keys, and the chain of the official SDKs."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import free_port
from tests.volcengine.credentials.double import (
    ACCESS_KEY,
    ACCOUNT,
    ECS_KEYS,
    OIDC_TOKEN,
    ROLE_KEYS,
    ROLE_TRN,
    SECRET_KEY,
    MetadataDouble,
    Pair,
    STSDouble,
    refusal,
)
from volc_moderation import AuthenticationError, ConfigurationError
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.renewed_keys import NoKeysError
from volc_moderation.volcengine import (
    AssumeRoleCredentials,
    CredentialChain,
    EnvironmentCredentials,
    NotConfiguredError,
    RenewingProvider,
    StaticCredentials,
    default_credentials,
)
from volc_moderation.volcengine.credentials import ecs
from volc_moderation.volcengine.credentials import sts as sts_module

PAIR = {"VOLCENGINE_ACCESS_KEY": ACCESS_KEY, "VOLCENGINE_SECRET_KEY": SECRET_KEY}


class Everything:
    """A machine on which each provider of the default chain has keys, except for those that a test takes away."""

    def __init__(self, sts: STSDouble, metadata: MetadataDouble, folder: Path) -> None:
        (folder / "token").write_text(OIDC_TOKEN)
        config = {"profiles": {"default": {"access-key": "AKLTprofile", "secret-key": SECRET_KEY}}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "config.json").chmod(0o600)
        sts.pairs[ECS_KEYS[0]] = Pair(ECS_KEYS[1], ECS_KEYS[2])
        self.environ = PAIR | {
            "VOLCENGINE_OIDC_ROLE_TRN": ROLE_TRN,
            "VOLCENGINE_OIDC_TOKEN_FILE": str(folder / "token"),
            "VOLCENGINE_OIDC_STS_ENDPOINT": sts.url,
            "VOLCENGINE_CLI_CONFIG_FILE": str(folder / "config.json"),
        }

    def remove(self, part: str) -> None:
        for name in list(self.environ):
            if part in name:
                self.environ[name] = ""


@pytest.fixture
def everything(
    sts: STSDouble, metadata: MetadataDouble, tmp_path: Path, default_endpoints: Callable[..., None]
) -> Everything:
    default_endpoints(endpoint=metadata.url, sts_endpoint=sts.url)
    return Everything(sts, metadata, tmp_path)


async def test_the_order_of_the_official_sdks(everything: Everything, sts: STSDouble) -> None:
    """Environment, OIDC of the environment, the command line's file, the role of the server."""
    found = []
    for part in ("_KEY", "_OIDC_", "_CLI_", ""):
        chain = default_credentials(environ=everything.environ, clock=sts.clock)
        keys = await chain.credentials()
        assert chain.chosen is not None
        found.append((type(chain.chosen).__name__, keys.access_key, keys.account))
        if part:
            everything.remove(part)
    assert found == [
        ("EnvironmentCredentials", ACCESS_KEY, None),
        ("EnvironmentOIDCCredentials", ROLE_KEYS[0], ACCOUNT),
        ("CLIConfigCredentials", "AKLTprofile", None),
        ("ECSCredentials", ECS_KEYS[0], ACCOUNT),
    ]


async def test_the_error_names_each_provider_and_why_it_had_nothing(
    everything: Everything, sts: STSDouble, default_endpoints: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    default_endpoints(endpoint=endpoint)
    for part in ("_KEY", "_OIDC_", "_CLI_"):
        everything.remove(part)
    chain = default_credentials(environ=everything.environ, clock=sts.clock)
    for _ in range(3):
        with pytest.raises(NoKeysError) as caught:
            await chain.credentials()
    parts = caught.value.message.split(": ", 3)
    assert parts[:3] == ["no valid keys", "default credentials", "none of these has keys"]
    reasons = parts[3].split("; ")
    assert reasons[:3] == [
        "environment: VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY are not set",
        "OIDC (VOLCENGINE_OIDC_ROLE_TRN): VOLCENGINE_OIDC_ROLE_TRN and VOLCENGINE_OIDC_TOKEN_FILE are not set",
        "CLI profile in /nonexistent/config.json: there is no file /nonexistent/config.json",
    ]
    assert reasons[3].startswith(f"ECS role (metadata service {endpoint[7:]}): there is no metadata service: Connect")
    assert caught.value.code == "NoCredentials"
    assert [record.event for record in caplog.records] == ["keys_unavailable"]  # type: ignore[attr-defined]


async def test_a_provider_that_is_configured_but_fails_ends_the_search(everything: Everything, sts: STSDouble) -> None:
    """The next one would be another identity. The error names those that were asked."""
    everything.remove("_KEY")
    sts.script = [refusal("AccessDenied", 403, 100013)]
    chain = default_credentials(environ=everything.environ, clock=sts.clock)
    with pytest.raises(AuthenticationError) as caught:
        await chain.credentials()
    assert "environment: VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY are not set; OIDC" in str(caught.value)
    assert "AssumeRoleWithOIDC: AccessDenied" in str(caught.value)
    assert "CLI" not in str(caught.value)
    assert chain.chosen is None
    everything.environ["VOLCENGINE_SECRET_KEY"] = SECRET_KEY
    with pytest.raises(AuthenticationError, match="VOLCENGINE_ACCESS_KEY is not set"):
        await chain.credentials()


async def test_the_provider_that_had_keys_is_used_from_then_on(everything: Everything, sts: STSDouble) -> None:
    """Its keys are renewed by itself. If that fails, no other identity is used."""
    everything.remove("_KEY")
    chain = default_credentials(environ=everything.environ, clock=sts.clock)
    first = await chain.credentials()
    everything.environ |= PAIR
    sts.clock.now += 3600
    second = await chain.credentials()
    assert [first.access_key, second.access_key] == [ROLE_KEYS[0], f"{ROLE_KEYS[0]}1"]
    assert len(sts.requests) == 2
    sts.clock.now += 3600
    sts.script = [refusal("AccessDenied", 403, 100013)]
    with pytest.raises(AuthenticationError, match=r"OIDC.*AccessDenied"):
        await chain.credentials()


async def test_keys_of_a_chain_are_renewed_in_the_background_in_time(everything: Everything, sts: STSDouble) -> None:
    """They are cached once, by their own provider: not longer than they are valid."""
    everything.remove("_KEY")
    chain = default_credentials(environ=everything.environ, clock=sts.clock)
    first = await chain.credentials()
    sts.clock.now += 3000
    assert chain.keys.current() is first
    assert len(sts.requests) == 1
    sts.clock.now += 361
    assert chain.keys.current() is first  # and a refresh begins
    async with asyncio.timeout(5):
        while chain.keys.current() is first:
            await asyncio.sleep(0.001)
    assert len(sts.requests) == 2


async def test_variables_that_a_chain_has_chosen_are_read_for_each_request() -> None:
    environ = dict(PAIR)
    chain = default_credentials(environ=environ)
    assert (await chain.credentials()).access_key == ACCESS_KEY
    environ["VOLCENGINE_ACCESS_KEY"] = "AKLTnew"
    keys = chain.keys.current()
    assert keys is not None
    assert keys.access_key == "AKLTnew"
    assert keys is chain.keys.current()


async def test_calls_that_wait_for_a_chain_are_one_search(everything: Everything, sts: STSDouble) -> None:
    everything.remove("_KEY")
    chain = default_credentials(environ=everything.environ, clock=sts.clock)
    found = await asyncio.gather(*(chain.credentials() for _ in range(100)))
    assert len({id(keys) for keys in found}) == len(sts.requests) == 1


async def test_all_calls_use_the_same_provider_whichever_was_found_first() -> None:
    """The first one is configured while a call waits for the second one."""
    environ: dict[str, str] = {}
    released = asyncio.Event()

    async def slow() -> VolcengineCredentials:
        await released.wait()
        return VolcengineCredentials.make("AKLTslow", "SK")

    chain = CredentialChain([EnvironmentCredentials(environ=environ), slow])
    waiting = asyncio.create_task(chain.credentials())
    await asyncio.sleep(0.01)
    environ |= PAIR
    assert (await chain.credentials()).access_key == ACCESS_KEY
    released.set()
    assert (await waiting).access_key == ACCESS_KEY


async def test_refused_keys_are_those_of_the_chosen_provider(everything: Everything, sts: STSDouble) -> None:
    everything.remove("_KEY")
    chain = default_credentials(environ=everything.environ, clock=sts.clock)
    assert not chain.keys.replace(VolcengineCredentials.make("AK", "SK"))
    assert chain.keys.replace(await chain.credentials())
    assert (await chain.credentials()).access_key == f"{ROLE_KEYS[0]}1"


async def test_providers_of_the_user_may_be_in_a_chain() -> None:
    async def nothing() -> VolcengineCredentials:
        raise NotConfiguredError("the vault has no entry")

    class Vault(RenewingProvider):
        """Names the account, which its keys do not."""

        async def fetch(self) -> VolcengineCredentials:
            return VolcengineCredentials.make("AKTP", "SK", "STS")

    chain = CredentialChain([CredentialChain([nothing]), Vault("the vault", account="acme")], name="ours")
    assert (await chain.credentials()).account == "acme"
    with pytest.raises(NoKeysError, match="ours: none of these has keys: nothing: the vault has no entry"):
        await CredentialChain([nothing], name="ours").credentials()


async def test_a_callable_of_the_user_that_fails_ends_the_search() -> None:
    calls = 0

    async def fails() -> VolcengineCredentials:
        nonlocal calls
        calls += 1
        raise ValueError("secret")

    chain = CredentialChain([fails, StaticCredentials("AK", "SK")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volc_moderation.renewed_keys._pause_after", lambda _: 0.0)
        with pytest.raises(AuthenticationError, match=r"credential chain: fails: ValueError$"):
            await chain.credentials()
    assert calls == 3


async def test_a_role_over_a_chain(everything: Everything, sts: STSDouble) -> None:
    chain = default_credentials(environ=everything.environ, clock=sts.clock)
    role = AssumeRoleCredentials(ROLE_TRN, chain, endpoint=sts.url, clock=sts.clock)
    assert (await role.credentials()).account == ACCOUNT


@pytest.mark.parametrize(
    ("disabled", "environ", "is_configured"),
    [
        ("", {}, True),
        ("true", {}, False),
        ("true", {"VOLCENGINE_OIDC_ROLE_TRN": ROLE_TRN}, True),
        ("true", {"VOLCENGINE_ACCESS_KEY": "AK"}, True),
        ("true", {"VOLCENGINE_PROFILE": "work"}, True),
    ],
)
def test_whether_there_may_be_keys(disabled: str, environ: dict[str, str], is_configured: bool) -> None:
    chain = default_credentials(environ=environ | {"VOLCENGINE_ECS_METADATA_DISABLED": disabled})
    assert chain.is_configured() is is_configured


@pytest.mark.parametrize("providers", [[], (), None, "AK", StaticCredentials("AK", "SK"), ["AK"]])
def test_a_chain_needs_providers(providers: Any) -> None:
    with pytest.raises(ConfigurationError):
        CredentialChain(providers)


def test_the_addresses_are_those_of_the_vendor() -> None:
    assert (ecs.ENDPOINT, sts_module.ENDPOINT) == ("http://100.96.0.96", "https://sts.volcengineapi.com")
