"""Volcengine's callbacks: their signatures, their content, and unexpected input."""

import json
import pickle
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest

from volc_moderation import CallbackError, ConfigurationError, Evidence, Media, Verdict
from volc_moderation.testing import make_volcengine_callback
from volc_moderation.volcengine.callbacks import (
    MachineReview,
    MachineReviewResult,
    Risk,
    VolcengineEvent,
    WebcastChange,
    WebcastEvent,
    parse,
    sign,
    verify,
)

VECTORS = {
    vector["id"]: vector["body"]
    for vector in json.loads((Path(__file__).parent.parent / "vectors" / "volcengine_callbacks.json").read_text())
}
SECRET = "cbSecret-Example-01"
#: The signatures over seven values, without EventId.
SEVEN_VALUE_SIGNATURES = {
    "C1": "c9443e9af43b2d7da0090b8163695f923aa6522289fadabce35de7c2d1d4252b",
    "C2": "374b26b60e88520ea79cb7b741fc4321334d68b5c4e53220a1fb554afd379dd8",
}
CREATED_AT = datetime(2026, 11, 20, 16, 30, tzinfo=timezone(timedelta(hours=8)))


def json_body(vector: str = "C1", **changes: Any) -> bytes:
    fields = VECTORS[vector] | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def signed(event_type: str, content: object, **changes: str) -> bytes:
    data = content if isinstance(content, str) else json.dumps(content)
    fields = {name: value for name, value in VECTORS["C1"].items() if name != "Signature"}
    return sign({**fields, "EventType": event_type, "EventData": data, **changes}, SECRET)


@pytest.mark.parametrize("vector", SEVEN_VALUE_SIGNATURES)
def test_the_vectors_with_eight_values(vector: str) -> None:
    verify(json_body(vector), SECRET)


@pytest.mark.parametrize("vector", SEVEN_VALUE_SIGNATURES)
def test_the_vectors_with_seven_values(vector: str) -> None:
    """Callbacks were signed like this before EventId was added."""
    verify(json_body(vector, Signature=SEVEN_VALUE_SIGNATURES[vector]), SECRET)
    verify(json_body(vector, Signature=SEVEN_VALUE_SIGNATURES[vector], EventId=None), SECRET)


@pytest.mark.parametrize(
    ("more", "signature"),
    [
        ({"Noce": "NoceVal"}, "14aa681420cb46ab5f1d8ad6ac9ab21f341ea9dbf9d5237059c3c4c0e731300f"),
        (
            {"Noce": "NoceVal", "EventId": "EventIdVal"},
            "ac2b6d55f57f6f7f95ef1f732998a22e0c20cb36cf75098b45a3b960715c0a1c",
        ),
        (
            {"Nonce": "NonceVal", "EventId": "EventIdVal"},
            "7938fac5735d71d8bf383f7587858a7c6d4e7fd214b28fd203335d250b8c6257",
        ),
    ],
)
def test_the_example_of_the_documents(more: dict[str, str], signature: str) -> None:
    """The documents print the first signature. The others are for the same example in the form that they describe."""
    fields = {"AppId": "AppIDVal", "EventData": "EventDataVal", "EventTime": "EventTimeVal"}
    fields |= {"EventType": "EventTypeVal", "Version": "VersionVal", **more}
    assert json.loads(sign(fields, "SecretKeyVal"))["Signature"] == signature


@pytest.mark.parametrize("vector", SEVEN_VALUE_SIGNATURES)
def test_signing_a_vector_gives_its_signature(vector: str) -> None:
    assert json.loads(sign(VECTORS[vector], SECRET)) == VECTORS[vector]


@pytest.mark.parametrize("field", ["EventType", "EventData", "EventTime", "EventId", "AppId", "Version", "Nonce"])
def test_a_changed_value_is_forged(field: str) -> None:
    changed = {
        "EventTime": "2026-11-20T16:30:01+08:00",
        "Version": "2020-12-02",
        "EventData": VECTORS["C1"]["EventData"].replace("REJECT", "PASS"),
    }
    with pytest.raises(CallbackError) as caught:
        verify(json_body(**{field: changed.get(field, "other")}), SECRET)
    assert caught.value.reason == "forged"


@pytest.mark.parametrize("signature", [None, "", 5, ["x"], "é", "0" * 64, "A" * 88, VECTORS["C1"]["Signature"].upper()])
def test_another_signature_is_forged(signature: Any) -> None:
    with pytest.raises(CallbackError) as caught:
        verify(json_body(Signature=signature), SECRET)
    assert caught.value.reason == "forged"


def test_any_of_several_secrets_may_have_signed() -> None:
    verify(json_body(), ["new", SECRET])
    verify(json_body(), (SECRET, "old"))
    with pytest.raises(CallbackError):
        verify(json_body(), ["new", "older"])


@pytest.mark.parametrize("secret", ["", " ", [], [""], [SECRET, ""], None, 5, b"bytes", {"a": 1}, [None], "\ud800"])
def test_an_invalid_secret_is_refused(secret: Any) -> None:
    """With an empty secret, which a missing environment variable may cause, anybody could sign."""
    with pytest.raises(ConfigurationError, match="secret must be"):
        verify(json_body(), secret)


@pytest.mark.parametrize(("age", "is_fresh"), [(-301, False), (-300, True), (0, True), (300, True), (301, False)])
def test_within_limits_the_age_in_both_directions(age: float, is_fresh: bool) -> None:
    now = CREATED_AT.timestamp() + age
    if is_fresh:
        verify(json_body(), SECRET, now=now, within=300)
    else:
        with pytest.raises(CallbackError, match="within 300 s") as caught:
            verify(json_body(), SECRET, now=now, within=300)
        assert caught.value.reason == "stale"


@pytest.mark.parametrize("within", [0, -1, True, "300", float("nan")])
def test_an_invalid_within_is_refused(within: Any) -> None:
    with pytest.raises(ConfigurationError, match="within"):
        verify(json_body(), SECRET, now=0, within=within)
    with pytest.raises(ConfigurationError, match="within"):
        verify(json_body(), SECRET, within=300)


def test_no_callback_passes_if_the_clock_returns_nan() -> None:
    with pytest.raises(CallbackError, match="within"):
        verify(json_body(), SECRET, now=float("nan"), within=300)


def test_a_result_for_video() -> None:
    event = parse(json_body())
    assert isinstance(event, MachineReviewResult)
    assert (event.vendor, event.name, event.app_id) == ("volcengine", "MachineReviewResult", "661e0000000000000000543c")
    assert (event.room_id, event.user_id, event.stream_id, event.task_id) == ("room-42", "u_1001", None, None)
    assert (event.verdict, event.media, event.reasons) == (Verdict.REJECT, Media.VIDEO, ("gun",))
    assert event.evidence == Evidence(urls=("https://example.com/snap/0001.jpg",))
    assert event.occurred_at == CREATED_AT
    assert (event.event_id, event.version) == ("evt-0001_img_doc", "2020-12-01")
    assert event.detail.risk_all == [Risk(name="gun_image", score=0.91), Risk(name="porn_image", score=0.02)]
    assert event.detail.ai_result_origin == "{}"
    assert event.data == json.loads(VECTORS["C1"]["EventData"])
    assert "data=" not in repr(event)


def test_a_result_for_audio() -> None:
    event = parse(json_body("C2"))
    assert isinstance(event, MachineReviewResult)
    assert (event.verdict, event.media, event.reasons) == (Verdict.REVIEW, Media.AUDIO, ("abuse",))
    assert event.evidence == Evidence(urls=("https://example.com/seg/0001.wav",), texts=("你好 hello",))
    assert event.detail.audio_segment_info == {}


def test_an_undocumented_object_is_kept() -> None:
    event = parse(signed("MachineReviewResult", {"AudioSegmentInfo": {"Start": 1, "Parts": [{"a": None}]}}))
    assert isinstance(event, MachineReviewResult)
    assert event.detail.audio_segment_info == {"Start": 1, "Parts": [{"a": None}]}


def test_missing_fields_are_empty() -> None:
    event = parse(signed("MachineReviewResult", {}, Version="2023-11-01"))
    assert isinstance(event, MachineReviewResult)
    assert event.detail == MachineReview()
    assert (event.verdict, event.media, event.reasons, event.evidence) == (None, None, (), Evidence())


@pytest.mark.parametrize("wrong", [None, 5, "text", [], {}, [None], [5], [[]], True, 1.5])
@pytest.mark.parametrize(
    "field",
    [
        *("RoomId", "UserId", "MediaType", "Images", "Audio", "AudioText", "HitReasons", "RiskHit", "RiskALL"),
        *("AIResultOrigin", "AudioSegmentInfo", "Unknown"),
    ],
)
def test_a_malformed_optional_field_does_not_discard_the_verdict(field: str, wrong: Any) -> None:
    content = json.loads(VECTORS["C1"]["EventData"])
    assert parse(signed("MachineReviewResult", content | {field: wrong})).verdict == Verdict.REJECT


def test_an_unknown_verdict_is_kept_and_a_malformed_one_is_reported() -> None:
    assert parse(signed("MachineReviewResult", {"Suggest": "BLOCK"})).verdict == "BLOCK"
    assert parse(signed("MachineReviewResult", {"Suggest": None})).verdict is None
    with pytest.raises(CallbackError, match=r"EventData\.Suggest"):
        parse(signed("MachineReviewResult", {"Suggest": 1}))


def test_the_names_of_models_are_the_reasons_if_there_are_no_others() -> None:
    risks = [{"Name": "gun_image", "Score": 1}, {"Name": "blood"}]
    assert parse(signed("MachineReviewResult", {"RiskHit": risks})).reasons == ("gun_image", "blood")


@pytest.mark.parametrize("name", ["Webcast", "WebcastStatusChanged", "WebCast"])
def test_a_webcast(name: str) -> None:
    """One line of the documents has a space before a reason."""
    content = {"RoomId": "r", "TaskId": "t", "UserId": "u", "Status": 4, "Reason": " StartEventTimeout"}
    event = parse(signed(name, content))
    assert isinstance(event, WebcastEvent)
    assert event.detail.status is WebcastChange.REFRESHED
    assert (event.room_id, event.task_id, event.user_id, event.verdict) == ("r", "t", "u", None)
    assert event.reasons == ("StartEventTimeout",)
    assert event.data == content
    unknown = parse(signed(name, {"Status": 9}))
    assert isinstance(unknown, WebcastEvent)
    assert unknown.detail.status == 9


@pytest.mark.parametrize("content", [{"RoomId": "r", "UserId": "u", "New": [1]}, "not JSON", "[1]"])
def test_an_unknown_event_keeps_its_data(content: object) -> None:
    event = parse(signed("UserJoinRoom", content))
    assert type(event) is VolcengineEvent
    assert event.name == "UserJoinRoom"
    if isinstance(content, dict):
        assert (event.room_id, event.user_id, event.data) == ("r", "u", content)
    else:
        assert event.data == {"EventData": content}


def test_a_dedupe_key_is_short_and_identifies_the_event() -> None:
    keys = [
        parse(json_body(**changes)).dedupe_key
        for changes in (
            {},
            {"EventId": "other"},
            {"AppId": "other"},
            {"EventId": "x" * 1_000_000},
            {"EventId": "a", "AppId": "a:b"},
            {"EventId": "b:a", "AppId": "a"},
            {"EventId": None},
            {"EventId": None, "AppId": "x" * 1_000_000},
        )
    ]
    assert len(set(keys)) == len(keys)
    assert {bool(re.fullmatch("volcengine:[0-9a-f]{40}", key)) for key in keys} == {True}
    assert parse(json_body(Nonce="0001", Version="2021-01-01")).dedupe_key == keys[0]  # another delivery


def test_a_dedupe_key_without_an_event_id_identifies_the_event() -> None:
    first = parse(json_body(EventId=None))
    assert first.dedupe_key == parse(json_body(EventId=None)).dedupe_key
    assert first.dedupe_key != parse(json_body(EventId=None, Nonce="0001")).dedupe_key
    assert first.event_id is None
    assert parse(json_body(EventId="")) == attrs.evolve(first, data=first.data)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "the body"),
        (b"\xff\xfe", "the body"),
        (b"[]", "the body"),
        (b"null", "the body"),
        (b"[" * 100_000, "the body"),
        (b'{"a":' + b"9" * 5000 + b"}", "the body"),
        (b"{}", "EventTime"),
        (json_body(EventTime="yesterday"), "EventTime"),
        (json_body(EventTime="2026-13-20T16:30:00Z"), "EventTime"),
        (json_body(EventTime="2026-11-20T16:30:00"), "EventTime"),
        (json_body(EventTime="2026-11-20 16:30:00Z"), "EventTime"),
        (json_body(EventTime="٢٠٢٦-11-20T16:30:00Z"), "EventTime"),
        (json_body(Version="v1"), "Version"),
        (json_body(Nonce=None), "Nonce"),
        (json_body(Nonce=4821), "Nonce"),
        (json_body(AppId=""), "AppId"),
        (json_body(AppId=["a"]), "AppId"),
        (json_body(EventId=5), "EventId"),
        (json_body(EventData={"RoomId": "r"}), "EventData"),
        (json_body(EventType="\ud800"), "EventType"),
    ],
)
def test_the_field_of_an_unreadable_callback_is_named(body: bytes, field: str) -> None:
    for read in (parse, lambda body: verify(body, SECRET)):
        with pytest.raises(CallbackError, match=f"^{field} must be") as caught:
            read(body)
        assert caught.value.reason == "unreadable"


@pytest.mark.parametrize("content", ["", "not JSON", "[]", '"text"', "5"])
def test_a_result_must_have_content(content: str) -> None:
    with pytest.raises(CallbackError, match="EventData") as caught:
        parse(signed("MachineReviewResult", content))
    assert caught.value.reason == "unreadable"


def test_values_cannot_swap_places() -> None:
    """They are sorted before they are signed, so any permutation has the same signature. Their forms prevent it."""
    vector = VECTORS["C1"]
    for first, second in (("EventTime", "EventId"), ("Version", "AppId"), ("EventTime", "Nonce"), ("Version", "Nonce")):
        with pytest.raises(CallbackError):
            verify(json_body(**{first: vector[second], second: vector[first]}), SECRET)
    # Two values were joined, and one of them left empty.
    for first, second in (("EventTime", "Nonce"), ("Version", "EventTime"), ("EventId", "EventData")):
        with pytest.raises(CallbackError):
            verify(json_body(**{first: vector[first] + vector[second], second: ""}), SECRET)


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00+08:00", "9999-12-31T23:59:59-08:00", "2026-11-20T08:30:00.123456789Z"]
)
def test_the_earliest_and_latest_times_are_read(time: str) -> None:
    body = signed("MachineReviewResult", {}, EventTime=time)
    assert parse(body).occurred_at is not None
    if time[:4] != "2026":
        with pytest.raises(CallbackError, match="within"):
            verify(body, SECRET, now=0, within=300)


def test_errors_can_be_pickled_and_show_no_content() -> None:
    with pytest.raises(CallbackError) as caught:
        verify(json_body(Signature="0" * 64), SECRET)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own
    assert (again.reason, str(again)) == ("forged", "the signature is wrong")
    with pytest.raises(CallbackError) as caught:
        parse(signed("MachineReviewResult", '"words that nobody should see"'))
    text = f"{caught.value!r}{caught.value.__cause__}{caught.value.__context__}"
    assert "nobody" not in text


def test_times_have_a_time_zone() -> None:
    event = parse(signed("MachineReviewResult", {}, EventTime="2026-11-20T08:30:00Z"))
    assert event.occurred_at == datetime(2026, 11, 20, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize("name", ["MachineReviewResult", "WebcastStateChanged", "Other"])
@pytest.mark.parametrize("content", ["not json", "[]", "{}"])
def test_content_that_is_empty_or_malformed(name: str, content: str) -> None:
    body = make_volcengine_callback(envelope={"EventType": name, "EventData": content})
    if name != "Other" and content != "{}":
        with pytest.raises(CallbackError, match="EventData: expected an object"):
            parse(body)
        return
    event = parse(body)
    assert (event.verdict, event.media, event.reasons, event.room_id) == (None, None, (), None)
    assert event.data == ({} if content == "{}" else {"EventData": content})
