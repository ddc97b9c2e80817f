"""Accounts files: what they may say, what is refused and how, and that accounts share all but their quotas."""

import asyncio
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import KEYS, Vendors, mocked, volcengine_success
from tests.toy_vendor import TOY, ToyClient
from volc_moderation import (
    AuthenticationError,
    ConfigurationError,
    VolcengineClient,
    WindowQuotas,
    ZegoClient,
    accounts,
)
from volc_moderation.quotas import NoQuotas
from volc_moderation.vendors import VENDORS
from volc_moderation.volcengine import StopWebcast
from volc_moderation.wire import parameters
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.slow

STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}

TWO = """
[accounts.game-eu]
vendor = "zego"
app_id = 1234567890
server_secret = { env = "EU_SECRET" }
limits = { stop_censor_audio = 300 }

[accounts.china]
vendor = "volcengine"
access_key = { env = "CHINA_KEY" }
secret_key = { env = "CHINA_SECRET" }
account = "2100000001"
region = "cn-beijing"
app_id = "app"
base_url = "http://127.0.0.1:1"
"""


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("EU_SECRET", "s" * 32), ("CHINA_KEY", "AKLTchina"), ("CHINA_SECRET", "c2VjcmV0")):
        monkeypatch.setenv(name, value)


def written(tmp_path: Path, text: str, *, mode: int = 0o600) -> Path:
    path = tmp_path / "accounts.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def zego_account(**settings: str) -> str:
    """Return an accounts file with one account, whose settings are given as TOML has them."""
    table = {"vendor": '"zego"', "app_id": "1", "server_secret": '"hidden-secret"'} | settings
    return "[accounts.game]\n" + "".join(f"{name} = {value}\n" for name, value in table.items() if value)


def volcengine_account(**settings: str) -> str:
    table = {"vendor": '"volcengine"'} | settings
    return "[accounts.cn]\n" + "".join(f"{name} = {value}\n" for name, value in table.items())


async def test_each_account_is_a_client(tmp_path: Path) -> None:
    async with accounts.load(written(tmp_path, TWO)) as loaded:
        assert list(loaded) == ["game-eu", "china"]
        zego, volcengine = loaded.of(ZegoClient)["game-eu"], loaded.of(VolcengineClient)["china"]
        assert zego.account == "1234567890"
        assert volcengine.account == "2100000001@127.0.0.1:1"
        assert volcengine._signing_keys._region == "cn-beijing"
        assert parameters(volcengine.complete(StopWebcast(room_id="r", task_id="t")))["AppId"] == "app"
        assert not loaded.skipped
        http_client = zego._state.transport._client
    assert http_client.is_closed


async def test_they_share_the_http_client_its_gate_and_the_store_but_no_quota(tmp_path: Path) -> None:
    quotas = WindowQuotas()
    async with mocked(lambda _: volcengine_success()) as http_client:
        async with accounts.load(written(tmp_path, TWO), quotas=quotas, http_client=http_client) as loaded:
            zego, volcengine = loaded.values()
            assert zego.quotas is volcengine.quotas is quotas
            assert zego._state.transport.gate is volcengine._state.transport.gate
            await loaded.of(VolcengineClient)["china"].stop_webcast(**STOP)
        assert not http_client.is_closed
    assert [key.account for key in quotas.snapshot()] == ["2100000001@127.0.0.1:1"]


async def test_limits_are_those_of_one_account(tmp_path: Path) -> None:
    text = TWO + TWO.replace("game-eu", "game-us").replace("1234567890", "987").replace(
        "limits = { stop_censor_audio = 300 }", ""
    ).replace("accounts.china", "accounts.other").replace("2100000001", "3")
    async with accounts.load(written(tmp_path, text)) as loaded:
        limits = [loaded[name].quota_of(StopCensorAudioV2).limit for name in ("game-eu", "game-us")]
        assert limits == [300, 100]


async def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="VOLC_MODERATION_ACCOUNTS"):
        accounts.load()
    monkeypatch.setenv("VOLC_MODERATION_ACCOUNTS", str(written(tmp_path, TWO)))
    async with accounts.load(names=["china"]) as loaded:
        assert list(loaded) == ["china"]


async def test_accounts_without_keys_in_this_process_can_be_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EU_SECRET")
    path = written(tmp_path, TWO)
    with pytest.raises(ConfigurationError, match=r"accounts.game-eu: server_secret needs .* EU_SECRET"):
        accounts.load(path)
    async with accounts.load(path, skip_missing=True) as loaded:
        assert list(loaded) == ["china"]
        assert "EU_SECRET" in str(loaded.skipped["game-eu"])


@pytest.mark.skipif(os.name != "posix", reason="the mode of a file is that of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_file_with_keys_must_be_private(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path, zego_account(), mode=mode)
    with pytest.raises(ConfigurationError, match="other users can read it: chmod 600") as caught:
        accounts.load(path)
    assert "hidden-secret" not in str(caught.value)
    accounts.load(written(tmp_path, zego_account(server_secret='{ env = "EU_SECRET" }'), mode=mode))


def shown(error: BaseException | None) -> str:
    """Return what a program that reports errors may show of one: its text, and the variables of its frames."""
    texts = []
    while error is not None:
        texts.append(str(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if f"{os.sep}tests{os.sep}" not in frame.f_code.co_filename:
                texts.append(repr(frame.f_locals))
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "has no account"),
        ("accounts = 3", "has no account"),
        ("[accounts]", "has no account"),
        ("[account.x]", "account is no table of it"),
        ("[accounts.x]", "accounts.x: vendor is missing"),
        ("[accounts]\nx = 3", r"accounts.x must be a table"),
        ('[accounts."a b"]', "the name of an account must be"),
        ('[accounts.x]\nvendor = "tencent"', "vendor must be one of volcengine, zego"),
        (zego_account(app_id=""), "app_id is missing"),
        (zego_account(app_id='"x"'), "app_id must be a whole number"),
        (zego_account(app_id="true"), "app_id must be a whole number"),
        (zego_account(app_id="0"), "app_id must be an int from 1"),
        (zego_account(server_secret=""), "server_secret is missing"),
        (zego_account(server_secret='["hidden-secret"]'), "server_secret must be a text, { env"),
        (zego_account(server_secret="3"), "server_secret must be a text, { env"),
        (zego_account(server_secret='{ env = "A", command = ["b"] }'), "server_secret must be a text, { env"),
        (zego_account(server_secret="{ env = 3 }"), "server_secret must be { env ="),
        (zego_account(server_secret='{ command = "pass show" }'), "command must be a list of texts"),
        (zego_account(is_test="1"), "is_test must be true or false"),
        (zego_account(region='"x"'), "region is no setting here"),
        (zego_account(is_tets="true"), "is_tets is no setting here; did you mean is_test?"),
        (zego_account(base_url='"ftp://x"'), "accounts.game: base_url must be like"),
        (zego_account(limits="3"), "limits must be like"),
        (zego_account(limits="{ stop_censor_audio = 0 }"), "limits must be like"),
        (zego_account(limits="{ stop_censor_audio = true }"), "limits must be like"),
        (zego_account(limits="{ stop_webcast = 3 }"), "there is no action 'stop_webcast'"),
        (zego_account() + zego_account().replace(".game", ".copy"), "accounts.game and accounts.copy are the same"),
        (volcengine_account(), "access_key is missing|secret_key is missing"),
        (volcengine_account(access_key='"A"', secret_key='"B"', region='"a b"'), "accounts.cn: region must be"),
        (volcengine_account(access_key='"A"', secret_key='{ command = ["x"] }'), "cannot come from a command"),
        (volcengine_account(access_key='"A"', credentials='{ provider = "ecs" }'), "exclude each other"),
        (volcengine_account(credentials='{ provider = "sso" }'), "credentials: provider must be one of assume_role"),
        (volcengine_account(credentials='"default"'), "credentials must be a table"),
        (volcengine_account(credentials='{ provider = "ecs", role = "x" }'), "role is no setting here"),
        (volcengine_account(credentials='{ provider = "assume_role", role_trn = "x" }'), "source is missing"),
    ],
)
def test_what_is_wrong_is_named_and_never_shown(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError, match=reason) as caught:
        accounts.load(path)
    assert str(path) in str(caught.value)
    assert "hidden-secret" not in shown(caught.value)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b'[accounts.x]\nserver_secret = "hidden-secret', b"a = [" * 5000, b"\0", b"x" * 5_000_000]
)
def test_hostile_bytes_are_no_accounts(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "accounts.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="accounts file") as caught:
        accounts.load(path)
    assert "hidden-secret" not in shown(caught.value)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        accounts.load(tmp_path / "missing.toml")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        accounts.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        accounts.load(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="there is no account china; there are game"):
        accounts.load(written(tmp_path, zego_account()), names=["china"])


def printing(text: str, status: int = 0) -> str:
    """Return the setting of a command, as TOML has it, that prints a text and ends with a status."""
    program = f"import sys; sys.stdout.write({text!r}); sys.exit({status})"
    return f"command = {json.dumps([sys.executable, '-c', program])}"


@pytest.mark.slow
async def test_a_command_prints_the_secret(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        zego_account(app_id=str(KEYS.app_id), server_secret=f"{{ {printing(KEYS.server_secret)} }}"),
        mode=0o644,
    )
    async with (
        Vendors() as vendors,
        accounts.load(path, quotas=NoQuotas(), http_client=vendors.http_client) as loaded,
    ):
        client = loaded.of(ZegoClient)["game"]
        client._state._clock = vendors.zego._state._clock
        await client.describe_user_num(room_id=["room"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("{ " + printing("hidden-secret", 3) + " }", "failed with the status 3"),
        ("{ " + printing("  ") + " }", "prints no text"),
        ('{ command = ["/nonexistent/program"] }', "cannot be started: No such file"),
    ],
)
async def test_a_command_that_fails_says_so_and_shows_nothing(tmp_path: Path, command: str, reason: str) -> None:
    path = written(tmp_path, zego_account(server_secret=command))
    async with accounts.load(path, quotas=NoQuotas()) as loaded:
        with pytest.raises(AuthenticationError, match=reason) as caught:
            await loaded.of(ZegoClient)["game"].describe_user_num(room_id=["room"])
    assert "hidden-secret" not in str(caught.value)


@pytest.mark.slow
async def test_a_command_that_hangs_does_not_outlive_the_deadline_or_its_loop(tmp_path: Path) -> None:
    command = f'{{ command = ["{sys.executable}", "-c", "import time; time.sleep(60)"] }}'
    path = written(tmp_path, zego_account(server_secret=command))
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with accounts.load(path, quotas=NoQuotas()) as loaded:
        with pytest.raises(TimeoutError):
            await loaded.of(ZegoClient)["game"].with_options(deadline=0.2).describe_user_num(room_id=["room"])
    assert loop.time() - began < 5


@pytest.mark.slow
async def test_a_command_prints_a_whole_pair(tmp_path: Path) -> None:
    keys = {"AccessKeyId": "AKTP1", "SecretAccessKey": "c2Vj", "SessionToken": "STS1"}
    keys["ExpiredTime"] = "2999-01-01T00:00:00Z"
    command = f'{{ provider = "command", {printing(json.dumps(keys))} }}'
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return volcengine_success()

    path = written(tmp_path, volcengine_account(credentials=command, account='"2100000001"'))
    async with (
        mocked(handle) as http_client,
        accounts.load(path, quotas=NoQuotas(), http_client=http_client) as loaded,
    ):
        await loaded.of(VolcengineClient)["cn"].stop_webcast(**STOP)
    assert seen[0].headers["X-Security-Token"] == "STS1"
    assert "AKTP1/" in seen[0].headers["Authorization"]


@pytest.mark.parametrize(
    ("credentials", "account"),
    [
        ('{ provider = "default" }', None),
        ('{ provider = "environment" }', None),
        ('{ provider = "ecs", role_name = "moderator" }', None),
        ('{ provider = "profile", path = "config.json", profile = "work" }', None),
        ('{ provider = "oidc", role_trn = "trn:iam::21:role/moderator", token_file = "token" }', "21"),
        (
            (
                '{ provider = "assume_role", role_trn = "trn:iam::21:role/moderator", duration_seconds = 900,'
                ' source = { access_key = { env = "CHINA_KEY" }, secret_key = { env = "CHINA_SECRET" } } }'
            ),
            "21",
        ),
        (
            (
                '{ provider = "assume_role", role_trn = "trn:iam::22:role/moderator",'
                ' source = { credentials = { provider = "ecs" } } }'
            ),
            "22",
        ),
    ],
)
def test_each_provider_can_be_described(tmp_path: Path, credentials: str, account: str | None) -> None:
    client = accounts.load(written(tmp_path, volcengine_account(credentials=credentials)))["cn"]
    if account is None:
        with pytest.raises(ConfigurationError, match="resolve_account"):
            _ = client.account  # it comes with the keys
    else:
        assert client.account == account


def test_keys_of_a_source_make_the_file_a_secret(tmp_path: Path) -> None:
    role = 'provider = "assume_role", role_trn = "trn:iam::21:role/moderator"'
    credentials = f'{{ {role}, source = {{ access_key = "AKLT1", secret_key = "hidden-secret" }} }}'
    path = written(tmp_path, volcengine_account(credentials=credentials), mode=0o644)
    with pytest.raises(ConfigurationError, match=r"contains a key .*accounts\.cn: access_key"):
        accounts.load(path)


def test_a_third_vendor_says_which_settings_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VENDORS, TOY.name, TOY)
    loaded = accounts.load(written(tmp_path, '[accounts.stage]\nvendor = "toy"\nkey = "k"\nsecret = "s"'))
    assert loaded.of(ToyClient)["stage"].account == "k"
