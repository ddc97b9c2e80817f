"""The command ``jobs``: what it shows of a journal and of a queue, in a terminal and in a file."""

import contextlib
import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tests.cli.commands import Command
from tests.doubles import NOW
from tests.jobs.journals import LANE, record
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.journal import Journal

DENIED = "AccessDenied.NoPermissionForApp"
MESSAGE = "The account may not operate this app. " + 10 * "Ask the administrator of the account for the permission. "
FAILED = {"state": "failed", "code": DENIED, "message": MESSAGE}


def journal_of(
    folder: Path, *outcomes: dict[str, Any], lane: Lane = LANE, due: float = NOW, **parameters: object
) -> str:
    """Write a journal of one job per outcome, and return its name. An empty outcome is a job that is left."""
    common = {"AppId": "app", "TaskId": "wall"} | parameters
    with contextlib.closing(Journal(folder / "jobs")) as journal, journal.transaction():
        number = journal.lane_id(lane)
        rows = [
            (f"{row:02}" + 9 * "ab", number, json.dumps({"RoomId": f"room-{row}"} | common), row + 2)
            for row in range(len(outcomes))
        ]
        journal.load(rows, due=due, now=NOW)
        taken = sum(map(bool, outcomes))
        journal.take(number, taken, due=due, now=NOW)
        journal.record([record(row, lane_id=number, **known) for row, known in enumerate(outcomes, 1) if known])
    return "jobs"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, command: Command) -> Any:
    """Return a function that runs a command in a terminal of some width, and returns the lines of its output."""

    def run(width: int, *arguments: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
        code, output, errors = command(*arguments)
        assert (code, errors) == (0, "")
        return re.sub(r"\x1b\[[\d;]*m", "", output).splitlines()

    return run


# A table in a terminal


@pytest.mark.parametrize("width", [40, 80, 100, 140, 200])
def test_a_job_fits_into_a_terminal(terminal: Any, folder: Path, width: int) -> None:
    """On one line; below 140 columns, the message has a second line. What is cut ends with an ellipsis."""
    name = journal_of(folder, FAILED, FAILED, RoomName=60 * "房间")
    _, head, *lines = terminal(width, "jobs", name, "--state", "failed")
    assert len(lines) == (2 if width >= 140 else 4)
    for line in lines:
        assert cell_len(line) <= width
    if width >= 80:
        assert head.split()[-6 if width < 140 else -7 :][:4] == ["key", "action", "state", "attempts"]
        for row, line in enumerate(lines[:: 1 if width >= 140 else 2]):
            assert f"{row:02}ababab  StopWebcast  failed" in line
            assert f"room-{row} wall" in line
            assert "AccessDenied.N" in line
    assert any("The account may not operate" in line and line.endswith("…") for line in lines)


def test_whole_keys_in_a_terminal(terminal: Any, folder: Path) -> None:
    name = journal_of(folder, FAILED)
    key = "00" + 9 * "ab"
    assert key not in "".join(terminal(80, "jobs", name, "--state", "failed"))
    assert key in "".join(terminal(80, "jobs", name, "--state", "failed", "--full-keys"))


@pytest.mark.parametrize(
    ("lane", "parameters", "shown"),
    [
        (Lane("zego", "a", "CloseRoom"), {"RoomId": "r1"}, "r1"),
        (Lane("zego", "a", "KickoutUser"), {"RoomId": "r1", "UserId": ["u1", "u2"]}, "r1 u1,u2"),
        (Lane("volcengine", "a", "StartWebcast", "2020-12-01"), {"RoomId": "r1", "BusinessId": "b"}, "r1 wall"),
        (Lane("gone", "a", "Old"), {"RoomId": "r1", "Name": "n"}, "r1 wall"),
    ],
)
def test_a_target_is_identified(
    terminal: Any, folder: Path, lane: Lane, parameters: dict[str, object], shown: str
) -> None:
    if lane.vendor == "zego":
        parameters = parameters | {"TaskId": ""}
    *_, line = terminal(120, "jobs", journal_of(folder, {}, lane=lane, **parameters), "--state", "pending")
    assert line.rstrip().endswith(f"  0        {shown}"), line


# A table in a file


def test_nothing_is_cut_in_a_file(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = journal_of(folder, FAILED, FAILED, RoomName=200 * "房间")
    code, output, _ = command("jobs", name, "--state", "failed")
    lines = output.splitlines()
    assert (code, len(lines)) == (0, 4)
    for row, line in enumerate(lines[2:]):
        for text in (f"{row:02}" + 9 * "ab", "StopWebcast", DENIED, MESSAGE.strip(), f'"room-{row}"', 200 * "房间"):
            assert text in line


# Filters


def test_the_beginning_of_a_key_selects_jobs(command: Command, folder: Path) -> None:
    name = journal_of(folder, *12 * [{}])
    for prefix, rows in (("03", [3]), ("03abababab", [3]), ("1", [10, 11]), ("03" + 9 * "ab", [3]), ("3", [])):
        _, output, _ = command("jobs", name, "--key", prefix, "--export")
        assert [json.loads(line)["line"] - 2 for line in output.splitlines()] == rows, prefix


def test_a_filter_that_selects_nothing(command: Command, folder: Path) -> None:
    name = journal_of(folder, {})
    for options in (("--state", "failed"), ("--action", "CloseRoom"), ("--code", "1"), ("--key", "none")):
        code, output, errors = command("jobs", name, *options)
        assert (code, output.splitlines()[1:], errors) == (0, ["no job matches"], "")
        assert command("jobs", name, *options, "--export") == (0, "", "no job matches\n")


def test_unknown_actions_and_states_are_2(command: Command, folder: Path) -> None:
    """The actions are those of the vendors and of the journal, which another version may have written."""
    name = journal_of(folder, {}, lane=Lane("volcengine", "a", "StopPodcast"))
    for wrong, near in (("StopWebcas", "StopWebcast"), ("stoppodcast", "StopPodcast")):
        error = f"--action: there is no action '{wrong}'; did you mean {near}?\n"
        assert command("jobs", name, "--action", wrong) == (2, "", error)
    assert command("jobs", name, "--action", "x") == (2, "", "--action: there is no action 'x'\n")
    assert "Pod" in command("jobs", name, "--action", "StopPodcast")[1]
    code, _, errors = command("jobs", name, "--state", "faild")
    assert (code, errors.count("\n")) == (2, 1)
    assert 'Did you mean "failed"?' in errors


def test_a_limit_says_that_there_are_more(command: Command, folder: Path) -> None:
    name = journal_of(folder, *3 * [{}])
    more = "These are the first 2 jobs; there are more. --limit shows more of them."
    assert command("jobs", name, "--limit", "2")[1].splitlines()[-1] == more
    assert more not in command("jobs", name, "--limit", "3")[1]


# The numbers of a journal


def test_a_journal_shows_its_failures_and_when_the_next_job_is_due(command: Command, folder: Path) -> None:
    failed = [FAILED, FAILED, {"state": "given up", "code": 504, "message": "busy"}]
    name = journal_of(folder, *failed, {}, due=time.time() - 300)
    code, output, _ = command("jobs", name)
    assert code == 0
    assert re.search(r"StopWebcast +failed +2 *\n +StopWebcast +given up +1 *\n +StopWebcast +pending +1", output)
    assert f"Failures by code:\n  2 times {DENIED}: {MESSAGE}\n  1 time 504: busy\n" in output
    assert re.search(r"^The oldest due job has been due for about 5 min, since \d\d:\d\d:\d\d\.$", output, re.MULTILINE)


def test_a_journal_whose_next_job_is_not_due_yet(command: Command, folder: Path) -> None:
    later = {"state": "pending", "due": time.time() + 7200, "code": 504}
    output = command("jobs", journal_of(folder, later))[1]
    assert re.search(r"^The next job is due at \d\d:\d\d:\d\d, in about 1(20 min| h|19 min)", output, re.MULTILINE)


def test_a_journal_without_failures_has_no_further_lines(command: Command, folder: Path) -> None:
    output = command("jobs", journal_of(folder, {"state": "done"}))[1]
    assert "Failures" not in output
    assert "due" not in output
