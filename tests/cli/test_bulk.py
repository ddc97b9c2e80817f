"""The command ``bulk`` against the emulator: its calls, messages, files and exit codes."""

import asyncio
import errno
import json
import os
import re
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.commands import MAIN, STOP, Command, received, refuse, rooms
from volc_moderation.emulator import Fault
from volc_moderation.jobs.journal import Journal
from volc_moderation.testing import ModerationEmulator


def test_all_calls_are_done(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    code, output, errors = command("bulk", rooms(folder, 30), *STOP, "--output", "out.jsonl", "--report", "report.html")
    assert (code, output) == (0, "")
    assert "30 rows, 30 calls" in errors
    assert "30 done (30 already gone)." in errors
    assert errors.endswith("Report: report.html\n")
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert sorted(line["line"] for line in lines) == list(range(2, 32))
    assert lines[0]["parameters"] == {"AppId": "app", "RoomId": "room-0", "TaskId": "wall"}
    assert (lines[0]["state"], lines[0]["was_gone"], lines[0]["attempts"]) == ("done", True, 1)
    assert "<svg" in (folder / "report.html").read_text()
    assert received(vendor) == 30


@pytest.mark.parametrize(
    ("missing", "name"), [((), "httpx2 over aiohttp"), (("aiohttp",), "httpx2"), (("aiohttp", "httpx2"), "httpx")]
)
def test_the_fastest_http_client_is_used_and_named(
    command: Command,
    folder: Path,
    vendor: ModerationEmulator,
    monkeypatch: pytest.MonkeyPatch,
    missing: tuple[str, ...],
    name: str,
) -> None:
    for loaded in [loaded for loaded in sys.modules if missing and loaded.partition(".")[0] == "httpx_aiohttp"]:
        monkeypatch.delitem(sys.modules, loaded)
    for module in missing:
        monkeypatch.setitem(sys.modules, module, None)
    code, output, errors = command("bulk", rooms(folder, 3), *STOP, "--verbose")
    assert (code, output) == (0, "")
    assert f"HTTP client: {name}\n" in errors
    assert received(vendor) == 3
    assert "HTTP client" not in command("bulk", rooms(folder, 3), *STOP)[2]


def test_an_output_has_a_line_for_each_call_that_ended(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    """However often it was deferred."""
    vendor.play(Fault(kind="code", action="StopWebcast", code="ServiceUnavailableTemp", first=3, retry_after=1))
    assert command("bulk", rooms(folder, 3), *STOP, "--output", "out.jsonl")[0] == 0
    assert received(vendor) == 6
    lines = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [(line["state"], line["attempts"]) for line in lines] == 3 * [("done", 2)]


def test_a_journal_is_shown_in_part_and_exported_as_a_whole(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    assert command("bulk", rooms(folder, 60), *STOP)[0] == 0
    for options, count in (
        (("--state", "gone"), 50),
        (("--state", "gone", "--limit", "7"), 7),
        (("--export",), 60),
        (("--export", "--limit", "7"), 7),
    ):
        assert command("jobs", "stops.csv.jobs", *options)[1].count('"room-') == count, options
    (first, *_) = command("jobs", "stops.csv.jobs", "--export")[1].splitlines()
    job = json.loads(first)
    assert job["line"] == 2
    times = [datetime.fromisoformat(job[name]) for name in ("created", "sent", "ended")]
    assert times == sorted(times)
    assert abs(times[0] - datetime.now(UTC)) < timedelta(minutes=10)


def test_tokens_of_users_are_not_shown(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Neither by the run nor by the command ``jobs``."""
    call: dict[str, object] = {"action": "LimitTokenPrivilege", "AppId": "app", "RoomId": "room", "UserId": "user"}
    call |= {"Token": "t0ken", "ForbiddenInterval": 60}
    (folder / "calls.jsonl").write_text(json.dumps(call))
    assert command("bulk", "calls.jsonl", "--output", "out.jsonl")[0] in {0, 10}
    (state,) = {json.loads(line)["state"] for line in (folder / "out.jsonl").read_text().splitlines()}
    for options in ((), ("--state", state), ("--export",)):
        output = "".join(map(str, command("jobs", "calls.jsonl.jobs", *options)))
        assert "t0ken" not in output
        assert ("***" in output) == bool(options)
    assert "t0ken" not in (folder / "out.jsonl").read_text()


@pytest.mark.parametrize("option", ["--output", "--report"])
def test_an_unwritable_file_is_reported_before_any_call(
    command: Command, folder: Path, vendor: ModerationEmulator, option: str
) -> None:
    code, _, errors = command("bulk", rooms(folder, 3), *STOP, option, "none/of/this")
    assert (code, errors) == (2, "none/of/this cannot be written: No such file or directory\n")
    assert not (folder / "stops.csv.jobs").exists()
    assert received(vendor) == 0


def test_a_run_prints_its_progress(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only for actions that have unfinished calls."""
    other = {"action": "StopDetection", "AppId": "app", "RoomId": "room"}
    (folder / "other.jsonl").write_text(json.dumps(other))
    assert command("bulk", "other.jsonl", "--journal", "stops.csv.jobs")[0] == 0
    monkeypatch.setattr("volc_moderation.cli.progress.LINE_INTERVAL", 0.01)
    code, _, errors = command("bulk", rooms(folder, 200), *STOP, "--resume")
    assert code == 0, errors
    assert re.search(
        r"^StopWebcast \d+/200, \d+/s of 150, \d+ done \(\d+ already gone\), ETA 0:0\d$", errors, re.MULTILINE
    )
    assert "StopDetection 0/" not in errors


def test_failed_calls_are_retried(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    refuse(vendor, "room-3", "AccessDenied")
    code, _, errors = command("bulk", rooms(folder, 5), *STOP)
    assert code == 10
    assert "4 done (4 already gone), 1 failed." in errors
    assert "1 time AccessDenied: a fault of the emulator" in errors
    (again,) = re.findall(r"Retry the failed calls with: volc-moderation (.+)$", errors, re.MULTILINE)
    code, _, errors = command(*again.split())
    assert code == 0
    assert "5 done" in errors
    assert received(vendor) == 6


def test_some_calls_are_deferred(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    refuse(vendor, "room-3", "ServiceUnavailableTemp", retry_after=300)
    code, _, errors = command("bulk", rooms(folder, 5), *STOP, "--on-temporary", "defer", "--rate", "50")
    assert code == 11
    assert re.search(r"4 done \(4 already gone\), 1 deferred until \d\d:\d\d:\d\d\.", errors)
    command_line = "volc-moderation bulk --resume --journal stops.csv.jobs --rate 50 --on-temporary defer"
    assert f"Resume with: {command_line}" in errors


def test_a_short_deferral_is_waited_for(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    refuse(vendor, "room-3", "ServiceUnavailableTemp", retry_after=1)
    assert command("bulk", rooms(folder, 5), *STOP, "--on-temporary", "defer")[0] == 0
    assert received(vendor) == 6


def test_refused_credentials_are_3(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOLCENGINE_SECRET_KEY", "wrong")
    code, _, errors = command("bulk", rooms(folder, 50), *STOP)
    assert code == 3
    assert "The credentials were refused: StopWebcast: SignatureDoesNotMatch" in errors
    assert "50 left" in errors
    monkeypatch.setenv("VOLCENGINE_SECRET_KEY", vendor.environment["VOLCENGINE_SECRET_KEY"])
    assert command("bulk", "--resume", "--journal", "stops.csv.jobs")[0] == 0


def test_a_rate_below_the_quota(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    assert command("bulk", rooms(folder, 30), *STOP, "--rate", "20")[0] == 0
    assert vendor.counts()["StopWebcast"]["most_in_any_second"] <= 20


def test_a_limit_and_skipped_bad_rows(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    (folder / "mixed.csv").write_text("room_id\nroom-0\nroom 1\nroom-2\nroom-3\n")
    code, _, errors = command("bulk", "mixed.csv", *STOP, "--skip-bad", "--limit", "2")
    assert code == 0
    assert "mixed.csv, line 3: StopWebcast: room_id must be" in errors
    assert "2 rows, 2 calls, 1 bad row skipped" in errors
    assert received(vendor) == 2


def test_jobs_shows_filters_and_exports(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    refuse(vendor, "room-3", "AccessDenied")
    command("bulk", rooms(folder, 5), *STOP)
    code, output, _ = command("jobs", "stops.csv.jobs")
    assert code == 0
    assert "4 done (4 already gone), 1 failed." in output
    assert re.search(r"StopWebcast +failed +1 ", output)
    code, output, _ = command("jobs", "stops.csv.jobs", "--code", "AccessDenied")
    assert (output.count("room-3"), output.count("room-2")) == (1, 0)
    code, output, errors = command("jobs", "stops.csv.jobs", "--state", "gone", "--export", "--report", "r.html")
    assert errors == "Report: r.html\n"
    exported = [json.loads(line) for line in output.splitlines()]
    assert [job["parameters"]["RoomId"] for job in exported] == ["room-0", "room-1", "room-2", "room-4"]
    assert {job["state"] for job in exported} == {"done"}
    assert (folder / "r.html").is_file()
    key = exported[0]["key"]
    assert json.loads(command("jobs", "stops.csv.jobs", "--key", key, "--export")[1])["key"] == key
    assert command("jobs", "none.jobs")[0] == 2


@pytest.mark.parametrize("signals", [1, 2])
async def test_an_interrupted_run_is_resumed(folder: Path, vendor: ModerationEmulator, signals: int) -> None:
    """After the first signal, calls in flight are finished; the second one cancels them, and nothing is lost."""
    if signals == 2:
        vendor.play(Fault(kind="hang", action="StopWebcast", match={"RoomId": "room-5"}))
    main = (sys.executable, *MAIN, "bulk")
    process = await asyncio.create_subprocess_exec(
        *(*main, rooms(folder, 400), *STOP), stderr=asyncio.subprocess.PIPE, env=os.environ
    )
    async with asyncio.timeout(10):
        while received(vendor) < 20:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    if signals == 2:
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGINT)
    _, errors = await process.communicate()
    text = errors.decode()
    assert process.returncode == 130, text
    assert "Traceback" not in text
    assert "Interrupt again to stop at once." in text
    assert " -m volc_moderation bulk --resume --journal stops.csv.jobs\n" in text
    vendor.reset()
    process = await asyncio.create_subprocess_exec(
        *(*main, "--resume", "--journal", "stops.csv.jobs"), stderr=asyncio.subprocess.PIPE, env=os.environ
    )
    _, errors = await process.communicate()
    assert (process.returncode, "400 done" in errors.decode()) == (0, True)


def test_an_output_that_cannot_be_written_ends_the_run(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that was written in part is removed, and the message says where the missing results are."""
    write, room = os.write, 1000

    def fill(file: int, data: bytes) -> int:
        nonlocal room
        if not os.path.samestat(os.fstat(file), (folder / "out.jsonl").stat()):
            return write(file, data)
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(file, data[:room])
        room -= written
        return written

    (folder / "out.jsonl").write_bytes(b'{"torn": "by the full disk of yesterd')
    monkeypatch.setattr(os, "write", fill)
    code, _, errors = command("bulk", rooms(folder, 300), *STOP, "--output", "out.jsonl")
    monkeypatch.undo()
    assert code == 1
    assert "out.jsonl cannot be written: No space left on device. The journal has all results" in errors
    torn, *lines = (folder / "out.jsonl").read_bytes().splitlines(keepends=True)
    assert torn == b'{"torn": "by the full disk of yesterd\n'
    assert lines
    assert all(json.loads(line)["state"] == "done" and line.endswith(b"\n") for line in lines)
    assert "Resume with: volc-moderation bulk --resume --journal stops.csv.jobs --output out.jsonl" in errors
    assert 0 < received(vendor) < 150


def test_a_run_that_was_killed_before_its_file_was_read(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    """Its journal is empty: resuming it without the file would look like success."""
    Journal(folder / "stops.csv.jobs").close()
    code, _, errors = command("bulk", "--resume", "--journal", "stops.csv.jobs")
    assert code == 2
    assert "stops.csv.jobs is empty: its run ended before its file was read; give the file again" in errors
    assert command("bulk", rooms(folder, 3), *STOP)[0] == 0
    assert received(vendor) == 3
