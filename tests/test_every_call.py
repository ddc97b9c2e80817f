"""Every action over a real socket against the emulator: with no optional field, and with all of them."""

import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.actions import ACTIONS, EXAMPLES, MINIMAL_ARGUMENTS
from tests.doubles import volcengine_client, zego_client
from volc_moderation import NoQuotas
from volc_moderation.action import method_name
from volc_moderation.testing import ModerationEmulator
from volc_moderation.volcengine import VolcengineAction, VolcengineClient
from volc_moderation.zego import CensorTask, ZegoClient

#: Not used, and slow to create by default.
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

Clients = tuple[VolcengineClient, ZegoClient]

#: The action that must have been called before another one.
PREREQUISITES = {
    "StopDetection": "StartDetection",
    "StopWebcast": "StartWebcast",
    "GetWebCastTask": "StartWebcast",
    "StopCensorAudioV2": "StartCensorAudioV2",
    "StopCensorVideoV2": "StartCensorVideoV2",
    "UpdateBanRoomUserRule": "BanRoomUser",
}
NAMED = {action.name: action for action in ACTIONS}
#: Every optional field is set, as far as the fields may be combined.
EVERYTHING = {action.name: MINIMAL_ARGUMENTS[action.name] | optional for action, optional, _ in reversed(EXAMPLES)}
#: A rule cannot combine an address, a room and a user, so each kind has a call of its own.
RULES: list[dict[str, Any]] = [
    {"rule_type": 1, "ip": "203.0.113.7"},
    {"rule_type": 2, "room_id": "room"},
    {"rule_type": 3, "user_id": "user"},
    {"rule_type": 4, "room_id": "room", "user_id": "user"},
]


pytestmark = pytest.mark.usefixtures("every_library")


@pytest.fixture
async def clients(moderation_emulator: ModerationEmulator) -> AsyncIterator[Clients]:
    # Without quotas: the vendors also count by room, and every test uses the same one.
    options: dict[str, Any] = {"base_url": moderation_emulator.base_url, "quotas": NoQuotas()}
    async with httpx.AsyncClient(trust_env=False, verify=TLS) as options["http_client"]:
        yield volcengine_client(**options), zego_client(**options)


def join(emulator: ModerationEmulator, vendor: str) -> None:
    """Let the users whom the calls name join their room."""
    if vendor == "volcengine":
        for user in ("user", "one", "two", "u"):
            assert emulator.join("volcengine", "room", user, app_id="app")
    else:
        assert emulator.join("zego", "room", "user", stream_id="stream")
        for user in ("one", "two", "u", 64 * "u"):
            assert emulator.join("zego", "room", user, stream_id=f"{user}-stream")


async def call(clients: Clients, name: str, arguments: dict[str, Any]) -> Any:
    client = clients[0] if issubclass(NAMED[name], VolcengineAction) else clients[1]
    return await getattr(client, method_name(name))(**arguments)


async def with_prerequisites(clients: Clients, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call the prerequisite of an action, for the same room, user and task."""
    if name in PREREQUISITES:
        prerequisite = PREREQUISITES[name]
        same = {key: value for key, value in arguments.items() if key in ("user_id", "room_id", "app_id")}
        result = await call(
            clients, prerequisite, MINIMAL_ARGUMENTS[prerequisite] | (same if name != "StopWebcast" else {})
        )
        if isinstance(result, CensorTask):
            return arguments | {"task_id": result.task_id}
    if name == "DelForbidUserRule":
        rule = {key: value for key, value in arguments.items() if key in ("rule_type", "ip", "room_id", "user_id")}
        await clients[1].set_forbid_user_rule(disabled_privilege=[2], effective_time=60, **rule)
    return arguments


@pytest.mark.parametrize("extent", ["minimal", "full"])
@pytest.mark.parametrize("name", NAMED)
async def test_every_action(clients: Clients, moderation_emulator: ModerationEmulator, name: str, extent: str) -> None:
    join(moderation_emulator, "volcengine" if issubclass(NAMED[name], VolcengineAction) else "zego")
    arguments = await with_prerequisites(
        clients, name, MINIMAL_ARGUMENTS[name] if extent == "minimal" else EVERYTHING[name]
    )
    result = await call(clients, name, arguments)
    assert type(result) is NAMED[name].result
    count = moderation_emulator.counts()[name]
    assert (count["accepted"], count["rejected"], count["throttled"]) == (1, 0, 0)


@pytest.mark.parametrize("rule", RULES)
async def test_every_kind_of_rule(clients: Clients, rule: dict[str, Any]) -> None:
    zego = clients[1]
    await zego.set_forbid_user_rule(disabled_privilege=[1, 2], effective_time=60, **rule)
    (stored_rule,) = (await zego.describe_forbid_user_rules(rule_type=rule["rule_type"])).rule_list
    assert {name: getattr(stored_rule, name) for name in rule} == rule
    assert sorted(stored_rule.disabled_privilege_list) == [1, 2]
    await zego.del_forbid_user_rule(**rule)
    assert not (await zego.describe_forbid_user_rules(rule_type=rule["rule_type"])).rule_list
