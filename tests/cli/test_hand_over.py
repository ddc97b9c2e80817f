"""The command ``bulk --hand-over``: rows for a journal that a web app has open."""

import asyncio
import contextlib
import os
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import STOP, Command, received, rooms
from volc_moderation import JournalError, VolcengineClient, ZegoClient
from volc_moderation.bulk import load
from volc_moderation.cli import hand_over
from volc_moderation.cli.hand_over import _in_thread
from volc_moderation.jobs import Jobs, JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import LoadResult
from volc_moderation.testing import ModerationEmulator

HAND_OVER = (*STOP, "--journal", "app.db", "--hand-over")


@contextlib.contextmanager
def app(*client_types: type[VolcengineClient] | type[ZegoClient]) -> Iterator[None]:
    """Run ``Jobs`` in another thread, as an app does in another process."""
    is_open, end = threading.Event(), threading.Event()

    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(client_type.from_env()) for client_type in client_types]
            async with Jobs("app.db", clients=clients):
                is_open.set()
                await asyncio.to_thread(end.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert is_open.wait(10)
        yield
    finally:
        end.set()
        thread.join()


def test_rows_are_handed_over_to_the_process_that_has_the_journal(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    """As often as the command is given: a call that has ended is made again."""
    name = rooms(folder, 20)
    with app(VolcengineClient):
        for total in (20, 40):
            code, _, errors = command("bulk", name, *HAND_OVER)
            assert (code, errors) == (
                11,
                f"20 calls were handed over to process {os.getpid()}. Follow with: volc-moderation jobs app.db\n",
            )
            for _ in range(500):
                with contextlib.closing(Journal("app.db", access="read")) as journal:
                    counts = journal.counts()
                if counts[JobState.DONE] == 20 and received(vendor) == total:
                    break
                threading.Event().wait(0.01)
            assert (counts[JobState.DONE], received(vendor)) == (20, total)
        follow = errors.rpartition("Follow with: volc-moderation ")[2]
        assert "20 done" in command(*shlex.split(follow))[1]


def test_a_hand_over_that_was_cut_short_is_continued(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written stays; the same command adds the rest."""
    name, parts = rooms(folder, 5), 0

    def load_jobs(*arguments: Any, **options: Any) -> LoadResult:
        nonlocal parts
        parts += 1
        if parts == 2:
            raise JournalError("the disk is full")
        return load.load_jobs(*arguments, **options)

    monkeypatch.setattr(hand_over, "ROWS_PER_COMMIT", 2)
    monkeypatch.setattr(hand_over, "load_jobs", load_jobs)
    with app(VolcengineClient):
        code, _, errors = command("bulk", name, *HAND_OVER)
        assert (code, errors) == (1, "the disk is full\n")
        code, _, errors = command("bulk", name, *HAND_OVER)
        assert code == 11
        assert "5 calls were handed over" in errors
        with contextlib.closing(Journal("app.db", access="read")) as journal:
            assert sum(journal.counts().values()) == 5


def test_a_journal_in_use_is_named_with_the_way_out(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    name = rooms(folder, 2)
    with app(VolcengineClient):
        code, _, errors = command("bulk", name, *STOP, "--journal", "app.db")
    assert code == 1
    assert f"is in use: process {os.getpid()} on " in errors
    assert "to hand these calls to it, add --hand-over" in errors
    assert received(vendor) == 0


def test_nothing_is_handed_over_to_nobody(command: Command, folder: Path, vendor: ModerationEmulator) -> None:
    name = rooms(folder, 2)
    for _ in range(2):
        code, _, errors = command("bulk", name, *HAND_OVER)
        assert (code, errors) == (
            2,
            "no process runs the jobs of app.db: run the same command without --hand-over\n",
        )
        Journal("app.db").close()


def test_bad_rows_and_accounts_that_the_app_does_not_have_are_refused(
    command: Command, folder: Path, vendor: ModerationEmulator
) -> None:
    name = rooms(folder, 2)
    with app(ZegoClient):
        code, _, errors = command("bulk", name, *HAND_OVER)
        assert (code, "has no client for this account of volcengine" in errors) == (3, True)
    with app(VolcengineClient):
        (folder / "bad.csv").write_text("room_id\nroom\n\x00\n")
        code, _, errors = command("bulk", "bad.csv", *HAND_OVER)
        assert (code, "Fix the bad row, or skip it" in errors) == (2, True)
    with contextlib.closing(Journal("app.db")) as journal:
        assert sum(journal.counts().values()) == 0


@pytest.mark.parametrize(
    "option",
    [
        ("--resume",),
        ("--on-temporary", "defer"),
        ("--output", "out.jsonl"),
        ("--report", "report.html"),
        ("--rate", "5"),
        ("--redis", "redis://localhost"),
        ("--engine", "workers"),
    ],
)
def test_options_that_contradict_it_are_refused(command: Command, folder: Path, option: tuple[str, ...]) -> None:
    code, _, errors = command("bulk", rooms(folder, 1), *HAND_OVER, *option)
    assert (code, f"omit {option[0]}" in errors) == (2, True)


def test_rows_that_are_read_when_the_command_was_interrupted_disturb_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    go_on = threading.Event()

    async def start() -> threading.Thread:
        _in_thread(go_on.wait)
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "rows")
        return thread

    reading = asyncio.run(start())
    go_on.set()
    reading.join(5)
    assert not errors
