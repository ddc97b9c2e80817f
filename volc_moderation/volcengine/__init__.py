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
    from volc_moderation.volcengine.credentials import (
        AssumeRoleCredentials,
        CLIConfigCredentials,
        CredentialChain,
        CredentialProvider,
        ECSCredentials,
        EnvironmentCredentials,
        NotConfiguredError,
        OIDCCredentials,
        RenewingProvider,
        StaticCredentials,
        default_credentials,
    )
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "callbacks": [],
            "credentials": [
                "AssumeRoleCredentials",
                "CLIConfigCredentials",
                "CredentialChain",
                "CredentialProvider",
                "ECSCredentials",
                "EnvironmentCredentials",
                "NotConfiguredError",
                "OIDCCredentials",
                "RenewingProvider",
                "StaticCredentials",
                "default_credentials",
            ],
        },
    )

__all__ = [
    "APIVersion",
    "Acknowledgement",
    "AssumeRoleCredentials",
    "BanRoomUser",
    "BanUserStream",
    "BatchSendRoomUnicast",
    "CLIConfigCredentials",
    "CallbackType",
    "CredentialChain",
    "CredentialProvider",
    "DetectionStatus",
    "DetectionTask",
    "DetectionTasks",
    "DismissRoom",
    "ECSCredentials",
    "EnvironmentCredentials",
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
    "NotConfiguredError",
    "OIDCCredentials",
    "OnlineUsers",
    "OnlineUsersVersion",
    "RenewingProvider",
    "SendBroadcast",
    "SendRoomUnicast",
    "SendUnicast",
    "StartDetection",
    "StartWebcast",
    "StaticCredentials",
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
    "default_credentials",
]
