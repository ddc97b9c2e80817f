"""Log records: each is an event with a name and fields, documented and limited where many come."""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import volc_moderation
from tests.doubles import KEYS, mocked, sequential_handler, volcengine_client, volcengine_error, volcengine_success
from volc_moderation import ThrottledError
from volc_moderation.log_events import MAX_KINDS, REPEAT_INTERVAL, LogEvent, Repeats, code_of
from volc_moderation.quotas import NoQuotas
from volc_moderation.webhooks import Webhooks

PACKAGE = Path(volc_moderation.__file__).parent
STOP: dict[str, Any] = {"app_id": "app", "room_id": "room", "task_id": "task"}


def trees() -> Iterator[tuple[Path, ast.Module]]:
    """Yield the modules of the package that log something."""
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if ("LogEvent." in text or "_log." in text) and path.name != "log_events.py" and "emulator" not in path.parts:
            yield path.relative_to(PACKAGE), ast.parse(text)


def event_of(call: ast.Call) -> LogEvent | None:
    """Return the event that a call logs: ``LogEvent.NAME.log(…)``, or ``log_lane(LogEvent.NAME, …)``."""
    for part in (getattr(call.func, "value", None), *call.args[:1]):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "LogEvent":
            return LogEvent[part.attr]
    return None


def test_each_event_is_logged_somewhere_and_has_no_other_fields_than_documented() -> None:
    found = set()
    for path, tree in trees():
        for node in ast.walk(tree):
            event = event_of(node) if isinstance(node, ast.Call) else None
            if event is not None:
                found.add(event)
                fields = {keyword.arg for keyword in node.keywords if keyword.arg} - {"exc_info"}  # type: ignore[attr-defined]
                assert fields <= {*event.fields}, f"{path}:{node.lineno}"  # type: ignore[attr-defined]
    assert found | passed_on() == {*LogEvent}


def passed_on() -> set[LogEvent]:
    """Return the events that are chosen before they are logged."""
    return {
        LogEvent[node.attr]
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "LogEvent"
    }


def test_names_are_those_of_the_members_in_lower_case() -> None:
    for name, event in LogEvent.__members__.items():
        assert event.event == name.lower()
        assert len({*event.fields}) == len(event.fields)
        assert not {*event.fields} & vars(logging.makeLogRecord({})).keys()


def test_all_records_for_operators_are_events() -> None:
    """Other records are for people who look for a bug in this package."""
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "_log":
                assert node.attr == "debug", f"{path}:{node.lineno}"


def test_a_record_has_the_name_and_all_fields_of_its_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "volc_moderation")
    LogEvent.KEYS_RENEWED.log("%s: renewed", "a role", provider="a role")
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("volc_moderation", "INFO", "a role: renewed")
    assert (vars(record)["event"], vars(record)["provider"], vars(record)["lifetime"]) == (
        "keys_renewed",
        "a role",
        None,
    )
    assert record.filename == "test_log_events.py"


def test_many_events_of_one_kind_are_one_record_in_a_minute() -> None:
    repeats = Repeats()
    assert [repeats.count("a", now) for now in (0.0, 1.0, REPEAT_INTERVAL - 1)] == [1, None, None]
    assert repeats.count("b", 1.0) == 1
    assert repeats.count("a", REPEAT_INTERVAL) == 3  # this one, and those that were not logged
    assert repeats.count("a", 3 * REPEAT_INTERVAL) == 1


def test_kinds_that_somebody_invents_take_no_memory() -> None:
    repeats = Repeats()
    for kind in range(3 * MAX_KINDS):
        repeats.count(kind, 0.0)
    assert len(repeats._kinds) <= MAX_KINDS


@pytest.mark.looptime
async def test_a_throttled_call_says_so_once_and_each_retry_is_an_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "volc_moderation")
    handler, _ = sequential_handler(
        *3 * [volcengine_error("AccountFlowLimitExceeded", status=429)], volcengine_success()
    )
    async with mocked(handler) as http_client, volcengine_client(http_client=http_client, quotas=NoQuotas()) as client:
        await client.stop_webcast(**STOP)
    events = [vars(record)["event"] for record in caplog.records]
    assert events.count("calls_throttled") == 1
    assert events.count("call_retried") == 3
    record = next(vars(record) for record in caplog.records if vars(record)["event"] == "call_retried")
    assert (record["vendor"], record["action"], record["attempt"]) == ("volcengine", "StopWebcast", 2)
    assert record["code"] == "AccountFlowLimitExceeded"
    assert record["wait"] >= 0


@pytest.mark.looptime
async def test_a_clock_that_is_corrected_is_an_event(caplog: pytest.LogCaptureFixture) -> None:
    stale = volcengine_error("InvalidTimestamp", status=403, Date="Thu, 01 Jan 2099 00:00:00 GMT")
    handler, _ = sequential_handler(stale, volcengine_success())
    async with mocked(handler) as http_client, volcengine_client(http_client=http_client, quotas=NoQuotas()) as client:
        await client.stop_webcast(**STOP)
    (record,) = [vars(record) for record in caplog.records if vars(record).get("event") == "clock_corrected"]
    assert record["vendor"] == "volcengine"
    assert record["seconds"] > 0


@pytest.mark.looptime
async def test_no_record_has_a_secret_that_the_vendor_repeats(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "volc_moderation")
    secrets = [KEYS.secret_key]
    attempts = 0

    def handler(request: httpx.Request) -> httpx.Response:
        nonlocal attempts
        attempts += 1
        signature = request.headers["Authorization"].rpartition("Signature=")[2]
        secrets.append(signature)
        refusal = volcengine_error("AccountFlowLimitExceeded", f"{signature} {KEYS.secret_key}", status=429)
        return refusal if attempts < 3 else volcengine_success()

    async with mocked(handler) as http_client, volcengine_client(http_client=http_client, quotas=NoQuotas()) as client:
        await client.stop_webcast(**STOP)
    records = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    assert len(records) >= 3
    assert len(secrets) == 4
    assert not [record for record in records if any(secret in record for secret in secrets)]


async def test_rejected_callbacks_are_one_record_in_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(event: object) -> None:
        """Do nothing."""

    webhooks = Webhooks(handle, zego="secret")
    transport = httpx.ASGITransport(app=webhooks)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        statuses = [(await client.post("/zego", content=b"{}")).status_code for _ in range(5)]
    assert {*statuses} <= {400, 401}
    (record,) = [vars(record) for record in caplog.records]
    assert (record["event"], record["vendor"], record["count"]) == ("callback_rejected", "zego", 1)


def test_events_of_a_refusal_name_its_code() -> None:
    error = ThrottledError("no", code="AccountFlowLimitExceeded")
    assert code_of(error) == "AccountFlowLimitExceeded"
    assert code_of(TimeoutError()) == "TimeoutError"
