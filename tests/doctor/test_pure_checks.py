"""The judgements that need nothing but values."""

import tomllib
from pathlib import Path

import pytest

from tests.doctor.findings import SUBJECT, find, statuses
from volc_moderation import (
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    PermissionDeniedError,
    QuotaUnavailable,
    ThrottledError,
    TransportError,
)
from volc_moderation.doctor.account import judge_keys
from volc_moderation.doctor.accounts import Keys
from volc_moderation.doctor.clock import ClockReading, judge_clock, offset_of, read_date
from volc_moderation.doctor.finding import Finding, Status, overall, report
from volc_moderation.doctor.installation import (
    CORE,
    EXTRAS,
    find_http_client,
    installed_versions,
    judge_extras,
    judge_versions,
)
from volc_moderation.doctor.redis import judge_info
from volc_moderation.doctor.round_trips import expected_share, judge_round_trips
from volc_moderation.doctor.signed_read import judge_identity, judge_signed_read
from volc_moderation.doctor.webhook import judge_response
from volc_moderation.errors import ModerationError
from volc_moderation.renewed_keys import NO_CREDENTIALS

pytestmark = pytest.mark.slow

NOW = 1_795_219_200.0

# Installation


def test_the_versions_are_those_of_the_project() -> None:
    """What is checked are the requirements of the package."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

    def versions(requirements: list[str]) -> dict[str, str]:
        pairs = (one.partition(">=") for one in requirements if not one.startswith("volc_moderation"))
        return {name.partition("[")[0]: least.partition(",")[0] for name, _, least in pairs}

    assert versions(project["dependencies"]) == CORE
    own = {"test", "bench", "package", "lint", "dev"}
    extras = project["optional-dependencies"].items()
    expected = {extra: versions(requirements) for extra, requirements in extras if extra not in own}
    assert expected == EXTRAS


def test_this_installation_is_complete() -> None:
    versions = installed_versions()
    assert judge_versions(SUBJECT, versions).status is Status.OK
    assert judge_extras(SUBJECT, versions).status is Status.OK


async def test_the_http_client_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = await find_http_client(SUBJECT)
    assert (finding.status, finding.detail) == (Status.OK, "httpx2 over aiohttp")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent.pem")
    finding = await find_http_client(SUBJECT)
    assert finding.status is Status.FAILED
    assert "SSL_CERT_FILE" in finding.next_step


@pytest.mark.parametrize(("version", "text"), [(None, "httpx is missing"), ("0.27.9", "httpx 0.27.9 is older than")])
def test_a_dependency_that_is_missing_or_old_fails(version: str | None, text: str) -> None:
    finding = judge_versions(SUBJECT, installed_versions() | {"httpx": version})
    assert finding.status is Status.FAILED
    assert text in finding.detail
    assert "pip install" in finding.next_step


def test_an_extra_may_be_missing_but_not_old() -> None:
    versions = installed_versions()
    without = judge_extras(SUBJECT, versions | {"redis": None})
    assert without.status is Status.OK
    assert "not installed: redis" in without.detail
    assert without.facts["redis"] is False
    old = judge_extras(SUBJECT, versions | {"redis": "4.6.0", "starlette": "1.3"})
    assert old.status is Status.FAILED
    assert old.detail == "starlette 1.3 is older than 1.3.1, redis 4.6.0 is older than 5.2"
    assert old.next_step == "pip install --upgrade 'volc_moderation[webhooks,redis,emulator]'"


def test_versions_are_compared_as_numbers() -> None:
    for version in ("9.0", "9", "10.1.dev3", "9.1rc1"):
        assert judge_versions(SUBJECT, installed_versions() | {"tenacity": version}).status is Status.OK


# Clock


@pytest.mark.parametrize(
    ("ahead", "status", "text"),
    [
        (0.0, "ok", "within 5 s of the vendor"),
        (-4.0, "ok", "within 5 s"),
        (8.0, "warning", "7 s ahead of the vendor"),
        (-30.0, "warning", "30 s behind the vendor"),
        (3 * 3600.0, "failed", "180 min ahead of"),
        (-100.0, "failed", "100 s behind"),
    ],
)
def test_a_clock_is_compared_with_that_of_a_server(ahead: float, status: str, text: str) -> None:
    readings = [ClockReading(NOW + ahead, NOW + ahead + 0.1, NOW, resolution=1.0)]
    finding = judge_clock(SUBJECT, readings, whose="the vendor")
    assert statuses([finding]) == {"clock": status}
    assert text in finding.detail


def test_several_readings_narrow_the_offset() -> None:
    """A header has whole seconds: only the reading right after the second has begun shows how small the offset is."""
    readings = [ClockReading(10.9 + 2, 10.95 + 2, 10, 1.0), ClockReading(11.02 + 2, 11.05 + 2, 11, 1.0)]
    assert offset_of(readings) == pytest.approx(1.9)
    assert offset_of([ClockReading(0, 1, 100, 1.0), ClockReading(0, 1, 0, 1.0)]) == 0.0


@pytest.mark.parametrize("value", [None, "", "yesterday", "Thu, 01 Jan 99999 00:00:00 GMT", "\x00"])
def test_a_date_that_cannot_be_read_says_nothing(value: str | None) -> None:
    assert read_date(value) is None
    assert statuses([judge_clock(SUBJECT, [], whose="the vendor")]) == {"clock": "skipped"}


# Keys


@pytest.mark.parametrize(
    ("expires_at", "status", "text"),
    [
        (None, "ok", "access key AKLT*** from ECS role"),
        (NOW + 3000, "ok", "which expires in 50 min"),
        (NOW + 30, "failed", "expires in"),
        (NOW - 1, "failed", "which has expired"),
    ],
)
def test_keys_may_not_expire(expires_at: float | None, status: str, text: str) -> None:
    keys = Keys(source="ECS role", shown="access key AKLT***", expires_at=expires_at)
    finding = judge_keys(SUBJECT, keys, now=NOW)
    assert statuses([finding]) == {"keys": status}
    assert text in finding.detail


# Signed calls


@pytest.mark.parametrize(
    ("error", "status", "step"),
    [
        (None, "ok", ""),
        (NotFoundError("no such app", code="InvalidParameter.NotExistAppId"), "ok", ""),
        (PermissionDeniedError("another account", code="InvalidParameter.AccountIdMismatch"), "ok", ""),
        (PermissionDeniedError("no policy", code="LackPolicy"), "warning", "grant the keys the permission"),
        (ThrottledError("slow down", code="FlowLimitExceeded"), "warning", "share one store of quotas"),
        (AuthenticationError("wrong", code="SignatureDoesNotMatch"), "failed", "vendor's console"),
        (AuthenticationError("wrong", code="InvalidSecretToken"), "failed", "vendor's console"),
        (AuthenticationError("none", code=NO_CREDENTIALS), "failed", "set the keys"),
        (QuotaUnavailable("no store"), "failed", "repair"),
        (ConfigurationError("closed"), "failed", "repair"),
        (TransportError("no way", maybe_sent=False), "failed", "dns, proxy and tls"),
    ],
)
def test_bad_keys_fail_and_unknown_rooms_do_not(error: ModerationError | None, status: str, step: str) -> None:
    codes = frozenset({"InvalidParameter.AccountIdMismatch"})
    finding = judge_signed_read(SUBJECT, "ListDetectionTask", error, codes)
    assert statuses([finding]) == {"signed_read": status}
    assert step in finding.next_step


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PermissionDeniedError("no", code="AccessDenied"), "ok"),
        (AuthenticationError("no", code="InvalidAccessKey"), "failed"),
        (TransportError("no way", maybe_sent=False), "warning"),
    ],
)
def test_calls_need_the_keys_but_not_sts(error: ModerationError, status: str) -> None:
    assert statuses([judge_identity(SUBJECT, error)]) == {"identity": status}


# Round trips


def test_the_share_of_the_quota_is_within_the_bound() -> None:
    """No client can use more than 1/(1 s + the jitter of one way); see docs/architecture.md."""
    steady = expected_share([0.040] * 8)
    assert 1 / 1.02 < steady < 1
    jitter = [0.040, 0.100, 0.070, 0.055, 0.085, 0.070]  # 20 to 50 ms each way
    assert 0.95 < expected_share(jitter) < 1 / 1.030
    finding = judge_round_trips(SUBJECT, jitter)
    assert statuses([finding]) == {"round_trip": "ok"}
    assert finding.detail.startswith("min 40.0 ms, median 70.0 ms, jitter 60.0 ms; calls can use 96")
    assert finding.facts["requests"] == 6


def test_a_slow_route_is_a_warning_and_few_answers_say_nothing() -> None:
    assert statuses([judge_round_trips(SUBJECT, [0.2, 0.9, 0.6, 0.5])]) == {"round_trip": "warning"}
    assert statuses([judge_round_trips(SUBJECT, [0.2, 0.9])]) == {"round_trip": "skipped"}


# Redis

GOOD = {
    "server_name": "valkey",
    "valkey_version": "8.1.0",
    "redis_version": "7.2.4",
    "role": "master",
    "maxmemory_policy": "noeviction",
    "maxmemory": 0,
    "used_memory": 2**20,
    "aof_enabled": 1,
}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"server_name": None, "redis_version": "6.2.1"}, {"version": "failed"}),
        ({"redis_mode": "cluster"}, {"version": "failed"}),
        ({"role": "slave"}, {"role": "failed"}),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 2**30}, {"eviction": "failed"}),
        ({"maxmemory_policy": "allkeys-lru"}, {"eviction": "warning"}),
        ({"maxmemory": 2**20}, {"eviction": "warning"}),
        ({"aof_enabled": 0}, {"persistence": "warning"}),
        ({"aof_last_write_status": "err"}, {"persistence": "failed"}),
        ({"rdb_last_bgsave_status": "err"}, {"persistence": "failed"}),
    ],
)
def test_settings_that_lose_data_are_found(change: dict[str, object], expected: dict[str, str]) -> None:
    found = statuses(judge_info(SUBJECT, GOOD | change, "jobs"))
    assert found == {"version": "ok", "role": "ok", "eviction": "ok", "persistence": "ok"} | expected


def test_quotas_need_no_persistence() -> None:
    assert find(judge_info(SUBJECT, GOOD | {"aof_enabled": 0}, "quotas"), "persistence").status is Status.OK


# Webhook


@pytest.mark.parametrize(
    ("got", "posted", "status", "text"),
    [
        (405, 401, "ok", "as of Webhooks"),
        (405, 400, "ok", "as of Webhooks"),
        (200, 401, "warning", "HTTP 200 to a GET"),
        (405, 200, "failed", "verify callbacks"),
        (302, 302, "failed", "redirects"),
        (404, 404, "failed", "check the path"),
        (200, 405, "failed", "check the path"),
        (502, 502, "failed", "the log of the app"),
    ],
)
def test_a_webhook_is_known_by_its_answers(got: int, posted: int, status: str, text: str) -> None:
    finding = judge_response(SUBJECT, got, posted, is_loopback=False)
    assert statuses([finding]) == {"response": status}
    assert text in f"{finding.detail} {finding.next_step}"


# Reports


def test_a_report_has_the_worst_status_and_every_finding() -> None:
    found = [SUBJECT.ok("a", "fine", number=1), SUBJECT.warning("b", "hm", "do it"), SUBJECT.skipped("c", "no")]
    assert overall(found) is Status.WARNING
    assert overall([]) is Status.OK
    found.append(Finding("other", "d", Status.FAILED, "broken", "repair it", {}))
    document = report(found, version="1", seconds=0.12345)
    assert (document["status"], document["version"], document["seconds"]) == ("failed", "1", 0.123)
    assert document["checks"][0] == {  # type: ignore[index]
        "subject": "subject",
        "check": "a",
        "status": "ok",
        "detail": "fine",
        "next_step": "",
        "facts": {"number": 1},
    }
