"""ZEGO's callbacks: their signatures, their content, and unexpected input."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from volc_moderation import CallbackError, ConfigurationError, Evidence, Media, Verdict
from volc_moderation.zego.callbacks import (
    CensorAudioResult,
    CensorAudioStatus,
    CensorResult,
    CensorStatus,
    CensorVideoAudioResult,
    CensorVideoAudioStatus,
    CensorVideoImgResult,
    CensorVideoImgStatus,
    Detail,
    RiskSource,
    ZegoEvent,
    parse,
    sign,
    verify,
)

VECTORS = {
    vector["id"]: vector["body"]
    for vector in json.loads((Path(__file__).parent.parent / "vectors" / "zego_callbacks.json").read_text())
}
N = "7407715855877898783"
SECRET = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


assert set(VECTORS) == set("ABCDEF")


def json_body(vector: str = "A", **changes: Any) -> bytes:
    fields = VECTORS[vector] | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


@pytest.mark.parametrize(
    ("secret", "timestamp", "nonce", "signature"),
    [
        ("secret", 1470820198, "123412", "5bd59fd62953a8059fb7eaba95720f66d19e4517"),
        ("9f8e7d6c5b4a39281706f5e4d3c2b1a0", 1700000000, N, "5d60e8c124d219eba71968592732d1962407e152"),
        ("0a1b2c3d4e5f60718293a4b5c6d7e8f9", 1724743250, N, "0aa07955f35c9d20b5828f7205c9f467cce37a7c"),
        ("1999secret", 1700000000, "16", "12075eacf9e30b2486ab3343c1b62af12e879296"),
        ("Zsecret", 1700000000, "9", "3ae02649b0216b5c8916c6a6c7a5d1b33045b53a"),
        ("cafebabe00112233445566778899aabb", 1795219200, "12", "297ed4c9bef284c8a617884e21c6dd62a630c98c"),
    ],
)
def test_the_vectors_of_the_signature(secret: str, timestamp: int, nonce: str, signature: str) -> None:
    """The first vector is ZEGO's. In the others, each of the three values sorts first, as text and not as a number."""
    fields = {"Event": "e", "AppId": 1, "Timestamp": timestamp, "Nonce": nonce}
    assert json.loads(sign(fields, secret))["Signature"] == signature
    verify(sign(fields, secret), secret)


@pytest.mark.parametrize("vector", VECTORS)
def test_the_signatures_of_the_payloads(vector: str) -> None:
    verify(json_body(vector), SECRET)
    assert json.loads(sign(VECTORS[vector], SECRET)) == VECTORS[vector]
    for changed in ({"Timestamp": 1795219201}, {"Nonce": "1"}, {"Signature": "0" * 40}, {"Signature": None}):
        with pytest.raises(CallbackError) as caught:
            verify(json_body(vector, **changed), SECRET)
        assert caught.value.reason == "forged"


def test_any_of_several_secrets_may_have_signed_and_empty_ones_are_refused() -> None:
    verify(json_body(), ["new", SECRET])
    with pytest.raises(CallbackError):
        verify(json_body(), ["new", "old"])
    for secret in ("", [], [""], None):
        with pytest.raises(ConfigurationError, match="secret must be"):
            verify(json_body(), secret)  # type: ignore[arg-type]


@pytest.mark.parametrize(("age", "is_fresh"), [(-91, False), (-90, True), (90, True), (91, False)])
def test_within_limits_the_age_in_both_directions(age: int, is_fresh: bool) -> None:
    if is_fresh:
        verify(json_body(), SECRET, now=1795219200 + age, within=90)
    else:
        with pytest.raises(CallbackError) as caught:
            verify(json_body(), SECRET, now=1795219200 + age, within=90)
        assert caught.value.reason == "stale"
    verify(json_body(), SECRET, now=1795219200, within=0.5)


CLASSES = {
    "A": CensorAudioResult,
    "B": CensorAudioStatus,
    "C": CensorVideoAudioResult,
    "D": CensorVideoImgResult,
    "E": CensorVideoAudioStatus,
    "F": CensorVideoImgStatus,
}


@pytest.mark.parametrize("vector", VECTORS)
def test_each_event_has_its_class(vector: str) -> None:
    event = parse(json_body(vector))
    assert type(event) is CLASSES[vector]
    assert (event.vendor, event.name, event.app_id) == ("zego", VECTORS[vector]["Event"], "2468013579")
    assert (event.code, event.message, event.task_id) == (0, "success", VECTORS[vector]["TaskId"])
    assert event.room_id == VECTORS[vector]["AuxInfo"]["RoomId"]
    assert event.media == (Media.VIDEO if "img" in event.name else Media.AUDIO)
    assert event.data == VECTORS[vector]


def test_an_audio_moderation() -> None:
    event = parse(json_body("A"))
    assert isinstance(event, CensorAudioResult)
    assert (event.user_id, event.stream_id) == ("user-7", "stream-7")
    assert event.verdict is Verdict.REJECT
    assert event.reasons == ("ad:lianxifangshi:lianxifangshi",)
    detail = VECTORS["A"]["Detail"]
    assert event.evidence == Evidence(urls=(detail["AudioUrl"], detail["PreAudioUrl"]), texts=("add me, id 90210",))
    assert event.occurred_at == datetime.fromtimestamp(1795219199.12, UTC)
    assert event.detail.risk_detail is not None
    assert event.detail.risk_detail.risk_source is RiskSource.TEXT
    assert event.detail.business_info_list[0].business_label2 == "English"
    assert event.detail.vad_status == 1


def test_the_audio_of_a_video_moderation() -> None:
    event = parse(json_body("C"))
    assert isinstance(event, CensorVideoAudioResult)
    assert (event.user_id, event.stream_id, event.verdict) == (None, "stream-9", Verdict.REVIEW)
    assert event.evidence == Evidence(urls=(VECTORS["C"]["Detail"]["AudioUrl"],), texts=("add me, id 90210",))
    assert event.detail.business_info_list[0].probability == 0.99


def test_a_frame_of_a_video_moderation() -> None:
    """Its time is Beijing time. Texts in the pictures of all risks are evidence."""
    event = parse(json_body("D"))
    assert isinstance(event, CensorVideoImgResult)
    assert (event.stream_id, event.verdict) == ("stream-9", Verdict.REJECT)
    assert event.evidence == Evidence(urls=(VECTORS["D"]["Detail"]["ImgUrl"],), texts=("add me, id 90210",))
    assert event.occurred_at == datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)
    risk = event.detail.risk_info_list[0]
    assert risk.risk_detail is not None
    assert risk.risk_detail.face_info_list[0].location == [487, 219, 538, 281]
    assert risk.risk_detail.ocr_info is not None
    assert risk.risk_detail.ocr_info.matched_lists[0].name == "my-blocklist"


@pytest.mark.parametrize("vector", "BEF")
def test_the_end_of_a_task(vector: str) -> None:
    event = parse(json_body(vector))
    assert isinstance(event, CensorStatus)
    assert (event.status, event.verdict, event.reasons, event.evidence) == (0, None, (), Evidence())
    assert event.aux_info.censor_stream_time == VECTORS[vector]["AuxInfo"]["CensorStreamTime"]
    assert event.occurred_at == datetime.fromtimestamp(1795219200, UTC)


def test_a_dedupe_key_identifies_the_event() -> None:
    keys = [parse(json_body(vector)).dedupe_key for vector in VECTORS]
    assert len(set(keys)) == 6
    again = json_body("A", Nonce="7", Timestamp=1795219262)  # a later delivery, signed again
    assert parse(again).dedupe_key == keys[0]
    assert parse(json_body("A", ResultTaskId="other_3")).dedupe_key != keys[0]
    assert (
        parse(json_body("A", ResultTaskId=None)).dedupe_key
        != parse(json_body("A", ResultTaskId=None, Nonce="7")).dedupe_key
    )


def test_a_dedupe_key_is_short_and_separates_its_parts() -> None:
    long, event = "x" * 1_000_000, "censor_v3_result"
    keys = [
        parse(json_body("A", **changes)).dedupe_key
        for changes in (
            {},
            {"TaskId": long},
            {"ResultTaskId": long},
            {"AuxInfo": {"ImgTime": long}},
            {"AuxInfo": {"ImgTime": "\ud800"}},
            {"TaskId": "a:b", "ResultTaskId": "c"},
            {"TaskId": "a", "ResultTaskId": "b:c"},
            {"ResultTaskId": None, "Nonce": long},
            {"ResultTaskId": None, "Nonce": "n"},
            {"ResultTaskId": "n"},
            {"Event": event, "Nonce": long},
            {"Event": long},
            {"Event": event, "Timestamp": 1, "Nonce": "2:3"},
            {"Event": f"{event}:1", "Timestamp": 2, "Nonce": "3"},
        )
    ]
    assert len(set(keys)) == len(keys)
    assert {bool(re.fullmatch("zego:[0-9a-f]{40}", key)) for key in keys} == {True}


@pytest.mark.parametrize(
    ("result_task_id", "stream_id"),
    [
        ("ffeeddccbbaa99887766554433221100_s_1_1", "s_1"),
        ("ffeeddccbbaa99887766554433221100_2", None),
        ("ffeeddccbbaa99887766554433221100", None),
        ("ffeeddccbbaa99887766554433221100__1", None),
        ("ffeeddccbbaa99887766554433221100__2_1", "_2"),
        ("ffeeddccbbaa99887766554433221100_s\n1_1", "s\n1"),
        ("ffeeddccbbaa99887766554433221100_s_", None),
        ("ffeeddccbbaa99887766554433221100_s_x", None),
        ("ffeeddccbbaa99887766554433221100_s_²", None),
        ("ffeeddccbbaa99887766554433221100_s_٣", None),
        ("other_stream_1", None),
        (5, None),
        (None, None),
    ],
)
def test_older_callbacks_have_the_stream_in_an_id(result_task_id: Any, stream_id: str | None) -> None:
    event = parse(json_body("C", AuxInfo={"RoomId": "r"}, ResultTaskId=result_task_id))
    assert event.stream_id == stream_id


def test_content_that_passes_has_no_reasons() -> None:
    event = parse(
        json_body("A", Detail={"RiskLevel": "PASS", "RiskLabel1": "normal", "RiskLabel2": "", "VadStatus": 0})
    )
    assert (event.verdict, event.reasons, event.evidence) == (Verdict.PASS, (), Evidence())


@pytest.mark.parametrize(
    ("aux", "when"),
    [
        ({"ProcessBeginTime": 0}, datetime(1970, 1, 1, tzinfo=UTC)),
        ({"ProcessBeginTime": 1_795_219_199_120}, datetime.fromtimestamp(1795219199.12, UTC)),
        ({"ProcessBeginTime": 253_402_300_799_000}, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ({"ProcessBeginTime": 253_402_300_799_001}, None),
        ({"ProcessBeginTime": -1}, None),
        ({"ImgTime": "2026-11-21 07:59:59"}, datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)),
        ({"ImgTime": "2026-11-21 07:59:59", "ProcessBeginTime": 0}, datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)),
        ({"ImgTime": "2026-13-21 07:59:59"}, None),
        ({"ImgTime": "20261121T075959"}, None),
        ({"ImgTime": "2026-W47-6 07:59:59"}, None),
        ({}, None),
    ],
)
def test_an_event_occurred_when_its_content_was_captured(aux: dict[str, Any], when: datetime | None) -> None:
    """Without that time, it occurred when the callback was created. The time is part of the dedupe key."""
    event = parse(json_body(AuxInfo=aux))
    assert event.occurred_at == (when or datetime.fromtimestamp(1795219200, UTC))
    assert (event.dedupe_key == parse(json_body(AuxInfo={})).dedupe_key) is (not aux or aux == {"ProcessBeginTime": 0})


def test_an_empty_id_counts_as_none() -> None:
    event = parse(json_body(ResultTaskId=""))
    assert isinstance(event, CensorResult)
    assert event.result_task_id is None


@pytest.mark.parametrize("missing", [None, {}, []])
@pytest.mark.parametrize("wrong", [None, 5, "text"])
def test_missing_fields_are_empty(missing: Any, wrong: Any) -> None:
    event = parse(json.dumps(VECTORS["A"] | {"Detail": missing, "AuxInfo": wrong, "Code": 1}).encode())
    assert isinstance(event, CensorResult)
    assert (event.code, event.verdict, event.room_id, event.detail) == (1, None, None, Detail())
    assert event.occurred_at == datetime.fromtimestamp(1795219200, UTC)


@pytest.mark.parametrize("wrong", [None, 5, "text", [], {}, [None], [5], [[]], True, 1.5, 10**30])
@pytest.mark.parametrize("vector", "ACD")
def test_a_malformed_optional_field_does_not_discard_the_verdict(vector: str, wrong: Any) -> None:
    """Some fields have different types in ZEGO's tables and in its examples."""
    detail = VECTORS[vector]["Detail"]
    assert len(detail) > 5
    for field in detail:
        if field != "RiskLevel":
            event = parse(json_body(vector, Detail=detail | {field: wrong}))
            assert event.verdict == detail["RiskLevel"]
    for field in ("RoomId", "UserId", "StreamId", "ProcessBeginTime", "ImgTime"):
        event = parse(json_body(vector, AuxInfo=VECTORS[vector]["AuxInfo"] | {field: wrong}))
        assert event.verdict == detail["RiskLevel"]
        assert event.occurred_at is not None


def test_a_number_as_the_level_of_a_listed_risk_is_ignored() -> None:
    risk = VECTORS["A"]["Detail"]["RiskInfoList"][0] | {"RiskLevel": 3}
    event = parse(json_body("A", Detail=VECTORS["A"]["Detail"] | {"RiskInfoList": [risk]}))
    assert isinstance(event, CensorAudioResult)
    assert event.detail.risk_info_list[0].risk_level is None
    assert event.detail.risk_info_list[0].risk_label1 == "ad"


def test_percent_encoding_is_decoded_only_if_necessary() -> None:
    """URLs in the payload have escapes of their own, which must be kept."""
    plain = json_body("A")
    encoded = quote(plain).encode()
    verify(encoded, SECRET)
    for body in (plain, encoded):
        assert parse(body).evidence.urls[0] == VECTORS["A"]["Detail"]["AudioUrl"]
        assert "%2F" in parse(body).evidence.urls[0]
    assert parse(quote(json_body("A", Message="a+b")).encode()).message == "a+b"
    with pytest.raises(CallbackError):
        parse(quote(quote(plain)).encode())


def test_events_of_rooms_have_fields_in_lower_case() -> None:
    fields = {"event": "stream_create", "appid": "2468013579", "timestamp": "1795219200", "nonce": "12"}
    fields |= {"room_id": "room", "stream_id": "s", "user_id": "u", "signature": ""}
    fields["signature"] = json.loads(sign({"Timestamp": "1795219200", "Nonce": "12"}, SECRET))["Signature"]
    body = json.dumps(fields).encode()
    verify(body, SECRET)
    event = parse(body)
    assert type(event) is ZegoEvent
    assert (event.name, event.room_id, event.stream_id, event.user_id) == ("stream_create", "room", "s", "u")
    assert event.data == fields


def test_an_unknown_event_keeps_its_data() -> None:
    event = parse(json_body("A", Event="censor_v3_result", New={"a": 1}))
    assert type(event) is ZegoEvent
    assert event.data["New"] == {"a": 1}
    assert event.task_id == VECTORS["A"]["TaskId"]
    assert event.dedupe_key != parse(json_body("A", Event="censor_v3_result", Nonce="1")).dedupe_key


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "the body"),
        (b"\xff", "the body"),
        (b"%7B", "the body"),
        (b"[]", "the body"),
        (b"{" * 100_000, "the body"),
        (b"{}", "Timestamp"),
        (json_body(Timestamp=True), "Timestamp"),
        (json_body(Timestamp=-1), "Timestamp"),
        (json_body(Timestamp=1.5), "Timestamp"),
        (json_body(Timestamp=10**11), "Timestamp"),
        (json_body(Timestamp=99_999_999_999 * 10), "Timestamp"),
        (json_body(Timestamp="١٧٩٥٢١٩٢٠٠"), "Timestamp"),
        (json_body(Nonce=None), "Nonce"),
        (json_body(Nonce=["n"]), "Nonce"),
        (json_body(AppId="app"), "AppId"),
        (json_body(AppId=True), "AppId"),
        (json_body(Event=5), "Event"),
        (json_body(Event="\udfff"), "Event"),
    ],
)
def test_the_field_of_an_unreadable_callback_is_named(body: bytes, field: str) -> None:
    for read in (parse, lambda body: verify(body, SECRET)):
        with pytest.raises(CallbackError, match=f"^{field} must be") as caught:
            read(body)
        assert caught.value.reason == "unreadable"


@pytest.mark.parametrize(
    "risks", [[1] * 10_000, [{"RiskDetail": {"FaceInfoList": [1] * 9_999}}], [{}] * 10_001, [[[]]] * 5_001]
)
def test_a_part_with_too_many_values_is_unreadable(risks: list[Any]) -> None:
    with pytest.raises(CallbackError, match="must be") as caught:
        parse(json_body("A", Detail={"RiskInfoList": risks}))
    assert caught.value.reason == "unreadable"


def test_a_part_may_have_many_values() -> None:
    event = parse(json_body("A", Detail={"RiskLevel": "REJECT", "RiskInfoList": [{"RiskLabel1": "a"}] * 4_000}))
    assert event.reasons == ("a",)


@pytest.mark.parametrize("change", [{"TaskId": None}, {"TaskId": 5}, {"Detail": "text"}])
def test_a_result_requires_its_parts(change: dict[str, Any]) -> None:
    with pytest.raises(CallbackError, match=next(iter(change))) as caught:
        parse(json_body("A", **change))
    assert caught.value.reason == "unreadable"
