"""Every action of ZEGO as a method, whose parameters are the fields of the action."""

from collections.abc import AsyncIterator, Sequence

from volc_moderation.client import Client
from volc_moderation.zego.actions import (
    AudioParam,
    CensorTask,
    Done,
    GenerateIdentifyToken,
    IdentifyToken,
    StartCensorAudioV2,
    StartCensorVideoV2,
    StopCensorAudioV2,
    StopCensorVideoV2,
    VideoParam,
)
from volc_moderation.zego.media_service import (
    DescribeRTCStreamState,
    ForbidRTCStream,
    ForbidRTCStreams,
    ResumeRTCStream,
    ResumeRTCStreams,
    RTCStreamState,
)
from volc_moderation.zego.room import (
    CloseRoom,
    CommandOutcome,
    DescribeSimpleStreamList,
    DescribeUserList,
    DescribeUserNum,
    DescribeUsers,
    KickoutUser,
    SendCustomCommand,
    SimpleStreamList,
    User,
    UserCounts,
    UserList,
    UserStates,
)
from volc_moderation.zego.rules import (
    DelForbidStreamRule,
    DelForbidUserRule,
    DescribeForbidStreamRules,
    DescribeForbidUserRules,
    ForbidStreamRules,
    ForbidUserRules,
    RuleExpiry,
    SetForbidStreamRule,
    SetForbidUserRule,
)


class ZegoMethods(Client):
    """One method for each action. It creates the action, calls it, and returns its result.

    The action's docstring describes the parameters. Errors are those of ``call``.
    """

    async def start_censor_audio(
        self,
        *,
        room_id: str,
        event_id: str,
        audio_language: str,
        risk_type_list: Sequence[str] = (),
        business_type_list: Sequence[str] | None = None,
        label_language: str = "zh",
        result_callback_url: str | None = None,
        status_callback_url: str | None = None,
        is_mixing_enabled: int | None = None,
        return_all_text: int | None = None,
        return_pre_text: int | None = None,
        return_pre_audio: int | None = None,
        return_finish_info: int | None = None,
    ) -> CensorTask:
        """Start the moderation of all audio streams of a room. See ``StartCensorAudioV2``."""
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
        """Stop an audio moderation. See ``StopCensorAudioV2``."""
        action = StopCensorAudioV2(task_id=task_id)
        return (await self.call(action)).result

    async def start_censor_video(
        self,
        *,
        room_id: str,
        event_id: str,
        video_param: VideoParam,
        audio_param: AudioParam | None = None,
        language: str | None = None,
        return_finish_info: int | None = None,
    ) -> CensorTask:
        """Start the moderation of all video streams of a room. See ``StartCensorVideoV2``."""
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
        """Stop a video moderation, pictures and audio. See ``StopCensorVideoV2``."""
        action = StopCensorVideoV2(task_id=task_id)
        return (await self.call(action)).result

    async def generate_identify_token(self, *, effective_time: int | None = None) -> IdentifyToken:
        """Get a token with which a third-party moderation service may pull streams. See ``GenerateIdentifyToken``."""
        action = GenerateIdentifyToken(effective_time=effective_time)
        return (await self.call(action)).result

    async def forbid_rtc_stream(self, *, sequence: str | None = None, stream_id: str) -> Done:
        """Stop the publishing of a stream and forbid its id until it is resumed. See ``ForbidRTCStream``."""
        action = ForbidRTCStream(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def resume_rtc_stream(self, *, sequence: str | None = None, stream_id: str) -> Done:
        """Allow a stream to be published again. See ``ResumeRTCStream``."""
        action = ResumeRTCStream(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def forbid_rtc_streams(self, *, sequence: str | None = None, stream_id: Sequence[str]) -> Done:
        """Stop the publishing of several streams and forbid their ids. See ``ForbidRTCStreams``."""
        action = ForbidRTCStreams(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def resume_rtc_streams(self, *, sequence: str | None = None, stream_id: Sequence[str]) -> Done:
        """Allow several streams to be published again. See ``ResumeRTCStreams``."""
        action = ResumeRTCStreams(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def describe_rtc_stream_state(self, *, sequence: str | None = None, stream_id: str) -> RTCStreamState:
        """Check whether a stream is being published. See ``DescribeRTCStreamState``."""
        action = DescribeRTCStreamState(sequence=sequence, stream_id=stream_id)
        return (await self.call(action)).result

    async def kickout_user(self, *, room_id: str, user_id: Sequence[str], custom_reason: str | None = None) -> Done:
        """Remove users from a room. See ``KickoutUser``."""
        action = KickoutUser(room_id=room_id, user_id=user_id, custom_reason=custom_reason)
        return (await self.call(action)).result

    async def close_room(
        self, *, room_id: str, custom_reason: str | None = None, room_close_callback: bool | None = None
    ) -> Done:
        """Remove everybody from a room. See ``CloseRoom``."""
        action = CloseRoom(room_id=room_id, custom_reason=custom_reason, room_close_callback=room_close_callback)
        return (await self.call(action)).result

    async def describe_users(self, *, room_id: str, user_id: Sequence[str]) -> UserStates:
        """Check whether users are in a room. See ``DescribeUsers``."""
        action = DescribeUsers(room_id=room_id, user_id=user_id)
        return (await self.call(action)).result

    async def describe_user_list(
        self, *, room_id: str, mode: int | None = None, limit: int | None = None, marker: str | None = None
    ) -> UserList:
        """List one page of the users in a room; ``iter_user_list`` iterates over all. See ``DescribeUserList``."""
        action = DescribeUserList(room_id=room_id, mode=mode, limit=limit, marker=marker)
        return (await self.call(action)).result

    async def iter_user_list(
        self, *, room_id: str, mode: int | None = None, limit: int | None = None
    ) -> AsyncIterator[User]:
        """Iterate over all users in a room: one call for every ``limit`` users (default 200), one call per second.

        Users who join or leave in the meantime may be missed. See ``DescribeUserList``.
        """
        marker: str | None = None
        while True:
            page = await self.describe_user_list(room_id=room_id, mode=mode, limit=limit, marker=marker)
            for user in page.user_list:
                yield user
            # An empty page, or one that returns the marker it was requested with, would never end.
            if not page.marker or not page.user_list or page.marker == marker:
                return
            marker = page.marker

    async def describe_user_num(self, *, room_id: Sequence[str]) -> UserCounts:
        """Count the users in rooms. See ``DescribeUserNum``."""
        action = DescribeUserNum(room_id=room_id)
        return (await self.call(action)).result

    async def describe_simple_stream_list(self, *, room_id: str) -> SimpleStreamList:
        """List the streams of a room and the users who publish them. See ``DescribeSimpleStreamList``."""
        action = DescribeSimpleStreamList(room_id=room_id)
        return (await self.call(action)).result

    async def send_custom_command(
        self, *, room_id: str, from_user_id: str, message_content: str, to_user_id: Sequence[str] | None = None
    ) -> CommandOutcome:
        """Send a message to users in a room, such as a warning. See ``SendCustomCommand``."""
        action = SendCustomCommand(
            room_id=room_id, from_user_id=from_user_id, message_content=message_content, to_user_id=to_user_id
        )
        return (await self.call(action)).result

    async def set_forbid_stream_rule(
        self,
        *,
        room_id: str,
        stream_id: str,
        disable_audio: int | None = None,
        disable_video: int | None = None,
        effective_time: int | None = None,
    ) -> Done:
        """Disable the audio of a stream, its video, or both. See ``SetForbidStreamRule``."""
        action = SetForbidStreamRule(
            room_id=room_id,
            stream_id=stream_id,
            disable_audio=disable_audio,
            disable_video=disable_video,
            effective_time=effective_time,
        )
        return (await self.call(action)).result

    async def describe_forbid_stream_rules(self, *, room_id: str, stream_id: Sequence[str]) -> ForbidStreamRules:
        """List the rules for streams of a room. See ``DescribeForbidStreamRules``."""
        action = DescribeForbidStreamRules(room_id=room_id, stream_id=stream_id)
        return (await self.call(action)).result

    async def del_forbid_stream_rule(self, *, room_id: str, stream_id: str) -> Done:
        """Delete the rule for a stream, which may then send audio and video again. See ``DelForbidStreamRule``."""
        action = DelForbidStreamRule(room_id=room_id, stream_id=stream_id)
        return (await self.call(action)).result

    async def set_forbid_user_rule(
        self,
        *,
        rule_type: int,
        disabled_privilege: Sequence[int],
        effective_time: int,
        ip: str | None = None,
        room_id: str | None = None,
        user_id: str | None = None,
    ) -> RuleExpiry:
        """Ban users from logging in or publishing. See ``SetForbidUserRule``."""
        action = SetForbidUserRule(
            rule_type=rule_type,
            disabled_privilege=disabled_privilege,
            effective_time=effective_time,
            ip=ip,
            room_id=room_id,
            user_id=user_id,
        )
        return (await self.call(action)).result

    async def describe_forbid_user_rules(self, *, rule_type: int) -> ForbidUserRules:
        """List the rules of one type. See ``DescribeForbidUserRules``."""
        action = DescribeForbidUserRules(rule_type=rule_type)
        return (await self.call(action)).result

    async def del_forbid_user_rule(
        self, *, rule_type: int, ip: str | None = None, room_id: str | None = None, user_id: str | None = None
    ) -> Done:
        """Delete a rule. See ``DelForbidUserRule``."""
        action = DelForbidUserRule(rule_type=rule_type, ip=ip, room_id=room_id, user_id=user_id)
        return (await self.call(action)).result
