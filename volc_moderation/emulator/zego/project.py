"""One app of ZEGO: signatures, envelopes and actions. OPEN marks what the documents do not specify.

The signature is checked with separate code, which shares nothing with the client's signer.
"""

import hashlib
import hmac
import itertools
import re
from collections.abc import Mapping

from volc_moderation.emulator.memory import ExpiringDict
from volc_moderation.emulator.quota_enforcement import QuotaEnforcer
from volc_moderation.emulator.rooms import Member, check_verdict, to_media
from volc_moderation.emulator.vendor import Callback, Medium, VendorAnswer, VendorRequest
from volc_moderation.emulator.zego.forbid_rules import LOGIN_PRIVILEGE, PUBLISH_PRIVILEGE, ForbidRules
from volc_moderation.emulator.zego.moderation import Moderation
from volc_moderation.emulator.zego.parameters import BAD_PARAMETER, Refused
from volc_moderation.emulator.zego.people import People

#: Seconds that the time of a signature may differ from the emulator's.
MAX_CLOCK_SKEW = 10 * 60

# Codes: https://doc-zh.zego.im/article/19702
APP_QUOTA_EXCEEDED = 206
ROOM_QUOTA_EXCEEDED = 207
MEDIA_SERVICE_QUOTA_EXCEEDED = 30002
#: Of the media service. OPEN: the code of the other actions; here it is the one for a bad parameter.
BAD_IS_TEST = 30004

#: Follows the name of an action in the counts of calls in the test environment.
TEST_SUFFIX = " test"


class Zego:
    """One app of ZEGO."""

    def __init__(self, *, app_id: int, server_secret: str, callback_secret: str, quotas: Mapping[str, int]) -> None:
        self._app_id = app_id
        self._server_secret = server_secret
        self._callback_secret = callback_secret
        self._quotas = quotas
        self._request_ids = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """Forget all tasks, users, nonces and counts."""
        self._people = People()
        self._forbid_rules = ForbidRules()
        self._moderation = Moderation(self._app_id, self._callback_secret)
        self._actions = self._moderation.actions() | self._people.actions() | self._forbid_rules.actions()
        quotas = {name: spec.quota for name, spec in self._actions.items()}
        for name, spec in self._actions.items():
            quotas[name + TEST_SUFFIX] = spec.quota if spec.test_quota is None else spec.test_quota
        room_quotas = {name: spec.room_quota for name, spec in self._actions.items() if spec.room_quota is not None}
        room_quotas |= {name + TEST_SUFFIX: quota for name, quota in room_quotas.items()}
        self.quota_enforcer = QuotaEnforcer(quotas | dict(self._quotas), room_quotas)
        #: For each nonce, the time until which its signature is valid.
        self._nonces: ExpiringDict[str, float] = ExpiringDict(lambda until, now: until < now)

    def quota_name(self, call: VendorRequest) -> str:
        """Return the name of the action, with a suffix in the test environment, which has quotas of its own."""
        return call.action + (TEST_SUFFIX if call.query.get("IsTest", "").lower() == "true" else "")

    def check(self, call: VendorRequest, now: float) -> VendorAnswer | None:
        """Check the common parameters and the action. Return the refusal, or None."""
        try:
            self._check_signature(call, now)
            if not call.action:
                raise Refused(100000006, "Action is absent")
            spec = self._actions.get(call.action)
            if spec is None or spec.method != call.method:
                # OPEN: the code for a GET that should be a POST.
                raise Refused(100000007, "there is no such Action")
            # https://doc-zh.zego.im/article/19458: case does not matter.
            if call.query.get("IsTest", "false").lower() not in {"true", "false"}:
                code = BAD_IS_TEST if spec.family == "media-service" else BAD_PARAMETER
                raise Refused(code, "IsTest must be true or false")
        except Refused as refused:
            return self._refusal(refused)
        return None

    def throttle(self, call: VendorRequest, *, for_room: bool) -> VendorAnswer:
        """Return the refusal for an exceeded quota."""
        if for_room:
            return self._refusal(Refused(ROOM_QUOTA_EXCEEDED, "room qps limit exceeded"))
        is_media_service = self._actions[call.action].family == "media-service"
        code = MEDIA_SERVICE_QUOTA_EXCEEDED if is_media_service else APP_QUOTA_EXCEEDED
        return self._refusal(Refused(code, "qps limit exceeded"))

    def fail(self, call: VendorRequest, code: str | int, message: str, status: int | None) -> VendorAnswer:  # noqa: ARG002
        """Return a refusal with the code of a fault."""
        return self._refusal(Refused(code, message), 200 if status is None else status)

    def perform(self, call: VendorRequest, now: float) -> VendorAnswer:
        """Perform an action."""
        spec = self._actions[call.action]
        try:
            if call.parameters is None:
                raise Refused(8, "the body is not a JSON object")
            data = spec.perform(spec.fields.parse(call.parameters), now, "")
        except Refused as refused:
            return self._refusal(refused)
        if spec.family == "media-service":
            envelope = {"Code": 0, "Message": "ok", "RequestId": self._request_id(), "Data": data}
        else:
            envelope = {"Code": 0, "Message": "success", "RequestId": self._request_id()}
            envelope |= {} if data is None else {"Data": data}
        return VendorAnswer(200, envelope, is_success=True)

    def join(
        self,
        now: float,
        *,
        room_id: str,
        user_id: str,
        stream_id: str | None = None,
        verdict: str = "PASS",
        ip: str | None = None,
    ) -> bool:
        """Let a user join a room and publish a stream, unless rules forbid it; False if the user may not join."""
        stream = stream_id or f"{user_id}-stream"
        member = Member(user_id=user_id, stream_id=stream, verdict=verdict, joined=now, ip=ip)
        if self._forbid_rules.forbids(LOGIN_PRIVILEGE, room_id, member, now):
            return False
        if self._forbid_rules.forbids(PUBLISH_PRIVILEGE, room_id, member, now):
            member.stream_id = None
        self._people.join(room_id, member, now)
        return True

    def leave(self, now: float, *, room_id: str, user_id: str) -> None:
        """Let a user leave a room."""
        self._people.remove(room_id, user_id, now)

    def report(
        self, now: float, *, room_id: str, user_id: str, verdict: str = "REJECT", media: str | None = None
    ) -> list[Callback]:
        """Return the callbacks of all moderations that cover a user."""
        member = self._people.rooms.member((room_id,), user_id)
        published = self._published(room_id, member, to_media(media), now)
        return self._moderation.report(room_id, member, check_verdict(verdict), published, now)

    def report_all(self, now: float) -> list[Callback]:
        """Return the callbacks of all moderations of all users."""
        callbacks = []
        for (room,), member in self._people.rooms.all_members():
            media = self._published(room, member, to_media(None), now)
            callbacks += self._moderation.report(room, member, member.verdict, media, now)
        return callbacks

    def pop_callbacks(self) -> list[Callback]:
        """Return the callbacks about tasks that have ended since the last time."""
        return self._moderation.pop_callbacks()

    def _published(self, room: str, member: Member, media: tuple[Medium, ...], now: float) -> tuple[Medium, ...]:
        if member.stream_id is None:
            return ()
        return tuple(medium for medium in media if not self._forbid_rules.is_muted(room, member.stream_id, medium, now))

    def _request_id(self) -> str:
        return f"emulator-{next(self._request_ids)}"

    def _refusal(self, refused: Refused, status: int = 200) -> VendorAnswer:
        # OPEN: the HTTP status of a refusal; only 200 is documented.
        return VendorAnswer(status, {"Code": refused.code, "Message": refused.message, "RequestId": self._request_id()})

    # Signature: https://doc-zh.zego.im/article/19458

    def _check_signature(self, call: VendorRequest, now: float) -> None:
        query = call.query
        for name, code in (("Timestamp", 100000002), ("SignatureNonce", 100000008), ("Signature", 100000009)):
            if not query.get(name):
                raise Refused(code, f"{name} is absent")
        if query.get("SignatureVersion") != "2.0":
            code = 100000014 if "SignatureVersion" in query else 100000013
            raise Refused(code, "SignatureVersion must be 2.0")
        for name, code in (("AppId", 100000001), ("Timestamp", 100000003)):
            if not re.fullmatch("[0-9]{1,12}", query.get(name, "")):
                raise Refused(code, f"{name} is malformed")
        if int(query["AppId"]) != self._app_id:
            raise Refused(100000011, "there is no configuration for this AppId")
        if abs(int(query["Timestamp"]) - now) > MAX_CLOCK_SKEW:
            raise Refused(100000004, "the signature has expired")
        text = query["AppId"] + query["SignatureNonce"] + self._server_secret + query["Timestamp"]
        expected = hashlib.new("md5", text.encode(), usedforsecurity=False).hexdigest()
        if not hmac.compare_digest(expected.encode(), query["Signature"].encode()):
            raise Refused(100000005, "the signature is wrong")
        self._use_nonce(query["SignatureNonce"], now)

    def _use_nonce(self, nonce: str, now: float) -> None:
        # OPEN: what ZEGO does with a repeated nonce. The documents ask for a new one, so a repeated one is refused.
        if self._nonces.get(nonce, now) > now:
            raise Refused(100000005, "the nonce was used before")
        self._nonces.put(nonce, now + 2 * MAX_CLOCK_SKEW, now)
