"""A third vendor is a package and one line in the registry: everything works with it, and nothing else changes."""

import ast
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.toy_vendor import TOY, Closed, CloseStage, CountListeners, ListenerCount, ToyClient, callbacks
from tests.toy_vendor.server import KEY, QUOTAS, SECRET, ToyServer
from volc_moderation import AuthenticationError, Event, PermissionDeniedError, Verdict
from volc_moderation.jobs import Jobs, JobState
from volc_moderation.vendors import VENDORS, all_actions, vendor_of
from volc_moderation.webhooks import Webhooks

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "volc_moderation"

#: A program that registers the vendor and then is the command ``volc-moderation``.
COMMAND = "from tests.toy_vendor import register; register(); from volc_moderation.cli import main; main()"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VENDORS, TOY.name, TOY)


def client_of(server: ToyServer, **options: Any) -> ToyClient:
    return ToyClient(key=KEY, secret=SECRET, http_client=server.http_client(), **options)


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def test_the_registry_has_its_actions() -> None:
    assert vendor_of(CloseStage(room_id="r")) is TOY
    assert all_actions()["CountListeners"] is CountListeners


# Calls


async def test_a_call() -> None:
    async with client_of(ToyServer()) as client:
        assert await client.close_stage(room_id="r", reasons=["loud"]) == Closed()
        assert await client.count_listeners(room_id="r") == ListenerCount(count=7)
        reply = await client.call(CountListeners(room_id="r"))
        assert (reply.result.count, reply.request_id, reply.attempts) == (7, "r", 1)


async def test_errors() -> None:
    async with client_of(ToyServer(codes={"r": "Forbidden"})) as client:
        with pytest.raises(PermissionDeniedError, match=r"CloseStage.*Forbidden"):
            await client.close_stage(room_id="r")
    async with ToyClient(key=KEY, secret="wrong", http_client=ToyServer().http_client()) as client:
        with pytest.raises(AuthenticationError, match="check the key"):
            await client.close_stage(room_id="r")


@pytest.mark.looptime
async def test_quotas_are_kept() -> None:
    server = ToyServer(loop_time)
    async with client_of(server) as client:
        began = loop_time()
        await asyncio.gather(*(client.count_listeners(room_id=f"r-{number}") for number in range(26)))
        assert 5 <= loop_time() - began < 6
    assert len(server.calls["CountListeners"]) == len(server.rooms) == 26  # none was refused


@pytest.mark.looptime
async def test_a_temporary_code_is_retried_after_its_wait() -> None:
    async with client_of(ToyServer(loop_time, codes={"r": "Busy"})) as client:
        began = loop_time()
        reply = await client.call(CloseStage(room_id="r"))
        assert reply.attempts == 2
        assert loop_time() - began == pytest.approx(30, abs=0.1)


# Jobs


@pytest.mark.looptime
async def test_jobs(tmp_path: Path) -> None:
    server = ToyServer(loop_time, codes={"busy": "Busy", "forbidden": "Forbidden"})
    async with client_of(server) as client, Jobs(tmp_path / "jobs.db", clients=[client]) as jobs:
        keys = [await jobs.submit(CloseStage(room_id=room)) for room in ("open", "busy", "forbidden")]
        done = [await jobs.wait(key) for key in keys]
    assert [job.state for job in done] == [JobState.DONE, JobState.DONE, JobState.FAILED]
    assert [job.attempts for job in done] == [1, 2, 1]
    assert {job.lane.vendor for job in done} == {"toy"}


# Commands


@pytest.fixture
def server() -> Iterator[tuple[ToyServer, str]]:
    server = ToyServer(codes={"room-3": "Forbidden"})
    with server.listening() as base_url:
        yield server, base_url


def run(base_url: str, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which registers the vendor."""
    environment = {"PYTHONPATH": str(ROOT), "TOY_KEY": KEY, "TOY_SECRET": SECRET, "TOY_BASE_URL": base_url}
    return subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-W", "error", "-c", COMMAND, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_command_call(server: tuple[ToyServer, str], tmp_path: Path) -> None:
    process = run(server[1], tmp_path, "call", "CountListeners", "--room-id", "r")
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout)["result"] == {"Count": 7}


@pytest.mark.slow
def test_the_command_bulk(server: tuple[ToyServer, str], tmp_path: Path) -> None:
    rooms = [f"room-{number}" for number in range(25)]
    (tmp_path / "rooms.csv").write_text("RoomId\n" + "\n".join(rooms) + "\n")
    process = run(server[1], tmp_path, "bulk", "rooms.csv", "--action", "CloseStage", "--report", "report.html")
    assert process.returncode == 10, process.stderr
    assert "24 done" in process.stdout + process.stderr
    assert sorted(server[0].rooms) == sorted(rooms)
    calls = server[0].calls["CloseStage"]
    assert len(calls) == 25  # none was refused
    assert all(later - earlier >= 1 for earlier, later in zip(calls, calls[QUOTAS["CloseStage"] :], strict=False))
    report = (tmp_path / "report.html").read_text()
    assert "the stage belongs to another account" in report
    assert "Quota: 10 per second" in report


# Callbacks


async def test_webhooks() -> None:
    events: list[Event] = []

    async def handler(event: Event) -> None:
        events.append(event)

    app: Any = Webhooks(handler, toy="callback-secret")  # type: ignore[call-arg]
    fields = {"Key": KEY, "RoomId": "r", "Verdict": "REJECT", "Time": int(time.time())}
    body = callbacks.sign(fields, "callback-secret")
    forged = callbacks.sign(fields, "another")
    stale = callbacks.sign({**fields, "Time": int(time.time()) - 600}, "callback-secret")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as sender:
        statuses = [(await sender.post("/toy", content=content)).status_code for content in (body, body, forged, stale)]
    assert statuses == [200, 200, 401, 401]
    assert [(event.vendor, event.room_id, event.verdict) for event in events] == [("toy", "r", Verdict.REJECT)]


# Nothing else names a vendor

#: The modules that are about the vendors by nature.
ABOUT_THE_VENDORS = {
    *("__init__.py", "vendors.py", "testing/signed_callbacks.py"),
    *("cli/demo.py", "cli/sweep.py", "cli/swept_room.py"),
    *("doctor/account.py", "doctor/accounts.py", "doctor/environment_accounts.py", "doctor/file_accounts.py"),
    "doctor/signed_read.py",
}


def imported_modules(path: Path) -> set[str]:
    """Return the names of the modules that a file imports, also as ``from package import module``."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.slow
def test_no_other_module_imports_a_vendor() -> None:
    vendors = tuple(f"volc_moderation.{name}" for name in ("volcengine", "zego"))
    checked = 0
    for path in PACKAGE.rglob("*.py"):
        file = path.relative_to(PACKAGE).as_posix()
        if file in ABOUT_THE_VENDORS or file.startswith(("volcengine/", "zego/", "emulator/")):
            continue
        checked += 1
        for module in imported_modules(path):
            assert not module.startswith(vendors), f"{file} imports {module}"
    assert checked > 60
