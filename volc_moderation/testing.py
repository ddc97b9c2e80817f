"""A pytest plugin for projects that use this package: the emulator, and callbacks with valid signatures.

Installed with the package, so the fixtures are there without an import. ``moderation_emulator`` needs the extra
``emulator``; the makers of callbacks need nothing.
"""

import contextlib
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import httpx
import pytest

from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.zego import callbacks as zego_callbacks

if TYPE_CHECKING:
    from volc_moderation.emulator import Fault, Settings

#: What the emulator and the makers of callbacks sign with.
CALLBACK_SECRET = "callback-secret"  # noqa: S105 - an example

#: Seconds for the emulator's process to end.
END = 10


class ModerationEmulator:
    """Both vendors in a process of their own. All methods block, for a moment: they suit tests of any kind.

    ``base_url`` is for both clients, ``environment`` holds what their ``from_env()`` reads.
    """

    def __init__(self, settings: "Settings | None" = None) -> None:
        from volc_moderation.emulator import Settings  # noqa: PLC0415 - an extra
        from volc_moderation.emulator.server import settings_line  # noqa: PLC0415

        self.settings = Settings() if settings is None else settings
        self._process = subprocess.Popen(
            [sys.executable, "-m", "volc_moderation.emulator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # it ended before it read, as the next line tells
            self._process.stdin.write(settings_line(self.settings))
            self._process.stdin.flush()
        ready = self._process.stdout.readline()
        if not ready:
            self.close()
            raise RuntimeError("the emulator did not start")
        self.base_url: str = json.loads(ready)["base_url"]
        self._http = httpx.Client(base_url=f"{self.base_url}/_emulator/", trust_env=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables that ``from_env()`` reads: ``monkeypatch.setenv(*item)`` for each item."""
        return {
            "VOLCENGINE_RTC_BASE_URL": self.base_url,
            "VOLCENGINE_ACCESS_KEY": self.settings.access_key,
            "VOLCENGINE_SECRET_KEY": self.settings.secret_key,
            "ZEGO_BASE_URL": self.base_url,
            "ZEGO_APP_ID": str(self.settings.app_id),
            "ZEGO_SERVER_SECRET": self.settings.server_secret,
        }

    def play(self, fault: "Fault") -> None:
        """Play a fault for the next calls that it matches."""
        self._post("faults", fault.asdict())

    def join(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> bool:
        """Let a user join a room and publish; False if a ban or a rule keeps the user out.

        ``options``: ``app_id`` (Volcengine), ``stream_id``, ``ip``, and ``verdict``, what a moderation will find.
        """
        who = {"vendor": vendor, "room_id": room_id, "user_id": user_id, **options}
        return self._post("join", who).status_code != httpx.codes.FORBIDDEN

    def leave(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> None:
        """Let a user leave a room."""
        self._post("leave", {"vendor": vendor, "room_id": room_id, "user_id": user_id, **options})

    def report(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> int:
        """Let every moderation that covers a user report, and return how many callbacks are on their way.

        ``options``: ``app_id`` (Volcengine), ``verdict`` (``REJECT``), ``media`` (``audio``, ``video``, or both).
        """
        report = {"vendor": vendor, "room_id": room_id, "user_id": user_id, **options}
        return int(self._post("report", report).json()["callbacks"])

    def callbacks(self, *, settled: bool = True, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Return the callbacks; ``settled`` waits until each is delivered or lost, at most ``timeout`` seconds."""
        until = time.monotonic() + timeout
        while True:
            found: list[dict[str, Any]] = self._http.get("callbacks").raise_for_status().json()
            if not settled or time.monotonic() > until or all(one["outcome"] != "pending" for one in found):
                return found
            time.sleep(0.01)

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return what was seen of each action."""
        counts: dict[str, dict[str, Any]] = self._http.get("counts").raise_for_status().json()
        return counts

    def reset(self) -> None:
        """Forget everything."""
        self._post("reset", {})

    def close(self) -> None:
        """End the process."""
        if hasattr(self, "_http"):
            self._http.close()
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _post(self, route: str, content: Mapping[str, Any]) -> httpx.Response:
        response = self._http.post(route, json=content)
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise ValueError(response.json()["error"])
        return response


@pytest.fixture(scope="session")
def _moderation_emulator() -> Iterator[ModerationEmulator]:
    with ModerationEmulator() as emulator:
        yield emulator


@pytest.fixture
def moderation_emulator(_moderation_emulator: ModerationEmulator) -> ModerationEmulator:
    """Both vendors in a process of their own, which remembers nothing of the test before."""
    _moderation_emulator.reset()
    return _moderation_emulator


@pytest.fixture
def volcengine_callback() -> Callable[..., bytes]:
    """Make the body of a MachineReviewResult. See ``make_volcengine_callback``."""
    return make_volcengine_callback


@pytest.fixture
def zego_callback() -> Callable[..., bytes]:
    """Make the body of one of ZEGO's callbacks. See ``make_zego_callback``."""
    return make_zego_callback


def make_volcengine_callback(
    *, secret: str = CALLBACK_SECRET, envelope: Mapping[str, str] | None = None, **event_data: object
) -> bytes:
    """Return the body of a signed MachineReviewResult: a picture of ``user`` in ``room`` that is rejected.

    ``event_data`` replaces or adds what the vendor calls so (``RoomId``, ``UserId``, ``Suggest``, …), ``envelope`` the
    fields around it (``EventTime``, ``EventId``, ``AppId``, …). Each call has a new EventId unless it is given.
    """
    content = {
        "RoomId": "room",
        "UserId": "user",
        "MediaType": 1,
        "Images": ["https://example.com/snapshot.jpg"],
        "HitReasons": ["gun"],
        "RiskHit": [{"Name": "gun_image", "Score": 0.91}],
        "Suggest": "REJECT",
        **event_data,
    }
    fields = {
        "EventType": "MachineReviewResult",
        "EventData": json.dumps(content, ensure_ascii=False),
        "EventTime": datetime.now(UTC).isoformat(timespec="seconds"),
        "EventId": f"{uuid.uuid4()}_img_doc",
        "Version": "2020-12-01",
        "AppId": "app",
        "Nonce": "4821",
        **(envelope or {}),
    }
    return volcengine_callbacks.sign(fields, secret)


def make_zego_callback(
    event: str = "censor_audio_v2_result", *, secret: str = CALLBACK_SECRET, **fields: object
) -> bytes:
    """Return the body of one of ZEGO's signed callbacks: by default, ten seconds of ``user`` in ``room`` are rejected.

    ``fields`` replaces or adds what ZEGO calls so (``TaskId``, ``Detail``, ``AuxInfo``, …). Each call has a new
    ResultTaskId and Nonce unless they are given.
    """
    task_id = str(fields.get("TaskId", "00112233445566778899aabbccddeeff"))
    content: dict[str, Any] = {
        "Event": event,
        "AppId": 1234567890,
        "Timestamp": int(time.time()),
        "Nonce": str(uuid.uuid4().int),
        "Code": 0,
        "Message": "success",
        "TaskId": task_id,
    }
    aux: dict[str, Any] = {"RoomId": "room"}
    if event.endswith("_status"):
        content |= {"Status": 0, "AuxInfo": {**aux, "CensorStreamTime": 130}}
    elif event.endswith("_result"):
        is_audio_task = event == "censor_audio_v2_result"
        aux |= {"UserId": "user"} if is_audio_task else {"StreamId": "stream"}
        detail: dict[str, Any] = {"RiskLevel": "REJECT", "RiskDescription": "Ads:Contact:Contact", "RiskLabel1": "ad"}
        if event == "censor_video_v2_img_result":
            detail["ImgUrl"] = "https://example.com/frame.jpg"
        else:
            detail |= {"AudioText" if is_audio_task else "Content": "add me", "AudioUrl": "https://example.com/a.mp3"}
        content |= {"ResultTaskId": f"{task_id}_{uuid.uuid4().int % 10**9}", "Detail": detail, "AuxInfo": aux}
    return zego_callbacks.sign({**content, **fields}, secret)
