"""The official client calls the emulator: the vendor's own SDK accepts it as the vendor."""

import asyncio
from typing import Any

import pytest
import volcenginesdkcore
from volcenginesdkcore.rest import ApiException

from tests.doubles import KEYS
from volc_moderation.emulator import EmulatorProcess


def universal_api(emulator: EmulatorProcess, secret_key: str = KEYS.secret_key) -> Any:
    configuration = volcenginesdkcore.Configuration()
    configuration.ak = KEYS.access_key
    configuration.sk = secret_key
    configuration.region = KEYS.region
    configuration.scheme, configuration.host = emulator.base_url.split("://")
    configuration.auto_retry = False
    api = volcenginesdkcore.UniversalApi(volcenginesdkcore.ApiClient(configuration))

    async def call(method: str, action: str, version: str, **parameters: Any) -> Any:
        content_type = "application/json" if method == "POST" else None
        info = volcenginesdkcore.UniversalInfo(method, "rtc", version, action, content_type)
        return await asyncio.to_thread(api.do_call, info, parameters)

    return call


async def test_it_starts_lists_and_stops_a_detection(emulator: EmulatorProcess) -> None:
    call = universal_api(emulator)
    task = {"AppId": "app", "RoomId": "room", "UserId": "user-1"}
    assert await call("POST", "StartDetection", "2020-12-01", **task, MediaType=1) == {"Message": "success"}
    listed = await call("GET", "ListDetectionTask", "2020-12-01", **task)
    assert [(one["UserId"], one["MediaType"], one["Status"]) for one in listed["EventData"]] == [("user-1", 1, 1)]
    assert await call("POST", "StopDetection", "2023-11-01", **task) == {"Message": "success"}
    listed = await call("GET", "ListDetectionTask", "2023-11-01", AppId="app", RoomId="room")
    assert [one["Status"] for one in listed["EventData"]] == [2]


async def test_it_starts_and_stops_a_webcast(emulator: EmulatorProcess) -> None:
    call = universal_api(emulator)
    task = {"AppId": "app", "RoomId": "room", "TaskId": "task"}
    page = {"UserId": "page", "SourceURL": "https://example.com/?a=b c"}
    assert await call("POST", "StartWebcast", "2023-11-01", **task, **page) == "ok"
    task_info = await call("GET", "GetWebCastTask", "2023-11-01", **task)
    assert task_info["WebCastTask"]["SourceURL"] == page["SourceURL"]
    assert await call("POST", "StopWebcast", "2020-12-01", **task) == "ok"


async def test_it_bans_and_lists_users(emulator: EmulatorProcess) -> None:
    call = universal_api(emulator)
    for user in ("user-1", "user-2"):
        assert await emulator.join("volcengine", "room", user)
    room = {"AppId": "app", "RoomId": "room"}
    users = await call("GET", "GetRoomOnlineUsers", "2023-11-01", **room)
    assert users["VisibleUserList"] == ["user-1", "user-2"]
    banned = await call("POST", "BanRoomUser", "2023-11-01", **room, UserId="user-1", ForbiddenInterval=60)
    assert banned == {"Message": "success"}
    users = await call("GET", "GetRoomOnlineUsers", "2023-11-01", **room)
    assert users["VisibleUserList"] == ["user-2"]
    assert not await emulator.join("volcengine", "room", "user-1")


async def test_a_wrong_key_is_refused(emulator: EmulatorProcess) -> None:
    with pytest.raises(ApiException, match="SignatureDoesNotMatch"):
        await universal_api(emulator, "wrong")("POST", "StopDetection", "2023-11-01", AppId="app", RoomId="room")
