"""Each action: its rules, through the clients' methods, the parameters it sends, its quota, and when it is repeated."""

import contextlib
import inspect
import itertools
from typing import Any
from urllib.parse import parse_qsl

import attrs
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.actions import ACTIONS, EXAMPLES, INVALID_ARGUMENTS, MINIMAL_ARGUMENTS, SENT_BY_DEFAULT, USER_IN_ROOM
from tests.doubles import (
    json_body,
    mocked,
    sequential_handler,
    volcengine_client,
    volcengine_success,
    zego_answer,
    zego_client,
)
from tests.strategies import characters, identifiers, texts
from volc_moderation import DecodeError, InvalidActionError, Quota, VolcengineClient, ZegoClient, validators
from volc_moderation.action import WIRE_NAME, method_name, version_of
from volc_moderation.volcengine import (
    BanRoomUser,
    BanUserStream,
    KickUser,
    LimitTokenPrivilege,
    MonitorConfig,
    SendUnicast,
    StartDetection,
    StartWebcast,
    StopDetection,
    StopWebcast,
    UnbanUserStream,
    UpdateBanRoomUserRule,
    VolcengineAction,
)
from volc_moderation.zego import (
    AudioParam,
    DelForbidUserRule,
    IdentifyToken,
    KickoutUser,
    RoomAction,
    SetForbidStreamRule,
    SetForbidUserRule,
    StartCensorAudioV2,
    StopCensorAudioV2,
    StreamAction,
    VideoParam,
    ZegoAction,
)

CLIENTS: dict[type, Any] = {VolcengineAction: VolcengineClient, ZegoAction: ZegoClient}
#: The common parameters of every query.
COMMON_PARAMETERS = {"Action", "Version", "AppId", "SignatureNonce", "Timestamp", "Signature", "SignatureVersion"}

VERSIONED = {action.name for action in ACTIONS if issubclass(action, VolcengineAction)}
#: The default versions other than 2023-11-01.
DEFAULT_VERSIONS = {
    **dict.fromkeys(("StartDetection", "ListDetectionTask", "StartWebcast", "StopWebcast"), "2020-12-01"),
    **dict.fromkeys(("GetWebCastTask", "KickUser", "DismissRoom"), "2020-12-01"),
    **dict.fromkeys(("SendUnicast", "SendRoomUnicast", "BatchSendRoomUnicast", "SendBroadcast"), "2023-07-20"),
}


def client_for(action: Any, http_client: httpx.AsyncClient) -> Any:
    create_client = volcengine_client if issubclass(action, VolcengineAction) else zego_client
    return create_client(http_client=http_client)


def required_fields(action: Any) -> list[str]:
    return [field.name for field in attrs.fields(action) if field.default is attrs.NOTHING]


@pytest.mark.parametrize(
    ("action", "field"), [(action, field) for action in ACTIONS for field in INVALID_ARGUMENTS[action.name]]
)
async def test_an_invalid_argument_is_named_and_not_sent(action: Any, field: str) -> None:
    handler, requests = sequential_handler(volcengine_success())
    invalid_values = [*INVALID_ARGUMENTS[action.name][field], *([None] if field in required_fields(action) else [])]
    async with mocked(handler) as http_client:
        method = getattr(client_for(action, http_client), method_name(action.name))
        for value in invalid_values:
            with pytest.raises(InvalidActionError) as caught:
                await method(**(MINIMAL_ARGUMENTS[action.name] | {field: value}))
            error = caught.value
            assert isinstance(error, ValueError)
            assert error.action == action.name
            assert error.field.startswith(field)
            assert error.rule in str(error)
            assert str(error).startswith(f"{action.name}: {field}")
            assert " must be " in str(error)
    assert not requests


def test_every_field_is_tested() -> None:
    """The tables have every action and every field, and set every optional field at least once."""
    assert set(MINIMAL_ARGUMENTS) == set(INVALID_ARGUMENTS) == {action.name for action in ACTIONS}
    for action in ACTIONS:
        assert set(INVALID_ARGUMENTS[action.name]) == {field.name for field in attrs.fields(action)}
        assert set(required_fields(action)) <= set(MINIMAL_ARGUMENTS[action.name])
        examples = [arguments for example, arguments, _ in EXAMPLES if example is action]
        fields = set(MINIMAL_ARGUMENTS[action.name]).union(*examples)
        assert {field.name for field in attrs.fields(action)} <= fields


@pytest.mark.parametrize("action", ACTIONS)
def test_the_parameters_of_a_method_are_the_fields_of_its_action(action: Any) -> None:
    client = next(client for base, client in CLIENTS.items() if issubclass(action, base))
    method = inspect.signature(getattr(client, method_name(action.name)))
    parameters = [parameter for parameter in method.parameters.values() if parameter.name != "self"]
    fields = attrs.fields(action)
    assert [parameter.name for parameter in parameters] == [field.name for field in fields]
    assert {parameter.kind for parameter in parameters} == {inspect.Parameter.KEYWORD_ONLY}
    for parameter, field in zip(parameters, fields, strict=True):
        assert (parameter.default is inspect.Parameter.empty) == (field.default is attrs.NOTHING)
        if field.default is not attrs.NOTHING:
            assert parameter.default == field.default


def test_the_methods_have_the_vendors_names() -> None:
    """The names are in snake_case, without a trailing V2, as the documentation lists them."""
    assert sorted(method_name(action.name) for action in ACTIONS) == sorted(
        [
            *("start_detection", "stop_detection", "list_detection_task"),
            *("start_webcast", "stop_webcast", "get_web_cast_task"),
            *("ban_room_user", "update_ban_room_user_rule", "kick_user", "dismiss_room"),
            *("ban_user_stream", "unban_user_stream", "limit_token_privilege", "get_room_online_users"),
            *("send_unicast", "send_room_unicast", "batch_send_room_unicast", "send_broadcast"),
            *("start_censor_audio", "stop_censor_audio", "start_censor_video", "stop_censor_video"),
            *("generate_identify_token", "kickout_user", "close_room"),
            *("describe_users", "describe_user_list", "describe_user_num", "describe_simple_stream_list"),
            "send_custom_command",
            *("set_forbid_stream_rule", "describe_forbid_stream_rules", "del_forbid_stream_rule"),
            *("set_forbid_user_rule", "describe_forbid_user_rules", "del_forbid_user_rule"),
            *("forbid_rtc_stream", "resume_rtc_stream", "forbid_rtc_streams", "resume_rtc_streams"),
            "describe_rtc_stream_state",
        ]
    )


def parameters_in(request: httpx.Request) -> dict[str, Any]:
    """Return the parameters that were sent: the body of a POST, or the query of a GET without the common parameters."""
    if request.method == "POST":
        assert request.headers["content-type"] == "application/json"
        return json_body(request)  # type: ignore[no-any-return]
    assert request.content == b""
    assert "content-type" not in request.headers
    sent: dict[str, Any] = {}
    for name, value in parse_qsl(request.url.query.decode(), keep_blank_values=True, strict_parsing=True):
        if name.endswith("[]"):
            sent.setdefault(name, []).append(value)
        elif name not in COMMON_PARAMETERS or (name == "AppId" and "SignatureNonce" not in request.url.params):
            assert name not in sent
            sent[name] = value
    return sent


async def sent_by(action: Any, arguments: dict[str, Any]) -> tuple[dict[str, Any], httpx.Request]:
    """Call the method of an action, and return the parameters it sent. How it reads the response is not tested here."""
    response = volcengine_success() if issubclass(action, VolcengineAction) else zego_answer()
    handler, requests = sequential_handler(response)
    async with mocked(handler) as http_client:
        with contextlib.suppress(DecodeError):
            await getattr(client_for(action, http_client), method_name(action.name))(**arguments)
    (request,) = requests
    assert request.url.params["Action"] == action.name
    assert request.method == action.method
    return parameters_in(request), request


@pytest.mark.parametrize(("action", "arguments", "expected"), EXAMPLES)
async def test_both_ends_of_every_range_are_sent(
    action: Any, arguments: dict[str, Any], expected: dict[str, Any]
) -> None:
    """They are sent in the vendor's spelling."""
    sent, request = await sent_by(action, MINIMAL_ARGUMENTS[action.name] | arguments)
    assert sent.items() >= expected.items()
    if "version" in arguments:
        assert request.url.params["Version"] == arguments["version"]


@pytest.mark.parametrize("action", ACTIONS)
async def test_omitted_arguments_are_not_sent(action: Any) -> None:
    sent, request = await sent_by(action, MINIMAL_ARGUMENTS[action.name])
    names = {field.name: field.metadata.get(WIRE_NAME, pascal_case(field.name)) for field in attrs.fields(action)}
    expected = {names[name] for name in MINIMAL_ARGUMENTS[action.name]} | set(SENT_BY_DEFAULT.get(action.name, {}))
    if issubclass(action, StreamAction):
        expected.add("Sequence")
    assert set(sent) == expected
    assert sent.items() >= SENT_BY_DEFAULT.get(action.name, {}).items()
    if issubclass(action, VolcengineAction):
        assert request.url.params["Version"] == DEFAULT_VERSIONS.get(action.name, "2023-11-01")


def pascal_case(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


async def test_free_text_in_a_query_is_encoded_once() -> None:
    """Spaces are %20: ZEGO does not say whether it reads + as a space. Brackets are encoded as in its samples."""
    _, request = await sent_by(KickoutUser, {"room_id": "a b", "user_id": ["u+1"], "custom_reason": "100 %\n房"})
    assert b"RoomId=a%20b&UserId%5B%5D=u%2B1&CustomReason=100%20%25%0A%E6%88%BF" in request.url.query


@pytest.mark.parametrize(
    ("action", "version"),
    [(action, DEFAULT_VERSIONS.get(action.name, "2023-11-01")) for action in ACTIONS if action.name in VERSIONED],
)
def test_the_default_version_is_the_documented_one(action: Any, version: str) -> None:
    assert version_of(action(**MINIMAL_ARGUMENTS[action.name])) == version


@pytest.mark.slow
@given(identifiers)
def test_every_id_that_fits_the_rule_is_accepted(identifier: str) -> None:
    StopWebcast(app_id=identifier, room_id=identifier, task_id=identifier)
    StopCensorAudioV2(task_id=identifier)


@given(st.text(characters, max_size=140))
def test_no_other_id_identifies_a_webcast(text: str) -> None:
    """The page of StopWebcast gives the rule. A webcast that cannot be stopped must not be started either."""
    allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@-."
    for field in ("app_id", "room_id", "task_id"):
        webcast = {"app_id": "app", "room_id": "room", "task_id": "task", field: text}
        for create in (
            lambda webcast=webcast: StopWebcast(**webcast),
            lambda webcast=webcast: StartWebcast(**webcast, user_id="房", source_url="https://example.com/"),
        ):
            if 0 < len(text) <= 128 and set(text) <= set(allowed):
                create()
            else:
                with pytest.raises(InvalidActionError, match=field):
                    create()


@given(texts)
def test_other_ids_are_accepted_unchanged(text: str) -> None:
    """ZEGO's stop accepts any id that its start may return."""
    if text and text.isprintable():
        StopCensorAudioV2(task_id=text)
        StopDetection(app_id=text, room_id=text, user_id=text)
        KickUser(app_id=text, room_id=text, user_id=text)


def test_the_empty_url_of_the_vendors_samples_counts_as_none() -> None:
    start = StartDetection(app_id="a", room_id="r", callback="")
    assert start == StartDetection(app_id="a", room_id="r")
    assert AudioParam(result_callback_url="", status_callback_url="") == AudioParam()
    assert VideoParam(result_callback_url="", status_callback_url="") == VideoParam()


def test_a_task_of_the_room_does_not_prove_that_the_task_of_one_user_runs() -> None:
    code = "InvalidParameter.TaskAlreadyExists"
    assert StartDetection(app_id="a", room_id="r").is_already_done(code)
    assert not StartDetection(app_id="a", room_id="r", user_id="u").is_already_done(code)
    assert not StartDetection(app_id="a", room_id="r").is_already_done("InvalidParameter")


def test_actions_are_values() -> None:
    """They are immutable, comparable and hashable, and store lists as tuples."""
    first = StartCensorAudioV2(**MINIMAL_ARGUMENTS["StartCensorAudioV2"])
    assert first == StartCensorAudioV2(**MINIMAL_ARGUMENTS["StartCensorAudioV2"])
    assert len({first, first}) == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        first.room_id = "other"  # type: ignore[misc]


def test_an_invalid_text_is_described_by_its_type_and_length_only() -> None:
    with pytest.raises(InvalidActionError) as caught:
        StopCensorAudioV2(task_id="s3cret words\n")
    assert caught.value.value_type == "str of length 13"
    assert "s3cret" not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
    with pytest.raises(InvalidActionError, match="an int from 0 to 1; got int 4"):
        StartDetection(app_id="a", room_id="r", callback_type=4)
    with pytest.raises(InvalidActionError, match="an int of at least 1; got int 0"):
        StartDetection(app_id="a", room_id="r", media_type=0)
    with pytest.raises(InvalidActionError, match="got NoneType"):
        StopCensorAudioV2(task_id=None)  # type: ignore[arg-type]


def test_documented_quotas() -> None:
    """They are those of the vendors' pages. Unpublished ones start at a cautious value of our own."""
    by_limit = {
        1: {"CloseRoom"},
        10: {"SetForbidStreamRule", "DescribeForbidStreamRules", "DelForbidStreamRule", "SetForbidUserRule"}
        | {"DescribeForbidUserRules", "DelForbidUserRule", "DescribeUsers", "DescribeUserNum"},
        20: {"UpdateBanRoomUserRule"} | {"ForbidRTCStream", "ResumeRTCStream", "ForbidRTCStreams", "ResumeRTCStreams"},
        40: {"BanRoomUser", "LimitTokenPrivilege", "GetRoomOnlineUsers", "DescribeRTCStreamState"},
        50: {"KickoutUser", "DescribeSimpleStreamList"},
        60: {"GetWebCastTask", "KickUser", "DismissRoom", "BanUserStream", "UnbanUserStream"},
        100: {"StartCensorAudioV2", "StopCensorAudioV2", "StartCensorVideoV2", "StopCensorVideoV2"}
        | {"GenerateIdentifyToken", "SendCustomCommand"},
        150: {"StartWebcast", "StopWebcast"},
        200: {"DescribeUserList"},
    }
    unpublished = {"StartDetection", "StopDetection", "ListDetectionTask"}
    unpublished |= {"SendUnicast", "SendRoomUnicast", "BatchSendRoomUnicast", "SendBroadcast"}
    assert {action.name: action.quota for action in ACTIONS} == {
        name: Quota(limit) for limit, names in by_limit.items() for name in names
    } | dict.fromkeys(unpublished, Quota(20, published=False))
    assert {action.name: action.room_quota for action in ACTIONS if action.room_quota} == {
        "DescribeUserList": Quota(1),
        "DescribeSimpleStreamList": Quota(1, window=10.0),
    }
    in_test = {action.name: action.test_quota for action in ACTIONS if getattr(action, "test_quota", None)}
    assert in_test == {
        **dict.fromkeys(("ForbidRTCStream", "ResumeRTCStream", "ForbidRTCStreams", "ResumeRTCStreams"), Quota(5)),
        **dict.fromkeys(("DescribeRTCStreamState", "SendCustomCommand"), Quota(10)),
        "DescribeUserNum": Quota(1),
    }


def test_which_actions_are_repeatable_and_which_codes_mean_already_done() -> None:
    assert {action.name for action in ACTIONS if not action.repeatable} == {
        *("StartCensorAudioV2", "StartCensorVideoV2", "SendCustomCommand"),
        *("SendUnicast", "SendRoomUnicast", "BatchSendRoomUnicast", "SendBroadcast"),
    }
    assert {action.name: set(action.already_done_codes) for action in ACTIONS if action.already_done_codes} == {
        "StartDetection": {"InvalidParameter.TaskAlreadyExists"},
        "StopDetection": {"InvalidParameter.ErrorActiveTaskNotFound"},
        "StartWebcast": {"InvalidParameter.TaskAlreadyExists"},
        "StopWebcast": {"InvalidParameter.ErrorActiveTaskNotFound"},
        "CloseRoom": {104, 5018, 5024, 50001},
        "DelForbidUserRule": {50124},
    }


def test_a_check_of_a_webcast_may_be_disabled() -> None:
    for seconds in (0, 2, 30):
        MonitorConfig(blank_check_interval=seconds, freeze_check_interval=seconds, crash_check_interval=min(seconds, 1))


def test_one_of_two_fields_is_enough() -> None:
    actions: list[Any] = [UpdateBanRoomUserRule, BanRoomUser]
    for action in actions:
        action(app_id="a", room_id="r")
        action(app_id="a", user_id="u")
    BanRoomUser(app_id="a", ip="203.0.113.7")


@pytest.mark.parametrize(
    ("create", "field", "rule"),
    [
        (lambda: BanRoomUser(app_id="a"), "room_id", "unless user_id or ip is given"),
        (lambda: BanRoomUser(app_id="a", ip="203.0.113.7", version="2020-12-01"), "ip", "None with version"),
        (lambda: UpdateBanRoomUserRule(app_id="a", forbidden_interval=0), "room_id", "unless user_id is given"),
        (lambda: BanUserStream(**USER_IN_ROOM, video=False, audio=False), "video", "True, unless audio is"),
        (lambda: UnbanUserStream(**USER_IN_ROOM, video=False, audio=False), "video", "True, unless audio is"),
        (lambda: BanUserStream(**USER_IN_ROOM, version="2020-12-01"), "token", "a str with version 2020-12-01"),
        (lambda: UnbanUserStream(**USER_IN_ROOM, version="2020-12-01"), "token", "a str with version 2020-12-01"),
        (
            lambda: BanUserStream(**USER_IN_ROOM, token="t", forbidden_interval=60, version="2020-12-01"),
            "forbidden_interval",
            "None with version 2020-12-01",
        ),
        (lambda: SendUnicast(app_id="a", from_="s", to="u", message="no", binary=True), "message", "base64"),
        (lambda: SendUnicast(app_id="a", from_="s", to="u", message="é房==", binary=True), "message", "base64"),
        (lambda: SetForbidStreamRule(room_id="r", stream_id="s"), "disable_audio", "1, unless disable_video is"),
        (
            lambda: SetForbidStreamRule(room_id="r", stream_id="s", disable_audio=0, disable_video=0),
            "disable_audio",
            "1, unless disable_video is",
        ),
    ],
)
def test_rules_about_several_fields(create: Any, field: str, rule: str) -> None:
    with pytest.raises(InvalidActionError) as caught:
        create()
    assert caught.value.field == field
    assert rule in caught.value.rule


RULE_KEYS: dict[str, Any] = {"ip": "203.0.113.7", "room_id": "room", "user_id": "user"}
#: The keys that each rule type requires.
REQUIRED_KEYS = {1: {"ip"}, 2: {"room_id"}, 3: {"user_id"}, 4: {"room_id", "user_id"}}


@pytest.mark.parametrize("rule_type", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "keys", [set(keys) for count in range(4) for keys in itertools.combinations(sorted(RULE_KEYS), count)]
)
def test_a_rule_about_users_requires_exactly_the_keys_of_its_type(rule_type: int, keys: set[str]) -> None:
    arguments = {name: RULE_KEYS[name] for name in keys}
    creators: list[Any] = [
        lambda: SetForbidUserRule(rule_type=rule_type, disabled_privilege=[1], effective_time=1, **arguments),
        lambda: DelForbidUserRule(rule_type=rule_type, **arguments),
    ]
    for create in creators:
        if keys == REQUIRED_KEYS[rule_type]:
            create()
        else:
            with pytest.raises(InvalidActionError, match="rule_type") as caught:
                create()
            assert caught.value.field in keys ^ REQUIRED_KEYS[rule_type]


#: The client SDK's maximum lengths in bytes.
MAX_LENGTHS = {"room_id": 128, "user_id": 64, "stream_id": 256, "from_user_id": 64, "to_user_id": 64}


@pytest.mark.parametrize("action", [one for one in ACTIONS if issubclass(one, (RoomAction, StreamAction))])
def test_the_ids_of_zego_have_a_maximum_length(action: Any) -> None:
    minimal = MINIMAL_ARGUMENTS[action.name]
    if "rule_type" in minimal and action.name != "DescribeForbidUserRules":
        minimal = minimal | {"rule_type": 4, "user_id": "user"}
    for field in {field.name for field in attrs.fields(action)} & set(MAX_LENGTHS):
        is_list = field == "to_user_id" or isinstance(minimal.get(field), list)
        for length, is_valid in ((MAX_LENGTHS[field], True), (MAX_LENGTHS[field] + 1, False)):
            arguments = minimal | {field: [length * "i"] if is_list else length * "i"}
            if is_valid:
                assert getattr(action(**arguments), field)
            else:
                with pytest.raises(InvalidActionError, match=f"{MAX_LENGTHS[field]} bytes"):
                    action(**arguments)


@pytest.mark.parametrize(
    ("validator", "valid", "invalid", "rule"),
    [
        (
            validators.text(most=3),
            "abc",
            "abcd",
            "a str that is not empty, without control characters, of at most 3 characters",
        ),
        (
            validators.text(most_bytes=3),
            "é1",
            "éé",
            "a str that is not empty, without control characters, of at most 3 bytes in UTF-8",
        ),
        (validators.free_text(), "\n", "\ud800", "a str that is not empty and can be encoded in UTF-8"),
        (
            validators.free_text(most_bytes=2),
            "é",
            "éa",
            "a str that is not empty and can be encoded in UTF-8, of at most 2 bytes",
        ),
        (validators.integer(2, 30), 30, 31, "an int from 2 to 30"),
        (validators.integer(2, 30, off=0), 0, 1, "an int from 2 to 30, or 0 for off"),
        (validators.integer(0, 1), 1, True, "an int from 0 to 1"),
        (validators.open_enum(1), 2**31 - 1, 2**31, "an int of at least 1"),
        (validators.open_enum(1), 1, 0, "an int of at least 1"),
        (validators.boolean(), False, 0, "a bool"),
        (validators.switch(), 1, 2, "0 or 1, or a bool"),
        (validators.list_of(validators.text()), (), "a", "a list"),
        (validators.list_of(validators.text(), least=1), ("a",), (), "a list of at least 1 items"),
        (validators.list_of(validators.text(), most=2), ("a", "b"), ("a", "b", "c"), "a list of at most 2 items"),
        (validators.list_of(validators.text(), least=1, most=2), ("a", "b"), (), "a list of 1 to 2 items"),
        (validators.url(), "https://host/" + 5000 * "a", "ftp://host/", "an absolute http or https URL"),
        (validators.url(most=9), "http://ho", "http://hos", "an absolute http or https URL of at most 9 characters"),
    ],
)
def test_the_error_of_a_validator_states_its_rule(validator: Any, valid: object, invalid: object, rule: str) -> None:
    stop = StopCensorAudioV2(task_id="t")
    field = attrs.fields(StopCensorAudioV2).task_id
    validator(stop, field, valid)
    with pytest.raises(InvalidActionError) as caught:
        validator(stop, field, invalid)
    assert (caught.value.action, caught.value.field, caught.value.rule) == ("StopCensorAudioV2", "task_id", rule)


def test_no_repr_shows_a_users_token() -> None:
    for action in (BanUserStream(**USER_IN_ROOM, token="s3cret"), UnbanUserStream(**USER_IN_ROOM, token="s3cret")):
        assert "s3cret" not in repr(action)
    assert "s3cret" not in repr(LimitTokenPrivilege(**USER_IN_ROOM, token="s3cret", forbidden_interval=60))
    assert "s3cret" not in repr(IdentifyToken(identify_token="s3cret", remain_time=60))


def test_a_room_id_of_exactly_128_bytes_is_accepted() -> None:
    for room_id in (128 * "a", 42 * "房" + "ab"):
        StartCensorAudioV2(**(MINIMAL_ARGUMENTS["StartCensorAudioV2"] | {"room_id": room_id}))
