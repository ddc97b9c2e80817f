"""Fixtures for stores that processes share, in virtual time."""

import asyncio
from pathlib import Path

import pytest

from tests.quotas.processes import EPOCH, FileProcesses, Processes, SharingProcesses
from volc_moderation.quotas import Quota, file_quotas, quota_file

#: A store, and a quota in it, for the fixture ``processes``.
STORES = [("Redis", 3), ("file", 3)]


@pytest.fixture
def virtual_machine_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine's clock follow that of the running loop."""

    def machine_clock() -> int:
        return int((EPOCH + asyncio.get_running_loop().time()) * 1_000_000)

    for module in (file_quotas, quota_file):
        monkeypatch.setattr(module, "machine_clock", machine_clock)


@pytest.fixture
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> SharingProcesses:
    """Let processes share a quota through a store, which the parameter names together with the quota."""
    store, limit = request.param
    if store == "file":
        return FileProcesses(tmp_path / "quotas", Quota(limit))
    return Processes(request.getfixturevalue("redis"), Quota(limit))
