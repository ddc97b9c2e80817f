"""ZEGO's protocol: every documented error code in every family, and unexpected responses."""

import json
import traceback
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import json_values
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
from volc_moderation.credentials import ZegoCredentials
from volc_moderation.wire import Request, Response
from volc_moderation.zego import (
    CensorTask,
    DescribeRTCStreamState,
    DescribeUserList,
    Done,
    StartCensorAudioV2,
    StopCensorAudioV2,
)
from volc_moderation.zego.actions import Family
from volc_moderation.zego.error_codes import CODES, GATEWAY_CODES, find_code
from volc_moderation.zego.protocol import decode as decode_attempt
from volc_moderation.zego.protocol import encode

START = StartCensorAudioV2(room_id="room", event_id="audio_room", audio_language="zh", risk_type_list=["BAN"])
STOP = StopCensorAudioV2(task_id="00112233445566778899aabbccddeeff")
decode = partial(decode_attempt, repeated=False)

REQUEST = Request("POST", "https://host/", {}, b"", ("hush",))


def answer(code: Any = 0, data: Any = None, message: Any = "success", status: int = 200) -> Response:
    body = {"Code": code, "Message": message, "RequestId": "r-1", "Data": data}
    return Response(status, {}, json.dumps(body).encode(), 0.1)


def test_the_full_request_of_the_reference() -> None:
    request = encode(
        STOP,
        url="https://rtc-api.zego.im",
        host="rtc-api.zego.im",
        credentials=ZegoCredentials.make(2468013579, "9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
        nonce="a1b2c3d4e5f60718",
        now=1795219200.9,
    )
    assert request.method == "POST"
    assert request.url == (
        "https://rtc-api.zego.im/?Action=StopCensorAudioV2&AppId=2468013579&SignatureNonce=a1b2c3d4e5f60718"
        "&Timestamp=1795219200&Signature=842d34e184980e861cbecad5ba0f155a&SignatureVersion=2.0"
    )
    assert request.headers == {"Host": "rtc-api.zego.im", "Content-Type": "application/json"}
    assert request.body == b'{"TaskId":"00112233445566778899aabbccddeeff"}'


@pytest.mark.parametrize(("is_test", "sent"), [(None, ""), (True, "&IsTest=true"), (False, "&IsTest=false")])
def test_is_test_is_sent_only_if_set(is_test: bool | None, sent: str) -> None:
    credentials = ZegoCredentials.make(1, "s")
    request = encode(STOP, url="", host="", credentials=credentials, nonce="n", now=0, is_test=is_test)
    assert request.url.endswith("SignatureVersion=2.0" + sent)


@pytest.mark.parametrize("message", ["success", "ok", "成功", None, 5])
def test_the_code_alone_proves_success(message: Any) -> None:
    assert decode(STOP, REQUEST, answer(message=message)).result == Done()
    assert decode(STOP, REQUEST, answer(code=0.0, status=500)).result == Done()


@pytest.mark.parametrize("data", [None, {}, [], "", 0, [1]])
def test_success_without_data_may_have_anything_in_its_place(data: Any) -> None:
    assert decode(STOP, REQUEST, answer(data=data)).result == Done()


@pytest.mark.parametrize(("header", "seconds"), [("1", 300), ("400", 400), ("99999", 300)])
def test_the_wait_that_zego_recommends_is_never_shortened(header: str, seconds: float) -> None:
    response = Response(200, {"retry-after": header}, answer(50009).body, 0.1)
    with pytest.raises(TemporaryError) as caught:
        decode(STOP, REQUEST, response)
    assert caught.value.retry_after == seconds


def test_a_start_returns_its_task() -> None:
    decoded = decode(START, REQUEST, answer(data={"TaskId": "t-1", "New": 1}))
    assert decoded.result == CensorTask(task_id="t-1")
    assert decoded.request_id == "r-1"


@pytest.mark.parametrize(
    ("data", "path"), [(None, "Data.task_id"), ({}, "Data.task_id"), ({"TaskId": 5}, "Data.task_id"), ([], "Data")]
)
def test_the_field_that_does_not_fit_is_named(data: Any, path: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(START, REQUEST, answer(data=data))
    assert caught.value.path == path
    assert caught.value.maybe_sent


@pytest.mark.parametrize("data", [[], "", 0, [1]])
def test_a_result_code_does_not_turn_other_data_into_a_result(data: Any) -> None:
    """The code is added to the data only if it is an object."""
    with pytest.raises(DecodeError) as caught:
        decode(DescribeRTCStreamState(stream_id="s", sequence="1"), REQUEST, answer(data=data))
    assert caught.value.path.startswith("Data")


CLASSES: dict[Family | None, dict[type[APIError], tuple[int, ...]]] = {
    None: {
        InvalidRequestError: (100000000, 100000001, 100000006, 100000007),
        AuthenticationError: (
            *(100000002, 100000003, 100000004, 100000005, 100000008, 100000009, 100000010, 100000011),
            *(100000013, 100000014),
        ),
        TemporaryError: (100000012,),
        ServerError: (100000015,),
        PermissionDeniedError: (100000016, 100000017),
    },
    "moderation": {TemporaryError: (50006, 50007, 50009), PermissionDeniedError: (50117,)},
    "room": {
        ServerError: (1,),
        TemporaryError: (121, 122, 123, 124, 151, 154, 5201, 5202, 50013),
        InvalidRequestError: (2, 3, 8, 1008, 1012, 50011, 50012),
        ConflictError: (50123,),
        PermissionDeniedError: (9,),
        NotFoundError: (104, 5018, 5024, 50001, 105, 50002, 50003, 138, 50124),
        ThrottledError: (206, 207),
    },
    "media-service": {
        ServerError: (*(1, 1001, 1002, 1003, 1005, 3001, 5000, 5001, 5002, 5006, 30003, 41001, 41002),),
        TemporaryError: (42001, 42002, 42003, 42004, 43001),
        InvalidRequestError: (
            *(2, 1006, 3000, 30005, 5004, 30001, 5005, 30004, 30006, 30009),
            *(30010, 30011),
        ),
        AuthenticationError: (3, 5003, 40005, 3002),
        PermissionDeniedError: (3003,),
        ThrottledError: (30002, 1010, 5007),
        NotFoundError: (41003, 41004, 41006),
    },
    "media-file": {
        PermissionDeniedError: (3,),
        ThrottledError: (6,),
        AuthenticationError: (7,),
        ServerError: (1000,),
        NotFoundError: (41003,),
    },
    "mix": {
        TemporaryError: (110200190, 110200191, 110200194, 110200005, 110200006),
        AuthenticationError: (110200003,),
    },
}


@pytest.mark.parametrize(
    ("family", "cls", "code"),
    [(family, cls, code) for family, table in CLASSES.items() for cls, codes in table.items() for code in codes],
)
def test_every_code_has_its_class(family: Family | None, cls: type[APIError], code: int) -> None:
    error_code = find_code(code, family or "moderation")
    assert error_code.error_type is cls
    assert error_code.advice
    waits = {50006: 300.0, 50007: 300.0, 50009: 300.0, 100000004: 0.0, 3002: 0.0}
    assert error_code.retry_after == waits.get(code, 1.0 if cls is ThrottledError else None)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (50006, "an HTTP request failed inside ZEGO; try again later (300 s recommended), or contact ZEGO's technical"),
        (50007, "an HTTP request failed inside ZEGO; try again later (300 s recommended), or contact ZEGO's technical"),
        (50009, "the moderation failed; try again later (300 s recommended), or contact ZEGO's technical support"),
        (50117, "Shumei moderation is not enabled for the project; enable it in the console, or contact ZEGO's"),
        (50013, "the custom message was not sent; try again later, or contact ZEGO's technical support"),
    ],
)
def test_the_advice_of_a_code_is_complete(code: int, advice: str) -> None:
    assert (find_code(code, "moderation").advice or "").startswith(advice)


def test_a_call_that_zego_advises_to_repeat_may_have_taken_effect() -> None:
    """Its pages recommend to try again, and do not say that nothing was done."""
    maybe_sent_by_code = {
        code: error_code.maybe_sent
        for table in (GATEWAY_CODES, *CODES.values())
        for code, error_code in table.items()
        if error_code.error_type is TemporaryError
    }
    not_sent = {100000012, 110200190, 110200191, 110200194, 110200005, 110200006}
    assert {code for code, maybe_sent in maybe_sent_by_code.items() if not maybe_sent} == not_sent
    assert len(maybe_sent_by_code) > len(not_sent)
    with pytest.raises(TemporaryError) as caught:
        decode(START, REQUEST, answer(50006))
    assert caught.value.maybe_sent
    with pytest.raises(ThrottledError) as throttled:
        decode(START, REQUEST, answer(206))
    assert not throttled.value.maybe_sent


@pytest.mark.parametrize("data", [[], [1], "", 0, False])
def test_a_state_without_data_is_a_decode_error(data: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(DescribeRTCStreamState(stream_id="s", sequence="1"), REQUEST, answer(data=data))
    assert caught.value.path == "Data"


@pytest.mark.parametrize(("data", "field"), [({"TaskId": ""}, "task_id is empty"), ({"TaskId": None}, "task_id")])
def test_a_task_without_an_id_is_a_decode_error(data: Any, field: str) -> None:
    """Nobody could stop it."""
    with pytest.raises(DecodeError, match=field) as caught:
        decode(START, REQUEST, answer(data=data))
    assert caught.value.maybe_sent


@pytest.mark.parametrize(("value", "request_id"), [("r-1", "r-1"), (71, "71"), ({}, None), (True, None), (None, None)])
def test_a_request_id_may_be_a_number(value: Any, request_id: str | None) -> None:
    response = Response(200, {}, json.dumps({"Code": 0, "RequestId": value}).encode(), 0.1)
    assert decode(STOP, REQUEST, response).request_id == request_id


def test_an_unreadable_user_does_not_discard_the_others() -> None:
    users = DescribeUserList(room_id="r")
    page = decode(users, REQUEST, answer(data={"UserList": [{"UserId": "a"}, {"UserId": 5}, "odd"]})).result
    assert ([user.user_id for user in page.user_list], page.unreadable) == (["a"], ({"UserId": 5}, "odd"))
    with pytest.raises(DecodeError):
        decode(users, REQUEST, answer(data={"UserList": [{"UserId": 5}]}))


def test_every_code_is_tested() -> None:
    tested = {family: {code for codes in table.values() for code in codes} for family, table in CLASSES.items()}
    assert tested == {None: set(GATEWAY_CODES)} | {family: set(table) for family, table in CODES.items()}


def test_the_same_number_means_different_things_in_different_families() -> None:
    families: list[Family] = ["moderation", "room", "media-service", "media-file"]
    assert [find_code(3, family).error_type for family in families] == [
        *(InvalidRequestError, InvalidRequestError, AuthenticationError, PermissionDeniedError)
    ]
    assert find_code(206, "moderation").error_type is ThrottledError  # moderation shares the room's table
    assert find_code(50006, "room").error_type is APIError
    assert find_code(7, "moderation").error_type is APIError


@pytest.mark.parametrize("status", [200, 400, 500])
def test_the_code_alone_determines_the_error(status: int) -> None:
    with pytest.raises(TemporaryError) as caught:
        decode(STOP, REQUEST, answer(50006, message="hush: http request failed", status=status))
    error = caught.value
    assert (error.code, error.message, error.request_id) == (50006, "***: http request failed", "r-1")
    assert (error.status, error.retry_after) == (status, 300)


@pytest.mark.parametrize(("status", "cls"), [(200, APIError), (403, PermissionDeniedError), (500, ServerError)])
def test_the_status_determines_the_class_of_an_undocumented_code(status: int, cls: type[APIError]) -> None:
    with pytest.raises(APIError) as caught:
        decode(STOP, REQUEST, answer(77777, status=status))
    assert type(caught.value) is cls
    assert caught.value.code == 77777


@pytest.mark.parametrize("code", [None, "0", True, 0.5, [], {}])
def test_a_response_without_a_code_is_unusable(code: Any) -> None:
    with pytest.raises(TransportError):
        decode(STOP, REQUEST, answer(code))


@pytest.mark.slow
@given(
    body=st.binary(max_size=200)
    | json_values.map(json.dumps).map(str.encode)
    | st.fixed_dictionaries({"Code": st.sampled_from([0, 1, 206]) | json_values, "Data": json_values})
    .map(json.dumps)
    .map(str.encode),
    status=st.integers(200, 599),
    action=st.sampled_from([START, STOP]),
)
def test_every_response_gives_a_result_or_an_error_of_the_tree(body: bytes, status: int, action: Any) -> None:
    """Any bytes, any JSON and any status are read."""
    try:
        decode(action, REQUEST, Response(status, {}, body, 0.1))
    except ModerationError as error:
        assert str(error)  # noqa: PT017 - both outcomes are valid


@pytest.mark.parametrize("response", [answer(data={"TaskId": ["private"]}), answer(50006, data="private")])
def test_no_frame_of_an_error_holds_the_content_of_the_response(response: Response) -> None:
    with pytest.raises(ModerationError) as caught:
        decode(START, REQUEST, response)
    assert caught.value.__cause__ is caught.value.__context__ is None
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert "decode" in {frame.name for frame in frames}
    assert not any("private" in str(frame.locals) for frame in frames)
