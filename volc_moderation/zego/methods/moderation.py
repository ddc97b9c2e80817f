"""The actions of ``moderation.py`` as methods: ``python -m tests.method_source`` has written this file."""

from collections.abc import Sequence

from volc_moderation.client import Client
from volc_moderation.zego.actions import Done
from volc_moderation.zego.moderation import (
    AudioBusinessType,
    AudioEventId,
    AudioParam,
    AudioRiskType,
    CensorTask,
    GenerateIdentifyToken,
    IdentifyToken,
    LabelLanguage,
    Language,
    StartCensorAudioV2,
    StartCensorVideoV2,
    StopCensorAudioV2,
    StopCensorVideoV2,
    VideoEventId,
    VideoParam,
)


class ModerationMethods(Client):
    """One method for each action, which it creates and calls."""

    async def start_censor_audio(
        self,
        *,
        room_id: str,
        event_id: AudioEventId | str,
        audio_language: Language | str,
        risk_type_list: Sequence[AudioRiskType | str] = (),
        business_type_list: Sequence[AudioBusinessType | str] | None = None,
        label_language: LabelLanguage | str = "zh",
        result_callback_url: str | None = None,
        status_callback_url: str | None = None,
        is_mixing_enabled: bool | int | None = None,
        return_all_text: bool | int | None = None,
        return_pre_text: bool | int | None = None,
        return_pre_audio: bool | int | None = None,
        return_finish_info: bool | int | None = None,
    ) -> CensorTask:
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
        action = StartCensorAudioV2(
            room_id=room_id,
            event_id=event_id,
            audio_language=audio_language,
            risk_type_list=risk_type_list,
            business_type_list=business_type_list,
            label_language=label_language,
            result_callback_url=result_callback_url,
            status_callback_url=status_callback_url,
            is_mixing_enabled=is_mixing_enabled,
            return_all_text=return_all_text,
            return_pre_text=return_pre_text,
            return_pre_audio=return_pre_audio,
            return_finish_info=return_finish_info,
        )
        return (await self.call(action)).result

    async def stop_censor_audio(self, *, task_id: str) -> Done:
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
        action = StopCensorAudioV2(task_id=task_id)
        return (await self.call(action)).result

    async def start_censor_video(
        self,
        *,
        room_id: str,
        event_id: VideoEventId | str,
        video_param: VideoParam,
        audio_param: AudioParam | None = None,
        language: Language | str | None = None,
        return_finish_info: bool | int | None = None,
    ) -> CensorTask:
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
        action = StartCensorVideoV2(
            room_id=room_id,
            event_id=event_id,
            video_param=video_param,
            audio_param=audio_param,
            language=language,
            return_finish_info=return_finish_info,
        )
        return (await self.call(action)).result

    async def stop_censor_video(self, *, task_id: str) -> Done:
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
        action = StopCensorVideoV2(task_id=task_id)
        return (await self.call(action)).result

    async def generate_identify_token(self, *, effective_time: int | None = None) -> IdentifyToken:
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
        action = GenerateIdentifyToken(effective_time=effective_time)
        return (await self.call(action)).result
