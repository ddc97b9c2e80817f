"""What an action leaves to its client: the app, and the API version."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import json_body, mocked, sequential_handler, volcengine_client, volcengine_success
from tests.jobs.journals import fill
from volc_moderation import ConfigurationError, InvalidActionError, VolcengineClient
from volc_moderation.jobs import Jobs
from volc_moderation.jobs.journal import Journal
from volc_moderation.volcengine import (
    BanRoomUser,
    BanUserStream,
    GetRoomOnlineUsers,
    KickUser,
    SendBroadcast,
    StartDetection,
    StopDetection,
    StopWebcast,
    VolcengineAction,
)

OLD, NEW = "2020-12-01", "2023-11-01"


async def sent_version(action: VolcengineAction[Any], **options: Any) -> str:
    """Call an action, and return the API version of its request."""
    handler, requests = sequential_handler(volcengine_success({"Message": "ok", "RoomExists": False}))
    async with mocked(handler) as http_client:
        await volcengine_client(http_client=http_client, **options).call(action)
    return str(requests[0].url.params["Version"])


async def test_the_app_is_the_default_of_every_call() -> None:
    handler, requests = sequential_handler(volcengine_success({"Message": "ok", "RoomExists": True}))
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, app_id="app")
        await client.start_detection(room_id="room")
        await client.get_room_online_users(room_id="room")
        await client.call(StopDetection(room_id="room"))
        await client.with_options(deadline=3).stop_webcast(room_id="room", task_id="task")
        await client.stop_webcast(app_id="other", room_id="room", task_id="task")
    start, listing, stop, *webcasts = requests
    assert [json_body(request)["AppId"] for request in (start, stop, *webcasts)] == ["app", "app", "app", "other"]
    assert listing.url.params["AppId"] == "app"


async def test_an_app_that_is_nowhere_is_named_before_anything_is_sent() -> None:
    handler, requests = sequential_handler(volcengine_success())
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client)
        with pytest.raises(InvalidActionError) as caught:
            await client.start_detection(room_id="room")
        with pytest.raises(InvalidActionError, match="StopWebcast: app_id must be given"):
            await client.call(StopWebcast(room_id="room", task_id="task"))
        assert not requests
    assert (caught.value.field, caught.value.action) == ("app_id", "StartDetection")
    assert "as app_id= of the client" in caught.value.rule


async def test_the_rules_of_a_field_apply_to_the_clients_value() -> None:
    async with mocked(lambda _: volcengine_success()) as http_client:
        with pytest.raises(InvalidActionError, match="StopWebcast: app_id"):
            await volcengine_client(http_client=http_client, app_id="a b").stop_webcast(room_id="r", task_id="t")


@pytest.mark.parametrize(
    ("action", "version"),
    [
        (StartDetection(app_id="a", room_id="r"), NEW),
        (StopDetection(app_id="a", room_id="r"), NEW),
        (StartDetection(app_id="a", room_id="r", version=OLD), OLD),
        (GetRoomOnlineUsers(app_id="a", room_id="r"), NEW),
        # They are not documented in it.
        (KickUser(app_id="a", room_id="r", user_id="u"), OLD),
        (SendBroadcast(app_id="a", room_id="r", from_="s", message="m"), "2023-07-20"),
    ],
)
async def test_a_version_for_all_that_are_documented_in_it(action: VolcengineAction[Any], version: str) -> None:
    assert await sent_version(action, version=NEW) == version


async def test_the_older_version_for_all() -> None:
    assert await sent_version(StopDetection(app_id="a", room_id="r"), version=OLD) == OLD
    assert await sent_version(GetRoomOnlineUsers(app_id="a", room_id="r"), version=OLD) == NEW


@pytest.mark.parametrize(
    ("action", "field"),
    [
        (BanRoomUser(app_id="a", ip="203.0.113.7"), "ip"),
        (BanUserStream(app_id="a", room_id="r", user_id="u"), "token"),
        (BanUserStream(app_id="a", room_id="r", user_id="u", token="t", forbidden_interval=60), "forbidden_interval"),
    ],
)
async def test_the_rules_of_a_version_apply_to_the_clients_version(action: VolcengineAction[Any], field: str) -> None:
    with pytest.raises(InvalidActionError, match=f"{type(action).__name__}: {field} must be"):
        await sent_version(action, version=OLD)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"app_id": ""}, "app_id must be a str that is not empty"),
        ({"app_id": 5}, "app_id must be a str that is not empty, or None; got int 5"),
        ({"version": ""}, "version must be a str"),
        ({"version": "2031-01-01"}, r"version must be one that actions document \(2020-12-01, .*2023-11-01\)"),
    ],
)
def test_a_wrong_default_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        volcengine_client(**options)


def test_from_env_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLCENGINE_ACCESS_KEY", "AK")
    monkeypatch.setenv("VOLCENGINE_SECRET_KEY", "SK")
    client = VolcengineClient.from_env(app_id="app", version=NEW)
    completed = client.complete(StopDetection(room_id="room"))
    assert completed == StopDetection(app_id="app", room_id="room", version=NEW)
    given = StopDetection(app_id="other", room_id="room", version=OLD)
    assert client.complete(given) is given


async def test_a_job_is_journaled_as_its_client_completes_it(tmp_path: Path) -> None:
    handler, requests = sequential_handler(volcengine_success())
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, app_id="app", version=NEW)
        async with Jobs(tmp_path / "jobs.db", clients=[client]) as jobs:
            job = await jobs.wait(await jobs.submit(StopWebcast(room_id="room", task_id="task")))
            same = await jobs.submit(StopWebcast(app_id="app", room_id="room", task_id="task"), delay=60)
            with pytest.raises(InvalidActionError, match="task_id"):
                await jobs.submit(StopWebcast(room_id="room", task_id=""))
        assert (job.parameters["AppId"], job.lane.version) == ("app", NEW)
        assert same == job.key
        assert requests[0].url.params["Version"] == NEW


@pytest.mark.parametrize("version", [NEW, None])
async def test_a_job_keeps_what_its_client_had_when_it_was_submitted(tmp_path: Path, version: str | None) -> None:
    """The process that makes the call has a client with other defaults. None: the version of the action's page."""
    stop, send = StopDetection(room_id="room"), SendBroadcast(room_id="room", from_="server", message="m")
    with contextlib.closing(Journal(tmp_path / "jobs.db")) as journal:
        keys = fill(journal, [stop, send], volcengine_client(app_id="app", version=version), now=0)
    handler, requests = sequential_handler(volcengine_success())
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, app_id="other", version=OLD)
        async with Jobs(tmp_path / "jobs.db", clients=[client]) as jobs:
            for key in keys:
                assert (await jobs.wait(key)).parameters["AppId"] == "app"
    sent = {request.url.params["Action"]: request for request in requests}
    assert {name: request.url.params["Version"] for name, request in sent.items()} == {
        "StopDetection": NEW,
        "SendBroadcast": "2023-07-20",
    }
    assert {json_body(request)["AppId"] for request in requests} == {"app"}


async def test_a_job_without_an_app_is_refused_before_it_is_journaled(tmp_path: Path) -> None:
    async with (
        mocked(lambda _: volcengine_success()) as http_client,
        Jobs(tmp_path / "jobs.db", clients=[volcengine_client(http_client=http_client)]) as jobs,
    ):
        with pytest.raises(InvalidActionError, match="app_id must be given"):
            await jobs.submit(StopWebcast(room_id="room", task_id="task"))
        assert sum((await jobs.counts()).values()) == 0
