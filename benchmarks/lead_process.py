"""One of several processes that share a journal: ``python -m benchmarks.lead_process`` runs one for ``lead.py``.

It does what the lines of standard input say, and writes lines of JSON to standard output. SIGTERM closes its jobs.
"""

import asyncio
import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from itertools import count
from typing import Any

import httpx

from volc_moderation import FileQuotas, NoQuotas, VolcengineClient
from volc_moderation.jobs import Jobs
from volc_moderation.volcengine import StopWebcast

KEYS: dict[str, Any] = {"access_key": "AK", "secret_key": "SK"}
#: Seconds between two jobs of the command "load".
LOAD_INTERVAL = 0.01


def say(what: str, **fields: object) -> None:
    """Write a line."""
    os.write(1, json.dumps({"what": what, "at": time.monotonic()} | fields).encode() + b"\n")


async def say_called(_: httpx.Request) -> None:
    """Say that this process makes a call."""
    say("called")


def stop(room_id: str) -> StopWebcast:
    """Return the call that stops a room's webcast."""
    return StopWebcast(app_id="app", room_id=room_id, task_id="task")


async def load(jobs: Jobs, prefix: str) -> None:
    """Submit jobs until this is cancelled."""
    for number in count():
        await jobs.submit(stop(f"{prefix}-{number}"))
        await asyncio.sleep(LOAD_INTERVAL)


async def obey(client: VolcengineClient, jobs: Jobs) -> None:
    """Do what the lines of standard input say."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    loading: asyncio.Task[None] | None = None
    while line := await reader.readline():
        match line.decode().split():
            case ["submit", room_id]:
                before = time.monotonic()
                say("submitted", key=await jobs.submit(stop(room_id)), before=before)
            case ["wait", key]:
                job = await jobs.wait(key)
                say("ended", state=job.state)
            case ["load", prefix]:
                loading = asyncio.create_task(load(jobs, prefix))
            case ["unload"] if loading is not None:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)
                say("unloaded")
            case ["call", room_id]:  # not as a job
                await client.call(stop(room_id))
                say("made")
            case ["cpu"]:
                say("cpu", seconds=time.process_time())


async def run(journal: str, base_url: str, quotas: str) -> None:
    """Share the journal until SIGTERM."""
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    store = FileQuotas(quotas) if quotas else NoQuotas()
    async with (
        store if isinstance(store, FileQuotas) else nullcontext(),
        httpx.AsyncClient(trust_env=False, event_hooks={"request": [say_called]}) as http_client,
        VolcengineClient(**KEYS, base_url=base_url, quotas=store, http_client=http_client) as client,
        Jobs(journal, clients=[client]) as jobs,
    ):
        say("ready")
        obeying = asyncio.create_task(obey(client, jobs))
        await end.wait()
        obeying.cancel()
        await asyncio.gather(obeying, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
