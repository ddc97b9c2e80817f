"""The events that vendors report by callback, in terms that hold for every vendor."""

import enum
from collections.abc import Mapping
from datetime import datetime

import attrs


class Verdict(enum.StrEnum):
    """What the moderation recommends for the content."""

    PASS = "PASS"  # noqa: S105 - not a password
    REVIEW = "REVIEW"
    REJECT = "REJECT"


class Media(enum.StrEnum):
    """The kind of content that was moderated."""

    AUDIO = "audio"
    VIDEO = "video"


@attrs.frozen(kw_only=True)
class Evidence:
    """The evidence for a verdict.

    :param urls: addresses of pictures and audio; they expire.
    :param texts: recognised speech and text.
    """

    urls: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Event:
    """A callback. Fields that its vendor does not report are None or empty.

    :param vendor: ``volcengine`` or ``zego``.
    :param name: the vendor's name of the event, such as ``MachineReviewResult`` or ``censor_audio_v2_result``.
    :param app_id: the app, as the vendor spells its id.
    :param room_id: the room.
    :param user_id: the user whose content was moderated, or whom the event is about.
    :param stream_id: ZEGO only.
    :param task_id: the id of a ZEGO moderation, or of a Volcengine webcast.
    :param verdict: None if the event is not the result of a moderation; a str if the documents do not list the value.
    :param media: the kind of content that was moderated.
    :param reasons: the vendor's labels, the most serious first.
    :param evidence: pictures, audio and texts on which the verdict is based.
    :param occurred_at: when the content was captured, or else when the callback was created; with a time zone.
    :param dedupe_key: identifies the event: all deliveries of the event have the same key.
    :param data: the whole content as the vendor spells it; for Volcengine, the content of EventData.
    """

    vendor: str
    name: str
    app_id: str
    room_id: str | None = None
    user_id: str | None = None
    stream_id: str | None = None
    task_id: str | None = None
    verdict: Verdict | str | None = None
    media: Media | None = None
    reasons: tuple[str, ...] = ()
    evidence: Evidence = Evidence()
    occurred_at: datetime | None = None
    dedupe_key: str
    data: Mapping[str, object] = attrs.field(repr=False)
