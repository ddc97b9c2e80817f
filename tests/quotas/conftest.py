"""A fixture for files of quotas in virtual time."""

import asyncio

import pytest

from tests.quotas.processes import EPOCH
from volc_moderation.quotas import file_quotas, quota_file


@pytest.fixture
def virtual_machine_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine's clock follow that of the running loop."""

    def machine_clock() -> int:
        return int((EPOCH + asyncio.get_running_loop().time()) * 1_000_000)

    for module in (file_quotas, quota_file):
        monkeypatch.setattr(module, "machine_clock", machine_clock)
