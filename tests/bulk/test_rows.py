"""Rows as actions: whatever an action takes can be said in a row, and what it does not take is named."""

import csv
import datetime
import io
import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.actions import ACTIONS, LEAST, MOST, WRONG
from tests.strategies import identifiers, texts
from volc_moderation import Action, InvalidActionError, SourceError
from volc_moderation.bulk.load import LoadProgress, check
from volc_moderation.bulk.rows import Rows
from volc_moderation.bulk.sources import Source, read_source
from volc_moderation.jobs.clients import dump_action, load_action
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.volcengine import (
    BanUserStream,
    MonitorConfig,
    SendUnicast,
    StartDetection,
    StartWebcast,
    StopWebcast,
    VideoSolution,
    VolcengineAction,
    VolcengineClient,
)
from volc_moderation.wire import parameters, wire_names
from volc_moderation.zego import (
    KickoutUser,
    SendCustomCommand,
    SetForbidUserRule,
    StartCensorVideoV2,
    StopCensorAudioV2,
    VideoParam,
)

BY_NAME: dict[str, type[Action[Any]]] = {action.name: action for action in ACTIONS}
#: Each action with the least that it takes, and with everything.
EXAMPLES: list[Action[Any]] = [
    *(action(**LEAST[action.name]) for action in ACTIONS),
    *(action(**LEAST[action.name] | most) for action, most, _ in MOST),
]
IDS = [f"{example.name}-{number}" for number, example in enumerate(EXAMPLES)]

WEBCAST: dict[str, Any] = {"app_id": "a", "room_id": "r", "task_id": "t"}
PAGE: dict[str, Any] = {**WEBCAST, "user_id": "u", "source_url": "https://example.com/"}
WORDS: dict[str, Any] = {"app_id": "a", "to": "u", "message": "m"}
RULE: dict[str, Any] = {"rule_type": 2, "room_id": "r", "effective_time": 60}
VIDEO: dict[str, Any] = {"room_id": "r", "event_id": "e"}

WRONG_CONFIGS: list[object] = [
    *("often", "5", "[]", "{", '{"blank_check_interval": 5}', '{"BlankCheckInterval": "5"}', 99_999 * "["),
    *(5, [], {"BlankCheckInterval": 5.0}, {"Colour": 5}),
]


def made(row: Mapping[str, object], action: str | None = None, /, **constants: str) -> Action[Any]:
    return Rows(BY_NAME, action=action, constants=constants).make(row)


def checked(content: str, action: str | None = None, /, **constants: str) -> None:
    Rows(BY_NAME, action=action, constants=constants).check(piped(content))


def piped(content: str) -> Source:
    return read_source("-", stdin=lambda: io.BytesIO(content.encode()))


def as_csv(row: Mapping[str, str]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([row.keys(), row.values()])
    return file.getvalue()


def read_back(content: str) -> Action[Any]:
    """Read a file of one row, as the command does."""
    rows = Rows(BY_NAME, action=None, constants={})
    source = piped(content)
    rows.check(source)
    ((_, row),) = source.rows
    assert not isinstance(row, SourceError)
    return rows.make(row)


def spelled(action: Action[Any]) -> dict[str, Any]:
    """Return a row in the vendor's spelling."""
    version = {"version": action.version} if isinstance(action, VolcengineAction) else {}
    return {"action": action.name, **parameters(action), **version}


# Columns


@pytest.mark.parametrize(
    ("action", "row"),
    [
        (StopWebcast(**WEBCAST), {"app_id": "a", "room_id": "r", "task_id": "t"}),
        (StopWebcast(**WEBCAST), {"AppId": "a", "RoomId": "r", "TaskId": "t"}),
        (StopWebcast(**WEBCAST), {"AppId": "a", "room_id": "r", "TaskId": "t"}),
        (StartWebcast(**PAGE), {**WEBCAST, "UserId": "u", "SourceURL": "https://example.com/"}),
        (KickoutUser(room_id="r", user_id=["u", "v"]), {"RoomId": "r", "UserId[]": "u,v"}),
        (KickoutUser(room_id="r", user_id=["u"]), {"RoomId": "r", "user_id": ["u"]}),
        (SendUnicast(**WORDS, from_="s"), {"AppId": "a", "From": "s", "To": "u", "Message": "m"}),
        (SendUnicast(**WORDS, from_="s"), {**WORDS, "from": "s"}),
        (SendUnicast(**WORDS, from_="s"), {**WORDS, "from_": "s"}),
        (StopWebcast(**WEBCAST, version="2023-11-01"), {**WEBCAST, "version": "2023-11-01"}),
    ],
)
def test_columns_are_spelled_either_way(action: Action[Any], row: dict[str, object]) -> None:
    assert made(row, action.name) == action


def test_the_action_is_that_of_the_row_or_of_all_or_of_those_that_name_none() -> None:
    row = {"task_id": "t"}
    assert made(row | {"action": "StopCensorAudioV2"}) == StopCensorAudioV2(task_id="t")
    assert made(row, "StopCensorAudioV2") == StopCensorAudioV2(task_id="t")
    assert made(row | {"action": ""}, "StopCensorAudioV2") == StopCensorAudioV2(task_id="t")
    assert made(WEBCAST | {"action": "StopWebcast"}, "StopCensorAudioV2") == StopWebcast(**WEBCAST)
    assert made(row, action="StopCensorAudioV2") == StopCensorAudioV2(task_id="t")


def test_constants_are_for_rows_that_do_not_say_otherwise() -> None:
    row = {"RoomId": "r", "TaskId": "t"}
    assert made(row, "StopWebcast", app_id="a") == StopWebcast(**WEBCAST)
    assert made(row, "StopWebcast", AppId="a", room_id="other") == StopWebcast(**WEBCAST)
    assert made(row | {"app_id": ""}, "StopWebcast", AppId="a") == StopWebcast(**WEBCAST)
    assert made(row | {"app_id": "a", "AppId": ""}, "StopWebcast", AppId="b") == StopWebcast(**WEBCAST)
    detection = StartDetection(app_id="a", room_id="r", interval=150)
    assert made({"app_id": "a", "room_id": "r"}, "StartDetection", interval="150") == detection


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_cell_is_not_given(empty: str | None) -> None:
    row = {"action": "BanUserStream", "app_id": "a", "room_id": "r", "user_id": "u"}
    nothing = dict.fromkeys(("video", "Audio", "forbidden_interval", "token", "version", "task_id"), empty)
    assert made(row | nothing) == BanUserStream(app_id="a", room_id="r", user_id="u")


def test_rows_of_several_actions_leave_out_what_the_others_have() -> None:
    source = piped("action,app_id,room_id,task_id\nStopWebcast,a,r,t\nStopCensorAudioV2,,,t\nStopCensorAudioV2,a,,t\n")
    rows = Rows(BY_NAME, action=None, constants={})
    rows.check(source)
    webcast, audio, wrong = (row for _, row in source.rows)
    assert not isinstance(webcast, SourceError)
    assert not isinstance(audio, SourceError)
    assert not isinstance(wrong, SourceError)
    assert rows.make(webcast) == StopWebcast(**WEBCAST)
    assert rows.make(audio) == StopCensorAudioV2(task_id="t")
    with pytest.raises(SourceError, match=r"^StopCensorAudioV2 has no field 'app_id'$"):
        rows.make(wrong)


# Cells


@pytest.mark.parametrize(
    ("given", "is_on"),
    [
        *((given, True) for given in ("true", "TRUE", "Yes", "1", True)),
        *((given, False) for given in ("false", "False", "no", "0", False)),
    ],
)
def test_flags(given: object, is_on: bool) -> None:
    row = {"app_id": "a", "room_id": "r", "user_id": "u", "video": given}
    assert made(row, "BanUserStream") == BanUserStream(app_id="a", room_id="r", user_id="u", video=is_on)


@pytest.mark.parametrize("given", ["150", "0150", 150])
def test_whole_numbers(given: object) -> None:
    row = {"app_id": "a", "room_id": "r", "interval": given}
    assert made(row, "StartDetection") == StartDetection(app_id="a", room_id="r", interval=150)


@pytest.mark.parametrize("given", ["1,2", [1, 2]])
def test_lists(given: object) -> None:
    rule = SetForbidUserRule(**RULE, disabled_privilege=[1, 2])
    assert made(RULE | {"DisabledPrivilege[]": given}, "SetForbidUserRule") == rule


@pytest.mark.parametrize("as_given", [json.dumps, lambda value: value], ids=["text", "JSON"])
def test_models_are_the_vendors_json(as_given: Any) -> None:
    row = {
        **PAGE,
        "VideoSolutions": as_given([{"Width": 1280, "Height": None}, {"FrameRate": 30}]),
        "monitor_config": as_given({"BlankCheckInterval": 5, "FreezeCheckInterval": None}),
    }
    assert made(row, "StartWebcast") == StartWebcast(
        **PAGE,
        video_solutions=[VideoSolution(width=1280), VideoSolution(frame_rate=30)],
        monitor_config=MonitorConfig(blank_check_interval=5),
    )
    row = {**VIDEO, "video_param": as_given({"RiskTypeList": ["AGE"], "BusinessTypeList": None, "ReturnAllImg": 0})}
    assert made(row, "StartCensorVideoV2") == StartCensorVideoV2(
        **VIDEO, video_param=VideoParam(risk_type_list=["AGE"], return_all_img=0)
    )


# What is said of those that are not right


@pytest.mark.parametrize(
    ("content", "action", "message"),
    [
        ("app_id,room_id,task_id,colour\n", "StopWebcast", "unknown column 'colour'; StopWebcast has app_id, room_id,"),
        ("app_id,room_id,task_id,user_id\n", "StopWebcast", "unknown column 'user_id'; StopWebcast has app_id"),
        ("APPID,room_id,task_id\n", "StopWebcast", "unknown column 'APPID'"),
        (f"{99 * 'x'},room_id,task_id\n", "StopWebcast", f"unknown column '{60 * 'x'}…'; StopWebcast has app_id"),
        ("action,task_id,colour\n", None, "unknown column 'colour'"),
        ("effective_time,colour\n", "GenerateIdentifyToken", "unknown column 'colour'"),
        ("room_id,task_id\n", "StopWebcast", "column 'app_id' is missing"),
        ("AppId,RoomId\n", "StopWebcast", "column 'task_id' is missing"),
        ("app_id,to,message\n", "SendUnicast", "column 'from_' is missing"),
        ("task_id\n", None, "there is no column 'action'; add one, or give --action"),
    ],
)
def test_columns_are_looked_at_before_the_rows(content: str, action: str | None, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        checked(content, action)
    assert str(caught.value).startswith(f"standard input, line 1: {message}")
    assert caught.value.line == 1


def test_columns_that_will_do() -> None:
    checked("AppId,room_id,TaskId\n", "StopWebcast")
    checked("app_id,from,to,message\n", "SendUnicast")
    checked("room_id,UserId[]\n", "KickoutUser")
    checked("room_id,task_id\n", "StopWebcast", app_id="a")
    checked("room_id,task_id\n", "StopWebcast", AppId="a")
    checked("app_id,room_id,task_id,version\n", "StopWebcast")
    checked("action,app_id,UserId[],SourceURL\n")  # what a row has to have depends on its action
    checked("action,app_id\n", "StopWebcast")
    checked("task_id\n", None, action="StopCensorAudioV2")
    checked('{"colour": 1}\n')  # which is said of the row


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("stop_webcast", "; is it StopWebcast?"),
        ("stopwebcast", "; is it StopWebcast?"),
        ("StopCensorAudio", "; is it StopCensorAudioV2?"),
        ("stop_censor_audio_v2", "; is it StopCensorAudioV2?"),
        ("start_webcast_v2", "; is it StartWebcast?"),
        ("describe_rtc_stream_state", "; is it DescribeRTCStreamState?"),
        ("Explode", ""),
        (99 * "x", ""),
        (99 * "stop_webcast", ""),
    ],
)
def test_an_unknown_action_is_said_with_a_hint(name: str, hint: str) -> None:
    shown = name if len(name) < 60 else f"{name[:60]}…"
    message = f"there is no action {shown!r}{hint}"
    for make in (
        lambda: made({"action": name}),
        lambda: Rows(BY_NAME, action=name, constants={}),
        lambda: Rows(BY_NAME, action="StopWebcast", constants={"action": name}),
    ):
        with pytest.raises(SourceError) as caught:
            make()
        assert str(caught.value) == message


@pytest.mark.parametrize("row", [{"task_id": "t"}, {"action": "", "task_id": "t"}, {"action": 5}, {"action": ["a"]}])
def test_a_row_without_an_action_is_said(row: dict[str, object]) -> None:
    with pytest.raises(SourceError, match=r"^there is no 'action'$"):
        made(row)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"action": "StopCensorAudioV2", "task_id": "t", "app_id": "a"}, "StopCensorAudioV2 has no field 'app_id'"),
        ({"action": "StopCensorAudioV2", "task_id": "t", "colour": 0}, "StopCensorAudioV2 has no field 'colour'"),
        ({"action": "StopCensorAudioV2", "task_id": "t", "version": "1"}, "StopCensorAudioV2 has no field 'version'"),
        (
            {"action": "StopCensorAudioV2", 99 * "x": "t"},
            f"StopCensorAudioV2 has no field '{60 * 'x'}…'",
        ),
        ({"action": "StopWebcast", **WEBCAST, "AppId": "a"}, "app_id is there twice, in two spellings"),
        ({"action": "SendUnicast", **WORDS, "from": "s", "from_": "t"}, "from_ is there twice, in two spellings"),
        ({"action": "StopWebcast", "AppId": "a", "TaskId": "t"}, "room_id is missing"),
        ({"action": "StopWebcast", **WEBCAST, "app_id": ""}, "app_id is missing"),
        ({"action": "SendUnicast", "app_id": "a", "to": "u", "message": "m"}, "from_ is missing"),
    ],
)
def test_a_field_too_many_and_one_too_few_are_named(row: dict[str, object], message: str) -> None:
    with pytest.raises(SourceError) as caught:
        made(row)
    assert str(caught.value) == message


def test_a_name_that_has_no_utf_8_form_can_be_said() -> None:
    for row in ({"action": "StopCensorAudioV2", "\ud800": "t"}, {"action": "\ud800"}):
        with pytest.raises(SourceError) as caught:
            made(row)
        assert str(caught.value).encode().endswith(rb" '\ud800'")


def test_a_constant_that_no_action_has_is_said_before_the_rows() -> None:
    with pytest.raises(SourceError, match=r"^no action has a field colour$"):
        Rows(BY_NAME, action="StopWebcast", constants={"colour": "red"})
    with pytest.raises(SourceError, match=r"^StopCensorAudioV2 has no field 'app_id'$"):
        made({"task_id": "t"}, "StopCensorAudioV2", app_id="a")


@pytest.mark.parametrize(
    ("action", "row", "field", "rule"),
    [
        ("StopWebcast", {**WEBCAST, "task_id": "with blank"}, "task_id", "a str that matches"),
        ("StopWebcast", {**WEBCAST, "version": "2"}, "version", "one of '2020-12-01'"),
        *(
            ("StartDetection", {"app_id": "a", "room_id": "r", "interval": wrong}, "interval", "an int from 100")
            for wrong in (
                "often",
                "99",
                "150.5",
                "1e3",
                "٣٠٠",
                " 150",
                "150 ",
                "-",
                "--150",
                "1_000",
                9999 * "9",
                150.0,
            )
        ),
        *(
            ("BanUserStream", {"app_id": "a", "room_id": "r", "user_id": "u", "video": wrong}, "video", "a bool")
            for wrong in ("on", "2", " true", 1, 0)
        ),
        ("KickoutUser", {"room_id": "r", "user_id": "a,,b"}, "user_id[1]", "a str that is not empty"),
        ("KickoutUser", {"room_id": "r", "user_id": "a,b,c,d,e,f"}, "user_id", "a list of 1 to 5 items"),
        ("SetForbidUserRule", {**RULE, "disabled_privilege": "1,x"}, "disabled_privilege", ""),
        *(
            ("StartWebcast", {**PAGE, "monitor_config": wrong}, "monitor_config", "JSON of a MonitorConfig, spelled")
            for wrong in WRONG_CONFIGS
        ),
        *(
            ("StartWebcast", {**PAGE, "video_solutions": wrong}, "video_solutions", "JSON of a list of VideoSolution")
            for wrong in ('{"Width": 1280}', "[5]", "[null]", '[{"Width": 12.5}]', {"Width": 1280}, [5], [None], True)
        ),
        ("StartWebcast", {**PAGE, "monitor_config": {"BlankCheckInterval": 1}}, "monitor_config.blank", "an int from"),
        (
            "StartWebcast",
            {**PAGE, "video_solutions": [1] * 500_000},
            "video_solutions",
            "JSON whose lists have at most",
        ),
        ("StartCensorVideoV2", {**VIDEO, "video_param": {"RiskTypeList": 1001 * ["AGE"]}}, "video_param", "JSON whose"),
    ],
)
def test_a_wrong_value_is_named(action: str, row: dict[str, object], field: str, rule: str) -> None:
    with pytest.raises(InvalidActionError) as caught:
        made(row, action)
    error = caught.value
    assert error.action == action
    assert error.field.startswith(field)
    assert error.rule.startswith(rule)


@pytest.mark.parametrize("action", ACTIONS)
def test_what_an_action_refuses_is_refused_in_a_row(action: Any) -> None:
    """All that JSON can say of the wrong arguments; as text, "5" would be a number."""
    least = {"action": action.name, **parameters(action(**LEAST[action.name]))}
    names = wire_names(action)
    cells = [
        (field, wrong)
        for field, wrongs in WRONG[action.name].items()
        for wrong in wrongs
        if isinstance(wrong, (int, float)) or wrong == []
    ]
    assert cells
    for field, wrong in cells:
        with pytest.raises(InvalidActionError) as caught:
            made({**least, names.get(field, field): wrong})
        assert caught.value.field.startswith(field)


def nested(depth: int, innermost: object) -> object:
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


#: What a file of JSON or Parquet may have in any cell.
ODD: list[object] = [
    *("\ud800", "a\udfff", "\ud800,\ud800", "\x00", "\x1b[31m", 300_000 * "A", b"x", b"", True),
    *(float("nan"), float("inf"), 10**400, -(10**18), [10**30], Decimal(1), [Decimal(1)], [float("nan")]),
    *(datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), datetime.date(2024, 1, 1), datetime.timedelta(1)),
    *({}, [], [{}], [[]], [None], [b"x"], ("a",), [("k", 1)], ["\ud800"], {"\ud800": 1}, {"k": {}}),
    *({"RiskTypeList": ["\ud800"]}, {"RiskTypeList": ["AGE"], "BusinessTypeList": ["\ud800"]}, {"RiskTypeList": [b""]}),
    *({"BlankCheckInterval": 10**400}, [{"Width": 10**400}], [{"Width": float("nan")}], [{"Width": "\ud800"}]),
    *(nested(depth, 1) for depth in (50, 500, 900)),
    *({"RiskTypeList": nested(depth, "AGE")} for depth in (50, 500, 900)),
]


@pytest.mark.parametrize("action", ACTIONS)
def test_whatever_a_cell_has_is_refused_or_can_be_written(action: Any) -> None:
    names = [one.name for one in attrs.fields(action)]
    assert names
    for name in names:
        for value in ODD:
            try:
                call = made({**LEAST[action.name], name: value}, action.name)
            except (SourceError, InvalidActionError) as error:
                said = str(error)
            else:
                said = key_of(Lane("vendor", "account", action.name), call) + dump_action(call)
            assert said.encode()


# There and back


@given(st.data())
def test_every_column_may_be_spelled_either_way_in_any_order(data: st.DataObject) -> None:
    example = data.draw(st.sampled_from(EXAMPLES))
    row = spelled(example)
    for field, name in wire_names(type(example)).items():
        if name in row:
            row[data.draw(st.sampled_from([field, field.rstrip("_"), name]))] = row.pop(name)
    shuffled = data.draw(st.permutations(list(row.items())))
    assert read_back(json.dumps(dict(shuffled)) + "\n") == example


def as_cell(value: object) -> str:
    if isinstance(value, (list, tuple)) and not any(isinstance(one, dict) for one in value):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_every_action_can_be_a_line_of_json_and_a_row_of_text(example: Action[Any]) -> None:
    row = spelled(example)
    assert read_back(json.dumps(row, ensure_ascii=False) + "\n") == example
    assert read_back(as_csv({name: as_cell(value) for name, value in row.items()})) == example


@given(st.builds(SendCustomCommand, room_id=identifiers, from_user_id=identifiers, message_content=texts.filter(bool)))
def test_any_message_comes_through(action: Action[Any]) -> None:
    row = spelled(action)
    assert read_back(json.dumps(row, ensure_ascii=False) + "\n") == action
    assert read_back(as_csv(row)) == action


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_what_the_journal_has_reads_back(example: Action[Any]) -> None:
    version = example.version if isinstance(example, VolcengineAction) else ""
    lane = Lane("vendor", "account", example.name, version)
    assert load_action(dump_action(example), type(example), lane) == example


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"TaskId": 5}', '{"TaskId": "two\\nlines"}', '{"task_id": "t"}'])
def test_what_the_journal_had_otherwise_is_said(text: str) -> None:
    with pytest.raises(InvalidActionError, match=r"^StopCensorAudioV2: "):
        load_action(text, StopCensorAudioV2, Lane("zego", "account", "StopCensorAudioV2"))


def test_what_is_cancelled_after_its_last_row_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("room_id\nroom\n")
    loaded, rows = (
        LoadProgress(),
        Rows(VolcengineClient.actions(), action="StopWebcast", constants={"app_id": "a", "task_id": "t"}),
    )
    reading = check([str(tmp_path / "rows.csv")], rows, limit=None, on_bad_row=print, loaded=loaded)
    assert next(reading)[1] == StopWebcast(app_id="a", room_id="room", task_id="t")
    loaded.cancel()
    with pytest.raises(SourceError, match="interrupted"):
        next(reading)
