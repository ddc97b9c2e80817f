"""ZEGO's moderation and its callbacks. OPEN marks what the documents do not specify.

No task ends by itself, because emulated streams never become idle.
https://docs.zegocloud.com/article/18040 (audio), https://doc-zh.zego.im/article/19652 (video)
"""

import hashlib
import itertools
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs

from volc_moderation.emulator.memory import RecentlyEnded
from volc_moderation.emulator.rooms import Member
from volc_moderation.emulator.vendor import ActionSpec, Callback, Fields, Medium
from volc_moderation.emulator.zego.parameters import (
    BAD_PARAMETER,
    BIT,
    ROOM_ID,
    TEXT,
    TEXT_LIST,
    Parameters,
    Refused,
    digits,
    number,
    object_of,
    text,
)

#: Seconds before each of the five retries: https://doc-zh.zego.im/article/19662.
RETRY_DELAYS = (2.0, 4.0, 8.0, 16.0, 32.0)
#: Seconds: 30 days, and an hour.
MAX_TOKEN_LIFETIME = 2_592_000
DEFAULT_TOKEN_LIFETIME = 3600
_BEIJING = timezone(timedelta(hours=8))

#: In ZEGO's samples, an address that is not set is an empty text.
_URLS = {name: text(may_be_empty=True) for name in ("ResultCallbackUrl", "StatusCallbackUrl")}
_LISTS = {"RiskTypeList": TEXT_LIST, "BusinessTypeList": TEXT_LIST}
_RETURN_OPTIONS = dict.fromkeys(("ReturnAllText", "ReturnPreText", "ReturnPreAudio"), BIT)
_SCENE = {"RoomId": ROOM_ID, "EventId": TEXT}

START_AUDIO = Fields(
    required={**_SCENE, "AudioLanguage": TEXT},
    # OPEN: whether LabelLanguage is required; pages disagree.
    optional={
        **_LISTS,
        **_URLS,
        **_RETURN_OPTIONS,
        "LabelLanguage": TEXT,
        "IsMixingEnabled": BIT,
        "ReturnFinishInfo": BIT,
    },
)
START_VIDEO = Fields(
    required={
        **_SCENE,
        # The documents give the frequency as an integer above 0, up to 60.
        "VideoParam": object_of(**_LISTS, **_URLS, ReturnAllImg=BIT, DetectFrequency=number(1, 60)),
    },
    optional={
        "AudioParam": object_of(**_LISTS, **_URLS, **_RETURN_OPTIONS, AudioLanguage=TEXT),
        "Language": TEXT,
        "ReturnFinishInfo": BIT,
    },
)


@attrs.define(kw_only=True)
class MediumOptions:
    """The moderation of one medium: the URLs for results and for the end, and whether passing results are sent."""

    medium: Medium
    result_url: str | None
    status_url: str | None
    every_result: bool

    @classmethod
    def read(cls, medium: Medium, parameters: Parameters, every_result_field: str) -> "MediumOptions":
        """Read the options of a medium from the parameters that contain them."""
        return cls(
            medium=medium,
            result_url=parameters.get("ResultCallbackUrl") or None,
            status_url=parameters.get("StatusCallbackUrl") or None,
            every_result=parameters.get(every_result_field) == 1,
        )


@attrs.define(kw_only=True)
class Task:
    """A moderation of a room."""

    task_id: str
    room: str
    #: ``audio`` or ``video``; a task for video may moderate audio too.
    kind: str
    media: list[MediumOptions]
    #: Unix time.
    started: float
    #: Whether the end of the task is reported.
    finish_info: bool
    running: bool = True
    results: int = 0


class Moderation:
    """The moderations of one app."""

    def __init__(self, app_id: int, callback_secret: str) -> None:
        self._app_id = app_id
        self._callback_secret = callback_secret
        self._tasks: dict[str, Task] = {}
        self._ended_tasks: RecentlyEnded[str] = RecentlyEnded(self._tasks.pop)
        self._callbacks: list[Callback] = []
        self._nonces = itertools.count(7_500_000_000_000_000_001)

    def actions(self) -> dict[str, ActionSpec]:
        """Return the actions of this module, by name: 100 calls per second each."""

        def post(fields: Fields, perform: Any) -> ActionSpec:
            return ActionSpec(quota=100, fields=fields, perform=perform)

        task = Fields(required={"TaskId": TEXT})
        token = Fields(optional={"EffectiveTime": digits(1, MAX_TOKEN_LIFETIME)})
        return {
            "StartCensorAudioV2": post(START_AUDIO, self._start_censor_audio),
            "StopCensorAudioV2": post(task, self._stop_censor_audio),
            "StartCensorVideoV2": post(START_VIDEO, self._start_censor_video),
            "StopCensorVideoV2": post(task, self._stop_censor_video),
            "GenerateIdentifyToken": attrs.evolve(post(token, self._generate_identify_token), method="GET"),
        }

    def report(self, room: str, member: Member, verdict: str, media: tuple[Medium, ...], now: float) -> list[Callback]:
        """Return the callbacks of all moderations of a room, for a user who publishes ``media``."""
        return [
            self._result(task, options, member, verdict, now)
            for task in self._tasks.values()
            if task.running and task.room == room
            for options in task.media
            if options.medium in media and options.result_url and (verdict != "PASS" or options.every_result)
        ]

    def pop_callbacks(self) -> list[Callback]:
        """Return the callbacks about tasks that have ended since the last time."""
        callbacks, self._callbacks = self._callbacks, []
        return callbacks

    # Actions

    def _start_censor_audio(self, parameters: Parameters, now: float, _: str) -> Any:
        _check_lists(parameters)
        return self._start("audio", parameters, [MediumOptions.read("audio", parameters, "ReturnAllText")], now)

    def _start_censor_video(self, parameters: Parameters, now: float, _: str) -> Any:
        video, audio = parameters["VideoParam"], parameters.get("AudioParam", {})
        _check_lists(video)
        media = [MediumOptions.read("video", video, "ReturnAllImg")]
        if audio.get("RiskTypeList") or audio.get("BusinessTypeList"):
            media.append(MediumOptions.read("audio", audio, "ReturnAllText"))
        return self._start("video", parameters, media, now)

    def _start(self, kind: str, parameters: Parameters, media: list[MediumOptions], now: float) -> Any:
        # OPEN: the effect of a second start for the same room. Here it starts a second task.
        task_id = secrets.token_hex(16)
        self._tasks[task_id] = Task(
            task_id=task_id,
            room=parameters["RoomId"],
            kind=kind,
            media=media,
            started=now,
            finish_info=parameters.get("ReturnFinishInfo") == 1,
        )
        return {"TaskId": task_id}

    def _stop_censor_audio(self, parameters: Parameters, now: float, _: str) -> None:
        self._stop("audio", parameters, now)

    def _stop_censor_video(self, parameters: Parameters, now: float, _: str) -> None:
        self._stop("video", parameters, now)

    def _stop(self, kind: str, parameters: Parameters, now: float) -> None:
        task = self._tasks.get(parameters["TaskId"])
        # OPEN: an unknown task, one of the other kind, and one that has ended. Here the last is a success.
        if task is None or task.kind != kind:
            raise Refused(BAD_PARAMETER, "there is no such task")
        if not task.running:
            return
        if task.finish_info:
            self._callbacks += [self._status(task, options, now) for options in task.media if options.status_url]
        task.running = False
        self._ended_tasks.add(task.task_id)

    def _generate_identify_token(self, parameters: Parameters, _: float, __: str) -> Any:
        return {
            "IdentifyToken": secrets.token_hex(16),
            "RemainTime": parameters.get("EffectiveTime", DEFAULT_TOKEN_LIFETIME),
        }

    # Callbacks: https://doc-zh.zego.im/article/21500 (audio), https://doc-zh.zego.im/article/19698 (video)

    def _result(self, task: Task, options: MediumOptions, member: Member, verdict: str, now: float) -> Callback:
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
        if options.medium == "video":
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
        return self._callback(event, options.result_url or "", task, fields, now)

    def _status(self, task: Task, options: MediumOptions, now: float) -> Callback:
        part = {
            ("audio", "audio"): "audio_v2",
            ("video", "audio"): "video_v2_audio",
            ("video", "video"): "video_v2_img",
        }
        event = f"censor_{part[task.kind, options.medium]}_status"
        aux = {"RoomId": task.room, "CensorStreamTime": int(now - task.started)}
        return self._callback(event, options.status_url or "", task, {"Status": 0, "AuxInfo": aux}, now)

    def _callback(self, event: str, url: str, task: Task, fields: Mapping[str, Any], now: float) -> Callback:
        timestamp, nonce = int(now), str(next(self._nonces))
        # https://doc-zh.zego.im/article/19662: the three texts, sorted and concatenated.
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
            retry_delays=RETRY_DELAYS,
            success_statuses=range(200, 300),
        )


def _check_lists(parameters: Parameters) -> None:
    if not parameters.get("RiskTypeList") and not parameters.get("BusinessTypeList"):
        raise Refused(BAD_PARAMETER, "RiskTypeList and BusinessTypeList are both empty")
