"""The actions of ZEGO's streaming moderation (Server API v2). Results arrive by callback only.

Streaming moderation must be enabled for the project, in the console or by ZEGO's support. ZEGO extends its lists of
languages, scenes and risk types, so values that are not listed yet are sent unchanged.

https://doc-zh.zego.im/real-time-video-server/api-reference/moderation/ and, in English,
https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/
"""

from collections.abc import Sequence
from typing import Literal

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota, Result
from volc_moderation.errors import InvalidActionError
from volc_moderation.zego.actions import VALID_ROOM_ID, Done, ZegoAction, optional_switch

#: https://docs.zegocloud.com/article/18041: 100 requests per second over all rooms of one AppID.
MODERATION_QUOTA = Quota(100)

# What editors suggest. ZEGO adds values at any time.

#: The scene of a moderation of audio.
AudioEventId = Literal["live_streaming", "audio_room", "private_chat"]
#: The scene of a moderation of video.
VideoEventId = Literal["live_streaming", "private_chat"]
#: The languages of speech and of text in frames.
Language = Literal[
    "zh", "ja", "ko", "th", "vi", "ms", "tl", "id", "hi", "ar", "tr", "en", "es", "pt", "it", "fr", "de", "ru"
]
#: The languages of the labels in callbacks.
LabelLanguage = Literal["zh", "en"]
#: The risks that the moderation of audio detects.
AudioRiskType = Literal[
    "ADLAW", "EROTIC", "DIRTY", "POLITY", "BAN", "VIOLENT", "ADVERT", "MOAN", "ANTHEN", "BANDAUDIO", "AUDIOPOLITICAL"
]
#: The risks that the moderation of video detects in its audio.
VideoAudioRiskType = Literal["EROTIC", "DIRTY", "POLITY", "BAN", "VIOLENT", "ADVERT", "MOAN", "ANTHEN", "BANEDAUDIO"]
#: What the moderation of audio recognises besides risks.
AudioBusinessType = Literal["MOINIR", "SING", "LANGUAGE", "VOICE"]
#: The risks that the moderation of video detects in pictures.
ImageRiskType = Literal["IMGTEXTRISK", "POLITY", "EROTIC", "VIOLENT", "QRCODE", "ADVERT"]
#: What the moderation of video recognises in pictures besides risks.
ImageBusinessType = Literal["AGE", "PHOTOMATERIALLOGO", "FACEDETECTION", "BEAUTY"]


@frozen(kw_only=True)
class CensorTask(Result):
    """A moderation that was started. Keep the ``task_id``: nothing else stops the task."""

    task_id: str = field(validator=validators.not_empty())


@frozen(kw_only=True)
class IdentifyToken(Result):
    """The result of GenerateIdentifyToken. ``remain_time`` is the remaining validity in seconds."""

    identify_token: str = field(repr=False, validator=validators.not_empty())
    remain_time: int


@frozen(kw_only=True)
class AudioParam:
    """How a video moderation handles audio. Without it, or with both lists empty, audio is not moderated.

    :param risk_type_list: the risks to detect: ``EROTIC DIRTY POLITY BAN VIOLENT ADVERT MOAN ANTHEN BANEDAUDIO``. Other
        values are sent unchanged. (The page of the audio moderation spells banned songs ``BANDAUDIO``.)
    :param business_type_list: what else to recognise: ``MOINIR SING LANGUAGE VOICE``. Other values are sent unchanged.
    :param audio_language: deprecated by ZEGO since 2025-11-13. Use the ``language`` of the action.
    :param return_all_text: 0 or False (default) reports only content that does not pass, 1 or True all content.
    :param return_pre_text: 1 or True adds the text of the segment before a violation; default 0.
    :param return_pre_audio: 1 or True adds the URL of 20 s of audio around a violation; default 0.
    :param result_callback_url: the http or https URL to which audio results are sent. An empty str counts as None.
    :param status_callback_url: the http or https URL to which the end of the audio task is reported. An empty str
        counts as None.
    """

    risk_type_list: Sequence[VideoAudioRiskType | str] | None = field(default=None, converter=validators.as_tuple)
    business_type_list: Sequence[AudioBusinessType | str] | None = field(default=None, converter=validators.as_tuple)
    audio_language: Language | str | None = None
    return_all_text: bool | int | None = field(default=None, converter=validators.bool_as_int)
    return_pre_text: bool | int | None = field(default=None, converter=validators.bool_as_int)
    return_pre_audio: bool | int | None = field(default=None, converter=validators.bool_as_int)
    result_callback_url: str | None = field(default=None, converter=validators.blank_as_none)
    status_callback_url: str | None = field(default=None, converter=validators.blank_as_none)


@frozen(kw_only=True)
class VideoParam:
    """How a video moderation handles pictures. At least one of the two lists must have an item.

    :param risk_type_list: the risks to detect: ``IMGTEXTRISK`` in the text of frames, and ``POLITY EROTIC VIOLENT
        QRCODE ADVERT`` in their pictures. Other values are sent unchanged.
    :param business_type_list: what else to recognise: ``AGE PHOTOMATERIALLOGO FACEDETECTION BEAUTY``. Other values are
        sent unchanged.
    :param return_all_img: 0 or False (default) reports only frames that do not pass, 1 or True all frames, which ZEGO
        recommends.
    :param detect_frequency: seconds between two frames, 1 to 60; default 3.
    :param result_callback_url: the http or https URL to which picture results are sent. An empty str counts as None.
    :param status_callback_url: the http or https URL to which the end of the picture task is reported. An empty str
        counts as None.
    """

    risk_type_list: Sequence[ImageRiskType | str] | None = field(default=None, converter=validators.as_tuple)
    business_type_list: Sequence[ImageBusinessType | str] | None = field(default=None, converter=validators.as_tuple)
    return_all_img: bool | int | None = field(default=None, converter=validators.bool_as_int)
    detect_frequency: int | None = None
    result_callback_url: str | None = field(default=None, converter=validators.blank_as_none)
    status_callback_url: str | None = field(default=None, converter=validators.blank_as_none)


@frozen(kw_only=True)
class StartCensorAudioV2(ZegoAction[CensorTask]):
    """Start the moderation of all audio streams of a room, including those that are published later.

    A publisher can opt out on the client side (``streamCensorFlag`` 1 of the client SDK's ``ZegoPublisherConfig``).

    ZEGO does not say what a second start does, so the client does not repeat a start whose outcome is unknown. It
    does repeat a start after 50006, 50007 and 50009, as ZEGO recommends. But ZEGO does not say that nothing was
    started. So a later error has ``maybe_sent``, and a second task may be running: both report results, and both
    are billed until they are stopped or the room has been empty for about five minutes.

    Quota: 100 calls per second and AppId.

    https://docs.zegocloud.com/article/18040,
    https://doc-zh.zego.im/article/19648

    :param room_id: the room, at most 128 bytes.
    :param event_id: the scene, which determines how strict the moderation is: ``live_streaming``, ``audio_room``,
        ``private_chat``, or one agreed with ZEGO.
    :param audio_language: ``zh ja ko th vi ms tl id hi ar tr en es pt it fr de ru``. Other values are sent
        unchanged.
    :param risk_type_list: the risks to detect: ``ADLAW EROTIC DIRTY POLITY BAN VIOLENT ADVERT MOAN ANTHEN BANDAUDIO
        AUDIOPOLITICAL``. Other values are sent unchanged. At least one item, unless ``business_type_list`` has one.
    :param business_type_list: what else to recognise: ``MOINIR SING LANGUAGE VOICE``. Other values are sent
        unchanged. None means nothing.
    :param label_language: the language of the labels in callbacks: ``zh`` (default) or ``en``. Other values are
        sent unchanged. It is always sent, because some pages require it.
    :param result_callback_url: the http or https URL to which results are sent. None, or an empty str as in ZEGO's
        sample, means the URL in the console.
    :param status_callback_url: the http or https URL to which the end of the task is reported. None, or an empty
        str, means the URL in the console.
    :param is_mixing_enabled: 0 or False (default) moderates each stream separately, 1 or True a mix of all audio of
        the room.
    :param return_all_text: 0 or False (default) reports only content that does not pass, 1 or True all content.
    :param return_pre_text: 1 or True adds the text of the segment before a violation; default 0.
    :param return_pre_audio: 1 or True adds the URL of 20 s of audio around a violation; default 0.
    :param return_finish_info: 1 or True reports the end of the task; default 0.
    :returns: ``CensorTask``: its ``task_id`` is what stops the task. Keep it: nothing else does.
    :raises TemporaryError: 50006, 50007 or 50009: ZEGO failed to start the task. The client tries again after 300
        s, as ZEGO recommends; if that would pass the deadline, it raises the error at once, with ``retry_after``
        set.
    :raises PermissionDeniedError: 50117: moderation is not enabled for the project.
    """

    quota = MODERATION_QUOTA
    repeatable = False
    result = CensorTask

    room_id: str = field(validator=VALID_ROOM_ID)
    event_id: AudioEventId | str = field(validator=validators.text())
    audio_language: Language | str = field(validator=validators.text())
    risk_type_list: Sequence[AudioRiskType | str] = field(
        default=(), converter=validators.as_tuple, validator=validators.list_of(validators.text())
    )
    business_type_list: Sequence[AudioBusinessType | str] | None = field(
        default=None,
        converter=validators.as_tuple,
        validator=validators.optional(validators.list_of(validators.text())),
    )
    label_language: LabelLanguage | str = field(default="zh", validator=validators.text())
    result_callback_url: str | None = field(
        default=None, converter=validators.blank_as_none, validator=validators.optional(validators.url())
    )
    status_callback_url: str | None = field(
        default=None, converter=validators.blank_as_none, validator=validators.optional(validators.url())
    )
    is_mixing_enabled: bool | int | None = optional_switch()
    return_all_text: bool | int | None = optional_switch()
    return_pre_text: bool | int | None = optional_switch()
    return_pre_audio: bool | int | None = optional_switch()
    return_finish_info: bool | int | None = optional_switch()

    def __attrs_post_init__(self) -> None:
        if not self.risk_type_list and not self.business_type_list:
            raise InvalidActionError.of(
                self.name, "risk_type_list", "a list of at least one item, unless business_type_list has one", ()
            )


@frozen(kw_only=True)
class StopCensorAudioV2(ZegoAction[Done]):
    """Stop an audio moderation. Otherwise a task ends after about five minutes without a stream.

    Quota: 100 calls per second and AppId.

    https://docs.zegocloud.com/article/18041,
    https://doc-zh.zego.im/article/19650

    :param task_id: the id that the start returned. ZEGO publishes no rule for it, so it is sent unchanged.
    :returns: ``Done``: success, without data.
    :raises InvalidRequestError: 2: a parameter is wrong. ZEGO does not say which code an unknown ``task_id`` has;
        the emulator returns this one.
    :raises TemporaryError: 50006, 50007 or 50009: ZEGO failed to stop the task. The client tries again after 300 s,
        as ZEGO recommends; if that would pass the deadline, it raises the error at once, with ``retry_after`` set.
    :raises PermissionDeniedError: 50117: moderation is not enabled for the project.
    """

    quota = MODERATION_QUOTA
    result = Done

    task_id: str = field(validator=validators.text())


_VALID_AUDIO_PARAM = validators.model(
    AudioParam,
    risk_type_list=validators.list_of(validators.text()),
    business_type_list=validators.list_of(validators.text()),
    audio_language=validators.text(),
    return_all_text=validators.switch(),
    return_pre_text=validators.switch(),
    return_pre_audio=validators.switch(),
    result_callback_url=validators.url(),
    status_callback_url=validators.url(),
)
_VALID_VIDEO_PARAM = validators.model(
    VideoParam,
    risk_type_list=validators.list_of(validators.text()),
    business_type_list=validators.list_of(validators.text()),
    return_all_img=validators.switch(),
    detect_frequency=validators.integer(1, 60),
    result_callback_url=validators.url(),
    status_callback_url=validators.url(),
)


@frozen(kw_only=True)
class StartCensorVideoV2(ZegoAction[CensorTask]):
    """Start the moderation of all video streams of a room, and of their audio if ``audio_param`` is set.

    Streams that are published later are included, unless their publisher opts out. ``StartCensorAudioV2`` describes
    how to opt out, and what a second start means.

    Quota: 100 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/start-censor-video,
    https://doc-zh.zego.im/article/19652

    :param room_id: the room, at most 128 bytes.
    :param event_id: the scene, which determines how strict the moderation is: ``live_streaming``, ``private_chat``,
        or one agreed with ZEGO.
    :param video_param: how to moderate pictures.
    :param audio_param: how to moderate audio; None (default) does not moderate it.
    :param language: the language of text in frames and of speech: ``zh ja ko th vi ms tl id hi ar tr en es pt it fr
        de ru``; None means ``zh``. Other values are sent unchanged.
    :param return_finish_info: 1 or True reports the end of the picture task and of the audio task; default 0.
    :returns: ``CensorTask``: its ``task_id`` is what stops both tasks. Keep it: nothing else does.
    :raises TemporaryError: 50006, 50007 or 50009: ZEGO failed to start the task. The client tries again after 300
        s, as ZEGO recommends; if that would pass the deadline, it raises the error at once, with ``retry_after``
        set.
    :raises PermissionDeniedError: 50117: moderation is not enabled for the project.
    """

    quota = MODERATION_QUOTA
    repeatable = False
    result = CensorTask

    room_id: str = field(validator=VALID_ROOM_ID)
    event_id: VideoEventId | str = field(validator=validators.text())
    video_param: VideoParam = field(validator=_VALID_VIDEO_PARAM)
    audio_param: AudioParam | None = field(default=None, validator=validators.optional(_VALID_AUDIO_PARAM))
    language: Language | str | None = field(default=None, validator=validators.optional(validators.text()))
    return_finish_info: bool | int | None = optional_switch()

    def __attrs_post_init__(self) -> None:
        if not self.video_param.risk_type_list and not self.video_param.business_type_list:
            rule = "a list of at least one item, unless business_type_list has one"
            raise InvalidActionError.of(self.name, "video_param.risk_type_list", rule, ())


@frozen(kw_only=True)
class StopCensorVideoV2(ZegoAction[Done]):
    """Stop a video moderation, pictures and audio. Otherwise a task ends after about five minutes without a stream.

    Quota: 100 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/stop-censor-video,
    https://doc-zh.zego.im/article/19654

    :param task_id: the id that the start returned. ZEGO publishes no rule for it, so it is sent unchanged.
    :returns: ``Done``: success, without data.
    :raises InvalidRequestError: 2: a parameter is wrong. ZEGO does not say which code an unknown ``task_id`` has;
        the emulator returns this one.
    :raises TemporaryError: 50006, 50007 or 50009: ZEGO failed to stop the task. The client tries again after 300 s,
        as ZEGO recommends; if that would pass the deadline, it raises the error at once, with ``retry_after`` set.
    :raises PermissionDeniedError: 50117: moderation is not enabled for the project.
    """

    quota = MODERATION_QUOTA
    result = Done

    task_id: str = field(validator=validators.text())


@frozen(kw_only=True)
class GenerateIdentifyToken(ZegoAction[IdentifyToken]):
    """Get a token with which a third-party moderation service may pull streams. One token is for one moderation.

    Quota: 100 calls per second and AppId.

    https://www.zegocloud.com/docs/real-time-video-server/api-reference/moderation/generate-identify-token,
    https://doc-zh.zego.im/article/19656

    :param effective_time: seconds during which the moderation may be started, 1 to 2592000 (30 days); None means
        3600.
    :returns: ``IdentifyToken``: the token, and its remaining validity in seconds.
    :raises TemporaryError: 50006, 50007 or 50009: ZEGO failed to create the token. The client tries again after 300
        s, as ZEGO recommends; if that would pass the deadline, it raises the error at once, with ``retry_after``
        set.
    """

    method = "GET"
    quota = MODERATION_QUOTA
    result = IdentifyToken

    effective_time: int | None = field(default=None, validator=validators.optional(validators.integer(1, 2_592_000)))
