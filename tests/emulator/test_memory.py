"""In a long run the emulator does not grow: of what is over, only the last is remembered."""

import asyncio
from typing import Any

import pytest

from tests.doubles import NOW
from tests.emulator.raw import VOLCENGINE, ZEGO, ask_volcengine, ask_zego
from volc_moderation.emulator import Emulator, Fault, Settings, memory
from volc_moderation.emulator.memory import LEAST_SWEPT, Ended, Swept

#: More than any of these calls needs.
NO_QUOTAS = Settings(quotas=dict.fromkeys({*VOLCENGINE, *ZEGO}, 10**9))
MANY = 300

pytestmark = pytest.mark.looptime


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remember 20 of each kind, and sweep from 20 on, so that a few calls show what many would do."""
    monkeypatch.setattr(memory, "LEAST_SWEPT", 20)
    monkeypatch.setattr(memory, "MOST", 20)


def test_what_is_over_is_swept() -> None:
    kept: Swept[int, float] = Swept(lambda until, now: until <= now)
    largest = 0
    for now in range(100_000):
        kept.put(now, now + 50.0, now)
        largest = max(largest, len(kept))
    assert largest <= LEAST_SWEPT
    assert set(range(99_951, 100_000)) <= set(kept)


def test_what_is_not_over_stays() -> None:
    kept: Swept[int, float] = Swept(lambda until, now: until <= now)
    for number in range(10_000):
        kept.put(number, 1.0, 0.0)
    assert len(kept) == 10_000


def test_of_what_has_ended_the_last_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 3)
    forgotten: list[int] = []
    ended = Ended(forgotten.append)
    for number in (1, 2, 3, 1):
        ended.add(number)
    assert forgotten == []
    ended.add(4)
    assert forgotten == [2]
    ended.discard(3)
    ended.add(5)
    assert forgotten == [2]


@pytest.mark.usefixtures("small")
async def test_tasks_that_have_ended_are_forgotten_in_the_end() -> None:
    emulator = Emulator(NO_QUOTAS, clock=lambda: NOW)
    tasks = []
    for number in range(MANY):
        for start, stop in (("StartDetection", "StopDetection"), ("StartWebcast", "StopWebcast")):
            room = {"RoomId": f"room-{number}"}
            assert (await ask_volcengine(emulator, start, {**VOLCENGINE[start], **room}))[0] is None
            assert (await ask_volcengine(emulator, stop, {**VOLCENGINE[stop], **room}))[0] is None
        code, data = await ask_zego(emulator, "StartCensorAudioV2", ZEGO["StartCensorAudioV2"])
        tasks.append({"TaskId": data["TaskId"]})
        assert code == (await ask_zego(emulator, "StopCensorAudioV2", tasks[-1]))[0] == 0
    last: dict[str, Any] = {**VOLCENGINE["GetWebCastTask"], "RoomId": f"room-{MANY - 1}"}
    assert (await ask_volcengine(emulator, "ListDetectionTask", last))[1]["EventData"]
    assert (await ask_volcengine(emulator, "GetWebCastTask", last))[0] is None
    assert (await ask_zego(emulator, "StopCensorAudioV2", tasks[-1]))[0] == 0
    first = {**last, "RoomId": "room-0"}
    assert (await ask_volcengine(emulator, "ListDetectionTask", first))[1]["EventData"] == []
    assert (await ask_volcengine(emulator, "GetWebCastTask", first))[0] == "InvalidParameter.ErrorActiveTaskNotFound"
    assert (await ask_zego(emulator, "StopCensorAudioV2", tasks[0]))[0] == 2


@pytest.mark.usefixtures("small")
async def test_what_runs_is_not_forgotten() -> None:
    emulator = Emulator(NO_QUOTAS, clock=lambda: NOW)
    for number in range(50):
        given = {**VOLCENGINE["StartDetection"], "RoomId": f"room-{number}"}
        assert (await ask_volcengine(emulator, "StartDetection", given))[0] is None
    for number in range(50):
        given = {**VOLCENGINE["StopDetection"], "RoomId": f"room-{number}"}
        assert (await ask_volcengine(emulator, "StopDetection", given))[0] is None


@pytest.mark.usefixtures("small")
async def test_a_webcast_that_runs_again_is_not_forgotten() -> None:
    emulator = Emulator(NO_QUOTAS, clock=lambda: NOW)
    again = VOLCENGINE["StartWebcast"]
    await ask_volcengine(emulator, "StartWebcast", again)
    await ask_volcengine(emulator, "StopWebcast", again)
    await ask_volcengine(emulator, "StartWebcast", again)
    for number in range(30):
        for action in ("StartWebcast", "StopWebcast"):
            await ask_volcengine(emulator, action, {**VOLCENGINE[action], "RoomId": f"room-{number}"})
    assert (await ask_volcengine(emulator, "StopWebcast", again))[0] is None


async def test_a_webcast_can_be_asked_for_for_72_hours() -> None:
    clock = Clock()
    emulator = Emulator(NO_QUOTAS, clock=clock)
    await ask_volcengine(emulator, "StartWebcast", VOLCENGINE["StartWebcast"], now=clock.now)
    for hours, code in ((71, None), (73, "InvalidParameter.ErrorActiveTaskNotFound")):
        clock.now = NOW + hours * 3600
        given = VOLCENGINE["GetWebCastTask"]
        assert (await ask_volcengine(emulator, "GetWebCastTask", given, now=clock.now))[0] == code


@pytest.mark.usefixtures("small")
async def test_bans_rules_sequences_and_nonces_that_are_over_are_forgotten() -> None:
    clock = Clock()
    emulator = Emulator(NO_QUOTAS, clock=clock)
    for number in range(MANY):
        clock.now += 100
        name = f"user-{number}"
        for action in ("BanRoomUser", "LimitTokenPrivilege"):
            given = {**VOLCENGINE[action], "UserId": name, "ForbiddenInterval": 60}
            assert (await ask_volcengine(emulator, action, given, now=clock.now))[0] is None
        for action, given in (
            ("SetForbidStreamRule", {"StreamId": name, "EffectiveTime": 60}),
            ("SetForbidUserRule", {"RuleType": 3, "UserId": name}),
            ("ForbidRTCStream", {"StreamId": name}),
            ("DescribeSimpleStreamList", {"RoomId": name}),
        ):
            assert (await ask_zego(emulator, action, {**ZEGO[action], **given}, Timestamp=str(int(clock.now))))[0] == 0
    volcengine, zego = emulator.volcengine, emulator.zego
    for kept in (
        *(volcengine._people._bans, volcengine._people._silenced),
        *(zego._forbidding._streams, zego._forbidding._users, zego._people._sequences),
    ):
        assert 0 < len(kept) <= 20
    # Twenty minutes of four calls every 100 seconds, and as many that are not swept yet.
    assert 0 < len(zego._nonces) <= 2 * 52


async def test_rooms_of_the_quotas_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "LEAST_SWEPT", 20)
    emulator = Emulator(NO_QUOTAS, clock=lambda: NOW)
    for number in range(MANY):
        for action in ("DescribeSimpleStreamList", "DescribeUserList"):
            assert (await ask_zego(emulator, action, {"RoomId": f"room-{number}"}))[0] == 0
        await asyncio.sleep(5)
    assert 0 < len(emulator.zego.counter._admitted_in_room) <= 20


async def test_whom_a_moderation_met_is_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.emulator.volcengine.moderation.MOST", 20)
    emulator = Emulator(NO_QUOTAS, clock=lambda: NOW)
    await ask_volcengine(emulator, "StartDetection", VOLCENGINE["StartDetection"])
    for number in range(MANY):
        emulator.join("volcengine", "room", f"user-{number}")
        emulator.leave("volcengine", "room", f"user-{number}")
    tasks = (await ask_volcengine(emulator, "ListDetectionTask", VOLCENGINE["ListDetectionTask"]))[1]["EventData"]
    assert [task["UserId"] for task in tasks] == [f"user-{number}" for number in range(MANY - 20, MANY)]


@pytest.mark.usefixtures("small")
async def test_streams_that_are_closed_are_forgotten_in_the_end() -> None:
    emulator = Emulator(NO_QUOTAS, clock=lambda: NOW)
    for number in range(MANY):
        emulator.join("zego", "room", "user", stream_id=f"stream-{number}")
        emulator.leave("zego", "room", "user")
    state = {"StreamId": f"stream-{MANY - 1}", "Sequence": "1"}
    assert (await ask_zego(emulator, "DescribeRTCStreamState", state))[0] == 41006
    assert (await ask_zego(emulator, "DescribeRTCStreamState", {**state, "StreamId": "stream-0"}))[0] == 41004


async def test_names_that_nobody_has_heard_are_counted_together_in_the_end() -> None:
    emulator = Emulator(clock=lambda: NOW)
    for number in range(2 * MANY):
        assert (await ask_zego(emulator, f"Unheard{number}", {}))[0] == 100000007
    assert (await ask_zego(emulator, "KickoutUser", ZEGO["KickoutUser"]))[0] == 104
    counts = emulator.counts()
    assert len(counts) <= 250
    assert counts["Unheard0"]["received"] == counts["KickoutUser"]["received"] == 1
    assert sum(count["received"] or 0 for count in counts.values()) == 2 * MANY + 1


async def test_faults_that_are_spent_are_forgotten() -> None:
    emulator = Emulator(clock=lambda: NOW)
    for _ in range(MANY):
        emulator.play(Fault(kind="code", code="Faulty"))
        assert (await ask_volcengine(emulator, "KickUser", VOLCENGINE["KickUser"]))[0] == "Faulty"
        emulator.volcengine.counter._admitted.clear()
    assert emulator._faults == []
