"""Volcengine's callbacks: verifies and parses them, and signs them for tests. Pure: the time is an argument.

https://www.volcengine.com/docs/6348/69820 (envelope, signature), https://www.volcengine.com/docs/6348/104534 (results)
"""

import enum
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from attrs import field, frozen

from volc_moderation.action import wire_name
from volc_moderation.callback_checks import (
    check_age,
    check_signature,
    dedupe_key,
    load_model,
    load_object,
    normalize_secrets,
    required_text,
    unreadable_field,
)
from volc_moderation.event import Event, Evidence, Media, Verdict
from volc_moderation.wire import Lenient, dump_json


class WebcastChange(enum.IntEnum):
    """What happened to a webcast. The page of StartWebcast documents these values."""

    STARTED = 1
    REFRESHED = 4
    RESCHEDULED = 5


@frozen(kw_only=True)
class Risk(Lenient):
    """The name of a moderation model, and its score from 0 to 1."""

    name: str
    score: float | None = None


@frozen(kw_only=True)
class MachineReview(Lenient):
    """The content of a ``MachineReviewResult``. ``ai_result_origin`` is the output of the model: JSON as text."""

    room_id: str | None = None
    user_id: str | None = None
    media_type: int | None = None
    images: list[str] = field(factory=list)
    audio: str | None = None
    audio_text: str | None = None
    hit_reasons: list[str] = field(factory=list)
    risk_hit: list[Risk] = field(factory=list)
    risk_all: list[Risk] = field(factory=list, metadata=wire_name("RiskALL"))
    suggest: Verdict | str | None = None
    ai_result_origin: str | None = field(default=None, metadata=wire_name("AIResultOrigin"))
    audio_segment_info: dict[str, object] | None = None


@frozen(kw_only=True)
class WebcastReport(Lenient):
    """The content of a webcast's event. ``reason`` is, for example, ``PageBlank``, ``PageFreeze`` or ``PageCrash``."""

    room_id: str | None = None
    user_id: str | None = None
    task_id: str | None = None
    status: WebcastChange | int | None = None
    reason: str | None = None


@frozen(kw_only=True)
class VolcengineEvent(Event):
    """An event of Volcengine.

    :param event_id: identifies the event in all its deliveries; None for older callbacks.
    :param version: the version of the callback, such as ``2020-12-01``.
    """

    event_id: str | None
    version: str


@frozen(kw_only=True)
class MachineReviewResult(VolcengineEvent):
    """The result of a moderation, with its content in ``detail``.

    https://www.volcengine.com/docs/6348/104534
    """

    detail: MachineReview


@frozen(kw_only=True)
class WebcastEvent(VolcengineEvent):
    """A change of a webcast, with its content in ``detail``.

    The page of StartWebcast documents some changes. There may be more.

    https://www.volcengine.com/docs/6348/1188207
    """

    detail: WebcastReport


#: How old a callback may be by default: any age, because Volcengine does not say for how long it repeats deliveries.
#: https://www.volcengine.com/docs/6348/69820
WITHIN_SECONDS: Final[float | None] = None


def verify(body: bytes, secret: str | Sequence[str], *, now: float | None = None, within: float | None = None) -> str:
    """Check that a callback was signed with ``secret``, or with one of several during a rotation.

    Returns a dedupe key of the signature. A callback whose signature was already handled is a repeat, whatever else it
    contains.

    ``within`` also refuses callbacks that were created more than that many seconds before or after ``now``, the Unix
    time. Volcengine defines no such limit, and repeats deliveries after a while.

    The signature covers the sorted values of the envelope, so values could swap places without invalidating it. Their
    forms prevent this: times, versions and JSON objects cannot replace each other. The older of the two forms of the
    signature omits EventId, and nothing marks where a value ends, so a callback can be sent again under another id. Its
    signature stays the same, which is why ``Webhooks`` also remembers signatures.

    Raises ``CallbackError``, whose ``reason`` is ``forged``, ``stale`` or ``unreadable``; ``ConfigurationError`` for an
    empty secret or a wrong ``within``.
    """
    secrets = normalize_secrets(secret)
    envelope = _Envelope.read(body)
    digests = [digest for one in secrets for digest in envelope.valid_signatures(one)]
    check_signature(envelope.fields.get("Signature"), digests)
    check_age(envelope.created_at, now, within)
    return dedupe_key("volcengine", "signature", str(envelope.fields["Signature"]))


def parse(body: bytes) -> VolcengineEvent:
    """Parse a callback, which must be verified first. Raises ``CallbackError`` if it lacks the documented form."""
    envelope = _Envelope.read(body)
    content = load_object(envelope.event_data)
    data = {"EventData": envelope.event_data} if content is None else content
    common: dict[str, Any] = {
        "vendor": "volcengine",
        "name": envelope.event_type,
        "app_id": envelope.app_id,
        "event_id": envelope.event_id,
        "version": envelope.version,
        "occurred_at": envelope.created_at,
        "dedupe_key": envelope.dedupe_key,
        "data": data,
    }
    if envelope.event_type == "MachineReviewResult":
        review = load_model(content, MachineReview, "EventData")
        if not isinstance(data.get("Suggest"), (str, type(None))):
            raise unreadable_field("EventData.Suggest", "a text")
        return MachineReviewResult(**common, **_moderation_fields(review), detail=review)
    if envelope.event_type.lower().startswith("webcast"):
        report = load_model(content, WebcastReport, "EventData")
        ids: dict[str, Any] = {"room_id": report.room_id, "user_id": report.user_id, "task_id": report.task_id}
        # One line of the documents has a space before a reason.
        reasons = (report.reason.strip(),) if report.reason else ()
        return WebcastEvent(**common, **ids, reasons=reasons, detail=report)
    ids = {name: data[key] for name, key in _IDS.items() if isinstance(data.get(key), str)}
    return VolcengineEvent(**common, **ids)


def sign(envelope: Mapping[str, str], secret: str) -> bytes:
    """Return the body of a callback with these fields and their signature, for tests."""
    fields = {name: value for name, value in envelope.items() if name != "Signature"}
    nonce = "Nonce" if "Nonce" in fields else "Noce"
    values = [fields[name] for name in (*_SIGNED, "EventId", nonce) if name in fields]
    return dump_json({**fields, "Signature": _digest(values, secret)})


#: The vendor's spelling of the ids in events that have no class of their own here.
_IDS = {"room_id": "RoomId", "user_id": "UserId", "task_id": "TaskId"}

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

#: The signed fields and their forms. EventId, which older callbacks lack, and Nonce, which some spell Noce, are signed
#: too.
_SIGNED: dict[str, Callable[[str], object]] = {
    "EventTime": _TIME.fullmatch,
    "Version": _VERSION.fullmatch,
    "EventType": bool,
    "EventData": bool,
    "AppId": bool,
}


@frozen(kw_only=True)
class _Envelope:
    fields: dict[str, object]
    event_type: str
    event_data: str
    event_id: str | None
    app_id: str
    version: str
    values: tuple[str, ...]
    created_at: datetime

    @classmethod
    def read(cls, body: bytes) -> "_Envelope":
        fields = load_object(body)
        if fields is None:
            raise unreadable_field("the body", "a JSON object")
        values = [required_text(fields, name, is_valid=has_form) for name, has_form in _SIGNED.items()]
        event_time, version, event_type, event_data, app_id = values
        nonce = required_text(fields, "Nonce", "Noce")
        event_id = required_text(fields, "EventId") if fields.get("EventId") not in (None, "") else None
        try:
            created_at = datetime.fromisoformat(event_time)
        except ValueError:
            created_at = None
        if created_at is None:  # raised outside the except block: a chained error would hold the vendor's text
            raise unreadable_field("EventTime", "a time")
        return cls(
            fields=fields,
            event_type=event_type,
            event_data=event_data,
            event_id=event_id,
            app_id=app_id,
            version=version,
            values=(*values, nonce),
            created_at=created_at,
        )

    def valid_signatures(self, secret: str) -> list[str]:
        """Return the valid signatures: over eight values, or over seven, without EventId.

        The documents describe eight values. Their own example has seven, as callbacks had before EventId was added.
        """
        with_id = [] if self.event_id is None else [_digest([*self.values, self.event_id], secret)]
        return [*with_id, _digest(self.values, secret)]

    @property
    def dedupe_key(self) -> str:
        """The key that identifies the event: by its id, or by all values of an older callback, which has no EventId."""
        identity = ("values", *self.values) if self.event_id is None else ("id", self.event_id)
        return dedupe_key("volcengine", self.app_id, *identity)


def _digest(values: Sequence[str], secret: str) -> str:
    # The vendor sorts by bytes. Code points sort in the same order.
    return hashlib.sha256("".join(sorted([*values, secret])).encode()).hexdigest()


_MEDIA: dict[int | None, Media] = {1: Media.VIDEO, 2: Media.AUDIO}


def _moderation_fields(review: MachineReview) -> dict[str, Any]:
    urls = [*review.images, *filter(None, [review.audio])]
    return {
        "room_id": review.room_id,
        "user_id": review.user_id,
        "verdict": review.suggest,
        "media": _MEDIA.get(review.media_type),
        "reasons": tuple(review.hit_reasons or [risk.name for risk in review.risk_hit]),
        "evidence": Evidence(urls=tuple(urls), texts=tuple(filter(None, [review.audio_text]))),
    }
