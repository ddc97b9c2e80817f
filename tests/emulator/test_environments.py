"""ZEGO's test environment: its quotas are smaller, and its calls are counted apart."""

from typing import Any

import pytest

from tests.emulator.raw import ZEGO, ask_zego, prepared
from volc_moderation.emulator import Emulator, Settings

#: How many calls of an action one second takes in the test environment, where that is fewer than in production.
#: https://www.zegocloud.com/docs/real-time-video-server/api-reference/
SMALLER = {
    "ForbidRTCStream": (5, 20),
    "ForbidRTCStreams": (5, 20),
    "ResumeRTCStream": (5, 20),
    "ResumeRTCStreams": (5, 20),
    "DescribeRTCStreamState": (10, 40),
    "DescribeUserNum": (1, 10),
    "SendCustomCommand": (10, 100),
}
SAME = {"CloseRoom": 1, "KickoutUser": 50, "DescribeUsers": 10, "StartCensorAudioV2": 100, "SetForbidStreamRule": 10}


async def admitted(emulator: Emulator, action: str, calls: int, **common: str) -> int:
    """Return how many of so many calls were not refused for their rate."""
    codes = [(await ask_zego(emulator, action, numbered(action, number), **common))[0] for number in range(calls)]
    return sum(code not in {206, 207, 30002} for code in codes)


def numbered(action: str, number: int) -> dict[str, Any]:
    given = dict(ZEGO[action])
    return given | ({"Sequence": str(number)} if "Sequence" in given else {})


@pytest.mark.looptime
@pytest.mark.parametrize("action", SMALLER)
async def test_the_test_environment_has_smaller_quotas(action: str) -> None:
    test, production = SMALLER[action]
    emulator = prepared()
    assert await admitted(emulator, action, production + 1, IsTest="true") == test
    assert await admitted(emulator, action, production + 1) == production
    counts = emulator.counts()
    assert (counts[f"{action} test"]["quota"], counts[action]["quota"]) == (test, production)
    assert counts[f"{action} test"]["received"] == counts[action]["received"] == production + 1
    assert counts[f"{action} test"]["throttled"] == production + 1 - test
    assert counts[action]["throttled"] == 1


@pytest.mark.looptime
@pytest.mark.parametrize("action", SAME)
async def test_each_environment_counts_on_its_own(action: str) -> None:
    emulator, quota = prepared(), SAME[action]
    for is_test in ("true", "false"):
        assert await admitted(emulator, action, quota + 1, IsTest=is_test) == quota
    assert set(emulator.counts()) == {action, f"{action} test"}


@pytest.mark.looptime
async def test_quotas_of_rooms_are_counted_apart_too() -> None:
    emulator = prepared()
    for is_test in ("true", "false"):
        assert await admitted(emulator, "DescribeSimpleStreamList", 2, IsTest=is_test) == 1


@pytest.mark.looptime
async def test_the_quotas_of_the_test_environment_may_be_set() -> None:
    emulator = prepared(Settings(quotas={"SendCustomCommand": 3, "SendCustomCommand test": 2}))
    assert await admitted(emulator, "SendCustomCommand", 5, IsTest="true") == 2
    assert await admitted(emulator, "SendCustomCommand", 5) == 3


@pytest.mark.parametrize("spelled", ["true", "TRUE", "True", "tRuE"])
async def test_is_test_in_any_case_of_letters(spelled: str) -> None:
    emulator = prepared()
    assert (await ask_zego(emulator, "KickoutUser", ZEGO["KickoutUser"], IsTest=spelled))[0] == 0
    assert set(emulator.counts()) == {"KickoutUser test"}


@pytest.mark.parametrize("spelled", ["false", "FALSE", "False"])
async def test_production_may_be_named(spelled: str) -> None:
    emulator = prepared()
    assert (await ask_zego(emulator, "KickoutUser", ZEGO["KickoutUser"], IsTest=spelled))[0] == 0
    assert emulator.counts()["KickoutUser"]["accepted"] == 1


@pytest.mark.parametrize("spelled", ["", "1", "0", "yes", "tru", "true ", "null"])
async def test_any_other_is_test_is_refused(spelled: str) -> None:
    """The media service has a code for it."""
    emulator = prepared()
    assert (await ask_zego(emulator, "KickoutUser", ZEGO["KickoutUser"], IsTest=spelled))[0] == 2
    assert (await ask_zego(emulator, "ForbidRTCStream", ZEGO["ForbidRTCStream"], IsTest=spelled))[0] == 30004
    assert emulator.counts()["KickoutUser"]["rejected"] == 1
