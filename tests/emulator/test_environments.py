"""ZEGO's test environment: its quotas are smaller, and its calls are counted separately."""

from typing import Any

import pytest

from tests.emulator.raw import ZEGO, call_zego, prepared
from volc_moderation.emulator import Emulator, Settings

#: The quotas per second of the test environment and of production, for actions where they differ.
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
#: The quotas per second of actions where they are the same.
SAME = {"CloseRoom": 1, "KickoutUser": 50, "DescribeUsers": 10, "StartCensorAudioV2": 100, "SetForbidStreamRule": 10}


async def admitted(emulator: Emulator, action: str, calls: int, **common: str) -> int:
    """Return how many of ``calls`` calls do not exceed a quota."""
    codes = [(await call_zego(emulator, action, numbered(action, number), **common))[0] for number in range(calls)]
    return sum(code not in {206, 207, 30002} for code in codes)


def numbered(action: str, number: int) -> dict[str, Any]:
    """Return the parameters of an action, with a new sequence if it needs one."""
    parameters = dict(ZEGO[action])
    return parameters | ({"Sequence": str(number)} if "Sequence" in parameters else {})


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
async def test_each_environment_has_its_own_counts(action: str) -> None:
    emulator, quota = prepared(), SAME[action]
    for is_test in ("true", "false"):
        assert await admitted(emulator, action, quota + 1, IsTest=is_test) == quota
    assert set(emulator.counts()) == {action, f"{action} test"}


@pytest.mark.looptime
async def test_room_quotas_are_counted_separately_too() -> None:
    emulator = prepared()
    for is_test in ("true", "false"):
        assert await admitted(emulator, "DescribeSimpleStreamList", 2, IsTest=is_test) == 1


@pytest.mark.looptime
async def test_settings_may_change_the_quotas_of_the_test_environment() -> None:
    emulator = prepared(Settings(quotas={"SendCustomCommand": 3, "SendCustomCommand test": 2}))
    assert await admitted(emulator, "SendCustomCommand", 5, IsTest="true") == 2
    assert await admitted(emulator, "SendCustomCommand", 5) == 3


@pytest.mark.parametrize("value", ["true", "TRUE", "True", "tRuE"])
async def test_is_test_ignores_case(value: str) -> None:
    emulator = prepared()
    assert (await call_zego(emulator, "KickoutUser", ZEGO["KickoutUser"], IsTest=value))[0] == 0
    assert set(emulator.counts()) == {"KickoutUser test"}


@pytest.mark.parametrize("value", ["false", "FALSE", "False"])
async def test_is_test_may_be_false(value: str) -> None:
    emulator = prepared()
    assert (await call_zego(emulator, "KickoutUser", ZEGO["KickoutUser"], IsTest=value))[0] == 0
    assert emulator.counts()["KickoutUser"]["accepted"] == 1


@pytest.mark.parametrize("value", ["", "1", "0", "yes", "tru", "true ", "null"])
async def test_any_other_value_of_is_test_is_refused(value: str) -> None:
    """The media service has a code of its own for it."""
    emulator = prepared()
    assert (await call_zego(emulator, "KickoutUser", ZEGO["KickoutUser"], IsTest=value))[0] == 2
    assert (await call_zego(emulator, "ForbidRTCStream", ZEGO["ForbidRTCStream"], IsTest=value))[0] == 30004
    assert emulator.counts()["KickoutUser"]["rejected"] == 1
