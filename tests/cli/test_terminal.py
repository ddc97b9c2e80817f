"""Text from files, vendors and journals is printed as text, and cannot control the terminal."""

import io
import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table

from tests.cli.commands import MAIN, STOP, Command, refuse, rooms
from tests.doubles import environment, free_port
from volc_moderation import QuotaUnavailable
from volc_moderation.cli.progress import Progress, Tally
from volc_moderation.cli.signals import Interrupts
from volc_moderation.cli.terminal import Terminal
from volc_moderation.emulator import Fault
from volc_moderation.jobs.job import Lane
from volc_moderation.testing import ModerationEmulator

#: Clears the screen, reverses the direction of text, forges a line, colours by markup, and has half a character.
HOSTILE = "\x1b[2J\u202e\n9 done.\r[red]x[/] :smile:\x9b1m\u2028\x7f"
SHOWN = r"\x1b[2J\u202e\n9 done.\r[red]x[/] :smile:\x9b1m\u2028\x7f"


def assert_harmless(text: str) -> None:
    assert text.isascii() or all(one.isprintable() for one in text if not one.isspace())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
    assert not re.search(r"^9 done", text, re.MULTILINE)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_every_way_to_print(is_terminal: bool) -> None:
    """Rich prints each str as plain text; only the requested style reaches the terminal."""
    written = io.StringIO()
    terminal = Terminal(written)
    terminal._force_terminal = is_terminal
    terminal.width = 500
    table = Table("plain", HOSTILE, title=HOSTILE)
    table.add_row(HOSTILE, HOSTILE)
    terminal.print(HOSTILE, style="red", soft_wrap=True)
    terminal.print(table)
    terminal.print(terminal.one_line(HOSTILE, style="dim"), HOSTILE)
    text = re.sub(r"\x1b\[[\d;]*m", "", written.getvalue())
    assert text.count(SHOWN) == 7
    assert_harmless(text)


def test_text_of_a_vendor_is_harmless(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    code = f"Odd{HOSTILE}"
    refuse(vendor, "room-0", code, message=HOSTILE)
    status, _, errors = command("bulk", rooms(folder, 2), *STOP, "--output", "out.jsonl")
    assert status == 10
    assert f"  1 time Odd{SHOWN}: {SHOWN}\n" in errors
    assert_harmless(errors)
    assert_harmless((folder / "out.jsonl").read_text())
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [line.get("code") for line in lines].count(code) == 1
    for arguments in (("--state", "failed"), ("--export",), ("--code", code)):
        _, output, errors = command("jobs", "stops.csv.jobs", *arguments)
        assert "Odd" in output
        assert_harmless(output + errors)
    refuse(vendor, "room-0", code, message=HOSTILE)
    stop = ("--app-id", "app", "--room-id", "room-0", "--task-id", "t")
    status, output, errors = command("call", "StopWebcast", *stop)
    assert (status, json.loads(errors)["code"]) == (1, code)
    assert_harmless(output + errors)


@pytest.mark.parametrize(
    "content",
    [
        f'"{HOSTILE}"\nx\n',
        f'room_id\n"{HOSTILE}"\n',
        json.dumps({"room_id": HOSTILE}) + "\n",
        json.dumps({"room_id": "r", HOSTILE: 1}) + "\n",
        json.dumps({"room_id": "\ud800"}) + "\n",
        json.dumps({"action": HOSTILE, "room_id": "r"}) + "\n",
    ],
)
@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--skip-bad",)])
def test_text_of_a_file_is_harmless(
    command: Command, folder: Path, vendor: ModerationEmulator, content: str, options: tuple[str, ...]
) -> None:
    (folder / "\x1b[31mstops.csv").write_text(content, newline="")
    status, output, errors = command("bulk", "\x1b[31mstops.csv", *STOP, *options)
    assert status == 2
    assert output + errors
    assert_harmless(output + errors)


@pytest.mark.parametrize(
    "arguments",
    [
        ("bulk", f"-{HOSTILE}"),
        ("bulk", HOSTILE),
        ("bulk", "x", "--set", HOSTILE),
        ("bulk", "x", "--limit", HOSTILE),
        ("bulk", "x", "--action", HOSTILE),
        ("bulk", "--resume", "--journal", HOSTILE),
        ("bulk", "x", "--output", f"no/such/{HOSTILE}"),
        ("bulk", "x", "--redis", HOSTILE),
        ("sweep", "x", "--older-than", HOSTILE),
        ("jobs", HOSTILE),
        ("call", HOSTILE),
        ("call", "StopWebcast", "--app-id", HOSTILE, "--room-id", "r", "--task-id", "t"),
        ("worker", "--redis", HOSTILE),
        ("emulator", "--port", HOSTILE),
        ("demo", "--resume", HOSTILE),
        (HOSTILE,),
    ],
)
def test_text_of_an_argument_is_harmless(
    command: Command, vendor: ModerationEmulator, arguments: tuple[str, ...]
) -> None:
    status, output, errors = command(*arguments)
    assert status == 2
    assert output + errors
    assert_harmless(output + errors)


def test_text_of_a_foreign_journal_is_harmless(command: Command, folder: Path, vendor: ModerationEmulator) -> None:

    assert command("bulk", rooms(folder, 1), *STOP)[0] == 0
    database = sqlite3.connect(folder / "stops.csv.jobs")
    with database:
        database.execute("UPDATE note SET value = ? WHERE name = 'owner'", (HOSTILE,))
        database.execute("UPDATE lane SET action = ?", (HOSTILE,))
        database.execute("UPDATE job SET key = ?, message = ?, code = ?", 3 * (HOSTILE,))
    database.close()
    for arguments in ((), ("--state", "done"), ("--export",), ("--report", "report.html")):
        status, output, errors = command("jobs", "stops.csv.jobs", *arguments)
        assert status == 0
        assert_harmless(output + errors)
    assert_harmless((folder / "report.html").read_text())
    status, output, errors = command("bulk", "--resume", "--journal", "stops.csv.jobs")
    assert_harmless(output + errors)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_text_fails_for_the_encoding_of_the_terminal(
    folder: Path, vendor: ModerationEmulator, encoding: str
) -> None:
    """And Python's logging prints no lines of its own."""
    vendor.play(Fault(kind="code", action="StopWebcast", code="房间", message="日本", first=2))
    keys = environment(vendor.base_url) | {"PYTHONIOENCODING": encoding}
    for arguments in (
        ("bulk", rooms(folder, 1), *STOP),
        ("call", "StopWebcast", "--app-id", "a", "--room-id", "r", "--task-id", "t"),
        ("jobs", "stops.csv.jobs", "--state", "failed"),
    ):
        process = subprocess.run(  # noqa: S603 - our own
            [sys.executable, *MAIN, *arguments], cwd=folder, env=os.environ | keys, capture_output=True, check=False
        )
        assert process.returncode in {0, 1, 10}
        text = (process.stderr + process.stdout).decode(encoding)
        assert "Traceback" not in text
        assert ("房间" if encoding == "utf-8" else r"\u623f\u95f4") in text


def test_log_records_are_not_printed_beside_errors(folder: Path, vendor: ModerationEmulator) -> None:
    keys = environment(f"http://127.0.0.1:{free_port()}")
    process = subprocess.run(  # noqa: S603 - our own
        [sys.executable, *MAIN, "worker", "--redis", f"redis://127.0.0.1:{free_port()}"],
        cwd=folder,
        env=os.environ | keys,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert len(process.stderr.splitlines()) == 1, process.stderr


# Progress


class PausedLane:
    """The status of a lane whose calls wait."""

    def __init__(self, lane: Lane, pause_reason: Any) -> None:
        self.lane, self.pause_reason, self.quota_rate = lane, pause_reason, None


def test_the_reason_of_a_pause_is_printed_once_and_the_time_left_is_unknown_meanwhile() -> None:
    """Without a terminal, a new reason is printed at once, on a line of its own."""
    lane = Lane("volcengine", "a", "StopWebcast", "2020-12-01")
    written = io.StringIO()
    progress = Progress(Terminal(written))
    paused: Any = PausedLane(lane, None)
    progress.tallies[lane] = tally = Tally(lane, 100, 150.0)
    tally._answers.append((tally._began, 50))
    tally.done = 50
    progress.refresh({}, [paused])
    assert tally.seconds_left() is not None
    paused.pause_reason = QuotaUnavailable(f"away {HOSTILE}")
    for _ in range(3):
        progress.refresh({}, [paused])
    assert written.getvalue() == f"waiting: away {SHOWN}\n"
    assert tally.seconds_left() is None
    paused.pause_reason = None
    progress.refresh({}, [paused])
    assert tally.seconds_left() is not None
    paused.pause_reason = QuotaUnavailable("away again")
    progress.refresh({}, [paused])
    assert written.getvalue().endswith("waiting: away again\n")


def test_bars_at_a_terminal_show_foreign_text_as_text() -> None:
    lane = Lane("volcengine", "a", HOSTILE, "2020-12-01")
    written = io.StringIO()
    terminal = Terminal(written)
    terminal._force_terminal, terminal.width = True, 300
    progress = Progress(terminal)
    paused: Any = PausedLane(lane, QuotaUnavailable(HOSTILE))
    progress.tallies[lane] = Tally(lane, 100, 150.0)
    with progress:
        progress.refresh({}, [paused])
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|\r", "", written.getvalue())
    assert f"  waiting: {SHOWN}" in text
    assert_harmless(text)


async def test_the_first_signal_stops_and_the_second_one_cancels(capsys: pytest.CaptureFixture[str]) -> None:
    """Handlers that are set after a signal are stopped at once."""
    written = io.StringIO()
    interrupts, called = Interrupts(Terminal(written)), list[str]()
    interrupts.set_handlers(lambda: called.append("stop"), lambda: called.append("cancel"))
    interrupts._handle()
    interrupts._handle()
    assert called == ["stop", "cancel"]
    interrupts.set_handlers(lambda: called.append("stop the next"), lambda: None)
    assert called[2:] == ["stop the next"]
    assert written.getvalue() == "Stopping after the calls in flight. Interrupt again to stop at once.\n"
    assert interrupts.count == 2
