"""ZEGO's callbacks: verify them, read them, and sign them for tests. Pure: the time is an argument.

https://doc-zh.zego.im/article/19662 (signature), https://doc-zh.zego.im/article/21500 (audio) and
https://doc-zh.zego.im/article/19698 (video)
"""

import enum
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from attrs import field, frozen

from volc_moderation.callback_checks import (
    check_age,
    check_signature,
    dedupe_key,
    integer_of,
    is_encodable,
    json_of,
    load_encoded,
    model_of,
    secrets_of,
    text_of,
    unreadable,
)
from volc_moderation.event import Event, Evidence, Lenient, Media, Verdict
from volc_moderation.wire import dump_json


class RiskSource(enum.IntEnum):
    """What a risk was found in."""

    NONE = 1000
    TEXT = 1001
    PICTURE = 1002
    AUDIO = 1003


@frozen(kw_only=True)
class MatchedList(Lenient):
    """A list of words of the app's own that was hit."""

    name: str = ""


@frozen(kw_only=True)
class Face(Lenient):
    """A face. ``face_ratio`` and ``probability`` are 0 to 1, ``location`` is x1, y1, x2, y2 in px from the top left."""

    name: str = ""
    id: str = ""
    face_ratio: float | None = None
    probability: float | None = None
    location: list[int] = field(factory=list)


@frozen(kw_only=True)
class OcrInfo(Lenient):
    """Text in a picture."""

    text: str = ""
    matched_lists: list[MatchedList] = field(factory=list)


@frozen(kw_only=True)
class RiskDetail(Lenient):
    """What a risk rests on."""

    risk_source: RiskSource | int | None = None
    audio_text: str = ""
    matched_lists: list[MatchedList] = field(factory=list)
    face_info_list: list[Face] = field(factory=list)
    ocr_info: OcrInfo | None = None


@frozen(kw_only=True)
class RiskInfo(Lenient):
    """One risk. The labels are for programs, ``risk_description`` is for people only."""

    risk_level: Verdict | str | None = None
    risk_description: str = ""
    risk_label1: str = ""
    risk_label2: str = ""
    risk_label3: str = ""
    probability: float | None = None
    risk_detail: RiskDetail | None = None


@frozen(kw_only=True)
class BusinessDetail(Lenient):
    """What a business label rests on."""

    face_info_list: list[Face] = field(factory=list)


@frozen(kw_only=True)
class BusinessInfo(Lenient):
    """Something recognised that is no risk, such as a language."""

    business_description: str = ""
    business_label1: str = ""
    business_label2: str = ""
    business_label3: str = ""
    confidence_level: int | None = None
    probability: float | None = None
    business_detail: BusinessDetail | None = None


@frozen(kw_only=True)
class Detail(RiskInfo):
    """The gravest risk of a segment of audio (10 s) or of a frame, and all others.

    ``audio_text`` is of an audio moderation, ``content`` the same of a video moderation, with the text of the segment
    before if that was asked for. ``vad_status`` is 0 for silence. ``img_url`` is of a frame.
    """

    audio_text: str = ""
    content: str = ""
    audio_url: str = ""
    pre_audio_url: str = ""
    img_url: str = ""
    vad_status: int | None = None
    risk_info_list: list[RiskInfo] = field(factory=list)
    business_info_list: list[BusinessInfo] = field(factory=list)


@frozen(kw_only=True)
class AuxInfo(Lenient):
    """Where and when.

    ``process_begin_time`` and ``process_finish_time`` are in Unix milliseconds; ``img_time`` is a text in Beijing time;
    ``censor_stream_time`` is how many seconds were moderated, in a status event.
    """

    room_id: str | None = None
    user_id: str | None = None
    stream_id: str | None = None
    process_begin_time: int | None = None
    process_finish_time: int | None = None
    img_time: str | None = None
    censor_stream_time: float | None = None


@frozen(kw_only=True)
class ZegoEvent(Event):
    """An event of ZEGO. ``code`` is 0 if all is well; other values are not documented."""

    code: int | None = None
    message: str = ""


@frozen(kw_only=True)
class CensorResult(ZegoEvent):
    """The base of the results."""

    result_task_id: str | None
    detail: Detail
    aux_info: AuxInfo


@frozen(kw_only=True)
class CensorStatus(ZegoEvent):
    """The base of the ends of tasks: ``status`` 0 is ended, the only value."""

    status: int | None
    aux_info: AuxInfo


class CensorAudioResult(CensorResult):
    """``censor_audio_v2_result``: an audio moderation about ten seconds of a user's audio."""


class CensorAudioStatus(CensorStatus):
    """``censor_audio_v2_status``: an audio moderation has ended."""


class CensorVideoAudioResult(CensorResult):
    """``censor_video_v2_audio_result``: a video moderation about ten seconds of a stream's audio."""


class CensorVideoImgResult(CensorResult):
    """``censor_video_v2_img_result``: a video moderation about a frame of a stream."""


class CensorVideoAudioStatus(CensorStatus):
    """``censor_video_v2_audio_status``: the audio half of a video moderation has ended."""


class CensorVideoImgStatus(CensorStatus):
    """``censor_video_v2_img_status``: the picture half of a video moderation has ended."""


RESULTS: dict[str, tuple[type[CensorResult], Media]] = {
    "censor_audio_v2_result": (CensorAudioResult, Media.AUDIO),
    "censor_video_v2_audio_result": (CensorVideoAudioResult, Media.AUDIO),
    "censor_video_v2_img_result": (CensorVideoImgResult, Media.VIDEO),
}
STATUSES: dict[str, tuple[type[CensorStatus], Media]] = {
    "censor_audio_v2_status": (CensorAudioStatus, Media.AUDIO),
    "censor_video_v2_audio_status": (CensorVideoAudioStatus, Media.AUDIO),
    "censor_video_v2_img_status": (CensorVideoImgStatus, Media.VIDEO),
}


#: How old a callback may be, or how far ahead. ZEGO delivers up to six times over 62 s, and does not say how long it
#: waits for each answer, nor whether it stamps a delivery anew; the rest is for clocks that are off.
#: https://doc-zh.zego.im/article/19662
WITHIN_SECONDS: Final[float | None] = 300.0


def verify(body: bytes, secret: str | Sequence[str], *, now: float | None = None, within: float | None = None) -> None:
    """Check that a callback was signed with ``secret``, or with one of several while one is rotated.

    The secret is the project's CallbackSecret, not its ServerSecret. ``within`` also refuses what was made more than so
    many seconds before or after ``now``, the Unix time; ``WITHIN_SECONDS`` suits it. None takes any age.

    The signature covers the timestamp and a nonce, nothing else: whoever sees one callback can send others with any
    content. ``within`` ends that after a while, and nothing here prevents it before. So have callbacks sent by https,
    to an address that nobody can guess.

    Raises ``CallbackError``, whose ``reason`` is ``forged``, ``stale`` or ``unreadable``; ``ConfigurationError`` for an
    empty secret.
    """
    secrets = secrets_of(secret)
    envelope = _Envelope.read(body)
    check_signature(envelope.signature, [_digest(one, envelope.timestamp, envelope.nonce) for one in secrets])
    check_age(envelope.made_at, now, within)


def parse(body: bytes) -> ZegoEvent:
    """Read a callback, which must have been verified. Raises ``CallbackError`` if it has not the documented form."""
    envelope = _Envelope.read(body)
    fields = envelope.fields
    code, message = fields.get("Code"), fields.get("Message")
    common: dict[str, Any] = {
        "vendor": "zego",
        "name": envelope.event,
        "app_id": envelope.app_id,
        "code": code if type(code) is int else None,
        "message": message if isinstance(message, str) else "",
        "data": fields,
    }
    parts = (envelope.app_id, envelope.event)
    if envelope.event not in RESULTS and envelope.event not in STATUSES:
        who: dict[str, Any] = {name: _first_text(fields, keys) for name, keys in _WHO.items()}
        key = dedupe_key("zego", *parts, envelope.timestamp, envelope.nonce)
        return ZegoEvent(**common, **who, occurred_at=envelope.made_at, dedupe_key=key)
    task_id = text_of(fields, "TaskId")
    about = fields.get("AuxInfo")
    aux = model_of(about if isinstance(about, dict) else {}, AuxInfo, "AuxInfo")
    common |= {"task_id": task_id, "room_id": aux.room_id, "user_id": aux.user_id, "aux_info": aux}
    if envelope.event in STATUSES:
        ended, media = STATUSES[envelope.event]
        status = fields.get("Status")
        common |= {"stream_id": aux.stream_id, "media": media, "status": status if type(status) is int else None}
        return ended(**common, occurred_at=envelope.made_at, dedupe_key=dedupe_key("zego", *parts, task_id))
    result, media = RESULTS[envelope.event]
    detail = model_of(fields.get("Detail") or {}, Detail, "Detail")
    result_task_id = _first_text(fields, ("ResultTaskId",))
    which = ("id", result_task_id) if result_task_id else ("nonce", envelope.nonce)
    # The time of the material does no harm: it is the same in all deliveries.
    when = str(aux.img_time or aux.process_begin_time or "")
    return result(
        **common,
        **_neutral(detail),
        media=media,
        stream_id=aux.stream_id or _stream_in(result_task_id, task_id),
        occurred_at=_taken_at(aux) or envelope.made_at,
        dedupe_key=dedupe_key("zego", *parts, task_id, *which, when),
        result_task_id=result_task_id,
        detail=detail,
    )


def sign(fields: Mapping[str, object], secret: str) -> bytes:
    """Return the body of a callback with these fields, ``Timestamp`` and ``Nonce`` among them, signed: for tests."""
    signature = _digest(secret, str(fields["Timestamp"]), str(fields["Nonce"]))
    return dump_json({**fields, "Signature": signature})


_WHO = {
    "room_id": ("RoomId", "room_id"),
    "user_id": ("UserId", "user_id", "user_account"),
    "stream_id": ("StreamId", "stream_id"),
    "task_id": ("TaskId", "task_id"),
}

#: "Format is JSON; you must UrlDecode it." ZEGO's support can turn on a form. No page describes it; ZEGO's samples for
#: the signature read the fields of the envelope as its parameters. These would be texts there, and are not in JSON.
#: https://doc-zh.zego.im/article/21500, https://doc-zh.zego.im/faq/callback-form-data-issue
_FORM: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("AppId", "Timestamp", "Code", "Status"), integer_of),
    **dict.fromkeys(("Detail", "AuxInfo"), json_of),
}

#: Up to the year 5138: a longer number is not in seconds.
_TIMESTAMP = re.compile(r"[0-9]{1,11}")
_NUMBER = re.compile(r"[0-9]{1,10}")
#: Of the calendar.
_LAST_SECOND = 253_402_300_799


@frozen(kw_only=True)
class _Envelope:
    fields: dict[str, object]
    event: str
    app_id: str
    timestamp: str
    nonce: str
    signature: object
    made_at: datetime

    @classmethod
    def read(cls, body: bytes) -> "_Envelope":
        """Read what all events have: in PascalCase those of moderation, in lower case those of rooms and streams."""
        fields = load_encoded(body, _FORM)
        if fields is None:
            raise unreadable("the body", "a JSON object, or a form with each name once")
        texts = {name: _as_text(fields.get(name, fields.get(name.lower()))) for name in ("AppId", "Timestamp", "Nonce")}
        timestamp = text_of(texts, "Timestamp", is_right=_TIMESTAMP.fullmatch)
        return cls(
            fields=fields,
            event=text_of(fields, "Event", "event"),
            app_id=text_of(texts, "AppId", is_right=_NUMBER.fullmatch),
            timestamp=timestamp,
            nonce=text_of(texts, "Nonce"),
            signature=fields.get("Signature", fields.get("signature")),
            made_at=datetime.fromtimestamp(int(timestamp), UTC),
        )


def _as_text(value: object) -> object:
    return str(value) if type(value) is int else value


def _digest(secret: str, timestamp: str, nonce: str) -> str:
    text = "".join(sorted([secret, timestamp, nonce], key=str.encode))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _first_text(fields: Mapping[str, object], names: Sequence[str]) -> str | None:
    texts = (fields.get(name) for name in names)
    return next((text for text in texts if isinstance(text, str) and text and is_encodable(text)), None)


def _neutral(detail: Detail) -> dict[str, Any]:
    urls = (detail.audio_url, detail.pre_audio_url, detail.img_url)
    texts = dict.fromkeys((detail.audio_text, detail.content, *_seen_texts(detail)))
    reasons = dict.fromkeys(map(_reason, (detail, *detail.risk_info_list)))
    return {
        "verdict": detail.risk_level,
        "reasons": tuple(filter(None, reasons)),
        "evidence": Evidence(urls=tuple(filter(None, urls)), texts=tuple(filter(None, texts))),
    }


def _reason(risk: RiskInfo) -> str:
    labels = [label for label in (risk.risk_label1, risk.risk_label2, risk.risk_label3) if label]
    return "" if labels[:1] == ["normal"] else ":".join(labels)


def _seen_texts(detail: Detail) -> Iterator[str]:
    for risk in (detail, *detail.risk_info_list):
        if risk.risk_detail is not None and risk.risk_detail.ocr_info is not None:
            yield risk.risk_detail.ocr_info.text


def _stream_in(result_task_id: str | None, task_id: str) -> str | None:
    """Return the stream in ``<TaskId>_<StreamId>_<number>``: older callbacks say it nowhere else, says ZEGO's FAQ."""
    prefix = f"{task_id}_"
    if result_task_id is None or not result_task_id.startswith(prefix):
        return None
    stream_id, _, number = result_task_id.removeprefix(prefix).rpartition("_")
    return stream_id if stream_id and number.isascii() and number.isdecimal() else None


_BEIJING = timezone(timedelta(hours=8))
_IMG_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?")


def _taken_at(aux: AuxInfo) -> datetime | None:
    """Return when the material was taken, if that is told."""
    if aux.img_time and _IMG_TIME.fullmatch(aux.img_time):
        try:
            return datetime.fromisoformat(aux.img_time).replace(tzinfo=_BEIJING)
        except ValueError:
            return None
    if aux.process_begin_time is not None and 0 <= aux.process_begin_time <= _LAST_SECOND * 1000:
        return datetime.fromtimestamp(aux.process_begin_time / 1000, UTC)
    return None
