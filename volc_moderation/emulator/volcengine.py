"""Volcengine RTC as its documents describe it. What they leave open is marked OPEN.

There are no streams and no pages, so nothing ends by itself: not after IdleSec, not after MaxRunningTime.

The signature is checked with code of its own: nothing here comes from the client's signer.
"""

import calendar
import hashlib
import hmac
import itertools
import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs

from volc_moderation.emulator.counter import Counter
from volc_moderation.emulator.vendor import Call, Reply

QUOTAS = {"StartWebcast": 150, "StopWebcast": 150, "GetWebCastTask": 60}
#: OPEN: no number is published for the detection actions.
QUOTAS |= dict.fromkeys(("StartDetection", "StopDetection", "ListDetectionTask"), 20)

MAX_SKEW = 15 * 60
VERSIONS = {"2020-12-01", "2023-11-01"}
ALREADY_STARTED = "The task has been started. Please do not call the startup task interface repeatedly"
_ID = re.compile(r"[a-zA-Z0-9_@.-]{1,128}")
_AUTHORIZATION = re.compile(
    r"HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/request, "
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


class Refused(Exception):  # noqa: N818 - it does not leave this file
    """A refusal with a code of the vendor."""

    def __init__(self, code: str, message: str, status: int = 400, number: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.number = number


@attrs.define
class Detection:
    """A moderation: of one user, or of a room if ``user`` is None."""

    room: tuple[str, str]
    user: str | None
    media: int
    created: int
    running: bool = True


class Volcengine:
    """One account of Volcengine."""

    def __init__(
        self, *, access_key: str, secret_key: str, session_token: str | None, region: str, quotas: Mapping[str, int]
    ) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._session_token = session_token
        self._region = region
        self._quotas = {**QUOTAS, **quotas}
        self._request_ids = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """Forget all tasks and counts."""
        self.counter = Counter(self._quotas)
        self._detections: list[Detection] = []
        self._webcasts: dict[tuple[str, str, str], dict[str, Any]] = {}

    def check(self, call: Call, now: float) -> Reply | None:
        """Check signature, timestamp, action and version."""
        try:
            self._check_signature(call, now)
            if not call.action or not call.query.get("Version"):
                raise Refused("MissingParameter", "Action or Version is absent", 400, 100002)
            method, _ = self._actions.get(call.action, ("", None))
            if not method or call.query["Version"] not in VERSIONS:
                raise Refused("InvalidActionOrVersion", "there is no such action or version", 404, 100008)
            if method != call.method:
                raise Refused("MethodNotAllowed", f"{call.action} is a {method}", 405, 100020)
        except Refused as refused:
            return self._refusal(call, refused)
        return None

    def throttle(self, call: Call) -> Reply:
        """Refuse for the rate. OPEN: the HTTP status of RTC's own errors; 400 is what is expected."""
        return self._refusal(call, Refused("FlowLimitExceeded.QPSOverLimit", "request rate over the limit"))

    def fail(self, call: Call, code: str | int, message: str, status: int | None) -> Reply:
        """Refuse with a code that was asked for."""
        return self._refusal(call, Refused(str(code), message, 400 if status is None else status))

    def perform(self, call: Call, now: float) -> Reply:
        """Carry out an action."""
        if call.parameters is None:
            return self._refusal(call, Refused("InvalidParameter.Unmarshal", "the body is not a JSON object"))
        _, perform = self._actions[call.action]
        try:
            result = perform(self, call.parameters, now)
        except Refused as refused:
            return self._refusal(call, refused)
        return Reply(200, {"ResponseMetadata": self._metadata(call), "Result": result}, is_success=True)

    def _metadata(self, call: Call) -> dict[str, Any]:
        return {
            "RequestId": f"emulator-{next(self._request_ids)}",
            "Action": call.action,
            "Version": call.query.get("Version", ""),
            "Service": "rtc",
            "Region": self._region,
        }

    def _refusal(self, call: Call, refused: Refused) -> Reply:
        error: dict[str, str | int] = {"Code": refused.code, "Message": refused.message}
        if refused.number:
            error["CodeN"] = refused.number
        return Reply(refused.status, {"ResponseMetadata": {**self._metadata(call), "Error": error}})

    # Signature: https://www.volcengine.com/docs/6369/67269

    def _check_signature(self, call: Call, now: float) -> None:
        header = call.headers.get("authorization")
        if header is None:
            raise Refused("MissingAuthenticationToken", "the request is not signed", 401, 100003)
        match = _AUTHORIZATION.fullmatch(header)
        if match is None:
            raise Refused("InvalidAuthorization", "the Authorization header is malformed", 400, 100024)
        date = call.headers.get("x-date")
        if date is None:
            raise Refused("MissingRequestInfo", "missing timestamp information", 400, 100004)
        try:
            signed_at = calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ"))
        except ValueError:
            raise Refused("InvalidTimestamp", "X-Date is malformed", 400, 100006) from None
        # OPEN: how far ahead a timestamp may lie; the same 15 minutes are assumed.
        if abs(signed_at - now) > MAX_SKEW:
            raise Refused("InvalidTimestamp", "the signature has expired or lies in the future", 400, 100006)
        if match["day"] != date[:8] or match["region"] != self._region or match["service"] != "rtc":
            raise Refused("InvalidCredential", "the credential scope is wrong", 400, 100025)
        if match["key"] != self._access_key:
            raise Refused("InvalidAccessKey", "there is no such access key", 401, 100009)
        token = call.headers.get("x-security-token")
        if self._session_token is not None and token != self._session_token:
            raise Refused("InvalidSecretToken", "the session token is wrong", 401, 100026)
        names = match["headers"].split(";")
        needed = {"host", "x-date"} | ({"x-security-token"} if token is not None else set())
        if not needed <= set(names) or not hmac.compare_digest(self._signature(call, match), match["signature"]):
            raise Refused("SignatureDoesNotMatch", "the signature does not match", 401, 100010)

    def _signature(self, call: Call, match: re.Match[str]) -> str:
        body_hash = hashlib.sha256(call.body).hexdigest()
        lines = [call.method, "/", _canonical_query(call.raw_query)]
        for name in match["headers"].split(";"):
            value = call.headers.get(name, "").strip()
            if name == "host":
                value = re.sub(r":(80|443)$", "", value)
            lines.append(f"{name}:{value}")
        lines += ["", match["headers"], body_hash]
        scope = f"{match['day']}/{match['region']}/{match['service']}/request"
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        text = "\n".join(("HMAC-SHA256", call.headers["x-date"], scope, digest))
        key = self._secret_key.encode()
        for part in scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    # Moderation: https://www.volcengine.com/docs/6348/104531

    def _running(self, room: tuple[str, str]) -> list[Detection]:
        return [one for one in self._detections if one.running and one.room == room]

    def _start_detection(self, given: Mapping[str, Any], now: float) -> Any:
        room, user = _room(given), _id(given, "UserId", required=False)
        media = given.get("MediaType", 3)
        if media not in (1, 2, 3):
            raise Refused("InvalidParameter", "MediaType must be 1, 2 or 3")  # OPEN: or is it brought into range?
        running = self._running(room)
        whole_room = next((one for one in running if one.user is None), None)
        if user is not None:
            # OPEN: the code, and whether a room-level task of the other medium is in the way too.
            if whole_room is not None:
                raise Refused("InvalidParameter.TaskAlreadyExists", "a moderation of the room is in progress")
            # OPEN: 2020-12-01 may not answer a repeated start with a hint, as 2023-11-01 does.
            same = next((one for one in running if one.user == user), None)
            if same is not None and same.media & media == media:
                return {"Message": ALREADY_STARTED}
            if same is not None:
                same.media |= media
            else:
                self._detections.append(Detection(room, user, media, int(now)))
            return {"Message": "success"}
        if whole_room is not None and whole_room.media & media == media:
            return {"Message": ALREADY_STARTED}
        # The room's task takes over the single-stream ones, as far as their media go.
        for one in running:
            if one.user is not None:
                one.running = bool(one.media & ~media)
                one.media = (one.media & ~media) or one.media
        if whole_room is not None:
            whole_room.media |= media
        else:
            self._detections.append(Detection(room, None, media, int(now)))
        return {"Message": "success"}

    def _stop_detection(self, given: Mapping[str, Any], _: float) -> Any:
        room, user = _room(given), _id(given, "UserId", required=False)
        running = self._running(room)
        # OPEN: the codes of both refusals, and whether stopping the room ends single-stream tasks too.
        if user is not None and any(one.user is None for one in running):
            raise Refused("InvalidParameter", "a moderation of the room cannot be stopped for one user")
        stopped = [one for one in running if user is None or one.user == user]
        if not stopped:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "no moderation is running")
        for one in stopped:
            one.running = False
        return {"Message": "success"}

    def _list_detection_task(self, given: Mapping[str, Any], _: float) -> Any:
        room, user = _room(given), _id(given, "UserId", required=False)
        # OPEN: a room-level task lists the users that it met. The emulator has none, and shows one for the room.
        latest = {
            one.user or "emulated-publisher": {
                "CreateTime": one.created,
                "MediaType": one.media,
                "Status": 1 if one.running else 2,
                "UserId": one.user or "emulated-publisher",
                "RoomId": one.room[1],
            }
            for one in self._detections
            if one.room == room
        }
        tasks = [task for listed, task in latest.items() if user in (None, listed)]
        return {"EventData": tasks, "Message": "success"}

    # Webcast: https://www.volcengine.com/docs/6348/1188207

    def _start_webcast(self, given: Mapping[str, Any], now: float) -> Any:
        key = (*_room(given), _id(given, "TaskId"))
        user = _id(given, "UserId")
        source = given.get("SourceURL")
        if not isinstance(source, str) or not 0 < len(source) <= 1024:  # noqa: PLR2004 - the documented length
            raise Refused("InvalidParameter", "SourceURL is absent or too long")
        # OPEN: the same for 2020-12-01, whose page does not mention a repeated start.
        if key in self._webcasts and not self._webcasts[key]["EndTime"]:
            return ALREADY_STARTED
        kept = ("MaxRunningTime", "VideoSolutions", "MonitorConfig", "EventNotifyConfig")
        self._webcasts[key] = {
            "StartTime": int(now * 1000),
            "EndTime": 0,
            "Status": 2,
            "StopReason": "",
            "UserId": user,
            "SourceURL": source,
            **{name: given[name] for name in kept if name in given},
        }
        return "ok"

    def _stop_webcast(self, given: Mapping[str, Any], now: float) -> Any:
        webcast = self._webcast(given)
        if webcast["EndTime"]:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "the webcast has ended")
        webcast |= {"EndTime": int(now * 1000), "Status": 3, "StopReason": "StopByAPI"}
        return "ok"

    def _get_web_cast_task(self, given: Mapping[str, Any], _: float) -> Any:
        return {"WebCastTask": self._webcast(given)}

    def _webcast(self, given: Mapping[str, Any]) -> dict[str, Any]:
        key = (*_room(given), _id(given, "TaskId"))
        if key not in self._webcasts:
            # OPEN: the code for a task that was never started.
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "there is no such webcast")
        return self._webcasts[key]

    _Perform = Callable[["Volcengine", Mapping[str, Any], float], Any]
    _actions: Mapping[str, tuple[str, _Perform]] = {
        "StartDetection": ("POST", _start_detection),
        "StopDetection": ("POST", _stop_detection),
        "ListDetectionTask": ("GET", _list_detection_task),
        "StartWebcast": ("POST", _start_webcast),
        "StopWebcast": ("POST", _stop_webcast),
        "GetWebCastTask": ("GET", _get_web_cast_task),
    }


def _room(given: Mapping[str, Any]) -> tuple[str, str]:
    return _id(given, "AppId"), _id(given, "RoomId")


_CODES = {"AppId": "InvalidParameter.IllegalAppId", "RoomId": "InvalidParameter.IllegalRoomID"}


def _id(given: Mapping[str, Any], name: str, *, required: bool = True) -> Any:
    value = given.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise Refused(_CODES.get(name, "InvalidParameter"), f"{name} is absent or malformed")
    return value


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def _canonical_query(raw_query: str) -> str:
    pairs = [pair.partition("=") for pair in raw_query.split("&") if pair]
    return "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, _, value in pairs))


def _encoded(text: str) -> str:
    raw = unquote_to_bytes(text.replace("+", " "))
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in raw)
