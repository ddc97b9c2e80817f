"""Fixtures: the doubles of STS and of the metadata service, and waits that take no time."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.volcengine.credentials.double import Clock, MetadataDouble, STSDouble
from volc_moderation import retry
from volc_moderation.volcengine import ECSCredentials
from volc_moderation.volcengine.credentials import sending


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sts(clock: Clock) -> AsyncIterator[STSDouble]:
    async with STSDouble(clock) as sts:
        yield sts


@pytest.fixture
async def metadata(clock: Clock) -> AsyncIterator[MetadataDouble]:
    async with MetadataDouble(clock) as metadata:
        yield metadata


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the waits between attempts. They take no time."""
    waits: list[float] = []

    def record(*args: Any, **options: Any) -> float | None:
        wait = retry.next_wait(*args, **options)
        if wait is None or wait > sending.MAX_WAIT:
            return wait
        waits.append(wait)
        return 0.0

    monkeypatch.setattr(sending, "next_wait", record)
    return waits


@pytest.fixture
def default_endpoints(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what replaces the addresses of the vendor that providers of a server's role have by default."""
    defaults = ECSCredentials.__init__.__kwdefaults__
    assert defaults is not None

    def replace(**addresses: str) -> None:
        for name, address in addresses.items():
            monkeypatch.setitem(defaults, name, address)

    return replace
