"""Stores of quotas that are broken in each way."""

from pathlib import Path

import pytest

from tests.doctor.findings import SUBJECT, statuses
from tests.doubles import aged_quota_file, free_port
from volc_moderation import FileQuotas, RedisQuotas, WindowQuotas
from volc_moderation.cli.environment import open_quotas
from volc_moderation.doctor import quota_store
from volc_moderation.doctor.finding import Finding
from volc_moderation.doctor.quota_store import usable_store
from volc_moderation.quotas.permit import Quotas

pytestmark = pytest.mark.slow  # hundreds of one kind


async def check() -> tuple[Quotas, Finding]:
    async with usable_store(SUBJECT, open_quotas) as found:
        return found


async def test_quotas_of_a_process() -> None:
    quotas, finding = await check()
    assert isinstance(quotas, WindowQuotas)
    assert statuses([finding]) == {"store": "ok"}
    assert "two of them would send twice the quota" in finding.detail


async def test_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = aged_quota_file(tmp_path / "quotas")
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", f"file:{path}")
    quotas, finding = await check()
    assert isinstance(quotas, FileQuotas)
    assert statuses([finding]) == {"store": "ok"}
    assert str(path) in finding.detail


async def test_a_redis(monkeypatch: pytest.MonkeyPatch, valkey: str) -> None:
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", valkey)
    quotas, finding = await check()
    assert isinstance(quotas, RedisQuotas)
    assert statuses([finding]) == {"store": "ok"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("file:/nonexistent/quotas", "there is no directory /nonexistent"),
        ("disk", "must be window, file, file:/path or the address of a Redis"),
        ("redis://:pass-word@127.0.0.1:{port}", "unavailable"),
    ],
)
async def test_a_store_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch, value: str, text: str) -> None:
    """The calls of the checks then have permits of their own."""
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", value.format(port=free_port()))
    quotas, finding = await check()
    assert statuses([finding]) == {"store": "failed"}
    assert text in finding.detail
    assert "VOLC_MODERATION_QUOTAS" in finding.next_step
    assert "pass-word" not in repr(finding)
    assert isinstance(quotas, WindowQuotas)


async def test_a_store_that_grants_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new file grants nothing for 1.5 s, which is longer than the check waits here."""
    monkeypatch.setattr(quota_store, "PERMIT_TIMEOUT", 0.05)
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", f"file:{tmp_path / 'quotas'}")
    _, finding = await check()
    assert statuses([finding]) == {"store": "failed"}
    assert "no permit within 0.05 s" in finding.detail
