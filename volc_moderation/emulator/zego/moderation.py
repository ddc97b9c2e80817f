"""ZEGO's moderation and its callbacks. What the documents leave open is marked OPEN.

There are no streams that fall silent, so no task ends by itself.
https://docs.zegocloud.com/article/18040 (audio), https://doc-zh.zego.im/article/19652 (video)
"""

import hashlib
import itertools
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs

from volc_moderation.emulator.memory import Ended
from volc_moderation.emulator.rooms import Member
from volc_moderation.emulator.vendor import Callback, Fields, Medium, Rule
from volc_moderation.emulator.zego.parameters import (
    A_TEXT,
    BAD_PARAMETER,
    FLAG,
    ROOM_ID,
    TEXTS,
    Given,
    Refused,
    digits,
    number,
    object_of,
    text,
)

#: https://doc-zh.zego.im/article/19662: at most five more, each so many seconds after the one before.
PAUSES = (2.0, 4.0, 8.0, 16.0, 32.0)
THIRTY_DAYS = 2_592_000
_BEIJING = timezone(timedelta(hours=8))

#: ZEGO's samples have an empty address where there is none.
_URLS = {name: text(may_be_empty=True) for name in ("ResultCallbackUrl", "StatusCallbackUrl")}
_LISTS = {"RiskTypeList": TEXTS, "BusinessTypeList": TEXTS}
_TEXTS_BACK = dict.fromkeys(("ReturnAllText", "ReturnPreText", "ReturnPreAudio"), FLAG)
_WHERE = {"RoomId": ROOM_ID, "EventId": A_TEXT}

START_AUDIO = Fields(
    required={**_WHERE, "AudioLanguage": A_TEXT},
    # OPEN: whether LabelLanguage is required; pages disagree.
    optional={
        **_LISTS,
        **_URLS,
        **_TEXTS_BACK,
        "LabelLanguage": A_TEXT,
        "IsMixingEnabled": FLAG,
        "ReturnFinishInfo": FLAG,
    },
)
START_VIDEO = Fields(
    required={
        **_WHERE,
        # The documents have the frequency from above 0 to 60, as a whole number.
        "VideoParam": object_of(**_LISTS, **_URLS, ReturnAllImg=FLAG, DetectFrequency=number(1, 60)),
    },
    optional={
        "AudioParam": object_of(**_LISTS, **_URLS, **_TEXTS_BACK, AudioLanguage=A_TEXT),
        "Language": A_TEXT,
        "ReturnFinishInfo": FLAG,
    },
)


@attrs.define(kw_only=True)
class Half:
    """What is done about one medium: where results and the end go, and whether all results do."""

    medium: Medium
    result_url: str | None
    status_url: str | None
    every_result: bool

    @classmethod
    def read(cls, medium: Medium, given: Given, every: str) -> "Half":
        """Read it from where the call has it."""
        return cls(
            medium=medium,
            result_url=given.get("ResultCallbackUrl") or None,
            status_url=given.get("StatusCallbackUrl") or None,
            every_result=given.get(every) == 1,
        )


@attrs.define(kw_only=True)
class Task:
    """A moderation of a room."""

    task_id: str
    room: str
    #: Of the callbacks' names: ``audio`` or ``video``.
    kind: str
    halves: list[Half]
    started: float
    finish_info: bool
    running: bool = True
    results: int = 0


class Moderation:
    """The moderations of one app."""

    def __init__(self, app_id: int, callback_secret: str) -> None:
        self._app_id = app_id
        self._callback_secret = callback_secret
        self._tasks: dict[str, Task] = {}
        self._past: Ended[str] = Ended(self._tasks.pop)
        self._ended: list[Callback] = []
        self._numbers = itertools.count(7_500_000_000_000_000_001)

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file: 100 per second each."""

        def post(takes: Fields, perform: Any) -> Rule:
            return Rule(quota=100, takes=takes, perform=perform)

        task = Fields(required={"TaskId": A_TEXT})
        time = Fields(optional={"EffectiveTime": digits(1, THIRTY_DAYS)})
        return {
            "StartCensorAudioV2": post(START_AUDIO, self._start_censor_audio),
            "StopCensorAudioV2": post(task, self._stop_censor_audio),
            "StartCensorVideoV2": post(START_VIDEO, self._start_censor_video),
            "StopCensorVideoV2": post(task, self._stop_censor_video),
            "GenerateIdentifyToken": attrs.evolve(post(time, self._generate_identify_token), method="GET"),
        }

    def report(self, room: str, member: Member, verdict: str, media: tuple[Medium, ...], now: float) -> list[Callback]:
        """Return what the moderations of a room call back about a user who publishes ``media``."""
        return [
            self._result(task, half, member, verdict, now)
            for task in self._tasks.values()
            if task.running and task.room == room
            for half in task.halves
            if half.medium in media and half.result_url and (verdict != "PASS" or half.every_result)
        ]

    def take_ended(self) -> list[Callback]:
        """Return the callbacks about tasks that have ended since."""
        ended, self._ended = self._ended, []
        return ended

    # Actions

    def _start_censor_audio(self, given: Given, now: float, _: str) -> Any:
        _check_lists(given)
        return self._start("audio", given, [Half.read("audio", given, "ReturnAllText")], now)

    def _start_censor_video(self, given: Given, now: float, _: str) -> Any:
        video, audio = given["VideoParam"], given.get("AudioParam", {})
        _check_lists(video)
        halves = [Half.read("video", video, "ReturnAllImg")]
        if audio.get("RiskTypeList") or audio.get("BusinessTypeList"):
            halves.append(Half.read("audio", audio, "ReturnAllText"))
        return self._start("video", given, halves, now)

    def _start(self, kind: str, given: Given, halves: list[Half], now: float) -> Any:
        # OPEN: what a second start of the same room does. Here it makes a second task.
        task_id = secrets.token_hex(16)
        self._tasks[task_id] = Task(
            task_id=task_id,
            room=given["RoomId"],
            kind=kind,
            halves=halves,
            started=now,
            finish_info=given.get("ReturnFinishInfo") == 1,
        )
        return {"TaskId": task_id}

    def _stop_censor_audio(self, given: Given, now: float, _: str) -> None:
        self._stop("audio", given, now)

    def _stop_censor_video(self, given: Given, now: float, _: str) -> None:
        self._stop("video", given, now)

    def _stop(self, kind: str, given: Given, now: float) -> None:
        task = self._tasks.get(given["TaskId"])
        # OPEN: an unknown task, one of the other kind, and one that has ended. Here the last is a success.
        if task is None or task.kind != kind:
            raise Refused(BAD_PARAMETER, "there is no such task")
        if not task.running:
            return
        if task.finish_info:
            self._ended += [self._status(task, half, now) for half in task.halves if half.status_url]
        task.running = False
        self._past.add(task.task_id)

    def _generate_identify_token(self, given: Given, _: float, __: str) -> Any:
        return {"IdentifyToken": secrets.token_hex(16), "RemainTime": given.get("EffectiveTime", 3600)}

    # Callbacks: https://doc-zh.zego.im/article/21500 (audio), https://doc-zh.zego.im/article/19698 (video)

    def _result(self, task: Task, half: Half, member: Member, verdict: str, now: float) -> Callback:
        task.results += 1
        is_audio_task = task.kind == "audio"
        labels = ("normal", "", "") if verdict == "PASS" else ("ad", "lianxifangshi", "lianxifangshi")
        risk = {
            "RiskLevel": verdict,
            "RiskDescription": "Normal" if verdict == "PASS" else "Ads:Contact:Contact",
            **{f"RiskLabel{number}": label for number, label in enumerate(labels, 1)},
        }
        aux: dict[str, Any] = {"RoomId": task.room}
        aux |= {"UserId": member.user_id} if is_audio_task else {"StreamId": member.stream_id}
        address = f"https://cdn.example.com/{task.kind[0]}%2F{task.task_id}_{task.results}"
        if half.medium == "video":
            event = "censor_video_v2_img_result"
            content: dict[str, Any] = {"ImgUrl": f"{address}.jpg?Signature=Z%3D"}
            source: dict[str, Any] = {"RiskSource": 1000 if verdict == "PASS" else 1002, "FaceInfoList": None}
            aux["ImgTime"] = datetime.fromtimestamp(now, UTC).astimezone(_BEIJING).strftime("%Y-%m-%d %H:%M:%S.000")
        else:
            event = f"censor_{'audio_v2' if is_audio_task else 'video_v2_audio'}_result"
            text = "emulated speech"
            content = {"AudioText" if is_audio_task else "Content": text, "AudioUrl": f"{address}.mp3?Signature=Q%3D"}
            content |= {"PreAudioUrl": "", "VadStatus": 1}
            source = {"RiskSource": 1000 if verdict == "PASS" else 1001, "AudioText": text, "MatchedLists": None}
            aux |= {"ProcessBeginTime": int(now * 1000) - 880, "ProcessFinishTime": int(now * 1000) - 520}
        detail = {**risk, **content, "RiskDetail": source, "BusinessInfoList": []}
        detail["RiskInfoList"] = [] if verdict == "PASS" else [{**risk, "RiskDetail": source}]
        fields = {
            "ResultTaskId": f"{task.task_id}_{member.stream_id}_{task.results}",
            "Detail": detail,
            "AuxInfo": aux,
        }
        return self._callback(event, half.result_url or "", task, fields, now)

    def _status(self, task: Task, half: Half, now: float) -> Callback:
        part = {
            ("audio", "audio"): "audio_v2",
            ("video", "audio"): "video_v2_audio",
            ("video", "video"): "video_v2_img",
        }
        event = f"censor_{part[task.kind, half.medium]}_status"
        aux = {"RoomId": task.room, "CensorStreamTime": int(now - task.started)}
        return self._callback(event, half.status_url or "", task, {"Status": 0, "AuxInfo": aux}, now)

    def _callback(self, event: str, url: str, task: Task, fields: Mapping[str, Any], now: float) -> Callback:
        timestamp, nonce = int(now), str(next(self._numbers))
        # https://doc-zh.zego.im/article/19662: the three texts, sorted, without anything between.
        text = "".join(sorted([self._callback_secret, str(timestamp), nonce]))
        head = {
            "Event": event,
            "AppId": self._app_id,
            "Timestamp": timestamp,
            "Nonce": nonce,
            "Signature": hashlib.new("sha1", text.encode(), usedforsecurity=False).hexdigest(),
            "Code": 0,
            "Message": "success",
            "TaskId": task.task_id,
        }
        return Callback(
            vendor="zego",
            event=event,
            url=url,
            body={**head, **fields},
            pauses=PAUSES,
            acknowledged_by=range(200, 300),
        )


def _check_lists(given: Given) -> None:
    if not given.get("RiskTypeList") and not given.get("BusinessTypeList"):
        raise Refused(BAD_PARAMETER, "RiskTypeList and BusinessTypeList are both empty")
