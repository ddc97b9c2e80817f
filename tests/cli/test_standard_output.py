"""``bulk --output -``: the calls that have ended, on standard output."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.cli.commands import MAIN, STOP, Command, refuse, rooms
from volc_moderation.cli.app import run
from volc_moderation.testing import ModerationEmulator


def test_output_to_standard_output(folder: Path, vendor: ModerationEmulator, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output has the lines of the calls, and nothing else."""
    refuse(vendor, "room-1", "AccessDenied")
    assert run(["bulk", rooms(folder, 3), *STOP, "--output", "-"]) == 10
    output, errors = capfd.readouterr()
    lines = [json.loads(line) for line in output.splitlines()]
    assert sorted((line["line"], line["state"]) for line in lines) == [(2, "done"), (3, "failed"), (4, "done")]
    assert "2 done (2 already gone), 1 failed." in errors
    assert "bulk --resume --journal stops.csv.jobs --output - --retry-failed\n" in errors
    assert not (folder / "-").exists()


@pytest.mark.parametrize("name", ["bulk", "sweep"])
def test_the_table_of_a_dry_run_is_not_mixed_with_the_output(
    folder: Path, vendor: ModerationEmulator, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (folder / "rooms.csv").write_text("room_id\nroom\n")
    assert run(["call", "StartDetection", "--app-id", "app", "--room-id", "room"]) == 0
    capfd.readouterr()
    action = ("--action", "StopDetection") if name == "bulk" else ()
    assert run([name, "rooms.csv", "--set", "app_id=app", *action, "--dry-run", "--output", "-"]) == 0
    output, errors = capfd.readouterr()
    assert [json.loads(line)["action"] for line in output.splitlines()] == (["ListDetectionTask"] * (name == "sweep"))
    assert "───" in errors


def test_the_output_of_a_sweep(folder: Path, vendor: ModerationEmulator, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "rooms.csv").write_text("room_id,notes\nroom,x\n")
    assert run(["call", "StartDetection", "--app-id", "app", "--room-id", "room"]) == 0
    capfd.readouterr()
    options = ("--set", "app_id=app", "--ignore-columns", "notes", "--output", "-")
    assert run(["sweep", "rooms.csv", *options]) == 0
    output, errors = capfd.readouterr()
    calls = ["ListDetectionTask", "StopDetection", "ListDetectionTask"]
    assert [json.loads(line)["action"] for line in output.splitlines()] == calls
    assert "1 moderation found in 1 room: 1 stopped" in errors


def test_a_report_cannot_go_to_standard_output(command: Command, folder: Path) -> None:
    assert command("bulk", rooms(folder, 1), *STOP, "--report", "-")[0::2] == (
        2,
        "--report must be a file, not standard output\n",
    )


@pytest.mark.slow
async def test_a_reader_that_has_gone_ends_the_run(folder: Path, vendor: ModerationEmulator) -> None:
    """The calls in flight are finished, and the printed command continues the run."""
    reader, writer = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *MAIN, "bulk", rooms(folder, 150), *STOP, "--output", "-"),
        stdout=writer,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(writer)
    await asyncio.to_thread(os.read, reader, 10)
    os.close(reader)
    _, errors = await process.communicate()
    text = errors.decode()
    assert process.returncode == 74, text
    assert "standard output cannot be written: Broken pipe. The journal has all results: " in text
    assert "Traceback" not in text
    (resume,) = re.findall(r"^Resume with: (.+)$", text, re.MULTILINE)
    continued = await asyncio.create_subprocess_exec(
        *("bash", "-c", resume), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await continued.communicate()
    assert (continued.returncode, "150 done" in errors.decode()) == (0, True)
