"""The actions of ZEGO's streaming moderation (Server API v2). Results come by callback only.

https://doc-zh.zego.im/real-time-video-server/api-reference/moderation/ and, in English,
https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/
"""

from collections.abc import Sequence
from typing import ClassVar, Generic, Literal, TypeVar

from attrs import field, frozen

from volc_moderation.action import (
    Action,
    Quota,
    as_tuple,
    identifier,
    integer,
    list_of,
    one_of,
    optional,
    text,
    url,
)
from volc_moderation.errors import InvalidActionError

R = TypeVar("R")

#: Which table explains a code: the same number means different things in different families.
Family = Literal["moderation", "room", "media-service", "media-file", "mix"]

#: https://docs.zegocloud.com/article/18041: 100 requests per second over all rooms of one AppID.
MODERATION = Quota(100)

LANGUAGES = (
    *("zh", "ja", "ko", "th", "vi", "ms", "tl", "id", "hi"),
    *("ar", "tr", "en", "es", "pt", "it", "fr", "de", "ru"),
)


class ZegoAction(Action[R], Generic[R]):
    """The base of ZEGO's actions."""

    __slots__ = ()

    family: ClassVar[Family] = "moderation"


@frozen(kw_only=True)
class Done:
    """A plain yes: the answer has no data."""


@frozen(kw_only=True)
class CensorTask:
    """A moderation that was started. Keep the ``task_id``: only it stops the task."""

    task_id: str


@frozen(kw_only=True)
class StartCensorAudioV2(ZegoAction[CensorTask]):
    """Start the moderation of all audio streams of a room.

    ZEGO does not say what a second start does, so it is not repeated after an outcome that nobody knows.

    https://docs.zegocloud.com/article/18040, https://doc-zh.zego.im/article/19648

    :param room_id: at most 128 bytes.
    :param event_id: the scene, which decides how strict: ``live_streaming``, ``audio_room``, ``private_chat``, or one
        arranged with ZEGO.
    :param audio_language: one of ``zh ja ko th vi ms tl id hi ar tr en es pt it fr de ru``.
    :param risk_type_list: what to look for: ``ADLAW EROTIC DIRTY POLITY BAN VIOLENT ADVERT MOAN ANTHEN BANDAUDIO
        AUDIOPOLITICAL``. Other values are passed on. The schema wants at least one, the text allows an empty list next
        to a ``business_type_list``.
    :param business_type_list: what to recognise besides: ``MOINIR SING LANGUAGE VOICE``.
    :param label_language: of the labels in callbacks, ``zh`` or ``en``. Required by some pages, so always sent.
    :param result_callback_url: where results go, instead of the console's address; http or https.
    :param status_callback_url: where the end of the task is reported; http or https.
    :param is_mixing_enabled: 0 (default) judges each stream alone, 1 judges all of a room's audio mixed.
    :param return_all_text: 0 (default) reports only what does not pass, 1 everything.
    :param return_pre_text: 1 adds the text of the segment before a violation; default 0.
    :param return_pre_audio: 1 adds an address of 20 s of audio around a violation; default 0.
    :param return_finish_info: 1 reports the end of the task; default 0.
    """

    quota = MODERATION
    repeatable = False
    result = CensorTask

    room_id: str = field(validator=text(most_bytes=128))
    event_id: str = field(validator=text())
    audio_language: str = field(validator=one_of(*LANGUAGES))
    risk_type_list: Sequence[str] = field(default=(), converter=as_tuple, validator=list_of(text()))
    business_type_list: Sequence[str] | None = field(
        default=None, converter=as_tuple, validator=optional(list_of(text()))
    )
    label_language: str = field(default="zh", validator=one_of("zh", "en"))
    result_callback_url: str | None = field(default=None, validator=optional(url()))
    status_callback_url: str | None = field(default=None, validator=optional(url()))
    is_mixing_enabled: int | None = field(default=None, validator=optional(integer(0, 1)))
    return_all_text: int | None = field(default=None, validator=optional(integer(0, 1)))
    return_pre_text: int | None = field(default=None, validator=optional(integer(0, 1)))
    return_pre_audio: int | None = field(default=None, validator=optional(integer(0, 1)))
    return_finish_info: int | None = field(default=None, validator=optional(integer(0, 1)))

    def __attrs_post_init__(self) -> None:
        if not self.risk_type_list and not self.business_type_list:
            raise InvalidActionError.of(
                self.name, "risk_type_list", "a list of at least one item, unless business_type_list has one", ()
            )


@frozen(kw_only=True)
class StopCensorAudioV2(ZegoAction[Done]):
    r"""Stop an audio moderation. Without it, a task ends after about five minutes without a stream.

    https://docs.zegocloud.com/article/18041, https://doc-zh.zego.im/article/19650

    :param task_id: what the start returned. ZEGO publishes no rule; its ids are 32 hex digits, and what does not match
        ``[a-zA-Z0-9_@\-\.]{1,128}`` is refused as a mistake.
    """

    quota = MODERATION
    result = Done

    task_id: str = field(validator=identifier())
