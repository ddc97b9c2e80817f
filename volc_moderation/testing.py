"""A pytest plugin for projects that use this package: the emulator, and callbacks with valid signatures.

pytest loads it automatically, so the fixtures need no import. ``moderation_emulator`` needs the extra ``emulator``; the
callbacks need no extra.

pytest also loads the plugin for tests that do not use it. So this module imports nothing that pytest does not import;
the fixtures import the rest when they are used.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pytest

import volc_moderation

if TYPE_CHECKING:
    from volc_moderation.emulator import Fault, Settings
    from volc_moderation.emulator.control import AdminRequest

__all__ = [
    "CALLBACK_SECRET",
    "ModerationEmulator",
    "make_volcengine_callback",
    "make_zego_callback",
    "moderation_emulator",
    "volcengine_callback",
    "zego_callback",
]

T = TypeVar("T")

#: Signs the callbacks of the emulator and of this module.
CALLBACK_SECRET = "callback-secret"  # noqa: S105 - an example

#: Seconds between two checks whether all callbacks are delivered.
_POLL_INTERVAL = 0.01


class ModerationEmulator:
    """Both vendors in a process of their own. All methods block briefly, so they suit tests of any kind.

    ``base_url`` is the address of both vendors; ``environment`` contains the variables that ``from_env()`` reads.

    Raises ``RuntimeError`` if the process does not start, and ``ModuleNotFoundError`` without the extra ``emulator``.
    """

    def __init__(self, settings: "Settings | None" = None) -> None:
        import httpx  # noqa: PLC0415 - only this fixture needs it

        from volc_moderation.emulator import Settings  # noqa: PLC0415 - an extra
        from volc_moderation.emulator.control import AdminRequests, EmulatorSubprocess  # noqa: PLC0415

        self.settings = Settings() if settings is None else settings
        self._process = EmulatorSubprocess(self.settings)
        self.base_url: str = self._process.wait_until_ready()
        self._http = httpx.Client(base_url=self.base_url, trust_env=False)
        self._admin = AdminRequests()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that ``from_env()`` reads. The fixture ``moderation_emulator`` sets them."""
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
        self._send(self._admin.play(fault))

    def join(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> bool:
        """Let a user join a room and publish a stream; False if a ban or a rule keeps the user out.

        ``options``: ``app_id`` (Volcengine), ``stream_id``, ``ip``, and ``verdict``, the result of moderations of the
        user. Raises ``ValueError`` for a wrong argument.
        """
        return self._send(self._admin.join(vendor, room_id, user_id, options))

    def leave(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> None:
        """Let a user leave a room."""
        self._send(self._admin.leave(vendor, room_id, user_id, options))

    def report(self, vendor: str, room_id: str, user_id: str, **options: str | None) -> int:
        """Let every moderation that covers a user send a callback. Return how many are sent.

        ``options``: ``app_id`` (Volcengine), ``verdict`` (default ``REJECT``), ``media`` (``audio`` or ``video``;
        default both). Raises ``ValueError`` for a wrong argument, or if the user is not in the room.
        """
        return self._send(self._admin.report(vendor, room_id, user_id, options))

    def callbacks(self, *, settled: bool = True, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Return all callbacks and their outcomes.

        :param settled: wait until each is delivered or lost.
        :param timeout: the longest wait, in seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            callbacks = self._send(self._admin.callbacks())
            is_settled = all(callback["outcome"] != "pending" for callback in callbacks)
            if not settled or is_settled or time.monotonic() > deadline:
                return callbacks
            time.sleep(_POLL_INTERVAL)

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return the counts of each action, by its name."""
        return self._send(self._admin.counts())

    def reset(self) -> None:
        """Forget everything."""
        self._send(self._admin.reset())

    def close(self) -> None:
        """Stop the process."""
        self._http.close()
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, request: "AdminRequest[T]") -> T:
        return request.result(self._http.request(request.method, request.path, json=request.content))


@pytest.fixture(scope="session")
def _moderation_emulator() -> Iterator[ModerationEmulator]:
    from volc_moderation.extras import require_extra  # noqa: PLC0415 - not before a fixture is used

    try:
        require_extra("emulator", used_by="moderation_emulator")
    except ModuleNotFoundError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    with ModerationEmulator() as emulator:
        yield emulator


@pytest.fixture
def moderation_emulator(
    _moderation_emulator: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> ModerationEmulator:
    """Both vendors in a process of their own, reset for each test. Clients that ``from_env()`` creates reach them."""
    _moderation_emulator.reset()
    for name, value in _moderation_emulator.environment.items():
        monkeypatch.setenv(name, value)
    return _moderation_emulator


@pytest.fixture
def volcengine_callback() -> Callable[..., bytes]:
    """Make the body of a MachineReviewResult. See ``make_volcengine_callback``."""
    return make_volcengine_callback


@pytest.fixture
def zego_callback() -> Callable[..., bytes]:
    """Make the body of a callback of ZEGO. See ``make_zego_callback``."""
    return make_zego_callback


def make_volcengine_callback(
    *, secret: str = CALLBACK_SECRET, envelope: Mapping[str, str] | None = None, **event_data: object
) -> bytes:
    """Return the body of a signed MachineReviewResult: by default, a picture of ``user`` in ``room`` is rejected.

    :param envelope: fields that replace or extend those of the callback: ``EventTime``, ``EventId``, ``AppId``, ….
    :param event_data: fields that replace or extend those of EventData: ``RoomId``, ``UserId``, ``Suggest``, ….

    Each callback has a new EventId, unless ``envelope`` sets one.
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
    return volc_moderation.volcengine.callbacks.sign(fields, secret)


def make_zego_callback(
    event: str = "censor_audio_v2_result", *, secret: str = CALLBACK_SECRET, **fields: object
) -> bytes:
    """Return the body of a signed callback of ZEGO: by default, ten seconds of ``user`` in ``room`` are rejected.

    :param event: the name of the event, such as ``censor_video_v2_img_result``.
    :param fields: fields that replace or extend those of the callback: ``TaskId``, ``Detail``, ``AuxInfo``, ….

    Each callback has a new ResultTaskId and Nonce, unless ``fields`` sets them.
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
    return volc_moderation.zego.callbacks.sign({**content, **fields}, secret)
