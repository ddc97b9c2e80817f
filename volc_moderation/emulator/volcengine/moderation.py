"""Volcengine's moderation and its callbacks. What the documents leave open is marked OPEN.

Tasks do not end by themselves: nothing here is idle.
"""

import hashlib
import itertools
import json
import secrets
from datetime import UTC, datetime
from typing import Any

import attrs

from volc_moderation.emulator.memory import MOST, Ended
from volc_moderation.emulator.rooms import Member
from volc_moderation.emulator.vendor import Callback, Fields, Medium, Rule
from volc_moderation.emulator.volcengine.parameters import (
    BOTH_VERSIONS,
    Given,
    Refused,
    Room,
    an_id,
    number,
    room_of,
    text,
)
from volc_moderation.emulator.volcengine.people import ROOM, People

ALREADY_STARTED = "The task has been started. Please do not call the startup task interface repeatedly"
#: OPEN: no number is published for the detection actions.
UNPUBLISHED = 20

MEDIA: dict[int, Medium] = {1: "video", 2: "audio"}

#: https://www.volcengine.com/docs/6348/104531: as many streams does the moderation of a room cover. OPEN: which, and
#: what becomes of the 18th. Here it is not moderated until one of the 17 who have been there for longer leaves.
MOST_STREAMS = 17

#: https://www.volcengine.com/docs/6348/104531
START = {
    "UserId": an_id,
    "Callback": text(least=0),
    "MediaType": number(1, 3),
    "Interval": number(100, 600_000),
    "Duration": number(1000, 600_000),
    "IdleSec": number(1, 10_800),
    "CallbackType": number(0, 1),
}

#: Three deliveries in all. https://www.volcengine.com/docs/6348/69820. OPEN: the time between them.
PAUSES = (1.0, 1.0)


@attrs.define(kw_only=True, eq=False)
class Detection:
    """A moderation: of one user, or of a room if ``user`` is None."""

    room: Room
    user: str | None
    media: int
    created: int
    callback: str | None
    every_result: bool
    running: bool = True
    #: Whom a moderation of a room has met, and when.
    met: dict[str, int] = attrs.field(factory=dict)


class Detections:
    """The moderations of one account. https://www.volcengine.com/docs/6348/104531."""

    def __init__(self, people: People, callback_secret: str) -> None:
        self._people = people
        self._callback_secret = callback_secret
        self._detections: dict[Room, list[Detection]] = {}
        self._ended: Ended[Detection] = Ended(self._forget)
        self._event_ids = itertools.count(1)

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file."""

        def post(perform: Any, optional: Any) -> Rule:
            takes = Fields(required=ROOM, optional=optional)
            return Rule(quota=UNPUBLISHED, versions=BOTH_VERSIONS, takes=takes, perform=perform)

        user = {"UserId": an_id}
        return {
            "StartDetection": post(self._start_detection, START),
            "StopDetection": post(self._stop_detection, user),
            "ListDetectionTask": attrs.evolve(post(self._list_detection_task, user), method="GET"),
        }

    def meet(self, room: Room, now: float) -> None:
        """Let the moderation of a room know who is there."""
        for one in self._running(room):
            if one.user is None:
                for user in self._covered(room):
                    one.met.setdefault(user, int(now))
                while len(one.met) > MOST:
                    del one.met[next(iter(one.met))]

    def report(self, room: Room, member: Member, verdict: str, media: tuple[Medium, ...], now: float) -> list[Callback]:
        """Return what the moderations that cover a user call back."""
        found = []
        for one in self._running(room):
            is_covered = member.user_id in self._covered(room) if one.user is None else one.user == member.user_id
            if not is_covered or one.callback is None:
                continue
            if verdict == "PASS" and not one.every_result:
                continue
            for bit, medium in MEDIA.items():
                publishes = self._people.publishes(room, member.user_id, medium, now)
                if one.media & bit and medium in media and publishes:
                    found.append(self._callback(one, member.user_id, bit, verdict, now))
        return found

    def _covered(self, room: Room) -> list[str]:
        """Return whom a moderation of a room covers. Who is muted for a while publishes a stream all the same."""
        return self._people.rooms.first(room, MOST_STREAMS)

    def _running(self, room: Room) -> list[Detection]:
        return [one for one in self._detections.get(room, ()) if one.running]

    def _add(self, new: Detection) -> None:
        self._detections.setdefault(new.room, []).append(new)

    def _end(self, one: Detection) -> None:
        one.running = False
        self._ended.add(one)

    def _forget(self, one: Detection) -> None:
        self._detections[one.room].remove(one)
        if not self._detections[one.room]:
            del self._detections[one.room]

    def _start_detection(self, given: Given, now: float, _: str) -> Any:
        room, user, media = room_of(given), given.get("UserId"), given.get("MediaType", 3)
        running = self._running(room)
        new = Detection(
            room=room,
            user=user,
            media=media,
            created=int(now),
            callback=given.get("Callback") or None,
            every_result=given.get("CallbackType") == 1,
        )
        if user is None:
            return self._start_for_room(new, running, now)
        # OPEN: the code, and whether a room-level task of the other medium is in the way too.
        if any(one.user is None for one in running):
            raise Refused("InvalidParameter.TaskAlreadyExists", "a moderation of the room is in progress")
        # OPEN: 2020-12-01 may not answer a repeated start with a hint, as 2023-11-01 does.
        same = next((one for one in running if one.user == user), None)
        if same is not None and same.media & media == media:
            return {"Message": ALREADY_STARTED}
        if same is not None:
            same.media |= media
        else:
            self._add(new)
        return {"Message": "success"}

    def _start_for_room(self, new: Detection, running: list[Detection], now: float) -> Any:
        whole_room = next((one for one in running if one.user is None), None)
        if whole_room is not None and whole_room.media & new.media == new.media:
            return {"Message": ALREADY_STARTED}
        # The room's task takes over the single-stream ones, as far as their media go.
        for one in running:
            if one.user is None:
                continue
            if one.media & ~new.media:
                one.media &= ~new.media
            else:
                self._end(one)
        if whole_room is not None:
            whole_room.media |= new.media
        else:
            self._add(new)
            self.meet(new.room, now)
        return {"Message": "success"}

    def _stop_detection(self, given: Given, _: float, __: str) -> Any:
        room, user = room_of(given), given.get("UserId")
        running = self._running(room)
        # OPEN: the codes of both refusals, and whether stopping the room ends single-stream tasks too.
        if user is not None and any(one.user is None for one in running):
            raise Refused("InvalidParameter", "a moderation of the room cannot be stopped for one user")
        stopped = [one for one in running if user is None or one.user == user]
        if not stopped:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "no moderation is running")
        for one in stopped:
            self._end(one)
        return {"Message": "success"}

    def _list_detection_task(self, given: Given, _: float, __: str) -> Any:
        room, user = room_of(given), given.get("UserId")
        # OPEN: what the task of a room lists while nobody has published. Here it is one, to be seen.
        latest = {
            listed: {
                "CreateTime": met,
                "MediaType": one.media,
                "Status": 1 if one.running else 2,
                "UserId": listed,
                "RoomId": one.room[1],
            }
            for one in self._detections.get(room, ())
            for listed, met in ({one.user: one.created} if one.user else one.met or {NOBODY: one.created}).items()
        }
        tasks = [task for listed, task in latest.items() if user in (None, listed)]
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
        # https://www.volcengine.com/docs/6348/69820: the values and the secret, sorted, without anything between.
        text = "".join(sorted([*envelope.values(), self._callback_secret]))
        return Callback(
            vendor="volcengine",
            event="MachineReviewResult",
            url=task.callback or "",
            body={**envelope, "Signature": hashlib.sha256(text.encode()).hexdigest()},
            pauses=PAUSES,
            acknowledged_by=range(200, 201),
        )


NOBODY = "emulated-publisher"
