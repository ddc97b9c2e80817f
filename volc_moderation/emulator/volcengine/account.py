"""One account of Volcengine: signatures, envelopes and actions. OPEN marks what the documents do not specify.

The signature is checked with separate code, which shares nothing with the client's signer.
"""

import calendar
import hashlib
import hmac
import itertools
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from volc_moderation.emulator.quota_enforcement import QuotaEnforcer
from volc_moderation.emulator.rooms import Member, check_verdict, to_media
from volc_moderation.emulator.vendor import Callback, VendorAnswer, VendorRequest
from volc_moderation.emulator.volcengine.moderation import Detections
from volc_moderation.emulator.volcengine.parameters import Refused
from volc_moderation.emulator.volcengine.people import People
from volc_moderation.emulator.volcengine.webcast import Webcasts

#: Seconds that the time of a signature may differ from the emulator's.
MAX_CLOCK_SKEW = 15 * 60
_AUTHORIZATION = re.compile(
    r"HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/request, "
    r"SignedHeaders=(?P<headers>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)


class Volcengine:
    """One account of Volcengine."""

    def __init__(
        self,
        *,
        access_key: str,
        secret_key: str,
        session_token: str | None,
        region: str,
        callback_secret: str,
        quotas: Mapping[str, int],
    ) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._session_token = session_token
        self._region = region
        self._callback_secret = callback_secret
        self._quotas = quotas
        self._request_ids = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """Forget all tasks, users and counts."""
        self._people = People()
        self._detections = Detections(self._people, self._callback_secret)
        self._actions = self._detections.actions() | Webcasts().actions() | self._people.actions()
        self.quota_enforcer = QuotaEnforcer(
            {name: spec.quota for name, spec in self._actions.items()} | dict(self._quotas)
        )

    def quota_name(self, call: VendorRequest) -> str:
        """Return the name of the action."""
        return call.action

    def check(self, call: VendorRequest, now: float) -> VendorAnswer | None:
        """Check the signature, the timestamp, the action and the version. Return the refusal, or None."""
        try:
            self._check_signature(call, now)
            if not call.action or not call.query.get("Version"):
                raise Refused("MissingParameter", "Action or Version is absent", 400, 100002)
            spec = self._actions.get(call.action)
            if spec is None or call.query["Version"] not in spec.versions:
                raise Refused("InvalidActionOrVersion", "there is no such action or version", 404, 100008)
            if spec.method != call.method:
                raise Refused("MethodNotAllowed", f"{call.action} is a {spec.method}", 405, 100020)
        except Refused as refused:
            return self._refusal(call, refused)
        return None

    def throttle(self, call: VendorRequest, *, for_room: bool) -> VendorAnswer:  # noqa: ARG002 - no quota is for a room
        """Return the refusal for an exceeded quota. OPEN: the HTTP status of RTC's own errors; 400 is assumed."""
        return self._refusal(call, Refused("FlowLimitExceeded.QPSOverLimit", "request rate over the limit"))

    def fail(self, call: VendorRequest, code: str | int, message: str, status: int | None) -> VendorAnswer:
        """Return a refusal with the code of a fault."""
        return self._refusal(call, Refused(str(code), message, 400 if status is None else status))

    def perform(self, call: VendorRequest, now: float) -> VendorAnswer:
        """Perform an action."""
        if call.parameters is None:
            return self._refusal(call, Refused("InvalidParameter.Unmarshal", "the body is not a JSON object"))
        spec = self._actions[call.action]
        try:
            result = spec.perform(spec.fields.parse(call.parameters), now, call.query["Version"])
        except Refused as refused:
            return self._refusal(call, refused)
        self._update_moderations(now)
        return VendorAnswer(200, {"ResponseMetadata": self._metadata(call), "Result": result}, is_success=True)

    def join(
        self,
        now: float,
        *,
        room_id: str,
        user_id: str,
        app_id: str = "app",
        verdict: str = "PASS",
        stream_id: str | None = None,
        ip: str | None = None,
    ) -> bool:
        """Let a user join a room and publish a stream; False if a ban keeps the user out."""
        member = Member(user_id=user_id, stream_id=stream_id or user_id, verdict=verdict, joined=now, ip=ip)
        is_admitted = self._people.join((app_id, room_id), member, now)
        self._update_moderations(now)
        return is_admitted

    def leave(self, now: float, *, room_id: str, user_id: str, app_id: str = "app") -> None:
        """Let a user leave a room."""
        self._people.rooms.remove((app_id, room_id), user_id)
        self._update_moderations(now)

    def report(
        self,
        now: float,
        *,
        room_id: str,
        user_id: str,
        app_id: str = "app",
        verdict: str = "REJECT",
        media: str | None = None,
    ) -> list[Callback]:
        """Return the callbacks of all moderations that cover a user."""
        room = (app_id, room_id)
        member = self._people.rooms.member(room, user_id)
        return self._detections.report(room, member, check_verdict(verdict), to_media(media), now)

    def report_all(self, now: float) -> list[Callback]:
        """Return the callbacks of all moderations of all users."""
        return [
            callback
            for (app, room), member in self._people.rooms.all_members()
            for callback in self._detections.report((app, room), member, member.verdict, to_media(None), now)
        ]

    def pop_callbacks(self) -> list[Callback]:
        """Return nothing: no call of Volcengine causes a callback by itself."""
        return []

    def _update_moderations(self, now: float) -> None:
        for room in self._people.pop_changed_rooms():
            self._detections.record_members(room, now)

    def _metadata(self, call: VendorRequest) -> dict[str, Any]:
        return {
            "RequestId": f"emulator-{next(self._request_ids)}",
            "Action": call.action,
            "Version": call.query.get("Version", ""),
            "Service": "rtc",
            "Region": self._region,
        }

    def _refusal(self, call: VendorRequest, refused: Refused) -> VendorAnswer:
        error: dict[str, str | int] = {"Code": refused.code, "Message": refused.message}
        if refused.number:
            error["CodeN"] = refused.number
        return VendorAnswer(refused.status, {"ResponseMetadata": {**self._metadata(call), "Error": error}})

    # Signature: https://www.volcengine.com/docs/6369/67269

    def _check_signature(self, call: VendorRequest, now: float) -> None:
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
        # OPEN: how far a timestamp may lie in the future; the same 15 minutes are assumed.
        if abs(signed_at - now) > MAX_CLOCK_SKEW:
            raise Refused("InvalidTimestamp", "the signature has expired or lies in the future", 400, 100006)
        if match["day"] != date[:8] or match["region"] != self._region or match["service"] != "rtc":
            raise Refused("InvalidCredential", "the credential scope is wrong", 400, 100025)
        if match["key"] != self._access_key:
            raise Refused("InvalidAccessKey", "there is no such access key", 401, 100009)
        token = call.headers.get("x-security-token")
        if self._session_token is not None and token != self._session_token:
            raise Refused("InvalidSecretToken", "the session token is wrong", 401, 100026)
        names = match["headers"].split(";")
        required = {"host", "x-date"} | ({"x-security-token"} if token is not None else set())
        if not required <= set(names) or not hmac.compare_digest(self._signature(call, match), match["signature"]):
            raise Refused("SignatureDoesNotMatch", "the signature does not match", 401, 100010)

    def _signature(self, call: VendorRequest, match: re.Match[str]) -> str:
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


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def _canonical_query(raw_query: str) -> str:
    pairs = [pair.partition("=") for pair in raw_query.split("&") if pair]
    return "&".join(sorted(f"{_encoded(name)}={_encoded(value)}" for name, _, value in pairs))


def _encoded(text: str) -> str:
    raw = unquote_to_bytes(text.replace("+", " "))
    return "".join(chr(byte) if byte in _UNRESERVED else f"%{byte:02X}" for byte in raw)
