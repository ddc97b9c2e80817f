"""Volcengine's moderation and its callbacks. What the documents leave open is marked OPEN.

Tasks do not end by themselves: nothing here is idle.
"""

import hashlib
import itertools
import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from volc_moderation.emulator.rooms import Member
from volc_moderation.emulator.vendor import Callback, Medium, Rule
from volc_moderation.emulator.volcengine.parameters import (
    BOTH_VERSIONS,
    Refused,
    Room,
    optional_id,
    room_of,
)
from volc_moderation.emulator.volcengine.people import People

Given = Mapping[str, Any]

ALREADY_STARTED = "The task has been started. Please do not call the startup task interface repeatedly"
#: OPEN: no number is published for the detection actions.
UNPUBLISHED = 20

MEDIA: dict[int, Medium] = {1: "video", 2: "audio"}

#: Three deliveries in all. https://www.volcengine.com/docs/6348/69820. OPEN: the time between them.
PAUSES = (1.0, 1.0)


@attrs.define(kw_only=True)
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
        self._detections: list[Detection] = []
        self._event_ids = itertools.count(1)

    def rules(self) -> dict[str, Rule]:
        """Return the actions of this file."""
        start, stop, list_ = self._start_detection, self._stop_detection, self._list_detection_task
        return {
            "StartDetection": Rule(quota=UNPUBLISHED, versions=BOTH_VERSIONS, perform=start),
            "StopDetection": Rule(quota=UNPUBLISHED, versions=BOTH_VERSIONS, perform=stop),
            "ListDetectionTask": Rule(method="GET", quota=UNPUBLISHED, versions=BOTH_VERSIONS, perform=list_),
        }

    def meet(self, room: Room, user: str, now: float) -> None:
        """Let the moderation of a room know who came."""
        for one in self._running(room):
            if one.user is None:
                one.met.setdefault(user, int(now))

    def report(self, room: Room, member: Member, verdict: str, media: tuple[Medium, ...], now: float) -> list[Callback]:
        """Return what the moderations that cover a user call back."""
        found = []
        for one in self._running(room):
            if one.user not in (None, member.user_id) or one.callback is None:
                continue
            if verdict == "PASS" and not one.every_result:
                continue
            for number, medium in MEDIA.items():
                publishes = self._people.publishes(room, member.user_id, medium, now)
                if one.media & number and medium in media and publishes:
                    found.append(self._callback(one, member.user_id, number, verdict, now))
        return found

    def _running(self, room: Room) -> list[Detection]:
        return [one for one in self._detections if one.running and one.room == room]

    def _start_detection(self, given: Given, now: float, _: str) -> Any:
        room, user = room_of(given), optional_id(given, "UserId")
        media = given.get("MediaType", 3)
        if media not in (1, 2, 3):
            raise Refused("InvalidParameter", "MediaType must be 1, 2 or 3")  # OPEN: or is it brought into range?
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
            self._detections.append(new)
        return {"Message": "success"}

    def _start_for_room(self, new: Detection, running: list[Detection], now: float) -> Any:
        whole_room = next((one for one in running if one.user is None), None)
        if whole_room is not None and whole_room.media & new.media == new.media:
            return {"Message": ALREADY_STARTED}
        # The room's task takes over the single-stream ones, as far as their media go.
        for one in running:
            if one.user is not None:
                one.running = bool(one.media & ~new.media)
                one.media = (one.media & ~new.media) or one.media
        if whole_room is not None:
            whole_room.media |= new.media
        else:
            self._detections.append(new)
            for member in self._people.rooms.members(new.room):
                self.meet(new.room, member.user_id, now)
        return {"Message": "success"}

    def _stop_detection(self, given: Given, _: float, __: str) -> Any:
        room, user = room_of(given), optional_id(given, "UserId")
        running = self._running(room)
        # OPEN: the codes of both refusals, and whether stopping the room ends single-stream tasks too.
        if user is not None and any(one.user is None for one in running):
            raise Refused("InvalidParameter", "a moderation of the room cannot be stopped for one user")
        stopped = [one for one in running if user is None or one.user == user]
        if not stopped:
            raise Refused("InvalidParameter.ErrorActiveTaskNotFound", "no moderation is running")
        for one in stopped:
            one.running = False
        return {"Message": "success"}

    def _list_detection_task(self, given: Given, _: float, __: str) -> Any:
        room, user = room_of(given), optional_id(given, "UserId")
        # OPEN: what the task of a room lists while nobody has published. Here it is one, to be seen.
        latest = {
            listed: {
                "CreateTime": met,
                "MediaType": one.media,
                "Status": 1 if one.running else 2,
                "UserId": listed,
                "RoomId": one.room[1],
            }
            for one in self._detections
            if one.room == room
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
