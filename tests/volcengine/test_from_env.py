"""Keys of ``VolcengineClient.from_env()``: of variables as they are, else of the chain of the official SDKs."""

import json
from pathlib import Path

import httpx
import pytest

from volc_moderation import AuthenticationError, ConfigurationError, VolcengineClient

STOP = {"app_id": "app", "room_id": "room", "task_id": "task"}


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a configuration file of the command line ``ve``, and name it in the variables."""
    path = tmp_path / "config.json"
    profile = {"mode": "ak", "access-key": "AKLTprofile", "secret-key": "c2VjcmV0"}
    path.write_text(json.dumps({"current": "work", "profiles": {"work": profile}}))
    path.chmod(0o600)
    monkeypatch.setenv("VOLCENGINE_CLI_CONFIG_FILE", str(path))
    return path


class Seen:
    """A vendor that accepts each call, and remembers its signature."""

    def __init__(self) -> None:
        self.authorization: list[str] = []

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.authorization.append(request.headers["Authorization"])
        return httpx.Response(200, json={"ResponseMetadata": {"RequestId": "r"}, "Result": {"Message": "success"}})


async def test_keys_of_variables_go_before_all_others(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLCENGINE_ACCESS_KEY", "AKLTvariable")
    monkeypatch.setenv("VOLCENGINE_SECRET_KEY", "c2VjcmV0")
    seen = Seen()
    async with seen.client() as http_client, VolcengineClient.from_env(http_client=http_client) as client:
        assert client.account == "AKLTvariable"  # known before the first call
        await client.stop_webcast(**STOP)
    assert "AKLTvariable/" in seen.authorization[0]


async def test_without_variables_the_chain_has_the_keys(config_file: Path) -> None:
    seen = Seen()
    async with seen.client() as http_client, VolcengineClient.from_env(http_client=http_client) as client:
        await client.stop_webcast(**STOP)
        assert client.account == "AKLTprofile"
    assert "AKLTprofile/" in seen.authorization[0]


@pytest.mark.usefixtures("config_file")
async def test_the_account_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLCENGINE_ACCOUNT", "2100000001")
    async with VolcengineClient.from_env() as client, VolcengineClient.from_env(account="other") as other:
        assert client.account == "2100000001"
        assert other.account == "other"
    monkeypatch.setenv("VOLCENGINE_ACCESS_KEY", "AKLTvariable")
    monkeypatch.setenv("VOLCENGINE_SECRET_KEY", "c2VjcmV0")
    async with VolcengineClient.from_env() as client:
        assert await client.resolve_account() == "2100000001"
        assert client.former_accounts == {"AKLTvariable"}


def test_if_nothing_can_have_keys_there_is_no_client() -> None:
    with pytest.raises(ConfigurationError, match="set VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY"):
        VolcengineClient.from_env()


@pytest.mark.usefixtures("config_file")
def test_half_of_a_pair_is_no_reason_to_look_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLCENGINE_ACCESS_KEY", "AKLTvariable")
    with pytest.raises(ConfigurationError, match="VOLCENGINE_SECRET_KEY is not set"):
        VolcengineClient.from_env()


async def test_the_error_names_each_place_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is created, since a server's role may have keys; the first call finds that nothing has."""
    monkeypatch.delenv("VOLCENGINE_ECS_METADATA_DISABLED")
    seen = Seen()
    async with seen.client() as http_client, VolcengineClient.from_env(http_client=http_client) as client:
        monkeypatch.setenv("VOLCENGINE_ECS_METADATA_DISABLED", "true")  # this machine's role is not asked
        with pytest.raises(AuthenticationError) as caught:
            await client.stop_webcast(**STOP)
    assert caught.value.code == "NoCredentials"
    for place in ("VOLCENGINE_ACCESS_KEY", "VOLCENGINE_OIDC_ROLE_TRN", "config.json", "metadata service"):
        assert place in str(caught.value)
    assert not seen.authorization
