"""What a profile of the command line ``ve`` says: the choice of the profile, its modes, and what is wrong with it."""

import json
from typing import Any

import pytest

from volc_moderation import ConfigurationError
from volc_moderation.volcengine import NotConfiguredError
from volc_moderation.volcengine.credentials.cli_profile import read_profile

pytestmark = pytest.mark.slow  # hundreds of one kind

PAIR = {"access-key": "AK", "secret-key": "SK"}
ROLE = {"role-name": "moderator", "account-id": "2100000001"}


def config(current: object = None, /, **profiles: object) -> str:
    return json.dumps({"current": current, "profiles": profiles, "enableColor": True, "sso-session": {}})


@pytest.mark.parametrize(
    ("given", "current", "chosen"),
    [
        ("given", "current", "given"),
        (None, "current", "current"),
        (None, "", "default"),
        (None, None, "default"),
    ],
)
def test_the_choice_of_the_profile(given: str | None, current: str | None, chosen: str) -> None:
    profiles = {name: {"access-key": name, "secret-key": "SK"} for name in ("given", "current", "default")}
    name, profile = read_profile(config(current, **profiles), given)
    assert (name, profile.access_key, profile.mode) == (chosen, chosen, "ak")


@pytest.mark.parametrize(
    ("mode", "fields", "expected"),
    [
        (None, PAIR, "ak"),
        ("", PAIR, "ak"),
        (" AK ", PAIR, "ak"),
        ("RamRoLeARN", PAIR | ROLE, "ramrolearn"),
        ("iamrole", PAIR | ROLE, "ramrolearn"),
        ("OIDC", {"role-trn": "trn", "oidc-token-file": "/token"}, "oidc"),
        ("ecsrole", {}, "ecsrole"),
    ],
)
def test_modes(mode: str | None, fields: dict[str, str], expected: str) -> None:
    assert read_profile(config("p", p=fields | {"mode": mode}), None)[1].mode == expected


@pytest.mark.parametrize("mode", ["sso", "console-login", "ststoken", "SSO"])
def test_modes_that_are_refused_are_named(mode: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^profile p has the mode {mode.lower()}: .*use .*mode.* ak"):
        read_profile(config("p", p=PAIR | {"mode": mode, "session-token": "T"}), None)


def test_an_unknown_mode_is_named() -> None:
    with pytest.raises(ConfigurationError, match="profile p has the unknown mode magic"):
        read_profile(config("p", p=PAIR | {"mode": "magic"}), None)


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"mode": "ak"}, "access-key and secret-key"),
        ({"mode": "ak", "access-key": "AK"}, "secret-key"),
        ({"mode": "ak", "access-key": "AK", "secret-key": "  "}, "secret-key"),
        ({"mode": "ramrolearn", **PAIR}, "role-name and account-id"),
        ({"mode": "iamrole", **ROLE}, "access-key and secret-key"),
        ({"mode": "oidc"}, "role-trn and oidc-token-file"),
        ({"mode": "oidc", "role-trn": "trn"}, "oidc-token-file"),
    ],
)
def test_what_a_mode_needs(fields: dict[str, str], missing: str) -> None:
    with pytest.raises(ConfigurationError, match=f"profile p of mode .* lacks {missing}$") as caught:
        read_profile(config("p", p=fields), None)
    assert not isinstance(caught.value, NotConfiguredError)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"profiles": null}',
        '{"profiles": {}}',
        config("", work=PAIR),
        config(None, default={"region": "cn-beijing"}),
    ],
)
def test_a_file_without_a_current_or_a_default_profile_configures_nothing(text: str) -> None:
    with pytest.raises(NotConfiguredError):
        read_profile(text, None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not a JSON object"),
        ("[]", "it is not a JSON object"),
        ("{" * 100_000, "it is not a JSON object"),
        ('{"current": "p"', "it is not a JSON object"),
        ('{"current": 5}', "current must be a text, not int"),
        ('{"profiles": []}', "profiles must be an object, not list"),
        ('{"current": "p"}', "it has no profile p"),
        (config("p", other=PAIR), "it has no profile p"),
        (config("p", p=[]), "profile p must be an object, not list"),
        (config("p", p=PAIR | {"secret-key": 5}), "profile p: secret-key must be a text, not int"),
        (config("p", p=PAIR | {"mode": True}), "profile p: mode must be a text, not bool"),
        (config("\x1b[2J", p=PAIR), "it has no profile"),
    ],
)
def test_broken_files(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as caught:
        read_profile(text, None)
    assert not isinstance(caught.value, NotConfiguredError)
    assert "\x1b" not in str(caught.value)


def test_the_keys_are_in_no_repr() -> None:
    fields: Any = {"access-key": "AKLTsecret", "secret-key": "secret", "session-token": "secret"}
    _, profile = read_profile(config("p", p=fields), None)
    assert profile.session_token == "secret"
    assert "secret" not in repr(profile)
