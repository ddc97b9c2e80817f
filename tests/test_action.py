"""The rules of every action's arguments, through the clients' methods: each wrong one is named, and nothing is sent."""

import inspect
from collections.abc import Iterator
from typing import Any

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import volc_moderation.volcengine.actions
import volc_moderation.zego.actions
from tests.doubles import body_of, in_turn, mocked, volcengine_client, volcengine_yes, zego_answer, zego_client
from tests.strategies import identifiers
from volc_moderation import Action, InvalidActionError, Quota, VolcengineClient, ZegoClient
from volc_moderation.cli.call import method_name
from volc_moderation.volcengine import (
    EventNotifyConfig,
    GetWebCastTask,
    ListDetectionTask,
    MediaType,
    MonitorConfig,
    StartDetection,
    StartWebcast,
    StopDetection,
    StopWebcast,
    VideoSolution,
    VolcengineAction,
)
from volc_moderation.zego import StartCensorAudioV2, StopCensorAudioV2, ZegoAction

ACTIONS: list[Any] = [
    value
    for module in (volc_moderation.volcengine.actions, volc_moderation.zego.actions)
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Action) and attrs.has(value)
]
CLIENTS: dict[type, Any] = {VolcengineAction: VolcengineClient, ZegoAction: ZegoClient}

#: The least that each action takes.
LEAST: dict[str, dict[str, Any]] = {
    "StartDetection": {"app_id": "app", "room_id": "room"},
    "StopDetection": {"app_id": "app", "room_id": "room"},
    "ListDetectionTask": {"app_id": "app", "room_id": "room"},
    "StartWebcast": {
        "app_id": "app",
        "room_id": "room",
        "task_id": "task",
        "user_id": "user",
        "source_url": "https://example.com/",
    },
    "StopWebcast": {"app_id": "app", "room_id": "room", "task_id": "task"},
    "GetWebCastTask": {"app_id": "app", "room_id": "room", "task_id": "task"},
    "StartCensorAudioV2": {
        "room_id": "room",
        "event_id": "audio_room",
        "audio_language": "zh",
        "risk_type_list": ["BAN"],
    },
    "StopCensorAudioV2": {"task_id": "task"},
}

WRONG_TEXTS: tuple[Any, ...] = ("", 5, b"bytes", True, ["a"], "line\nbreak", "\x00", "lone \ud800")
WRONG_IDS: tuple[Any, ...] = (*WRONG_TEXTS, "a" * 129, "with blank", "a/b", "房间", "a\n", "$")
WRONG_URLS: tuple[Any, ...] = (
    *WRONG_TEXTS,
    "example.com",
    "ftp://example.com/",
    "https://",
    "http://a b/",
    "//a/",
    "http://h:0/",
    "http://h\x85/",
)
WRONG_FLAGS: tuple[Any, ...] = (-1, 2, True, "1", 1.0)
WRONG_LISTS: tuple[Any, ...] = ("BAN", 5, {"BAN"}, [""], [5], [None], ["a", "\x7f"])


def out_of(low: int, high: int) -> tuple[Any, ...]:
    return (low - 1, high + 1, str(low), float(low), True, [low])


#: What is wrong for each field, besides None for a required one.
WRONG: dict[str, dict[str, tuple[Any, ...]]] = {
    "StartDetection": {
        **dict.fromkeys(("app_id", "room_id", "user_id"), WRONG_IDS),
        "callback": WRONG_URLS,
        "media_type": out_of(1, 3),
        "interval": out_of(100, 600_000),
        "duration": out_of(1000, 600_000),
        "idle_sec": out_of(1, 10_800),
        "callback_type": out_of(0, 1),
        "version": ("2023-08-01", "", 5),
    },
    **{
        name: {**dict.fromkeys(("app_id", "room_id", "user_id"), WRONG_IDS), "version": ("2022-06-01", None)}
        for name in ("StopDetection", "ListDetectionTask")
    },
    "StartWebcast": {
        **dict.fromkeys(("app_id", "room_id", "task_id", "user_id", "business_id"), WRONG_IDS),
        "source_url": (*WRONG_URLS, "https://example.com/" + 1005 * "a"),
        "max_running_time": out_of(10, 86_400),
        "video_solutions": (
            *("720p", [720], 3 * [VideoSolution()], VideoSolution(), [VideoSolution(width="1")]),  # type: ignore[arg-type]
            *([VideoSolution(width=number)] for number in (49, 1921)),
            *([VideoSolution(height=number)] for number in (49, 1081)),
            *([VideoSolution(frame_rate=number)] for number in (0, 61)),
            *([VideoSolution(bitrate=number)] for number in (-1, 10_001)),
        ),
        "monitor_config": (
            *({}, 5),
            *(MonitorConfig(blank_check_interval=number) for number in (1, 31)),
            *(MonitorConfig(freeze_check_interval=number) for number in (1, 31)),
            *(MonitorConfig(crash_check_interval=number) for number in (-1, 31)),
        ),
        "event_notify_config": (
            *({}, 5, EventNotifyConfig(enable_event_notify=1)),  # type: ignore[arg-type]
            *(EventNotifyConfig(start_timeout=number) for number in (-1, 61)),
        ),
        "version": ("1",),
    },
    **{
        name: {**dict.fromkeys(("app_id", "room_id", "task_id"), WRONG_IDS), "version": ("2",)}
        for name in ("StopWebcast", "GetWebCastTask")
    },
    "StartCensorAudioV2": {
        "room_id": (*WRONG_TEXTS, 129 * "a", 43 * "房"),
        "event_id": WRONG_TEXTS,
        "audio_language": ("", "xx", "ZH", 5, ["zh"]),
        "risk_type_list": (*WRONG_LISTS, []),
        "business_type_list": WRONG_LISTS,
        "label_language": ("", "ja", 5),
        **dict.fromkeys(("result_callback_url", "status_callback_url"), WRONG_URLS),
        **dict.fromkeys(
            ("is_mixing_enabled", "return_all_text", "return_pre_text", "return_pre_audio", "return_finish_info"),
            WRONG_FLAGS,
        ),
    },
    "StopCensorAudioV2": {"task_id": WRONG_IDS},
}

#: Everything that each action takes, at one end of its range and at the other.
MOST: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (
        StartDetection,
        {"user_id": "u" * 128, "callback": "http://example.com:8080/cb", "media_type": MediaType.VIDEO, "interval": 100}
        | {"duration": 1000, "idle_sec": 1, "callback_type": 0, "version": "2023-11-01"},
        {"UserId": "u" * 128, "Callback": "http://example.com:8080/cb", "MediaType": 1, "Interval": 100}
        | {"Duration": 1000, "IdleSec": 1, "CallbackType": 0},
    ),
    (
        StartDetection,
        {"media_type": 3, "interval": 600_000, "duration": 600_000, "idle_sec": 10_800, "callback_type": 1},
        {"MediaType": 3, "Interval": 600_000, "Duration": 600_000, "IdleSec": 10_800, "CallbackType": 1},
    ),
    (StopDetection, {"user_id": "a-b_c@d.e", "version": "2020-12-01"}, {"UserId": "a-b_c@d.e"}),
    (
        StartWebcast,
        {
            "business_id": "b",
            "max_running_time": 10,
            "source_url": "https://example.com/" + 1004 * "a",
            "video_solutions": [VideoSolution(width=50, height=50, frame_rate=1, bitrate=0), VideoSolution(width=1920)],
            "monitor_config": MonitorConfig(blank_check_interval=2, freeze_check_interval=0, crash_check_interval=30),
            "event_notify_config": EventNotifyConfig(enable_event_notify=True, start_timeout=60),
        },
        {
            "BusinessId": "b",
            "MaxRunningTime": 10,
            "SourceURL": "https://example.com/" + 1004 * "a",
            "VideoSolutions": [{"Width": 50, "Height": 50, "FrameRate": 1, "Bitrate": 0}, {"Width": 1920}],
            "MonitorConfig": {"BlankCheckInterval": 2, "FreezeCheckInterval": 0, "CrashCheckInterval": 30},
            "EventNotifyConfig": {"EnableEventNotify": True, "StartTimeout": 60},
        },
    ),
    (
        StartWebcast,
        {
            "max_running_time": 86_400,
            "video_solutions": (VideoSolution(width=1920, height=1080, frame_rate=60, bitrate=10_000),),
            "monitor_config": MonitorConfig(blank_check_interval=30, freeze_check_interval=30, crash_check_interval=0),
            "event_notify_config": EventNotifyConfig(enable_event_notify=False, start_timeout=0),
        },
        {
            "MaxRunningTime": 86_400,
            "VideoSolutions": [{"Width": 1920, "Height": 1080, "FrameRate": 60, "Bitrate": 10_000}],
            "MonitorConfig": {"BlankCheckInterval": 30, "FreezeCheckInterval": 30, "CrashCheckInterval": 0},
            "EventNotifyConfig": {"EnableEventNotify": False, "StartTimeout": 0},
        },
    ),
    (StopWebcast, {"version": "2023-11-01"}, {}),
    (
        StartCensorAudioV2,
        {
            "risk_type_list": [],
            "business_type_list": ("SING", "a free word"),
            "label_language": "en",
            "result_callback_url": "https://example.com/r",
            "status_callback_url": "https://example.com/s",
            "is_mixing_enabled": 1,
            "return_all_text": 0,
            "return_pre_text": 1,
            "return_pre_audio": 0,
            "return_finish_info": 1,
        },
        {
            "BusinessTypeList": ["SING", "a free word"],
            "LabelLanguage": "en",
            "ResultCallbackUrl": "https://example.com/r",
            "StatusCallbackUrl": "https://example.com/s",
            "IsMixingEnabled": 1,
            "ReturnAllText": 0,
            "ReturnPreText": 1,
            "ReturnPreAudio": 0,
            "ReturnFinishInfo": 1,
        },
    ),
    (
        StopCensorAudioV2,
        {"task_id": "00112233445566778899aabbccddeeff"},
        {"TaskId": "00112233445566778899aabbccddeeff"},
    ),
]


def client_of(action: Any, http_client: httpx.AsyncClient) -> Any:
    make = volcengine_client if issubclass(action, VolcengineAction) else zego_client
    return make(http_client=http_client)


def required(action: Any) -> list[str]:
    return [field.name for field in attrs.fields(action) if field.default is attrs.NOTHING]


def wrong_arguments() -> Iterator[Any]:
    for action in ACTIONS:
        for field, values in WRONG[action.name].items():
            for value in (*values, *([None] if field in required(action) else [])):
                shown = repr(value) if len(repr(value)) < 40 else f"{repr(value)[:30]}…"
                yield pytest.param(action, field, value, id=f"{action.name}-{field}-{shown!a}")


@pytest.mark.parametrize(("action", "field", "value"), list(wrong_arguments()))
async def test_a_wrong_argument_is_named_and_not_sent(action: Any, field: str, value: Any) -> None:
    handler, asked = in_turn(volcengine_yes())
    async with mocked(handler) as http_client:
        method = getattr(client_of(action, http_client), method_name(action))
        with pytest.raises(InvalidActionError) as caught:
            await method(**(LEAST[action.name] | {field: value}))
    error = caught.value
    assert isinstance(error, ValueError)
    assert error.action == action.name
    assert error.field.startswith(field)
    assert error.rule in str(error)
    assert str(error).startswith(f"{action.name}: {field}")
    assert " must be " in str(error)
    assert not asked


def test_every_field_is_tried() -> None:
    """The tables of this file name every action and every field."""
    assert set(LEAST) == set(WRONG) == {action.name for action in ACTIONS}
    for action in ACTIONS:
        assert set(WRONG[action.name]) == {field.name for field in attrs.fields(action)}
        assert set(required(action)) <= set(LEAST[action.name])


@pytest.mark.parametrize("action", ACTIONS)
def test_the_methods_parameters_are_the_actions_fields(action: Any) -> None:
    client = next(client for base, client in CLIENTS.items() if issubclass(action, base))
    method = inspect.signature(getattr(client, method_name(action)))
    parameters = [one for one in method.parameters.values() if one.name != "self"]
    fields = attrs.fields(action)
    assert [one.name for one in parameters] == [field.name for field in fields]
    assert {one.kind for one in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    for one, field in zip(parameters, fields, strict=True):
        assert (one.default is inspect.Parameter.empty) == (field.default is attrs.NOTHING)
        if field.default is not attrs.NOTHING:
            assert one.default == field.default


def test_the_methods_bear_the_vendors_names() -> None:
    assert [method_name(action) for action in ACTIONS] == [
        "start_detection",
        "stop_detection",
        "list_detection_task",
        "start_webcast",
        "stop_webcast",
        "get_web_cast_task",
        "start_censor_audio",
        "stop_censor_audio",
    ]


@pytest.mark.parametrize(("action", "given", "sent"), MOST)
async def test_everything_that_an_action_takes(action: Any, given: dict[str, Any], sent: dict[str, Any]) -> None:
    """Both ends of every range are taken, and sent as the vendor spells them."""
    answer = volcengine_yes() if issubclass(action, VolcengineAction) else zego_answer(data={"TaskId": "t"})
    handler, asked = in_turn(answer)
    async with mocked(handler) as http_client:
        await getattr(client_of(action, http_client), method_name(action))(**(LEAST[action.name] | given))
    assert body_of(asked[0]).items() >= sent.items()
    assert asked[0].method == "POST"
    assert asked[0].headers["content-type"] == "application/json"
    assert asked[0].url.params["Action"] == action.name
    if "version" in given:
        assert asked[0].url.params["Version"] == given["version"]


@pytest.mark.parametrize("action", ACTIONS)
async def test_what_is_not_given_is_not_sent(action: Any) -> None:
    answer = (
        volcengine_yes({"WebCastTask": {}})
        if issubclass(action, VolcengineAction)
        else zego_answer(data={"TaskId": "t"})
    )
    handler, asked = in_turn(answer)
    async with mocked(handler) as http_client:
        await getattr(client_of(action, http_client), method_name(action))(**LEAST[action.name])
    wire = {"app_id": "AppId", "room_id": "RoomId", "user_id": "UserId", "task_id": "TaskId", "source_url": "SourceURL"}
    wire |= {"event_id": "EventId", "audio_language": "AudioLanguage", "risk_type_list": "RiskTypeList"}
    expected = {wire[name]: value for name, value in LEAST[action.name].items()}
    if action is StartCensorAudioV2:
        expected["LabelLanguage"] = "zh"  # some of ZEGO's pages require it
    if action.method == "GET":
        assert asked[0].content == b""
        assert "content-type" not in asked[0].headers
        query = dict(asked[0].url.params)
        assert query == {"Action": action.name, "Version": "2020-12-01", **expected}
    else:
        assert body_of(asked[0]) == expected


@pytest.mark.parametrize(
    ("action", "version"),
    [
        (StartDetection, "2020-12-01"),
        (StopDetection, "2023-11-01"),
        (ListDetectionTask, "2020-12-01"),
        (StopWebcast, "2020-12-01"),
        (StartWebcast, "2020-12-01"),
        (GetWebCastTask, "2020-12-01"),
    ],
)
def test_the_default_version_is_that_of_the_documents(action: Any, version: str) -> None:
    assert action(**LEAST[action.name]).version == version


@given(identifiers)
def test_every_id_of_the_rule_is_taken(identifier: str) -> None:
    StopWebcast(app_id=identifier, room_id=identifier, task_id=identifier)
    StopCensorAudioV2(task_id=identifier)


@given(st.text(max_size=140))
def test_no_other_id_is_taken(text: str) -> None:
    allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@-."
    if 0 < len(text) <= 128 and all(letter in allowed for letter in text):
        StopCensorAudioV2(task_id=text)
    else:
        with pytest.raises(InvalidActionError, match="task_id"):
            StopCensorAudioV2(task_id=text)


def test_actions_are_values() -> None:
    """Frozen, comparable, hashable: lists are kept as tuples."""
    first = StartCensorAudioV2(**LEAST["StartCensorAudioV2"])
    assert first == StartCensorAudioV2(**LEAST["StartCensorAudioV2"])
    assert len({first, first}) == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        first.room_id = "other"  # type: ignore[misc]


def test_a_value_is_described_by_its_type_only() -> None:
    with pytest.raises(InvalidActionError) as caught:
        StopCensorAudioV2(task_id="s3cret words")
    assert caught.value.value_type == "str of length 12"
    assert "s3cret" not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
    with pytest.raises(InvalidActionError, match="an int from 1 to 3; got int 4"):
        StartDetection(app_id="a", room_id="r", media_type=4)
    with pytest.raises(InvalidActionError, match="got NoneType"):
        StopCensorAudioV2(task_id=None)  # type: ignore[arg-type]


def test_documented_quotas() -> None:
    """StopWebcast and StopCensorAudioV2 by their pages, the detection actions by our own caution."""
    assert {action.name: action.quota for action in ACTIONS} == {
        **dict.fromkeys(("StartDetection", "StopDetection", "ListDetectionTask"), Quota(20)),
        **dict.fromkeys(("StartWebcast", "StopWebcast"), Quota(150)),
        "GetWebCastTask": Quota(60),
        **dict.fromkeys(("StartCensorAudioV2", "StopCensorAudioV2"), Quota(100)),
    }


def test_what_may_be_repeated_and_what_settles_it() -> None:
    assert [action.name for action in ACTIONS if not action.repeatable] == ["StartCensorAudioV2"]
    assert {action.name: list(action.settled_by) for action in ACTIONS if action.settled_by} == {
        "StartDetection": ["InvalidParameter.TaskAlreadyExists"],
        "StopDetection": ["InvalidParameter.ErrorActiveTaskNotFound"],
        "StartWebcast": ["InvalidParameter.TaskAlreadyExists"],
        "StopWebcast": ["InvalidParameter.ErrorActiveTaskNotFound"],
    }


def test_a_room_id_of_exactly_128_bytes_is_taken() -> None:
    for room_id in (128 * "a", 42 * "房" + "ab"):
        StartCensorAudioV2(**(LEAST["StartCensorAudioV2"] | {"room_id": room_id}))
