"""A program whose processes share a journal.

``python -m tests.jobs.sharing JOURNAL BASE_URL`` reads a line for each process to start from standard input: "submit
FIRST COUNT", "wait KEY", "events", "fork" or "stand". A process enters ``Jobs``, does that, and closes them at SIGTERM.
The processes are forked, so Python starts once. Each of them writes lines of JSON to standard output.
"""

import asyncio
import json
import os
import signal
import sys
import time

from tests.doubles import volcengine_client
from volc_moderation import NoQuotas
from volc_moderation.jobs import Jobs
from volc_moderation.volcengine import StopWebcast


def stop(number: int) -> StopWebcast:
    """Return the call of a number."""
    return StopWebcast(app_id="app", room_id=f"r-{number}", task_id="t")


def say(what: str, **fields: object) -> None:
    """Write a line at once, so that lines of several processes do not mix."""
    os.write(1, json.dumps({"pid": os.getpid(), "what": what, "at": time.monotonic()} | fields).encode() + b"\n")


async def act(jobs: Jobs, what: str, *details: str) -> None:
    """Do what a line says."""
    if what == "submit":
        first, count = map(int, details)
        slots = asyncio.Semaphore(10)

        async def submit(number: int) -> None:
            async with slots:
                say("accepted", key=await jobs.submit(stop(number)), number=number)

        await asyncio.gather(*(submit(number) for number in range(first, first + count)))
        say("submitted")
    elif what == "wait":
        job = await jobs.wait(*details)
        say("ended", state=job.state)
    elif what == "fork":
        await asyncio.sleep(0.5)  # until others are connected
        if os.fork() == 0:
            time.sleep(2.5)  # noqa: ASYNC251 - the child has no event loop
            os._exit(0)
        say("forked")
    elif what == "events":
        async for event in jobs.events():
            say("event", state=event.state, parameters=event.parameters)


async def run(path: str, base_url: str, line: str) -> None:
    """Share the journal until SIGTERM."""
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    what, *details = line.split()
    async with volcengine_client(base_url=base_url, quotas=NoQuotas()) as client:
        async with Jobs(path, clients=[client]) as jobs:
            say("ready", leads=jobs._leadership._leader is not None)
            acting = asyncio.create_task(act(jobs, what, *details))
            acting.add_done_callback(lambda done: None if done.cancelled() else done.result())
            await end.wait()
            acting.cancel()
            await asyncio.gather(acting, return_exceptions=True)
        say("closed")


def main() -> None:
    """Start a process for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    path, base_url = sys.argv[1:]
    for line in sys.stdin:
        if os.fork() == 0:
            status = 1
            try:
                asyncio.run(run(path, base_url, line))
                status = 0
            finally:
                os._exit(status)


if __name__ == "__main__":
    main()
