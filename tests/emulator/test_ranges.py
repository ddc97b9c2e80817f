"""The emulator takes what the documents allow, up to the end of each range, and refuses what lies beyond."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.emulator.raw import VOLCENGINE, ZEGO, ask_volcengine, ask_zego, prepared, versions_of
from tests.strategies import json_values

#: What is no text where one must be, and what is no list of texts.
NO_TEXTS: tuple[Any, ...] = (None, 5, True, ["a"], {})
NO_LISTS: tuple[Any, ...] = (None, "BAN", 5, {"BAN": 1}, [5], [None], [["BAN"]], [""])
NO_ADDRESSES: tuple[Any, ...] = ("1.2.3", "localhost", 16909060, None, "10.0.0.0/8")
NO_FLAGS: tuple[Any, ...] = (0, 1, "true", None)


def beyond(low: int, high: int) -> tuple[Any, ...]:
    """Return what is out of a range, and what is no whole number."""
    return (low - 1, high + 1, str(low), float(low), True, False, [low], {}, None, 2**70)


def within(field: str, low: int, high: int) -> tuple[Any, ...]:
    return tuple({field: value} for value in (low, low + 1, high))


def spelled(low: int, high: int) -> tuple[Any, ...]:
    """Return what is out of a range in a query, and what is no whole number there."""
    return (str(low - 1), str(high + 1), "", "one", f"{low}.0", "\u0661", 5000 * "9", [str(low), str(low)])


#: What each field of Volcengine's must not be.
WRONG: dict[str, dict[str, tuple[Any, ...]]] = {
    "StartDetection": {
        "MediaType": beyond(1, 3),
        "Interval": beyond(100, 600_000),
        "Duration": beyond(1000, 600_000),
        "IdleSec": beyond(1, 10_800),
        "CallbackType": (-1, 2, "0", 0.0, True, False, [0], None),
        "Callback": NO_TEXTS,
        "UserId": ("", "with blank", 5, None, 129 * "a"),
    },
    "StartWebcast": {
        "SourceURL": (*NO_TEXTS, "", 1025 * "a"),
        "BusinessId": ("", "with blank", 5, None),
        "MaxRunningTime": beyond(10, 86_400),
        "VideoSolutions": (
            *("720p", {}, None, [720], 3 * [{}]),
            *([{"Width": value}] for value in beyond(50, 1920)),
            *([{"Height": value}] for value in beyond(50, 1080)),
            *([{"FrameRate": value}] for value in beyond(1, 60)),
            *([{}, {"Bitrate": value}] for value in beyond(0, 10_000)),
        ),
        "MonitorConfig": (
            *("on", [], None),
            *({"BlankCheckInterval": value} for value in (1, *beyond(0, 30))),
            *({"FreezeCheckInterval": value} for value in (1, *beyond(0, 30))),
            *({"CrashCheckInterval": value} for value in beyond(0, 30)),
        ),
        "EventNotifyConfig": (
            *("on", [], None),
            *({"EnableEventNotify": value} for value in NO_FLAGS),
            *({"StartTimeout": value} for value in beyond(0, 60)),
        ),
    },
    **{
        name: {"ForbiddenInterval": (-1, "60", 60.0, True, None, [])}
        for name in ("BanRoomUser", "UpdateBanRoomUserRule")
    },
    "BanUserStream": {
        "ForbiddenInterval": (1, 59, *beyond(0, 259_200)),
        **dict.fromkeys(("Video", "Audio"), NO_FLAGS),
        "Token": NO_TEXTS,
    },
    "UnbanUserStream": {**dict.fromkeys(("Video", "Audio"), NO_FLAGS), "Token": NO_TEXTS},
    "LimitTokenPrivilege": {"ForbiddenInterval": beyond(60, 259_200), "Token": (*NO_TEXTS, "")},
    **{
        name: {"Message": (*NO_TEXTS, ""), "Binary": NO_FLAGS}
        for name in ("SendUnicast", "SendRoomUnicast", "BatchSendRoomUnicast", "SendBroadcast")
    },
}
WRONG["BanRoomUser"]["IP"] = NO_ADDRESSES

#: What goes, each by itself.
RIGHT: dict[str, tuple[dict[str, Any], ...]] = {
    "StartDetection": (
        *within("MediaType", 1, 3),
        *within("Interval", 100, 600_000),
        *within("Duration", 1000, 600_000),
        *within("IdleSec", 1, 10_800),
        *({"CallbackType": value} for value in (0, 1)),
        *({"Callback": value} for value in ("", "no address", "http://[", "http://h:99999/", "https://example.com/")),
        {"Unheard": None},
    ),
    "StartWebcast": (
        *within("MaxRunningTime", 10, 86_400),
        {"SourceURL": 1024 * "a"},
        {"VideoSolutions": []},
        {"VideoSolutions": [{"Width": 50, "Height": 1080, "FrameRate": 60, "Bitrate": 0}, {"Width": 1919}]},
        {"MonitorConfig": {"BlankCheckInterval": 0, "FreezeCheckInterval": 30, "CrashCheckInterval": 1}},
        {"MonitorConfig": {"BlankCheckInterval": 2, "FreezeCheckInterval": 2, "CrashCheckInterval": 0}},
        {"EventNotifyConfig": {"EnableEventNotify": True, "StartTimeout": 60}},
        {"EventNotifyConfig": {}},
    ),
    "BanRoomUser": (*within("ForbiddenInterval", 0, 604_801), {"IP": "203.0.113.7"}, {"IP": "2001:db8::1"}),
    "BanUserStream": ({"ForbiddenInterval": 0}, *within("ForbiddenInterval", 60, 259_200)),
    "LimitTokenPrivilege": within("ForbiddenInterval", 60, 259_200),
}

URLS = {"ResultCallbackUrl": NO_TEXTS, "StatusCallbackUrl": NO_TEXTS}
LISTS = {"RiskTypeList": NO_LISTS, "BusinessTypeList": NO_LISTS}
FLAG: tuple[Any, ...] = (-1, 2, True, False, "1", 1.0, None, [1])
TEXTS_BACK = dict.fromkeys(("ReturnAllText", "ReturnPreText", "ReturnPreAudio"), FLAG)
ROOM: tuple[Any, ...] = ("", 129 * "a", 43 * "房", ["a", "b"])
STREAM: tuple[Any, ...] = ("", 257 * "a", 86 * "房", ["a", "b"])
USER: tuple[Any, ...] = ("", 65 * "a", 22 * "房", ["a", "b"])


def many(most: int, item_most: int, item: str = "a") -> tuple[Any, ...]:
    return ([], [""], (most + 1) * [item], [item, (item_most + 1) * "a"])


#: What each field of ZEGO's must not be: values of JSON for a POST, of a query otherwise.
ZEGO_WRONG: dict[str, dict[str, tuple[Any, ...]]] = {
    "StartCensorAudioV2": {
        **LISTS,
        **URLS,
        **TEXTS_BACK,
        **dict.fromkeys(("IsMixingEnabled", "ReturnFinishInfo"), FLAG),
        **dict.fromkeys(("LabelLanguage", "AudioLanguage", "EventId"), (*NO_TEXTS, "")),
        "RoomId": (*NO_TEXTS, "", 129 * "a"),
    },
    "StartCensorVideoV2": {
        "VideoParam": (
            *({}, None, [], "QRCODE", {"RiskTypeList": []}),
            *({"RiskTypeList": ["A"], field: value} for field, wrong in (LISTS | URLS).items() for value in wrong),
            *({"RiskTypeList": ["A"], "ReturnAllImg": value} for value in FLAG),
            *({"RiskTypeList": ["A"], "DetectFrequency": value} for value in beyond(1, 60)),
        ),
        "AudioParam": (
            *(None, [], "BAN"),
            *({field: value} for field, wrong in (LISTS | URLS | TEXTS_BACK).items() for value in wrong),
            *({"AudioLanguage": value} for value in (*NO_TEXTS, "")),
        ),
        "Language": (*NO_TEXTS, ""),
        "ReturnFinishInfo": FLAG,
    },
    **{name: {"TaskId": (*NO_TEXTS, "")} for name in ("StopCensorAudioV2", "StopCensorVideoV2")},
    "GenerateIdentifyToken": {"EffectiveTime": spelled(1, 2_592_000)},
    "KickoutUser": {"RoomId": ROOM, "UserId[]": many(5, 64), "CustomReason": (257 * "a", 86 * "房")},
    "CloseRoom": {"RoomId": ROOM, "CustomReason": (257 * "a",), "RoomCloseCallback": ("", "1", "yes")},
    **{
        name: {"StreamId": STREAM, "Sequence": ("", "x", "-1", 5000 * "9", ["1", "2"])}
        for name in ("ForbidRTCStream", "ResumeRTCStream", "DescribeRTCStreamState")
    },
    **{
        name: {"StreamId[]": many(20, 256), "Sequence": ("", "x", 20 * "9")}
        for name in ("ForbidRTCStreams", "ResumeRTCStreams")
    },
    "SetForbidStreamRule": {
        "RoomId": ROOM,
        "StreamId": STREAM,
        **dict.fromkeys(("DisableAudio", "DisableVideo"), spelled(0, 1)),
        "EffectiveTime": ("0", "-1", "", "1.5", 5000 * "9"),
    },
    "DescribeForbidStreamRules": {"RoomId": ROOM, "StreamId[]": many(10, 256)},
    "DelForbidStreamRule": {"RoomId": ROOM, "StreamId": STREAM},
    "SetForbidUserRule": {
        "RuleType": spelled(1, 4),
        "RoomId": ROOM,
        "UserId": USER,
        "IP": ("", "localhost", "1.2.3"),
        "DisabledPrivilege[]": ([], ["0"], ["3"], ["x"], ["1", "2", "1"]),
        "EffectiveTime": spelled(1, 86_400),
    },
    "DescribeForbidUserRules": {"RuleType": spelled(1, 4)},
    "DelForbidUserRule": {"RuleType": spelled(1, 4), "RoomId": ROOM},
    "DescribeUsers": {"RoomId": ROOM, "UserId[]": many(10, 64)},
    "DescribeUserList": {"RoomId": ROOM, "Mode": spelled(0, 1), "Limit": spelled(0, 200)},
    "DescribeUserNum": {"RoomId[]": many(10, 128)},
    "DescribeSimpleStreamList": {"RoomId": ROOM},
    "SendCustomCommand": {
        "RoomId": ROOM,
        "FromUserId": USER,
        "ToUserId[]": many(10, 64)[1:],  # an empty list is none in a query
        "MessageContent": ("", 1025 * "a"),
    },
}

ZEGO_RIGHT: dict[str, tuple[dict[str, Any], ...]] = {
    "StartCensorAudioV2": (
        {"AudioLanguage": "a language of tomorrow", "LabelLanguage": "xx", "EventId": "arranged"},
        {"RoomId": 42 * "房", "RiskTypeList": [], "BusinessTypeList": ["a word of tomorrow"]},
        {"ResultCallbackUrl": "", "StatusCallbackUrl": "no address"},
        {"IsMixingEnabled": 1, "ReturnAllText": 0, "ReturnPreText": 1, "ReturnPreAudio": 0, "ReturnFinishInfo": 1},
    ),
    "StartCensorVideoV2": (
        {"VideoParam": {"BusinessTypeList": ["AGE"], "DetectFrequency": 60, "ReturnAllImg": 1}},
        {"VideoParam": {"RiskTypeList": ["AGE"], "DetectFrequency": 1}, "AudioParam": {}, "Language": "xx"},
        {"AudioParam": {"RiskTypeList": ["BAN"], "AudioLanguage": "xx", "ReturnAllText": 1}},
    ),
    "GenerateIdentifyToken": ({"EffectiveTime": 1}, {"EffectiveTime": 2_592_000}),
    "KickoutUser": ({"CustomReason": 256 * "a"}, {"UserId[]": 5 * [64 * "u"]}, {"CustomReason": ""}),
    "CloseRoom": ({"RoomCloseCallback": "true"}, {"RoomCloseCallback": "False"}),
    "ForbidRTCStream": ({"StreamId": 256 * "s"}, {"StreamId": "any /房 text", "Sequence": 19 * "9"}),
    "ForbidRTCStreams": ({"StreamId[]": 20 * [256 * "s"]},),
    "SetForbidStreamRule": ({"EffectiveTime": 1}, {"EffectiveTime": 10**12}, {"DisableVideo": 1}),
    "SetForbidUserRule": (
        {"EffectiveTime": 86_400, "DisabledPrivilege[]": [1, 2]},
        {"RuleType": 1, "IP": "2001:db8::1"},
        {"RuleType": 4, "UserId": 64 * "u"},
    ),
    "DescribeUsers": ({"UserId[]": 10 * ["u"]},),
    "DescribeUserList": ({"Mode": 1, "Limit": 200, "Marker": ""}, {"Limit": 0}),
    "DescribeUserNum": ({"RoomId[]": 10 * [128 * "r"]},),
    "SendCustomCommand": ({"MessageContent": 1024 * "m", "ToUserId[]": 10 * ["u"]},),
}


FIELDS = sorted(
    {field for fields in WRONG.values() for field in fields} | {"AppId", "RoomId", "UserId", "TaskId", "To"}
)
ZEGO_FIELDS = sorted({field for fields in ZEGO_WRONG.values() for field in fields})


def cases(table: dict[str, dict[str, tuple[Any, ...]]]) -> list[tuple[str, str]]:
    found = [(action, field) for action, fields in table.items() for field in fields]
    assert found
    assert all(table[action][field] for action, field in found)
    return found


@pytest.mark.parametrize(("action", "field"), cases(WRONG))
async def test_volcengine_refuses_what_is_out_of_range(action: str, field: str) -> None:
    assert (await ask_volcengine(prepared(), action, VOLCENGINE[action]))[0] is None
    for value in WRONG[action][field]:
        code, _ = await ask_volcengine(prepared(), action, {**VOLCENGINE[action], field: value})
        assert code == "InvalidParameter", value


@pytest.mark.parametrize("action", RIGHT)
async def test_volcengine_takes_what_is_in_range(action: str) -> None:
    assert RIGHT[action]
    for more in RIGHT[action]:
        assert (await ask_volcengine(prepared(), action, {**VOLCENGINE[action], **more}))[0] is None, more


@pytest.mark.parametrize("action", ["SendUnicast", "SendRoomUnicast", "BatchSendRoomUnicast", "SendBroadcast"])
async def test_a_binary_message_is_base64(action: str) -> None:
    for message, code in (("aGk=", None), ("no base64", "InvalidParameter"), ("aGk", "InvalidParameter")):
        binary = {**VOLCENGINE[action], "Binary": True, "Message": message}
        assert (await ask_volcengine(prepared(), action, binary))[0] == code, message


@pytest.mark.parametrize(("action", "field"), cases(ZEGO_WRONG))
async def test_zego_refuses_what_is_out_of_range(action: str, field: str) -> None:
    stops = {"StopCensorAudioV2", "StopCensorVideoV2", "DelForbidUserRule"}  # of what is not there
    assert (await ask_zego(prepared(), action, ZEGO[action]))[0] == 0 or action in stops
    for value in ZEGO_WRONG[action][field]:
        code, _ = await ask_zego(prepared(), action, {**ZEGO[action], field: value})
        assert code in {2, 3, 1008, 30006, 30009, 50011, 50012}, value


@pytest.mark.parametrize("action", ZEGO_RIGHT)
async def test_zego_takes_what_is_in_range(action: str) -> None:
    assert ZEGO_RIGHT[action]
    for more in ZEGO_RIGHT[action]:
        assert (await ask_zego(prepared(), action, {**ZEGO[action], **more}))[0] == 0, more


@pytest.mark.parametrize(
    ("action", "more", "code"),
    [
        ("KickoutUser", {"UserId[]": 6 * ["u"]}, 50011),
        ("KickoutUser", {"CustomReason": 257 * "a"}, 3),
        ("SendCustomCommand", {"ToUserId[]": 11 * ["u"]}, 50011),
        ("SendCustomCommand", {"MessageContent": 1025 * "a"}, 50012),
        ("SendCustomCommand", {"MessageContent": ""}, 1008),
        ("ForbidRTCStream", {"StreamId": 257 * "s"}, 30009),
        ("ForbidRTCStreams", {"StreamId[]": ["s", 257 * "s"]}, 30009),
        ("ForbidRTCStreams", {"StreamId[]": 21 * ["s"]}, 30006),
        ("DescribeUserNum", {"RoomId[]": 11 * ["r"]}, 2),
    ],
)
async def test_zego_has_codes_for_some_of_it(action: str, more: dict[str, Any], code: int) -> None:
    assert (await ask_zego(prepared(), action, {**ZEGO[action], **more}))[0] == code


async def test_one_stream_and_many_are_not_mistaken_for_each_other() -> None:
    """And only lists of streams need their brackets."""
    many, one = {"StreamId[]": ["s"], "Sequence": 1}, {"StreamId": "s", "Sequence": 1}
    for action in ("ForbidRTCStream", "ResumeRTCStream", "DescribeRTCStreamState"):
        assert (await ask_zego(prepared(), action, many))[0] == 2
    for action in ("ForbidRTCStreams", "ResumeRTCStreams"):
        assert (await ask_zego(prepared(), action, one))[0] == 30006
    assert (await ask_zego(prepared(), "KickoutUser", {"RoomId": "room", "UserId": ["user", "other"]}))[0] == 0


@pytest.mark.parametrize("action", VOLCENGINE)
async def test_volcengine_needs_every_required_field(action: str) -> None:
    assert VOLCENGINE[action]
    for field in VOLCENGINE[action]:
        less = {name: value for name, value in VOLCENGINE[action].items() if name != field}
        code, _ = await ask_volcengine(prepared(), action, less)
        assert code is not None, field
        assert code.startswith("InvalidParameter"), field
        assert code != "InvalidParameter.ErrorActiveTaskNotFound", field


@pytest.mark.parametrize("action", [action for action in ZEGO if action != "GenerateIdentifyToken"])
async def test_zego_needs_every_required_field(action: str) -> None:
    assert ZEGO[action]
    for field in ZEGO[action]:
        less = {name: value for name, value in ZEGO[action].items() if name != field}
        assert (await ask_zego(prepared(), action, less))[0] in {2, 1008, 30006}, field


@pytest.mark.parametrize("action", VOLCENGINE)
async def test_a_success_of_volcengine_says_so(action: str) -> None:
    """By its text, on the pages of all actions but the two that only look something up."""
    for version in versions_of(action):
        emulator = prepared()
        for before in {"StopDetection": ["StartDetection"], "StopWebcast": ["StartWebcast"]}.get(action, []):
            await ask_volcengine(emulator, before, VOLCENGINE[before])
        if action == "GetWebCastTask":
            await ask_volcengine(emulator, "StartWebcast", VOLCENGINE["StartWebcast"])
        code, result = await ask_volcengine(emulator, action, {**VOLCENGINE[action], **token_of(action)}, version)
        assert code is None
        if action in {"GetWebCastTask", "GetRoomOnlineUsers"}:
            assert result
        else:
            text = result if isinstance(result, str) else result.get("Message", result.get("message"))
            assert text in {"ok", "success", "Success"}


def token_of(action: str) -> dict[str, str]:
    return {"Token": "t"} if action in {"BanUserStream", "UnbanUserStream"} else {}


@given(action=st.sampled_from(sorted(VOLCENGINE)), more=st.dictionaries(st.sampled_from(FIELDS), json_values))
async def test_no_json_breaks_volcengine(action: str, more: dict[str, Any]) -> None:
    code, _ = await ask_volcengine(prepared(), action, {**VOLCENGINE[action], **more})
    assert code is None or code.startswith("InvalidParameter")


@given(action=st.sampled_from(sorted(ZEGO)), more=st.dictionaries(st.sampled_from(ZEGO_FIELDS), json_values))
async def test_no_json_breaks_zego(action: str, more: dict[str, Any]) -> None:
    code, _ = await ask_zego(prepared(), action, {**ZEGO[action], **more})
    assert code in {0, 2, 3, 8, 1008, 30006, 30009, 41004, 41006, 50011, 50012, 50124, 104, 5018}
