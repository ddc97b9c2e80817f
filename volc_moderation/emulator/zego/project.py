"""One app of ZEGO: signatures, envelopes, and who carries out what. What the documents leave open is marked OPEN.

The signature is checked with code of its own: nothing here comes from the client's signer.
"""

import hashlib
import hmac
import itertools
import re
from collections.abc import Mapping

from volc_moderation.emulator.counter import Counter
from volc_moderation.emulator.memory import Swept
from volc_moderation.emulator.rooms import Member, checked_verdict, media_of
from volc_moderation.emulator.vendor import Call, Callback, Medium, Reply
from volc_moderation.emulator.zego.forbidding import LOGIN, PUBLISH, Forbidding
from volc_moderation.emulator.zego.moderation import Moderation
from volc_moderation.emulator.zego.parameters import BAD_PARAMETER, Refused
from volc_moderation.emulator.zego.people import People

MAX_SKEW = 10 * 60

#: https://doc-zh.zego.im/article/19702: too many calls of the app, for the room, of the media service.
APP_QUOTA, ROOM_QUOTA, MEDIA_SERVICE_QUOTA = 206, 207, 30002
#: The same page: IsTest is wrong, says the media service. OPEN: what the others say; here, that a parameter is bad.
BAD_IS_TEST = 30004

#: What follows the name of an action where calls of the test environment are counted.
TEST = " test"


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
        """Forget all tasks, people, nonces and counts."""
        self._people = People()
        self._forbidding = Forbidding()
        self._moderation = Moderation(self._app_id, self._callback_secret)
        self._rules = self._moderation.rules() | self._people.rules() | self._forbidding.rules()
        quotas = {name: rule.quota for name, rule in self._rules.items()}
        for name, rule in self._rules.items():
            quotas[name + TEST] = rule.quota if rule.test_quota is None else rule.test_quota
        in_room = {name: rule.room_quota for name, rule in self._rules.items() if rule.room_quota is not None}
        in_room |= {name + TEST: quota for name, quota in in_room.items()}
        self.counter = Counter(quotas | dict(self._quotas), in_room)
        #: With the time until which a signature that has it may come again.
        self._nonces: Swept[str, float] = Swept(lambda until, now: until < now)

    def counted_as(self, call: Call) -> str:
        """Return the action, with `` test`` behind it in the test environment, which has quotas of its own."""
        return call.action + (TEST if call.query.get("IsTest", "").lower() == "true" else "")

    def check(self, call: Call, now: float) -> Reply | None:
        """Check the common parameters and the action."""
        try:
            self._check_signature(call, now)
            if not call.action:
                raise Refused(100000006, "Action is absent")
            rule = self._rules.get(call.action)
            if rule is None or rule.method != call.method:
                # OPEN: the code for a GET that should be a POST.
                raise Refused(100000007, "there is no such Action")
            # https://doc-zh.zego.im/article/19458: in any case of letters.
            if call.query.get("IsTest", "false").lower() not in {"true", "false"}:
                code = BAD_IS_TEST if rule.family == "media-service" else BAD_PARAMETER
                raise Refused(code, "IsTest must be true or false")
        except Refused as refused:
            return self._refusal(refused)
        return None

    def throttle(self, call: Call, *, for_room: bool) -> Reply:
        """Refuse for the rate."""
        if for_room:
            return self._refusal(Refused(ROOM_QUOTA, "room qps limit exceeded"))
        is_media_service = self._rules[call.action].family == "media-service"
        return self._refusal(Refused(MEDIA_SERVICE_QUOTA if is_media_service else APP_QUOTA, "qps limit exceeded"))

    def fail(self, call: Call, code: str | int, message: str, status: int | None) -> Reply:  # noqa: ARG002
        """Refuse with a code that was asked for."""
        return self._refusal(Refused(code, message), 200 if status is None else status)

    def perform(self, call: Call, now: float) -> Reply:
        """Carry out an action."""
        rule = self._rules[call.action]
        try:
            if call.parameters is None:
                raise Refused(8, "the body is not a JSON object")
            data = rule.perform(rule.takes.read(call.parameters), now, "")
        except Refused as refused:
            return self._refusal(refused)
        if rule.family == "media-service":
            envelope = {"Code": 0, "Message": "ok", "RequestId": self._request_id(), "Data": data}
        else:
            envelope = {"Code": 0, "Message": "success", "RequestId": self._request_id()}
            envelope |= {} if data is None else {"Data": data}
        return Reply(200, envelope, is_success=True)

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
        """Let a user join a room and publish, unless a rule forbids either; False if the user may not join."""
        stream = stream_id or f"{user_id}-stream"
        member = Member(user_id=user_id, stream_id=stream, verdict=verdict, joined=now, ip=ip)
        if self._forbidding.forbids(LOGIN, room_id, member, now):
            return False
        if self._forbidding.forbids(PUBLISH, room_id, member, now):
            member.stream_id = None
        self._people.join(room_id, member, now)
        return True

    def leave(self, now: float, *, room_id: str, user_id: str) -> None:
        """Let a user leave a room."""
        self._people.remove(room_id, user_id, now)

    def report(
        self, now: float, *, room_id: str, user_id: str, verdict: str = "REJECT", media: str | None = None
    ) -> list[Callback]:
        """Return what the moderations that cover a user call back."""
        member = self._people.rooms.member((room_id,), user_id)
        audible = self._published(room_id, member, media_of(media), now)
        return self._moderation.report(room_id, member, checked_verdict(verdict), audible, now)

    def report_all(self, now: float) -> list[Callback]:
        """Return what all moderations find in all rooms."""
        found = []
        for (room,), member in self._people.rooms.everybody():
            media = self._published(room, member, media_of(None), now)
            found += self._moderation.report(room, member, member.verdict, media, now)
        return found

    def take_callbacks(self) -> list[Callback]:
        """Return the callbacks about tasks that have ended since."""
        return self._moderation.take_ended()

    def _published(self, room: str, member: Member, media: tuple[Medium, ...], now: float) -> tuple[Medium, ...]:
        if member.stream_id is None:
            return ()
        return tuple(one for one in media if not self._forbidding.silences(room, member.stream_id, one, now))

    def _request_id(self) -> str:
        return f"emulator-{next(self._request_ids)}"

    def _refusal(self, refused: Refused, status: int = 200) -> Reply:
        # OPEN: the HTTP status of a refusal; only 200 is declared.
        return Reply(status, {"Code": refused.code, "Message": refused.message, "RequestId": self._request_id()})

    # Signature: https://doc-zh.zego.im/article/19458

    def _check_signature(self, call: Call, now: float) -> None:
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
        if abs(int(query["Timestamp"]) - now) > MAX_SKEW:
            raise Refused(100000004, "the signature has expired")
        text = query["AppId"] + query["SignatureNonce"] + self._server_secret + query["Timestamp"]
        expected = hashlib.new("md5", text.encode(), usedforsecurity=False).hexdigest()
        if not hmac.compare_digest(expected.encode(), query["Signature"].encode()):
            raise Refused(100000005, "the signature is wrong")
        self._use_nonce(query["SignatureNonce"], now)

    def _use_nonce(self, nonce: str, now: float) -> None:
        # OPEN: what ZEGO does about a nonce that comes twice. Documents ask for a new one, so a second one is refused.
        if self._nonces.get(nonce, now) > now:
            raise Refused(100000005, "the nonce was used before")
        self._nonces.put(nonce, now + 2 * MAX_SKEW, now)
