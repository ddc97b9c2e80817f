"""Makes callbacks as the vendors send them, with valid signatures."""

import json
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from volc_moderation.volcengine import callbacks as volcengine
from volc_moderation.zego import callbacks as zego

#: Signs the callbacks of the emulator and of this module.
CALLBACK_SECRET = "callback-secret"  # noqa: S105 - an example


def make_volcengine_callback(
    *, secret: str = CALLBACK_SECRET, envelope: Mapping[str, str] | None = None, **event_data: object
) -> bytes:
    """Return the body of a signed MachineReviewResult: by default, a picture of ``user`` in ``room`` is rejected.

    :param envelope: fields that replace or extend those of the callback: ``EventTime``, ``EventId``, ``AppId``, ….
    :param event_data: fields that replace or extend those of EventData: ``RoomId``, ``UserId``, ``Suggest``, ….

    Each callback has a new EventId, unless ``envelope`` sets one.
    """
    content = {
        "RoomId": "room",
        "UserId": "user",
        "MediaType": 1,
        "Images": ["https://example.com/snapshot.jpg"],
        "HitReasons": ["gun"],
        "RiskHit": [{"Name": "gun_image", "Score": 0.91}],
        "Suggest": "REJECT",
        **event_data,
    }
    fields = {
        "EventType": "MachineReviewResult",
        "EventData": json.dumps(content, ensure_ascii=False),
        "EventTime": datetime.now(UTC).isoformat(timespec="seconds"),
        "EventId": f"{uuid.uuid4()}_img_doc",
        "Version": "2020-12-01",
        "AppId": "app",
        "Nonce": "4821",
        **(envelope or {}),
    }
    return volcengine.sign(fields, secret)


def make_zego_callback(
    event: str = "censor_audio_v2_result", *, secret: str = CALLBACK_SECRET, **fields: object
) -> bytes:
    """Return the body of a signed callback of ZEGO: by default, ten seconds of ``user`` in ``room`` are rejected.

    :param event: the name of the event, such as ``censor_video_v2_img_result``.
    :param fields: fields that replace or extend those of the callback: ``TaskId``, ``Detail``, ``AuxInfo``, ….

    Each callback has a new ResultTaskId and Nonce, unless ``fields`` sets them.
    """
    task_id = str(fields.get("TaskId", "00112233445566778899aabbccddeeff"))
    content: dict[str, Any] = {
        "Event": event,
        "AppId": 1234567890,
        "Timestamp": int(time.time()),
        "Nonce": str(uuid.uuid4().int),
        "Code": 0,
        "Message": "success",
        "TaskId": task_id,
    }
    aux: dict[str, Any] = {"RoomId": "room"}
    if event.endswith("_status"):
        content |= {"Status": 0, "AuxInfo": {**aux, "CensorStreamTime": 130}}
    elif event.endswith("_result"):
        is_audio_task = event == "censor_audio_v2_result"
        aux |= {"UserId": "user"} if is_audio_task else {"StreamId": "stream"}
        detail: dict[str, Any] = {"RiskLevel": "REJECT", "RiskDescription": "Ads:Contact:Contact", "RiskLabel1": "ad"}
        if event == "censor_video_v2_img_result":
            detail["ImgUrl"] = "https://example.com/frame.jpg"
        else:
            detail |= {"AudioText" if is_audio_task else "Content": "add me", "AudioUrl": "https://example.com/a.mp3"}
        content |= {"ResultTaskId": f"{task_id}_{uuid.uuid4().int % 10**9}", "Detail": detail, "AuxInfo": aux}
    return zego.sign({**content, **fields}, secret)
