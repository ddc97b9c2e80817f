"""What the tests of the commands share."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Command
from volc_moderation.cli.app import run
from volc_moderation.testing import ModerationEmulator


@pytest.fixture(autouse=True)
def _switch_interval() -> Iterator[None]:
    """Put back what ``bulk`` sets for the whole process."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def vendor(moderation_emulator: ModerationEmulator, monkeypatch: pytest.MonkeyPatch) -> ModerationEmulator:
    """Have the keys and addresses of the emulator in the environment."""
    for name, value in moderation_emulator.environment.items():
        monkeypatch.setenv(name, value)
    return moderation_emulator


@pytest.fixture
def command(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process; return its exit code, output and errors."""
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([*arguments])
        return code, *capsys.readouterr()

    return command
