"""Volcengine's webcasts. What the documents leave open is marked OPEN. https://www.volcengine.com/docs/6348/1188207.

There are no pages, so none ends by itself, not after MaxRunningTime either, and none calls back.
"""

from typing import Any

from volc_moderation.emulator.memory import Ended
from volc_moderation.emulator.vendor import Fields, Rule
from volc_moderation.emulator.volcengine.moderation import ALREADY_STARTED
from volc_moderation.emulator.volcengine.parameters import (
    BOTH_VERSIONS,
    Given,
    Refused,
    an_id,
    flag,
    list_of,
    number,
    object_of,
    room_of,
    text,
)

WEBCAST = {"AppId": an_id, "RoomId": an_id, "TaskId": an_id}
#: https://www.volcengine.com/docs/6348/1188207. An odd width or height is made even, so it is no fault.
SOLUTION = object_of(
    Width=number(50, 1920), Height=number(50, 1080), FrameRate=number(1, 60), Bitrate=number(0, 10_000)
)
#: 0 switches a check off.
CHECKS = object_of(
    BlankCheckInterval=number(2, 30, 0), FreezeCheckInterval=number(2, 30, 0), CrashCheckInterval=number(0, 30)
)
SHOWN = {
    "MaxRunningTime": number(10, 86_400),
    # OPEN: an empty list. Here it is as good as none.
    "VideoSolutions": list_of(SOLUTION, most=2),
    "MonitorConfig": CHECKS,
    "EventNotifyConfig": object_of(EnableEventNotify=flag, StartTimeout=number(0, 60)),
}
#: https://www.volcengine.com/docs/6348/204054: for so many milliseconds from its start can a webcast be asked for.
KEPT = 72 * 3600 * 1000

_Key = tuple[str, str, str]


class Webcasts:
    """The webcasts of one account."""

    def __init__(self) -> None:
        self._webcasts: dict[_Key, dict[str, Any]] = {}
        self._ended: Ended[_Key] = Ended(self._webcasts.pop)

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file."""
        start = Fields(
            required={**WEBCAST, "UserId": an_id, "SourceURL": text(most=1024)}, optional={"BusinessId": an_id, **SHOWN}
        )
        this = Fields(required=WEBCAST)
        stop, get = self._stop_webcast, self._get_web_cast_task
        return {
            "StartWebcast": Rule(quota=150, versions=BOTH_VERSIONS, takes=start, perform=self._start_webcast),
            "StopWebcast": Rule(quota=150, versions=BOTH_VERSIONS, takes=this, perform=stop),
            "GetWebCastTask": Rule(method="GET", quota=60, versions=BOTH_VERSIONS, takes=this, perform=get),
        }

    def _start_webcast(self, given: Given, now: float, _: str) -> Any:
        key = _key(given)
        # OPEN: the same for 2020-12-01, whose page does not mention a repeated start.
        if key in self._webcasts and not self._webcasts[key]["EndTime"]:
            return ALREADY_STARTED
        self._ended.discard(key)
        self._webcasts[key] = {
            "StartTime": int(now * 1000),
            "EndTime": 0,
            "Status": 2,
            "StopReason": "",
            "UserId": given["UserId"],
            "SourceURL": given["SourceURL"],
            **{name: given[name] for name in SHOWN if name in given},
        }
        return "ok"

    def _stop_webcast(self, given: Given, now: float, _: str) -> Any:
        webcast = self._webcast(given)
        if webcast["EndTime"]:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "the webcast has ended")
        webcast |= {"EndTime": int(now * 1000), "Status": 3, "StopReason": "StopByAPI"}
        self._ended.add(_key(given))
        return "ok"

    def _get_web_cast_task(self, given: Given, now: float, _: str) -> Any:
        webcast = self._webcast(given)
        if webcast["StartTime"] < now * 1000 - KEPT:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "the webcast was started too long ago")
        return {"WebCastTask": webcast}

    def _webcast(self, given: Given) -> dict[str, Any]:
        if _key(given) not in self._webcasts:
            # OPEN: the code for a task that was never started.
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "there is no such webcast")
        return self._webcasts[_key(given)]


def _key(given: Given) -> _Key:
    return *room_of(given), given["TaskId"]
