"""Volcengine RTC: content moderation, webcasts, and a moderator's actions on the users in a room."""

from typing import TYPE_CHECKING

from volc_moderation.lazy_imports import lazy_names
from volc_moderation.volcengine.actions import Acknowledgement, APIVersion, VolcengineAction
from volc_moderation.volcengine.client import VolcengineClient
from volc_moderation.volcengine.detection import (
    CallbackType,
    DetectionStatus,
    DetectionTask,
    DetectionTasks,
    ListDetectionTask,
    MediaType,
    StartDetection,
    StopDetection,
)
from volc_moderation.volcengine.message import (
    BatchSendRoomUnicast,
    MessageAction,
    MessageVersion,
    SendBroadcast,
    SendRoomUnicast,
    SendUnicast,
)
from volc_moderation.volcengine.room import (
    BanRoomUser,
    BanUserStream,
    DismissRoom,
    GetRoomOnlineUsers,
    KickUser,
    LimitTokenPrivilege,
    OnlineUsers,
    OnlineUsersVersion,
    TokenLimit,
    UnbanUserStream,
    UpdateBanRoomUserRule,
)
from volc_moderation.volcengine.webcast import (
    EventNotifyConfig,
    GetWebCastTask,
    MonitorConfig,
    StartWebcast,
    StopWebcast,
    VideoSolution,
    WebCastStatus,
    WebCastTask,
    WebCastTaskResult,
)

if TYPE_CHECKING:
    from volc_moderation.volcengine import callbacks
else:
    __getattr__, __dir__ = lazy_names(__name__, {"callbacks": []})

__all__ = [
    "APIVersion",
    "Acknowledgement",
    "BanRoomUser",
    "BanUserStream",
    "BatchSendRoomUnicast",
    "CallbackType",
    "DetectionStatus",
    "DetectionTask",
    "DetectionTasks",
    "DismissRoom",
    "EventNotifyConfig",
    "GetRoomOnlineUsers",
    "GetWebCastTask",
    "KickUser",
    "LimitTokenPrivilege",
    "ListDetectionTask",
    "MediaType",
    "MessageAction",
    "MessageVersion",
    "MonitorConfig",
    "OnlineUsers",
    "OnlineUsersVersion",
    "SendBroadcast",
    "SendRoomUnicast",
    "SendUnicast",
    "StartDetection",
    "StartWebcast",
    "StopDetection",
    "StopWebcast",
    "TokenLimit",
    "UnbanUserStream",
    "UpdateBanRoomUserRule",
    "VideoSolution",
    "VolcengineAction",
    "VolcengineClient",
    "WebCastStatus",
    "WebCastTask",
    "WebCastTaskResult",
    "callbacks",
]
