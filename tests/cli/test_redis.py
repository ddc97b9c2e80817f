"""Commands that share quotas or a queue through Redis: outages, addresses with passwords, workers that are replaced."""

import asyncio
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cli.commands import MAIN, STOP, Command, received, refuse, rooms
from tests.doubles import free_port
from volc_moderation.cli.environment import REDIS_VARIABLE
from volc_moderation.testing import ModerationEmulator

PASSWORD = "pa-ss@word"


@pytest.fixture
def nowhere() -> str:
    """Return an address at which no Redis listens."""
    return f"redis://127.0.0.1:{free_port()}"


@pytest.fixture
def address(valkey: str, redis: Any) -> str:
    """Return the address of an empty Redis."""
    return valkey


# Outages


@pytest.mark.parametrize("name", ["bulk", "sweep"])
def test_an_unavailable_quota_store_ends_a_run(
    command: Command, folder: Path, vendor: ModerationEmulator, nowhere: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends after a timeout, loses nothing, and prints how to continue."""
    monkeypatch.setattr("volc_moderation.jobs.lane_runner.QUOTA_STORE_TIMEOUT", 1.5)
    began = time.monotonic()
    arguments = {"bulk": STOP, "sweep": ("--set", "app_id=app")}[name]
    code, _, errors = command(name, rooms(folder, 300), *arguments, "--redis", nowhere)
    assert code == 1, errors
    assert 1.5 < time.monotonic() - began < 10
    assert re.search(r"^waiting: (StopWebcast|ListDetectionTask): the store of quotas ", errors, re.MULTILINE)
    assert "The run cannot continue: " in errors
    assert sum(one.get("received", 0) for one in vendor.counts().values()) == 0
    if name == "bulk":
        assert "0 done, 300 left." in errors
        assert f"Resume with: volc-moderation bulk --resume --journal stops.csv.jobs --redis {nowhere}\n" in errors
        assert command("bulk", "--resume", "--journal", "stops.csv.jobs")[0] == 0
        assert received(vendor) == 300


def test_a_queue_that_cannot_be_reached(
    command: Command, folder: Path, vendor: ModerationEmulator, nowhere: str
) -> None:
    code, _, errors = command("bulk", rooms(folder, 3), *STOP, "--engine", "workers", "--redis", nowhere)
    assert (code, "the queue cannot be reached: " in errors) == (1, True)
    assert (
        f"Resume with: volc-moderation bulk --resume --journal stops.csv.jobs --redis {nowhere} --engine workers"
        in errors
    )
    code, _, errors = command("worker", "--redis", nowhere)
    assert (code, "the queue cannot be reached: " in errors) == (1, True)
    code, _, errors = command("bulk", rooms(folder, 3, "other.csv"), *STOP, "--engine", "workers")
    assert (code, errors) == (
        2,
        f"--engine workers needs --redis, such as --redis redis://localhost, or {REDIS_VARIABLE}\n",
    )


# Addresses


FORMS = ("redis://:{}@127.0.0.1:{}/0", "redis://user:{}@127.0.0.1:{}", "redis://127.0.0.1:{1}/0?password={0}")


@pytest.mark.parametrize(("form", "is_there"), [*((form, False) for form in FORMS), (FORMS[0], True)])
def test_a_password_is_not_printed(
    command: Command,
    folder: Path,
    vendor: ModerationEmulator,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    form: str,
    is_there: bool,
) -> None:
    """Whether the server expects another password or none, or there is no server."""
    monkeypatch.setattr("volc_moderation.jobs.lane_runner.QUOTA_STORE_TIMEOUT", 0.5)
    refuse(vendor, "room-0", "AccessDenied")
    port = urlsplit(address).port if is_there else free_port()
    given = form.format(PASSWORD, port)
    code, output, errors = command("bulk", rooms(folder, 1), *STOP, "--redis", given)
    assert code in {1, 10}, errors
    assert re.search(
        r"(Resume|Retry the failed calls) with: volc-moderation bulk --resume --journal stops.csv.jobs --redis '?redis://",
        errors,
    )
    assert "***" in errors
    assert errors.endswith(
        f"Type the password of the Redis in the place of ***, or omit --redis and set {REDIS_VARIABLE}.\n"
    )
    assert "pa-ss" not in output + errors
    if not is_there:
        for name, arguments in (
            ("bulk", ["--resume", "--journal", "stops.csv.jobs", "--engine", "workers"]),
            ("worker", []),
        ):
            code, output, errors = command(name, *arguments, "--redis", given)
            assert code == 1
            assert "the queue cannot be reached" in errors
            assert "pa-ss" not in output + errors


def test_an_address_in_the_environment(
    command: Command, folder: Path, vendor: ModerationEmulator, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not be an argument, which anybody could read in the list of processes; and it is not printed."""
    monkeypatch.setenv(REDIS_VARIABLE, address)
    refuse(vendor, "room-1", "AccessDenied")
    code, _, errors = command("bulk", rooms(folder, 3), *STOP)
    assert code == 10
    assert "password" not in errors
    assert (
        "Retry the failed calls with: volc-moderation bulk --resume --journal stops.csv.jobs --retry-failed\n" in errors
    )
    monkeypatch.setenv(REDIS_VARIABLE, "")  # counts as unset
    code, _, errors = command("bulk", "--resume", "--journal", "stops.csv.jobs", "--retry-failed")
    assert code == 0, errors


@pytest.mark.parametrize("name", ["bulk", "sweep", "worker"])
def test_a_redis_that_is_not_an_address_is_2(
    command: Command, folder: Path, vendor: ModerationEmulator, name: str
) -> None:
    arguments = {"bulk": [rooms(folder, 1), *STOP], "sweep": [rooms(folder, 1), "--set", "app_id=a"], "worker": []}[
        name
    ]
    for wrong in (f"localhost:{PASSWORD}", "http://localhost"):
        code, _, errors = command(name, *arguments, "--redis", wrong)
        assert (code, errors) == (2, "--redis must be an address such as redis://localhost:6379\n")


# Workers


def test_a_worker_names_what_is_missing(
    command: Command, folder: Path, vendor: ModerationEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in vendor.environment:
        monkeypatch.delenv(name, raising=False)
    code, _, errors = command("worker", "--redis", "redis://127.0.0.1:1")
    assert code == 3
    assert errors.count("\n") == 1
    assert "VOLCENGINE_ACCESS_KEY" in errors
    monkeypatch.setitem(sys.modules, "redis", None)
    code, _, errors = command("worker", "--redis", "redis://127.0.0.1:1")
    assert (code, errors) == (2, "worker needs redis: pip install 'volc_moderation[redis]'\n")


async def start(*arguments: str, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, *MAIN, *arguments, cwd=folder, env=os.environ, stderr=asyncio.subprocess.PIPE
    )


async def test_a_rolling_deployment_does_not_delay_jobs(
    folder: Path, vendor: ModerationEmulator, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is asked to stop returns what it cannot finish; the next worker gets it at once."""
    monkeypatch.setenv(REDIS_VARIABLE, address)
    run = await start("bulk", rooms(folder, 120), *STOP, "--engine", "workers", "--rate", "20", folder=folder)
    assert run.stderr is not None
    lines = [(await run.stderr.readline()).decode() for _ in range(3)]
    assert any("No worker listens to the queue. Start one with: " in line for line in lines), lines
    first = await start("worker", "--rate", "20", "--concurrency", "64", "--verbose", folder=folder)
    async with asyncio.timeout(20):
        while received(vendor) < 20:
            await asyncio.sleep(0.05)
    second = await start("worker", "--rate", "20", "--concurrency", "64", folder=folder)
    first.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, printed = await first.communicate()
    assert first.returncode == 0
    assert printed.startswith(b"HTTP client: httpx2 over aiohttp\nWorking for queue moderation: volcengine, zego\n")
    (returned,) = re.findall(r"Stopped\. (\d+) unfinished jobs were returned to the queue\.", printed.decode())
    _, errors = await run.communicate()
    took = time.monotonic() - began
    second.send_signal(signal.SIGTERM)
    await second.communicate()
    assert (run.returncode, "120 done" in errors.decode()) == (0, True)
    assert received(vendor) == 120
    assert int(returned) > 0
    assert took < 14, "the jobs of the first worker waited until its lease expired"
