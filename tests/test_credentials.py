"""Credentials: where the environment has them, which are refused, and what is shown of them."""

import pytest

from volc_moderation import ConfigurationError
from volc_moderation.credentials import (
    MAX_UINT32,
    VolcengineCredentials,
    redact_passwords,
    volcengine_keys_from_env,
    zego_keys_from_env,
)

NEW = {"VOLCENGINE_ACCESS_KEY": "AK", "VOLCENGINE_SECRET_KEY": "SK"}
OLD = {"VOLC_ACCESSKEY": "old AK", "VOLC_SECRETKEY": "old SK"}


def test_the_newer_variables_take_precedence() -> None:
    assert volcengine_keys_from_env(NEW | OLD) == ("AK", "SK", None)
    assert volcengine_keys_from_env(NEW | {"VOLCENGINE_SESSION_TOKEN": "T"}) == ("AK", "SK", "T")
    assert volcengine_keys_from_env(NEW | {"VOLCENGINE_SESSION_TOKEN": ""}) == ("AK", "SK", None)
    assert volcengine_keys_from_env(OLD | {"VOLCENGINE_SESSION_TOKEN": "T"}) == ("old AK", "old SK", None)


@pytest.mark.parametrize("missing", NEW)
def test_half_a_pair_of_keys_is_refused(missing: str) -> None:
    half = {name: value for name, value in NEW.items() if name != missing}
    with pytest.raises(ConfigurationError, match=f"{missing} is not set"):
        volcengine_keys_from_env(half | OLD)


def test_the_error_without_keys_names_the_variables() -> None:
    with pytest.raises(ConfigurationError, match="set VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY"):
        volcengine_keys_from_env({})


@pytest.mark.parametrize("app_id", ["x", "-1", "1.5", "\uff11", "9" * 5000])
def test_an_app_id_must_be_a_number(app_id: str) -> None:
    with pytest.raises(ConfigurationError, match="ZEGO_APP_ID must be a decimal number"):
        zego_keys_from_env({"ZEGO_APP_ID": app_id, "ZEGO_SERVER_SECRET": "s"})
    assert zego_keys_from_env({"ZEGO_APP_ID": "7", "ZEGO_SERVER_SECRET": "s"}) == (7, "s")
    largest = {"ZEGO_APP_ID": str(MAX_UINT32), "ZEGO_SERVER_SECRET": "s"}
    assert zego_keys_from_env(largest) == (4_294_967_295, "s")


def test_a_repr_shows_the_beginning_of_the_access_key_only() -> None:
    """It is enough to distinguish keys."""
    keys = VolcengineCredentials.make("AKLTNzY1", "secret", "token", expires_at=2.0, account="21")
    assert repr(keys) == (
        "VolcengineCredentials(access_key='AKLT***', secret_key=Secret('***'), session_token=Secret('***'), "
        "expires_at=2.0, account='21')"
    )


@pytest.mark.parametrize("field", ["access_key", "secret_key", "session_token"])
@pytest.mark.parametrize("value", ["", " ", "a b", "a\n", "\x7f", "\xe9", 5, b"key"])
def test_invalid_keys_are_refused(field: str, value: object) -> None:
    keys: dict[str, object] = {"access_key": "AK", "secret_key": "SK", "session_token": "T"}
    with pytest.raises(ConfigurationError, match=f"{field} must be a str of printable ASCII without blanks; got "):
        VolcengineCredentials.make(**keys | {field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://:s3cret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://user:s3/c?r#e@t@host/0", "redis://user:***@host/0"),
        ("redis://user@host", "redis://user@host"),
        ("rediss://host/0?ssl_password=s3cret&db=1", "rediss://host/0?ssl_password=***&db=1"),
        ("rediss://host/0?db=1&Password=s3#cret", "rediss://host/0?db=1&Password=***"),
        ("at redis://:s3cret@a and redis://:s3cret@b", "at redis://:***@a and redis://:***@b"),
    ],
)
def test_passwords_in_urls_are_redacted(text: str, redacted: str) -> None:
    assert redact_passwords(text) == redacted
