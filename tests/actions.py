"""Arguments of each action: the minimal ones, examples of all, and invalid ones for each field.

The tests of the rules use them, and those that call every action over a socket.
"""

from typing import Any

from volc_moderation.vendors import all_actions
from volc_moderation.volcengine import (
    BanRoomUser,
    BanUserStream,
    BatchSendRoomUnicast,
    CallbackType,
    DismissRoom,
    EventNotifyConfig,
    GetRoomOnlineUsers,
    GetWebCastTask,
    KickUser,
    LimitTokenPrivilege,
    ListDetectionTask,
    MediaType,
    MonitorConfig,
    SendBroadcast,
    SendRoomUnicast,
    SendUnicast,
    StartDetection,
    StartWebcast,
    StopDetection,
    StopWebcast,
    UnbanUserStream,
    UpdateBanRoomUserRule,
    VideoSolution,
)
from volc_moderation.zego import (
    AudioParam,
    CloseRoom,
    DelForbidStreamRule,
    DelForbidUserRule,
    DescribeForbidStreamRules,
    DescribeForbidUserRules,
    DescribeRTCStreamState,
    DescribeSimpleStreamList,
    DescribeUserList,
    DescribeUserNum,
    DescribeUsers,
    ForbidRTCStream,
    ForbidRTCStreams,
    GenerateIdentifyToken,
    KickoutUser,
    LoginOrder,
    Privilege,
    ResumeRTCStream,
    ResumeRTCStreams,
    RuleType,
    SendCustomCommand,
    SetForbidStreamRule,
    SetForbidUserRule,
    StartCensorAudioV2,
    StartCensorVideoV2,
    StopCensorAudioV2,
    StopCensorVideoV2,
    VideoParam,
)

ACTIONS: list[Any] = [one for one in all_actions().values() if one.__module__.startswith("volc_moderation.")]

#: A user in a room at Volcengine, and a stream in a room at ZEGO.
USER_IN_ROOM: dict[str, Any] = {"app_id": "app", "room_id": "room", "user_id": "user"}
STREAM_IN_ROOM: dict[str, Any] = {"room_id": "room", "stream_id": "stream"}
MESSAGE: dict[str, Any] = {"app_id": "app", "room_id": "room", "from_": "server", "to": "user", "message": "房 \n{}"}
CUSTOM_COMMAND: dict[str, Any] = {"room_id": "room", "from_user_id": "server", "message_content": "a b\n+&=房"}
#: Two ids, to test lists.
TWO_IDS = ["one", "two"]

#: The fewest arguments that each action accepts.
MINIMAL_ARGUMENTS: dict[str, dict[str, Any]] = {
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
    "BanRoomUser": {"app_id": "app", "room_id": "room"},
    "UpdateBanRoomUserRule": {"app_id": "app", "room_id": "room"},
    "KickUser": USER_IN_ROOM,
    "DismissRoom": {"app_id": "app", "room_id": "room"},
    "BanUserStream": USER_IN_ROOM,
    "UnbanUserStream": USER_IN_ROOM,
    "LimitTokenPrivilege": {**USER_IN_ROOM, "token": "secret", "forbidden_interval": 60},
    "GetRoomOnlineUsers": {"app_id": "app", "room_id": "room"},
    "SendUnicast": {name: value for name, value in MESSAGE.items() if name != "room_id"},
    "SendRoomUnicast": MESSAGE,
    "BatchSendRoomUnicast": {**MESSAGE, "to": ["user"]},
    "SendBroadcast": {name: value for name, value in MESSAGE.items() if name != "to"},
    "StartCensorVideoV2": {
        "room_id": "room",
        "event_id": "live_streaming",
        "video_param": VideoParam(risk_type_list=["QRCODE"]),
    },
    "StopCensorVideoV2": {"task_id": "task"},
    "GenerateIdentifyToken": {},
    "KickoutUser": {"room_id": "room", "user_id": ["user"]},
    "CloseRoom": {"room_id": "room"},
    "ForbidRTCStream": {"stream_id": "stream"},
    "ResumeRTCStream": {"stream_id": "stream"},
    "ForbidRTCStreams": {"stream_id": ["stream"]},
    "ResumeRTCStreams": {"stream_id": ["stream"]},
    "DescribeRTCStreamState": {"stream_id": "stream"},
    "SetForbidStreamRule": {**STREAM_IN_ROOM, "disable_audio": 1},
    "DescribeForbidStreamRules": {"room_id": "room", "stream_id": ["stream"]},
    "DelForbidStreamRule": STREAM_IN_ROOM,
    "SetForbidUserRule": {"rule_type": 2, "disabled_privilege": [1], "effective_time": 1, "room_id": "room"},
    "DescribeForbidUserRules": {"rule_type": 1},
    "DelForbidUserRule": {"rule_type": 2, "room_id": "room"},
    "DescribeUsers": {"room_id": "room", "user_id": ["user"]},
    "DescribeUserList": {"room_id": "room"},
    "DescribeUserNum": {"room_id": ["room"]},
    "DescribeSimpleStreamList": {"room_id": "room"},
    "SendCustomCommand": CUSTOM_COMMAND,
}

#: The parameters that an action sends in addition to its arguments.
SENT_BY_DEFAULT: dict[str, dict[str, Any]] = {
    "StartCensorAudioV2": {"LabelLanguage": "zh"},  # some of ZEGO's pages require it
    **{name: {"Video": True, "Audio": True} for name in ("BanUserStream", "UnbanUserStream")},
    **{name: {"Binary": False} for name in ("SendUnicast", "SendRoomUnicast", "BatchSendRoomUnicast", "SendBroadcast")},
}

INVALID_TEXTS: tuple[Any, ...] = ("", 5, b"bytes", True, ["a"], "line\nbreak", "\x00", "lone \ud800")
INVALID_IDS: tuple[Any, ...] = (*INVALID_TEXTS, "a" * 129, "with blank", "a/b", "房间", "a\n", "$")
INVALID_URLS: tuple[Any, ...] = (
    *INVALID_TEXTS,
    "example.com",
    "ftp://example.com/",
    "https://",
    "http://a b/",
    "//a/",
    "http://h:0/",
    "http://h\x85/",
)
#: An empty str counts as None here.
INVALID_OPTIONAL_URLS: tuple[Any, ...] = tuple(value for value in INVALID_URLS if value != "")
INVALID_ZERO_OR_ONE: tuple[Any, ...] = (-1, 2, True, "1", 1.0)
#: True and False are the numbers here.
INVALID_SWITCHES: tuple[Any, ...] = (-1, 2, "1", 1.0)
INVALID_BOOLS: tuple[Any, ...] = (0, 1, "true", [True])
INVALID_MESSAGES: tuple[Any, ...] = ("", 5, b"bytes", True, ["a"], "lone \ud800")
INVALID_IPS: tuple[Any, ...] = ("", "1.2.3", "1.2.3.256", "localhost", 16909060, b"1.2.3.4", "::g", "10.0.0.0/8")
INVALID_LISTS: tuple[Any, ...] = ("BAN", 5, {"BAN"}, [""], [5], [None], ["a", "\x7f"])


def out_of_range(low: int, high: int) -> tuple[Any, ...]:
    """Return invalid values of an integer from ``low`` to ``high``."""
    return (low - 1, high + 1, str(low), float(low), True, [low])


def too_long(max_bytes: int, invalid: tuple[Any, ...] = INVALID_TEXTS) -> tuple[Any, ...]:
    """Return texts of more than ``max_bytes``, and the ``invalid`` values."""
    return (*invalid, (max_bytes + 1) * "a", (max_bytes // 3 + 1) * "房")


def too_many(max_items: int, max_bytes: int, item: str = "a") -> tuple[Any, ...]:
    """Return lists with more than ``max_items``, with none, and with an item of more than ``max_bytes``."""
    return (*INVALID_LISTS, [], (max_items + 1) * [item], [(max_bytes + 1) * item])


#: The invalid values of each field. None is invalid too if the field is required.
INVALID_ARGUMENTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "StartDetection": {
        **dict.fromkeys(("app_id", "room_id", "user_id"), INVALID_TEXTS),
        "callback": INVALID_OPTIONAL_URLS,
        "media_type": (0, -1, 2**31, "1", 1.0, True, [1]),
        "interval": out_of_range(100, 600_000),
        "duration": out_of_range(1000, 600_000),
        "idle_sec": out_of_range(1, 10_800),
        "callback_type": out_of_range(0, 1),
        "version": ("2023-08-01", "", 5, "2023-11-02x", "2024", "latest"),
    },
    **{
        name: {**dict.fromkeys(("app_id", "room_id", "user_id"), INVALID_TEXTS), "version": ("2022-06-01", "")}
        for name in ("StopDetection", "ListDetectionTask")
    },
    "StartWebcast": {
        **dict.fromkeys(("app_id", "room_id", "task_id", "business_id"), INVALID_IDS),
        "user_id": INVALID_TEXTS,
        "source_url": (*INVALID_URLS, "https://example.com/" + 1005 * "a"),
        "max_running_time": out_of_range(10, 86_400),
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
    "StopWebcast": {**dict.fromkeys(("app_id", "room_id", "task_id"), INVALID_IDS), "version": ("2",)},
    "GetWebCastTask": {
        **dict.fromkeys(("app_id", "room_id"), INVALID_TEXTS),
        "task_id": INVALID_IDS,
        "version": ("2",),
    },
    "StartCensorAudioV2": {
        "room_id": (*INVALID_TEXTS, 129 * "a", 43 * "房"),
        "event_id": INVALID_TEXTS,
        "audio_language": (*INVALID_TEXTS, ["zh"]),
        "risk_type_list": (*INVALID_LISTS, []),
        "business_type_list": INVALID_LISTS,
        "label_language": INVALID_TEXTS,
        **dict.fromkeys(("result_callback_url", "status_callback_url"), INVALID_OPTIONAL_URLS),
        **dict.fromkeys(
            ("is_mixing_enabled", "return_all_text", "return_pre_text", "return_pre_audio", "return_finish_info"),
            INVALID_SWITCHES,
        ),
    },
    "StopCensorAudioV2": {"task_id": INVALID_TEXTS},
    "BanRoomUser": {
        **dict.fromkeys(("app_id", "room_id", "user_id"), INVALID_TEXTS),
        "ip": INVALID_IPS,
        "forbidden_interval": (*out_of_range(10, 604_800), 1, 9, -1),
        "version": ("2023-08-01",),
    },
    "UpdateBanRoomUserRule": {
        **dict.fromkeys(("app_id", "room_id", "user_id"), INVALID_TEXTS),
        "forbidden_interval": (*out_of_range(10, 604_800), 1, 9, -1),
        "version": ("2023-08-01",),
    },
    "KickUser": {**dict.fromkeys(USER_IN_ROOM, INVALID_TEXTS), "version": ("2020-11-30",)},
    "DismissRoom": {**dict.fromkeys(("app_id", "room_id"), INVALID_TEXTS), "version": ("2020-11-30",)},
    "BanUserStream": {
        **dict.fromkeys(USER_IN_ROOM, INVALID_TEXTS),
        **dict.fromkeys(("video", "audio"), INVALID_BOOLS),
        "forbidden_interval": (*out_of_range(60, 259_200), 1, -1),
        "token": INVALID_TEXTS,
        "version": ("2023-08-01",),
    },
    "UnbanUserStream": {
        **dict.fromkeys(USER_IN_ROOM, INVALID_TEXTS),
        **dict.fromkeys(("video", "audio"), INVALID_BOOLS),
        "token": INVALID_TEXTS,
        "version": ("2023-08-01",),
    },
    "LimitTokenPrivilege": {
        **dict.fromkeys(USER_IN_ROOM, INVALID_TEXTS),
        "token": INVALID_TEXTS,
        "forbidden_interval": (*out_of_range(60, 259_200), 0),
        "version": ("2020-12-01",),
    },
    "GetRoomOnlineUsers": {**dict.fromkeys(("app_id", "room_id"), INVALID_TEXTS), "version": ("2020-12-01",)},
    **{
        name: {
            **dict.fromkeys(sorted({"app_id", "room_id", "to"} & set(MINIMAL_ARGUMENTS[name])), INVALID_TEXTS),
            "from_": INVALID_IDS,
            "message": INVALID_MESSAGES,
            "binary": INVALID_BOOLS,
            "version": ("2023-07-19",),
        }
        for name in ("SendUnicast", "SendRoomUnicast", "SendBroadcast")
    },
    "BatchSendRoomUnicast": {
        **dict.fromkeys(("app_id", "room_id"), INVALID_TEXTS),
        "from_": INVALID_IDS,
        "to": (*INVALID_LISTS, [], ["a", ""]),
        "message": INVALID_MESSAGES,
        "binary": INVALID_BOOLS,
        "version": ("2023-07-19",),
    },
    "StartCensorVideoV2": {
        "room_id": too_long(128),
        "event_id": INVALID_TEXTS,
        "video_param": (
            *({}, 5, VideoParam(), VideoParam(risk_type_list=[], business_type_list=[])),
            *(VideoParam(risk_type_list=value) for value in INVALID_LISTS),
            *(VideoParam(risk_type_list=["AGE"], business_type_list=value) for value in INVALID_LISTS),
            *(VideoParam(risk_type_list=["AGE"], return_all_img=value) for value in INVALID_SWITCHES),
            *(VideoParam(risk_type_list=["AGE"], detect_frequency=value) for value in out_of_range(1, 60)),
            *(VideoParam(risk_type_list=["AGE"], result_callback_url=value) for value in INVALID_OPTIONAL_URLS),
            *(VideoParam(risk_type_list=["AGE"], status_callback_url=value) for value in INVALID_OPTIONAL_URLS),
        ),
        "audio_param": (
            *({}, 5),
            *(AudioParam(risk_type_list=value) for value in INVALID_LISTS),
            *(AudioParam(business_type_list=value) for value in INVALID_LISTS),
            *(AudioParam(audio_language=value) for value in ("", 5, "e\n")),  # type: ignore[arg-type]
            *(AudioParam(return_all_text=value) for value in INVALID_SWITCHES),
            *(AudioParam(return_pre_text=value) for value in INVALID_SWITCHES),
            *(AudioParam(return_pre_audio=value) for value in INVALID_SWITCHES),
            *(AudioParam(result_callback_url=value) for value in INVALID_OPTIONAL_URLS),
            *(AudioParam(status_callback_url=value) for value in INVALID_OPTIONAL_URLS),
        ),
        "language": (*INVALID_TEXTS, ["zh"]),
        "return_finish_info": INVALID_SWITCHES,
    },
    "StopCensorVideoV2": {"task_id": INVALID_TEXTS},
    "GenerateIdentifyToken": {"effective_time": out_of_range(1, 2_592_000)},
    "KickoutUser": {
        "room_id": too_long(128),
        "user_id": too_many(5, 64),
        "custom_reason": too_long(256, INVALID_MESSAGES),
    },
    "CloseRoom": {
        "room_id": too_long(128),
        "custom_reason": too_long(256, INVALID_MESSAGES),
        "room_close_callback": INVALID_BOOLS,
    },
    **{
        name: {"stream_id": too_long(256), "sequence": INVALID_TEXTS}
        for name in ("ForbidRTCStream", "ResumeRTCStream", "DescribeRTCStreamState")
    },
    **{
        name: {"stream_id": too_many(20, 256), "sequence": INVALID_TEXTS}
        for name in ("ForbidRTCStreams", "ResumeRTCStreams")
    },
    "SetForbidStreamRule": {
        "room_id": too_long(128),
        "stream_id": too_long(256),
        "disable_audio": INVALID_SWITCHES,
        "disable_video": INVALID_SWITCHES,
        "effective_time": out_of_range(1, 86_400),
    },
    "DescribeForbidStreamRules": {"room_id": too_long(128), "stream_id": too_many(10, 256)},
    "DelForbidStreamRule": {"room_id": too_long(128), "stream_id": too_long(256)},
    "SetForbidUserRule": {
        "rule_type": out_of_range(1, 4),
        "disabled_privilege": ("1", 1, [], [0], [3], ["1"], [True], [1, 2, 1]),
        "effective_time": out_of_range(1, 86_400),
        "ip": INVALID_IPS,
        "room_id": too_long(128),
        "user_id": too_long(64),
    },
    "DescribeForbidUserRules": {"rule_type": out_of_range(1, 4)},
    "DelForbidUserRule": {
        "rule_type": out_of_range(1, 4),
        "ip": INVALID_IPS,
        "room_id": too_long(128),
        "user_id": too_long(64),
    },
    "DescribeUsers": {"room_id": too_long(128), "user_id": too_many(10, 64)},
    "DescribeUserList": {
        "room_id": too_long(128),
        "mode": INVALID_ZERO_OR_ONE,
        "limit": out_of_range(0, 200),
        "marker": INVALID_TEXTS,
    },
    "DescribeUserNum": {"room_id": too_many(10, 128)},
    "DescribeSimpleStreamList": {"room_id": too_long(128)},
    "SendCustomCommand": {
        "room_id": too_long(128),
        "from_user_id": too_long(64),
        "message_content": too_long(1024, INVALID_MESSAGES),
        "to_user_id": too_many(10, 64),
    },
}

#: An action, additional arguments, and the parameters that are sent. Together, the examples set every field of every
#: action, at both ends of its range.
EXAMPLES: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (
        StartDetection,
        {"user_id": "u" * 128, "callback": "http://example.com:8080/cb", "media_type": MediaType.VIDEO, "interval": 100}
        | {"duration": 1000, "idle_sec": 1, "callback_type": 0, "version": "2023-11-01"},
        {"UserId": "u" * 128, "Callback": "http://example.com:8080/cb", "MediaType": 1, "Interval": 100}
        | {"Duration": 1000, "IdleSec": 1, "CallbackType": 0},
    ),
    (
        StartDetection,
        {"media_type": 3, "interval": 600_000, "duration": 600_000, "idle_sec": 10_800}
        | {"callback_type": CallbackType.ALL},
        {"MediaType": 3, "Interval": 600_000, "Duration": 600_000, "IdleSec": 10_800, "CallbackType": 1},
    ),
    (
        StartDetection,
        {"room_id": "房间 1:/=", "user_id": "u" * 300, "media_type": 4, "callback": "", "version": "2027-01-31"},
        {"AppId": "app", "RoomId": "房间 1:/=", "UserId": "u" * 300, "MediaType": 4},
    ),
    (StopDetection, {"user_id": "a-b_c@d.e", "version": "2020-12-01"}, {"UserId": "a-b_c@d.e"}),
    (
        StopDetection,
        {"app_id": "661e****543cf", "room_id": "房间 1:/=", "version": "2027-01-31"},
        {"RoomId": "房间 1:/="},
    ),
    (
        StartWebcast,
        {
            "version": "2023-11-01",
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
    *(
        (stop, {"task_id": task_id}, {"TaskId": task_id})
        for stop in (StopCensorAudioV2, StopCensorVideoV2)
        for task_id in ("00112233445566778899aabbccddeeff", "eu:1/2+3==", 300 * "t", "with blank", "任务")
    ),
    (
        StartCensorAudioV2,
        {"audio_language": "pl", "label_language": "ja", "result_callback_url": "", "status_callback_url": ""},
        {"AudioLanguage": "pl", "LabelLanguage": "ja"},
    ),
    (
        StartCensorVideoV2,
        {
            "video_param": VideoParam(risk_type_list=["NEW"], result_callback_url="", status_callback_url=""),
            "audio_param": AudioParam(audio_language="pl", result_callback_url="", status_callback_url=""),
            "language": "zh-Hant",
        },
        {"VideoParam": {"RiskTypeList": ["NEW"]}, "AudioParam": {"AudioLanguage": "pl"}, "Language": "zh-Hant"},
    ),
    (GetWebCastTask, {"version": "2023-11-01"}, {}),
    (ListDetectionTask, {"user_id": "user", "version": "2023-11-01"}, {"UserId": "user"}),
    (
        BanRoomUser,
        {"user_id": "user", "ip": "203.0.113.7", "forbidden_interval": 10},
        {"UserId": "user", "IP": "203.0.113.7", "ForbiddenInterval": 10},
    ),
    (BanRoomUser, {"forbidden_interval": 604_800, "version": "2020-12-01"}, {"ForbiddenInterval": 604_800}),
    (BanRoomUser, {"room_id": None, "ip": "2001:db8::1", "forbidden_interval": 0}, {"IP": "2001:db8::1"}),
    (UpdateBanRoomUserRule, {"user_id": "user", "forbidden_interval": 604_800}, {"ForbiddenInterval": 604_800}),
    (UpdateBanRoomUserRule, {"forbidden_interval": 0, "version": "2020-12-01"}, {"ForbiddenInterval": 0}),
    (UpdateBanRoomUserRule, {"forbidden_interval": 10}, {"ForbiddenInterval": 10}),
    (KickUser, {"version": "2020-12-01"}, {}),
    (DismissRoom, {"version": "2020-12-01"}, {}),
    (
        BanUserStream,
        {"video": True, "audio": False, "forbidden_interval": 60, "token": "t"},
        {"Video": True, "Audio": False, "ForbiddenInterval": 60, "Token": "t"},
    ),
    (BanUserStream, {"video": False, "forbidden_interval": 259_200}, {"Video": False, "Audio": True}),
    (BanUserStream, {"forbidden_interval": 0}, {"ForbiddenInterval": 0}),
    (BanUserStream, {"token": "t", "version": "2020-12-01"}, {"Token": "t"}),
    (UnbanUserStream, {"video": False, "audio": True, "token": "t", "version": "2020-12-01"}, {"Token": "t"}),
    (
        LimitTokenPrivilege,
        {"forbidden_interval": 259_200, "version": "2023-11-01"},
        {"Token": "secret", "ForbiddenInterval": 259_200},
    ),
    (GetRoomOnlineUsers, {"version": "2023-08-01"}, {}),
    (SendUnicast, {"message": "AP8=", "binary": True, "version": "2020-12-01"}, {"Binary": True, "From": "server"}),
    (SendRoomUnicast, {"message": "AP8=", "binary": True, "version": "2020-12-01"}, {"Message": "AP8=", "To": "user"}),
    (
        BatchSendRoomUnicast,
        {"to": TWO_IDS, "message": "AP8=", "binary": True, "version": "2020-12-01"},
        {"To": TWO_IDS, "Message": "AP8=", "Binary": True},
    ),
    (SendBroadcast, {"message": "AP8=", "binary": True, "version": "2020-12-01"}, {"Message": "AP8="}),
    (
        StartCensorVideoV2,
        {
            "room_id": 128 * "a",
            "video_param": VideoParam(
                risk_type_list=["QRCODE", "a free word"],
                business_type_list=["AGE"],
                return_all_img=1,
                detect_frequency=1,
                result_callback_url="https://example.com/r",
                status_callback_url="https://example.com/s",
            ),
            "audio_param": AudioParam(
                risk_type_list=["BAN"],
                business_type_list=["SING"],
                audio_language="en",
                return_all_text=1,
                return_pre_text=0,
                return_pre_audio=1,
                result_callback_url="https://example.com/r",
                status_callback_url="https://example.com/s",
            ),
            "language": "ru",
            "return_finish_info": 1,
        },
        {
            "VideoParam": {
                "RiskTypeList": ["QRCODE", "a free word"],
                "BusinessTypeList": ["AGE"],
                "ReturnAllImg": 1,
                "DetectFrequency": 1,
                "ResultCallbackUrl": "https://example.com/r",
                "StatusCallbackUrl": "https://example.com/s",
            },
            "AudioParam": {
                "RiskTypeList": ["BAN"],
                "BusinessTypeList": ["SING"],
                "AudioLanguage": "en",
                "ReturnAllText": 1,
                "ReturnPreText": 0,
                "ReturnPreAudio": 1,
                "ResultCallbackUrl": "https://example.com/r",
                "StatusCallbackUrl": "https://example.com/s",
            },
            "Language": "ru",
            "ReturnFinishInfo": 1,
        },
    ),
    (
        StartCensorVideoV2,
        {"video_param": VideoParam(business_type_list=("AGE",), return_all_img=0, detect_frequency=60)},
        {"VideoParam": {"BusinessTypeList": ["AGE"], "ReturnAllImg": 0, "DetectFrequency": 60}},
    ),
    (
        StartCensorVideoV2,
        {
            "video_param": VideoParam(risk_type_list=["QRCODE"]),
            "audio_param": AudioParam(return_all_text=0, return_pre_text=1, return_pre_audio=0),
            "return_finish_info": 0,
        },
        {
            "VideoParam": {"RiskTypeList": ["QRCODE"]},
            "AudioParam": {"ReturnAllText": 0, "ReturnPreText": 1, "ReturnPreAudio": 0},
            "ReturnFinishInfo": 0,
        },
    ),
    (
        StartCensorAudioV2,
        {"is_mixing_enabled": False, "return_all_text": True, "return_pre_text": 0, "return_pre_audio": 1}
        | {"return_finish_info": False},
        {"IsMixingEnabled": 0, "ReturnAllText": 1, "ReturnPreText": 0, "ReturnPreAudio": 1, "ReturnFinishInfo": 0},
    ),
    (StopCensorVideoV2, {}, {}),
    (GenerateIdentifyToken, {"effective_time": 1}, {"EffectiveTime": "1"}),
    (GenerateIdentifyToken, {"effective_time": 2_592_000}, {"EffectiveTime": "2592000"}),
    (
        KickoutUser,
        {"user_id": TWO_IDS, "custom_reason": "no\n+ &房"},
        {"UserId[]": TWO_IDS, "CustomReason": "no\n+ &房"},
    ),
    (KickoutUser, {"user_id": 5 * [64 * "u"], "custom_reason": 256 * "r"}, {"UserId[]": 5 * [64 * "u"]}),
    (
        CloseRoom,
        {"custom_reason": 85 * "房", "room_close_callback": True},
        {"CustomReason": 85 * "房", "RoomCloseCallback": "true"},
    ),
    (ForbidRTCStream, {"stream_id": 256 * "s", "sequence": "7"}, {"StreamId": 256 * "s", "Sequence": "7"}),
    (ResumeRTCStream, {"sequence": "8"}, {"Sequence": "8"}),
    (ForbidRTCStreams, {"stream_id": TWO_IDS, "sequence": "9"}, {"StreamId[]": TWO_IDS, "Sequence": "9"}),
    (ForbidRTCStreams, {"stream_id": 20 * [256 * "s"]}, {"StreamId[]": 20 * [256 * "s"]}),
    (ResumeRTCStreams, {"stream_id": 20 * ["s"], "sequence": "10"}, {"StreamId[]": 20 * ["s"]}),
    (DescribeRTCStreamState, {"sequence": "11"}, {"Sequence": "11"}),
    (
        SetForbidStreamRule,
        {"disable_audio": 0, "disable_video": 1, "effective_time": 1},
        {"DisableAudio": "0", "DisableVideo": "1", "EffectiveTime": "1"},
    ),
    (SetForbidStreamRule, {"effective_time": 86_400}, {"EffectiveTime": "86400"}),
    (DescribeForbidStreamRules, {"stream_id": 10 * ["s"]}, {"StreamId[]": 10 * ["s"]}),
    (DelForbidStreamRule, {}, {"StreamId": "stream"}),
    (
        SetForbidUserRule,
        {"rule_type": RuleType.ROOM_USER, "disabled_privilege": [Privilege.LOGIN, 2], "effective_time": 86_400}
        | {"user_id": 64 * "u"},
        {"RuleType": "4", "DisabledPrivilege[]": ["1", "2"], "EffectiveTime": "86400", "UserId": 64 * "u"},
    ),
    (SetForbidUserRule, {"rule_type": 1, "ip": "203.0.113.7", "room_id": None}, {"IP": "203.0.113.7"}),
    (DescribeForbidUserRules, {"rule_type": RuleType.ROOM_USER}, {"RuleType": "4"}),
    (DelForbidUserRule, {"rule_type": 4, "user_id": "user"}, {"RuleType": "4", "UserId": "user"}),
    (DelForbidUserRule, {"rule_type": 1, "ip": "::1", "room_id": None}, {"IP": "::1"}),
    (DescribeUsers, {"user_id": 10 * ["u"]}, {"UserId[]": 10 * ["u"]}),
    (
        DescribeUserList,
        {"mode": LoginOrder.LAST, "limit": 200, "marker": "m"},
        {"Mode": "1", "Limit": "200", "Marker": "m"},
    ),
    (DescribeUserList, {"mode": 0, "limit": 0}, {"Mode": "0", "Limit": "0"}),
    (DescribeUserNum, {"room_id": 10 * ["r"]}, {"RoomId[]": 10 * ["r"]}),
    (DescribeSimpleStreamList, {}, {"RoomId": "room"}),
    (
        SendCustomCommand,
        {"message_content": 1024 * "m", "to_user_id": 10 * ["u"]},
        {"MessageContent": 1024 * "m", "ToUserId[]": 10 * ["u"]},
    ),
]
