"""ZEGO's error codes: for each code, the class of its error and what to do.

The same number means different things in different families of actions. https://doc-zh.zego.im/article/19702
"""

from typing import Any

from volc_moderation.action import Action
from volc_moderation.error_codes import UNDOCUMENTED, CodeInfo
from volc_moderation.errors import (
    AuthenticationError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TemporaryError,
    ThrottledError,
)
from volc_moderation.zego.actions import Family, ZegoAction


def find_code(code: int, family: Family) -> CodeInfo:
    """Return what the documents say about a code of a family of actions.

    The gateway's codes are common to all families. Moderation also has the codes of the family ``room``.
    """
    if code in GATEWAY_CODES:
        return GATEWAY_CODES[code]
    families: tuple[Family, ...] = ("moderation", "room") if family == "moderation" else (family,)
    return next((CODES[name][code] for name in families if code in CODES[name]), UNDOCUMENTED)


def advice(action: type[Action[Any]] | None, code: str | int) -> str | None:
    """Return what the documents say about a code of an action, in words; None if they do not explain it."""
    if action is None or not issubclass(action, ZegoAction) or not isinstance(code, int):
        return None
    return find_code(code, action.family).advice


_THROTTLED = CodeInfo(ThrottledError, "too many calls in a second; ZEGO raises the limit on request", retry_after=1.0)
ROOM_THROTTLED = CodeInfo(
    ThrottledError, "too many calls for one room; ZEGO raises the limit on request", retry_after=1.0
)
_FAILED = CodeInfo(ServerError, "failed inside ZEGO; contact its technical support if the fault persists")
_INVALID_PARAMETER = CodeInfo(InvalidRequestError, "a parameter is wrong")
_NO_ROOM = CodeInfo(NotFoundError, "the room does not exist, or is empty; check the RoomId")
_NO_USER = CodeInfo(NotFoundError, "the user does not exist, or is offline; check the UserId")
_INVALID_APP_ID = CodeInfo(InvalidRequestError, "the AppId is wrong")
_NOT_ENABLED = CodeInfo(PermissionDeniedError, "not enabled for this app; contact ZEGO's technical support")
_INCOMPLETE_SIGNATURE = CodeInfo(AuthenticationError, "a part of the signature is missing or malformed")
#: The code of a signature that was made with another ServerSecret, among other causes.
WRONG_SIGNATURE_CODE = 100000005

_WRONG_SIGNATURE = CodeInfo(AuthenticationError, "check AppId and ServerSecret")


def _try_later(what: str, retry_after: float | None = None) -> CodeInfo:
    """Return the entry for a code after which ZEGO advises a retry, but does not say that nothing was done."""
    wait = "" if retry_after is None else f" ({retry_after:g} s recommended)"
    advice = f"{what}; try again later{wait}, or contact ZEGO's technical support"
    return CodeInfo(TemporaryError, advice, retry_after=retry_after, maybe_sent=True)


def _contact_support(what: str) -> CodeInfo:
    """Return the entry for a code that the caller does not cause, and for which ZEGO only names its support."""
    return CodeInfo(ServerError, f"{what}; contact ZEGO's technical support")


#: In seconds. The pages of the moderation calls recommend it. https://docs.zegocloud.com/article/18041
_RECOMMENDED_WAIT = 300.0

#: The codes 1000000xx, common to all actions. https://doc-zh.zego.im/article/19702
GATEWAY_CODES: dict[int, CodeInfo] = {
    100000000: CodeInfo(InvalidRequestError, "the Host header is wrong; does a proxy change it?"),
    100000001: _INVALID_APP_ID,
    100000002: _INCOMPLETE_SIGNATURE,
    100000003: _INCOMPLETE_SIGNATURE,
    # retry_after 0: sign again once, with ZEGO's time.
    100000004: CodeInfo(AuthenticationError, "the clock is off by more than 10 minutes", retry_after=0.0),
    WRONG_SIGNATURE_CODE: _WRONG_SIGNATURE,
    100000006: CodeInfo(InvalidRequestError, "the Action is missing"),
    100000007: CodeInfo(InvalidRequestError, "there is no such Action"),
    100000008: _INCOMPLETE_SIGNATURE,
    100000009: _INCOMPLETE_SIGNATURE,
    100000010: CodeInfo(AuthenticationError, "ZEGO finds no ServerSecret for the AppId; check the AppId"),
    100000011: CodeInfo(
        AuthenticationError, "ZEGO finds no configuration for the AppId; check it, or contact ZEGO's technical support"
    ),
    # Only in the older tables.
    100000012: CodeInfo(TemporaryError, "ZEGO could not read the body; contact its technical support if it persists"),
    100000013: _INCOMPLETE_SIGNATURE,
    100000014: _INCOMPLETE_SIGNATURE,
    100000015: _FAILED,
    100000016: CodeInfo(PermissionDeniedError, "the app has no production environment; set is_test or activate it"),
    100000017: _NOT_ENABLED,
}

#: The codes of each family of actions. https://doc-zh.zego.im/article/19702
CODES: dict[Family, dict[int, CodeInfo]] = {
    "moderation": {
        50006: _try_later("an HTTP request failed inside ZEGO", _RECOMMENDED_WAIT),
        50007: _try_later("an HTTP request failed inside ZEGO", _RECOMMENDED_WAIT),
        50009: _try_later("the moderation failed", _RECOMMENDED_WAIT),
        50117: CodeInfo(
            PermissionDeniedError,
            "Shumei moderation is not enabled for the project; enable it in the console, or contact ZEGO's technical"
            " support",
        ),
    },
    "room": {
        1: _FAILED,
        2: _INVALID_PARAMETER,
        3: CodeInfo(InvalidRequestError, "a parameter is too long"),
        8: CodeInfo(InvalidRequestError, "ZEGO cannot read the parameters"),
        9: _NOT_ENABLED,
        **dict.fromkeys((104, 5018, 5024, 50001), _NO_ROOM),
        **dict.fromkeys((105, 50002, 50003), _NO_USER),
        121: _try_later("the broadcast message was not saved"),
        122: _try_later("no id was created for the message"),
        123: _try_later("the information about the stream was not set"),
        124: _try_later("the information about the stream was not deleted"),
        151: _try_later("the broadcast message was not pushed"),
        154: _try_later("the list was not retrieved"),
        5201: _try_later("the message was not encoded"),
        5202: _try_later("no id was created for the message"),
        50013: _try_later("the custom message was not sent"),
        138: CodeInfo(NotFoundError, "there is no such stream"),
        206: _THROTTLED,
        207: ROOM_THROTTLED,
        1008: CodeInfo(InvalidRequestError, "the message is empty"),
        1012: CodeInfo(InvalidRequestError, "several users operate the same stream"),
        50011: CodeInfo(InvalidRequestError, "too many users in one call"),
        50012: CodeInfo(InvalidRequestError, "the message is too long"),
        # A conflict, like Volcengine's FlowLimitExceeded.TaskNumberOverLimit: existing rules prevent the call.
        50123: CodeInfo(ConflictError, "too many rules in force; delete one first"),
        50124: CodeInfo(NotFoundError, "there is no such rule"),
    },
    "media-service": {
        1: _FAILED,
        2: _INVALID_PARAMETER,
        **dict.fromkeys((3, 5003, 40005), _WRONG_SIGNATURE),
        **dict.fromkeys((30002, 1010, 5007), _THROTTLED),
        1001: _contact_support("the dispatch failed"),
        1002: _contact_support("no node is available for publishing"),
        1003: _contact_support("no node is available for playing"),
        1005: _contact_support("the app is offline"),
        1006: CodeInfo(InvalidRequestError, "a parameter is wrong; contact ZEGO's technical support"),
        **dict.fromkeys((3000, 30005), _INVALID_APP_ID),
        **dict.fromkeys((3001, 5000, 5001, 5002, 5006, 30003), _FAILED),
        3002: CodeInfo(AuthenticationError, "the timestamp is wrong", retry_after=0.0),
        3003: CodeInfo(PermissionDeniedError, "the app has no token configured"),
        **dict.fromkeys((5004, 30001), CodeInfo(InvalidRequestError, "the CDN address is wrong")),
        5005: CodeInfo(InvalidRequestError, "the request is invalid"),
        30004: CodeInfo(InvalidRequestError, "IsTest is wrong"),
        **dict.fromkeys((30006, 30009), CodeInfo(InvalidRequestError, "a StreamId is wrong or not allowed")),
        30010: CodeInfo(InvalidRequestError, "the dispatch Type is wrong"),
        30011: CodeInfo(InvalidRequestError, "the ClientIP is wrong"),
        **dict.fromkeys((41001, 41002), _FAILED),
        41003: CodeInfo(NotFoundError, "there is no such live stream"),
        41004: CodeInfo(NotFoundError, "there is no such stream"),
        41006: CodeInfo(NotFoundError, "the stream is closed"),
        42001: _try_later("the stream was not forbidden"),
        42002: _try_later("the stream was not resumed"),
        42003: _try_later("the streams were not forbidden"),
        42004: _try_later("the streams were not resumed"),
        43001: _try_later("the recording was not indexed"),
    },
    "media-file": {
        3: CodeInfo(PermissionDeniedError, "no permission"),
        6: _THROTTLED,
        7: _WRONG_SIGNATURE,
        1000: _FAILED,
        41003: CodeInfo(NotFoundError, "there is no such file"),
    },
    "mix": {
        **dict.fromkeys((110200190, 110200191, 110200194), CodeInfo(TemporaryError, "ZEGO is overloaded")),
        **dict.fromkeys((110200005, 110200006), CodeInfo(TemporaryError, "another call is changing the same task")),
        110200003: _WRONG_SIGNATURE,
    },
}
