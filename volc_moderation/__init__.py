"""Asyncio SDK for real-time audio and video moderation at Volcengine RTC and ZEGO, signed, retried and within quota."""

from typing import TYPE_CHECKING

from volc_moderation.lazy_imports import lazy_names

if TYPE_CHECKING:
    from volc_moderation.action import Action, Quota, Result
    from volc_moderation.call_state import Reply
    from volc_moderation.credentials import VolcengineCredentials
    from volc_moderation.errors import (
        APIError,
        AuthenticationError,
        CallbackError,
        ConfigurationError,
        ConflictError,
        DeadlineExceeded,
        DecodeError,
        InvalidActionError,
        InvalidRequestError,
        JournalError,
        ModerationError,
        NotFoundError,
        PermissionDeniedError,
        QuotaUnavailable,
        ServerError,
        SourceError,
        TemporaryError,
        ThrottledError,
        TransportError,
    )
    from volc_moderation.event import Event, Evidence, Media, Verdict
    from volc_moderation.http_clients import fastest_http_client
    from volc_moderation.quotas import FileQuotas, NoQuotas, RedisQuotas, WindowQuotas
    from volc_moderation.retry import RetryPolicy
    from volc_moderation.volcengine import CredentialProvider, VolcengineClient, default_credentials
    from volc_moderation.zego import ZegoClient
else:
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "accounts": [],
            "action": ["Action", "Quota", "Result"],
            "call_state": ["Reply"],
            "credentials": ["VolcengineCredentials"],
            "errors": [
                "APIError",
                "AuthenticationError",
                "CallbackError",
                "ConfigurationError",
                "ConflictError",
                "DeadlineExceeded",
                "DecodeError",
                "InvalidActionError",
                "InvalidRequestError",
                "JournalError",
                "ModerationError",
                "NotFoundError",
                "PermissionDeniedError",
                "QuotaUnavailable",
                "ServerError",
                "SourceError",
                "TemporaryError",
                "ThrottledError",
                "TransportError",
            ],
            "event": ["Event", "Evidence", "Media", "Verdict"],
            "http_clients": ["fastest_http_client"],
            "quotas": ["FileQuotas", "NoQuotas", "RedisQuotas", "WindowQuotas"],
            "retry": ["RetryPolicy"],
            "validators": [],
            "volcengine": ["CredentialProvider", "VolcengineClient", "default_credentials"],
            "zego": ["ZegoClient"],
        },
    )

__all__ = [
    "APIError",
    "Action",
    "AuthenticationError",
    "CallbackError",
    "ConfigurationError",
    "ConflictError",
    "CredentialProvider",
    "DeadlineExceeded",
    "DecodeError",
    "Event",
    "Evidence",
    "FileQuotas",
    "InvalidActionError",
    "InvalidRequestError",
    "JournalError",
    "Media",
    "ModerationError",
    "NoQuotas",
    "NotFoundError",
    "PermissionDeniedError",
    "Quota",
    "QuotaUnavailable",
    "RedisQuotas",
    "Reply",
    "Result",
    "RetryPolicy",
    "ServerError",
    "SourceError",
    "TemporaryError",
    "ThrottledError",
    "TransportError",
    "Verdict",
    "VolcengineClient",
    "VolcengineCredentials",
    "WindowQuotas",
    "ZegoClient",
    "default_credentials",
    "fastest_http_client",
]

__version__ = "0.2.0"
