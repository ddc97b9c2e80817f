"""Fixtures of the tests of the commands."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import NOWHERE, Command
from tests.doubles import environment
from volc_moderation import AuthenticationError
from volc_moderation.cli.app import run
from volc_moderation.testing import ModerationEmulator
from volc_moderation.transport import Transport
from volc_moderation.wire import Request


@pytest.fixture(autouse=True)
def _switch_interval() -> Iterator[None]:
    """Restore the switch interval, which ``bulk`` sets for the whole process."""
    interval = sys.getswitchinterval()
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def vendor(moderation_emulator: ModerationEmulator) -> ModerationEmulator:
    """Return the emulator, whose addresses and credentials are in the environment."""
    return moderation_emulator


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs a command in this process, and returns its exit code, output and errors."""
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([*arguments])
        return code, *capsys.readouterr()

    return command


@pytest.fixture(autouse=True)
def _invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands that are printed begin with the name of the script, as if it had been found on the path."""
    monkeypatch.setattr("volc_moderation.cli.invocation.program", lambda: ["volc-moderation"])


@pytest.fixture(autouse=True)
def _no_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print no estimates while files are read, however slow the machine is."""
    monkeypatch.setattr("volc_moderation.cli.load_files.ESTIMATE_AFTER", 60)
    monkeypatch.setattr("volc_moderation.cli.bulk.ESTIMATE_AFTER", 60)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Record what is sent, and let the first call end the run."""
    sent: list[object] = []

    async def send(self: Transport, request: Request, *, timeout: float) -> Any:
        sent.append(request)
        raise AuthenticationError("sent", code="Sent")

    monkeypatch.setattr(Transport, "send", send)
    return sent


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of clients that cannot reach a vendor."""
    for name, value in environment(NOWHERE).items():
        monkeypatch.setenv(name, value)
