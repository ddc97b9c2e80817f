"""ZEGO's callbacks: whose they are, what they say, and what else may come."""

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
    one["id"]: one["body"]
    for one in json.loads((Path(__file__).parent.parent / "vectors" / "zego_callbacks.json").read_text())
}
N = "7407715855877898783"
SECRET = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"


assert set(VECTORS) == set("ABCDEF")


def body_of(vector: str = "A", **changes: Any) -> bytes:
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
    """The first is ZEGO's own; the others have each of the three sort first, as texts and not as numbers."""
    fields = {"Event": "e", "AppId": 1, "Timestamp": timestamp, "Nonce": nonce}
    assert json.loads(sign(fields, secret))["Signature"] == signature
    verify(sign(fields, secret), secret)


@pytest.mark.parametrize("vector", VECTORS)
def test_the_payloads_are_signed(vector: str) -> None:
    verify(body_of(vector), SECRET)
    assert json.loads(sign(VECTORS[vector], SECRET)) == VECTORS[vector]
    for changed in ({"Timestamp": 1795219201}, {"Nonce": "1"}, {"Signature": "0" * 40}, {"Signature": None}):
        with pytest.raises(CallbackError) as caught:
            verify(body_of(vector, **changed), SECRET)
        assert caught.value.reason == "forged"


def test_secrets() -> None:
    verify(body_of(), ["new", SECRET])
    with pytest.raises(CallbackError):
        verify(body_of(), ["new", "old"])
    for secret in ("", [], [""], None):
        with pytest.raises(ConfigurationError, match="secret must be"):
            verify(body_of(), secret)  # type: ignore[arg-type]


@pytest.mark.parametrize(("age", "is_fresh"), [(-91, False), (-90, True), (90, True), (91, False)])
def test_the_window_goes_both_ways(age: int, is_fresh: bool) -> None:
    if is_fresh:
        verify(body_of(), SECRET, now=1795219200 + age, within=90)
    else:
        with pytest.raises(CallbackError) as caught:
            verify(body_of(), SECRET, now=1795219200 + age, within=90)
        assert caught.value.reason == "stale"
    verify(body_of(), SECRET, now=1795219200, within=0.5)


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
    event = parse(body_of(vector))
    assert type(event) is CLASSES[vector]
    assert (event.vendor, event.name, event.app_id) == ("zego", VECTORS[vector]["Event"], "2468013579")
    assert (event.code, event.message, event.task_id) == (0, "success", VECTORS[vector]["TaskId"])
    assert event.room_id == VECTORS[vector]["AuxInfo"]["RoomId"]
    assert event.media == (Media.VIDEO if "img" in event.name else Media.AUDIO)
    assert event.data == VECTORS[vector]


def test_an_audio_moderation() -> None:
    event = parse(body_of("A"))
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
    event = parse(body_of("C"))
    assert isinstance(event, CensorVideoAudioResult)
    assert (event.user_id, event.stream_id, event.verdict) == (None, "stream-9", Verdict.REVIEW)
    assert event.evidence == Evidence(urls=(VECTORS["C"]["Detail"]["AudioUrl"],), texts=("add me, id 90210",))
    assert event.detail.business_info_list[0].probability == 0.99


def test_a_frame_of_a_video_moderation() -> None:
    """Its time is Beijing's; its text is in the pictures of the other risks too."""
    event = parse(body_of("D"))
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
    event = parse(body_of(vector))
    assert isinstance(event, CensorStatus)
    assert (event.status, event.verdict, event.reasons, event.evidence) == (0, None, (), Evidence())
    assert event.aux_info.censor_stream_time == VECTORS[vector]["AuxInfo"]["CensorStreamTime"]
    assert event.occurred_at == datetime.fromtimestamp(1795219200, UTC)


def test_keys_tell_events_apart() -> None:
    keys = [parse(body_of(vector)).dedupe_key for vector in VECTORS]
    assert len(set(keys)) == 6
    again = body_of("A", Nonce="7", Timestamp=1795219262)  # a later delivery, signed anew
    assert parse(again).dedupe_key == keys[0]
    assert parse(body_of("A", ResultTaskId="other_3")).dedupe_key != keys[0]
    assert (
        parse(body_of("A", ResultTaskId=None)).dedupe_key
        != parse(body_of("A", ResultTaskId=None, Nonce="7")).dedupe_key
    )


def test_a_key_is_short_and_its_parts_do_not_run_together() -> None:
    long, event = "x" * 1_000_000, "censor_v3_result"
    keys = [
        parse(body_of("A", **changes)).dedupe_key
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
    event = parse(body_of("C", AuxInfo={"RoomId": "r"}, ResultTaskId=result_task_id))
    assert event.stream_id == stream_id


def test_what_passes_has_no_reasons() -> None:
    event = parse(body_of("A", Detail={"RiskLevel": "PASS", "RiskLabel1": "normal", "RiskLabel2": "", "VadStatus": 0}))
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
def test_when_the_material_was_taken(aux: dict[str, Any], when: datetime | None) -> None:
    """Else when the callback was made; and it tells results apart that have nothing else."""
    event = parse(body_of(AuxInfo=aux))
    assert event.occurred_at == (when or datetime.fromtimestamp(1795219200, UTC))
    assert (event.dedupe_key == parse(body_of(AuxInfo={})).dedupe_key) is (not aux or aux == {"ProcessBeginTime": 0})


def test_an_empty_id_is_none() -> None:
    event = parse(body_of(ResultTaskId=""))
    assert isinstance(event, CensorResult)
    assert event.result_task_id is None


@pytest.mark.parametrize("missing", [None, {}, []])
@pytest.mark.parametrize("wrong", [None, 5, "text"])
def test_what_is_missing_is_empty(missing: Any, wrong: Any) -> None:
    event = parse(json.dumps(VECTORS["A"] | {"Detail": missing, "AuxInfo": wrong, "Code": 1}).encode())
    assert isinstance(event, CensorResult)
    assert (event.code, event.verdict, event.room_id, event.detail) == (1, None, None, Detail())
    assert event.occurred_at == datetime.fromtimestamp(1795219200, UTC)


@pytest.mark.parametrize("wrong", [None, 5, "text", [], {}, [None], [5], [[]], True, 1.5, 10**30])
@pytest.mark.parametrize("vector", "ACD")
def test_a_wrong_ornament_does_not_cost_the_verdict(vector: str, wrong: Any) -> None:
    """Some fields have one type in ZEGO's tables and another in its examples."""
    detail = VECTORS[vector]["Detail"]
    assert len(detail) > 5
    for field in detail:
        if field != "RiskLevel":
            event = parse(body_of(vector, Detail=detail | {field: wrong}))
            assert event.verdict == detail["RiskLevel"]
    for field in ("RoomId", "UserId", "StreamId", "ProcessBeginTime", "ImgTime"):
        event = parse(body_of(vector, AuxInfo=VECTORS[vector]["AuxInfo"] | {field: wrong}))
        assert event.verdict == detail["RiskLevel"]
        assert event.occurred_at is not None


def test_a_number_for_a_level_of_a_list_is_let_pass() -> None:
    risk = VECTORS["A"]["Detail"]["RiskInfoList"][0] | {"RiskLevel": 3}
    event = parse(body_of("A", Detail=VECTORS["A"]["Detail"] | {"RiskInfoList": [risk]}))
    assert isinstance(event, CensorAudioResult)
    assert event.detail.risk_info_list[0].risk_level is None
    assert event.detail.risk_info_list[0].risk_label1 == "ad"


def test_percent_encoding_is_undone_only_if_need_be() -> None:
    """Addresses in the payload have escapes of their own, which must stay."""
    plain = body_of("A")
    encoded = quote(plain).encode()
    verify(encoded, SECRET)
    for body in (plain, encoded):
        assert parse(body).evidence.urls[0] == VECTORS["A"]["Detail"]["AudioUrl"]
        assert "%2F" in parse(body).evidence.urls[0]
    assert parse(quote(body_of("A", Message="a+b")).encode()).message == "a+b"
    with pytest.raises(CallbackError):
        parse(quote(quote(plain)).encode())


def test_events_of_rooms_have_names_in_lower_case() -> None:
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
    event = parse(body_of("A", Event="censor_v3_result", New={"a": 1}))
    assert type(event) is ZegoEvent
    assert event.data["New"] == {"a": 1}
    assert event.task_id == VECTORS["A"]["TaskId"]
    assert event.dedupe_key != parse(body_of("A", Event="censor_v3_result", Nonce="1")).dedupe_key


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "the body"),
        (b"\xff", "the body"),
        (b"%7B", "the body"),
        (b"[]", "the body"),
        (b"{" * 100_000, "the body"),
        (b"{}", "Timestamp"),
        (body_of(Timestamp=True), "Timestamp"),
        (body_of(Timestamp=-1), "Timestamp"),
        (body_of(Timestamp=1.5), "Timestamp"),
        (body_of(Timestamp=10**11), "Timestamp"),
        (body_of(Timestamp=99_999_999_999 * 10), "Timestamp"),
        (body_of(Timestamp="١٧٩٥٢١٩٢٠٠"), "Timestamp"),
        (body_of(Nonce=None), "Nonce"),
        (body_of(Nonce=["n"]), "Nonce"),
        (body_of(AppId="app"), "AppId"),
        (body_of(AppId=True), "AppId"),
        (body_of(Event=5), "Event"),
        (body_of(Event="\udfff"), "Event"),
    ],
)
def test_nonsense_is_named(body: bytes, field: str) -> None:
    for read in (parse, lambda body: verify(body, SECRET)):
        with pytest.raises(CallbackError, match=f"^{field} must be") as caught:
            read(body)
        assert caught.value.reason == "unreadable"


@pytest.mark.parametrize(
    "risks", [[1] * 10_000, [{"RiskDetail": {"FaceInfoList": [1] * 9_999}}], [{}] * 10_001, [[[]]] * 5_001]
)
def test_a_part_has_no_more_values_than_are_soon_read(risks: list[Any]) -> None:
    with pytest.raises(CallbackError, match="must be") as caught:
        parse(body_of("A", Detail={"RiskInfoList": risks}))
    assert caught.value.reason == "unreadable"


def test_a_part_may_have_many_values() -> None:
    event = parse(body_of("A", Detail={"RiskLevel": "REJECT", "RiskInfoList": [{"RiskLabel1": "a"}] * 4_000}))
    assert event.reasons == ("a",)


@pytest.mark.parametrize("change", [{"TaskId": None}, {"TaskId": 5}, {"Detail": "text"}])
def test_a_result_needs_its_parts(change: dict[str, Any]) -> None:
    with pytest.raises(CallbackError, match=next(iter(change))) as caught:
        parse(body_of("A", **change))
    assert caught.value.reason == "unreadable"
