"""Faults on demand: which calls get them, how often, and which faults are invalid."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.doubles import Vendors, loop_clock, volcengine_client, zego_client
from tests.emulator.raw import call_volcengine, prepared
from volc_moderation import APIError, RetryPolicy, TransportError
from volc_moderation.emulator import Emulator, Fault
from volc_moderation.testing import ModerationEmulator

ROOM: dict[str, Any] = {"app_id": "app", "room_id": "room"}
ONCE = RetryPolicy(attempts=1)


@pytest.mark.looptime
async def test_the_first_calls_that_match_get_a_fault(vendors: Vendors) -> None:
    vendors.emulator.play(Fault(kind="code", code=50007, action="StopCensorAudioV2", match={"TaskId": "t"}, first=2))
    zego = zego_client(http_client=vendors.http_client, clock=loop_clock, retry=ONCE)
    codes = []
    for task_id in ("other", "t", "t", "t"):
        with pytest.raises(APIError) as caught:
            await zego.stop_censor_audio(task_id=task_id)
        codes.append(caught.value.code)
    assert codes == [2, 50007, 50007, 2]
    assert vendors.emulator.counts()["StopCensorAudioV2"]["faults"] == 2


async def test_a_reset_without_a_socket(vendors: Vendors) -> None:
    vendors.emulator.play(Fault(kind="reset"))
    client = volcengine_client(http_client=vendors.http_client, clock=loop_clock, retry=ONCE)
    with pytest.raises(TransportError, match="ConnectionResetError"):
        await client.stop_detection(**ROOM)


async def faulty_calls(emulator: Emulator, calls: int) -> list[int]:
    """Return the numbers, from 1, of those calls that get a fault."""
    codes = [(await call_volcengine(emulator, "KickUser", {**KICK_USER}))[0] for _ in range(calls)]
    return [number for number, code in enumerate(codes, 1) if code == "Faulty"]


KICK_USER = {"AppId": "app", "RoomId": "room", "UserId": "user"}


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ({}, [1]),
        ({"first": 2}, [1, 2]),
        ({"every": 3}, [3, 6, 9, 12]),
        ({"every": 2}, [2, 4, 6, 8, 10, 12]),
        ({"every": 1}, list(range(1, 14))),
        ({"every": 3, "first": 2}, [3, 6]),
        ({"every": 3, "first": 1}, [3]),
        ({"every": None, "first": None}, [1]),
    ],
)
async def test_which_calls_get_a_fault(frequency: dict[str, Any], expected: list[int]) -> None:
    emulator = prepared()
    emulator.play(Fault(kind="code", code="Faulty", **frequency))
    assert await faulty_calls(emulator, 13) == expected


async def test_the_same_fault_may_be_played_again() -> None:
    emulator, fault = prepared(), Fault(kind="code", code="Faulty")
    emulator.play(fault)
    emulator.play(fault)
    assert await faulty_calls(emulator, 3) == [1, 2]
    emulator.reset()
    emulator.play(fault)
    assert await faulty_calls(emulator, 3) == [1]
    assert emulator._faults == []  # exhausted faults are removed


@pytest.mark.parametrize("frequency", [{}, {"first": 2}, {"every": 2}, {"every": 2, "first": 2}])
async def test_a_fault_can_be_sent_to_another_process(
    moderation_emulator: ModerationEmulator, frequency: dict[str, Any]
) -> None:
    fault = Fault(kind="code", code="Faulty", match={"RoomId": "room"}, retry_after=1, status=503, **frequency)
    assert Fault(**fault.asdict()) == fault
    moderation_emulator.play(fault)
    local = prepared()
    local.play(fault)
    async with volcengine_client(base_url=moderation_emulator.base_url, retry=ONCE) as client:
        calls = [client.kick_user(**ROOM, user_id="user") for _ in range(5)]
        outcomes = [await asyncio.gather(call, return_exceptions=True) for call in calls]
    expected = await faulty_calls(local, 5)
    assert expected
    assert [number for number, (outcome,) in enumerate(outcomes, 1) if isinstance(outcome, APIError)] == expected


async def test_join_says_whether_a_ban_keeps_a_user_out(moderation_emulator: ModerationEmulator) -> None:
    async with volcengine_client(base_url=moderation_emulator.base_url) as client:
        await client.ban_room_user(**ROOM, user_id="user", forbidden_interval=60)
    assert not moderation_emulator.join("volcengine", "room", "user", app_id="app")
    assert moderation_emulator.join("volcengine", "room", "other", app_id="app")


@pytest.mark.parametrize("kind", ["status", "code", "body"])
@pytest.mark.parametrize("status", [204, 205, 304])
async def test_some_statuses_have_no_body(moderation_emulator: ModerationEmulator, kind: Any, status: int) -> None:
    """Over a socket, where a body would break the connection."""
    moderation_emulator.play(Fault(kind=kind, code=1, body="words", status=status, every=1))
    async with zego_client(base_url=moderation_emulator.base_url, retry=ONCE) as zego:
        with pytest.raises(TransportError) as caught:
            await zego.stop_censor_audio(task_id="t")
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind="status"), 502),
        (Fault(kind="status", status=503), 503),
        (Fault(kind="body", body="words"), 200),
        (Fault(kind="body", body="words", status=418), 418),
        (Fault(kind="garbage"), 200),
    ],
)
async def test_the_status_of_a_fault(vendors: Vendors, fault: Fault, status: int) -> None:
    vendors.emulator.play(fault)
    with pytest.raises(TransportError) as caught:
        await zego_client(http_client=vendors.http_client, clock=loop_clock, retry=ONCE).stop_censor_audio(task_id="t")
    assert caught.value.status == status


@pytest.mark.parametrize("status", [None, 418])
async def test_the_status_of_a_code(vendors: Vendors, status: int | None) -> None:
    """By default, Volcengine answers 400 and ZEGO 200."""
    vendors.emulator.play(Fault(kind="code", code=50006, status=status, every=1))
    calls = (
        volcengine_client(http_client=vendors.http_client, clock=loop_clock, retry=ONCE).stop_detection(**ROOM),
        zego_client(http_client=vendors.http_client, clock=loop_clock, retry=ONCE).stop_censor_audio(task_id="t"),
    )
    statuses = []
    for call in calls:
        with pytest.raises(APIError) as caught:
            await call
        statuses.append(caught.value.status)
    assert statuses == ([400, 200] if status is None else [418, 418])


#: Wrong values of each field of a fault.
WRONG_FIELDS: dict[str, list[Any]] = {
    "kind": ["unknown", [], {}, None, 5],
    "action": [5, [], True],
    "match": [5, [], "x", None, True],
    "first": [True, 0, -1, "x", 1.0, [], {}],
    "every": [True, 0, -1, "x", 1.0, [], {}],
    "retry_after": [True, -1, "x", 1.0, []],
    "code": [{}, [], True, 1.5],
    "message": [5, None, []],
    "status": [600, 199, "x", True, 200.0, []],
    "body": [5, None, [], True],
    "carried_out": ["yes", 1, None],
    "unknown": [1],
    "_matched": [1],
}
WRONG: list[Any] = [
    *([], 5, None, "reset", {}, {"kind": "code"}, {"kind": "code", "code": None}),
    *({"kind": "reset", field: value} for field, values in WRONG_FIELDS.items() for value in values),
]


@pytest.mark.parametrize("wrong", WRONG)
async def test_the_admin_api_refuses_wrong_faults(wrong: Any) -> None:
    transport = httpx.ASGITransport(app=Emulator())
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        response = await client.post("/_emulator/faults", json=wrong)
    assert response.status_code == 400
    assert response.json()["error"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000),
        b'{"kind": "reset", "match": {"a": ' + 500 * b"[" + 500 * b"]" + b"}}",
        b'{"kind": "body", "body": "\\ud800"}',
        b'{"kind": "reset", "match": {"a": NaN}}',
        b'{"kind": "reset", "first": ' + 5000 * b"9" + b"}",
    ],
)
async def test_the_admin_api_refuses_malformed_json(body: bytes) -> None:
    transport = httpx.ASGITransport(app=Emulator())
    async with httpx.AsyncClient(transport=transport, base_url="http://host") as client:
        assert (await client.post("/_emulator/faults", content=body)).status_code == 400


@pytest.mark.parametrize("field", ["message", "body", "code"])
def test_a_fault_must_not_contain_lone_surrogates(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Fault(**{"kind": "code", "code": 1, field: "lone \ud800"})  # type: ignore[arg-type]
