"""Signed calls with any parameters, also with those that the clients of this package would not send."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import httpx

from tests.doubles import KEYS, NOW
from volc_moderation.credentials import VolcengineCredentials
from volc_moderation.emulator import Emulator, Settings
from volc_moderation.volcengine.signing import Signer, canonical_query

Parameters = Mapping[str, Any]

_NONCES = itertools.count(1)

_ROOM = {"AppId": "app", "RoomId": "room"}
_USER = {**_ROOM, "UserId": "user"}
_TASK = {**_ROOM, "TaskId": "task"}
_MESSAGE = {"AppId": "app", "From": "server", "Message": "Be kind.", "Binary": False}

#: The required parameters of each action of Volcengine.
VOLCENGINE: dict[str, Parameters] = {
    **dict.fromkeys(("StartDetection", "StopDetection", "ListDetectionTask", "GetRoomOnlineUsers"), _ROOM),
    "StartWebcast": {**_TASK, "UserId": "page", "SourceURL": "https://example.com/"},
    **dict.fromkeys(("StopWebcast", "GetWebCastTask"), _TASK),
    **dict.fromkeys(("BanRoomUser", "UpdateBanRoomUserRule", "DismissRoom"), _ROOM),
    **dict.fromkeys(("KickUser", "BanUserStream", "UnbanUserStream"), _USER),
    "LimitTokenPrivilege": {**_USER, "Token": "t", "ForbiddenInterval": 60},
    "SendUnicast": {**_MESSAGE, "To": "user"},
    "SendRoomUnicast": {**_MESSAGE, "RoomId": "room", "To": "user"},
    "BatchSendRoomUnicast": {**_MESSAGE, "RoomId": "room", "To": ["user"]},
    "SendBroadcast": {**_MESSAGE, "RoomId": "room"},
}

_MODERATED = {"RoomId": "room", "EventId": "scene"}
_STREAM = {"RoomId": "room", "StreamId": "stream"}
_ONE_STREAM = {"StreamId": "stream", "Sequence": "1"}
_MANY_STREAMS = {"StreamId[]": ["stream"], "Sequence": "1"}

#: The required parameters of each action of ZEGO.
ZEGO: dict[str, Parameters] = {
    "StartCensorAudioV2": {**_MODERATED, "AudioLanguage": "zh", "RiskTypeList": ["BAN"]},
    "StartCensorVideoV2": {**_MODERATED, "VideoParam": {"RiskTypeList": ["QRCODE"]}},
    **{name: {"TaskId": "task"} for name in ("StopCensorAudioV2", "StopCensorVideoV2")},
    "GenerateIdentifyToken": {},
    "KickoutUser": {"RoomId": "room", "UserId[]": ["user"]},
    **{name: {"RoomId": "room"} for name in ("CloseRoom", "DescribeUserList", "DescribeSimpleStreamList")},
    "DescribeUsers": {"RoomId": "room", "UserId[]": ["user"]},
    "DescribeUserNum": {"RoomId[]": ["room"]},
    "SendCustomCommand": {"RoomId": "room", "FromUserId": "server", "MessageContent": "Be kind."},
    **dict.fromkeys(("ForbidRTCStream", "ResumeRTCStream", "DescribeRTCStreamState"), _ONE_STREAM),
    **dict.fromkeys(("ForbidRTCStreams", "ResumeRTCStreams"), _MANY_STREAMS),
    "SetForbidStreamRule": {**_STREAM, "DisableAudio": 1},
    "DescribeForbidStreamRules": {"RoomId": "room", "StreamId[]": ["stream"]},
    "DelForbidStreamRule": _STREAM,
    "SetForbidUserRule": {"RuleType": 2, "RoomId": "room", "DisabledPrivilege[]": [1], "EffectiveTime": 60},
    "DescribeForbidUserRules": {"RuleType": 2},
    "DelForbidUserRule": {"RuleType": 2, "RoomId": "room"},
}


def prepared(settings: Settings = KEYS) -> Emulator:
    """Return an emulator with the room, the user and the stream that the tables name."""
    emulator = Emulator(settings, clock=lambda: NOW)
    emulator.join("volcengine", "room", "user")
    emulator.join("zego", "room", "user", stream_id="stream")
    return emulator


def versions_of(action: str) -> list[str]:
    """Return the versions of an action of Volcengine, according to its page."""
    if action.startswith(("Send", "BatchSend")):
        return ["2020-12-01", "2023-07-20"]
    return {
        "KickUser": ["2020-12-01"],
        "DismissRoom": ["2020-12-01"],
        "LimitTokenPrivilege": ["2023-11-01"],
        "GetRoomOnlineUsers": ["2023-11-01", "2023-08-01"],
    }.get(action, ["2023-11-01", "2020-12-01"])


async def call_volcengine(
    emulator: Emulator, action: str, parameters: Parameters, version: str | None = None, *, now: float = NOW
) -> tuple[str | None, Any]:
    """Send a call. Return the code of the refusal, or None for a success, and the result."""
    version = version or versions_of(action)[0]
    is_get = action in {"ListDetectionTask", "GetWebCastTask", "GetRoomOnlineUsers"}
    names = {"Action": action, "Version": version} | (
        {key: str(value) for key, value in parameters.items()} if is_get else {}
    )
    query, body = canonical_query(names), b"" if is_get else json.dumps(parameters).encode()
    method, content_type = ("GET", None) if is_get else ("POST", "application/json")
    signer = Signer(VolcengineCredentials.make("AK", "SK"), region="cn-north-1")
    headers = signer.sign(method=method, host="host", query=query, body=body, now=now, content_type=content_type)
    answer = (await _send(emulator, method, query, headers, body)).json()
    return answer["ResponseMetadata"].get("Error", {}).get("Code"), answer.get("Result")


async def call_zego(emulator: Emulator, action: str, parameters: Parameters, **common: str) -> tuple[int, Any]:
    """Send a call. Return the code, which is 0 for a success, and the data."""
    is_post = "Censor" in action
    nonce, timestamp = f"nonce-{next(_NONCES)}", common.get("Timestamp", str(int(NOW)))
    text = f"{KEYS.app_id}{nonce}{KEYS.server_secret}{timestamp}"
    names: dict[str, Any] = {
        "Action": action,
        "AppId": KEYS.app_id,
        "SignatureNonce": nonce,
        "Timestamp": timestamp,
        "SignatureVersion": "2.0",
        "Signature": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        **common,
    }
    query = urlencode(names if is_post else {**names, **parameters}, doseq=True)
    body = json.dumps(parameters).encode() if is_post else b""
    answer = (await _send(emulator, "POST" if is_post else "GET", query, {}, body)).json()
    return answer["Code"], answer.get("Data")


async def _send(emulator: Emulator, method: str, query: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=emulator)) as client:
        return await client.request(method, f"http://host/?{query}", headers=headers, content=body)
