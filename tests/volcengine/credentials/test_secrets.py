"""No key, token or signature is in an error, its traceback, a log record or a repr, whatever a service answers."""

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.test_secrets import everything
from tests.volcengine.credentials.double import (
    ACCESS_KEY,
    METADATA_TOKEN,
    OIDC_TOKEN,
    ROLE_KEYS,
    ROLE_TRN,
    SECRET_KEY,
    SECRETS,
    Clock,
    MetadataDouble,
    STSDouble,
    success,
)
from tests.volcengine.credentials.http_double import HANG, Answer, Received
from volc_moderation import ModerationError
from volc_moderation.volcengine import (
    AssumeRoleCredentials,
    CLIConfigCredentials,
    CredentialChain,
    ECSCredentials,
    EnvironmentCredentials,
    OIDCCredentials,
    RenewingProvider,
    StaticCredentials,
)
from volc_moderation.volcengine.credentials import ecs
from volc_moderation.volcengine.credentials.sts import TemporaryKeys

pytestmark = pytest.mark.slow  # hundreds of one kind

SOURCE_TOKEN = "STSsource/+token=="
SIGNATURE = re.compile(r"Signature=[0-9a-f]{32}")


def assert_clean(text: str) -> None:
    assert not SIGNATURE.search(text)
    for secret in (*SECRETS, SOURCE_TOKEN):
        assert secret not in text, secret


def echo(request: Received) -> Answer:
    """Repeat all that was sent, and the key that signed it, as no service should."""
    keys = f"{SECRET_KEY} {SOURCE_TOKEN}" if "authorization" in request.headers else OIDC_TOKEN
    text = f"{request.target} {request.headers} {request.body} {keys}"
    error = {"Code": "AccessDenied", "Message": text}
    return Answer({"ResponseMetadata": {"RequestId": text, "Error": error}}, 403, {"X-Tt-Logid": keys})


def half_of_the_keys(_: Received) -> Answer:
    keys = dict(zip(("AccessKeyId", "SecretAccessKey", "SessionToken"), ROLE_KEYS, strict=True))
    return success("AssumeRole", {"Credentials": keys})


def wrong_keys(_: Received) -> Answer:
    keys = {"AccessKeyId": "a b", "SecretAccessKey": ROLE_KEYS[1], "SessionToken": ROLE_KEYS[2]}
    return success("AssumeRole", {"Credentials": keys | {"ExpiredTime": Clock().text(3600)}})


def keys_elsewhere(_: Received) -> Answer:
    return Answer({"Credentials": ROLE_KEYS})


def page(request: Received) -> Answer:
    return Answer(f"<html>{request.target} {request.headers} {request.body}", 502)


def hang(_: Received) -> Answer:
    return HANG


def broken(request: Received) -> Answer:
    return Answer(f"{request.headers} {ROLE_KEYS}", headers={"X y": f"{request.headers}".replace("SHA", "")})


def cut_short(request: Received) -> Answer:
    return Answer(f"{request.headers} {ROLE_KEYS}", headers={"Content-Length": "100000"})


ANSWERS = [echo, half_of_the_keys, wrong_keys, keys_elsewhere, page, hang, broken, cut_short]


def providers(sts: STSDouble, folder: Path) -> list[RenewingProvider]:
    (folder / "token").write_text(OIDC_TOKEN)
    pair = StaticCredentials(ACCESS_KEY, SECRET_KEY, SOURCE_TOKEN)
    return [
        AssumeRoleCredentials(ROLE_TRN, pair, endpoint=sts.url, clock=sts.clock),
        OIDCCredentials(ROLE_TRN, folder / "token", endpoint=sts.url, clock=sts.clock),
    ]


@pytest.mark.parametrize("answer", ANSWERS, ids=[answer.__name__ for answer in ANSWERS])
async def test_calls_to_sts(
    sts: STSDouble,
    tmp_path: Path,
    answer: Callable[[Received], Answer],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither what a client raises, nor what ``fetch`` raises."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(sts, "_answer", answer)
    printed = ""
    for provider in providers(sts, tmp_path):
        for provide in (provider.credentials, provider.fetch):
            if answer is hang:
                provider._sts._timeout = 0.02  # type: ignore[attr-defined]
            with pytest.raises(ModerationError) as caught:
                await provide()
            printed += everything(caught.value)
        printed += repr(provider) + "".join(f"{one!r}" for one in vars(provider).values())
    assert_clean(printed + caplog.text + "".join(str(vars(record)) for record in caplog.records))


@pytest.mark.parametrize(
    "script",
    [
        [Answer(f"two {METADATA_TOKEN}")],
        [Answer(METADATA_TOKEN), Answer(f"<{METADATA_TOKEN}>")],
        [Answer(METADATA_TOKEN), Answer(["r"]), Answer(f"<{ROLE_KEYS}>")],
        [Answer(METADATA_TOKEN), Answer(["r"]), Answer(f"{ROLE_KEYS}", 403)],
        [Answer(METADATA_TOKEN), Answer(["r"]), Answer({"AccessKeyId": ROLE_KEYS[1], "SessionToken": 5})],
        [Answer(METADATA_TOKEN), Answer(["r"]), HANG, HANG],
    ],
)
async def test_the_metadata_service(
    metadata: MetadataDouble, script: list[Answer], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(ecs, "METADATA_TIMEOUT", 0.05)
    provider = ECSCredentials(environ={}, endpoint=metadata.url, account="1", clock=metadata.clock)
    printed = ""
    for provide in (provider.credentials, provider.fetch):
        metadata.script = list(script)
        with pytest.raises(ModerationError) as caught:
            await provide()
        printed += everything(caught.value)
    assert_clean(printed + caplog.text + "".join(str(vars(record)) for record in caplog.records))


@pytest.mark.parametrize(
    "content",
    [
        f"{OIDC_TOKEN} {SECRET_KEY}".encode(),
        f"{OIDC_TOKEN}".encode() + b"\xff",
        f"{OIDC_TOKEN}".encode() * 20_000,
        f'{{"profiles": {{"default": {{"access-key": "AK", "secret-key": "{SECRET_KEY}", "mode": 5}}}}}}'.encode(),
        f'{{"profiles": {{"default": {{"access-key": "AK", "session-token": "{SOURCE_TOKEN}"}}}}}}'.encode(),
        f'{{"profiles": {{"default": {{"access-key": "AK", "secret-key": "{SECRET_KEY} "'.encode(),
        f'{{"profiles": {{"default": {{"access-key": "A K", "secret-key": "{SECRET_KEY}"}}}}}}'.encode(),
        f'{{"profiles": {{"default": {{"secret-key": "{SECRET_KEY}", "access-key": "AK", "mode": "sso"}}}}}}'.encode(),
    ],
)
async def test_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    path.chmod(0o600)
    sources: list[RenewingProvider] = [OIDCCredentials(ROLE_TRN, path), CLIConfigCredentials(path, environ={})]
    for source in sources:
        for provide in (source.credentials, source.fetch):
            with pytest.raises(ModerationError) as caught:
                await provide()
            assert_clean(everything(caught.value))


@pytest.mark.parametrize("secret_key", ["", f"{SECRET_KEY} {SECRET_KEY}"])
async def test_variables(secret_key: str) -> None:
    environ = {
        "VOLCENGINE_ACCESS_KEY": "AK",
        "VOLCENGINE_SECRET_KEY": secret_key,
        "VOLCENGINE_SESSION_TOKEN": SOURCE_TOKEN,
    }
    provider = EnvironmentCredentials(environ=environ)
    for provide in (provider.credentials, CredentialChain([provider]).credentials):
        with pytest.raises(ModerationError) as caught:
            await provide()
        assert_clean(everything(caught.value))


async def test_a_cancelled_fetch(sts: STSDouble, tmp_path: Path) -> None:
    sts.before = asyncio.Event().wait
    for provider in providers(sts, tmp_path):
        task = asyncio.create_task(provider.fetch())
        before = len(sts.requests)
        while len(sts.requests) == before:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert_clean(everything(caught.value))


def test_values() -> None:
    keys: dict[str, Any] = dict(zip(("access_key_id", "secret_access_key", "session_token"), ROLE_KEYS, strict=True))
    assert_clean(repr(TemporaryKeys(**keys, expired_time="x")))
