"""Every action of Volcengine RTC as a method, whose parameters are the fields of the action."""

from collections.abc import Sequence

from volc_moderation.client import Client
from volc_moderation.volcengine.actions import (
    Acknowledgement,
    DetectionTasks,
    EventNotifyConfig,
    GetWebCastTask,
    ListDetectionTask,
    MonitorConfig,
    StartDetection,
    StartWebcast,
    StopDetection,
    StopWebcast,
    VideoSolution,
    WebCastTaskResult,
)
from volc_moderation.volcengine.message import BatchSendRoomUnicast, SendBroadcast, SendRoomUnicast, SendUnicast
from volc_moderation.volcengine.room import (
    BanRoomUser,
    BanUserStream,
    DismissRoom,
    GetRoomOnlineUsers,
    KickUser,
    LimitTokenPrivilege,
    OnlineUsers,
    TokenLimit,
    UnbanUserStream,
    UpdateBanRoomUserRule,
)


class VolcengineMethods(Client):
    """One method for each action. It creates the action, calls it, and returns its result.

    The action's docstring describes the parameters. Errors are those of ``call``.
    """

    async def start_detection(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str | None = None,
        callback: str | None = None,
        media_type: int | None = None,
        interval: int | None = None,
        duration: int | None = None,
        idle_sec: int | None = None,
        callback_type: int | None = None,
        version: str | None = None,
    ) -> Acknowledgement:
        """Start the moderation of a room, or of one user in it. See ``StartDetection``."""
        action = StartDetection(
            app_id=app_id,
            room_id=room_id,
            user_id=user_id,
            callback=callback,
            media_type=media_type,
            interval=interval,
            duration=duration,
            idle_sec=idle_sec,
            callback_type=callback_type,
            version=version,
        )
        return (await self.call(action)).result

    async def stop_detection(
        self, *, app_id: str | None = None, room_id: str, user_id: str | None = None, version: str | None = None
    ) -> Acknowledgement:
        """Stop the moderation of a room, or of one user in it. See ``StopDetection``."""
        action = StopDetection(app_id=app_id, room_id=room_id, user_id=user_id, version=version)
        return (await self.call(action)).result

    async def list_detection_task(
        self, *, app_id: str | None = None, room_id: str, user_id: str | None = None, version: str | None = None
    ) -> DetectionTasks:
        """List the moderations of a room, running and finished, or of one user in it. See ``ListDetectionTask``."""
        action = ListDetectionTask(app_id=app_id, room_id=room_id, user_id=user_id, version=version)
        return (await self.call(action)).result

    async def start_webcast(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        task_id: str,
        user_id: str,
        source_url: str,
        business_id: str | None = None,
        max_running_time: int | None = None,
        video_solutions: Sequence[VideoSolution] | None = None,
        monitor_config: MonitorConfig | None = None,
        event_notify_config: EventNotifyConfig | None = None,
        version: str | None = None,
    ) -> Acknowledgement:
        """Render a web page and publish it in a room. See ``StartWebcast``."""
        action = StartWebcast(
            app_id=app_id,
            room_id=room_id,
            task_id=task_id,
            user_id=user_id,
            source_url=source_url,
            business_id=business_id,
            max_running_time=max_running_time,
            video_solutions=video_solutions,
            monitor_config=monitor_config,
            event_notify_config=event_notify_config,
            version=version,
        )
        return (await self.call(action)).result

    async def stop_webcast(
        self, *, app_id: str | None = None, room_id: str, task_id: str, version: str | None = None
    ) -> Acknowledgement:
        """Stop a webcast. See ``StopWebcast``."""
        action = StopWebcast(app_id=app_id, room_id=room_id, task_id=task_id, version=version)
        return (await self.call(action)).result

    async def get_web_cast_task(
        self, *, app_id: str | None = None, room_id: str, task_id: str, version: str | None = None
    ) -> WebCastTaskResult:
        """Get the status of a webcast that was started in the last 72 hours. See ``GetWebCastTask``."""
        action = GetWebCastTask(app_id=app_id, room_id=room_id, task_id=task_id, version=version)
        return (await self.call(action)).result

    async def ban_room_user(
        self,
        *,
        app_id: str | None = None,
        room_id: str | None = None,
        user_id: str | None = None,
        ip: str | None = None,
        forbidden_interval: int | None = None,
        version: str | None = None,
    ) -> Acknowledgement:
        """Remove users from rooms, and ban them for a while. See ``BanRoomUser``."""
        action = BanRoomUser(
            app_id=app_id,
            room_id=room_id,
            user_id=user_id,
            ip=ip,
            forbidden_interval=forbidden_interval,
            version=version,
        )
        return (await self.call(action)).result

    async def update_ban_room_user_rule(
        self,
        *,
        app_id: str | None = None,
        room_id: str | None = None,
        user_id: str | None = None,
        forbidden_interval: int | None = None,
        version: str | None = None,
    ) -> Acknowledgement:
        """Change the duration of a ban, or lift it. See ``UpdateBanRoomUserRule``."""
        action = UpdateBanRoomUserRule(
            app_id=app_id, room_id=room_id, user_id=user_id, forbidden_interval=forbidden_interval, version=version
        )
        return (await self.call(action)).result

    async def kick_user(
        self, *, app_id: str | None = None, room_id: str, user_id: str, version: str | None = None
    ) -> Acknowledgement:
        """Remove a user from a room. See ``KickUser``."""
        action = KickUser(app_id=app_id, room_id=room_id, user_id=user_id, version=version)
        return (await self.call(action)).result

    async def dismiss_room(
        self, *, app_id: str | None = None, room_id: str, version: str | None = None
    ) -> Acknowledgement:
        """Remove everybody from a room. See ``DismissRoom``."""
        action = DismissRoom(app_id=app_id, room_id=room_id, version=version)
        return (await self.call(action)).result

    async def ban_user_stream(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str,
        video: bool = True,
        audio: bool = True,
        forbidden_interval: int | None = None,
        token: str | None = None,
        version: str | None = None,
    ) -> Acknowledgement:
        """Ban a user from publishing video, audio or both. See ``BanUserStream``."""
        action = BanUserStream(
            app_id=app_id,
            room_id=room_id,
            user_id=user_id,
            video=video,
            audio=audio,
            forbidden_interval=forbidden_interval,
            token=token,
            version=version,
        )
        return (await self.call(action)).result

    async def unban_user_stream(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str,
        video: bool = True,
        audio: bool = True,
        token: str | None = None,
        version: str | None = None,
    ) -> Acknowledgement:
        """Allow a user to publish again. See ``UnbanUserStream``."""
        action = UnbanUserStream(
            app_id=app_id, room_id=room_id, user_id=user_id, video=video, audio=audio, token=token, version=version
        )
        return (await self.call(action)).result

    async def limit_token_privilege(
        self,
        *,
        app_id: str | None = None,
        room_id: str,
        user_id: str,
        token: str,
        forbidden_interval: int,
        version: str | None = None,
    ) -> TokenLimit:
        """Revoke the right to publish from a user's token for a while. See ``LimitTokenPrivilege``."""
        action = LimitTokenPrivilege(
            app_id=app_id,
            room_id=room_id,
            user_id=user_id,
            token=token,
            forbidden_interval=forbidden_interval,
            version=version,
        )
        return (await self.call(action)).result

    async def get_room_online_users(
        self, *, app_id: str | None = None, room_id: str, version: str | None = None
    ) -> OnlineUsers:
        """List the users in a room. See ``GetRoomOnlineUsers``."""
        action = GetRoomOnlineUsers(app_id=app_id, room_id=room_id, version=version)
        return (await self.call(action)).result

    async def send_unicast(
        self,
        *,
        app_id: str | None = None,
        from_: str,
        message: str,
        binary: bool = False,
        version: str | None = None,
        to: str,
    ) -> Acknowledgement:
        """Send a message to a user, whichever room the user is in. See ``SendUnicast``."""
        action = SendUnicast(app_id=app_id, from_=from_, message=message, binary=binary, version=version, to=to)
        return (await self.call(action)).result

    async def send_room_unicast(
        self,
        *,
        app_id: str | None = None,
        from_: str,
        message: str,
        binary: bool = False,
        version: str | None = None,
        room_id: str,
        to: str,
    ) -> Acknowledgement:
        """Send a message to a user in a room. See ``SendRoomUnicast``."""
        action = SendRoomUnicast(
            app_id=app_id, from_=from_, message=message, binary=binary, version=version, room_id=room_id, to=to
        )
        return (await self.call(action)).result

    async def batch_send_room_unicast(
        self,
        *,
        app_id: str | None = None,
        from_: str,
        message: str,
        binary: bool = False,
        version: str | None = None,
        room_id: str,
        to: Sequence[str],
    ) -> Acknowledgement:
        """Send a message to several users in a room. See ``BatchSendRoomUnicast``."""
        action = BatchSendRoomUnicast(
            app_id=app_id, from_=from_, message=message, binary=binary, version=version, room_id=room_id, to=to
        )
        return (await self.call(action)).result

    async def send_broadcast(
        self,
        *,
        app_id: str | None = None,
        from_: str,
        message: str,
        binary: bool = False,
        version: str | None = None,
        room_id: str,
    ) -> Acknowledgement:
        """Send a message to everybody in a room. See ``SendBroadcast``."""
        action = SendBroadcast(
            app_id=app_id, from_=from_, message=message, binary=binary, version=version, room_id=room_id
        )
        return (await self.call(action)).result
