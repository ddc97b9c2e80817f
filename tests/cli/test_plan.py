"""What ``bulk`` says before the first call: what it will do, and how long that takes."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import STOP, Command, refuse, rooms
from volc_moderation import Action
from volc_moderation.bulk.load import LoadProgress
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.bulk.rows import Row
from volc_moderation.cli.plan import duration
from volc_moderation.testing import ModerationEmulator


@pytest.mark.usefixtures("keys", "sent")
def test_the_plan_is_printed_before_the_first_call(command: Command, folder: Path) -> None:
    """What will be done, and how long that takes at the quota, or at the rate that the user sets."""
    errors = command("bulk", rooms(folder, 300), *STOP)[2]
    assert "300 rows, 300 calls\n300 calls of StopWebcast: about 2 s at 150 per second.\n" in errors
    errors = command("bulk", rooms(folder, 1), *STOP, "--rate", "100", "--journal", "other")[2]
    assert "\n1 call of StopWebcast: less than 1 s at 100 per second.\n" in errors


def test_the_plan_of_a_resumed_run_has_the_calls_that_are_left(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    refuse(vendor, "room-1", "ServiceUnavailableTemp", retry_after=300)
    assert command("bulk", rooms(folder, 3), *STOP, "--journal", "third", "--on-temporary", "defer")[0] == 11
    errors = command("bulk", "--resume", "--journal", "third", "--on-temporary", "defer")[2]
    assert errors.startswith("1 call of StopWebcast: less than 1 s at 150 per second.\n")


@pytest.mark.usefixtures("keys", "sent")
def test_the_plan_uses_the_quota_in_force_if_it_is_known(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of the workers of a queue, which may have another rate."""
    monkeypatch.setattr("volc_moderation.jobs.lane_runner.LaneRunner._quota_rate", lambda _: 20.0)
    errors = command("bulk", rooms(folder, 100), *STOP)[2]
    assert "\n100 calls of StopWebcast: about 5 s at 20 per second.\n" in errors


@pytest.mark.usefixtures("keys", "sent")
def test_the_plan_of_a_learned_rate(command: Command, folder: Path) -> None:
    options = ("--action", "StopDetection", "--set", "app_id=app")
    errors = command("bulk", rooms(folder, 3), *options)[2]
    assert "3 calls of StopDetection: less than 1 s at 20 per second. The vendor publishes no quota, so the" in errors
    errors = command("bulk", rooms(folder, 3), *options, "--rate", "30", "--journal", "other")[2]
    assert "3 calls of StopDetection: less than 1 s at 30 per second.\n" in errors


@pytest.mark.usefixtures("keys", "sent")
@pytest.mark.slow
def test_a_long_file_is_estimated_while_it_is_read(
    command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of calls is judged from the bytes that have been read."""
    monkeypatch.setattr("volc_moderation.cli.load_files.ESTIMATE_AFTER", 0.2)
    parse = RowParser.parse

    def parse_slowly(self: RowParser, row: Row) -> Action[Any]:
        time.sleep(0.002)
        return parse(self, row)

    monkeypatch.setattr(RowParser, "parse", parse_slowly)
    file = rooms(folder, 20_000)
    errors = command("bulk", file, *STOP, "--limit", "200")[2]
    estimate = "Reading stops.csv.\nAbout 200 calls of StopWebcast: about 1 s at 150 per second.\n"
    assert errors.startswith(f"{estimate}200 rows, 200 calls\n")
    monkeypatch.setattr("volc_moderation.cli.bulk.ESTIMATE_AFTER", 0.1)
    code, output, errors = command("bulk", file, *STOP, "--limit", "200", "--dry-run")
    assert (code, errors) == (0, estimate)
    assert "150/s   about 1 s" in output
    with (folder / file).open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        errors = command("bulk", "-", *STOP, "--limit", "200")[2]
    assert re.match(
        r"Reading standard input\.\nAt least \d+ calls of StopWebcast: \D+1 s at 150 per second\.\n200 rows", errors
    )
    read = LoadProgress(total_bytes=1000, bytes_read=lambda: 200, rows_by_action={"StopWebcast": 30, "KickUser": 5})
    assert read.estimated_rows() == {"StopWebcast": 150, "KickUser": 25}
    assert LoadProgress(rows_by_action={"StopWebcast": 30}).estimated_rows() == {}  # of standard input


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "less than 1 s"),
        (66.7, "about 67 s"),
        (119.6, "about 120 s"),
        (120, "about 2 min"),
        (7199, "about 120 min"),
        (7200, "about 2 h 0 min"),
        (8040, "about 2 h 14 min"),
        (10_000_000 / 150, "about 18 h 31 min"),
    ],
)
def test_durations_are_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
