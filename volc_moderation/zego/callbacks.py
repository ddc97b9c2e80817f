"""ZEGO's callbacks: verifies and parses them, and signs them for tests. Pure: the time is an argument.

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
    integer_or_text,
    is_encodable,
    json_or_text,
    load_json_or_form,
    load_model,
    normalize_secrets,
    required_text,
    unreadable_field,
)
from volc_moderation.event import Event, Evidence, Media, Verdict
from volc_moderation.wire import Lenient, dump_json


class RiskSource(enum.IntEnum):
    """The kind of content in which a risk was found."""

    NONE = 1000
    TEXT = 1001
    PICTURE = 1002
    AUDIO = 1003


@frozen(kw_only=True)
class MatchedList(Lenient):
    """One of the app's own word lists, with a word that was found."""

    name: str = ""


@frozen(kw_only=True)
class Face(Lenient):
    """A face: ratio and probability from 0 to 1, and location as x1, y1, x2, y2 in pixels from the top left."""

    name: str = ""
    id: str = ""
    face_ratio: float | None = None
    probability: float | None = None
    location: list[int] = field(factory=list)


@frozen(kw_only=True)
class OcrInfo(Lenient):
    """Recognised text in a picture."""

    text: str = ""
    matched_lists: list[MatchedList] = field(factory=list)


@frozen(kw_only=True)
class RiskDetail(Lenient):
    """The evidence for a risk."""

    risk_source: RiskSource | int | None = None
    audio_text: str = ""
    matched_lists: list[MatchedList] = field(factory=list)
    face_info_list: list[Face] = field(factory=list)
    ocr_info: OcrInfo | None = None


@frozen(kw_only=True)
class RiskInfo(Lenient):
    """One risk. The labels are for programs, ``risk_description`` is only for people."""

    risk_level: Verdict | str | None = None
    risk_description: str = ""
    risk_label1: str = ""
    risk_label2: str = ""
    risk_label3: str = ""
    probability: float | None = None
    risk_detail: RiskDetail | None = None


@frozen(kw_only=True)
class BusinessDetail(Lenient):
    """The evidence for a business label."""

    face_info_list: list[Face] = field(factory=list)


@frozen(kw_only=True)
class BusinessInfo(Lenient):
    """Something recognised that is not a risk, such as a language."""

    business_description: str = ""
    business_label1: str = ""
    business_label2: str = ""
    business_label3: str = ""
    confidence_level: int | None = None
    probability: float | None = None
    business_detail: BusinessDetail | None = None


@frozen(kw_only=True)
class Detail(RiskInfo):
    """The most serious risk in an audio segment (10 s) or a frame, and all risks in ``risk_info_list``.

    ``audio_text`` is the recognised speech of an audio moderation, and ``content`` that of a video moderation, preceded
    by the text of the segment before if that was requested. ``vad_status`` is 0 for silence. ``img_url`` is the URL of
    a frame.
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
    """The place and time of the content.

    ``process_begin_time`` and ``process_finish_time`` are in Unix milliseconds. ``img_time`` is text, in Beijing time.
    ``censor_stream_time`` is the number of moderated seconds, in a status event.
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
    """An event of ZEGO. ``code`` is 0 for success; other values are not documented."""

    code: int | None = None
    message: str = ""


@frozen(kw_only=True)
class CensorResult(ZegoEvent):
    """The base of the results of moderations."""

    result_task_id: str | None
    detail: Detail
    aux_info: AuxInfo


@frozen(kw_only=True)
class CensorStatus(ZegoEvent):
    """The base of the events that report the end of a task. ``status`` is 0, ended, the only documented value."""

    status: int | None
    aux_info: AuxInfo


class CensorAudioResult(CensorResult):
    """``censor_audio_v2_result``: the result of an audio moderation for ten seconds of a user's audio."""


class CensorAudioStatus(CensorStatus):
    """``censor_audio_v2_status``: the end of an audio moderation."""


class CensorVideoAudioResult(CensorResult):
    """``censor_video_v2_audio_result``: the result of a video moderation for ten seconds of a stream's audio."""


class CensorVideoImgResult(CensorResult):
    """``censor_video_v2_img_result``: the result of a video moderation for a frame of a stream."""


class CensorVideoAudioStatus(CensorStatus):
    """``censor_video_v2_audio_status``: the end of the audio task of a video moderation."""


class CensorVideoImgStatus(CensorStatus):
    """``censor_video_v2_img_status``: the end of the picture task of a video moderation."""


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


#: The default limit for the age of a callback, or for how far ahead it is. ZEGO delivers up to six times within 62 s.
#: It does not say how long it waits for each response, nor whether a repeat gets a new timestamp. The rest allows for
#: wrong clocks.
#: https://doc-zh.zego.im/article/19662
WITHIN_SECONDS: Final[float | None] = 300.0


def verify(body: bytes, secret: str | Sequence[str], *, now: float | None = None, within: float | None = None) -> None:
    """Check that a callback was signed with ``secret``, or with one of several during a rotation.

    The secret is the project's CallbackSecret, not its ServerSecret. ``within`` also refuses callbacks that were
    created more than that many seconds before or after ``now``, the Unix time. ``WITHIN_SECONDS`` is a suitable value.
    None accepts any age.

    The signature covers only the timestamp and a nonce: anybody who sees one callback can send others with any content.
    ``within`` limits for how long, but nothing here prevents it before. So receive callbacks over https, at a URL that
    nobody can guess.

    Raises ``CallbackError``, whose ``reason`` is ``forged``, ``stale`` or ``unreadable``; ``ConfigurationError`` for an
    empty secret or a wrong ``within``.
    """
    secrets = normalize_secrets(secret)
    envelope = _Envelope.read(body)
    check_signature(envelope.signature, [_digest(one, envelope.timestamp, envelope.nonce) for one in secrets])
    check_age(envelope.created_at, now, within)


def parse(body: bytes) -> ZegoEvent:
    """Parse a callback, which must be verified first. Raises ``CallbackError`` if it lacks the documented form."""
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
        ids: dict[str, Any] = {name: _first_text(fields, keys) for name, keys in _IDS.items()}
        key = dedupe_key("zego", *parts, envelope.timestamp, envelope.nonce)
        return ZegoEvent(**common, **ids, occurred_at=envelope.created_at, dedupe_key=key)
    task_id = required_text(fields, "TaskId")
    aux_info = fields.get("AuxInfo")
    aux = load_model(aux_info if isinstance(aux_info, dict) else {}, AuxInfo, "AuxInfo")
    common |= {"task_id": task_id, "room_id": aux.room_id, "user_id": aux.user_id, "aux_info": aux}
    if envelope.event in STATUSES:
        status_type, media = STATUSES[envelope.event]
        status = fields.get("Status")
        common |= {"stream_id": aux.stream_id, "media": media, "status": status if type(status) is int else None}
        return status_type(**common, occurred_at=envelope.created_at, dedupe_key=dedupe_key("zego", *parts, task_id))
    result_type, media = RESULTS[envelope.event]
    detail = load_model(fields.get("Detail") or {}, Detail, "Detail")
    result_task_id = _first_text(fields, ("ResultTaskId",))
    identity = ("id", result_task_id) if result_task_id else ("nonce", envelope.nonce)
    # The time of the content is the same in all deliveries.
    content_time = str(aux.img_time or aux.process_begin_time or "")
    return result_type(
        **common,
        **_moderation_fields(detail),
        media=media,
        stream_id=aux.stream_id or _stream_id_in(result_task_id, task_id),
        occurred_at=_captured_at(aux) or envelope.created_at,
        dedupe_key=dedupe_key("zego", *parts, task_id, *identity, content_time),
        result_task_id=result_task_id,
        detail=detail,
    )


def sign(fields: Mapping[str, object], secret: str) -> bytes:
    """Return the body of a callback with these fields (``Timestamp``, ``Nonce``) and their signature, for tests."""
    signature = _digest(secret, str(fields["Timestamp"]), str(fields["Nonce"]))
    return dump_json({**fields, "Signature": signature})


#: The vendor's spellings of the ids in events that have no class of their own here.
_IDS = {
    "room_id": ("RoomId", "room_id"),
    "user_id": ("UserId", "user_id", "user_account"),
    "stream_id": ("StreamId", "stream_id"),
    "task_id": ("TaskId", "task_id"),
}

#: The fields of a form whose values are not text in JSON. The documents say "Format is JSON; you must UrlDecode it",
#: but ZEGO's support can switch a project to forms. No page describes the form; ZEGO's samples for the signature read
#: the fields of the envelope as its parameters.
#: https://doc-zh.zego.im/article/21500, https://doc-zh.zego.im/faq/callback-form-data-issue
_FORM_TYPES: dict[str, Callable[[str], object]] = {
    **dict.fromkeys(("AppId", "Timestamp", "Code", "Status"), integer_or_text),
    **dict.fromkeys(("Detail", "AuxInfo"), json_or_text),
}

#: A Unix time in seconds up to the year 5138. A longer number is not in seconds.
_TIMESTAMP = re.compile(r"[0-9]{1,11}")
_APP_ID = re.compile(r"[0-9]{1,10}")
#: The end of the year 9999, the last that ``datetime`` can represent, in Unix seconds.
_MAX_UNIX_TIME = 253_402_300_799


@frozen(kw_only=True)
class _Envelope:
    fields: dict[str, object]
    event: str
    app_id: str
    timestamp: str
    nonce: str
    signature: object
    created_at: datetime

    @classmethod
    def read(cls, body: bytes) -> "_Envelope":
        """Read the fields that all events have, in PascalCase (moderation) or in lower case (rooms and streams)."""
        fields = load_json_or_form(body, _FORM_TYPES)
        if fields is None:
            raise unreadable_field("the body", "a JSON object, or a form with each name once")
        texts = {name: _as_text(fields.get(name, fields.get(name.lower()))) for name in ("AppId", "Timestamp", "Nonce")}
        timestamp = required_text(texts, "Timestamp", is_valid=_TIMESTAMP.fullmatch)
        return cls(
            fields=fields,
            event=required_text(fields, "Event", "event"),
            app_id=required_text(texts, "AppId", is_valid=_APP_ID.fullmatch),
            timestamp=timestamp,
            nonce=required_text(texts, "Nonce"),
            signature=fields.get("Signature", fields.get("signature")),
            created_at=datetime.fromtimestamp(int(timestamp), UTC),
        )


def _as_text(value: object) -> object:
    return str(value) if type(value) is int else value


def _digest(secret: str, timestamp: str, nonce: str) -> str:
    text = "".join(sorted([secret, timestamp, nonce], key=str.encode))
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _first_text(fields: Mapping[str, object], names: Sequence[str]) -> str | None:
    texts = (fields.get(name) for name in names)
    return next((text for text in texts if isinstance(text, str) and text and is_encodable(text)), None)


def _moderation_fields(detail: Detail) -> dict[str, Any]:
    urls = (detail.audio_url, detail.pre_audio_url, detail.img_url)
    texts = dict.fromkeys((detail.audio_text, detail.content, *_picture_texts(detail)))
    reasons = dict.fromkeys(map(_reason, (detail, *detail.risk_info_list)))
    return {
        "verdict": detail.risk_level,
        "reasons": tuple(filter(None, reasons)),
        "evidence": Evidence(urls=tuple(filter(None, urls)), texts=tuple(filter(None, texts))),
    }


def _reason(risk: RiskInfo) -> str:
    labels = [label for label in (risk.risk_label1, risk.risk_label2, risk.risk_label3) if label]
    return "" if labels[:1] == ["normal"] else ":".join(labels)


def _picture_texts(detail: Detail) -> Iterator[str]:
    for risk in (detail, *detail.risk_info_list):
        if risk.risk_detail is not None and risk.risk_detail.ocr_info is not None:
            yield risk.risk_detail.ocr_info.text


def _stream_id_in(result_task_id: str | None, task_id: str) -> str | None:
    """Return the StreamId in ``<TaskId>_<StreamId>_<number>``. ZEGO's FAQ: older callbacks have it nowhere else."""
    prefix = f"{task_id}_"
    if result_task_id is None or not result_task_id.startswith(prefix):
        return None
    stream_id, _, number = result_task_id.removeprefix(prefix).rpartition("_")
    return stream_id if stream_id and number.isascii() and number.isdecimal() else None


_BEIJING = timezone(timedelta(hours=8))
_IMG_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?")


def _captured_at(aux: AuxInfo) -> datetime | None:
    """Return the time at which the content was captured, if the callback has it."""
    if aux.img_time and _IMG_TIME.fullmatch(aux.img_time):
        try:
            return datetime.fromisoformat(aux.img_time).replace(tzinfo=_BEIJING)
        except ValueError:
            return None
    if aux.process_begin_time is not None and 0 <= aux.process_begin_time <= _MAX_UNIX_TIME * 1000:
        return datetime.fromtimestamp(aux.process_begin_time / 1000, UTC)
    return None
