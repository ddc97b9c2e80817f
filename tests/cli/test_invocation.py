"""Printed commands run when they are pasted, however the program was invoked."""

import asyncio
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import STOP, Command, refuse, rooms
from volc_moderation.cli import invocation
from volc_moderation.testing import ModerationEmulator

SCRIPT = Path(sys.prefix) / "bin" / "volc-moderation"
#: Before the fixture of all tests of commands replaces it.
PROGRAM = invocation.program


@pytest.fixture
def invoked(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Return a function that returns the words for a program which was invoked by a name."""

    def words(name: str) -> list[str]:
        monkeypatch.setattr(sys, "argv", [name])
        return PROGRAM()

    return words


def script_in(folder: Path) -> Path:
    """Create a script, in a folder with a blank in its name."""
    script = folder / "my tools" / "volc-moderation"
    script.parent.mkdir()
    script.symlink_to(SCRIPT)
    return script


def test_a_script_on_the_path(invoked: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell passes on its full path."""
    monkeypatch.setenv("PATH", str(SCRIPT.parent))
    assert invoked(str(SCRIPT)) == ["volc-moderation"]


def test_a_script_that_is_not_on_the_path(
    invoked: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It stays as it was typed, absolute or relative."""
    monkeypatch.setenv("PATH", "/nowhere")
    script = script_in(tmp_path)
    assert invoked(str(script)) == [str(script)]
    monkeypatch.chdir(tmp_path)
    assert invoked("my tools/volc-moderation") == ["my tools/volc-moderation"]
    assert invocation.command_line("jobs", "a b.jobs").endswith(" jobs 'a b.jobs'")
    monkeypatch.chdir(script.parent)
    assert invoked("volc-moderation") == ["./volc-moderation"]


def test_a_file_is_not_taken_for_an_option(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Even if its name begins with a hyphen."""
    refuse(vendor, "room-1", "AccessDenied", first=1)
    rooms(folder, 3, "-stops.csv")
    output = folder / "-out.jsonl"
    errors = command("bulk", "./-stops.csv", *STOP, "--output", str(output))[2]
    (retry,) = re.findall(r"^Retry the failed calls with: volc-moderation (.+)$", errors, re.MULTILINE)
    assert command(*shlex.split(retry))[0] == 0
    assert len(output.read_text().splitlines()) == 4
    assert invocation.command_line("bulk", "--output", Path("-")).endswith(" --output -")  # a standard stream


def test_another_script_on_the_path(
    invoked: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "volc-moderation"
    other.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert invoked(str(SCRIPT)) == [str(SCRIPT)]


def test_python_with_the_package(invoked: Callable[[str], list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter is its name only if the shell finds this very one by it."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert invoked("/site-packages/volc_moderation/__main__.py") == [sys.executable, "-m", "volc_moderation"]
    assert invoked("-c") == [sys.executable, "-m", "volc_moderation"]
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    (name, *_) = invoked("-c")
    assert name in {"python", "python3", sys.executable}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["a path with a blank", "a name on the path", "python -m"])
async def test_the_printed_commands_run_when_pasted(folder: Path, vendor: ModerationEmulator, way: str) -> None:
    """A run in which a call fails, and the command that it prints, in the same shell."""
    directory = folder / "it's here"
    directory.mkdir()
    environment = dict(os.environ)
    program = f"{shlex.quote(sys.executable)} -m volc_moderation"
    if way == "a path with a blank":
        program = shlex.quote(str(script_in(folder)))
    elif way == "a name on the path":
        program, environment["PATH"] = "volc-moderation", f"{SCRIPT.parent}:{environment['PATH']}"
    rooms(directory, 3)
    refuse(vendor, "room-1", "AccessDenied")

    async def bash(command: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command), env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return output.decode()

    file = shlex.quote(f"{directory}/stops.csv")
    text = await bash(f"{program} bulk {file} {shlex.join(STOP)}")
    (retry,) = re.findall(r"^Retry the failed calls with: (.+)$", text, re.MULTILINE)
    assert retry.startswith(f"{program} bulk --resume ")
    assert "3 done (3 already gone)." in await bash(retry)
