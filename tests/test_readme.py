"""The README's programs run as they stand there, against the emulator; so do its commands, but for the long ones."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.doubles import environment
from volc_moderation.emulator import EmulatorProcess

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


PROGRAMS = [program for program in blocks("python") if "def test_" not in program]
TESTS = [program for program in blocks("python") if "def test_" in program]
COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


async def run(emulator: EmulatorProcess, *command: str, cwd: Path | None = None) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *command),
        cwd=cwd,
        env=os.environ | environment(emulator.base_url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.parametrize(
    ("program", "shown"),
    list(
        zip(
            PROGRAMS,
            [
                "emulated-publisher 1\n",
                "300 stopped, 0 failed\n",
                "",
                "done 1 True\n",
                "",
                "GetRoomOnlineUsers 40 40 0 0\n",
                "",
                "50009 300.0\n",
                "InvalidActionOrVersion\n",
            ],
            strict=True,
        )
    ),
)
async def test_programs(
    emulator: EmulatorProcess, program: str, shown: str, valkey: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REDIS_URL", valkey)
    assert await run(emulator, "-c", program, cwd=tmp_path) == (0, shown)


async def test_tests(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """A project of a user's own, which has the fixtures without importing them."""
    (program,) = TESTS
    (tmp_path / "test_ours.py").write_text(program)
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    code, output = await run(emulator, "-m", "pytest", "-q", str(tmp_path))
    assert code == 0, output
    assert "2 passed" in output


async def test_calls_from_the_shell(emulator: EmulatorProcess) -> None:
    calls = [line.split()[1:] for line in COMMANDS if "volc-moderation call" in line]
    assert len(calls) == 2
    for call in calls:
        code, output = await run(emulator, "-c", "from volc_moderation.cli import main; main()", *call)
        assert code == 0
        assert '"success"' in output


async def test_bulk_from_the_shell(emulator: EmulatorProcess, tmp_path: Path) -> None:
    """What is shown for one machine; that of many has a page of its own."""
    (tmp_path / "stops.csv").write_text("room_id,task_id\nroom,wall\n")
    commands = [line.split()[1:] for line in COMMANDS if "volc-moderation bulk" in line and "--redis" not in line]
    outputs = [
        await run(emulator, "-c", "from volc_moderation.cli import main; main()", *command, cwd=tmp_path)
        for command in commands
    ]
    assert [code for code, _ in outputs] == [0, 0]
    assert "1 calls, 0 bad rows. Nothing was sent." in outputs[0][1]
    assert "1 done (1 were gone already)." in outputs[1][1]
    assert (tmp_path / "report.html").is_file()


def test_the_two_commands_are_those_of_ci() -> None:
    """CI does what the README says; the first command's demo is tested, smaller, with the command line."""
    ci = (ROOT / ".ci" / "run").read_text()
    first, second = COMMANDS[:2]
    assert first.endswith("volc-moderation demo")
    parts = second.split(" && ")[1:]
    assert parts
    for part in parts:
        assert part in ci


def test_what_the_readme_names_is_there() -> None:
    paths = re.findall(r"\]\(((?:docs|examples|benchmarks)/[^)]+)\)", README)
    modules = re.findall(r"python -m (benchmarks\.\w+)", README)
    assert paths
    assert modules
    for path in paths:
        assert (ROOT / path).is_file()
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file()


DISTRIBUTED = (ROOT / "docs" / "distributed.md").read_text()


async def test_the_program_of_the_page_on_distributed_jobs(
    emulator: EmulatorProcess, valkey: str, redis: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VOLC_MODERATION_REDIS", valkey)
    (program,) = re.findall(r"^```python\n(.*?)^```$", DISTRIBUTED, re.MULTILINE | re.DOTALL)
    assert await run(emulator, "-c", program, cwd=tmp_path) == (0, "done 1\n")
