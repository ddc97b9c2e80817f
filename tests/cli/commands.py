"""Helpers of the tests of the commands: input files, and faults and counts of the emulator."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from volc_moderation.emulator import Fault
from volc_moderation.testing import ModerationEmulator

#: Runs a command with some arguments, and returns its exit code, output and errors.
Command = Callable[..., tuple[int, str, str]]

#: Options that stop the rooms of a file.
STOP = ("--action", "StopWebcast", "--set", "app_id=app", "--set", "task_id=wall")

#: An address at which no vendor listens.
NOWHERE = "http://127.0.0.1:9"

#: Arguments of Python that run the command in a separate process; they precede those of the command.
MAIN = ("-c", "from volc_moderation.cli import main; main()")


def rooms(folder: Path, count: int, name: str = "stops.csv") -> str:
    """Write a file of rooms, and return its name."""
    (folder / name).write_text("room_id\n" + "".join(f"room-{number}\n" for number in range(count)))
    return name


def refuse(vendor: ModerationEmulator, room: str, code: str, **options: Any) -> None:
    """Let the emulator refuse the next stop of a room."""
    vendor.play(Fault(kind="code", action="StopWebcast", match={"RoomId": room}, code=code, **options))


def received(vendor: ModerationEmulator, action: str = "StopWebcast") -> int:
    """Return how many calls of an action the emulator has received."""
    return int(vendor.counts().get(action, {}).get("received", 0))
