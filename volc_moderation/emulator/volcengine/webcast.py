"""Volcengine's webcasts. OPEN marks what the documents do not specify.

No pages are recorded, so no webcast ends by itself, not even after MaxRunningTime, and none sends callbacks.
https://www.volcengine.com/docs/6348/1188207
"""

from typing import Any

from volc_moderation.emulator.memory import RecentlyEnded
from volc_moderation.emulator.vendor import ActionSpec, Fields
from volc_moderation.emulator.volcengine.moderation import ALREADY_STARTED
from volc_moderation.emulator.volcengine.parameters import (
    BOTH_VERSIONS,
    Parameters,
    Refused,
    boolean,
    identifier,
    list_of,
    number,
    object_of,
    room_of,
    text,
)

WEBCAST = {"AppId": identifier, "RoomId": identifier, "TaskId": identifier}
#: https://www.volcengine.com/docs/6348/1188207. An odd width or height is rounded to an even one, so it is accepted.
SOLUTION = object_of(
    Width=number(50, 1920), Height=number(50, 1080), FrameRate=number(1, 60), Bitrate=number(0, 10_000)
)
#: 0 disables a check.
CHECKS = object_of(
    BlankCheckInterval=number(2, 30, 0), FreezeCheckInterval=number(2, 30, 0), CrashCheckInterval=number(0, 30)
)
#: The options of a webcast, which ``GetWebCastTask`` returns.
OPTIONS = {
    "MaxRunningTime": number(10, 86_400),
    # OPEN: an empty list. Here it means the same as none.
    "VideoSolutions": list_of(SOLUTION, max_items=2),
    "MonitorConfig": CHECKS,
    "EventNotifyConfig": object_of(EnableEventNotify=boolean, StartTimeout=number(0, 60)),
}
#: Milliseconds after its start for which a webcast can be queried: https://www.volcengine.com/docs/6348/204054.
QUERY_PERIOD = 72 * 3600 * 1000

_Key = tuple[str, str, str]


class Webcasts:
    """The webcasts of one account."""

    def __init__(self) -> None:
        self._webcasts: dict[_Key, dict[str, Any]] = {}
        self._ended: RecentlyEnded[_Key] = RecentlyEnded(self._webcasts.pop)

    def actions(self) -> dict[str, ActionSpec]:
        """Return the actions of this module, by name."""
        start = Fields(
            required={**WEBCAST, "UserId": identifier, "SourceURL": text(max_length=1024)},
            optional={"BusinessId": identifier, **OPTIONS},
        )
        task = Fields(required=WEBCAST)
        stop, get = self._stop_webcast, self._get_web_cast_task
        return {
            "StartWebcast": ActionSpec(quota=150, versions=BOTH_VERSIONS, fields=start, perform=self._start_webcast),
            "StopWebcast": ActionSpec(quota=150, versions=BOTH_VERSIONS, fields=task, perform=stop),
            "GetWebCastTask": ActionSpec(method="GET", quota=60, versions=BOTH_VERSIONS, fields=task, perform=get),
        }

    def _start_webcast(self, parameters: Parameters, now: float, _: str) -> Any:
        key = _key(parameters)
        # OPEN: whether 2020-12-01 does the same; its page does not mention a repeated start.
        if key in self._webcasts and not self._webcasts[key]["EndTime"]:
            return ALREADY_STARTED
        self._ended.discard(key)
        self._webcasts[key] = {
            "StartTime": int(now * 1000),
            "EndTime": 0,
            "Status": 2,
            "StopReason": "",
            "UserId": parameters["UserId"],
            "SourceURL": parameters["SourceURL"],
            **{name: parameters[name] for name in OPTIONS if name in parameters},
        }
        return "ok"

    def _stop_webcast(self, parameters: Parameters, now: float, _: str) -> Any:
        webcast = self._webcast(parameters)
        if webcast["EndTime"]:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "the webcast has ended")
        webcast |= {"EndTime": int(now * 1000), "Status": 3, "StopReason": "StopByAPI"}
        self._ended.add(_key(parameters))
        return "ok"

    def _get_web_cast_task(self, parameters: Parameters, now: float, _: str) -> Any:
        webcast = self._webcast(parameters)
        if webcast["StartTime"] < now * 1000 - QUERY_PERIOD:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "the webcast was started too long ago")
        return {"WebCastTask": webcast}

    def _webcast(self, parameters: Parameters) -> dict[str, Any]:
        if _key(parameters) not in self._webcasts:
            # OPEN: the code if the task was never started.
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "there is no such webcast")
        return self._webcasts[_key(parameters)]


def _key(parameters: Parameters) -> _Key:
    return *room_of(parameters), parameters["TaskId"]
