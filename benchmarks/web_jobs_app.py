"""A web app whose processes share a journal of jobs: ``web_jobs.py`` runs it with ``uvicorn --workers 4``.

The environment has the keys of Volcengine, and JOBS: a folder for the journal, the quotas, and one file per process
with the numbers of its calls that are in flight, and of those that a kill may repeat.
"""

import asyncio
import mmap
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from volc_moderation import FileQuotas, VolcengineClient
from volc_moderation.jobs import Jobs
from volc_moderation.jobs.journal.thread import MAX_LINGER
from volc_moderation.volcengine import StopWebcast

FOLDER = Path(os.environ.get("JOBS", "."))
#: The journal has recorded the end of a call this many seconds after it, commit included.
RECORDED_AFTER = MAX_LINGER + 0.1
#: The numbers in the file of a process: of the calls in flight, and of these and those that may not be recorded yet.
NUMBERS = struct.Struct("<II")

jobs: Jobs


class CountingClient(VolcengineClient):
    """Counts its calls in a file that outlives the process."""

    _in_flight = 0
    _repeatable = 0

    def count_into(self, file: Path) -> None:
        """Create the file of this process."""
        file.write_bytes(bytes(NUMBERS.size))
        with file.open("r+b") as opened:
            self._memory = mmap.mmap(opened.fileno(), NUMBERS.size)

    async def call(self, action: Any, *, on_send: Callable[[], None] | None = None, **options: Any) -> Any:
        """Carry out an action, and count it."""
        is_sent = False

        def count() -> None:
            nonlocal is_sent
            if not is_sent:
                is_sent = True
                self._add(1, 1)
            if on_send is not None:
                on_send()

        try:
            return await super().call(action, on_send=count, **options)
        finally:
            if is_sent:
                self._add(-1, 0)
                asyncio.get_running_loop().call_later(RECORDED_AFTER, self._add, 0, -1)

    def _add(self, in_flight: int, repeatable: int) -> None:
        self._in_flight += in_flight
        self._repeatable += repeatable
        NUMBERS.pack_into(self._memory, 0, self._in_flight, self._repeatable)


@asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[None]:
    global jobs  # created once, in the event loop that uses it
    async with FileQuotas(FOLDER / "quotas") as quotas, CountingClient.from_env(quotas=quotas) as client:
        client.count_into(FOLDER / f"{os.getpid()}.process")
        async with Jobs(FOLDER / "jobs", clients=[client]) as jobs:
            yield


async def stop(request: Request) -> Response:
    """Respond as soon as the stop is on disk."""
    return PlainTextResponse(
        await jobs.submit(StopWebcast(app_id="app", room_id=request.path_params["room_id"], task_id="task")), 202
    )


app = Starlette(routes=[Route("/rooms/{room_id}", stop, methods=["DELETE"])], lifespan=lifespan)
