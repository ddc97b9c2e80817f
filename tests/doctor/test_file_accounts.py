"""The accounts of an accounts file."""

import sys
from pathlib import Path

import pytest

from tests.doctor.findings import find, statuses
from tests.doubles import KEYS
from volc_moderation import ConfigurationError, NoQuotas
from volc_moderation.doctor.account import check_account
from volc_moderation.doctor.file_accounts import file_accounts
from volc_moderation.doctor.finding import Finding
from volc_moderation.testing import ModerationEmulator

pytestmark = pytest.mark.slow  # hundreds of one kind

FILE = """
[accounts.main]
vendor = "volcengine"
access_key = "{access_key}"
secret_key = {{ env = "MAIN_SECRET" }}
base_url = "{url}"

[accounts.role]
vendor = "volcengine"
credentials = {{ provider = "command", command = ["{python}", "-c", "print('{{}}')"] }}
base_url = "{url}"

[accounts.default]
vendor = "volcengine"
credentials = {{ provider = "default" }}
base_url = "{url}"

[accounts.game]
vendor = "zego"
app_id = {app_id}
server_secret = {{ command = ["{python}", "-c", "print('{server_secret}')"] }}
base_url = "{url}"

[accounts.lost]
vendor = "zego"
app_id = 4
server_secret = {{ command = ["/nonexistent"] }}
"""


@pytest.fixture
def file(moderation_emulator: ModerationEmulator, tmp_path: Path) -> Path:
    path = tmp_path / "accounts.toml"
    path.touch(0o600)
    path.write_text(
        FILE.format(
            url=moderation_emulator.base_url,
            access_key=KEYS.access_key,
            app_id=KEYS.app_id,
            server_secret=KEYS.server_secret,
            python=sys.executable,
        )
    )
    return path


async def check(file: Path, name: str) -> list[Finding]:
    (account,) = file_accounts(file, [name])
    return await check_account(account, NoQuotas(), sts_endpoint=None)


async def test_an_account_with_its_keys(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIN_SECRET", KEYS.secret_key)
    found = await check(file, "main")
    assert {"failed", "warning"}.isdisjoint(statuses(found).values())
    assert find(found, "keys").detail == f"access key {KEYS.access_key}*** from {file}: accounts.main"
    assert found[0].subject == "account:main"
    monkeypatch.setenv("MAIN_SECRET", "wrong")
    assert statuses(await check(file, "main"))["signed_read"] == "failed"
    monkeypatch.delenv("MAIN_SECRET")
    found = await check(file, "main")
    assert statuses(found) == {"keys": "skipped"}
    assert "MAIN_SECRET, which is not set" in found[0].detail


async def test_keys_of_commands_and_providers(file: Path) -> None:
    found = await check(file, "game")
    assert {"failed", "warning"}.isdisjoint(statuses(found).values())
    assert find(found, "keys").detail == f"AppId {KEYS.app_id} from a command in {file}: accounts.game"
    found = await check(file, "default")
    assert find(found, "keys").detail.endswith("from environment")
    for name in ("lost", "role"):
        assert statuses(await check(file, name)) == {"keys": "failed"}


def test_a_file_or_a_name_that_does_not_exist(file: Path) -> None:
    assert [account.name for account in file_accounts(file)] == ["main", "role", "default", "game", "lost"]
    assert [account.name for account in file_accounts(file, ["main", "main"])] == ["main"]
    with pytest.raises(ConfigurationError, match="there is no account other; there are main, role"):
        file_accounts(file, ["other"])
    with pytest.raises(ConfigurationError, match="cannot be read"):
        file_accounts(file.with_name("other.toml"))
