"""Providers of the user: objects, async callables, and classes that are derived from ``RenewingProvider``."""

import asyncio
import functools
from typing import Any

import pytest

from tests.volcengine.credentials.double import ACCESS_KEY, NOW, ROLE_TRN, SECRET_KEY, Clock, STSDouble
from volc_moderation import AuthenticationError, ConfigurationError, TransportError, VolcengineClient
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.renewed_keys import NoKeysError
from volc_moderation.volcengine import (
    AssumeRoleCredentials,
    CredentialProvider,
    NotConfiguredError,
    RenewingProvider,
    StaticCredentials,
)
from volc_moderation.volcengine.credentials.provider import CUSTOM_ATTEMPTS, CustomProvider

pytestmark = pytest.mark.slow  # hundreds of one kind


def keys(**options: Any) -> VolcengineCredentials:
    return VolcengineCredentials.make(ACCESS_KEY, SECRET_KEY, **options)


class Vault:
    async def credentials(self) -> VolcengineCredentials:
        return keys()


class Own(RenewingProvider):
    """A provider of a user, which a test tells what to return."""

    def __init__(self, returned: Any, **options: Any) -> None:
        super().__init__("ours", clock=Clock(), **options)
        self.returned = returned
        self.calls = 0

    async def fetch(self) -> VolcengineCredentials:
        self.calls += 1
        if isinstance(self.returned, Exception):
            raise self.returned
        return self.returned  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.renewed_keys._pause_after", lambda _: 0.0)


async def named() -> VolcengineCredentials:
    return keys()


@pytest.mark.parametrize(
    ("provider", "name"),
    [
        (Vault(), "Vault"),
        (named, "named"),
        (functools.partial(named), "partial"),
        (Vault().credentials, "credentials"),
    ],
)
async def test_what_a_provider_may_be(provider: Any, name: str) -> None:
    custom = CustomProvider(provider, clock=Clock())
    assert (await custom.credentials()).access_key == ACCESS_KEY
    assert repr(custom) == f"<CustomProvider: {name}>"


def test_the_protocol() -> None:
    assert isinstance(Vault(), CredentialProvider)
    assert isinstance(Own(None), CredentialProvider)
    assert not isinstance(named, CredentialProvider)


class NoMethod:
    credentials = keys()


@pytest.mark.parametrize("provider", [None, "AK", ("AK", "SK"), {"AK": "SK"}, Vault, NoMethod(), keys()])
def test_what_is_no_provider(provider: Any) -> None:
    """Also a class in place of an object, and an object with an attribute of that name."""
    for create in (
        lambda: CustomProvider(provider, clock=Clock()),
        lambda: AssumeRoleCredentials(ROLE_TRN, provider),
    ):
        with pytest.raises(ConfigurationError, match="credentials must be a provider, or an async callable"):
            create()


@pytest.mark.parametrize(
    "returned", [None, "AK", (ACCESS_KEY, SECRET_KEY), {"access_key": ACCESS_KEY}, VolcengineCredentials]
)
async def test_a_provider_must_return_credentials(returned: Any) -> None:
    own = Own(returned)

    async def callable_provider() -> Any:
        return returned

    for provider in (own, CustomProvider(callable_provider, clock=Clock())):
        with pytest.raises(AuthenticationError, match="it must return VolcengineCredentials; got ") as caught:
            await provider.credentials()
        assert SECRET_KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (OSError(SECRET_KEY), 3),
        (TransportError("unreachable", maybe_sent=False), 3),
        (ConfigurationError("no such path"), 1),
        (NotConfiguredError("no vault"), 1),
    ],
)
async def test_faults_of_callables_are_repeated(error: Exception, calls: int) -> None:
    """Of a derived class, as often as it asks for: it may repeat its requests itself."""
    calls_of_callable = 0

    async def fails() -> VolcengineCredentials:
        nonlocal calls_of_callable
        calls_of_callable += 1
        raise error

    own, patient = Own(error), Own(error, attempts=3)
    for provider in (CustomProvider(fails, clock=Clock()), own, patient):
        with pytest.raises(NoKeysError) as caught:
            await provider.credentials()
        assert SECRET_KEY not in str(caught.value)
        assert caught.value.is_unconfigured is isinstance(error, NotConfiguredError)
    assert (calls_of_callable, own.calls, patient.calls) == (calls, 1, calls)
    assert CUSTOM_ATTEMPTS == 3


async def test_the_account_of_a_provider_is_that_of_its_keys() -> None:
    assert (await Own(keys(), account="acme").credentials()).account == "acme"
    assert (await Own(keys(account="theirs"), account="acme").credentials()).account == "theirs"


async def test_keys_that_have_expired_are_refused() -> None:
    with pytest.raises(AuthenticationError, match="ours: the keys have expired already"):
        await Own(keys(expires_at=NOW)).credentials()


async def test_clients_share_a_provider_and_its_keys(sts: STSDouble) -> None:
    """Unlike clients of one of the official SDKs, each of which asks STS."""
    source = StaticCredentials(ACCESS_KEY, SECRET_KEY)
    provider = AssumeRoleCredentials(ROLE_TRN, source, endpoint=sts.url, clock=sts.clock)
    clients = [VolcengineClient(credentials=provider, clock=sts.clock) for _ in range(5)]
    await asyncio.gather(*(client.resolve_account() for client in clients), provider.credentials())
    assert len(sts.requests) <= 1
    signers = await asyncio.gather(*(client._signing_keys.get() for client in clients))
    assert len({id(signer.credentials) for signer in signers}) == len(sts.requests) == 1
    for client in clients:
        await client.aclose()


async def test_roles_with_other_options_share_nothing(sts: STSDouble) -> None:
    """One of the official SDKs keeps keys by role and access key alone, whatever the policy and the duration."""
    source = StaticCredentials(ACCESS_KEY, SECRET_KEY)
    options: list[dict[str, Any]] = [{}, {"duration_seconds": 900}, {"policy": "{}"}]
    found = [
        await AssumeRoleCredentials(ROLE_TRN, source, endpoint=sts.url, clock=sts.clock, **one).credentials()
        for one in options
    ]
    assert len({one.access_key for one in found}) == len(sts.requests) == 3


async def test_a_source_that_is_cancelled_ends_in_an_error() -> None:
    async def cancelled() -> VolcengineCredentials:
        raise asyncio.CancelledError

    with pytest.raises(AuthenticationError, match="cancelled: the refresh was cancelled"):
        async with asyncio.timeout(5):
            await CustomProvider(cancelled, clock=Clock()).credentials()
