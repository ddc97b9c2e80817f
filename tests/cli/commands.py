"""Files of calls, and what the emulator is asked for by the tests of the commands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from volc_moderation.emulator import Fault
from volc_moderation.testing import ModerationEmulator

#: Runs a command with some arguments, and returns its exit code, output and errors.
Command = Callable[..., tuple[int, str, str]]

#: How ``rooms`` are stopped.
STOP = ("--action", "StopWebcast", "--set", "app_id=app", "--set", "task_id=wall")

#: Before the arguments of a command in a process of its own.
MAIN = ("-c", "from volc_moderation.cli import main; main()")


def rooms(folder: Path, count: int, name: str = "stops.csv") -> str:
    """Write a file of rooms, and return its name."""
    (folder / name).write_text("room_id\n" + "".join(f"room-{number}\n" for number in range(count)))
    return name


def refuse(vendor: ModerationEmulator, room: str, code: str, **options: Any) -> None:
    """Have the next stop of a room refused."""
    vendor.play(Fault(kind="code", action="StopWebcast", match={"RoomId": room}, code=code, **options))


def received(vendor: ModerationEmulator, action: str = "StopWebcast") -> int:
    """Return how many calls have come."""
    return int(vendor.counts().get(action, {}).get("received", 0))
