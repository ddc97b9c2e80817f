"""Keys that the program or its environment gives."""

import asyncio
import time
from typing import Any

import pytest

from tests.volcengine.credentials.double import ACCESS_KEY, SECRET_KEY
from volc_moderation import ConfigurationError
from volc_moderation.renewed_keys import NoKeysError
from volc_moderation.volcengine import CredentialProvider, EnvironmentCredentials, StaticCredentials

PAIR = {"VOLCENGINE_ACCESS_KEY": ACCESS_KEY, "VOLCENGINE_SECRET_KEY": SECRET_KEY}


async def test_static_keys() -> None:
    provider = StaticCredentials(ACCESS_KEY, SECRET_KEY, "token", account="acme")
    assert isinstance(provider, CredentialProvider)
    keys = await provider.credentials()
    assert keys is await provider.credentials() is provider.keys.current()
    assert (keys.account, provider.account) == ("acme", "acme")
    assert not provider.keys.replace(keys)
    assert SECRET_KEY not in repr(provider) + repr(keys)


@pytest.mark.parametrize("arguments", [("", "SK"), ("AK", ""), ("AK", "SK", ""), ("AK", "S K"), ("AK", "SK\n")])
def test_malformed_static_keys_are_refused(arguments: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a str of printable ASCII without blanks"):
        StaticCredentials(*arguments)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        (PAIR, (ACCESS_KEY, None)),
        (PAIR | {"VOLCENGINE_SESSION_TOKEN": "STS"}, (ACCESS_KEY, "STS")),
        (PAIR | {"VOLCENGINE_SESSION_TOKEN": ""}, (ACCESS_KEY, None)),
        (PAIR | {"VOLCSTACK_ACCESS_KEY": "AK2", "VOLCSTACK_SESSION_TOKEN": "no"}, (ACCESS_KEY, None)),
        ({"VOLCSTACK_ACCESS_KEY_ID": "AK1", "VOLCSTACK_SECRET_ACCESS_KEY": "SK"}, ("AK1", None)),
        (
            {"VOLCENGINE_ACCESS_KEY": "", "VOLCSTACK_ACCESS_KEY": "AK2", "VOLCSTACK_SECRET_KEY": "SK"},
            ("AK2", None),  # an empty variable does not hide the other names
        ),
        (
            {
                "VOLCSTACK_ACCESS_KEY_ID": "AK1",
                "VOLCSTACK_ACCESS_KEY": "AK2",
                "VOLCSTACK_SECRET_KEY": "SK",
                "VOLCSTACK_SESSION_TOKEN": "STS",
            },
            ("AK1", "STS"),
        ),
        ({"VOLC_ACCESSKEY": "AK3", "VOLC_SECRETKEY": "SK"}, ("AK3", None)),
    ],
)
async def test_the_variables(environ: dict[str, str], expected: tuple[str, str | None]) -> None:
    keys = await EnvironmentCredentials(environ=environ).credentials()
    assert (keys.access_key, keys.session_token and keys.session_token.reveal()) == expected


async def test_variables_are_read_for_each_request() -> None:
    """The keys are the same object until they change, so that a signer can be kept."""
    environ = dict(PAIR)
    provider = EnvironmentCredentials(environ=environ)
    first = provider.keys.current()
    assert first is not None
    assert provider.keys.current() is first is await provider.credentials()
    assert not provider.keys.replace(first)  # there are no others
    environ["VOLCENGINE_SESSION_TOKEN"] = "STS"
    second = provider.keys.current()
    assert second is not None
    assert (second.access_key, second.are_temporary) == (ACCESS_KEY, True)
    assert provider.keys.replace(first)  # they are there already


async def test_reading_them_is_cheap() -> None:
    provider = EnvironmentCredentials(environ=PAIR)
    costs = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(100):
            provider.keys.current()
        costs.append((time.perf_counter() - began) / 100)
    assert min(costs) < 100e-6  # about 6 µs


@pytest.mark.parametrize("environ", [{}, dict.fromkeys(PAIR, "")])
async def test_without_variables_it_is_not_configured(
    environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    provider = EnvironmentCredentials(environ=environ)
    assert not provider.is_configured()
    assert provider.keys.current() is None
    with pytest.raises(NoKeysError) as caught:
        await provider.credentials()
    assert caught.value.is_unconfigured
    assert caught.value.message == (
        "no valid keys: environment: VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY are not set"
    )
    assert not caplog.records


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        (PAIR | {"VOLCENGINE_SECRET_KEY": ""}, "VOLCENGINE_SECRET_KEY is not set"),
        (PAIR | {"VOLCENGINE_ACCESS_KEY": ""}, "VOLCENGINE_ACCESS_KEY is not set"),
        ({"VOLCSTACK_ACCESS_KEY": "AK"}, "VOLCSTACK_SECRET_ACCESS_KEY is not set"),
        (PAIR | {"VOLCENGINE_SECRET_KEY": "se cret"}, "secret_key must be a str of printable ASCII without blanks"),
    ],
)
async def test_half_a_pair_is_an_error(environ: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture) -> None:
    """One that ends a chain, although there may be other keys, and is logged once in a minute."""
    provider = EnvironmentCredentials(environ=environ)
    assert provider.is_configured()
    for _ in range(3):
        with pytest.raises(NoKeysError, match=reason) as caught:
            await provider.credentials()
        assert not caught.value.is_unconfigured
    assert [record.event for record in caplog.records] == ["keys_unavailable"]  # type: ignore[attr-defined]
    assert "se cret" not in caplog.text


def test_one_provider_serves_event_loops_that_follow_one_another() -> None:
    provider = EnvironmentCredentials(environ=PAIR)
    first = asyncio.run(provider.credentials())
    assert asyncio.run(provider.credentials()) is first
