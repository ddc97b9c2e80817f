"""The command ``bulk`` with files and journals of an earlier run: it sends every listed call, or says why not."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import MAIN, STOP, Command, received, refuse, rooms
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.testing import ModerationEmulator


def write(folder: Path, *numbers: int, name: str = "stops.csv") -> str:
    (folder / name).write_text("room_id\n" + "".join(f"room-{number}\n" for number in numbers))
    return name


def states(path: Path) -> list[JobState]:
    with contextlib.closing(Journal(path, access="read")) as journal:
        return [job.state for job in journal.jobs()]


def test_a_file_of_the_same_name_is_a_new_run(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Today's stops are sent, even those that were on yesterday's list; yesterday's journal is kept."""
    assert command("bulk", write(folder, 0, 1), *STOP)[0] == 0
    code, _, errors = command("bulk", write(folder, 1, 2, 3), *STOP)
    assert code == 0
    assert "3 rows, 3 calls\n" in errors
    assert f"stops.csv.jobs held a finished run, which was moved to {folder / 'stops.csv.jobs.1'}" in errors
    assert "3 done" in errors
    assert received(vendor) == 5
    assert states(folder / "stops.csv.jobs") == 3 * [JobState.DONE]
    assert states(folder / "stops.csv.jobs.1") == 2 * [JobState.DONE]
    assert command("bulk", "stops.csv", *STOP)[0] == 0
    assert received(vendor) == 8
    assert states(folder / "stops.csv.jobs.2") == 3 * [JobState.DONE]


def test_a_journal_with_failed_jobs_is_moved_aside_too(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    refuse(vendor, "room-1", "AccessDenied")
    assert command("bulk", write(folder, 0, 1), *STOP)[0] == 10
    assert command("bulk", "stops.csv", *STOP)[0] == 0
    assert received(vendor) == 4
    assert states(folder / "stops.csv.jobs.1") == [JobState.DONE, JobState.FAILED]


@pytest.mark.parametrize("content", [b"room_id\n", b"colour\nred\n", b"room_id\n\x00\n"])
def test_a_bad_file_of_the_same_name_changes_nothing(
    command: Command, folder: Path, vendor: ModerationEmulator, content: bytes
) -> None:
    assert command("bulk", write(folder, 0, 1), *STOP)[0] == 0
    (folder / "stops.csv").write_bytes(content)
    code, _, errors = command("bulk", "stops.csv", *STOP)
    assert (code, "held a finished run" in errors) == (2, False)
    assert {file.name for file in folder.iterdir()} == {"stops.csv", "stops.csv.jobs", "stops.csv.jobs-lock"}
    assert states(folder / "stops.csv.jobs") == 2 * [JobState.DONE]


def test_the_journal_of_an_unfinished_run_is_not_moved_aside(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    refuse(vendor, "room-1", "ServiceUnavailableTemp", retry_after=300)
    assert command("bulk", write(folder, 0, 1), *STOP, "--on-temporary", "defer")[0] == 11
    code, _, errors = command("bulk", write(folder, 5), *STOP)
    assert code == 2
    assert re.search(
        r"^stops\.csv\.jobs belongs to an unfinished run: 1 done .*1 deferred until [\d:]+\. To add", errors
    )
    assert received(vendor) == 2
    # The message proposes to resume that run first, or to add this file to it.
    code, _, errors = command("bulk", "stops.csv", *STOP, "--resume", "--on-temporary", "defer")
    assert (code, "1 row, 1 call\n" in errors) == (11, True)
    assert received(vendor) == 3


def test_another_list_is_added(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Its calls that have ended are repeated: their targets may have been started again."""
    refuse(vendor, "room-2", "ServiceUnavailableTemp", retry_after=300)
    assert command("bulk", write(folder, 0, 1, 2), *STOP, "--on-temporary", "defer")[0] == 11
    more = write(folder, 1, 2, 3, name="more.csv")
    resume = ("--resume", "--journal", "stops.csv.jobs", "--on-temporary", "defer")
    code, _, errors = command("bulk", more, *STOP, *resume)
    assert code == 11
    assert "3 rows, 1 call (1 repeated, 1 already in the journal)\n" in errors
    assert received(vendor) == 5


def test_the_same_list_is_resumed(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Its calls that have ended are not repeated: the user asked to resume this run."""
    refuse(vendor, "room-2", "AccessDenied")
    name = write(folder, 0, 1, 2)
    assert command("bulk", name, *STOP)[0] == 10
    code, _, errors = command("bulk", name, *STOP, "--resume")
    assert code == 10
    assert "3 rows, the same calls that the journal was created from; only unfinished ones are sent" in errors
    assert received(vendor) == 3
    assert command("bulk", name, *STOP, "--resume", "--retry-failed")[0] == 0
    assert received(vendor) == 4


def test_the_same_rows_with_other_constants_are_another_list(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    """Lists are compared by their calls, not by the name or the bytes of the file."""
    name = write(folder, 0)
    assert command("bulk", name, *STOP)[0] == 0
    assert command("bulk", name, *STOP[:-1], "task_id=other", "--resume")[0] == 0
    assert received(vendor) == 2
    assert command("bulk", write(folder, 0, name="copy.csv"), *STOP, "--resume", "--journal", f"{name}.jobs")[0] == 0
    assert received(vendor) == 2


def test_only_one_of_several_concurrent_runs_sends_the_calls(folder: Path, vendor: ModerationEmulator) -> None:
    """The others do not touch its journal."""
    name = rooms(folder, 300)
    command = [sys.executable, *MAIN, "bulk", name, *STOP, "--rate", "150"]
    processes = [
        subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
        for _ in range(4)
    ]
    printed = [process.communicate(timeout=60)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 1, 1, 1], printed
    assert all("is in use" in errors for errors, code in zip(printed, codes, strict=True) if code)
    assert states(folder / "stops.csv.jobs") == 300 * [JobState.DONE]
    assert received(vendor) == 300


def test_a_damaged_journal_is_reported_on_one_line(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    assert command("bulk", rooms(folder, 300), *STOP)[0] == 0
    path = folder / "stops.csv.jobs"
    content = bytearray(path.read_bytes())
    content[4096:-4096] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    for arguments in (
        ("jobs", "stops.csv.jobs", "--state", "done"),
        ("bulk", "--resume", "--journal", "stops.csv.jobs"),
    ):
        code, _, errors = command(*arguments)
        assert code in {1, 2}
        assert errors.startswith("the journal stops.csv.jobs failed: the file is damaged")
        assert errors.count("\n") == 1


def test_only_the_owner_can_read_new_files_of_a_run(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """They hold ids and texts of users. Existing files keep their mode."""
    files = ("--output", "out.jsonl", "--report", "report.html")
    assert command("bulk", rooms(folder, 2), *STOP, *files)[0] == 0
    for name in ("out.jsonl", "report.html", "stops.csv.jobs", "stops.csv.jobs-lock"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600, name
    (folder / "report.html").chmod(0o644)
    assert command("jobs", "stops.csv.jobs", "--report", "report.html")[0] == 0
    assert (folder / "report.html").stat().st_mode & 0o777 == 0o644
    assert command("jobs", "stops.csv.jobs", "--report", "other.html")[0] == 0
    assert (folder / "other.html").stat().st_mode & 0o777 == 0o600
