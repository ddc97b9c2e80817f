"""A run with and without a journal against an instant vendor: ``python -m benchmarks.instant with 10000``.

The vendor is an ``httpx.MockTransport`` in this process, so a call costs what httpx and this package cost.
``python -m benchmarks.instant bare 10000`` sends as many requests with ``httpx.AsyncClient.request`` alone: no program
on this client can be faster.

It is a separate program that imports little, so that its memory is that of the run. It prints JSON for ``jobs.py``.
"""

import asyncio
import json
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx

from volc_moderation import NoQuotas, VolcengineClient
from volc_moderation.bulk.load import FileCall, LoadProgress, load_actions, read_actions
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.emulator import Settings
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.runner import LocalRunner

#: Calls in flight without a journal.
CONCURRENCY = 48
#: Seconds after which a thread yields to another, as the command ``bulk`` sets it.
SWITCH_INTERVAL = 0.0005

SUCCESS = b'{"ResponseMetadata":{"RequestId":"r-1"},"Result":"ok"}'
KEYS: dict[str, Any] = {"access_key": Settings().access_key, "secret_key": Settings().secret_key}


def instant_http_client() -> httpx.AsyncClient:
    """Return an HTTP client of a vendor that answers at once."""
    return httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=SUCCESS)))


def instant() -> VolcengineClient:
    """Return a client of a vendor that answers at once."""
    return VolcengineClient(**KEYS, quotas=NoQuotas(), http_client=instant_http_client())


def write_rows(path: Path, count: int) -> Path:
    with path.open("w") as file:
        file.write("app_id,room_id,task_id\n")
        file.writelines(f"app,room-{number},wall\n" for number in range(count))
    return path


def actions_of(path: Path, loaded: LoadProgress) -> Generator[FileCall, None, None]:
    rows = RowParser(VolcengineClient.actions(), action="StopWebcast", constants={})
    return read_actions([str(path)], rows, limit=None, on_bad_row=print, progress=loaded)


async def with_journal(folder: Path, rows: int) -> dict[str, float]:
    """Load a file and run it; return the rows per second of both, and the peak memory in MB."""
    sys.setswitchinterval(SWITCH_INTERVAL)  # as the command does
    client, loaded, file = instant(), LoadProgress(), write_rows(folder / "rows.csv", rows)
    journal = JournalThread(Journal(folder / "jobs"))

    def fill(journal: Journal) -> None:
        clients = Clients([client])
        load_actions(
            journal,
            actions_of(file, loaded),
            lambda _vendor, _account: clients,
            skip_bad_rows=False,
            now=time.time(),
            progress=loaded,
        )

    began = time.perf_counter()
    await journal.do(fill, durable=True)
    between = time.perf_counter()
    done: Counter[str] = Counter()
    runner = LocalRunner(journal, [client], on_event=lambda event: done.update([event.state.value]))
    await runner.prepare()
    started = time.perf_counter()
    await runner.run()
    ended = time.perf_counter()
    await journal.aclose()
    assert done == {"done": rows}
    return {"load": rows / (between - began), "run": rows / (ended - started), "peak": peak_of_memory()}


def peak_of_memory() -> float:
    """Return the peak memory of this program in MB."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # On Linux, getrusage includes the memory of the program that started this one.
    match = re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))
    assert match is not None
    return int(match[1]) / 1024


async def without_journal(folder: Path, rows: int) -> dict[str, float]:
    """Make the calls of the same file as they are read; return the rows per second."""
    client, loaded, file = instant(), LoadProgress(), write_rows(folder / "rows.csv", rows)
    actions = iter(actions_of(file, loaded))
    done: Counter[str] = Counter()

    async def work() -> None:
        for _, action, _ in actions:
            await client.call(action)
            done.update(["done"])

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
    assert done == {"done": rows}
    return {"run": rows / (time.perf_counter() - began)}


async def bare_httpx(_: Path, rows: int) -> dict[str, float]:
    """Send as many requests with httpx alone; return the requests per second."""
    client = instant_http_client()
    url = "https://rtc.volcengineapi.com/?Action=StopWebcast&Version=2020-12-01"
    headers = {"Content-Type": "application/json", "Authorization": "signature", "X-Date": "20260101T000000Z"}
    began = time.perf_counter()
    for number in range(rows):
        content = b'{"AppId":"app","RoomId":"room-%d","TaskId":"wall"}' % number
        assert (await client.request("POST", url, headers=headers, content=content)).content == SUCCESS
    return {"run": rows / (time.perf_counter() - began)}


MODES = {"with": with_journal, "without": without_journal, "bare": bare_httpx}


def main() -> None:
    mode, rows = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        measured = MODES[mode]
        print(json.dumps(asyncio.run(measured(Path(folder), int(rows)))))


if __name__ == "__main__":
    main()
