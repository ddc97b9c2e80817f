"""The command ``sweep``: it ends with 0 only if no moderation is running that was to be stopped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.commands import MAIN, Command, received, rooms
from tests.doubles import mocked, volcengine_client, volcengine_error, volcengine_success
from volc_moderation import NoQuotas, VolcengineClient
from volc_moderation.cli.sweep import _parse_age
from volc_moderation.emulator import Fault
from volc_moderation.testing import ModerationEmulator

SET = ("--set", "app_id=app")
NOT_FOUND = "InvalidParameter.ErrorActiveTaskNotFound"


@pytest.fixture(autouse=True)
def _short_settle_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volc_moderation.cli.sweep.SETTLE_DELAY", 0.01)


def start(command: Command, room: str, user: str | None = None, media: int = 3) -> None:
    start = ("call", "StartDetection", "--app-id", "app", "--room-id", room, "--media-type", str(media))
    code, _, errors = command(*start, *([] if user is None else ["--user-id", user]))
    assert code == 0, errors


def summary(errors: str) -> str:
    (line,) = re.findall(r"^[\d,]+ moderations? found .*$", errors, re.MULTILINE)
    return str(line)


def test_running_moderations_are_stopped(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    for room, user in (("room-0", None), ("room-1", "a"), ("room-1", "b"), ("other", None)):
        start(command, room, user)
    sweep = ("sweep", rooms(folder, 3, "rooms.csv"), *SET)
    code, output, errors = command(*sweep, "--dry-run")
    assert code == 0
    assert re.search(r"app +room-1 +b +video and audio +20\d\d-", output)
    assert "3 moderations are running in 2 rooms. Nothing was stopped." in errors
    assert "0 moderations are running" in command(*sweep, "--dry-run", "--older-than", "1h")[2]
    code, _, errors = command(*sweep, "--verbose")
    assert code == 0
    assert errors.startswith("HTTP client: httpx2 over aiohttp\n")
    assert summary(errors) == "3 moderations found in 3 rooms: 3 stopped, 0 already gone, 0 still running."
    assert "0 moderations are running" in command(*sweep, "--dry-run")[2]
    assert command("sweep", "rooms.csv", "--older-than", "soon")[0] == 2


def test_each_moderation_is_stopped_once(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """Each room is listed once more, late enough that the listing shows the stop; so no stop is repeated."""
    for number in range(12):
        start(command, f"room-{number}")
    code, _, errors = command("sweep", rooms(folder, 15, "rooms.csv"), *SET, "--output", "out.jsonl")
    assert code == 0
    assert summary(errors) == "12 moderations found in 15 rooms: 12 stopped, 0 already gone, 0 still running."
    counts = vendor.counts()  # the quota is learned, so a call may be throttled
    assert {name: counts[name]["accepted"] for name in ("StopDetection", "ListDetectionTask")} == {
        "StopDetection": 12,
        "ListDetectionTask": 27,
    }
    assert (folder / "out.jsonl").stat().st_mode & 0o777 == 0o600
    actions = [json.loads(line)["action"] for line in (folder / "out.jsonl").read_text().splitlines()]
    assert (actions.count("StopDetection"), actions.count("ListDetectionTask")) == (12, 27)


def test_a_moderation_of_a_room_is_as_old_as_its_first_user(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    """A younger user prevents the stop for one user, but not the stop of the room."""
    vendor.join("volcengine", "room-0", "early", app_id="app")
    start(command, "room-0")
    time.sleep(2.1)
    vendor.join("volcengine", "room-0", "late", app_id="app")
    sweep = ("sweep", rooms(folder, 1, "rooms.csv"), *SET, "--older-than", "2s")
    code, _, errors = command(*sweep)
    assert code == 0, errors
    assert summary(errors) == "1 moderation found in 1 room: 1 stopped, 0 already gone, 0 still running."
    assert received(vendor, "StopDetection") == 2
    assert "0 moderations are running" in command("sweep", "rooms.csv", *SET, "--dry-run")[2]


def test_a_moderation_that_may_be_young_is_reported(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """An old moderation of a user and a young one of the room, of another medium: no stop ends only the first one."""
    start(command, "room-0", "early", media=1)
    vendor.join("volcengine", "room-0", "late", app_id="app")
    time.sleep(2.1)
    start(command, "room-0", media=2)
    code, _, errors = command("sweep", rooms(folder, 1, "rooms.csv"), *SET, "--older-than", "2s")
    assert code == 10
    assert summary(errors) == "1 moderation found in 1 room: 0 stopped, 0 already gone, 1 still running."
    assert re.search(
        r"still running: app app, room room-0, user early: video, since 20[\d :-]+\. Younger ones run beside it", errors
    )
    assert "1 time InvalidParameter: a moderation of the room cannot be stopped for one user" in errors


def test_a_stop_that_is_denied_proves_nothing_about_the_room(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    """Only the vendor's refusal to stop a room's moderation for one user does. A stop would end the young ones too."""
    start(command, "room-0", "early")
    time.sleep(2.1)
    start(command, "room-0", "late")
    vendor.play(Fault(kind="code", action="StopDetection", code="AccessDenied", every=1))
    code, _, errors = command("sweep", rooms(folder, 1, "rooms.csv"), *SET, "--older-than", "2s")
    assert code == 10
    assert summary(errors) == "1 moderation found in 1 room: 0 stopped, 0 already gone, 1 still running."
    assert received(vendor, "StopDetection") == 1


@pytest.mark.parametrize(
    ("rows", "set_"),
    [
        ("room_id,action\nroom-0,ListDetectionTask\nroom-1,StartDetection\n", SET),
        ("room_id\nroom-1\n", (*SET, "--set", "action=StopDetection")),
    ],
)
def test_a_row_that_names_another_action_is_2(
    command: Command, folder: Path, vendor: ModerationEmulator, rows: str, set_: tuple[str, ...]
) -> None:
    (folder / "rooms.csv").write_text(rows)
    code, _, errors = command("sweep", "rooms.csv", *set_)
    assert code == 2
    assert re.search("the action of these rows must be ListDetectionTask; got 'St(art|op)Detection'", errors)
    assert vendor.counts() == {}


def test_one_user_only(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    """A row with a user concerns only that user; the other users of the room are left alone."""
    for user in ("a", "b"):
        start(command, "room-0", user)
    (folder / "rooms.csv").write_text("room_id,user_id\nroom-0,a\n")
    code, _, errors = command("sweep", "rooms.csv", *SET)
    assert code == 0, errors
    assert "1 moderation is running in 1 room" in command("sweep", rooms(folder, 1, "all.csv"), *SET, "--dry-run")[2]
    # Both kinds of rows for one room: no moderation is stopped twice.
    vendor.reset()
    for user in ("a", "b"):
        start(command, "room-0", user)
    (folder / "both.csv").write_text("room_id,user_id\nroom-0,a\nroom-0,\n")
    assert command("sweep", "both.csv", *SET)[0] == 0
    assert received(vendor, "StopDetection") == 2


def test_a_stop_that_is_refused_is_10(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    start(command, "room-0")
    vendor.play(Fault(kind="code", action="StopDetection", code="AccessDenied", every=1, first=1))
    code, _, errors = command("sweep", rooms(folder, 1, "rooms.csv"), *SET)
    assert code == 10
    assert "0 stopped, 0 already gone, 1 still running" in errors
    assert "AccessDenied" in errors


@pytest.mark.parametrize(
    ("first", "expected"), [(True, "1 stopped, 0 already gone"), (False, "0 stopped, 1 already gone")]
)
def test_a_stop_whose_first_answer_was_lost_counts_as_a_stop(
    command: Command, folder: Path, vendor: ModerationEmulator, first: bool, expected: str
) -> None:
    start(command, "room-0")
    if first:
        vendor.play(Fault(kind="reset", action="StopDetection", carried_out=True))
    else:  # another client has stopped it since it was listed
        vendor.play(Fault(kind="code", action="StopDetection", code=NOT_FOUND, carried_out=True))
    code, _, errors = command("sweep", rooms(folder, 1, "rooms.csv"), *SET)
    assert code == 0, errors
    assert f"1 moderation found in 1 room: {expected}" in errors


def test_an_interrupted_sweep_stops_nothing(folder: Path, vendor: ModerationEmulator) -> None:
    """It finishes the listings in flight, and says how to continue."""
    rooms(folder, 300, "rooms.csv")
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, *MAIN, "sweep", "rooms.csv", *SET], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            end = time.monotonic() + 10
            while received(vendor, "ListDetectionTask") < 10 and time.monotonic() < end:
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        finally:
            process.kill()
        assert process.stderr is not None
        errors = process.stderr.read()
    assert errors.endswith("The sweep was interrupted: run it again.\n")
    assert "0 moderations found in " in errors
    assert received(vendor, "StopDetection") == 0


def test_missing_credentials_are_3(command: Command, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("VOLCENGINE", "VOLC_"))]:
        monkeypatch.delenv(name)
    code, _, errors = command("sweep", rooms(folder, 1, "rooms.csv"), *SET)
    assert code == 3
    assert "VOLCENGINE_ACCESS_KEY" in errors


@pytest.mark.parametrize(
    ("text", "seconds"), [("7", 7), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("0s", 0)]
)
def test_ages(text: str, seconds: float) -> None:
    assert _parse_age(text) == seconds


def test_lines_are_not_cut_for_a_narrow_terminal(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(command, "room-0")
    vendor.play(Fault(kind="code", action="StopDetection", code="AccessDenied", every=1))
    monkeypatch.setenv("COLUMNS", "20")
    _, _, errors = command("sweep", rooms(folder, 1, "rooms.csv"), *SET)
    assert summary(errors) == "1 moderation found in 1 room: 0 stopped, 0 already gone, 1 still running."
    assert re.search(
        r"^  still running: app app, room room-0, user [^\n]+: video and audio, since 20.{17}\.$", errors, re.MULTILINE
    )


def test_a_room_that_cannot_be_listed_is_10(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    start(command, "room-0")
    vendor.play(Fault(kind="code", action="ListDetectionTask", match={"RoomId": "room-1"}, code="AccessDenied"))
    sweep = ("sweep", rooms(folder, 2, "rooms.csv"), *SET)
    code, _, errors = command(*sweep)
    assert code == 10
    assert "1 moderation found in 2 rooms: 1 stopped" in errors
    assert "1 room could not be listed: moderations may be running there.\n" in errors
    vendor.play(Fault(kind="code", action="ListDetectionTask", code="AccessDenied"))
    assert command(*sweep, "--dry-run")[0] == 10


# Listings that the emulator does not produce


@pytest.fixture
def listed(
    monkeypatch: pytest.MonkeyPatch, command: Command, folder: Path
) -> Callable[..., tuple[int, str, list[Any]]]:
    """Return a function that sweeps a room with these listings, and returns the exit code, errors and stops."""

    def sweep(*listings: Any, options: tuple[str, ...] = ()) -> tuple[int, str, list[Any]]:
        left, stops = list(listings), []

        def handler(request: httpx.Request) -> httpx.Response:
            if request.url.params["Action"] == "StopDetection":
                stops.append(json.loads(request.content).get("UserId"))
                return volcengine_success()
            listing = left.pop(0) if len(left) > 1 else left[0]
            return (
                volcengine_error("Odd")
                if listing is None
                else volcengine_success({"EventData": listing, "Message": "success"})
            )

        def from_env(**_: Any) -> Any:
            return volcengine_client(http_client=mocked(handler), quotas=NoQuotas())

        monkeypatch.setattr(VolcengineClient, "from_env", from_env)
        code, _, errors = command("sweep", rooms(folder, 1, "rooms.csv"), *SET, *options)
        return code, errors, stops

    return sweep


def task(user: str, *, status: int = 1, started: float = 1) -> dict[str, Any]:
    return {"UserId": user, "RoomId": "room-0", "MediaType": 3, "CreateTime": int(started), "Status": status}


def test_a_slow_clock_leaves_nothing_running(listed: Any) -> None:
    """Without --older-than, everything is stopped; the vendor's clock may be ahead of this machine's."""
    code, _, stops = listed([task("a", started=time.time() + 3600)], [])
    assert (code, stops) == (0, [None])


def test_an_unknown_status_counts_as_running(listed: Any) -> None:
    code, errors, stops = listed([task("a", status=7)], [task("a", status=7)])
    assert (code, stops) == (10, [None, "a"])
    assert "1 still running" in errors


@pytest.mark.slow
def test_unreadable_items_may_be_running_moderations(listed: Any) -> None:
    code, errors, stops = listed([task("a", status=2), {"UserId": "b"}])
    assert (code, stops) == (10, [None])
    assert "1 listed item could not be read: moderations may be running there.\n" in errors
    code, errors, stops = listed([task("a", status=2), {"UserId": "b"}], [task("a", status=2)])
    assert (code, stops) == (0, [None])
    code, errors, stops = listed([task("a", status=2), {"UserId": "b"}], options=("--older-than", "1h"))
    assert (code, stops) == (10, [])


def test_moderations_of_a_room_that_can_no_longer_be_listed_are_unknown(listed: Any) -> None:
    code, errors, stops = listed([task("a")], None)
    assert (code, stops) == (10, [None])
    assert "1 moderation found in 1 room: 0 stopped, 0 already gone, 0 still running, 1 unknown." in errors


def test_ids_that_cannot_be_sent_are_reported(listed: Any) -> None:
    """They are printed as text."""
    hostile = [task("a\x1b[2J"), task("b", started=time.time() + 60)]
    code, errors, stops = listed(hostile, options=("--older-than", "1h"))
    assert (code, stops) == (10, [])
    assert r"user a\x1b[2J: video and audio, since" in errors
    assert "\x1b" not in errors


def test_a_time_out_of_range(listed: Any) -> None:
    code, errors, _ = listed([task("a") | {"CreateTime": 10**30}], options=("--older-than", "1h"))
    assert (code, "0 moderations found in 1 room" in errors) == (0, True)
    assert listed([task("a") | {"CreateTime": -(10**30)}])[0] == 10
