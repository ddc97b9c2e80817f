"""Volcengine's callbacks: verify them, read them, and sign them for tests. Pure: the time is an argument.

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
    load_object,
    model_of,
    secrets_of,
    text_of,
    unreadable,
)
from volc_moderation.event import Event, Evidence, Lenient, Media, Verdict
from volc_moderation.wire import dump_json


class WebcastChange(enum.IntEnum):
    """What happened to a webcast. The page of StartWebcast names these."""

    STARTED = 1
    REFRESHED = 4
    RESCHEDULED = 5


@frozen(kw_only=True)
class Risk(Lenient):
    """A model and its score, 0 to 1."""

    name: str
    score: float | None = None


@frozen(kw_only=True)
class MachineReview(Lenient):
    """The content of a ``MachineReviewResult``. ``ai_result_origin`` is what the model said, JSON in a text."""

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
    """The content of a webcast's event: ``reason`` is such as ``PageBlank``, ``PageFreeze``, ``PageCrash``."""

    room_id: str | None = None
    user_id: str | None = None
    task_id: str | None = None
    status: WebcastChange | int | None = None
    reason: str | None = None


@frozen(kw_only=True)
class VolcengineEvent(Event):
    """An event of Volcengine. ``event_id`` is the same for all deliveries; ``version`` is that of the callback."""

    event_id: str | None
    version: str


@frozen(kw_only=True)
class MachineReviewResult(VolcengineEvent):
    """The result of a moderation.

    https://www.volcengine.com/docs/6348/104534
    """

    detail: MachineReview


@frozen(kw_only=True)
class WebcastEvent(VolcengineEvent):
    """A change of a webcast. The page of StartWebcast names some; there may be more.

    https://www.volcengine.com/docs/6348/1188207
    """

    detail: WebcastReport


#: How old a callback may be: any age, because Volcengine does not say how long it delivers again.
#: https://www.volcengine.com/docs/6348/69820
WITHIN_SECONDS: Final[float | None] = None


def verify(body: bytes, secret: str | Sequence[str], *, now: float | None = None, within: float | None = None) -> str:
    """Check that a callback was signed with ``secret``, or with one of several while one is rotated.

    Returns a key of the signature: what comes with one that was handled is a repeat, whatever else it says.

    ``within`` also refuses what was made more than so many seconds before or after ``now``, the Unix time. Volcengine
    defines no such window, and delivers again after a while.

    The signature covers the values of the envelope, sorted, so that values could change places and still be signed.
    What keeps them in place is their form: times, versions and JSON objects cannot stand for each other. The older of
    its two forms leaves EventId out, and nothing tells where a value ends, so that a callback can come again under
    another id. Its signature stays the same: ``Webhooks`` remembers that, too.

    Raises ``CallbackError``, whose ``reason`` is ``forged``, ``stale`` or ``unreadable``; ``ConfigurationError`` for an
    empty secret.
    """
    secrets = secrets_of(secret)
    envelope = _Envelope.read(body)
    check_signature(envelope.fields.get("Signature"), [d for one in secrets for d in envelope.digests(one)])
    check_age(envelope.made_at, now, within)
    return dedupe_key("volcengine", "signature", str(envelope.fields["Signature"]))


def parse(body: bytes) -> VolcengineEvent:
    """Read a callback, which must have been verified. Raises ``CallbackError`` if it has not the documented form."""
    envelope = _Envelope.read(body)
    content = load_object(envelope.event_data)
    data = {"EventData": envelope.event_data} if content is None else content
    common: dict[str, Any] = {
        "vendor": "volcengine",
        "name": envelope.event_type,
        "app_id": envelope.app_id,
        "event_id": envelope.event_id,
        "version": envelope.version,
        "occurred_at": envelope.made_at,
        "dedupe_key": envelope.dedupe_key,
        "data": data,
    }
    if envelope.event_type == "MachineReviewResult":
        review = model_of(content, MachineReview, "EventData")
        if not isinstance(data.get("Suggest"), (str, type(None))):
            raise unreadable("EventData.Suggest", "a text")
        return MachineReviewResult(**common, **_neutral(review), detail=review)
    if envelope.event_type.lower().startswith("webcast"):
        report = model_of(content, WebcastReport, "EventData")
        who: dict[str, Any] = {"room_id": report.room_id, "user_id": report.user_id, "task_id": report.task_id}
        # A line of the documents has a blank before a reason.
        reasons = (report.reason.strip(),) if report.reason else ()
        return WebcastEvent(**common, **who, reasons=reasons, detail=report)
    who = {name: data[key] for name, key in _WHO.items() if isinstance(data.get(key), str)}
    return VolcengineEvent(**common, **who)


def sign(envelope: Mapping[str, str], secret: str) -> bytes:
    """Return the body of a callback with these fields and their signature: for tests."""
    fields = {name: value for name, value in envelope.items() if name != "Signature"}
    nonce = "Nonce" if "Nonce" in fields else "Noce"
    values = [fields[name] for name in (*_SIGNED, "EventId", nonce) if name in fields]
    return dump_json({**fields, "Signature": _digest(values, secret)})


_WHO = {"room_id": "RoomId", "user_id": "UserId", "task_id": "TaskId"}

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})")
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

#: What is signed, and its form; besides EventId, which older callbacks do not have, and Nonce, which some spell Noce.
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
    made_at: datetime

    @classmethod
    def read(cls, body: bytes) -> "_Envelope":
        fields = load_object(body)
        if fields is None:
            raise unreadable("the body", "a JSON object")
        values = [text_of(fields, name, is_right=form) for name, form in _SIGNED.items()]
        event_time, version, event_type, event_data, app_id = values
        nonce = text_of(fields, "Nonce", "Noce")
        event_id = text_of(fields, "EventId") if fields.get("EventId") not in (None, "") else None
        try:
            made_at = datetime.fromisoformat(event_time)
        except ValueError:
            made_at = None
        if made_at is None:  # raised here: what came must not travel in the error's context
            raise unreadable("EventTime", "a time")
        return cls(
            fields=fields,
            event_type=event_type,
            event_data=event_data,
            event_id=event_id,
            app_id=app_id,
            version=version,
            values=(*values, nonce),
            made_at=made_at,
        )

    def digests(self, secret: str) -> list[str]:
        """Return the signatures that would be right: of eight values, or of seven, without EventId.

        The documents describe eight; their own example is of seven, as callbacks were before they had an EventId.
        """
        with_id = [] if self.event_id is None else [_digest([*self.values, self.event_id], secret)]
        return [*with_id, _digest(self.values, secret)]

    @property
    def dedupe_key(self) -> str:
        """What tells this event from all others. Older callbacks have no EventId."""
        which = ("values", *self.values) if self.event_id is None else ("id", self.event_id)
        return dedupe_key("volcengine", self.app_id, *which)


def _digest(values: Sequence[str], secret: str) -> str:
    # Sorted by bytes, as the vendor does; code points sort alike.
    return hashlib.sha256("".join(sorted([*values, secret])).encode()).hexdigest()


_MEDIA: dict[int | None, Media] = {1: Media.VIDEO, 2: Media.AUDIO}


def _neutral(review: MachineReview) -> dict[str, Any]:
    urls = [*review.images, *filter(None, [review.audio])]
    return {
        "room_id": review.room_id,
        "user_id": review.user_id,
        "verdict": review.suggest,
        "media": _MEDIA.get(review.media_type),
        "reasons": tuple(review.hit_reasons or [risk.name for risk in review.risk_hit]),
        "evidence": Evidence(urls=tuple(urls), texts=tuple(filter(None, [review.audio_text]))),
    }
