"""A ServerSecret that is replaced at run time: ``ZegoClient(server_secret=…)`` takes an async callable."""

import asyncio
import hashlib
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.doubles import loop_clock, mocked, zego_answer
from tests.test_secrets import everything
from volc_moderation import AuthenticationError, ConfigurationError, DeadlineExceeded, RetryPolicy, ZegoClient
from volc_moderation.zego import StopCensorAudioV2

pytestmark = [pytest.mark.looptime, pytest.mark.slow]

APP_ID = 1234567890
OLD, NEW = "0" * 32, "1" * 32
WRONG_SIGNATURE = 100000005


class Zego:
    """Accepts the signatures of some secrets, and records by which secret each request was signed."""

    def __init__(self, *accepted: str, code: int = WRONG_SIGNATURE) -> None:
        self.accepted = set(accepted)
        self.secrets: list[str] = []
        self._code = code

    def __call__(self, request: httpx.Request) -> httpx.Response:
        query = request.url.params
        for secret in (OLD, NEW):
            signed = f"{APP_ID}{query['SignatureNonce']}{secret}{query['Timestamp']}"
            if hashlib.md5(signed.encode()).hexdigest() == query["Signature"]:  # noqa: S324 - as ZEGO signs
                self.secrets.append(secret)
        return (
            zego_answer() if self.secrets[-1] in self.accepted else zego_answer(self._code, message="signature error")
        )


class Vault:
    """Returns the secret of the moment."""

    def __init__(self, secret: Any = OLD, delay: float = 0.0) -> None:
        self.secret = secret
        self.delay = delay
        self.error: Exception | None = None
        self.calls = 0

    async def __call__(self) -> Any:
        self.calls += 1
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        return self.secret


def client_of(zego: Callable[[httpx.Request], httpx.Response], vault: Any, **options: Any) -> ZegoClient:
    return ZegoClient(app_id=APP_ID, server_secret=vault, http_client=mocked(zego), clock=loop_clock, **options)


async def test_all_calls_share_one_call_of_the_callable() -> None:
    zego, vault = Zego(OLD), Vault(delay=1)
    async with client_of(zego, vault) as client:
        assert client.account == str(APP_ID)  # known before the secret
        await asyncio.gather(*(client.stop_censor_audio(task_id="t") for _ in range(200)))
    assert zego.secrets == [OLD] * 200
    assert vault.calls == 1


async def test_a_new_secret_is_used_within_two_minutes_though_the_old_one_still_works() -> None:
    """It is asked for once a minute, in the background."""
    zego, vault = Zego(OLD, NEW), Vault()
    async with client_of(zego, vault) as client:
        for _ in range(60):
            await client.stop_censor_audio(task_id="t")
            await asyncio.sleep(1)
        vault.secret = NEW
        for _ in range(61):
            await client.stop_censor_audio(task_id="t")
            await asyncio.sleep(1)
        assert len(client.quotas.snapshot()) == 1  # type: ignore[attr-defined] # the same quota
    assert zego.secrets == sorted(zego.secrets)
    assert zego.secrets[-1] == NEW
    assert vault.calls <= 3


async def test_a_refused_signature_replaces_the_secret_and_repeats_the_call_once() -> None:
    zego, vault = Zego(OLD), Vault()
    async with client_of(zego, vault) as client:
        await client.stop_censor_audio(task_id="t")
        zego.accepted, vault.secret = {NEW}, NEW
        replies = [await client.call(StopCensorAudioV2(task_id="t")) for _ in range(2)]
    assert zego.secrets == [OLD, OLD, NEW, NEW]
    assert [reply.attempts for reply in replies] == [2, 1]
    assert vault.calls == 2


async def test_calls_that_are_refused_together_replace_the_secret_once() -> None:
    zego, vault = Zego(OLD), Vault()
    async with client_of(zego, vault) as client:
        await client.stop_censor_audio(task_id="t")
        zego.accepted, vault.secret = {NEW}, NEW
        await asyncio.gather(*(client.stop_censor_audio(task_id="t") for _ in range(50)))
    assert vault.calls == 2
    assert zego.secrets.count(NEW) == 50


async def test_if_the_new_secret_is_refused_too_the_call_fails(caplog: pytest.LogCaptureFixture) -> None:
    """And calls after it fail without a repetition: the secret is not asked for with each of them."""
    zego, vault = Zego(), Vault()
    async with client_of(zego, vault) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.stop_censor_audio(task_id="t")
        assert (caught.value.code, caught.value.attempts) == (WRONG_SIGNATURE, 2)
        for _ in range(5):
            with pytest.raises(AuthenticationError):
                await client.stop_censor_audio(task_id="t")
    assert len(zego.secrets) == 7
    assert vault.calls == 2
    assert [record.event for record in caplog.records if hasattr(record, "event")] == ["keys_refused"]


async def test_other_refusals_do_not_replace_the_secret() -> None:
    zego, vault = Zego(code=100000010), Vault()  # ZEGO cannot load the secret
    async with client_of(zego, vault, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(Exception, match="100000010"):
            await client.stop_censor_audio(task_id="t")
    assert len(zego.secrets) == vault.calls == 1


async def test_a_fixed_secret_is_not_replaced() -> None:
    zego = Zego()
    async with client_of(zego, OLD) as client:
        with pytest.raises(AuthenticationError):
            await client.stop_censor_audio(task_id="t")
    assert zego.secrets == [OLD]


async def test_a_deadline_covers_the_wait_for_the_secret() -> None:
    zego, vault = Zego(OLD), Vault(delay=30)
    async with client_of(zego, vault) as client:
        with pytest.raises(DeadlineExceeded) as caught:
            await client.with_options(deadline=1).stop_censor_audio(task_id="t")
        assert asyncio.get_running_loop().time() == 1
        assert not caught.value.maybe_sent
        await client.stop_censor_audio(task_id="t")  # the refresh went on
    assert vault.calls == 1


async def test_a_deadline_covers_the_replacement_of_a_refused_secret() -> None:
    zego, vault = Zego(OLD), Vault()
    async with client_of(zego, vault, deadline=5) as client:
        await client.stop_censor_audio(task_id="t")
        zego.accepted, vault.delay = {NEW}, 30
        with pytest.raises(DeadlineExceeded):
            await client.stop_censor_audio(task_id="t")
        assert asyncio.get_running_loop().time() == pytest.approx(5)


async def test_a_callable_that_fails_is_called_three_times_and_its_text_is_not_shown() -> None:
    zego, vault = Zego(OLD), Vault()
    vault.error = ValueError(OLD)
    async with client_of(zego, vault) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.stop_censor_audio(task_id="t")
        assert caught.value.message == f"no valid keys: the ServerSecret of {APP_ID}: ValueError"
        assert vault.calls == 3
        assert OLD not in everything(caught.value)
        vault.error = None
        await asyncio.sleep(20)
        await client.stop_censor_audio(task_id="t")
    assert zego.secrets == [OLD]


async def test_a_callable_that_fails_later_leaves_the_secret_in_use(caplog: pytest.LogCaptureFixture) -> None:
    zego, vault = Zego(OLD), Vault()
    async with client_of(zego, vault) as client:
        await client.stop_censor_audio(task_id="t")
        vault.error = OSError()
        for _ in range(30):
            await asyncio.sleep(10)
            await client.stop_censor_audio(task_id="t")
    assert zego.secrets == [OLD] * 31
    assert {record.event for record in caplog.records} == {"keys_not_renewed"}  # type: ignore[attr-defined]
    assert len(caplog.records) <= 5


@pytest.mark.parametrize("garbage", [None, "", 5, "s ecret", "secret\n", "geheimnïs", b"0" * 32, ["0" * 32]])
async def test_a_callable_must_return_a_secret(garbage: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    zego, vault = Zego(OLD), Vault(garbage)
    async with client_of(zego, vault) as client:
        with pytest.raises(AuthenticationError, match="server_secret must be a str of printable ASCII") as caught:
            await client.stop_censor_audio(task_id="t")
    assert not zego.secrets
    assert vault.calls == 1  # it would return the same again
    if isinstance(garbage, str) and garbage:
        assert garbage not in everything(caught.value) + caplog.text


@pytest.mark.parametrize(
    ("app_id", "secret"), [(0, Vault()), ("1", Vault()), (APP_ID, ""), (APP_ID, 5), (APP_ID, None)]
)
def test_wrong_options_are_refused(app_id: Any, secret: Any) -> None:
    with pytest.raises(ConfigurationError):
        ZegoClient(app_id=app_id, server_secret=secret)
