"""Enums, switches and suggestions: editors know the choices, and ZEGO receives plain numbers and texts."""

import json
import re
from inspect import getdoc
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
import pytest
from httpx import Request

from tests.doubles import mocked, sequential_handler, zego_answer, zego_client
from tests.test_methods import parameter
from volc_moderation import InvalidActionError, ZegoClient, zego
from volc_moderation.action import method_name
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.coercion import parse_switch
from volc_moderation.jobs import Jobs
from volc_moderation.jobs.clients import dump_action, load_action
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.zego import (
    AudioParam,
    DescribeUserList,
    LoginOrder,
    Privilege,
    RuleType,
    SetForbidStreamRule,
    SetForbidUserRule,
    StartCensorAudioV2,
    StartCensorVideoV2,
    VideoParam,
    ZegoAction,
)

AUDIO: dict[str, Any] = {
    "room_id": "r",
    "event_id": "audio_room",
    "audio_language": "zh",
    "risk_type_list": ["BAN"],
}
RULE: dict[str, Any] = {"effective_time": 60, "room_id": "r", "user_id": "u"}


def video(on: bool | int, off: bool | int) -> StartCensorVideoV2:
    return StartCensorVideoV2(
        room_id="r",
        event_id="private_chat",
        video_param=VideoParam(risk_type_list=["QRCODE"], return_all_img=on),
        audio_param=AudioParam(return_all_text=on, return_pre_text=off, return_pre_audio=on),
        return_finish_info=off,
    )


#: Each action with enums and bools, with plain numbers, and what is stored and sent.
SAME: list[tuple[ZegoAction[Any], ZegoAction[Any], str]] = [
    (
        SetForbidUserRule(
            rule_type=RuleType.ROOM_USER, disabled_privilege=[Privilege.LOGIN, Privilege.PUBLISH], **RULE
        ),
        SetForbidUserRule(rule_type=4, disabled_privilege=[1, 2], **RULE),
        '{"RuleType":4,"DisabledPrivilege[]":[1,2],"EffectiveTime":60,"RoomId":"r","UserId":"u"}',
    ),
    (
        DescribeUserList(room_id="r", mode=LoginOrder.LAST),
        DescribeUserList(room_id="r", mode=1),
        '{"RoomId":"r","Mode":1}',
    ),
    (
        SetForbidStreamRule(room_id="r", stream_id="s", disable_audio=True, disable_video=False),
        SetForbidStreamRule(room_id="r", stream_id="s", disable_audio=1, disable_video=0),
        '{"RoomId":"r","StreamId":"s","DisableAudio":1,"DisableVideo":0}',
    ),
    (
        StartCensorAudioV2(**AUDIO, is_mixing_enabled=False, return_all_text=True, return_finish_info=True),
        StartCensorAudioV2(**AUDIO, is_mixing_enabled=0, return_all_text=1, return_finish_info=1),
        (
            '{"RoomId":"r","EventId":"audio_room","AudioLanguage":"zh","LabelLanguage":"zh","RiskTypeList":["BAN"],'
            '"IsMixingEnabled":0,"ReturnAllText":1,"ReturnFinishInfo":1}'
        ),
    ),
    (
        video(on=True, off=False),
        video(on=1, off=0),
        (
            '{"RoomId":"r","EventId":"private_chat","VideoParam":{"RiskTypeList":["QRCODE"],"ReturnAllImg":1},'
            '"AudioParam":{"ReturnAllText":1,"ReturnPreText":0,"ReturnPreAudio":1},"ReturnFinishInfo":0}'
        ),
    ),
]
IDS = [with_names.name for with_names, _, _ in SAME]


async def sent_by(action: ZegoAction[Any]) -> Request:
    handler, requests = sequential_handler(zego_answer(data={"TaskId": "t"}))
    async with mocked(handler) as http_client:
        await zego_client(http_client=http_client).call(action)
    return requests[0]


def query_after_signature(request: Request) -> str:
    return request.url.query.decode().partition("&SignatureVersion=2.0&")[2]


@pytest.mark.parametrize(("with_names", "with_numbers", "text"), SAME, ids=IDS)
class TestNamesAndNumbers:
    async def test_the_wire_has_the_numbers(
        self, with_names: ZegoAction[Any], with_numbers: ZegoAction[Any], text: str
    ) -> None:
        """To the byte: for Python, the true of JSON is equal to 1."""
        by_name, by_number = await sent_by(with_names), await sent_by(with_numbers)
        assert by_name.content == by_number.content == (text.encode() if with_names.method == "POST" else b"")
        assert query_after_signature(by_name) == query_after_signature(by_number)
        assert "true" not in str(by_name.url).lower()

    def test_both_are_the_same_action_and_the_same_job(
        self, with_names: ZegoAction[Any], with_numbers: ZegoAction[Any], text: str
    ) -> None:
        lane = Lane("zego", "account", with_names.name)
        assert with_names == with_numbers
        assert hash(with_names) == hash(with_numbers)
        assert key_of(lane, with_names) == key_of(lane, with_numbers)

    def test_a_stored_job_has_the_numbers(
        self, with_names: ZegoAction[Any], with_numbers: ZegoAction[Any], text: str
    ) -> None:
        assert dump_action(with_names) == dump_action(with_numbers) == text
        loaded = load_action(text, type(with_names), Lane("zego", "account", with_names.name))
        assert loaded == with_names
        assert dump_action(loaded) == text


async def test_the_queries_have_the_numbers() -> None:
    rule, listing, stream_rule = [await sent_by(with_names) for with_names, _, _ in SAME[:3]]
    assert query_after_signature(rule) == (
        "RuleType=4&DisabledPrivilege%5B%5D=1&DisabledPrivilege%5B%5D=2&EffectiveTime=60&RoomId=r&UserId=u"
    )
    assert query_after_signature(listing) == "RoomId=r&Mode=1"
    assert query_after_signature(stream_rule) == "RoomId=r&StreamId=s&DisableAudio=1&DisableVideo=0"


async def test_a_job_sends_the_numbers(tmp_path: Path) -> None:
    handler, requests = sequential_handler(zego_answer(data={"TaskId": "t"}))
    async with (
        mocked(handler) as http_client,
        Jobs(tmp_path / "jobs.db", clients=[zego_client(http_client=http_client)]) as jobs,
    ):
        await (await jobs.submit(video(on=True, off=False)))
    assert requests[0].content == SAME[-1][2].encode()


# Files and the command line


@pytest.mark.parametrize(
    ("cell", "sent"),
    [*((cell, 1) for cell in ("1", "true", "TRUE", "yes", 1, True)), *((cell, 0) for cell in ("0", "False", 0, False))],
)
def test_a_cell_may_be_a_number_or_a_truth_value(cell: object, sent: int) -> None:
    parser = RowParser(ZegoClient.actions(), action="StartCensorAudioV2", constants={})
    action = parser.parse(AUDIO | {"return_all_text": cell})
    assert action == StartCensorAudioV2(**AUDIO, return_all_text=sent)
    assert f'"ReturnAllText":{sent}' in dump_action(action)


@pytest.mark.parametrize("as_given", [json.dumps, lambda value: value], ids=["text", "JSON"])
@pytest.mark.parametrize(("given", "sent"), [(True, 1), (False, 0), (1, 1), (0, 0)])
def test_a_model_in_a_cell_may_have_either(as_given: Any, given: object, sent: int) -> None:
    parser = RowParser(ZegoClient.actions(), action="StartCensorVideoV2", constants={})
    model = as_given({"RiskTypeList": ["QRCODE"], "ReturnAllImg": given})
    action = parser.parse({"room_id": "r", "event_id": "e", "video_param": model})
    assert f'"ReturnAllImg":{sent}' in dump_action(action)


@pytest.mark.parametrize("wrong", ["maybe", "2", "1.0", "-1", 1.0, 2])
def test_another_cell_is_named(wrong: object) -> None:
    parser = RowParser(ZegoClient.actions(), action="StartCensorAudioV2", constants={})
    with pytest.raises(InvalidActionError, match="return_all_text must be 0 or 1, or a bool; got"):
        parser.parse(AUDIO | {"return_all_text": wrong})


@pytest.mark.parametrize("wrong", [1.0, "1", None, [1]])
def test_a_model_whose_switch_has_another_type_is_named(wrong: object) -> None:
    parser = RowParser(ZegoClient.actions(), action="StartCensorVideoV2", constants={})
    row = {"room_id": "r", "event_id": "e", "audio_param": {"ReturnAllText": wrong}}
    row |= {"video_param": {"RiskTypeList": ["QRCODE"]}}
    if wrong is None:  # a table of models has a null for every field that is not set
        assert "ReturnAllText" not in dump_action(parser.parse(row))
    else:
        with pytest.raises(InvalidActionError, match="audio_param must be JSON of the model AudioParam"):
            parser.parse(row)


def test_the_text_of_a_switch() -> None:
    texts = ("true", "No", "1", "0", "2", "-1", "maybe", "")
    assert [parse_switch(text) for text in texts] == [True, False, True, False, 2, -1, "maybe", ""]


# What editors suggest


#: The choices of each field of an action or a model.
SUGGESTED: dict[tuple[type, str], Any] = {
    (StartCensorAudioV2, "event_id"): zego.AudioEventId,
    (StartCensorAudioV2, "audio_language"): zego.Language,
    (StartCensorAudioV2, "label_language"): zego.LabelLanguage,
    (StartCensorAudioV2, "risk_type_list"): zego.AudioRiskType,
    (StartCensorAudioV2, "business_type_list"): zego.AudioBusinessType,
    (StartCensorVideoV2, "event_id"): zego.VideoEventId,
    (StartCensorVideoV2, "language"): zego.Language,
    (AudioParam, "risk_type_list"): zego.VideoAudioRiskType,
    (AudioParam, "business_type_list"): zego.AudioBusinessType,
    (AudioParam, "audio_language"): zego.Language,
    (VideoParam, "risk_type_list"): zego.ImageRiskType,
    (VideoParam, "business_type_list"): zego.ImageBusinessType,
}
FIELDS = [pytest.param(*key, id=".".join((key[0].__name__, key[1]))) for key in SUGGESTED]


def literals_in(annotation: Any) -> set[Any]:
    """Return the values of the literals in an annotation, of which ``str`` must be an alternative."""
    parts = get_args(annotation)
    here = {value for part in parts if get_origin(part) is Literal for value in get_args(part)}
    assert not here or str in parts
    return here.union(*(literals_in(part) for part in parts if get_origin(part) is not Literal))


@pytest.mark.parametrize(("cls", "field"), FIELDS)
def test_editors_suggest_the_choices_that_the_docstring_lists(cls: type, field: str) -> None:
    choices = {*get_args(SUGGESTED[cls, field])}
    assert literals_in(get_type_hints(cls)[field]) == choices
    if issubclass(cls, ZegoAction):
        method = getattr(ZegoClient, method_name(cls.name))
        assert literals_in(get_type_hints(method)[field]) == choices
    described = parameter(getdoc(cls) or "", field)
    assert described.startswith("deprecated") or choices <= {*re.findall(r"\w+", described)}


def test_the_switches_accept_bools_and_numbers() -> None:
    """For type checkers and editors."""
    switches = {
        StartCensorAudioV2: {"is_mixing_enabled", "return_all_text", "return_pre_text", "return_pre_audio"}
        | {"return_finish_info"},
        StartCensorVideoV2: {"return_finish_info"},
        AudioParam: {"return_all_text", "return_pre_text", "return_pre_audio"},
        VideoParam: {"return_all_img"},
        SetForbidStreamRule: {"disable_audio", "disable_video"},
    }
    for cls, names in switches.items():
        hints = get_type_hints(cls)
        of_switches = {field.name for field in attrs.fields(cls) if hints[field.name] == bool | int | None}
        assert of_switches == names


async def test_other_choices_are_sent_unchanged() -> None:
    later: dict[str, Any] = {"event_id": "new", "audio_language": "pl", "risk_type_list": ["NEW"]}
    request = await sent_by(StartCensorAudioV2(room_id="r", business_type_list=["NEWER"], label_language="ja", **later))
    assert request.content == (
        b'{"RoomId":"r","EventId":"new","AudioLanguage":"pl","LabelLanguage":"ja","RiskTypeList":["NEW"],'
        b'"BusinessTypeList":["NEWER"]}'
    )
