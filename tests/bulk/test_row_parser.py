"""Rows as actions: a row can express every argument of an action, and errors name the field that is wrong."""

import csv
import datetime
import io
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.actions import ACTIONS, INVALID_ARGUMENTS, MINIMAL_ARGUMENTS
from tests.actions import EXAMPLES as FULL_ARGUMENTS
from tests.bulk.files import source_of
from tests.strategies import identifiers, texts
from volc_moderation import Action, InvalidActionError, SourceError
from volc_moderation.action import version_of
from volc_moderation.bulk.row_parser import ALL_UNKNOWN, RowParser
from volc_moderation.bulk.rows import BadRowError
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

pytestmark = pytest.mark.slow

BY_NAME: dict[str, type[Action[Any]]] = {action.name: action for action in ACTIONS}
#: Each action with the required arguments only, and with all of them.
EXAMPLES: list[Action[Any]] = [
    *(action(**MINIMAL_ARGUMENTS[action.name]) for action in ACTIONS),
    *(action(**MINIMAL_ARGUMENTS[action.name] | arguments) for action, arguments, _ in FULL_ARGUMENTS),
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


def parse(row: Mapping[str, object], action: str | None = None, /, **constants: str) -> Action[Any]:
    return RowParser(BY_NAME, action=action, constants=constants).parse(row)


def check_columns(content: str, action: str | None = None, /, **constants: str) -> None:
    RowParser(BY_NAME, action=action, constants=constants).check_columns(source_of(content.encode()))


def as_csv(row: Mapping[str, str]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows([row.keys(), row.values()])
    return file.getvalue()


def parse_file(content: str) -> Action[Any]:
    """Parse a file of one row, as the command does."""
    parser = RowParser(BY_NAME, action=None, constants={})
    source = source_of(content.encode())
    parser.check_columns(source)
    ((_, row),) = source.rows
    assert not isinstance(row, BadRowError)
    return parser.parse(row)


def vendor_row(action: Action[Any]) -> dict[str, Any]:
    """Return the row of an action in the vendor's spelling."""
    version = getattr(action, "version", None)
    return {"action": action.name, **parameters(action), **({} if version is None else {"version": version})}


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
def test_columns_have_either_spelling(action: Action[Any], row: dict[str, object]) -> None:
    assert parse(row, action.name) == action


def test_the_action_comes_from_the_row_or_a_constant_or_the_default() -> None:
    row = {"task_id": "t"}
    assert parse(row | {"action": "StopCensorAudioV2"}) == StopCensorAudioV2(task_id="t")
    assert parse(row, "StopCensorAudioV2") == StopCensorAudioV2(task_id="t")
    assert parse(row | {"action": ""}, "StopCensorAudioV2") == StopCensorAudioV2(task_id="t")
    assert parse(WEBCAST | {"action": "StopWebcast"}, "StopCensorAudioV2") == StopWebcast(**WEBCAST)
    assert parse(row, action="StopCensorAudioV2") == StopCensorAudioV2(task_id="t")


def test_a_value_in_the_row_takes_precedence_over_a_constant() -> None:
    row = {"RoomId": "r", "TaskId": "t"}
    assert parse(row, "StopWebcast", app_id="a") == StopWebcast(**WEBCAST)
    assert parse(row, "StopWebcast", AppId="a", room_id="other") == StopWebcast(**WEBCAST)
    assert parse(row | {"app_id": ""}, "StopWebcast", AppId="a") == StopWebcast(**WEBCAST)
    assert parse(row | {"app_id": "a", "AppId": ""}, "StopWebcast", AppId="b") == StopWebcast(**WEBCAST)
    detection = StartDetection(app_id="a", room_id="r", interval=150)
    assert parse({"app_id": "a", "room_id": "r"}, "StartDetection", interval="150") == detection


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_cell_is_omitted(empty: str | None) -> None:
    row = {"action": "BanUserStream", "app_id": "a", "room_id": "r", "user_id": "u"}
    nothing = dict.fromkeys(("video", "Audio", "forbidden_interval", "token", "version", "task_id"), empty)
    assert parse(row | nothing) == BanUserStream(app_id="a", room_id="r", user_id="u")


def test_rows_of_several_actions_leave_the_columns_of_the_others_empty() -> None:
    source = source_of(
        b"action,app_id,room_id,task_id\nStopWebcast,a,r,t\nStopCensorAudioV2,,,t\nStopCensorAudioV2,a,,t\n"
    )
    parser = RowParser(BY_NAME, action=None, constants={})
    parser.check_columns(source)
    webcast, audio, wrong = (row for _, row in source.rows)
    assert not isinstance(webcast, BadRowError)
    assert not isinstance(audio, BadRowError)
    assert not isinstance(wrong, BadRowError)
    assert parser.parse(webcast) == StopWebcast(**WEBCAST)
    assert parser.parse(audio) == StopCensorAudioV2(task_id="t")
    with pytest.raises(SourceError, match=r"^StopCensorAudioV2 has no field 'app_id'$"):
        parser.parse(wrong)


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
    assert parse(row, "BanUserStream") == BanUserStream(app_id="a", room_id="r", user_id="u", video=is_on)


@pytest.mark.parametrize("given", ["150", "0150", 150])
def test_whole_numbers(given: object) -> None:
    row = {"app_id": "a", "room_id": "r", "interval": given}
    assert parse(row, "StartDetection") == StartDetection(app_id="a", room_id="r", interval=150)


@pytest.mark.parametrize("given", ["1,2", [1, 2]])
def test_lists(given: object) -> None:
    rule = SetForbidUserRule(**RULE, disabled_privilege=[1, 2])
    assert parse(RULE | {"DisabledPrivilege[]": given}, "SetForbidUserRule") == rule


@pytest.mark.parametrize("as_given", [json.dumps, lambda value: value], ids=["text", "JSON"])
def test_models_are_the_vendors_json(as_given: Any) -> None:
    row = {
        **PAGE,
        "VideoSolutions": as_given([{"Width": 1280, "Height": None}, {"FrameRate": 30}]),
        "monitor_config": as_given({"BlankCheckInterval": 5, "FreezeCheckInterval": None}),
    }
    assert parse(row, "StartWebcast") == StartWebcast(
        **PAGE,
        video_solutions=[VideoSolution(width=1280), VideoSolution(frame_rate=30)],
        monitor_config=MonitorConfig(blank_check_interval=5),
    )
    row = {**VIDEO, "video_param": as_given({"RiskTypeList": ["AGE"], "BusinessTypeList": None, "ReturnAllImg": 0})}
    assert parse(row, "StartCensorVideoV2") == StartCensorVideoV2(
        **VIDEO, video_param=VideoParam(risk_type_list=["AGE"], return_all_img=0)
    )


# Errors


@pytest.mark.parametrize(
    ("content", "action", "message"),
    [
        ("app_id,room_id,task_id,colour\n", "StopWebcast", "unknown column 'colour'; StopWebcast has app_id, room_id,"),
        ("app_id,room_id,task_id,user_id\n", "StopWebcast", "unknown column 'user_id'; StopWebcast has app_id"),
        ("APPIDS,room_id,task_id\n", "StopWebcast", "unknown column 'APPIDS'"),
        (f"{99 * 'x'},room_id,task_id\n", "StopWebcast", f"unknown column '{60 * 'x'}…'; StopWebcast has app_id"),
        ("action,task_id,colour\n", None, "unknown column 'colour'"),
        ("effective_time,colour\n", "GenerateIdentifyToken", "unknown column 'colour'"),
        ("room_id,task_id\n", "StopWebcast", "column 'app_id' is missing"),
        ("AppId,RoomId\n", "StopWebcast", "column 'task_id' is missing"),
        ("app_id,to,message\n", "SendUnicast", "column 'from_' is missing"),
        ("task_id\n", None, "there is no column 'action'; add one, or give --action"),
    ],
)
def test_wrong_columns_are_reported_before_the_rows(content: str, action: str | None, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        check_columns(content, action)
    assert str(caught.value).startswith(f"standard input, line 1: {message}")
    assert caught.value.line == 1


def test_right_columns() -> None:
    check_columns("AppId,room_id,TaskId\n", "StopWebcast")
    check_columns("app_id,from,to,message\n", "SendUnicast")
    check_columns("room_id,UserId[]\n", "KickoutUser")
    check_columns("room_id,task_id\n", "StopWebcast", app_id="a")
    check_columns("room_id,task_id\n", "StopWebcast", AppId="a")
    check_columns("app_id,room_id,task_id,version\n", "StopWebcast")
    check_columns("action,app_id,UserId[],SourceURL\n")  # the required columns depend on the action of each row
    check_columns("action,app_id\n", "StopWebcast")
    check_columns("task_id\n", None, action="StopCensorAudioV2")
    check_columns('{"colour": 1}\n')  # reported with the row


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("stop_webcast", "; did you mean StopWebcast?"),
        ("stopwebcast", "; did you mean StopWebcast?"),
        ("StopCensorAudio", "; did you mean StopCensorAudioV2?"),
        ("stop_censor_audio_v2", "; did you mean StopCensorAudioV2?"),
        ("start_webcast_v2", "; did you mean StartWebcast?"),
        ("describe_rtc_stream_state", "; did you mean DescribeRTCStreamState?"),
        ("StopWebcst", "; did you mean StopWebcast or StartWebcast?"),
        ("Webcast", "; did you mean StartWebcast or StopWebcast or GetWebCastTask?"),
        ("Explode", ""),
        (99 * "x", ""),
        (99 * "stop_webcast", ""),
    ],
)
def test_an_unknown_action_is_reported_with_a_hint(name: str, hint: str) -> None:
    shown = name if len(name) < 60 else f"{name[:60]}…"
    message = f"there is no action {shown!r}{hint}"
    for fail in (
        lambda: parse({"action": name}),
        lambda: RowParser(BY_NAME, action=name, constants={}),
        lambda: RowParser(BY_NAME, action="StopWebcast", constants={"action": name}),
    ):
        with pytest.raises(SourceError) as caught:
            fail()
        assert str(caught.value) == message


@pytest.mark.parametrize("row", [{"task_id": "t"}, {"action": "", "task_id": "t"}, {"action": 5}, {"action": ["a"]}])
def test_a_row_without_an_action_is_reported(row: dict[str, object]) -> None:
    with pytest.raises(SourceError, match=r"^no 'action' is given$"):
        parse(row)


NO_FIELD = "StopCensorAudioV2 has no field"
LEAVE_OUT = "To leave out what is no field, give --ignore-columns"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"action": "StopCensorAudioV2", "task_id": "t", "app_id": "a"}, "StopCensorAudioV2 has no field 'app_id'"),
        ({"action": "StopCensorAudioV2", "task_id": "t", "colour": 0}, f"{NO_FIELD} 'colour'. {LEAVE_OUT} colour"),
        ({"action": "StopCensorAudioV2", "x y": 0, "z": "", "ä": 0}, f"{NO_FIELD} 'x y', 'ä'. {LEAVE_OUT} 'x y,ä'"),
        ({"action": "StopCensorAudioV2", "taskid": "t"}, f"{NO_FIELD} 'taskid' (did you mean task_id?)"),
        ({"action": "StopCensorAudioV2", "task_id": "t", "version": "1"}, "StopCensorAudioV2 has no field 'version'"),
        (
            {"action": "StopCensorAudioV2", 99 * "x": "t"},
            f"{NO_FIELD} '{60 * 'x'}…'. {LEAVE_OUT} all",
        ),
        ({"action": "StopWebcast", **WEBCAST, "AppId": "a"}, "app_id is given twice, in two spellings"),
        ({"action": "SendUnicast", **WORDS, "from": "s", "from_": "t"}, "from_ is given twice, in two spellings"),
        ({"action": "StopWebcast", "AppId": "a", "TaskId": "t"}, "room_id is missing"),
        ({"action": "StopWebcast", **WEBCAST, "app_id": ""}, "app_id is missing"),
        ({"action": "SendUnicast", "app_id": "a", "to": "u", "message": "m"}, "from_ is missing"),
    ],
)
def test_unknown_repeated_and_missing_fields_are_named(row: dict[str, object], message: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse(row)
    assert str(caught.value) == message


def test_a_name_with_a_lone_surrogate_is_escaped() -> None:
    for row in ({"action": "StopCensorAudioV2", "\ud800": "t"}, {"action": "\ud800"}):
        with pytest.raises(SourceError) as caught:
            parse(row)
        assert rb" '\ud800'" in str(caught.value).encode()


def test_an_unknown_constant_is_reported_before_the_rows() -> None:
    with pytest.raises(SourceError, match=r"^no action has a field colour$"):
        RowParser(BY_NAME, action="StopWebcast", constants={"colour": "red"})
    with pytest.raises(SourceError, match=r"^no action has a field appid; did you mean app_id\?$"):
        RowParser(BY_NAME, action="StopWebcast", constants={"appid": "a"})
    with pytest.raises(SourceError, match=r"^StopCensorAudioV2 has no field 'app_id'$"):
        parse({"task_id": "t"}, "StopCensorAudioV2", app_id="a")


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
            ("StartWebcast", {**PAGE, "monitor_config": wrong}, "monitor_config", "JSON of the model MonitorConfig,")
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
        parse(row, action)
    error = caught.value
    assert error.action == action
    assert error.field.startswith(field)
    assert error.rule.startswith(rule)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_rules_of_an_action_apply_to_its_rows(action: Any) -> None:
    """Of the wrong arguments, those that JSON can express; as text, "5" would be a number."""
    required = {"action": action.name, **parameters(action(**MINIMAL_ARGUMENTS[action.name]))}
    names = wire_names(action)
    cells = [
        (field, wrong)
        for field, wrongs in INVALID_ARGUMENTS[action.name].items()
        for wrong in wrongs
        if isinstance(wrong, (int, float)) or wrong == []
    ]
    assert cells
    for field, wrong in cells:
        with pytest.raises(InvalidActionError) as caught:
            parse({**required, names.get(field, field): wrong})
        assert caught.value.field.startswith(field)


def nested(depth: int, innermost: object) -> object:
    value = innermost
    for _ in range(depth):
        value = [value]
    return value


#: Unusual values that a cell of JSON or Parquet may have.
UNUSUAL: list[object] = [
    *("\ud800", "a\udfff", "\ud800,\ud800", "\x00", "\x1b[31m", 300_000 * "A", b"x", b"", True),
    *(float("nan"), float("inf"), 10**400, -(10**18), [10**30], Decimal(1), [Decimal(1)], [float("nan")]),
    *(datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), datetime.date(2024, 1, 1), datetime.timedelta(1)),
    *({}, [], [{}], [[]], [None], [b"x"], ("a",), [("k", 1)], ["\ud800"], {"\ud800": 1}, {"k": {}}),
    *({"RiskTypeList": ["\ud800"]}, {"RiskTypeList": ["AGE"], "BusinessTypeList": ["\ud800"]}, {"RiskTypeList": [b""]}),
    *({"BlankCheckInterval": 10**400}, [{"Width": 10**400}], [{"Width": float("nan")}], [{"Width": "\ud800"}]),
    *(nested(depth, 1) for depth in (50, 500, 900)),
    *({"RiskTypeList": nested(depth, "AGE")} for depth in (50, 500, 900)),
]


@pytest.mark.no_coverage
@pytest.mark.parametrize("action", ACTIONS)
def test_any_cell_is_refused_or_can_be_written_to_a_journal(action: Any) -> None:
    names = [field.name for field in attrs.fields(action)]
    assert names
    for name in names:
        for value in UNUSUAL:
            try:
                call = parse({**MINIMAL_ARGUMENTS[action.name], name: value}, action.name)
            except (SourceError, InvalidActionError) as error:
                text = str(error)
            else:
                text = key_of(Lane("vendor", "account", action.name), call) + dump_action(call)
            assert text.encode()


# Round trips


@given(st.data())
def test_every_column_has_either_spelling_in_any_order(data: st.DataObject) -> None:
    example = data.draw(st.sampled_from(EXAMPLES))
    row = vendor_row(example)
    for field, name in wire_names(type(example)).items():
        if name in row:
            row[data.draw(st.sampled_from([field, field.rstrip("_"), name]))] = row.pop(name)
    shuffled = data.draw(st.permutations(list(row.items())))
    assert parse_file(json.dumps(dict(shuffled)) + "\n") == example


def as_cell(value: object) -> str:
    if isinstance(value, (list, tuple)) and not any(isinstance(one, dict) for one in value):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_every_action_can_be_a_line_of_json_and_a_row_of_csv(example: Action[Any]) -> None:
    row = vendor_row(example)
    assert parse_file(json.dumps(row, ensure_ascii=False) + "\n") == example
    assert parse_file(as_csv({name: as_cell(value) for name, value in row.items()})) == example


@pytest.mark.no_coverage
@given(st.builds(SendCustomCommand, room_id=identifiers, from_user_id=identifiers, message_content=texts.filter(bool)))
def test_any_message_is_preserved(action: Action[Any]) -> None:
    row = vendor_row(action)
    assert parse_file(json.dumps(row, ensure_ascii=False) + "\n") == action
    assert parse_file(as_csv(row)) == action


@pytest.mark.parametrize("example", EXAMPLES, ids=IDS)
def test_a_dumped_action_loads_again(example: Action[Any]) -> None:
    version = version_of(example)
    expected = attrs.evolve(example, version=version) if version else example  # type: ignore[misc]
    lane = Lane("vendor", "account", example.name, version)
    assert load_action(dump_action(example), type(example), lane) == expected


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"TaskId": 5}', '{"TaskId": "two\\nlines"}', '{"task_id": "t"}'])
def test_a_dump_that_does_not_fit_the_action_is_reported(text: str) -> None:
    with pytest.raises(InvalidActionError, match=r"^StopCensorAudioV2: "):
        load_action(text, StopCensorAudioV2, Lane("zego", "account", "StopCensorAudioV2"))


@pytest.mark.parametrize("text", ["1.23E+11", "1,23E+11", "1E+15"])
def test_an_id_that_a_spreadsheet_has_shortened_is_bad(text: str) -> None:
    """ZEGO would not find such a task, and a stop would look like a success."""
    for row in ({"task_id": text}, {"TaskId": text}):
        with pytest.raises(
            InvalidActionError, match="task_id must be an id, not a number that a spreadsheet has short"
        ):
            parse(row, "StopCensorAudioV2")
    message = {"app_id": "a", "from": "s", "to": "u", "message": text}
    assert parse(message, "SendUnicast") == SendUnicast(app_id="a", from_="s", to="u", message=text)
    assert parse({"task_id": "1E11"}, "StopCensorAudioV2") == StopCensorAudioV2(task_id="1E11")


@pytest.mark.parametrize("text", [" task", "task ", "task\u00a0"])
def test_an_id_has_no_blanks_around_it(text: str) -> None:
    with pytest.raises(InvalidActionError, match="task_id must be an id without blanks before and after it"):
        parse({"task_id": text}, "StopCensorAudioV2")
    assert parse({"task_id": "a task"}, "StopCensorAudioV2") == StopCensorAudioV2(task_id="a task")


# Columns that are left out


def parse_ignoring(text: str, *ignored: str) -> Action[Any]:
    names = ALL_UNKNOWN if ignored == ("all",) else frozenset(ignored)
    parser = RowParser(BY_NAME, action="StopWebcast", constants={}, ignored=names)
    source = source_of(text.encode())
    parser.check_columns(source)
    ((_, row),) = source.rows
    assert not isinstance(row, BadRowError)
    return parser.parse(row)


@pytest.mark.parametrize("ignored", [("colour", "price"), ("all",)])
@pytest.mark.parametrize(
    "text",
    [
        "app_id,colour,room_id,price,task_id\na,red,r,5,t\n",
        '{"app_id": "a", "colour": "red", "room_id": "r", "price": 5, "task_id": "t"}\n',
    ],
)
def test_columns_are_left_out(text: str, ignored: tuple[str, ...]) -> None:
    assert parse_ignoring(text, *ignored) == StopWebcast(**WEBCAST)


def test_a_field_can_be_left_out_by_its_name_only() -> None:
    text = "app_id,room_id,task_id,version\na,r,t,2023-11-01\n"
    assert parse_ignoring(text, "version") == StopWebcast(**WEBCAST)
    assert parse_ignoring(text, "all") == StopWebcast(**WEBCAST, version="2023-11-01")


@pytest.mark.parametrize("header", ["App ID;Room ID;Task ID", "APPID;room-id;TaskID", "app id;ROOM_ID;task_Id"])
def test_columns_are_spelled_as_people_do(header: str) -> None:
    assert parse_ignoring(f"{header}\na;r;t\n") == StopWebcast(**WEBCAST)
    assert parse_ignoring(f"action;{header}\nStopWebcast;a;r;t\n") == StopWebcast(**WEBCAST)


def test_a_field_in_two_spellings_is_an_error() -> None:
    with pytest.raises(SourceError, match="room_id is given twice"):
        parse_ignoring("app_id,room_id,Room ID,task_id\na,r,r,t\n")


def test_a_missing_column_may_have_another_name() -> None:
    with pytest.raises(SourceError, match="column 'room_id' is missing; did you mean 'rooms_id'"):
        parse_ignoring("app_id,rooms_id,task_id,task\na,r,t,x\n", "all")
    with pytest.raises(
        SourceError, match=r"column 'room_id' is missing; add it, or give all rows the same with --set room_id=VALUE$"
    ):
        parse_ignoring("app_id,Room ID,task_id\na,r,t\n", "Room ID")


def test_a_column_that_is_not_left_out_is_still_an_error() -> None:
    with pytest.raises(SourceError, match="unknown column 'colour'"):
        parse_ignoring("app_id,room_id,task_id,colour\na,r,t,red\n", "price")
    with pytest.raises(SourceError, match="column 'task_id' is missing"):
        parse_ignoring("app_id,room_id,task_id\na,r,t\n", "task_id")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("app_id,Rooms,task_id", r"unknown column 'Rooms' \(did you mean room_id\?\); StopWebcast has [a-z_, ]+$"),
        (
            "app_id,rooms,task,x",
            r"'rooms' \(did you mean room_id\?\), 'task' \(did .* task_id\?\), 'x'; .*-columns x$",
        ),
        ("app_id,RoomId,task_id,room_name", "unknown column 'room_name'; .*--ignore-columns room_name$"),
        ("app_id,room_id,task_id,versio", r"'versio' \(did you mean version\?\); .*--ignore-columns versio$"),
        ("action,rooms,colour", r"'rooms' \(did you mean room_id\?\), 'colour'. To .*-columns rooms,colour$"),
        ("app_id,room_id,task_id,colour,price", "unknown columns 'colour', 'price'; .*--ignore-columns colour,price$"),
        ("app_id,room_id,task_id,my price", "--ignore-columns 'my price'$"),
        ('app_id,room_id,task_id,"a,b"', "--ignore-columns all$"),
        (f"app_id,room_id,task_id,{','.join(f'column{number}' for number in range(30))}", "more; .*-columns all$"),
    ],
)
def test_all_unknown_columns_are_named_with_what_to_do(header: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        parse_ignoring(f"{header}\n")
