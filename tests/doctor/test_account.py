"""Accounts that are broken in each way, against the emulator and doubles on loopback."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.doctor.findings import find, statuses
from tests.doubles import KEYS, free_port
from tests.volcengine.credentials.double import ACCESS_KEY, ACCOUNT, SECRET_KEY, Clock, STSDouble, refusal
from tests.volcengine.credentials.http_double import HANG, Answer, HTTPDouble, Received
from volc_moderation import NoQuotas
from volc_moderation.doctor import account as account_check
from volc_moderation.doctor.account import check_account
from volc_moderation.doctor.environment_accounts import environment_accounts
from volc_moderation.doctor.finding import Finding
from volc_moderation.emulator import Fault
from volc_moderation.testing import ModerationEmulator

pytestmark = pytest.mark.slow  # hundreds of one kind

GOOD = dict.fromkeys(("keys", "dns", "proxy", "tls", "clock", "signed_read", "round_trip"), "ok")
VOLCENGINE_GOOD = GOOD | {"identity": "skipped"}


async def check(name: str, *, sts: str | None = None) -> list[Finding]:
    (account,) = (account for account in environment_accounts() if account.name == name)
    return await check_account(account, NoQuotas(), sts_endpoint=sts)


def use(monkeypatch: pytest.MonkeyPatch, url: str, access_key: str = ACCESS_KEY, secret_key: str = SECRET_KEY) -> None:
    monkeypatch.setenv("VOLCENGINE_RTC_BASE_URL", url)
    monkeypatch.setenv("VOLCENGINE_ACCESS_KEY", access_key)
    monkeypatch.setenv("VOLCENGINE_SECRET_KEY", secret_key)


def vendor(answer: Answer, *, ahead: float = 0.0) -> HTTPDouble:
    """Return a vendor that answers each signed call alike, with a clock that is ahead of ours."""

    def respond(request: Received) -> Answer:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
        if "authorization" not in request.headers:
            return Answer("", 404, {"Date": date})
        return Answer(answer.body, answer.status, {"Date": date})

    return HTTPDouble(respond)


SUCCESS = Answer({"ResponseMetadata": {"RequestId": "r-1"}, "Result": {"Message": "ok", "EventData": []}})


# Against the emulator


async def test_good_accounts(moderation_emulator: ModerationEmulator) -> None:
    found = await check("volcengine")
    assert statuses(found) == VOLCENGINE_GOOD
    assert find(found, "keys").detail.endswith("from VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY")
    assert find(found, "round_trip").facts["requests"] == account_check.TIMED_CALLS
    assert statuses(await check("zego")) == GOOD
    # Nothing but reads.
    assert set(moderation_emulator.counts()) - {""} == {"ListDetectionTask", "DescribeUserNum"}


@pytest.mark.parametrize(
    ("vendor", "variable"), [("volcengine", "VOLCENGINE_SECRET_KEY"), ("zego", "ZEGO_SERVER_SECRET")]
)
async def test_a_wrong_key(
    moderation_emulator: ModerationEmulator, monkeypatch: pytest.MonkeyPatch, vendor: str, variable: str
) -> None:
    monkeypatch.setenv(variable, "wrong-key-wrong-key")
    found = await check(vendor)
    assert statuses(found)["signed_read"] == "failed"
    assert "console" in find(found, "signed_read").next_step
    assert "round_trip" not in statuses(found)
    assert "wrong-key" not in repr(found)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind="code", code="InvalidParameter.NotExistAppId", first=99), "ok"),
        (Fault(kind="code", code="InvalidParameter.AccountIdMismatch", first=99), "ok"),
        (Fault(kind="code", code="LackPolicy", first=99), "warning"),
        (Fault(kind="code", code="InvalidSecretToken", first=99), "failed"),
        (Fault(kind="code", code="InternalError", first=99), "failed"),
        (Fault(kind="garbage", first=99), "failed"),
        (Fault(kind="reset", first=99), "failed"),
    ],
)
async def test_what_the_vendor_answers(moderation_emulator: ModerationEmulator, fault: Fault, status: str) -> None:
    moderation_emulator.play(fault)
    found = await check("volcengine")
    assert statuses(found)["signed_read"] == status
    assert ("round_trip" in statuses(found)) == (status == "ok")


async def test_a_vendor_that_does_not_answer(
    moderation_emulator: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_check, "CALL_TIMEOUT", 0.2)
    moderation_emulator.play(Fault(kind="hang", first=99))
    assert statuses(await check("volcengine")) == {
        check: status for check, status in VOLCENGINE_GOOD.items() if check != "round_trip"
    } | {"signed_read": "failed"}


# Keys


async def test_no_keys_and_why() -> None:
    found = await check("volcengine")
    assert statuses(found) == {"keys": "skipped"}
    for reason in (
        "environment: VOLCENGINE_ACCESS_KEY and VOLCENGINE_SECRET_KEY are not set",
        "OIDC (VOLCENGINE_OIDC_ROLE_TRN): ",
        "there is no file",
        "VOLCENGINE_ECS_METADATA_DISABLED is true",
    ):
        assert reason in found[0].detail
    assert statuses(await check("zego")) == {"keys": "skipped"}


@pytest.mark.parametrize(
    ("vendor", "variable", "value", "missing"),
    [
        ("volcengine", "VOLCENGINE_ACCESS_KEY", "AKLTsecret-key", "VOLCENGINE_SECRET_KEY is not set"),
        ("volcengine", "VOLCENGINE_OIDC_ROLE_TRN", "trn:iam::1:role/a", "VOLCENGINE_OIDC_TOKEN_FILE is not set"),
        ("zego", "ZEGO_APP_ID", "1234", "ZEGO_SERVER_SECRET is not set"),
        ("zego", "ZEGO_SERVER_SECRET", "secret-key", "ZEGO_APP_ID is not set"),
    ],
)
async def test_half_of_the_keys(
    monkeypatch: pytest.MonkeyPatch, vendor: str, variable: str, value: str, missing: str
) -> None:
    monkeypatch.setenv(variable, value)
    found = await check(vendor)
    assert statuses(found) == {"keys": "failed"}
    assert missing in found[0].detail
    assert "secret-key" not in repr(found)


async def test_keys_of_a_file_name_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(
        '{"current": "work", "profiles": {"work": {"name": "work", "mode": "ak", '
        f'"access-key": "{ACCESS_KEY}", "secret-key": "{SECRET_KEY}"}}}}}}'
    )
    monkeypatch.setenv("VOLCENGINE_CLI_CONFIG_FILE", str(path))
    monkeypatch.setattr("volc_moderation.volcengine.credentials.cli_config.DEFAULT_PATH", str(path))
    async with vendor(SUCCESS) as double:
        monkeypatch.setenv("VOLCENGINE_RTC_BASE_URL", double.url)
        found = await check("volcengine")
    assert statuses(found) == VOLCENGINE_GOOD
    assert find(found, "keys").detail.startswith(f"access key {ACCESS_KEY[:4]}*** from CLI profile")
    assert ACCESS_KEY[:5] not in repr(found)


# Clocks


@pytest.mark.parametrize(("ahead", "status"), [(3, "ok"), (-20, "warning"), (3 * 3600, "failed")])
async def test_a_wrong_clock(monkeypatch: pytest.MonkeyPatch, ahead: float, status: str) -> None:
    async with vendor(SUCCESS, ahead=ahead) as double:
        use(monkeypatch, double.url)
        found = await check("volcengine")
    assert statuses(found) == VOLCENGINE_GOOD | {"clock": status}
    assert float(str(find(found, "clock").facts["offset_seconds"])) == pytest.approx(-ahead, abs=3)


async def test_a_vendor_without_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    async with HTTPDouble(lambda _: SUCCESS) as double:
        use(monkeypatch, double.url)
        assert statuses(await check("volcengine")) == VOLCENGINE_GOOD | {"clock": "skipped"}


# STS


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        (lambda _: None, "ok", f"of account {ACCOUNT}"),
        (lambda sts: sts.pairs.clear(), "failed", "InvalidAccessKey"),
        (lambda sts: sts.script.append(refusal("AccessDenied", 403)), "ok", "does not tell whose"),
        (lambda sts: sts.script.append(refusal("InvalidSecretToken", 401)), "failed", "InvalidSecretToken"),
        (lambda sts: sts.script.append(refusal("InternalError", 500)), "warning", "InternalError"),
        (lambda sts: sts.script.append(Answer("<html>", 502)), "warning", "HTTP 502"),
    ],
)
async def test_sts_tells_whose_the_keys_are(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[STSDouble], object], status: str, text: str
) -> None:
    async with vendor(SUCCESS) as double, STSDouble(Clock(time.time())) as sts:
        change(sts)
        use(monkeypatch, double.url)
        found = await check("volcengine", sts=sts.url)
    assert statuses(found) == GOOD | {"identity": status}
    assert text in find(found, "identity").detail
    assert {request.query["Action"] for request in sts.requests} == {"GetCallerIdentity"}
    assert SECRET_KEY not in repr(found)


async def test_sts_that_cannot_be_reached_or_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_check, "CALL_TIMEOUT", 0.2)
    async with vendor(SUCCESS) as double, STSDouble(Clock(time.time())) as sts:
        sts.script += [HANG]
        use(monkeypatch, double.url)
        for address in (f"http://127.0.0.1:{free_port()}", sts.url):
            assert statuses(await check("volcengine", sts=address)) == GOOD | {"identity": "warning"}


async def test_an_address_of_sts_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with vendor(SUCCESS) as double:
        use(monkeypatch, double.url)
        found = await check("volcengine", sts="ftp://user:pass-word@host")
    assert statuses(found) == GOOD | {"identity": "failed"}
    assert "pass-word" not in repr(found).replace("ftp", "")


# Settings


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "https://user:pass-word@vendor.example", "ftp://vendor.example"])
async def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    use(monkeypatch, url)
    found = await check("volcengine")
    assert statuses(found) == {"keys": "ok", "http_client": "failed"}
    assert "pass-word" not in repr(found)


async def test_proxies_and_certificates_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "https://vendor.example")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent.pem")
    found = await check("volcengine")
    assert statuses(found) == {"keys": "ok", "http_client": "failed"}


async def test_a_vendor_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, f"http://127.0.0.1:{free_port()}")
    found = statuses(await check("volcengine"))
    assert found == {
        "keys": "ok",
        "dns": "ok",
        "proxy": "ok",
        "tls": "failed",
        "signed_read": "failed",
        "identity": "skipped",
    }


async def test_keys_that_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with HTTPDouble(lambda _: HANG) as double:
        monkeypatch.setattr(account_check, "KEYS_TIMEOUT", 0.1)
        monkeypatch.delenv("VOLCENGINE_ECS_METADATA_DISABLED")
        from volc_moderation.volcengine import ECSCredentials  # noqa: PLC0415 - its default is changed

        defaults = ECSCredentials.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "endpoint", double.url)
        found = await check("volcengine")
    assert statuses(found) == {"keys": "failed"}
    assert "no result within 0.1 s" in found[0].detail


def test_the_keys_of_the_emulator_are_short() -> None:
    """At most four characters of an access key are shown; the emulator's has fewer."""
    assert len(KEYS.access_key) < 5
