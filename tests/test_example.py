"""The example apps, end to end over sockets: a violation and its consequences, and stops that survive a crash."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.doubles import free_port, volcengine_client, zego_client
from volc_moderation.emulator import Fault
from volc_moderation.testing import CALLBACK_SECRET, ModerationEmulator

EXAMPLES = Path(__file__).parent.parent / "examples"


@contextlib.asynccontextmanager
async def running(
    name: str, address: str, **settings: str
) -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.subprocess.Process]]:
    """Run an app in a separate process, as a user does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", f"{name}:app", "--log-level", "warning"),
        *("--port", address.rpartition(":")[2]),
        cwd=EXAMPLES,
        env=os.environ | settings,
    )
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        try:
            for _ in range(400):
                try:
                    await client.get("/")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
            yield client, process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


@pytest.fixture
async def app(moderation_emulator: ModerationEmulator) -> AsyncIterator[httpx.AsyncClient]:
    address = f"http://127.0.0.1:{free_port()}"
    settings = {"RTC_APP_ID": "app", "CALLBACK_SECRET": CALLBACK_SECRET, "PUBLIC_URL": address}
    async with running("moderated_rooms", address, **moderation_emulator.environment, **settings) as (client, _):
        yield client


@pytest.mark.parametrize("name", ["moderated_rooms", "durable_stops"])
def test_the_examples_are_short(name: str) -> None:
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < 60


async def test_a_stop_survives_an_outage_of_the_vendor_and_a_crash(
    moderation_emulator: ModerationEmulator, tmp_path: Path
) -> None:
    """The app accepts it while the vendor is unreachable, and is killed; after a restart, the app sends it."""
    emulator = moderation_emulator
    async with volcengine_client(base_url=emulator.base_url) as client:
        await client.start_detection(app_id="app", room_id="room")
        address = f"http://127.0.0.1:{free_port()}"
        settings = emulator.environment | {"RTC_APP_ID": "app", "JOBS": str(tmp_path / "stops.db")}
        emulator.play(Fault(kind="reset", action="StopDetection", first=100))
        async with running("durable_stops", address, **settings) as (app, process):
            response = await app.delete("/rooms/room", params={"task_id": "t"})
            assert response.status_code == 202
            room, _ = response.json()
            assert (await app.get(f"/jobs/{room}")).json()["state"] in {"pending", "sent"}
            assert (await app.get("/jobs/none")).status_code == 404
            process.kill()
        emulator.reset()
        await client.start_detection(app_id="app", room_id="room")
        async with running("durable_stops", address, **settings) as (app, _):
            async with asyncio.timeout(15):
                while (await app.get(f"/jobs/{room}")).json()["state"] != "done":
                    await asyncio.sleep(0.05)
        tasks = (await client.list_detection_task(app_id="app", room_id="room")).event_data
        assert {int(task.status) for task in tasks} == {2}


async def test_a_rejected_user_is_removed(app: httpx.AsyncClient, moderation_emulator: ModerationEmulator) -> None:
    emulator = moderation_emulator
    for vendor in ("volcengine", "zego"):
        assert emulator.join(vendor, "room", "good")
        assert emulator.join(vendor, "room", "bad", stream_id="bad-stream")
    options = {"base_url": emulator.base_url}
    async with volcengine_client(**options) as volcengine, zego_client(**options) as zego:
        # Started
        response = await app.post("/rooms/room")
        assert response.status_code == 200
        tasks = (await volcengine.list_detection_task(app_id="app", room_id="room")).event_data
        assert {task.user_id: int(task.status) for task in tasks} == {"good": 1, "bad": 1}

        # Violations delivered; other verdicts change nothing
        assert emulator.report("volcengine", "room", "good", verdict="REVIEW") == 2
        assert emulator.report("volcengine", "room", "bad", media="video") == 1
        assert emulator.report("zego", "room", "bad", media="video") == 1
        callbacks = emulator.callbacks()
        outcomes = [(callback["outcome"], callback["statuses"]) for callback in callbacks]
        assert outcomes == 4 * [("delivered", [200])]

        # User kicked, stream stopped
        online = await volcengine.get_room_online_users(app_id="app", room_id="room")
        assert online.visible_user_list == ["good"]
        assert emulator.join("volcengine", "room", "bad")  # the user may rejoin, but the stream stays banned
        assert emulator.report("volcengine", "room", "bad") == 0
        state = await zego.describe_rtc_stream_state(stream_id="bad-stream")
        assert state.code == 41006
        streams = (await zego.describe_simple_stream_list(room_id="room")).stream_list
        assert [stream.user_id for stream in streams] == ["good"]

        # Task stopped
        assert (await app.delete("/rooms/room", params=response.json())).status_code == 200
        tasks = (await volcengine.list_detection_task(app_id="app", room_id="room")).event_data
        assert {int(task.status) for task in tasks} == {2}
        assert emulator.report("zego", "room", "good") == 0
        counts = emulator.counts()
        assert counts["StopCensorVideoV2"]["accepted"] == 1
        assert not any(count["throttled"] for count in counts.values())


async def test_a_forged_callback_removes_nobody(
    app: httpx.AsyncClient, moderation_emulator: ModerationEmulator, volcengine_callback: object
) -> None:
    moderation_emulator.join("volcengine", "room", "user")
    make = volcengine_callback
    assert callable(make)
    assert (await app.post("/callbacks/volcengine", content=make(secret="guessed"))).status_code == 401
    assert (await app.post("/callbacks/volcengine", content=b"{}")).status_code == 400
    assert "BanRoomUser" not in moderation_emulator.counts()
    assert (await app.post("/callbacks/volcengine", content=make())).status_code == 200
    assert moderation_emulator.counts()["BanRoomUser"]["accepted"] == 1
