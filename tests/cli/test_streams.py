"""Standard streams that are closed, full or gone, and files that stand for two things: no call is lost by that."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.commands import MAIN, STOP, Command, received, rooms
from volc_moderation import SourceError
from volc_moderation.cli.output import Output, check_apart
from volc_moderation.emulator import Fault
from volc_moderation.jobs.journal import Journal
from volc_moderation.testing import ModerationEmulator

MAKE = (sys.executable, *MAIN)


def shell(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line of a shell, in which "$@" is a command of ours."""
    words = ["bash", "-c", command, "bash", *MAKE, *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def hangups() -> Iterator[None]:
    """Whoever runs the tests may have been told to ignore hangups, as by nohup, and programs inherit that."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("hangups")
def test_a_log_that_is_gone_does_not_end_the_calls(
    folder: Path, vendor: ModerationEmulator, number: signal.Signals
) -> None:
    """Ctrl-C at ``bulk … 2>&1 | tee log`` ends tee as well; a terminal that is closed is no terminal any more."""
    name = rooms(folder, 600)
    with subprocess.Popen([*MAKE, "bulk", name, *STOP], stdout=-1, stderr=subprocess.STDOUT) as process:  # noqa: S603 - ours
        try:
            wait_for(lambda: received(vendor) > 20)
            assert process.stdout is not None
            process.stdout.close()
            process.send_signal(number)
            assert process.wait(10) == 130
        finally:
            process.kill()
    journal = Journal(folder / "stops.csv.jobs", read_only=True)
    summary = journal.summary()
    assert journal.query("SELECT count(*) FROM job WHERE state = 'sent'") == [(0,)]
    journal.close()
    assert 0 < summary.done < 600
    assert summary.done + summary.left == 600


def test_a_hangup_that_is_to_be_ignored_is(folder: Path, vendor: ModerationEmulator) -> None:
    name = rooms(folder, 250)
    words = ["nohup", *MAKE, "bulk", name, *STOP]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            wait_for(lambda: received(vendor) > 5)
            process.send_signal(signal.SIGHUP)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert received(vendor) == 250


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_change_no_outcome(folder: Path, vendor: ModerationEmulator, closed: str) -> None:
    made = shell(f'"$@" {closed}', "bulk", rooms(folder, 3), *STOP)
    assert (made.returncode, made.stdout, "Traceback" in made.stderr) == (0, "", False)
    assert received(vendor) == 3
    assert Path("stops.csv.jobs").read_bytes().startswith(b"SQLite format 3")


def test_full_streams(folder: Path, vendor: ModerationEmulator) -> None:
    """What became of a call is not told, and not that it was refused; what became of a run does not depend on it."""
    call = ("call", "StartDetection", "--app-id", "app", "--room-id", "room")
    for command in (call, ("jobs", "stops.csv.jobs"), ("jobs", "stops.csv.jobs", "--export")):
        if command is not call and not Path("stops.csv.jobs").exists():
            assert shell('"$@" 2>/dev/full >/dev/full', "bulk", rooms(folder, 3), *STOP).returncode == 0
        made = shell('"$@" >/dev/full', *command)
        assert (made.returncode, made.stderr) == (74, "standard output cannot be written: No space left on device\n")
    assert received(vendor, "StartDetection") == 1


def test_a_table_that_nobody_reads(folder: Path, vendor: ModerationEmulator) -> None:
    assert shell('"$@"', "bulk", rooms(folder, 3), *STOP).returncode == 0
    made = shell('set -o pipefail; "$@" | true', "jobs", "stops.csv.jobs")
    assert (made.returncode, made.stderr) == (74, "")


def test_another_fault_is_not_taken_for_one_of_the_output(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "something else", "a file")

    monkeypatch.setattr("volc_moderation.cli.app.app", fail)
    with pytest.raises(OSError, match="something else"):
        command("jobs", "stops.csv.jobs")


def test_standard_input_that_is_closed_or_asked_for_twice(folder: Path) -> None:
    made = shell('"$@" <&-', "bulk", "-", *STOP, "--dry-run")
    assert (made.returncode, made.stderr) == (2, "standard input is closed\n")
    made = shell('"$@" </dev/null', "bulk", "-", "-", *STOP, "--dry-run")
    assert (made.returncode, made.stderr) == (2, "standard input can be read once: give - once\n")


# Files


async def test_a_pipe_is_written_if_somebody_reads_it(folder: Path, vendor: ModerationEmulator) -> None:
    os.mkfifo("pipe")
    words = (*MAKE, "bulk", rooms(folder, 3), *STOP, "--output", "pipe")
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, b"pipe cannot be written" in errors) == (2, True)
    assert received(vendor) == 0
    reader = await asyncio.create_subprocess_exec("cat", "pipe", stdout=asyncio.subprocess.PIPE)
    await asyncio.sleep(0.2)
    process = await asyncio.create_subprocess_exec(
        *MAKE, "bulk", "--resume", "--journal", "stops.csv.jobs", "--output", "pipe"
    )
    output, _ = await asyncio.wait_for(reader.communicate(), 10)
    assert await process.wait() == 0
    assert [json.loads(line)["state"] for line in output.splitlines()] == 3 * ["done"]


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        ("--report", "stops.csv"),
        ("--output", "stops.csv"),
        ("--output", "./stops.csv"),
        ("--output", "link"),
        ("--output", "stops.csv.jobs"),
        ("--output", "stops.csv.jobs-lock"),
        ("--report", "stops.csv.jobs-wal"),
        ("--output", "both", "--report", "both"),
    ],
)
def test_nothing_is_written_over_what_is_needed(
    command: Command, folder: Path, vendor: ModerationEmulator, arguments: tuple[str, ...], is_there: bool
) -> None:
    name = rooms(folder, 3)
    (folder / "link").symlink_to(name)
    if is_there:
        assert command("bulk", name, *STOP)[0] == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, _, errors = command("bulk", name, *STOP, *arguments)
    assert code == 2
    assert "would destroy something: " in errors
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_other_commands_write_over_nothing(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    assert command("bulk", rooms(folder, 3), *STOP)[0] == 0
    before = (folder / "stops.csv.jobs").read_bytes()
    assert command("jobs", "stops.csv.jobs", "--report", "stops.csv.jobs")[0] == 2
    assert (folder / "stops.csv.jobs").read_bytes() == before
    assert command("sweep", "stops.csv", "--set", "app_id=app", "--output", "stops.csv")[0] == 2
    assert (folder / "stops.csv").read_text().startswith("room_id\n")


def test_devices_are_not_files(folder: Path) -> None:
    check_apart({"--output": Path(os.devnull), "--report": Path(os.devnull)}, journal=folder / "j")
    with pytest.raises(SourceError, match="cannot be written: Is a directory"):
        Output(folder)


def test_a_report_that_cannot_be_written_does_not_hide_what_became_of_the_calls(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SourceError("r.html cannot be written: No space left on device")

    monkeypatch.setattr("volc_moderation.cli.run.write_report", fail)
    report = ("--report", "r.html")
    code, _, errors = command("bulk", rooms(folder, 3), *STOP, *report)
    assert (code, errors.endswith("r.html cannot be written: No space left on device\n")) == (1, True)
    vendor.play(Fault(kind="code", action="StopWebcast", code="AccessDenied"))
    assert command("bulk", rooms(folder, 3), *STOP, *report)[0] == 10


@pytest.mark.parametrize("name", ["sweep", "demo"])
def test_no_directory_for_what_is_left_to_do(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryDirectory", fail)
    monkeypatch.setattr("tempfile.mkdtemp", fail)
    arguments = (rooms(folder, 1), "--set", "app_id=app") if name == "sweep" else ()
    code, _, errors = command(name, *arguments)
    assert (code, "set TMPDIR to one" in errors) == (2, True)


def test_other_paths_and_names_that_are_none(command: Command, folder: Path) -> None:
    code, _, errors = command("demo", "--svg", str(folder))
    assert (code, f"cannot use {folder}" in errors) == (2, True)
    code, _, errors = command("emulator", "--host", "a" * 70)
    assert (code, "cannot listen on aaa" in errors) == (2, True)
