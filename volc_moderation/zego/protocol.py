"""ZEGO's side of the wire: an action to a signed request, an answer to a result or an error. Pure.

Common parameters travel in the query, for GET and POST alike. The envelope is ``{"Code": 0, "Message": …, "Data": …}``;
``Code`` decides, whatever the HTTP status. https://doc-zh.zego.im/article/19458
"""

from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import attrs

from volc_moderation.action import Action
from volc_moderation.credentials import ZegoCredentials
from volc_moderation.error_codes import UNKNOWN, Meaning, meaning_of_status, refusal, request_id_of, unusable
from volc_moderation.errors import (
    AuthenticationError,
    ConflictError,
    DecodeError,
    InvalidRequestError,
    ModerationError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TemporaryError,
    ThrottledError,
)
from volc_moderation.wire import Answer, Request, Response, dump_json, load_answer, parameters, parse, text_parameters
from volc_moderation.zego.actions import Done, Family, ZegoAction
from volc_moderation.zego.signing import sign

R = TypeVar("R")


def encode(
    action: ZegoAction[Any],
    *,
    url: str,
    host: str,
    credentials: ZegoCredentials,
    nonce: str,
    now: float,
    is_test: bool | None = None,
) -> Request:
    """Encode and sign an action. ``nonce`` must be new for every request; ``now`` is in Unix seconds."""
    timestamp = int(now)
    signature = sign(credentials, nonce=nonce, timestamp=timestamp)
    query = [
        ("Action", action.name),
        ("AppId", str(credentials.app_id)),
        ("SignatureNonce", nonce),
        ("Timestamp", str(timestamp)),
        ("Signature", signature),
        ("SignatureVersion", "2.0"),
    ]
    if is_test is not None:
        query.append(("IsTest", "true" if is_test else "false"))
    headers = {"Host": host}
    body = b""
    if action.method == "GET":
        query += text_parameters(action)
    else:
        body = dump_json(parameters(action))
        headers["Content-Type"] = "application/json"
    # %20 for a blank, not +: whether ZEGO reads a + as a blank is not said.
    address = f"{url}/?{urlencode(query, quote_via=quote)}"
    return Request(action.method, address, headers, body, (signature, *credentials.secrets))


def decode(action: ZegoAction[R], request: Request, response: Response, *, repeated: bool) -> Answer[R]:
    """Return the result in an answer, or raise the error in it.

    ``repeated`` tells that an earlier attempt may have arrived. Then "there is none" after a deletion is a yes.
    """
    outcome = _read(action, request, response, repeated=repeated)
    if isinstance(outcome, ModerationError):
        raise outcome  # from here, where no frame holds what the vendor sent
    return outcome


def _read(
    action: ZegoAction[R], request: Request, response: Response, *, repeated: bool
) -> Answer[R] | ModerationError:
    envelope = load_answer(response.body)
    code = _integer(envelope.get("Code")) if envelope else None
    if envelope is None or code is None:
        return unusable(request, response)
    request_id = request_id_of(envelope.get("RequestId"), request)
    if code == 0 or code in action.result_codes or (repeated and action.is_already_done(code)):
        # What an answer without data has in its place is not said: nothing, null, an empty list.
        data = {} if action.result is Done or envelope.get("Data") is None else envelope["Data"]
        if action.result_codes and isinstance(data, dict):
            data = {**data, "Code": code}
        result = parse(data, action.result, request_id=request_id, root="Data")
        return result if isinstance(result, DecodeError) else Answer(result, request_id)
    meaning = meaning_of(action.family, code)
    if meaning is TOO_MANY_FOR_ROOM and action.room_quota is not None:
        meaning = attrs.evolve(meaning, retry_after=action.room_quota.window)
    if meaning is UNKNOWN:
        meaning = meaning_of_status(response.status)
    message = envelope.get("Message")
    if not isinstance(message, str):
        message = ""
    return refusal(meaning, code=code, message=message, request_id=request_id, request=request, response=response)


def meaning_of(family: Family, code: int) -> Meaning:
    """Return what a code means in a family. Gateway codes are common to all; moderation shares the room's table."""
    if code in GATEWAY:
        return GATEWAY[code]
    families: tuple[Family, ...] = ("moderation", "room") if family == "moderation" else (family,)
    return next((CODES[one][code] for one in families if code in CODES[one]), UNKNOWN)


def advice(action: type[Action[Any]], code: str | int) -> str | None:
    """Return what the documents say about a code of an action, if they say anything."""
    return meaning_of(action.family, code).advice if issubclass(action, ZegoAction) and isinstance(code, int) else None


def _integer(code: object) -> int | None:
    """Read a code: a number by the schema, whole in any case."""
    if isinstance(code, bool):
        return None
    if isinstance(code, float) and code.is_integer():
        return int(code)
    return code if isinstance(code, int) else None


_THROTTLED = Meaning(ThrottledError, "too many calls in a second; ZEGO raises the limit on request", retry_after=1.0)
TOO_MANY_FOR_ROOM = Meaning(
    ThrottledError, "too many calls for one room; ZEGO raises the limit on request", retry_after=1.0
)
_FAILED = Meaning(ServerError, "failed inside ZEGO; contact its technical support if it goes on")
_BAD_PARAMETER = Meaning(InvalidRequestError, "a parameter is wrong")
_NO_ROOM = Meaning(NotFoundError, "the room does not exist, or is empty; check the RoomId")
_NO_USER = Meaning(NotFoundError, "the user does not exist, or is offline; check the UserId")
_BAD_APP = Meaning(InvalidRequestError, "the AppId is wrong")
_NOT_ENABLED = Meaning(PermissionDeniedError, "not enabled for this app; contact ZEGO's technical support")
_UNSIGNED = Meaning(AuthenticationError, "a part of the signature is absent or malformed")
_SIGNED_WRONG = Meaning(AuthenticationError, "check AppId and ServerSecret")


def _try_later(what: str, retry_after: float | None = None) -> Meaning:
    """Make the meaning of a code that ZEGO wants repeated, without saying that nothing was done."""
    wait = "" if retry_after is None else f" ({retry_after:g} s recommended)"
    advice = f"{what}; try again later{wait}, or contact ZEGO's technical support"
    return Meaning(TemporaryError, advice, retry_after=retry_after, maybe_sent=True)


def _support(what: str) -> Meaning:
    """Make the meaning of a code that is no fault of the caller, and for which ZEGO names its support only."""
    return Meaning(ServerError, f"{what}; contact ZEGO's technical support")


#: Seconds that the pages of the moderation calls recommend. https://docs.zegocloud.com/article/18041
_RECOMMENDED = 300.0

#: 1000000xx, for all actions. https://doc-zh.zego.im/article/19702
GATEWAY: dict[int, Meaning] = {
    100000000: Meaning(InvalidRequestError, "the Host header is wrong; does a proxy change it?"),
    100000001: _BAD_APP,
    100000002: _UNSIGNED,
    100000003: _UNSIGNED,
    # retry_after 0: sign again, with ZEGO's time, once.
    100000004: Meaning(AuthenticationError, "the clock is off by more than 10 minutes", retry_after=0.0),
    100000005: _SIGNED_WRONG,
    100000006: Meaning(InvalidRequestError, "the Action is absent"),
    100000007: Meaning(InvalidRequestError, "there is no such Action"),
    100000008: _UNSIGNED,
    100000009: _UNSIGNED,
    100000010: Meaning(AuthenticationError, "ZEGO finds no ServerSecret for the AppId; check the AppId"),
    100000011: Meaning(
        AuthenticationError, "ZEGO finds no configuration for the AppId; check it, or contact ZEGO's technical support"
    ),
    # Only in the older tables.
    100000012: Meaning(TemporaryError, "ZEGO could not read the body; contact its technical support if it goes on"),
    100000013: _UNSIGNED,
    100000014: _UNSIGNED,
    100000015: _FAILED,
    100000016: Meaning(PermissionDeniedError, "the app has no production environment; set is_test or activate it"),
    100000017: _NOT_ENABLED,
}

#: https://doc-zh.zego.im/article/19702; the same number means different things in different families.
CODES: dict[Family, dict[int, Meaning]] = {
    "moderation": {
        50006: _try_later("an HTTP request failed inside ZEGO", _RECOMMENDED),
        50007: _try_later("an HTTP request failed inside ZEGO", _RECOMMENDED),
        50009: _try_later("the moderation failed", _RECOMMENDED),
        50117: Meaning(
            PermissionDeniedError,
            "Shumei moderation is not enabled for the project; enable it in the console, or contact ZEGO's technical"
            " support",
        ),
    },
    "room": {
        1: _FAILED,
        2: _BAD_PARAMETER,
        3: Meaning(InvalidRequestError, "a parameter is too long"),
        8: Meaning(InvalidRequestError, "ZEGO cannot read the parameters"),
        9: _NOT_ENABLED,
        **dict.fromkeys((104, 5018, 5024, 50001), _NO_ROOM),
        **dict.fromkeys((105, 50002, 50003), _NO_USER),
        121: _try_later("the broadcast message was not saved"),
        122: _try_later("no id was made for the message"),
        123: _try_later("the information about the stream was not set"),
        124: _try_later("the information about the stream was not deleted"),
        151: _try_later("the broadcast message was not pushed"),
        154: _try_later("the list was not retrieved"),
        5201: _try_later("the message was not encoded"),
        5202: _try_later("no id was made for the message"),
        50013: _try_later("the custom message was not sent"),
        138: Meaning(NotFoundError, "there is no such stream"),
        206: _THROTTLED,
        207: TOO_MANY_FOR_ROOM,
        1008: Meaning(InvalidRequestError, "the message is empty"),
        1012: Meaning(InvalidRequestError, "several users operate one stream"),
        50011: Meaning(InvalidRequestError, "too many users in one call"),
        50012: Meaning(InvalidRequestError, "the message is too long"),
        # Of the kind of Volcengine's FlowLimitExceeded.TaskNumberOverLimit: what is there already stands in the way.
        50123: Meaning(ConflictError, "too many rules in force; delete one first"),
        50124: Meaning(NotFoundError, "there is no such rule"),
    },
    "media-service": {
        1: _FAILED,
        2: _BAD_PARAMETER,
        **dict.fromkeys((3, 5003, 40005), _SIGNED_WRONG),
        **dict.fromkeys((30002, 1010, 5007), _THROTTLED),
        1001: _support("the dispatch failed"),
        1002: _support("there is no node to publish to"),
        1003: _support("there is no node to play from"),
        1005: _support("the app is offline"),
        1006: Meaning(InvalidRequestError, "a parameter is wrong; contact ZEGO's technical support"),
        **dict.fromkeys((3000, 30005), _BAD_APP),
        **dict.fromkeys((3001, 5000, 5001, 5002, 5006, 30003), _FAILED),
        3002: Meaning(AuthenticationError, "the timestamp is wrong", retry_after=0.0),
        3003: Meaning(PermissionDeniedError, "the app has no token configured"),
        **dict.fromkeys((5004, 30001), Meaning(InvalidRequestError, "the CDN address is wrong")),
        5005: Meaning(InvalidRequestError, "the request is invalid"),
        30004: Meaning(InvalidRequestError, "IsTest is wrong"),
        **dict.fromkeys((30006, 30009), Meaning(InvalidRequestError, "a StreamId is wrong or not allowed")),
        30010: Meaning(InvalidRequestError, "the dispatch Type is wrong"),
        30011: Meaning(InvalidRequestError, "the ClientIP is wrong"),
        **dict.fromkeys((41001, 41002), _FAILED),
        41003: Meaning(NotFoundError, "there is no such live stream"),
        41004: Meaning(NotFoundError, "there is no such stream"),
        41006: Meaning(NotFoundError, "the stream is closed"),
        42001: _try_later("the stream was not forbidden"),
        42002: _try_later("the stream was not resumed"),
        42003: _try_later("the streams were not forbidden"),
        42004: _try_later("the streams were not resumed"),
        43001: _try_later("the recording was not indexed"),
    },
    "media-file": {
        3: Meaning(PermissionDeniedError, "no permission"),
        6: _THROTTLED,
        7: _SIGNED_WRONG,
        1000: _FAILED,
        41003: Meaning(NotFoundError, "there is no such file"),
    },
    "mix": {
        **dict.fromkeys((110200190, 110200191, 110200194), Meaning(TemporaryError, "ZEGO is overloaded")),
        **dict.fromkeys((110200005, 110200006), Meaning(TemporaryError, "another call changes the same task")),
        110200003: _SIGNED_WRONG,
    },
}
