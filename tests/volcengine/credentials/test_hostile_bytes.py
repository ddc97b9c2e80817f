"""Whatever a file or a service contains ends in keys or in an error of this package, which can be printed."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.volcengine.credentials.double import NOW
from volc_moderation import ModerationError
from volc_moderation.volcengine.credentials.cli_profile import read_profile
from volc_moderation.volcengine.credentials.ecs import _read_roles
from volc_moderation.volcengine.credentials.sts import AssumedRole, TemporaryKeys, account_of
from volc_moderation.wire import parse

pytestmark = pytest.mark.slow  # hundreds of one kind

texts = st.text(st.characters(exclude_categories=()), max_size=20)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3))
times = st.datetimes(timezones=st.none() | st.timezones()).map(lambda time: time.isoformat()) | texts
profile_fields = st.sampled_from(["mode", "access-key", "secret-key", "role-name", "account-id", "session-token"])
modes = st.sampled_from(["ak", "ramrolearn", "oidc", "ecsrole", "sso"])
profiles = st.dictionaries(profile_fields, values | modes, max_size=6) | values
configs = st.fixed_dictionaries(
    {},
    optional={
        "current": st.sampled_from(["p", "default"]) | values,
        "profiles": st.dictionaries(st.sampled_from(["p", "default"]), profiles) | values,
    },
)


def assert_printable_error(function: Callable[[], object]) -> None:
    try:
        function()
    except ModerationError as error:
        str(error).encode()


@pytest.mark.slow
@settings(max_examples=25)
@given(configs.map(json.dumps) | texts, st.none() | texts)
def test_any_file_of_the_command_line(text: str, name: str | None) -> None:
    assert_printable_error(lambda: read_profile(text, name))


@pytest.mark.slow
@settings(max_examples=25)
@given(texts | values.map(json.dumps))
def test_any_list_of_roles(text: str) -> None:
    assert_printable_error(lambda: _read_roles(text))


@pytest.mark.slow
@settings(max_examples=25)
@given(values, values, times | values, times | values, texts)
def test_any_answer(access_key: object, secret_key: object, expired: object, current: object, trn: str) -> None:
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken", "ExpiredTime", "CurrentTime")
    keys = dict(zip(names, (access_key, secret_key, secret_key, expired, current), strict=True))
    answer = {"Credentials": keys, "AssumedRoleUser": {"Trn": trn}}
    assert_printable_error(lambda: parse(answer, AssumedRole).to_credentials(trn, now=NOW))
    account_of(trn)


@pytest.mark.slow
@settings(max_examples=25)
@given(times, st.none() | times, st.booleans())
def test_any_expiry(expired: str, current: str | None, are_new: bool) -> None:
    keys = TemporaryKeys(
        access_key_id="AK", secret_access_key="SK", session_token="ST", expired_time=expired, current_time=current
    )
    try:
        credentials = keys.to_credentials(now=NOW, account=None, are_new=are_new)
    except ModerationError:
        return
    assert credentials.expires_at is not None
    assert credentials.expires_at > NOW


@pytest.mark.parametrize(
    "trn", ["trn:iam::1:role/x\n", "trn:iam::1:", "trn:iam::x:role/y", "trn:iam::\u0661:role/y", ""]
)
def test_what_names_no_account(trn: str) -> None:
    assert account_of(trn) is None
