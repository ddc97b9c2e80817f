"""The command ``bulk`` with files and journals of the day before: every listed call is made, or it says so."""

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
    journal = Journal(path, read_only=True)
    found = [job.state for job in journal.jobs()]
    journal.close()
    return found


def test_a_file_of_the_same_name_is_a_new_run(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Today's stops are made, also those of yesterday's list; the journal of yesterday is kept."""
    assert command("bulk", write(folder, 0, 1), *STOP)[0] == 0
    code, _, errors = command("bulk", write(folder, 1, 2, 3), *STOP)
    assert code == 0
    assert "3 rows, 3 calls\n" in errors
    assert f"stops.csv.jobs had a run that has ended; that is in {folder / 'stops.csv.jobs.1'}" in errors
    assert "3 done" in errors
    assert received(vendor) == 5
    assert states(folder / "stops.csv.jobs") == 3 * [JobState.DONE]
    assert states(folder / "stops.csv.jobs.1") == 2 * [JobState.DONE]
    assert command("bulk", "stops.csv", *STOP)[0] == 0
    assert received(vendor) == 8
    assert states(folder / "stops.csv.jobs.2") == 3 * [JobState.DONE]


def test_a_run_that_failed_is_set_aside_too(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
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
    assert (code, "had a run" in errors) == (2, False)
    assert {file.name for file in folder.iterdir()} == {"stops.csv", "stops.csv.jobs", "stops.csv.jobs-lock"}
    assert states(folder / "stops.csv.jobs") == 2 * [JobState.DONE]


def test_a_run_that_has_not_ended_is_not_set_aside(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    refuse(vendor, "room-1", "ServiceUnavailableTemp", retry_after=300)
    assert command("bulk", write(folder, 0, 1), *STOP, "--on-temporary", "defer")[0] == 11
    code, _, errors = command("bulk", write(folder, 5), *STOP)
    assert code == 2
    assert re.search(
        r"^stops\.csv\.jobs is of a run that has not ended: 1 done .*1 deferred until [\d:]+\. Go on", errors
    )
    assert received(vendor) == 2
    # What the message proposes: to go on with that, and then this file; or both together.
    code, _, errors = command("bulk", "stops.csv", *STOP, "--resume", "--on-temporary", "defer")
    assert (code, "1 rows, 1 calls\n" in errors) == (11, True)
    assert received(vendor) == 3


def test_another_list_is_added(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """With those of its calls that have ended: what they act on may have been started again."""
    refuse(vendor, "room-2", "ServiceUnavailableTemp", retry_after=300)
    assert command("bulk", write(folder, 0, 1, 2), *STOP, "--on-temporary", "defer")[0] == 11
    more = write(folder, 1, 2, 3, name="more.csv")
    resume = ("--resume", "--journal", "stops.csv.jobs", "--on-temporary", "defer")
    code, _, errors = command("bulk", more, *STOP, *resume)
    assert code == 11
    assert "3 rows, 1 calls (1 that had ended are made again, 1 are there already)\n" in errors
    assert received(vendor) == 5


def test_the_very_list_is_gone_on_with(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Its calls that ended are not made again: that run was asked for by name."""
    refuse(vendor, "room-2", "AccessDenied")
    name = write(folder, 0, 1, 2)
    assert command("bulk", name, *STOP)[0] == 10
    code, _, errors = command("bulk", name, *STOP, "--resume")
    assert code == 10
    assert "3 rows, the very calls that this journal was made of: it goes on with what is left" in errors
    assert received(vendor) == 3
    assert command("bulk", name, *STOP, "--resume", "--retry-failed")[0] == 0
    assert received(vendor) == 4


def test_the_same_rows_with_other_constants_are_another_list(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    """What counts is the calls, not the name of the file, nor its bytes."""
    name = write(folder, 0)
    assert command("bulk", name, *STOP)[0] == 0
    assert command("bulk", name, *STOP[:-1], "task_id=other", "--resume")[0] == 0
    assert received(vendor) == 2
    assert command("bulk", write(folder, 0, name="copy.csv"), *STOP, "--resume", "--journal", f"{name}.jobs")[0] == 0
    assert received(vendor) == 2


def test_two_at_the_same_moment(folder: Path, vendor: ModerationEmulator) -> None:
    """One makes the calls, and the others do not touch its journal."""
    name = rooms(folder, 300)
    command = [sys.executable, *MAIN, "bulk", name, *STOP, "--rate", "150"]
    processes = [
        subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)  # noqa: S603 - our own
        for _ in range(4)
    ]
    told = [process.communicate(timeout=60)[1] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(codes) == [0, 1, 1, 1], told
    assert all("is in use" in errors for errors, code in zip(told, codes, strict=True) if code)
    assert states(folder / "stops.csv.jobs") == 300 * [JobState.DONE]
    assert received(vendor) == 300


def test_a_damaged_journal_is_told(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
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


def test_what_a_run_writes_is_for_its_owner(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Ids and texts of users stand in it. What was there keeps its mode."""
    files = ("--output", "out.jsonl", "--report", "report.html")
    assert command("bulk", rooms(folder, 2), *STOP, *files)[0] == 0
    for name in ("out.jsonl", "report.html", "stops.csv.jobs", "stops.csv.jobs-lock"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600, name
    (folder / "report.html").chmod(0o644)
    assert command("jobs", "stops.csv.jobs", "--report", "report.html")[0] == 0
    assert (folder / "report.html").stat().st_mode & 0o777 == 0o644
    assert command("jobs", "stops.csv.jobs", "--report", "other.html")[0] == 0
    assert (folder / "other.html").stat().st_mode & 0o777 == 0o600
