"""Stops the moderation of rooms even if the vendor, the network or this process is down at that moment.

Run it with ``uvicorn durable_stops:app`` after ``pip install fastapi uvicorn .``. The environment has the credentials
of both vendors, as ``from_env()`` reads them; RTC_APP_ID, the app at Volcengine; and JOBS, the path of the journal.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException

from volc_moderation import VolcengineClient, ZegoClient
from volc_moderation.jobs import Jobs
from volc_moderation.volcengine import StopDetection
from volc_moderation.zego import StopCensorVideoV2

jobs: Jobs
APP_ID = os.environ["RTC_APP_ID"]
JOURNAL = os.environ["JOBS"]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
    global jobs  # created once, in the event loop that uses it
    async with (
        VolcengineClient.from_env() as volcengine,
        ZegoClient.from_env() as zego,
        Jobs(JOURNAL, clients=[volcengine, zego]) as jobs,
    ):
        yield


app = FastAPI(lifespan=lifespan)


@app.delete("/rooms/{room_id}", status_code=202)
async def stop(room_id: str, task_id: str) -> list[str]:
    """Answer as soon as both stops are on disk. They are sent in the background, after a restart if necessary."""
    detection = await jobs.submit(StopDetection(app_id=APP_ID, room_id=room_id))
    video = await jobs.submit(StopCensorVideoV2(task_id=task_id))
    return [detection, video]  # a handle is also the key of its job; awaiting it would wait for the end of the call


@app.get("/jobs/{key}")
async def state(key: str) -> dict[str, str | int | None]:
    job = await jobs.status(key)
    if job is None:
        raise HTTPException(404)
    return {"action": job.action, "state": job.state, "attempts": job.attempts, "code": job.code}
