"""Creating clients: wrong settings are named; only ``from_env()`` reads the environment."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import (
    aged_quota_file,
    environment,
    mocked,
    sequential_handler,
    volcengine_client,
    volcengine_error,
    volcengine_success,
    zego_answer,
    zego_client,
)
from volc_moderation import (
    ConfigurationError,
    FileQuotas,
    RedisQuotas,
    RetryPolicy,
    ThrottledError,
    VolcengineClient,
    WindowQuotas,
    ZegoClient,
)
from volc_moderation.quotas import Quota, QuotaKey
from volc_moderation.volcengine import StopWebcast

STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


async def test_params_of_the_http_client_are_refused() -> None:
    async with httpx.AsyncClient(params={"tenant": "x"}) as http_client:
        with pytest.raises(ConfigurationError, match="params"):
            volcengine_client(http_client=http_client)


async def test_the_users_http_client_is_not_closed() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        async with volcengine_client(http_client=http_client) as client:
            await client.stop_webcast(**STOP)
        assert not http_client.is_closed


async def test_the_clients_own_http_client_is_closed() -> None:
    async with volcengine_client() as client:
        http_client = client._state.transport._client
    assert http_client.is_closed


def _volcengine(**settings: Any) -> VolcengineClient:
    return VolcengineClient(**({"access_key": "AK", "secret_key": "SK"} | settings))


def _zego(**settings: Any) -> ZegoClient:
    keys: dict[str, Any] = {"app_id": 1, "server_secret": "s"}
    return ZegoClient(**(keys | settings))


@pytest.mark.parametrize(
    ("make", "settings", "named"),
    [
        (_volcengine, {"access_key": ""}, "access_key"),
        (_volcengine, {"access_key": None}, "access_key"),
        (_volcengine, {"secret_key": "with blank"}, "secret_key"),
        (_volcengine, {"secret_key": b"bytes"}, "secret_key"),
        (_volcengine, {"session_token": "line\r\nX-Evil: 1"}, "session_token"),
        (_volcengine, {"session_token": "密"}, "session_token"),
        (_volcengine, {"region": ""}, "region"),
        (_volcengine, {"region": "-"}, "region"),
        (_volcengine, {"region": 5}, "region"),
        (_volcengine, {"region": None}, "region"),
        (_volcengine, {"account": 5}, "account"),
        (_volcengine, {"account": ""}, "account"),
        (_volcengine, {"region": "cn/north"}, "region"),
        (_volcengine, {"base_url": "rtc.volcengineapi.com"}, "base_url"),
        (_volcengine, {"base_url": "https://host/path"}, "base_url"),
        (_volcengine, {"base_url": "https://host?a=b"}, "base_url"),
        (_volcengine, {"base_url": "https://user:word@host"}, "base_url"),
        (_volcengine, {"base_url": "https://host:99999"}, "base_url"),
        (_volcengine, {"base_url": "https://ho st"}, "base_url"),
        (_volcengine, {"base_url": None}, "base_url"),
        (_volcengine, {"deadline": 0}, "deadline"),
        (_volcengine, {"deadline": True}, "deadline"),
        (_volcengine, {"region": "cn-北京-1"}, "region"),
        (_volcengine, {"base_url": "https://host#x"}, "base_url"),
        (_volcengine, {"base_url": "ftp://host"}, "base_url"),
        (_volcengine, {"base_url": "//host"}, "base_url"),
        (_volcengine, {"base_url": "https://hôst"}, "base_url"),
        (_volcengine, {"base_url": "https://host\n"}, "base_url"),
        (_zego, {"app_id": 10**13}, "got int$"),
        (_volcengine, {"deadline": "5"}, "deadline"),
        (_volcengine, {"deadline": float("nan")}, "deadline"),
        (_volcengine, {"timeout": -1}, "timeout"),
        (_volcengine, {"timeout": float("inf")}, "timeout must be finite"),
        (_zego, {"server_secret": 918273645546}, "server_secret must be .* got int$"),
        (_volcengine, {"http_client": httpx.Client}, "http_client"),
        (_volcengine, {"retry": 3}, "retry must be a RetryPolicy; got int 3"),
        (_volcengine, {"quotas": {"StopWebcast": 5}}, "quotas must be a store of quotas; got dict"),
        (_volcengine, {"clock": 3}, "clock"),
        (_zego, {"app_id": "1234567890"}, "app_id"),
        (_zego, {"app_id": 0}, "app_id"),
        (_zego, {"app_id": 2**32}, "app_id"),
        (_zego, {"app_id": True}, "app_id"),
        (_zego, {"server_secret": ""}, "server_secret"),
        (_zego, {"is_test": "true"}, "is_test"),
    ],
)
def test_wrong_settings_are_named(make: Callable[..., object], settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        make(**settings)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("ALL_PROXY", "socks5://127.0.0.1:1"), ("HTTP_PROXY", "odd://x"), ("SSL_CERT_FILE", "/no/such")),
        *(("HTTPS_PROXY", "http://user:pass/word@host"), ("HTTP_PROXY", "http://user:password")),
    ],
)
def test_an_environment_that_httpx_cannot_use_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match="proxies or certificates of the environment") as caught:
        volcengine_client()
    assert "pass" not in str(caught.value)
    volcengine_client(http_client=mocked(lambda _: volcengine_success()))


def test_constructors_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        VolcengineClient("AK", "SK")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ZegoClient(1, "s")  # type: ignore[call-arg]


async def test_only_from_env_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VOLCENGINE_SESSION_TOKEN", "TOKEN")
    assert VolcengineClient.from_env()._base_url.url == "http://127.0.0.1:1"
    assert ZegoClient.from_env()._base_url.url == "http://127.0.0.1:1"
    for name, vendor in (("VOLCENGINE_RTC_BASE_URL", VolcengineClient), ("ZEGO_BASE_URL", ZegoClient)):
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv(name)
            assert vendor.from_env()._base_url.url.startswith("https://")
            patch.setenv(name, "")
            assert vendor.from_env()._base_url.url.startswith("https://")
    assert VolcengineClient.from_env(base_url="http://127.0.0.1:2")._base_url.url == "http://127.0.0.1:2"
    assert ZegoClient.from_env(base_url="http://127.0.0.1:2")._base_url.url == "http://127.0.0.1:2"
    handler, requests = sequential_handler(volcengine_success())
    async with mocked(handler) as http_client:
        await VolcengineClient.from_env(http_client=http_client).stop_webcast(**STOP)
        await volcengine_client(http_client=http_client).stop_webcast(**STOP)
    assert [request.headers.get("x-security-token") for request in requests] == ["TOKEN", None]
    assert [request.url.host for request in requests] == ["127.0.0.1", "rtc.volcengineapi.com"]


async def test_the_addresses_of_the_vendors_and_zegos_test_environment() -> None:
    handler, requests = sequential_handler(volcengine_success(), zego_answer())
    async with mocked(handler) as http_client:
        await volcengine_client(http_client=http_client).stop_webcast(**STOP)
        await zego_client(http_client=http_client).stop_censor_audio(task_id="t")
        await zego_client(http_client=http_client, is_test=True).stop_censor_audio(task_id="t")
    addresses = [str(request.url.copy_with(query=None)) for request in requests]
    assert addresses == ["https://rtc.volcengineapi.com/", *2 * ["https://rtc-api.zego.im/"]]
    assert [request.url.params.get("IsTest") for request in requests] == [None, None, "true"]


def test_the_account_that_quotas_are_counted_by() -> None:
    """All hosts of a vendor share an account; each emulator on this machine has accounts of its own."""
    hosts = ("http://127.0.0.1:1", "http://127.0.0.1:2", "https://a.example", "https://b.example")
    for make in (_volcengine, _zego):
        accounts = [make(base_url=host).account for host in hosts]
        assert accounts[0] != accounts[1] != accounts[2] == accounts[3]
    assert _zego(app_id=1).account != _zego(app_id=2).account != _zego(app_id=2, is_test=True).account


# The store of quotas


@pytest.mark.parametrize("value", ["", "window"])
async def test_the_quotas_are_those_of_the_event_loop_by_default(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", value)
    _set_keys(monkeypatch)
    async with VolcengineClient.from_env() as client, ZegoClient.from_env() as other, _volcengine() as third:
        assert isinstance(client.quotas, WindowQuotas)
        assert client.quotas is other.quotas is third.quotas


async def test_the_environment_may_name_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The client closes the store that it has created."""
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", f"file:{aged_quota_file(tmp_path / 'quotas')}")
    _set_keys(monkeypatch)
    async with mocked(lambda _: volcengine_success()) as http_client:
        async with VolcengineClient.from_env(http_client=http_client) as client, _volcengine() as other:
            assert isinstance(client.quotas, FileQuotas)
            assert client.quotas.path == tmp_path / "quotas"
            assert isinstance(other.quotas, WindowQuotas)  # only from_env() reads the environment
            await client.stop_webcast(**STOP)
        with pytest.raises(ConfigurationError, match="these FileQuotas are closed"):
            await client.quotas.acquire(QuotaKey("volcengine", "AK", "StopWebcast"), Quota(1))


async def test_a_store_that_was_given_comes_before_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its owner closes it."""
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", "redis://127.0.0.1:1")
    _set_keys(monkeypatch)
    async with FileQuotas(aged_quota_file(tmp_path / "quotas")) as quotas:
        async with VolcengineClient.from_env(quotas=quotas) as client:
            assert client.quotas is quotas
        (await quotas.acquire(QuotaKey("volcengine", "AK", "StopWebcast"), Quota(1))).abandoned(None)
    async with VolcengineClient.from_env(quotas=None) as client:
        assert isinstance(client.quotas, WindowQuotas)


async def test_the_environment_may_name_a_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", "redis://:password@127.0.0.1:1/0")
    _set_keys(monkeypatch)
    async with ZegoClient.from_env() as client:
        assert isinstance(client.quotas, RedisQuotas)


@pytest.mark.parametrize("value", ["file:", "File", "http://host", "rediss:/x", "memory", "redis:password"])
def test_an_unknown_store_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", value)
    _set_keys(monkeypatch)
    for client_type in (VolcengineClient, ZegoClient):
        with pytest.raises(ConfigurationError, match="VOLC_MODERATION_QUOTAS must be window, file, ") as caught:
            client_type.from_env()
        assert value not in str(caught.value).removeprefix("VOLC_MODERATION_QUOTAS must be window, file, file:/path")


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_refusal_names_the_stores_that_processes_share(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, is_shared: bool
) -> None:
    """Unless one of them is in use: then the likely cause is another one."""
    quotas = FileQuotas(aged_quota_file(tmp_path / "quotas")) if is_shared else WindowQuotas()
    handler, _ = sequential_handler(volcengine_error("FlowLimitExceeded", status=429), volcengine_success())
    async with mocked(handler) as http_client, volcengine_client(quotas=quotas, http_client=http_client) as client:
        with pytest.raises(ThrottledError):
            await client.call(StopWebcast(**STOP), retry=RetryPolicy(attempts=1))
    assert ("FileQuotas (on one machine) or RedisQuotas (on many)" in caplog.text) is not is_shared
    assert "other programs use the quota too" in caplog.text


def _set_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment("http://127.0.0.1:1").items():
        monkeypatch.setenv(name, value)
