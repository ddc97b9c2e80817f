"""Keys of the configuration file of the command line ``ve``, in the modes that need no browser."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.volcengine.credentials.double import (
    ACCESS_KEY,
    ACCOUNT,
    ECS_KEYS,
    NOW,
    OIDC_TOKEN,
    ROLE_KEYS,
    ROLE_TRN,
    SECRET_KEY,
    MetadataDouble,
    Pair,
    STSDouble,
)
from volc_moderation import AuthenticationError, ConfigurationError
from volc_moderation.renewed_keys import NoKeysError
from volc_moderation.volcengine import CLIConfigCredentials
from volc_moderation.volcengine.credentials import cli_config

PAIR = {"access-key": ACCESS_KEY, "secret-key": SECRET_KEY}
ROLE = {"role-name": "rtc-moderator", "account-id": ACCOUNT}


class ConfigFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, current: str | None = None, **profiles: dict[str, Any]) -> None:
        self.path.write_text(json.dumps({"current": current, "profiles": profiles}))
        self.path.chmod(0o600)


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    return ConfigFile(tmp_path / "config.json")


def provider_of(file: ConfigFile, sts: STSDouble, **options: Any) -> CLIConfigCredentials:
    return CLIConfigCredentials(file.path, sts_endpoint=sts.url, clock=sts.clock, **{"environ": {}} | options)


async def test_ak(file: ConfigFile, sts: STSDouble) -> None:
    file.write("work", work=PAIR | {"region": "cn-beijing", "sts-expiration": 1})
    provider = provider_of(file, sts)
    keys = await provider.credentials()
    assert (keys.access_key, keys.secret_key.reveal(), keys.session_token) == (ACCESS_KEY, SECRET_KEY, None)
    assert (keys.expires_at, keys.account) == (None, None)
    assert provider.name == f"CLI profile work in {file.path} (mode ak)"
    assert not sts.requests


async def test_ak_with_a_session_token_belongs_to_the_account_of_the_profile(file: ConfigFile, sts: STSDouble) -> None:
    file.write("work", work=PAIR | {"session-token": "STS", "account-id": ACCOUNT})
    keys = await provider_of(file, sts).credentials()
    assert keys.session_token is not None
    assert (keys.session_token.reveal(), keys.account) == ("STS", ACCOUNT)


@pytest.mark.parametrize("mode", ["ramrolearn", "iamrole"])
async def test_a_role(file: ConfigFile, sts: STSDouble, mode: str) -> None:
    file.write("work", work=PAIR | ROLE | {"mode": mode, "disable-ssl": True})
    provider = provider_of(file, sts)
    keys = await provider.credentials()
    assert (keys.access_key, keys.account, keys.expires_at) == (ROLE_KEYS[0], ACCOUNT, NOW + 3600)
    assert provider.account == ACCOUNT
    assert sts.requests[0].query["RoleTrn"] == ROLE_TRN


async def test_a_role_for_a_temporary_pair_signs_its_token(file: ConfigFile, sts: STSDouble) -> None:
    """Two of the official SDKs drop the token of the profile, so that STS refuses the call."""
    sts.pairs[ACCESS_KEY] = Pair(SECRET_KEY, "STSsource/+=")
    file.write("work", work=PAIR | ROLE | {"mode": "ramrolearn", "session-token": "STSsource/+="})
    assert (await provider_of(file, sts).credentials()).access_key == ROLE_KEYS[0]


async def test_oidc(file: ConfigFile, sts: STSDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may begin with ``~``. The address is that of the variable, as in the environment's own OIDC."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(OIDC_TOKEN)
    policy = '{"Statement": []}'
    file.write("work", work={"mode": "oidc", "role-trn": ROLE_TRN, "oidc-token-file": "~/token", "policy": policy})
    provider = CLIConfigCredentials(file.path, environ={"VOLCENGINE_OIDC_STS_ENDPOINT": sts.url}, clock=sts.clock)
    keys = await provider.credentials()
    assert (keys.access_key, keys.account) == (ROLE_KEYS[0], ACCOUNT)
    assert sts.requests[0].form["Policy"] == policy


@pytest.mark.parametrize("role", [{}, {"role-name": "named"}])
async def test_ecsrole(
    file: ConfigFile,
    sts: STSDouble,
    metadata: MetadataDouble,
    default_endpoints: Callable[..., None],
    role: dict[str, str],
) -> None:
    default_endpoints(endpoint=metadata.url)
    file.write("work", work={"mode": "ecsrole", "account-id": ACCOUNT, **role})
    keys = await provider_of(file, sts).credentials()
    assert (keys.access_key, keys.account) == (ECS_KEYS[0], ACCOUNT)
    assert metadata.requests[-1].path.endswith(role.get("role-name", "rtc-moderator"))


async def test_ecsrole_that_is_disabled_is_an_error(file: ConfigFile, sts: STSDouble) -> None:
    """The profile is what is configured: nobody looks elsewhere."""
    file.write("work", work={"mode": "ecsrole"})
    with pytest.raises(NoKeysError, match="VOLCENGINE_ECS_METADATA_DISABLED is true") as caught:
        await provider_of(file, sts, environ={"VOLCENGINE_ECS_METADATA_DISABLED": "true"}).credentials()
    assert not caught.value.is_unconfigured


@pytest.mark.parametrize(
    ("argument", "environ", "chosen"),
    [
        ("a", {"VOLCENGINE_PROFILE": "b", "VOLCSTACK_PROFILE": "c"}, "a"),
        (None, {"VOLCENGINE_PROFILE": "b", "VOLCSTACK_PROFILE": "c"}, "b"),
        (None, {"VOLCENGINE_PROFILE": "", "VOLCSTACK_PROFILE": "c"}, "c"),
        (None, {"VOLCENGINE_PROFILE": "", "VOLCSTACK_PROFILE": ""}, "d"),
    ],
)
async def test_the_choice_of_the_profile(
    file: ConfigFile, sts: STSDouble, argument: str | None, environ: dict[str, str], chosen: str
) -> None:
    file.write("d", **{name: PAIR | {"access-key": f"AKLT{name}"} for name in ("a", "b", "c", "d")})
    provider = provider_of(file, sts, profile=argument, environ=environ)
    assert (await provider.credentials()).access_key == f"AKLT{chosen}"


async def test_the_choice_of_the_file(file: ConfigFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write("p", p=PAIR | {"access-key": "AKLTvariable"})
    other, default = ConfigFile(tmp_path / "other.json"), ConfigFile(tmp_path / "default.json")
    other.write("p", p=PAIR | {"access-key": "AKLTargument"})
    default.write("p", p=PAIR | {"access-key": "AKLTdefault"})
    monkeypatch.setattr(cli_config, "DEFAULT_PATH", str(default.path))
    environ = {"VOLCENGINE_CLI_CONFIG_FILE": str(file.path)}
    for path, variables, expected in (
        (str(other.path), environ, "AKLTargument"),
        (None, environ, "AKLTvariable"),
        (None, {"VOLCENGINE_CLI_CONFIG_FILE": ""}, "AKLTdefault"),
    ):
        assert (await CLIConfigCredentials(path, environ=variables).credentials()).access_key == expected


async def test_the_file_is_read_again_once_a_minute(file: ConfigFile, sts: STSDouble) -> None:
    """And when the vendor refuses its keys. A file that cannot be read at first may be there later."""
    provider = provider_of(file, sts)
    with pytest.raises(AuthenticationError, match="No such file or directory"):
        await provider.credentials()
    file.write("p", p=PAIR)
    provider._keys._paused_until = 0.0
    first = await provider.credentials()
    file.write("p", p=PAIR | {"access-key": "AKLTnew"})
    assert await provider.credentials() is first
    sts.clock.now += 61
    provider.keys.current()
    async with asyncio.timeout(5):
        while (await provider.credentials()) is first:
            await asyncio.sleep(0.001)
    assert (await provider.credentials()).access_key == "AKLTnew"
    file.write("p", p=PAIR | {"access-key": "AKLTthird"})
    provider.keys.replace(await provider.credentials())
    assert (await provider.credentials()).access_key == "AKLTthird"


async def test_a_profile_that_changes_its_mode(file: ConfigFile, sts: STSDouble) -> None:
    file.write("p", p=PAIR)
    provider = provider_of(file, sts)
    assert (await provider.credentials()).access_key == ACCESS_KEY
    file.write("p", p=PAIR | ROLE | {"mode": "ramrolearn"})
    provider.keys.replace(await provider.credentials())
    assert (await provider.credentials()).access_key == ROLE_KEYS[0]
    assert provider.name.endswith("(mode ramrolearn)")


async def test_refused_modes_are_named_with_their_file(file: ConfigFile, sts: STSDouble) -> None:
    file.write("p", p={"mode": "sso", "sso-session-name": "my-sso"})
    with pytest.raises(
        AuthenticationError, match=f"CLI profile in {file.path}: profile p has the mode sso: its keys need a browser"
    ):
        await provider_of(file, sts).credentials()


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
async def test_a_file_that_others_may_write_is_refused(file: ConfigFile, sts: STSDouble, mode: int) -> None:
    """They could choose the keys, and read what is sent with them."""
    file.write("p", p=PAIR)
    file.path.chmod(mode)
    with pytest.raises(AuthenticationError, match=f"other users may write the file {file.path}"):
        await provider_of(file, sts).credentials()


async def test_a_file_of_another_user_is_refused(
    file: ConfigFile, sts: STSDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write("p", p=PAIR)
    if os.geteuid() == 0:
        os.chown(file.path, 12_345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(AuthenticationError, match="other users may write"):
        await provider_of(file, sts).credentials()


@pytest.mark.parametrize("kind", ["directory", "pipe", "binary", "broken", "huge"])
async def test_files_that_are_none(file: ConfigFile, sts: STSDouble, kind: str) -> None:
    """A named pipe, which would block until somebody writes to it, is refused at once."""
    if kind == "directory":
        file.path.mkdir()
    elif kind == "pipe":
        os.mkfifo(file.path)
    else:
        content = {"binary": b"\xff\xfe{}", "broken": b'{"profiles": ', "huge": b" " * (2**20 + 1)}[kind]
        file.path.write_bytes(content)
    reason = {
        "directory": "cannot be read: Is a directory",
        "pipe": "is not a regular file",
        "binary": "is not in UTF-8",
        "broken": "it is not a JSON object",
        "huge": "has more than 1,048,576 bytes",
    }[kind]
    opened = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
    with pytest.raises(AuthenticationError, match=reason) as caught:
        await provider_of(file, sts).credentials()
    assert str(file.path) in str(caught.value)
    assert len(os.listdir("/proc/self/fd")) == opened  # noqa: PTH208 - as above


async def test_without_a_file_it_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = CLIConfigCredentials(environ={})
    assert not provider.is_configured()
    with pytest.raises(NoKeysError, match=r"there is no file /nonexistent/config\.json") as caught:
        await provider.credentials()
    assert caught.value.is_unconfigured


async def test_without_a_home_directory_it_is_not_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    def expanduser(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", expanduser)
    provider = CLIConfigCredentials(environ={})
    assert not provider.is_configured()
    with pytest.raises(NoKeysError, match="there is no file") as caught:
        await provider.credentials()
    assert caught.value.is_unconfigured
    with pytest.raises(NoKeysError, match="there is no home directory"):
        await CLIConfigCredentials("~/config.json", environ={}).credentials()


async def test_a_file_or_a_profile_that_is_named_must_be_there(file: ConfigFile, sts: STSDouble) -> None:
    """Otherwise a typing error would silently lead to another identity."""
    for environ in ({"VOLCENGINE_CLI_CONFIG_FILE": str(file.path)}, {"VOLCENGINE_PROFILE": "work"}):
        provider = CLIConfigCredentials(environ=environ)
        assert provider.is_configured()
        with pytest.raises(NoKeysError, match="No such file or directory") as caught:
            await provider.credentials()
        assert not caught.value.is_unconfigured
    file.write("p", p=PAIR)
    with pytest.raises(AuthenticationError, match="it has no profile work"):
        await provider_of(file, sts, environ={"VOLCENGINE_PROFILE": "work"}).credentials()


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"path": ""}, "path must be"), ({"path": 5}, "path must be"), ({"profile": ""}, "profile must be")],
)
def test_wrong_options_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        CLIConfigCredentials(**options)
