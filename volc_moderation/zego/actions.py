"""The actions of ZEGO's streaming moderation (Server API v2). Results come by callback only.

Streaming moderation must be enabled for the project: in the console, or by ZEGO's support. Languages, scenes and what
to look for are lists that ZEGO extends: what is not in them yet is passed on.

https://doc-zh.zego.im/real-time-video-server/api-reference/moderation/ and, in English,
https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/
"""

from collections.abc import Sequence
from typing import ClassVar, Generic, Literal, TypeVar

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Action, Quota
from volc_moderation.errors import InvalidActionError

R = TypeVar("R")

#: Which table explains a code: the same number means different things in different families.
Family = Literal["moderation", "room", "media-service", "media-file", "mix"]

#: https://docs.zegocloud.com/article/18041: 100 requests per second over all rooms of one AppID.
MODERATION = Quota(100)

#: The lengths of ids, in bytes, are those of the client SDK's class.
ROOM_ID = validators.text(most_bytes=128)
USER_ID = validators.text(most_bytes=64)
STREAM_ID = validators.text(most_bytes=256)


class ZegoAction(Action[R], Generic[R]):
    """The base of ZEGO's actions."""

    __slots__ = ()

    room_throttle_codes = frozenset({207})
    family: ClassVar[Family] = "moderation"
    #: What ZEGO allows in the test environment of a project that has one, if that is less.
    test_quota: ClassVar[Quota | None] = None
    #: Codes other than 0 that come with a result instead of an error; it has a field ``code``.
    result_codes: ClassVar[frozenset[int]] = frozenset()


@frozen(kw_only=True)
class Done:
    """A plain yes: the answer has no data."""


@frozen(kw_only=True)
class CensorTask:
    """A moderation that was started. Keep the ``task_id``: only it stops the task."""

    task_id: str = field(validator=validators.given())


@frozen(kw_only=True)
class IdentifyToken:
    """The result of GenerateIdentifyToken. ``remain_time`` is in seconds."""

    identify_token: str = field(repr=False, validator=validators.given())
    remain_time: int


@frozen(kw_only=True)
class AudioParam:
    """What a video moderation does about audio. Without it, or with both lists empty, audio is not moderated.

    :param risk_type_list: ``EROTIC DIRTY POLITY BAN VIOLENT ADVERT MOAN ANTHEN BANEDAUDIO``; others are passed on.
        (For banned songs the page of the audio moderation has ``BANDAUDIO``.)
    :param business_type_list: ``MOINIR SING LANGUAGE VOICE``; other values are passed on.
    :param audio_language: deprecated by ZEGO since 2025-11-13: use the ``language`` of the action.
    :param return_all_text: 0 (default) reports only what does not pass, 1 everything.
    :param return_pre_text: 1 adds the text of the segment before a violation; default 0.
    :param return_pre_audio: 1 adds an address of 20 s of audio around a violation; default 0.
    :param result_callback_url: where results about audio go; http or https.
    :param status_callback_url: where the end of the audio half is reported; http or https.
    """

    risk_type_list: Sequence[str] | None = field(default=None, converter=validators.as_tuple)
    business_type_list: Sequence[str] | None = field(default=None, converter=validators.as_tuple)
    audio_language: str | None = None
    return_all_text: int | None = None
    return_pre_text: int | None = None
    return_pre_audio: int | None = None
    result_callback_url: str | None = field(default=None, converter=validators.blank_as_none)
    status_callback_url: str | None = field(default=None, converter=validators.blank_as_none)


@frozen(kw_only=True)
class VideoParam:
    """What a video moderation does about pictures. At least one of the two lists must have an item.

    :param risk_type_list: ``IMGTEXTRISK`` for text in frames; ``POLITY EROTIC VIOLENT QRCODE ADVERT`` for what they
        show. Other values are passed on.
    :param business_type_list: ``AGE PHOTOMATERIALLOGO FACEDETECTION BEAUTY``; other values are passed on.
    :param return_all_img: 0 (default) reports only frames that do not pass, 1 all, which ZEGO recommends.
    :param detect_frequency: seconds between two frames, 1 to 60 (3).
    :param result_callback_url: where results about pictures go; http or https.
    :param status_callback_url: where the end of the picture half is reported; http or https.
    """

    risk_type_list: Sequence[str] | None = field(default=None, converter=validators.as_tuple)
    business_type_list: Sequence[str] | None = field(default=None, converter=validators.as_tuple)
    return_all_img: int | None = None
    detect_frequency: int | None = None
    result_callback_url: str | None = field(default=None, converter=validators.blank_as_none)
    status_callback_url: str | None = field(default=None, converter=validators.blank_as_none)


@frozen(kw_only=True)
class StartCensorAudioV2(ZegoAction[CensorTask]):
    """Start the moderation of all audio streams of a room: those of now, and those that are published later.

    A publisher can opt out on the client side (``streamCensorFlag`` 1 of the client SDK's ``ZegoPublisherConfig``).

    ZEGO does not say what a second start does, so it is not repeated after an outcome that nobody knows. After 50006,
    50007 and 50009 it is, for ZEGO recommends that; but ZEGO does not say that nothing was started. So an error that
    follows has ``maybe_sent``, and a second task may run: both report, and both bill until they are stopped or the room
    has been empty for about five minutes.

    https://docs.zegocloud.com/article/18040, https://doc-zh.zego.im/article/19648

    :param room_id: at most 128 bytes.
    :param event_id: the scene, which decides how strict: ``live_streaming``, ``audio_room``, ``private_chat``, or one
        arranged with ZEGO.
    :param audio_language: ``zh ja ko th vi ms tl id hi ar tr en es pt it fr de ru``. Other values are passed on.
    :param risk_type_list: what to look for: ``ADLAW EROTIC DIRTY POLITY BAN VIOLENT ADVERT MOAN ANTHEN BANDAUDIO
        AUDIOPOLITICAL``. Other values are passed on. The schema wants at least one, the text allows an empty list next
        to a ``business_type_list``.
    :param business_type_list: what to recognise besides: ``MOINIR SING LANGUAGE VOICE``. Other values are passed on.
    :param label_language: of the labels in callbacks, ``zh`` (default) or ``en``; other values are passed on. Some
        pages require it, so it is always sent.
    :param result_callback_url: where results go, instead of the console's address; http or https. The empty text, as
        in ZEGO's sample, counts as none.
    :param status_callback_url: where the end of the task is reported; http or https. The empty text counts as none.
    :param is_mixing_enabled: 0 (default) judges each stream alone, 1 judges all of a room's audio mixed.
    :param return_all_text: 0 (default) reports only what does not pass, 1 everything.
    :param return_pre_text: 1 adds the text of the segment before a violation; default 0.
    :param return_pre_audio: 1 adds an address of 20 s of audio around a violation; default 0.
    :param return_finish_info: 1 reports the end of the task; default 0.
    """

    quota = MODERATION
    repeatable = False
    result = CensorTask

    room_id: str = field(validator=ROOM_ID)
    event_id: str = field(validator=validators.text())
    audio_language: str = field(validator=validators.text())
    risk_type_list: Sequence[str] = field(
        default=(), converter=validators.as_tuple, validator=validators.list_of(validators.text())
    )
    business_type_list: Sequence[str] | None = field(
        default=None,
        converter=validators.as_tuple,
        validator=validators.optional(validators.list_of(validators.text())),
    )
    label_language: str = field(default="zh", validator=validators.text())
    result_callback_url: str | None = field(
        default=None, converter=validators.blank_as_none, validator=validators.optional(validators.url())
    )
    status_callback_url: str | None = field(
        default=None, converter=validators.blank_as_none, validator=validators.optional(validators.url())
    )
    is_mixing_enabled: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    return_all_text: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    return_pre_text: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    return_pre_audio: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))
    return_finish_info: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))

    def __attrs_post_init__(self) -> None:
        if not self.risk_type_list and not self.business_type_list:
            raise InvalidActionError.of(
                self.name, "risk_type_list", "a list of at least one item, unless business_type_list has one", ()
            )


@frozen(kw_only=True)
class StopCensorAudioV2(ZegoAction[Done]):
    """Stop an audio moderation. Without it, a task ends after about five minutes without a stream.

    https://docs.zegocloud.com/article/18041, https://doc-zh.zego.im/article/19650

    :param task_id: what the start returned, as it came: ZEGO publishes no rule for it.
    """

    quota = MODERATION
    result = Done

    task_id: str = field(validator=validators.text())


_AUDIO_PARAM = validators.model(
    AudioParam,
    risk_type_list=validators.list_of(validators.text()),
    business_type_list=validators.list_of(validators.text()),
    audio_language=validators.text(),
    return_all_text=validators.integer(0, 1),
    return_pre_text=validators.integer(0, 1),
    return_pre_audio=validators.integer(0, 1),
    result_callback_url=validators.url(),
    status_callback_url=validators.url(),
)
_VIDEO_PARAM = validators.model(
    VideoParam,
    risk_type_list=validators.list_of(validators.text()),
    business_type_list=validators.list_of(validators.text()),
    return_all_img=validators.integer(0, 1),
    detect_frequency=validators.integer(1, 60),
    result_callback_url=validators.url(),
    status_callback_url=validators.url(),
)


@frozen(kw_only=True)
class StartCensorVideoV2(ZegoAction[CensorTask]):
    """Start the moderation of all video streams of a room, and of their audio if ``audio_param`` says what to look for.

    Streams that are published later are covered too, unless their publisher opts out. What ``StartCensorAudioV2`` says
    of that and of a second start holds here as well.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/start-censor-video,
    https://doc-zh.zego.im/article/19652

    :param room_id: at most 128 bytes.
    :param event_id: the scene, which decides how strict: ``live_streaming``, ``private_chat``, or one arranged with
        ZEGO.
    :param video_param: what to do about pictures.
    :param audio_param: what to do about audio; None leaves it alone.
    :param language: of text in frames and of speech: ``zh ja ko th vi ms tl id hi ar tr en es pt it fr de ru``
        (``zh``). Other values are passed on.
    :param return_finish_info: 1 reports the end of each half; default 0.
    """

    quota = MODERATION
    repeatable = False
    result = CensorTask

    room_id: str = field(validator=ROOM_ID)
    event_id: str = field(validator=validators.text())
    video_param: VideoParam = field(validator=_VIDEO_PARAM)
    audio_param: AudioParam | None = field(default=None, validator=validators.optional(_AUDIO_PARAM))
    language: str | None = field(default=None, validator=validators.optional(validators.text()))
    return_finish_info: int | None = field(default=None, validator=validators.optional(validators.integer(0, 1)))

    def __attrs_post_init__(self) -> None:
        if not self.video_param.risk_type_list and not self.video_param.business_type_list:
            rule = "a list of at least one item, unless business_type_list has one"
            raise InvalidActionError.of(self.name, "video_param.risk_type_list", rule, ())


@frozen(kw_only=True)
class StopCensorVideoV2(ZegoAction[Done]):
    """Stop a video moderation, both halves. Without it, a task ends after about five minutes without a stream.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/stop-censor-video,
    https://doc-zh.zego.im/article/19654

    :param task_id: what the start returned; see ``StopCensorAudioV2``.
    """

    quota = MODERATION
    result = Done

    task_id: str = field(validator=validators.text())


@frozen(kw_only=True)
class GenerateIdentifyToken(ZegoAction[IdentifyToken]):
    """Get a token with which a moderator other than ZEGO's may pull streams. One token is for one moderation.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/generate-identify-token,
    https://doc-zh.zego.im/article/19656

    :param effective_time: seconds in which the moderation may be started, 1 to 2592000, thirty days (3600).
    """

    method = "GET"
    quota = MODERATION
    result = IdentifyToken

    effective_time: int | None = field(default=None, validator=validators.optional(validators.integer(1, 2_592_000)))
