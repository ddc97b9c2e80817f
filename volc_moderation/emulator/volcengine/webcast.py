"""Volcengine's webcasts. What the documents leave open is marked OPEN. https://www.volcengine.com/docs/6348/1188207.

There are no pages, so none ends by itself, not after MaxRunningTime either, and none calls back.
"""

from collections.abc import Mapping
from typing import Any

from volc_moderation.emulator.vendor import Rule
from volc_moderation.emulator.volcengine.moderation import ALREADY_STARTED
from volc_moderation.emulator.volcengine.parameters import BOTH_VERSIONS, Refused, id_of, room_of

Given = Mapping[str, Any]


class Webcasts:
    """The webcasts of one account."""

    def __init__(self) -> None:
        self._webcasts: dict[tuple[str, str, str], dict[str, Any]] = {}

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file."""
        return {
            "StartWebcast": Rule(quota=150, versions=BOTH_VERSIONS, perform=self._start_webcast),
            "StopWebcast": Rule(quota=150, versions=BOTH_VERSIONS, perform=self._stop_webcast),
            "GetWebCastTask": Rule(method="GET", quota=60, versions=BOTH_VERSIONS, perform=self._get_web_cast_task),
        }

    def _start_webcast(self, given: Given, now: float, _: str) -> Any:
        key = (*room_of(given), id_of(given, "TaskId"))
        user = id_of(given, "UserId")
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

    def _stop_webcast(self, given: Given, now: float, _: str) -> Any:
        webcast = self._webcast(given)
        if webcast["EndTime"]:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "the webcast has ended")
        webcast |= {"EndTime": int(now * 1000), "Status": 3, "StopReason": "StopByAPI"}
        return "ok"

    def _get_web_cast_task(self, given: Given, _: float, __: str) -> Any:
        return {"WebCastTask": self._webcast(given)}

    def _webcast(self, given: Given) -> dict[str, Any]:
        key = (*room_of(given), id_of(given, "TaskId"))
        if key not in self._webcasts:
            # OPEN: the code for a task that was never started.
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "there is no such webcast")
        return self._webcasts[key]
