"""``kill -9`` at any moment: no job is lost, and few calls are repeated."""

import asyncio
import contextlib
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.doubles import volcengine_client
from tests.jobs.journals import all_jobs, fill
from volc_moderation.emulator import Emulator, Settings, listen, serve
from volc_moderation.emulator.vendor import VendorAnswer, VendorRequest
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.volcengine import StopWebcast

KILLS = 50
ROWS = 900


@contextlib.asynccontextmanager
async def serve_emulator() -> AsyncIterator[tuple[str, Counter[str]]]:
    """Serve the emulator in this process, and count what arrives for each room."""
    # No quota, so that many calls are in flight; some delay, so that they are in flight for a while.
    emulator = Emulator(Settings(quotas={"StopWebcast": 100_000}, delay=(0.005, 0.01)))
    arrived: Counter[str] = Counter()
    perform = emulator.volcengine.perform

    def count(call: VendorRequest, now: float) -> VendorAnswer:
        arrived[(call.parameters or {})["RoomId"]] += 1
        return perform(call, now)

    emulator.volcengine.perform = count  # type: ignore[method-assign]
    listener, end = listen("127.0.0.1", 0), asyncio.Event()
    serving = asyncio.create_task(serve(emulator, listener, until=end.wait()))
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", arrived
    end.set()
    await serving


@pytest.mark.slow
async def test_no_job_is_lost_in_fifty_kills(tmp_path: Path) -> None:
    """Every stop arrives; those that arrive twice were in flight at a kill; the journal is intact after each kill."""
    dice = random.Random(1)
    path = tmp_path / "stops.db"
    async with serve_emulator() as (base_url, arrived):
        client = volcengine_client(base_url=base_url)
        journal = Journal(path)
        fill(journal, [StopWebcast(app_id="app", room_id=f"r-{n}", task_id="t") for n in range(ROWS)], client, now=0)
        journal.close()
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.jobs.crashing", path, base_url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert program.stdin is not None
        assert program.stdout is not None
        in_flight: set[str] = set()
        killed = 0
        for run in range(KILLS + 1):
            program.stdin.write(b"end\n" if run == KILLS else f"{dice.uniform(0.015, 0.06)}\n".encode())
            code = await program.stdout.readline()
            killed += code == b"-9\n"
            journal = Journal(path)
            assert journal._query("PRAGMA integrity_check") == [("ok",)]
            sent = [str(job.parameters["RoomId"]) for job in all_jobs(journal) if job.state is JobState.SENT]
            assert len(sent) <= 400
            in_flight |= set(sent)
            journal.close()
        program.stdin.close()
        await program.wait()
        assert code == b"0\n"
    journal = Journal(path)
    assert Counter(job.state for job in all_jobs(journal)) == {JobState.DONE: ROWS}
    journal.close()
    assert killed == KILLS
    assert len(arrived) == ROWS
    repeated = {room for room, count in arrived.items() if count > 1}
    assert repeated <= in_flight
