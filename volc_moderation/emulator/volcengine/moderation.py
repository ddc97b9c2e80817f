"""Volcengine's moderation and its callbacks. OPEN marks what the documents do not specify.

Tasks do not end by themselves: IdleSec has no effect, because emulated streams are never idle.
"""

import hashlib
import itertools
import json
import secrets
from datetime import UTC, datetime
from typing import Any

import attrs

from volc_moderation.emulator.memory import MAX_KEPT, RecentlyEnded
from volc_moderation.emulator.rooms import Member
from volc_moderation.emulator.vendor import ActionSpec, Callback, Fields, Medium
from volc_moderation.emulator.volcengine.parameters import (
    BOTH_VERSIONS,
    Parameters,
    Refused,
    Room,
    identifier,
    number,
    room_of,
    text,
)
from volc_moderation.emulator.volcengine.people import ROOM, People

ALREADY_STARTED = "The task has been started. Please do not call the startup task interface repeatedly"
#: Calls per second. OPEN: no quota of the detection actions is published.
ASSUMED_QUOTA = 20

#: By the bit of ``MediaType``.
MEDIA: dict[int, Medium] = {1: "video", 2: "audio"}

#: The moderation of a room covers 17 streams: https://www.volcengine.com/docs/6348/104531. OPEN: which, and what
#: happens to the 18th. Here it is not moderated until one of the 17 users who have been there for longer leaves.
MAX_STREAMS_PER_ROOM = 17

#: The user whom ``ListDetectionTask`` reports for the moderation of a room in which nobody has published yet.
PLACEHOLDER_USER = "emulated-publisher"

#: https://www.volcengine.com/docs/6348/104531
START_FIELDS = {
    "UserId": identifier,
    "Callback": text(min_length=0),
    "MediaType": number(1, 3),
    "Interval": number(100, 600_000),
    "Duration": number(1000, 600_000),
    "IdleSec": number(1, 10_800),
    "CallbackType": number(0, 1),
}

#: Seconds before the second and the third delivery: https://www.volcengine.com/docs/6348/69820. OPEN: the number of
#: seconds.
RETRY_DELAYS = (1.0, 1.0)


@attrs.define(kw_only=True, eq=False)
class Detection:
    """A moderation: of one user, or of a room if ``user`` is None."""

    room: Room
    user: str | None
    #: The sum of the bits in ``MEDIA``.
    media: int
    #: Unix time.
    created: int
    #: The URL for results, if any.
    callback: str | None
    #: Whether results that pass are reported too.
    every_result: bool
    running: bool = True
    #: For the moderation of a room: when each user was first covered, in Unix time.
    first_seen: dict[str, int] = attrs.field(factory=dict)


class Detections:
    """The moderations of one account: https://www.volcengine.com/docs/6348/104531."""

    def __init__(self, people: People, callback_secret: str) -> None:
        self._people = people
        self._callback_secret = callback_secret
        self._detections: dict[Room, list[Detection]] = {}
        self._ended: RecentlyEnded[Detection] = RecentlyEnded(self._forget)
        self._event_ids = itertools.count(1)

    def actions(self) -> dict[str, ActionSpec]:
        """Return the actions of this module, by name."""

        def post(perform: Any, optional: Any) -> ActionSpec:
            fields = Fields(required=ROOM, optional=optional)
            return ActionSpec(quota=ASSUMED_QUOTA, versions=BOTH_VERSIONS, fields=fields, perform=perform)

        user = {"UserId": identifier}
        return {
            "StartDetection": post(self._start_detection, START_FIELDS),
            "StopDetection": post(self._stop_detection, user),
            "ListDetectionTask": attrs.evolve(post(self._list_detection_task, user), method="GET"),
        }

    def record_members(self, room: Room, now: float) -> None:
        """Record in the moderation of a room, if one is running, the users whom it covers now."""
        for task in self._running(room):
            if task.user is None:
                for user in self._covered_users(room):
                    task.first_seen.setdefault(user, int(now))
                while len(task.first_seen) > MAX_KEPT:
                    del task.first_seen[next(iter(task.first_seen))]

    def report(self, room: Room, member: Member, verdict: str, media: tuple[Medium, ...], now: float) -> list[Callback]:
        """Return the callbacks of all moderations that cover a user."""
        callbacks = []
        for task in self._running(room):
            if task.user is None:
                is_covered = member.user_id in self._covered_users(room)
            else:
                is_covered = task.user == member.user_id
            if not is_covered or task.callback is None:
                continue
            if verdict == "PASS" and not task.every_result:
                continue
            for bit, medium in MEDIA.items():
                publishes = self._people.publishes(room, member.user_id, medium, now)
                if task.media & bit and medium in media and publishes:
                    callbacks.append(self._callback(task, member.user_id, bit, verdict, now))
        return callbacks

    def _covered_users(self, room: Room) -> list[str]:
        """Return the users whom a moderation of a room covers. A muted user still publishes a stream and counts."""
        return self._people.rooms.oldest_users(room, MAX_STREAMS_PER_ROOM)

    def _running(self, room: Room) -> list[Detection]:
        return [task for task in self._detections.get(room, ()) if task.running]

    def _add(self, new: Detection) -> None:
        self._detections.setdefault(new.room, []).append(new)

    def _end(self, task: Detection) -> None:
        task.running = False
        self._ended.add(task)

    def _forget(self, task: Detection) -> None:
        self._detections[task.room].remove(task)
        if not self._detections[task.room]:
            del self._detections[task.room]

    def _start_detection(self, parameters: Parameters, now: float, _: str) -> Any:
        room, user, media = room_of(parameters), parameters.get("UserId"), parameters.get("MediaType", 3)
        running = self._running(room)
        new = Detection(
            room=room,
            user=user,
            media=media,
            created=int(now),
            callback=parameters.get("Callback") or None,
            every_result=parameters.get("CallbackType") == 1,
        )
        if user is None:
            return self._start_for_room(new, running, now)
        # OPEN: the code, and whether a room-level task of the other medium is a conflict too.
        if any(task.user is None for task in running):
            raise Refused("InvalidParameter.TaskAlreadyExists", "a moderation of the room is in progress")
        # OPEN: 2020-12-01 may not answer a repeated start with a hint, as 2023-11-01 does.
        same = next((task for task in running if task.user == user), None)
        if same is not None and same.media & media == media:
            return {"Message": ALREADY_STARTED}
        if same is not None:
            same.media |= media
        else:
            self._add(new)
        return {"Message": "success"}

    def _start_for_room(self, new: Detection, running: list[Detection], now: float) -> Any:
        room_task = next((task for task in running if task.user is None), None)
        if room_task is not None and room_task.media & new.media == new.media:
            return {"Message": ALREADY_STARTED}
        # The task of the room replaces the single-stream tasks, for the media that it covers.
        for task in running:
            if task.user is None:
                continue
            if task.media & ~new.media:
                task.media &= ~new.media
            else:
                self._end(task)
        if room_task is not None:
            room_task.media |= new.media
        else:
            self._add(new)
            self.record_members(new.room, now)
        return {"Message": "success"}

    def _stop_detection(self, parameters: Parameters, _: float, __: str) -> Any:
        room, user = room_of(parameters), parameters.get("UserId")
        running = self._running(room)
        # OPEN: the codes of both refusals, and whether stopping the room ends single-stream tasks too.
        if user is not None and any(task.user is None for task in running):
            raise Refused("InvalidParameter", "a moderation of the room cannot be stopped for one user")
        stopped = [task for task in running if user is None or task.user == user]
        if not stopped:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "no moderation is running")
        for task in stopped:
            self._end(task)
        return {"Message": "success"}

    def _list_detection_task(self, parameters: Parameters, _: float, __: str) -> Any:
        room, user = room_of(parameters), parameters.get("UserId")
        latest = {
            covered: {
                "CreateTime": since,
                "MediaType": task.media,
                "Status": 1 if task.running else 2,
                "UserId": covered,
                "RoomId": task.room[1],
            }
            for task in self._detections.get(room, ())
            for covered, since in _covered_since(task).items()
        }
        tasks = [entry for covered, entry in latest.items() if user in (None, covered)]
        return {"EventData": tasks, "Message": "success"}

    # Callbacks: https://www.volcengine.com/docs/6348/104534

    def _callback(self, task: Detection, user: str, media: int, verdict: str, now: float) -> Callback:
        number = next(self._event_ids)
        hits = [] if verdict == "PASS" else [{"Name": "emulated_model", "Score": 0.91}]
        content: dict[str, Any] = {"RoomId": task.room[1], "UserId": user, "MediaType": media}
        if MEDIA[media] == "video":
            content["Images"] = [f"https://example.com/snapshot/{number}.jpg"]
        else:
            content |= {"Audio": f"https://example.com/segment/{number}.wav", "AudioText": "emulated speech"}
        content |= {"HitReasons": ["emulated"] if hits else [], "RiskALL": hits, "Suggest": verdict}
        if hits:
            content["RiskHit"] = hits
        envelope = {
            "EventType": "MachineReviewResult",
            "EventData": json.dumps({**content, "AIResultOrigin": "{}"}, ensure_ascii=False),
            "EventTime": datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
            "EventId": f"emulator-{secrets.token_hex(8)}-{number}_{'img' if MEDIA[media] == 'video' else 'aud'}_doc",
            "Version": "2020-12-01",
            "AppId": task.room[0],
            "Nonce": f"{secrets.randbelow(10_000):04}",
        }
        # https://www.volcengine.com/docs/6348/69820: the values and the secret, sorted and concatenated.
        text = "".join(sorted([*envelope.values(), self._callback_secret]))
        return Callback(
            vendor="volcengine",
            event="MachineReviewResult",
            url=task.callback or "",
            body={**envelope, "Signature": hashlib.sha256(text.encode()).hexdigest()},
            retry_delays=RETRY_DELAYS,
            success_statuses=range(200, 201),
        )


def _covered_since(task: Detection) -> dict[str, int]:
    """Return since when a task covers each user."""
    if task.user:
        return {task.user: task.created}
    # OPEN: what is listed for the task of a room in which nobody has published. Here it is a placeholder.
    return task.first_seen or {PLACEHOLDER_USER: task.created}
