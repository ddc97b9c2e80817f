"""Standard streams that are closed, full or gone, and paths used for two purposes: no call is lost."""

import asyncio
import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.commands import MAIN, STOP, Command, received, rooms
from volc_moderation import SourceError
from volc_moderation.cli.output import Output, check_outputs
from volc_moderation.emulator import Fault
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.testing import ModerationEmulator

#: The command in a process of its own.
COMMAND = (sys.executable, *MAIN)


def shell(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a shell; "$@" in it is our command with its arguments."""
    words = ["bash", "-c", command, "bash", *COMMAND, *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - our own


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def hangups() -> Iterator[None]:
    """Restore the default for SIGHUP, which processes inherit. The tests may run with it ignored, as by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
@pytest.mark.usefixtures("hangups")
def test_a_closed_log_does_not_cut_off_calls(folder: Path, vendor: ModerationEmulator, number: signal.Signals) -> None:
    """Ctrl-C at ``bulk … 2>&1 | tee log`` ends tee as well; a closed terminal can no longer be written."""
    name = rooms(folder, 600)
    with subprocess.Popen([*COMMAND, "bulk", name, *STOP], stdout=-1, stderr=subprocess.STDOUT) as process:  # noqa: S603 - ours
        try:
            wait_for(lambda: received(vendor) > 20)
            assert process.stdout is not None
            process.stdout.close()
            process.send_signal(number)
            assert process.wait(10) == 130
        finally:
            process.kill()
    with contextlib.closing(Journal(folder / "stops.csv.jobs", access="read")) as journal:
        summary = journal.summary()
        assert journal.counts()[JobState.SENT] == 0
    assert 0 < summary.done < 600
    assert summary.done + summary.left == 600


def test_nohup_ignores_hangups(folder: Path, vendor: ModerationEmulator) -> None:
    name = rooms(folder, 250)
    words = ["nohup", *COMMAND, "bulk", name, *STOP]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603 - ours
        try:
            wait_for(lambda: received(vendor) > 5)
            process.send_signal(signal.SIGHUP)
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert received(vendor) == 250


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_change_the_outcome(folder: Path, vendor: ModerationEmulator, closed: str) -> None:
    ended = shell(f'"$@" {closed}', "bulk", rooms(folder, 3), *STOP)
    assert (ended.returncode, ended.stdout, "Traceback" in ended.stderr) == (0, "", False)
    assert received(vendor) == 3
    assert Path("stops.csv.jobs").read_bytes().startswith(b"SQLite format 3")


def test_full_streams(folder: Path, vendor: ModerationEmulator) -> None:
    """A call whose result cannot be printed has an exit code of its own; a run does not depend on its log."""
    call = ("call", "StartDetection", "--app-id", "app", "--room-id", "room")
    for command in (call, ("jobs", "stops.csv.jobs"), ("jobs", "stops.csv.jobs", "--export")):
        if command is not call and not Path("stops.csv.jobs").exists():
            assert shell('"$@" 2>/dev/full >/dev/full', "bulk", rooms(folder, 3), *STOP).returncode == 0
        ended = shell('"$@" >/dev/full', *command)
        assert (ended.returncode, ended.stderr) == (74, "standard output cannot be written: No space left on device\n")
    assert received(vendor, "StartDetection") == 1


def test_a_table_without_a_reader_is_74(folder: Path, vendor: ModerationEmulator) -> None:
    assert shell('"$@"', "bulk", rooms(folder, 3), *STOP).returncode == 0
    ended = shell('set -o pipefail; "$@" | true', "jobs", "stops.csv.jobs")
    assert (ended.returncode, ended.stderr) == (74, "")


def test_an_os_error_of_a_file_is_not_taken_for_one_of_the_output(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "something else", "a file")

    monkeypatch.setattr("volc_moderation.cli.app.make_app", lambda arguments: fail)
    with pytest.raises(OSError, match="something else"):
        command("jobs", "stops.csv.jobs")


@pytest.mark.slow
def test_standard_input_that_is_closed_or_named_twice(folder: Path) -> None:
    ended = shell('"$@" <&-', "bulk", "-", *STOP, "--dry-run")
    assert (ended.returncode, ended.stderr) == (2, "standard input is closed\n")
    ended = shell('"$@" </dev/null', "bulk", "-", "-", *STOP, "--dry-run")
    assert (ended.returncode, ended.stderr) == (2, "standard input can be read only once: give - once\n")


# Files


async def test_an_output_pipe_needs_a_reader(folder: Path, vendor: ModerationEmulator) -> None:
    os.mkfifo("pipe")
    words = (*COMMAND, "bulk", rooms(folder, 3), *STOP, "--output", "pipe")
    process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, b"pipe cannot be written" in errors) == (2, True)
    assert received(vendor) == 0
    reader = await asyncio.create_subprocess_exec("cat", "pipe", stdout=asyncio.subprocess.PIPE)
    await asyncio.sleep(0.2)
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "bulk", "--resume", "--journal", "stops.csv.jobs", "--output", "pipe"
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
def test_an_output_that_would_overwrite_a_needed_file_is_2(
    command: Command, folder: Path, vendor: ModerationEmulator, arguments: tuple[str, ...], is_there: bool
) -> None:
    name = rooms(folder, 3)
    (folder / "link").symlink_to(name)
    if is_there:
        assert command("bulk", name, *STOP)[0] == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, _, errors = command("bulk", name, *STOP, *arguments)
    assert code == 2
    assert re.search(r"--(output|report) \S+ would overwrite the (input file|journal|file of) ", errors)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_commands_overwrite_nothing_either(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    assert command("bulk", rooms(folder, 3), *STOP)[0] == 0
    before = (folder / "stops.csv.jobs").read_bytes()
    assert command("jobs", "stops.csv.jobs", "--report", "stops.csv.jobs")[0] == 2
    assert (folder / "stops.csv.jobs").read_bytes() == before
    assert command("sweep", "stops.csv", "--set", "app_id=app", "--output", "stops.csv")[0] == 2
    assert (folder / "stops.csv").read_text().startswith("room_id\n")


def test_a_device_may_be_used_twice_and_a_directory_not_at_all(folder: Path) -> None:
    check_outputs({"--output": Path(os.devnull), "--report": Path(os.devnull)}, journal=folder / "j")
    with pytest.raises(SourceError, match="cannot be written: Is a directory"):
        Output(folder, journal=None)


def test_a_report_that_cannot_be_written_does_not_hide_the_outcome_of_the_calls(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SourceError("r.html cannot be written: No space left on device")

    monkeypatch.setattr("volc_moderation.report.report.write_report", fail)
    report = ("--report", "r.html")
    code, _, errors = command("bulk", rooms(folder, 3), *STOP, *report)
    assert (code, errors.endswith("r.html cannot be written: No space left on device\n")) == (1, True)
    vendor.play(Fault(kind="code", action="StopWebcast", code="AccessDenied"))
    assert command("bulk", rooms(folder, 3), *STOP, *report)[0] == 10


@pytest.mark.parametrize("name", ["sweep", "demo"])
def test_a_missing_temporary_directory_is_2(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryDirectory", fail)
    monkeypatch.setattr("tempfile.mkdtemp", fail)
    arguments = (rooms(folder, 1), "--set", "app_id=app") if name == "sweep" else ()
    code, _, errors = command(name, *arguments)
    assert (code, "set TMPDIR to one" in errors) == (2, True)


def test_unusable_paths_and_host_names_are_2(command: Command, folder: Path) -> None:
    code, _, errors = command("demo", "--svg", str(folder))
    assert (code, f"cannot use {folder}" in errors) == (2, True)
    code, _, errors = command("emulator", "--host", "a" * 70)
    assert (code, "cannot listen on aaa" in errors) == (2, True)
