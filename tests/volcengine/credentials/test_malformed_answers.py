"""Answers of STS that give no keys, and a network that answers for it: each is a clear error, at once."""

import pytest

from tests.volcengine.credentials.double import (
    ACCESS_KEY,
    ACCOUNT,
    NOW,
    ROLE_KEYS,
    ROLE_TRN,
    SECRET_KEY,
    SECRETS,
    Clock,
    STSDouble,
    success,
)
from tests.volcengine.credentials.http_double import Answer
from volc_moderation import AuthenticationError
from volc_moderation.volcengine import AssumeRoleCredentials, StaticCredentials

pytestmark = pytest.mark.slow  # hundreds of one kind


def provider_of(sts: STSDouble, *script: Answer) -> AssumeRoleCredentials:
    sts.script = list(script)
    pair = StaticCredentials(ACCESS_KEY, SECRET_KEY)
    return AssumeRoleCredentials(ROLE_TRN, pair, endpoint=sts.url, clock=sts.clock)


def answer(**changes: object) -> Answer:
    """Return the answer of the worked example, with other values; None leaves a field out."""
    keys: dict[str, object] = dict(zip(("AccessKeyId", "SecretAccessKey", "SessionToken"), ROLE_KEYS, strict=True))
    keys |= {"CurrentTime": Clock().text(), "ExpiredTime": Clock().text(3600)} | changes
    return success("AssumeRole", {"Credentials": {name: one for name, one in keys.items() if one is not None}})


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (success("AssumeRole", {}), "Result.credentials: required field missing"),
        (success("AssumeRole", None), "Result: "),
        (success("AssumeRole", "ok"), "Result.credentials: required field missing"),
        (success("AssumeRole", {"Credentials": None}), "Result.credentials"),
        (success("AssumeRole", {"Credentials": list(ROLE_KEYS)}), "Result.credentials: expected an object, got list"),
        (answer(AccessKeyId=None), "Result.credentials.access_key_id: required field missing"),
        (answer(SecretAccessKey=None), "secret_access_key: required field missing"),
        (answer(SessionToken=None), "session_token: required field missing"),
        (answer(SecretAccessKey=5), "secret_access_key: expected str, got int"),
        (answer(SecretAccessKey=""), "the keys are malformed: secret_key must be"),
        (answer(AccessKeyId="a b"), "the keys are malformed: access_key must be"),
        (answer(SessionToken="a\r\nX-Evil: b"), "the keys are malformed: session_token must be"),
        (answer(ExpiredTime=None), "Expiration: required field missing"),
        (answer(ExpiredTime=""), "Expiration: required field missing"),
        (answer(ExpiredTime="2026-11-20T17:30:00"), "ExpiredTime: expected a time in RFC 3339 with its offset"),
        (answer(ExpiredTime="tomorrow"), "ExpiredTime: expected a time in RFC 3339"),
        (answer(ExpiredTime="0001-01-01T00:00:00+23:59"), "ExpiredTime: "),
        (answer(CurrentTime="2026-11-20T16:30:00"), "CurrentTime: expected a time in RFC 3339 with its offset"),
        (answer(ExpiredTime=Clock().text()), "ExpiredTime: the keys have expired already"),
        (answer(ExpiredTime=Clock().text(-1)), "ExpiredTime: the keys have expired already"),
        (answer(CurrentTime=None, ExpiredTime=Clock().text(-1)), "ExpiredTime: the keys have expired already"),
        (Answer({}), "HTTP 200 with a body of 2 bytes that is not the vendor's JSON"),
        (Answer([]), "not the vendor's JSON"),
        (Answer("<html><body>Please log in</body></html>", headers={"Content-Type": "text/html"}), "not the vendor's"),
        (Answer(b"\xff\xfe"), "not the vendor's JSON"),
        (Answer("[" * 100_000), "not the vendor's JSON"),
        (Answer('{"ResponseMetadata": {}}'), "Result: "),
        (Answer(status=404), "HTTP 404"),
        (Answer(status=407), "HTTP 407"),
    ],
)
async def test_answers_without_usable_keys(sts: STSDouble, response: Answer, reason: str) -> None:
    provider = provider_of(sts, *[response] * 3)
    with pytest.raises(AuthenticationError) as caught:
        await provider.credentials()
    assert reason in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS)


async def test_answers_without_usable_keys_are_not_asked_for_again(sts: STSDouble) -> None:
    with pytest.raises(AuthenticationError):
        await provider_of(sts, answer(ExpiredTime=None)).credentials()
    assert len(sts.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(sts: STSDouble, status: int) -> None:
    """Elsewhere, the signature or the token would be somebody else's."""
    with pytest.raises(AuthenticationError, match=f"HTTP {status}"):
        await provider_of(sts, Answer(status=status, headers={"Location": f"{sts.url}/elsewhere"})).credentials()
    assert len(sts.requests) == 1


async def test_a_huge_answer_is_not_read_to_its_end(sts: STSDouble) -> None:
    huge = Answer(b" " * (16 * 2**20 + 1))
    with pytest.raises(AuthenticationError, match="a response of more than 16,777,216 bytes"):
        await provider_of(sts, huge, huge, huge).credentials()


async def test_what_is_added_is_ignored(sts: STSDouble) -> None:
    response = answer(New={"x": 1}, CurrentTime=None)
    keys = await provider_of(sts, response).credentials()
    assert (keys.expires_at, keys.account) == (NOW + 3600, ACCOUNT)


async def test_a_role_user_that_cannot_be_read_does_not_hide_the_account(sts: STSDouble) -> None:
    body = answer().body
    assert isinstance(body, dict)
    users: list[object] = [None, [], {"Trn": 5}, {"Trn": "nonsense"}]
    for user in users:
        body["Result"]["AssumedRoleUser"] = user
        assert (await provider_of(sts, Answer(body)).credentials()).account == ACCOUNT
