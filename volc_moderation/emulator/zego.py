"""ZEGO's Server API as its documents describe it. What they leave open is marked OPEN.

There are no streams, so no task ends by itself.

The signature is checked with code of its own: nothing here comes from the client's signer.
"""

import hashlib
import hmac
import itertools
import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from volc_moderation.emulator.counter import Counter
from volc_moderation.emulator.vendor import Call, Reply

QUOTAS = {"StartCensorAudioV2": 100, "StopCensorAudioV2": 100}
MAX_SKEW = 10 * 60


class Refused(Exception):  # noqa: N818 - it does not leave this file
    """A refusal with a code of the vendor."""

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Zego:
    """One app of ZEGO."""

    def __init__(self, *, app_id: int, server_secret: str, quotas: Mapping[str, int]) -> None:
        self._app_id = app_id
        self._server_secret = server_secret
        self._quotas = {**QUOTAS, **quotas}
        self._request_ids = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """Forget all tasks, nonces and counts."""
        self.counter = Counter(self._quotas)
        self._tasks: dict[str, bool] = {}
        self._nonces: dict[str, float] = {}

    def check(self, call: Call, now: float) -> Reply | None:
        """Check the common parameters and the action."""
        try:
            self._check_signature(call, now)
            if not call.action:
                raise Refused(100000006, "Action is absent")
            method, _ = self._actions.get(call.action, ("", None))
            if method != call.method:
                # OPEN: the code for a GET that should be a POST.
                raise Refused(100000007, "there is no such Action")
        except Refused as refused:
            return self._refusal(refused)
        return None

    def throttle(self, call: Call) -> Reply:  # noqa: ARG002 - the same for all actions of this family
        """Refuse for the rate."""
        return self._refusal(Refused(206, "app qps limit exceeded"))

    def fail(self, call: Call, code: str | int, message: str, status: int | None) -> Reply:  # noqa: ARG002
        """Refuse with a code that was asked for."""
        return self._refusal(Refused(code, message), 200 if status is None else status)

    def perform(self, call: Call, now: float) -> Reply:
        """Carry out an action."""
        _, perform = self._actions[call.action]
        try:
            if call.parameters is None:
                raise Refused(8, "the body is not a JSON object")
            data = perform(self, call.parameters, now)
        except Refused as refused:
            return self._refusal(refused)
        envelope = {"Code": 0, "Message": "success", "RequestId": self._request_id()}
        return Reply(200, envelope if data is None else {**envelope, "Data": data}, is_success=True)

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
        for old in [old for old, seen in itertools.islice(self._nonces.items(), 2) if seen < now - 2 * MAX_SKEW]:
            del self._nonces[old]
        if nonce in self._nonces:
            raise Refused(100000005, "the nonce was used before")
        self._nonces[nonce] = now

    # Moderation: https://docs.zegocloud.com/article/18040 and https://docs.zegocloud.com/article/18041

    def _start_censor_audio(self, given: Mapping[str, Any], _: float) -> Any:
        for name in ("RoomId", "EventId", "AudioLanguage"):
            _text(given, name)
        if not given.get("RiskTypeList") and not given.get("BusinessTypeList"):
            raise Refused(2, "RiskTypeList and BusinessTypeList are both empty")
        # OPEN: what a second start of the same room does. Here it makes a second task.
        task_id = secrets.token_hex(16)
        self._tasks[task_id] = True
        return {"TaskId": task_id}

    def _stop_censor_audio(self, given: Mapping[str, Any], _: float) -> Any:
        task_id = _text(given, "TaskId")
        # OPEN: an unknown task, and one that has ended. Here the first is a bad parameter, the second a success.
        if task_id not in self._tasks:
            raise Refused(2, "there is no such task")
        self._tasks[task_id] = False

    _Perform = Callable[["Zego", Mapping[str, Any], float], Any]
    _actions: Mapping[str, tuple[str, _Perform]] = {
        "StartCensorAudioV2": ("POST", _start_censor_audio),
        "StopCensorAudioV2": ("POST", _stop_censor_audio),
    }


def _text(given: Mapping[str, Any], name: str) -> str:
    value = given.get(name)
    if not isinstance(value, str) or not value:
        raise Refused(2, f"{name} is absent or malformed")
    return value
