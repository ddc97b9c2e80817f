"""Volcengine's protocol: every form of success, every documented error code, and unexpected responses."""

import json
import sys
import traceback
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.doubles import NOW, mocked, sequential_handler, volcengine_client, volcengine_error
from tests.strategies import json_values, texts
from volc_moderation import (
    APIError,
    AuthenticationError,
    ConflictError,
    DecodeError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TemporaryError,
    ThrottledError,
    TransportError,
)
from volc_moderation.action import Action
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.volcengine import (
    Acknowledgement,
    DetectionStatus,
    DetectionTask,
    DetectionTasks,
    GetRoomOnlineUsers,
    GetWebCastTask,
    LimitTokenPrivilege,
    ListDetectionTask,
    MediaType,
    StartDetection,
    StopWebcast,
    WebCastStatus,
    WebCastTask,
)
from volc_moderation.volcengine.error_codes import CODES
from volc_moderation.volcengine.protocol import decode, encode
from volc_moderation.volcengine.signing import Signer
from volc_moderation.wire import Request, Response, load_response, to_json

STOP = StopWebcast(app_id="app", room_id="room", task_id="task")
START = StartDetection(app_id="app", room_id="room")
LIST = ListDetectionTask(app_id="app", room_id="room")
ONLINE = GetRoomOnlineUsers(app_id="app", room_id="room")
LIMIT = LimitTokenPrivilege(app_id="app", room_id="room", user_id="user", token="t", forbidden_interval=60)
GET = GetWebCastTask(app_id="app", room_id="room", task_id="task")
REQUEST = Request("POST", "https://host/", {}, b"", ("hush",))
#: Stands for a missing result.
MISSING = object()


def answer(result: Any = MISSING, error: Any = None, status: int = 200, **headers: str) -> Response:
    metadata = {"RequestId": "r-1"} | ({} if error is None else {"Error": error})
    body = {"ResponseMetadata": metadata} | ({} if result is MISSING else {"Result": result})
    return Response(status, httpx.Headers(headers), json.dumps(body).encode(), 0.1)


def read(action: Action[Any], response: Response, *, repeated: bool = False) -> Any:
    return decode(action, REQUEST, response, repeated=repeated).result


def api_error(code: str, status: int = 400, message: str = "no", **headers: Any) -> APIError:
    with pytest.raises(APIError) as caught:
        read(STOP, answer(error={"Code": code, "Message": message}, status=status, **headers))
    return caught.value


@pytest.mark.parametrize(
    ("result", "message"),
    [
        *(("ok", "ok"), ({"Message": "success"}, "success"), ({"message": "success"}, "success")),
        *(({"Message": "", "message": "success"}, "success"), ({"Message": "Success", "message": ""}, "Success")),
    ],
)
def test_all_forms_of_success_without_data(result: Any, message: str) -> None:
    assert read(STOP, answer(result)) == Acknowledgement(message=message)


#: Results that do not prove success.
UNPROVEN: list[Any] = [
    *(MISSING, None, "", "  ", {}, {"Message": ""}, {"message": " "}, {"Message": None}, {"Message": "", "New": 1}),
    *(False, True, 0, 1, [], ["success"], {"EventData": []}, {"EventData": None}),
]


@pytest.mark.parametrize("result", UNPROVEN)
@pytest.mark.parametrize("action", [STOP, START, LIST])
def test_a_success_must_be_proven(action: Action[Any], result: Any) -> None:
    """The pages say that the text of each result is present only on success, and empty otherwise."""
    with pytest.raises(DecodeError) as caught:
        read(action, answer(result))
    assert caught.value.maybe_sent
    assert caught.value.request_id == "r-1"


@pytest.mark.parametrize("result", [result for result in UNPROVEN if not isinstance(result, dict) or not result])
@pytest.mark.parametrize("action", [GET, ONLINE, LIMIT])
def test_data_is_required(action: Action[Any], result: Any) -> None:
    with pytest.raises(DecodeError):
        read(action, answer(result))


def test_a_hint_counts_as_success() -> None:
    hint = "The task has been started. Please do not call the startup task interface repeatedly"
    assert read(StartDetection(app_id="a", room_id="r"), answer({"Message": hint})).message == hint


def test_list_detection_task() -> None:
    """The response is the sample of the ListDetectionTask page."""
    task = {"CreateTime": 1629183877, "MediaType": 1, "Status": 1, "UserId": "Your_UserId", "RoomId": "Your_RoomId"}
    tasks = read(LIST, answer({"EventData": [task], "Message": "success"}))
    assert tasks.message == "success"
    assert tasks.event_data == [
        DetectionTask(
            create_time=1629183877,
            media_type=MediaType.VIDEO,
            status=DetectionStatus.RUNNING,
            user_id="Your_UserId",
            room_id="Your_RoomId",
        )
    ]
    assert isinstance(tasks.event_data[0].status, DetectionStatus)


@pytest.mark.parametrize("event_data", [{"EventData": []}, {"EventData": None}, {}])
def test_a_room_that_was_never_moderated_has_no_tasks(event_data: Any) -> None:
    assert read(LIST, answer({**event_data, "Message": "success"})) == DetectionTasks(message="success")


def test_unknown_fields_are_ignored_and_unknown_numbers_are_kept() -> None:
    task = {"CreateTime": 1, "MediaType": 77, "Status": 9, "UserId": "u", "RoomId": "r", "New": {"a": [1]}}
    (read_task,) = read(LIST, answer({"EventData": [task], "Message": "success", "Newer": 1})).event_data
    assert (read_task.media_type, read_task.status) == (77, 9)


TASK = {"CreateTime": 1, "MediaType": 1, "Status": 1, "UserId": "u", "RoomId": "r"}


@pytest.mark.parametrize("item", [None, 5, "text", [], {}, {**TASK, "CreateTime": "soon"}, {**TASK, "UserId": None}])
def test_an_unreadable_task_does_not_discard_the_others(item: Any) -> None:
    """It is kept unchanged, so that the caller knows that there is another task."""
    tasks = read(LIST, answer({"EventData": [TASK, item, TASK], "Message": "success", "Unreadable": ["forged"]}))
    assert [task.user_id for task in tasks.event_data] == ["u", "u"]
    assert tasks.unreadable == (item,)
    assert to_json(tasks) == {"EventData": [TASK, TASK], "Message": "success", "Unreadable": [item]}
    whole = read(LIST, answer({"EventData": [TASK], "Message": "success", "Unreadable": ["forged"]}))
    assert whole.unreadable == ()
    assert "Unreadable" not in str(to_json(whole))


def test_get_web_cast_task() -> None:
    task = {
        "StartTime": 1795219200000,
        "EndTime": 0,
        "Status": 2,
        "StopReason": "",
        "UserId": "u",
        "SourceURL": "https://example.com/",
        "MaxRunningTime": 60,
        "VideoSolutions": [{"Width": 4000, "FrameRate": 1}],
        "MonitorConfig": {"CrashCheckInterval": 99},
    }
    result = read(GET, answer({"WebCastTask": task})).web_cast_task
    assert (result.status, result.source_url, result.end_time) == (WebCastStatus.RUNNING, "https://example.com/", 0)
    assert result.video_solutions[0].width == 4000
    assert result.monitor_config is not None
    assert result.monitor_config.crash_check_interval == 99
    assert read(GET, answer({"WebCastTask": {}})).web_cast_task == WebCastTask()
    assert read(GET, answer({"WebCastTask": {"VideoSolutions": None, "Status": None}})).web_cast_task == WebCastTask()


@pytest.mark.parametrize(
    ("result", "path"),
    [
        ([], "Result"),
        (5, "Result"),
        ({"EventData": {}, "Message": "success"}, "Result.event_data"),
        ({"EventData": "text", "Message": "success"}, "Result.event_data"),
        ({"EventData": [None], "Message": "success"}, "Result.event_data[0]"),
        ({"EventData": [{}], "Message": "success"}, "Result.event_data[0].create_time"),
        ({"EventData": [{"CreateTime": 7.9}], "Message": "success"}, "Result.event_data[0].create_time"),
        ({"EventData": [{"CreateTime": None}], "Message": "success"}, "Result.event_data[0].create_time"),
        ({"EventData": [{"CreateTime": True}], "Message": "success"}, "Result.event_data[0].create_time"),
        ({"Message": 5}, "Result.message"),
        ({"EventData": []}, "Result.message"),
    ],
)
def test_the_field_that_does_not_fit_is_named(result: Any, path: str) -> None:
    with pytest.raises(DecodeError) as caught:
        read(LIST, answer(result))
    assert caught.value.path == path
    assert caught.value.request_id == "r-1"
    assert str(caught.value).startswith(path)


CLASSES: dict[type[APIError], list[str]] = {
    ThrottledError: [
        *("FlowLimitExceeded", "FlowLimitExceeded.QPSOverLimit", "FlowLimitExceeded.New"),
        *("AccountFlowLimitExceeded", "RequestLimitExceeded"),
    ],
    TemporaryError: ["FailToConnect", "ServiceUnavailableTemp"],
    ServerError: [
        *("InternalError", "InternalError.GenerateTokenFailed", "InternalError.GetAutoTriggerPolicyF"),
        *("InternalServiceError", "InternalServiceTimeout", "UndefinedError"),
    ],
    AuthenticationError: [
        *("MissingAuthenticationToken", "MissingSignature", "InvalidTimestamp", "InvalidAccessKey"),
        *("InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidAuthorization", "InvalidCredential"),
        "InvalidSecretToken",
    ],
    PermissionDeniedError: [
        *(
            "InvalidParameter.AccountIdMismatch",
            "AccessDenied",
            "AccessDenied.NoPermissionForApp",
            "NoPermissionForApp",
        ),
        *("AccessDenied.RecordNotEnabled", "AccessDenied.ServiceNotEnabled", "LackPolicy", "LackProjectPolicy"),
        *("InnerApiNeedAccountInfo", "AccessDenied.New"),
    ],
    NotFoundError: ["InvalidParameter.NotExistAppId", "InvalidParameter.ErrorActiveTaskNotFound"],
    ConflictError: ["InvalidParameter.TaskAlreadyExists", "FlowLimitExceeded.TaskNumberOverLimit"],
    InvalidRequestError: [
        *("InvalidParameter", "InvalidParameter.New", "MissingParameter", "MissingRequestInfo", "ServiceNotFound"),
        *("InvalidActionOrVersion", "MethodNotAllowed"),
        *(
            f"InvalidParameter.{name}"
            for name in (
                *("BodyIsEmpty", "Unmarshal", "EmptyAccountId", "IllegalAppId", "IllegalRoomID", "IllegalTo"),
                *("IllegalFrom", "SizeOverLimit", "UserCountOverLimit", "StartTimeAfterEndTime", "OutofTimeRange"),
                "InvalidRtmpAddress",
            )
        ),
    ],
}


@pytest.mark.parametrize(("cls", "code"), [(cls, code) for cls, codes in CLASSES.items() for code in codes])
@pytest.mark.parametrize("status", [200, 400, 500])
def test_every_code_has_its_class(cls: type[APIError], code: str, status: int) -> None:
    """The HTTP status does not matter: the documents disagree about it."""
    error = api_error(code, status)
    assert type(error) is cls
    assert (error.code, error.status, error.request_id) == (code, status, "r-1")
    assert error.advice
    assert error.retry_after == {"InvalidTimestamp": 0.0}.get(code, 1.0 if cls is ThrottledError else None)


def test_every_code_is_tested() -> None:
    assert set(CODES) <= {code for codes in CLASSES.values() for code in codes}


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (200, APIError),
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (409, ConflictError),
        (429, ThrottledError),
        (500, ServerError),
        (504, ServerError),
    ],
)
def test_the_status_determines_the_class_of_an_undocumented_code(status: int, cls: type[APIError]) -> None:
    error = api_error("Undocumented.Code", status)
    assert type(error) is cls
    assert error.code == "Undocumented.Code"
    assert error.advice is None
    assert error.retry_after == (1 if status == 429 else None)


@pytest.mark.parametrize("error", [{}, {"Code": None}, {"Code": 5, "Message": 7}, "text", [], 0, False])
def test_an_error_without_a_code_is_still_an_error(error: Any) -> None:
    with pytest.raises(APIError) as caught:
        read(STOP, answer(error=error, status=500))
    assert caught.value.code == "HTTP 500"


def test_an_error_status_without_an_error_in_the_envelope_is_an_error() -> None:
    with pytest.raises(ServerError, match="HTTP 500"):
        read(STOP, answer("ok", status=500))
    with pytest.raises(InvalidRequestError, match="HTTP 400"):
        read(STOP, answer("ok", status=400))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), ("0", 1), ("soon", 1), ("-1", 1), ("9" * 400, 1), ("9999", 9999), ("10000", 1), (b"\xb2", 1)],
)
def test_the_retry_after_header_is_honoured(header: Any, seconds: float) -> None:
    assert api_error("FlowLimitExceeded", 429, **{"Retry-After": header}).retry_after == seconds


def test_the_retry_after_header_does_not_delay_signing_again() -> None:
    assert api_error("InvalidTimestamp", 403, **{"Retry-After": "7"}).retry_after == 0


def test_a_message_with_a_lone_surrogate_can_be_printed() -> None:
    assert str(api_error("InvalidParameter", message="\ud800").message.encode()) == "b'?'"


@pytest.mark.parametrize("surrogate", [b"\\ud800", b"\\uDFFF", b"\xed\xa0\x80", b"\\uD83D!"])
def test_lone_surrogates_are_replaced_in_a_result(surrogate: bytes) -> None:
    """The spelling in JSON does not matter. Surrogate pairs and Korean characters are kept."""
    text = b"a" + surrogate + b" \\ud83d\\ude00 \xed\x95\x9c"
    body = b'{"ResponseMetadata": {"RequestId": "r"}, "Result": {"Message": "%s", "%s": [{"%s": "%s"}]}}'
    result = decode(STOP, REQUEST, Response(200, {}, body % (text, text, text, text), 0.1), repeated=False).result
    assert result.message.encode().decode().endswith(" \N{GRINNING FACE} \N{HANGUL SYLLABLE HAN}")
    assert result.message.startswith("a?")


@pytest.mark.parametrize(
    ("value", "request_id"),
    [
        *(("r-1", "r-1"), (71, "71"), (0, "0"), (-1, "-1"), ("", None), (None, None), (True, None), (1.5, None)),
        *(([], None), ({}, None), (10**39, str(10**39)), (10**40, None)),
    ],
)
def test_a_request_id_may_be_a_number(value: Any, request_id: str | None) -> None:
    body = {"ResponseMetadata": {"RequestId": value}, "Result": "ok"}
    response = Response(200, {}, json.dumps(body).encode(), 0.1)
    assert decode(STOP, REQUEST, response, repeated=False).request_id == request_id


@pytest.mark.parametrize(
    ("value", "code_n"),
    [
        (100009, 100009),
        (1, 1),
        (2**31 - 1, 2**31 - 1),
        (2**31, None),
        (0, None),
        (None, None),
        ("100009", None),
        (-1, None),
    ],
)
def test_the_number_of_the_gateway_is_kept(value: Any, code_n: int | None) -> None:
    with pytest.raises(AuthenticationError) as caught:
        read(STOP, answer(error={"Code": "InvalidAccessKey", "Message": "no", "CodeN": value}, status=401))
    assert caught.value.code_n == code_n
    assert api_error("InvalidAccessKey").code_n is None


def test_already_done_codes_count_only_after_a_lost_response() -> None:
    not_found = answer(error={"Code": "InvalidParameter.ErrorActiveTaskNotFound", "Message": "gone"}, status=400)
    assert read(STOP, not_found, repeated=True) == Acknowledgement(message="gone")
    with pytest.raises(NotFoundError):
        read(STOP, not_found)
    with pytest.raises(NotFoundError):
        read(LIST, not_found, repeated=True)
    without_message = answer(error={"Code": "InvalidParameter.ErrorActiveTaskNotFound"}, status=400)
    assert read(STOP, without_message, repeated=True).message == "InvalidParameter.ErrorActiveTaskNotFound"


def test_a_task_of_the_room_is_not_mistaken_for_one_of_the_user() -> None:
    """After a lost response, "already exists" may mean a task of the room for another medium, without the user."""
    exists = answer(error={"Code": "InvalidParameter.TaskAlreadyExists", "Message": "in progress"}, status=400)
    assert read(START, exists, repeated=True).message == "in progress"
    with pytest.raises(ConflictError):
        read(START, exists)
    with pytest.raises(ConflictError):
        read(StartDetection(app_id="app", room_id="room", user_id="user"), exists, repeated=True)


def test_a_message_that_repeats_a_secret_is_redacted() -> None:
    error = api_error("SignatureDoesNotMatch", message="expected hush, got hush")
    assert error.message == "expected ***, got ***"


def test_the_query_of_a_get_and_the_body_of_a_post() -> None:
    signer = Signer(VolcengineCredentials.make("AK", "SK"), region="cn-north-1")
    request = encode(LIST, url="https://host", host="host", signer=signer, now=NOW)
    assert request.url == "https://host/?Action=ListDetectionTask&AppId=app&RoomId=room&Version=2020-12-01"
    assert (request.method, request.body) == ("GET", b"")
    request = encode(STOP, url="https://host", host="host", signer=signer, now=NOW)
    assert request.url == "https://host/?Action=StopWebcast&Version=2020-12-01"
    assert request.body == b'{"AppId":"app","RoomId":"room","TaskId":"task"}'


@pytest.mark.no_coverage
@pytest.mark.slow
@given(
    body=st.binary(max_size=200)
    | json_values.map(json.dumps).map(str.encode)
    | st.fixed_dictionaries(
        {"ResponseMetadata": st.fixed_dictionaries({}, optional={"RequestId": json_values, "Error": json_values})},
        optional={"Result": json_values | st.fixed_dictionaries({"EventData": json_values})},
    )
    .map(json.dumps)
    .map(str.encode),
    status=st.integers(200, 599),
    action=st.sampled_from([STOP, LIST, GET]),
    header=texts,
)
def test_every_response_gives_a_result_or_an_error_of_the_tree(
    body: bytes, status: int, action: Action[Any], header: str
) -> None:
    """Any bytes, any JSON and any status are read."""
    try:
        decode(action, REQUEST, Response(status, {"retry-after": header}, body, 0.1), repeated=True)
    except ModerationError as error:
        assert str(error)  # noqa: PT017 - both outcomes are valid


def test_a_code_and_a_request_id_that_repeat_a_secret_are_redacted() -> None:
    body = {"ResponseMetadata": {"RequestId": "r hush", "Error": {"Code": "Odd.hush", "Message": ""}}}
    with pytest.raises(APIError) as caught:
        read(STOP, Response(400, {}, json.dumps(body).encode(), 0.1))
    assert (caught.value.code, caught.value.request_id) == ("Odd.***", "r ***")


def test_an_error_shows_its_attempts() -> None:
    assert str(APIError("no", code=1, attempts=2)) == "1 no [2 attempts]"


async def test_a_users_token_is_redacted_from_a_message() -> None:
    handler, _ = sequential_handler(volcengine_error("InvalidParameter", "Token t0k3n is malformed"))
    async with mocked(handler) as http_client:
        with pytest.raises(APIError) as caught:
            await volcengine_client(http_client=http_client).limit_token_privilege(
                app_id="app", room_id="room", user_id="user", token="t0k3n", forbidden_interval=60
            )
    assert caught.value.message == "Token *** is malformed"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_a_response_must_be_utf_8(encoding: str) -> None:
    """In an encoding that Python guesses from the first bytes, JSON may have texts that cannot be printed."""
    body = '{"ResponseMetadata":{"Error":{"Code":"InvalidParameter","Message":"\\ud800"}}}'.encode(encoding)
    with pytest.raises(TransportError, match="bytes that is not the vendor's JSON"):
        decode(STOP, REQUEST, Response(200, {}, body, 0.1), repeated=False)
    with_mark = b"\xef\xbb\xbf" + json.dumps({"ResponseMetadata": {}, "Result": "ok"}).encode()
    assert decode(STOP, REQUEST, Response(200, {}, with_mark, 0.1), repeated=False).result.message == "ok"


def test_lone_surrogates_are_replaced_everywhere() -> None:
    body = b'{"ResponseMetadata": {}, "Result": {"Message": "ok", "EventData": ["\\ud800", {"\\udfff": ["\\ud800"]}]}}'
    assert load_response(body) == {
        "ResponseMetadata": {},
        "Result": {"Message": "ok", "EventData": ["?", {"?": ["?"]}]},
    }


@pytest.mark.parametrize("depth", [600, 900, 2000])
def test_a_response_that_is_nested_too_deeply_is_not_read(depth: int) -> None:
    """It is read as a whole or not at all. Since Python 3.12, a comprehension takes no frame, so more is read."""
    response = load_response(b'{"a":' + depth * b"[" + rb'"\ud800"' + depth * b"]" + b"}")
    if sys.version_info >= (3, 12) and depth < 1000:
        assert response == json.loads('{"a":' + depth * "[" + '"?"' + depth * "]" + "}")
    else:
        assert response is None


@pytest.mark.parametrize(
    "response",
    [answer({"EventData": "private"}), answer(error={"Code": "InvalidParameter", "Details": "private"}, status=400)],
)
def test_no_frame_of_an_error_holds_the_content_of_the_response(response: Response) -> None:
    with pytest.raises(ModerationError) as caught:
        read(LIST, response)
    assert caught.value.__cause__ is caught.value.__context__ is None
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert "decode" in {frame.name for frame in frames}
    assert not any("private" in str(frame.locals) for frame in frames)
