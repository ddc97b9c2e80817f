"""Controls an emulator in a process of its own: starting and stopping the process, and its admin API.

``EmulatorProcess`` (asyncio) and ``ModerationEmulator`` (blocking) are two faces of this module. The process is started
and stopped by blocking calls; the requests of the admin API are values, so that either face sends them with its own
HTTP client.
"""

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, TypeVar

import attrs
import httpx

from volc_moderation.emulator.app import Settings
from volc_moderation.emulator.faults import Fault

#: Seconds until the process must be ready.
START_TIMEOUT = 30.0
#: Seconds until the process must have ended; then it is killed.
STOP_TIMEOUT = 10.0

T = TypeVar("T")


class EmulatorSubprocess(subprocess.Popen[bytes]):
    """The process: ``python -m volc_moderation.emulator``. It ends when its standard input closes."""

    def __init__(self, settings: Settings, *, port: int = 0) -> None:
        self._settings = settings
        super().__init__(
            [sys.executable, "-m", "volc_moderation.emulator", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # an interrupt at the terminal is for the parent, which then stops this process
        )

    def wait_until_ready(self) -> str:
        """Send the settings and return the base URL.

        Raises ``RuntimeError`` if the process ends, or is not ready after ``START_TIMEOUT``.
        """
        try:
            with self._killed_after(START_TIMEOUT):
                ready_line = self._send_settings()
            if not ready_line:
                raise RuntimeError("the emulator did not start")
            return str(json.loads(ready_line)["base_url"])
        except BaseException:
            self.kill()
            self.close()
            raise

    def _send_settings(self) -> bytes:
        assert self.stdin is not None  # noqa: S101 - it is a pipe
        assert self.stdout is not None  # noqa: S101 - it is a pipe
        with contextlib.suppress(BrokenPipeError):  # the process ended before it read them: there is no ready line
            # The settings contain keys. They are not arguments, because every user of the machine can read those.
            self.stdin.write(json.dumps(attrs.asdict(self._settings)).encode() + b"\n")
            self.stdin.flush()
        return self.stdout.readline()

    def close(self) -> None:
        """Stop the process. If it has not ended after ``STOP_TIMEOUT``, kill it."""
        assert self.stdin is not None  # noqa: S101 - it is a pipe
        assert self.stdout is not None  # noqa: S101 - it is a pipe
        with self._killed_after(STOP_TIMEOUT):
            with contextlib.suppress(BrokenPipeError):
                self.stdin.close()
            self.wait()
        self.stdout.close()

    @contextlib.contextmanager
    def _killed_after(self, seconds: float) -> Iterator[None]:
        """Kill the process if the block takes longer."""
        timer = threading.Timer(seconds, self.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


@attrs.frozen
class AdminRequest(Generic[T]):
    """A request to the admin API.

    :param content: sent as JSON, if not None.
    :param parse: returns the result that a successful response contains.
    """

    method: str
    path: str
    content: Mapping[str, Any] | None
    parse: Callable[[httpx.Response], T]

    def result(self, response: httpx.Response) -> T:
        """Return the result. Raises ``ValueError`` if the emulator refuses the arguments; it says which is wrong."""
        if response.status_code == httpx.codes.BAD_REQUEST:
            raise ValueError(response.json()["error"])
        return self.parse(response)


class AdminRequests:
    """The requests of the admin API. The methods of ``Emulator`` with the same names describe them."""

    def play(self, fault: Fault) -> AdminRequest[None]:
        """Play a fault for the next calls that it matches."""
        return AdminRequest("POST", "/_emulator/faults", fault.asdict(), _nothing)

    def join(self, vendor: str, room_id: str, user_id: str, options: Mapping[str, str | None]) -> AdminRequest[bool]:
        """Let a user join a room; False if a ban or a rule keeps the user out."""
        return AdminRequest("POST", "/_emulator/join", _user(vendor, room_id, user_id, options), _is_admitted)

    def leave(self, vendor: str, room_id: str, user_id: str, options: Mapping[str, str | None]) -> AdminRequest[None]:
        """Let a user leave a room."""
        return AdminRequest("POST", "/_emulator/leave", _user(vendor, room_id, user_id, options), _nothing)

    def report(self, vendor: str, room_id: str, user_id: str, options: Mapping[str, str | None]) -> AdminRequest[int]:
        """Let every moderation that covers a user send a callback; the result is how many are sent."""
        return AdminRequest("POST", "/_emulator/report", _user(vendor, room_id, user_id, options), _callback_count)

    def callbacks(self) -> AdminRequest[list[dict[str, Any]]]:
        """Get all callbacks."""
        return AdminRequest("GET", "/_emulator/callbacks", None, _json)

    def counts(self) -> AdminRequest[dict[str, dict[str, Any]]]:
        """Get the counts of all actions."""
        return AdminRequest("GET", "/_emulator/counts", None, _json)

    def reset(self) -> AdminRequest[None]:
        """Forget everything."""
        return AdminRequest("POST", "/_emulator/reset", None, _nothing)


def _user(vendor: str, room_id: str, user_id: str, options: Mapping[str, str | None]) -> Mapping[str, str | None]:
    return {"vendor": vendor, "room_id": room_id, "user_id": user_id, **options}


def _nothing(response: httpx.Response) -> None:
    response.raise_for_status()


def _json(response: httpx.Response) -> Any:
    return response.raise_for_status().json()


def _is_admitted(response: httpx.Response) -> bool:
    return response.status_code != httpx.codes.FORBIDDEN and response.raise_for_status().is_success


def _callback_count(response: httpx.Response) -> int:
    return int(_json(response)["callbacks"])
