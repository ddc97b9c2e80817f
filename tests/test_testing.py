"""The pytest plugin: the emulator for any kind of test, and callbacks with valid signatures."""

import os
import signal
import unittest
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.doubles import volcengine_client
from volc_moderation import Media, TemporaryError, Verdict, VolcengineClient, ZegoClient
from volc_moderation.emulator import Fault, Settings
from volc_moderation.testing import CALLBACK_SECRET, ModerationEmulator
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.zego import callbacks as zego_callbacks

Make = Callable[..., bytes]


def test_pytest_loads_the_plugin(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.pluginmanager.has_plugin("volc_moderation")


def test_the_emulator_in_a_sync_test(moderation_emulator: ModerationEmulator) -> None:
    assert httpx.get(f"{moderation_emulator.base_url}/_emulator/counts", trust_env=False).json() == {}
    assert moderation_emulator.join("zego", "room", "user")
    moderation_emulator.leave("zego", "room", "user")
    with pytest.raises(ValueError, match="not in the room"):
        moderation_emulator.report("zego", "room", "user")


async def test_the_emulator_in_an_async_test(moderation_emulator: ModerationEmulator) -> None:
    """Clients from the environment need nothing else."""
    moderation_emulator.play(Fault(kind="code", code=50009, action="StopCensorAudioV2"))
    async with ZegoClient.from_env(deadline=5) as zego, VolcengineClient.from_env() as volcengine:
        with pytest.raises(TemporaryError):
            await zego.stop_censor_audio(task_id="task")
        await volcengine.start_detection(app_id="app", room_id="room")
    assert moderation_emulator.counts()["StartDetection"]["accepted"] == 1


async def test_the_emulator_is_reset_for_each_test(moderation_emulator: ModerationEmulator) -> None:
    assert moderation_emulator.counts() == {}
    assert moderation_emulator.callbacks() == []
    async with volcengine_client(base_url=moderation_emulator.base_url) as volcengine:
        assert not (await volcengine.get_room_online_users(app_id="app", room_id="room")).room_exists


@pytest.mark.slow
def test_an_emulator_may_have_other_settings() -> None:
    with ModerationEmulator(Settings(access_key="OTHER", quotas={"StopWebcast": 1})) as emulator:
        assert emulator.environment["VOLCENGINE_ACCESS_KEY"] == "OTHER"
        process = emulator._process
    assert process.returncode == 0


@pytest.mark.slow
def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: calls of the emulator ignore a proxy of the environment."""
    monkeypatch.setattr("volc_moderation.emulator.control.STOP_TIMEOUT", 0.1)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with ModerationEmulator() as emulator:
        assert emulator.counts() == {}
        process = emulator._process
        assert os.getpgid(process.pid) != os.getpgid(0)  # an interrupt at the terminal goes to the parent only
        os.kill(process.pid, signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL


async def test_callbacks_waits_until_settled(moderation_emulator: ModerationEmulator, unused_tcp_port: int) -> None:
    moderation_emulator.join("volcengine", "room", "user")
    async with volcengine_client(base_url=moderation_emulator.base_url) as volcengine:
        url = f"http://127.0.0.1:{unused_tcp_port}/"
        await volcengine.start_detection(app_id="app", room_id="room", callback=url, media_type=1)
    assert moderation_emulator.report("volcengine", "room", "user") == 1
    assert moderation_emulator.callbacks(settled=False)[0]["outcome"] == "pending"
    assert moderation_emulator.callbacks(timeout=0.1)[0]["outcome"] == "pending"
    (callback,) = moderation_emulator.callbacks()
    assert (callback["outcome"], callback["statuses"]) == ("lost", [None, None, None])


class TestInAClass:
    @pytest.fixture
    def zego_callback(self) -> str:
        return "a fixture of the user's own"

    def test_fixtures(self, moderation_emulator: ModerationEmulator, zego_callback: str) -> None:
        assert moderation_emulator.join("zego", "room", "user")
        assert zego_callback == "a fixture of the user's own"


class TestOfUnittest(unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _use(self, moderation_emulator: ModerationEmulator) -> None:
        self.emulator = moderation_emulator

    def test_fixtures(self) -> None:
        assert self.emulator.join("zego", "room", "user")


def test_a_callback_of_volcengine(volcengine_callback: Make) -> None:
    body = volcengine_callback(RoomId="r", Suggest="REVIEW", envelope={"AppId": "mine"})
    now = datetime.now(UTC).timestamp()
    volcengine_callbacks.verify(body, CALLBACK_SECRET, now=now, within=10)
    event: Any = volcengine_callbacks.parse(body)
    assert event.reasons == ("gun",)
    assert (event.app_id, event.room_id, event.user_id, event.verdict) == ("mine", "r", "user", Verdict.REVIEW)
    assert event.dedupe_key != volcengine_callbacks.parse(volcengine_callback()).dedupe_key
    volcengine_callbacks.verify(volcengine_callback(secret="other"), "other")


@pytest.mark.parametrize("event", [*zego_callbacks.RESULTS, *zego_callbacks.STATUSES])
def test_a_callback_of_zego(zego_callback: Make, event: str) -> None:
    body = zego_callback(event, TaskId="t-1")
    zego_callbacks.verify(body, CALLBACK_SECRET, now=datetime.now(UTC).timestamp(), within=10)
    parsed: Any = zego_callbacks.parse(body)
    assert (parsed.name, parsed.task_id, parsed.room_id) == (event, "t-1", "room")
    assert parsed.media == (Media.VIDEO if "_img_" in event else Media.AUDIO)
    if event in zego_callbacks.RESULTS:
        assert parsed.verdict == Verdict.REJECT
        ids = ("user", None) if event == "censor_audio_v2_result" else (None, "stream")
        assert (parsed.user_id, parsed.stream_id) == ids
        file = "frame.jpg" if "_img_" in event else "a.mp3"
        assert parsed.evidence.urls == (f"https://example.com/{file}",)
        assert parsed.evidence.texts == (() if "_img_" in event else ("add me",))
        assert parsed.dedupe_key != zego_callbacks.parse(zego_callback(event, TaskId="t-1")).dedupe_key
        field = {"censor_audio_v2_result": "AudioText", "censor_video_v2_audio_result": "Content"}.get(event)
        assert parsed.data["Detail"].keys() & {"AudioText", "Content"} == ({field} if field else set())
    else:
        assert (parsed.data["Status"], parsed.aux_info.censor_stream_time) == (0, 130)
    assert (parsed.data["AppId"], parsed.data["Code"], parsed.data["Message"]) == (1234567890, 0, "success")


def test_the_emulator_signs_with_the_same_secret_by_default() -> None:
    assert Settings().callback_secret == CALLBACK_SECRET
