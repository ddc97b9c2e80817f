"""Which quotas the commands keep: by default those of all commands of the user on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import Command
from volc_moderation import FileQuotas
from volc_moderation.quotas import quota_path
from volc_moderation.testing import ModerationEmulator

#: Stops of each of two runs: together they take the quota of two seconds.
STOPS = 150
CALL = ("call", "StopWebcast", "--app-id", "a", "--room-id", "r", "--task-id", "t")


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use the default store, in a runtime directory of this test."""
    directory = tmp_path / "runtime"
    directory.mkdir()
    directory.chmod(0o1777)
    monkeypatch.setattr(quota_path, "RUNTIME_DIRECTORIES", (directory,))
    monkeypatch.delenv("VOLC_MODERATION_QUOTAS")
    return directory


@pytest.mark.slow
@pytest.mark.usefixtures("vendor")
def test_commands_use_the_file_of_the_user(runtime: Path, command: Command) -> None:
    code, _, errors = command(*CALL)
    assert code == 1, errors
    assert json.loads(errors)["code"]
    (file,) = runtime.glob("volc_moderation-*/quotas")
    assert FileQuotas().path == file
    before = file.stat().st_mtime_ns
    (runtime / "stops.csv").write_text("app_id,room_id,task_id\na,r,t\n")
    code, _, errors = command("bulk", str(runtime / "stops.csv"), "--action", "StopWebcast")
    assert code == 0, errors
    assert file.stat().st_mtime_ns > before


@pytest.mark.slow
@pytest.mark.usefixtures("vendor", "runtime")
def test_a_file_that_cannot_be_shared_is_an_error(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command falls back to quotas of its own without being told so."""
    monkeypatch.setattr(quota_path, "RUNTIME_DIRECTORIES", (tmp_path / "none",))
    code, _, errors = command(*CALL)
    assert (code, "FileQuotas has no default path" in errors) == (2, True)
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", f"file:{tmp_path / 'none' / 'quotas'}")
    code, _, errors = command(*CALL)
    assert (code, "there is no directory" in errors) == (2, True)
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", "window")
    code, _, errors = command(*CALL)
    assert json.loads(errors)["code"]


@pytest.mark.slow
def test_two_terminals_keep_the_quota_together(vendor: ModerationEmulator, tmp_path: Path) -> None:
    """Each of them alone uses all of it; without a common store, the vendor would refuse a third of the calls."""
    environment = {**vendor.environment, "VOLC_MODERATION_QUOTAS": f"file:{tmp_path / 'quotas'}", "PATH": ""}
    runs = []
    for number in range(2):
        rows = "\n".join(f"a,r{number}-{room},t" for room in range(STOPS))
        (tmp_path / f"{number}.csv").write_text(f"app_id,room_id,task_id\n{rows}\n")
        arguments = (
            "-c",
            "from volc_moderation.cli import main; main()",
            "bulk",
            str(tmp_path / f"{number}.csv"),
            "--action",
            "StopWebcast",
        )
        command = (sys.executable, *arguments)
        runs.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE))  # noqa: S603 - Python itself
    for run in runs:
        _, errors = run.communicate(timeout=60)
        assert run.returncode == 0, errors.decode()
    count = vendor.counts()["StopWebcast"]
    assert (count["received"], count["throttled"]) == (2 * STOPS, 0)
