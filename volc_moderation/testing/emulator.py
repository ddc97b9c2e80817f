"""The emulator for tests: a process, and methods that block."""

import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

if TYPE_CHECKING:
    from volc_moderation.emulator import Fault, Settings
    from volc_moderation.emulator.control import AdminRequest

T = TypeVar("T")

#: Seconds between two checks whether all callbacks are delivered.
_POLL_INTERVAL = 0.01


class ModerationEmulator:
    """Both vendors in a process of their own. All methods block briefly, so they suit tests of any kind.

    ``base_url`` is the address of both vendors; ``environment`` contains the variables that ``from_env()`` reads.

    Raises ``RuntimeError`` if the process does not start, and ``ModuleNotFoundError`` without the extra ``emulator``.
    """

    def __init__(self, settings: "Settings | None" = None) -> None:
        # Without the extra, test modules that import this class can be collected; then only the fixture fails.
        from volc_moderation.emulator import Settings  # noqa: PLC0415
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
