"""The example app, driven end to end over sockets: started, violation delivered, user kicked, stream stopped."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.doubles import volcengine_client, zego_client
from volc_moderation.testing import CALLBACK_SECRET, ModerationEmulator

EXAMPLES = Path(__file__).parent.parent / "examples"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
async def app(moderation_emulator: ModerationEmulator) -> AsyncIterator[httpx.AsyncClient]:
    """Run the app in a process of its own, as a user would."""
    address = f"http://127.0.0.1:{free_port()}"
    settings = {"RTC_APP_ID": "app", "CALLBACK_SECRET": CALLBACK_SECRET, "PUBLIC_URL": address}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "moderated_rooms:app", "--log-level", "warning"),
        *("--port", address.rpartition(":")[2]),
        cwd=EXAMPLES,
        env=os.environ | moderation_emulator.environment | settings,
    )
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        try:
            for _ in range(400):
                try:
                    await client.get("/")
                    break
                except httpx.ConnectError:
                    await asyncio.sleep(0.05)
            yield client
        finally:
            process.terminate()
            await process.wait()


def test_the_example_is_short() -> None:
    assert len((EXAMPLES / "moderated_rooms.py").read_text().splitlines()) < 60


async def test_who_is_rejected_is_out(app: httpx.AsyncClient, moderation_emulator: ModerationEmulator) -> None:
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

        # Violations delivered; what is not rejected changes nothing
        assert emulator.report("volcengine", "room", "good", verdict="REVIEW") == 2
        assert emulator.report("volcengine", "room", "bad", media="video") == 1
        assert emulator.report("zego", "room", "bad", media="video") == 1
        callbacks = emulator.callbacks()
        assert [(one["outcome"], one["statuses"]) for one in callbacks] == 4 * [("delivered", [200])]

        # User kicked, stream stopped
        online = await volcengine.get_room_online_users(app_id="app", room_id="room")
        assert online.visible_user_list == ["good"]
        assert emulator.join("volcengine", "room", "bad")  # he may come back, but not be seen
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


async def test_a_stranger_cannot_have_anybody_kicked(
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
