"""The emulator does not grow in a long run: of what has expired or ended, only a limited number is kept."""

import asyncio
from typing import Any

import pytest

from tests.doubles import NOW
from tests.emulator.raw import VOLCENGINE, ZEGO, call_volcengine, call_zego
from volc_moderation.emulator import Emulator, Fault, Settings, memory
from volc_moderation.emulator.memory import MIN_SWEEP_SIZE, ExpiringDict, RecentlyEnded

#: Quotas that no test here exceeds.
HIGH_QUOTAS = Settings(quotas=dict.fromkeys({*VOLCENGINE, *ZEGO}, 10**9))
MANY = 300

pytestmark = pytest.mark.looptime


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep 20 of each kind, and sweep from 20 on, so that a few calls show the effect of many."""
    monkeypatch.setattr(memory, "MIN_SWEEP_SIZE", 20)
    monkeypatch.setattr(memory, "MAX_KEPT", 20)


def test_expired_entries_are_removed() -> None:
    kept: ExpiringDict[int, float] = ExpiringDict(lambda until, now: until <= now)
    largest = 0
    for now in range(100_000):
        kept.put(now, now + 50.0, now)
        largest = max(largest, len(kept))
    assert largest <= MIN_SWEEP_SIZE
    assert set(range(99_951, 100_000)) <= set(kept)


def test_entries_that_have_not_expired_stay() -> None:
    kept: ExpiringDict[int, float] = ExpiringDict(lambda until, now: until <= now)
    for number in range(10_000):
        kept.put(number, 1.0, 0.0)
    assert len(kept) == 10_000


def test_the_keys_that_ended_first_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_KEPT", 3)
    removed: list[int] = []
    ended = RecentlyEnded(removed.append)
    for number in (1, 2, 3, 1):
        ended.add(number)
    assert removed == []
    ended.add(4)
    assert removed == [2]
    ended.discard(3)
    ended.add(5)
    assert removed == [2]


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.usefixtures("small")
async def test_the_tasks_that_ended_first_are_forgotten() -> None:
    emulator = Emulator(HIGH_QUOTAS, clock=lambda: NOW)
    tasks = []
    for number in range(MANY):
        for start, stop in (("StartDetection", "StopDetection"), ("StartWebcast", "StopWebcast")):
            room = {"RoomId": f"room-{number}"}
            assert (await call_volcengine(emulator, start, {**VOLCENGINE[start], **room}))[0] is None
            assert (await call_volcengine(emulator, stop, {**VOLCENGINE[stop], **room}))[0] is None
        code, data = await call_zego(emulator, "StartCensorAudioV2", ZEGO["StartCensorAudioV2"])
        tasks.append({"TaskId": data["TaskId"]})
        assert code == (await call_zego(emulator, "StopCensorAudioV2", tasks[-1]))[0] == 0
    last: dict[str, Any] = {**VOLCENGINE["GetWebCastTask"], "RoomId": f"room-{MANY - 1}"}
    assert (await call_volcengine(emulator, "ListDetectionTask", last))[1]["EventData"]
    assert (await call_volcengine(emulator, "GetWebCastTask", last))[0] is None
    assert (await call_zego(emulator, "StopCensorAudioV2", tasks[-1]))[0] == 0
    first = {**last, "RoomId": "room-0"}
    assert (await call_volcengine(emulator, "ListDetectionTask", first))[1]["EventData"] == []
    assert (await call_volcengine(emulator, "GetWebCastTask", first))[0] == "InvalidParameter.ErrorActiveTaskNotFound"
    assert (await call_zego(emulator, "StopCensorAudioV2", tasks[0]))[0] == 2


@pytest.mark.usefixtures("small")
async def test_running_tasks_are_not_forgotten() -> None:
    emulator = Emulator(HIGH_QUOTAS, clock=lambda: NOW)
    for number in range(50):
        parameters = {**VOLCENGINE["StartDetection"], "RoomId": f"room-{number}"}
        assert (await call_volcengine(emulator, "StartDetection", parameters))[0] is None
    for number in range(50):
        parameters = {**VOLCENGINE["StopDetection"], "RoomId": f"room-{number}"}
        assert (await call_volcengine(emulator, "StopDetection", parameters))[0] is None


@pytest.mark.usefixtures("small")
async def test_a_webcast_that_was_started_again_is_not_forgotten() -> None:
    emulator = Emulator(HIGH_QUOTAS, clock=lambda: NOW)
    again = VOLCENGINE["StartWebcast"]
    await call_volcengine(emulator, "StartWebcast", again)
    await call_volcengine(emulator, "StopWebcast", again)
    await call_volcengine(emulator, "StartWebcast", again)
    for number in range(30):
        for action in ("StartWebcast", "StopWebcast"):
            await call_volcengine(emulator, action, {**VOLCENGINE[action], "RoomId": f"room-{number}"})
    assert (await call_volcengine(emulator, "StopWebcast", again))[0] is None


async def test_a_webcast_can_be_queried_for_72_hours() -> None:
    clock = Clock()
    emulator = Emulator(HIGH_QUOTAS, clock=clock)
    await call_volcengine(emulator, "StartWebcast", VOLCENGINE["StartWebcast"], now=clock.now)
    for hours, code in ((71, None), (73, "InvalidParameter.ErrorActiveTaskNotFound")):
        clock.now = NOW + hours * 3600
        parameters = VOLCENGINE["GetWebCastTask"]
        assert (await call_volcengine(emulator, "GetWebCastTask", parameters, now=clock.now))[0] == code


@pytest.mark.no_coverage
@pytest.mark.slow
@pytest.mark.usefixtures("small")
async def test_expired_bans_rules_sequences_and_nonces_are_forgotten() -> None:
    clock = Clock()
    emulator = Emulator(HIGH_QUOTAS, clock=clock)
    for number in range(MANY):
        clock.now += 100
        name = f"user-{number}"
        for action in ("BanRoomUser", "LimitTokenPrivilege"):
            parameters = {**VOLCENGINE[action], "UserId": name, "ForbiddenInterval": 60}
            assert (await call_volcengine(emulator, action, parameters, now=clock.now))[0] is None
        for action, parameters in (
            ("SetForbidStreamRule", {"StreamId": name, "EffectiveTime": 60}),
            ("SetForbidUserRule", {"RuleType": 3, "UserId": name}),
            ("ForbidRTCStream", {"StreamId": name}),
            ("DescribeSimpleStreamList", {"RoomId": name}),
        ):
            assert (await call_zego(emulator, action, {**ZEGO[action], **parameters}, Timestamp=str(int(clock.now))))[
                0
            ] == 0
    volcengine, zego = emulator.volcengine, emulator.zego
    for kept in (
        *(volcengine._people._bans, volcengine._people._muted),
        *(zego._forbid_rules._streams, zego._forbid_rules._users, zego._people._sequences),
    ):
        assert 0 < len(kept) <= 20
    # Four calls every 100 seconds for twenty minutes, and as many that are not swept yet.
    assert 0 < len(zego._nonces) <= 2 * 52


@pytest.mark.slow
async def test_the_rooms_of_room_quotas_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MIN_SWEEP_SIZE", 20)
    emulator = Emulator(HIGH_QUOTAS, clock=lambda: NOW)
    for number in range(MANY):
        for action in ("DescribeSimpleStreamList", "DescribeUserList"):
            assert (await call_zego(emulator, action, {"RoomId": f"room-{number}"}))[0] == 0
        await asyncio.sleep(5)
    assert 0 < len(emulator.zego.quota_enforcer._admitted_in_room) <= 20


async def test_the_users_that_a_moderation_covered_first_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.emulator.volcengine.moderation.MAX_KEPT", 20)
    emulator = Emulator(HIGH_QUOTAS, clock=lambda: NOW)
    await call_volcengine(emulator, "StartDetection", VOLCENGINE["StartDetection"])
    for number in range(MANY):
        emulator.join("volcengine", "room", f"user-{number}")
        emulator.leave("volcengine", "room", f"user-{number}")
    tasks = (await call_volcengine(emulator, "ListDetectionTask", VOLCENGINE["ListDetectionTask"]))[1]["EventData"]
    assert [task["UserId"] for task in tasks] == [f"user-{number}" for number in range(MANY - 20, MANY)]


@pytest.mark.usefixtures("small")
async def test_the_streams_that_were_closed_first_are_forgotten() -> None:
    emulator = Emulator(HIGH_QUOTAS, clock=lambda: NOW)
    for number in range(MANY):
        emulator.join("zego", "room", "user", stream_id=f"stream-{number}")
        emulator.leave("zego", "room", "user")
    state = {"StreamId": f"stream-{MANY - 1}", "Sequence": "1"}
    assert (await call_zego(emulator, "DescribeRTCStreamState", state))[0] == 41006
    assert (await call_zego(emulator, "DescribeRTCStreamState", {**state, "StreamId": "stream-0"}))[0] == 41004


@pytest.mark.slow
async def test_unknown_actions_are_counted_together_if_there_are_many() -> None:
    emulator = Emulator(clock=lambda: NOW)
    for number in range(2 * MANY):
        assert (await call_zego(emulator, f"Unknown{number}", {}))[0] == 100000007
    assert (await call_zego(emulator, "KickoutUser", ZEGO["KickoutUser"]))[0] == 104
    counts = emulator.counts()
    assert len(counts) <= 250
    assert counts["Unknown0"]["received"] == counts["KickoutUser"]["received"] == 1
    assert sum(count["received"] or 0 for count in counts.values()) == 2 * MANY + 1


@pytest.mark.slow
async def test_exhausted_faults_are_removed() -> None:
    emulator = Emulator(clock=lambda: NOW)
    for _ in range(MANY):
        emulator.play(Fault(kind="code", code="Faulty"))
        assert (await call_volcengine(emulator, "KickUser", VOLCENGINE["KickUser"]))[0] == "Faulty"
        emulator.volcengine.quota_enforcer._admitted.clear()
    assert emulator._faults == []
