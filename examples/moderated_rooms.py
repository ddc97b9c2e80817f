"""Moderates rooms at both vendors. A REJECT verdict removes the user from the room or forbids the stream.

Run it with ``uvicorn moderated_rooms:app`` after ``pip install fastapi uvicorn '.[webhooks]'``. The environment has the
credentials of both vendors, as ``from_env()`` reads them; RTC_APP_ID, the app at Volcengine; CALLBACK_SECRET; and
PUBLIC_URL, the address at which the vendors reach this app.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from volc_moderation import Event, Verdict, VolcengineClient, ZegoClient
from volc_moderation.webhooks import Webhooks
from volc_moderation.zego import VideoParam

volcengine: VolcengineClient
zego: ZegoClient
APP_ID, SECRET, PUBLIC_URL = (os.environ[name] for name in ("RTC_APP_ID", "CALLBACK_SECRET", "PUBLIC_URL"))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    global volcengine, zego  # created once, in the event loop that uses them
    # A callback must be answered within 5 s, so no call may take longer.
    async with VolcengineClient.from_env(deadline=3) as volcengine, ZegoClient.from_env(deadline=3) as zego:
        yield


async def enforce(event: Event) -> None:
    if event.verdict != Verdict.REJECT or event.room_id is None:
        return
    if event.vendor == "volcengine" and event.user_id:
        await volcengine.ban_user_stream(app_id=event.app_id, room_id=event.room_id, user_id=event.user_id)
        await volcengine.ban_room_user(app_id=event.app_id, room_id=event.room_id, user_id=event.user_id)
    elif event.stream_id:  # ZEGO names the stream of a video, and the user of audio
        await zego.forbid_rtc_stream(stream_id=event.stream_id)
    elif event.user_id:
        await zego.kickout_user(room_id=event.room_id, user_id=[event.user_id])


app = FastAPI(lifespan=lifespan)
app.mount("/callbacks", Webhooks(enforce, volcengine=SECRET, zego=SECRET))


@app.post("/rooms/{room_id}")
async def start(room_id: str) -> dict[str, str]:
    await volcengine.start_detection(app_id=APP_ID, room_id=room_id, callback=f"{PUBLIC_URL}/callbacks/volcengine")
    video = VideoParam(risk_type_list=["EROTIC", "VIOLENT"], result_callback_url=f"{PUBLIC_URL}/callbacks/zego")
    task = await zego.start_censor_video(room_id=room_id, event_id="live_streaming", video_param=video)
    return {"task_id": task.task_id}


@app.delete("/rooms/{room_id}")
async def stop(room_id: str, task_id: str) -> None:
    await volcengine.stop_detection(app_id=APP_ID, room_id=room_id)
    await zego.stop_censor_video(task_id=task_id)
