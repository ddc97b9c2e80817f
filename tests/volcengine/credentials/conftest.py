"""Fixtures: the doubles of STS and of the metadata service, and waits that take no time."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.volcengine.credentials.double import Clock, MetadataDouble, STSDouble
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
    next_wait = sending.next_wait

    def record(*args: Any, **options: Any) -> float | None:
        wait = next_wait(*args, **options)
        if wait is None or wait > sending.MAX_WAIT:
            return wait
        waits.append(wait)
        return 0.0

    monkeypatch.setattr(sending, "next_wait", record)
    return waits
