"""Rooms whose moderation is stopped even if the vendor, the network or this process is down just then.

It runs with ``uvicorn durable_stops:app`` (``pip install fastapi uvicorn .``), and reads the keys of both vendors as
``from_env()`` does, RTC_APP_ID (Volcengine's app), and JOBS, the file of the journal.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

from volc_moderation import VolcengineClient, ZegoClient
from volc_moderation.jobs import Jobs
from volc_moderation.volcengine import StopDetection
from volc_moderation.zego import StopCensorVideoV2

jobs: Jobs
APP_ID, JOURNAL = os.environ["RTC_APP_ID"], os.environ["JOBS"]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    global jobs  # made once, in the event loop that uses them
    async with (
        VolcengineClient.from_env() as volcengine,
        ZegoClient.from_env() as zego,
        Jobs(JOURNAL, clients=[volcengine, zego]) as jobs,
    ):
        yield


app = FastAPI(lifespan=lifespan)


@app.delete("/rooms/{room_id}", status_code=202)
async def stop(room_id: str, task_id: str) -> list[str]:
    """Answer as soon as both stops are on disk; they are made in the background, also after a restart."""
    room = await jobs.submit(StopDetection(app_id=APP_ID, room_id=room_id))
    video = await jobs.submit(StopCensorVideoV2(task_id=task_id))
    return [room, video]


@app.get("/jobs/{key}")
async def state(key: str) -> dict[str, str | int | None]:
    job = await jobs.status(key)
    if job is None:
        raise HTTPException(404)
    return {"action": job.action, "state": job.state, "attempts": job.attempts, "code": job.code}
