"""What a vendor's callback tells, in terms that hold for every vendor."""

import enum
from collections.abc import Mapping
from datetime import datetime

import attrs


class Verdict(enum.StrEnum):
    """What the moderation thinks of the material."""

    PASS = "PASS"  # noqa: S105 - not a password
    REVIEW = "REVIEW"
    REJECT = "REJECT"


class Media(enum.StrEnum):
    """What was looked at."""

    AUDIO = "audio"
    VIDEO = "video"


@attrs.frozen(kw_only=True)
class Evidence:
    """What the verdict rests on: addresses of pictures and audio, which expire, and recognised texts."""

    urls: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()


class Lenient:
    """The base of models of what a vendor sends unasked.

    A field that has a default and does not fit its type counts as absent: a wrong ornament must not cost a REJECT.
    """

    __slots__ = ()


@attrs.frozen(kw_only=True)
class Event:
    """A callback. What its vendor does not tell is None or empty.

    :param vendor: ``volcengine`` or ``zego``.
    :param name: the vendor's name of the event, such as ``MachineReviewResult`` or ``censor_audio_v2_result``.
    :param stream_id: ZEGO only; of a video moderation.
    :param task_id: of ZEGO's moderations and of Volcengine's webcasts.
    :param verdict: None for what is no result of a moderation; a str for one that the documents do not know.
    :param reasons: the vendor's labels, the gravest first.
    :param occurred_at: when the material was taken, or else when the callback was made; with a time zone.
    :param dedupe_key: the same for all deliveries of an event.
    :param data: all that came, as the vendor spells it; of Volcengine's, what is in EventData.
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
