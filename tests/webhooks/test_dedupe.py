"""The dedupe stores: in memory within bounds, and in a real Valkey for several processes."""

import asyncio
import logging
import sys
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from volc_moderation import ConfigurationError
from volc_moderation.redis_client import client_or_error
from volc_moderation.testing import CALLBACK_SECRET, make_zego_callback
from volc_moderation.webhooks import MemoryDedupeStore, RedisDedupeStore, Webhooks


class BlockingRedis:
    """A client that is not asynchronous: each call would block the event loop."""

    def execute_command(self, *_: object) -> object:
        return b"new"

    def eval(self, *_: object) -> object:
        return b"new"


@pytest.fixture
async def redis(valkey: str) -> AsyncIterator[Any]:
    client = Redis.from_url(valkey)
    await client.flushall()
    yield client
    await client.aclose()


async def check_states(store: Any, key: str) -> None:
    """Check the states of an event that fails once and is then handled."""
    assert await store.begin(key) == "new"
    assert await store.begin(key) == "running"
    await store.end(key, handled=False)
    assert await store.begin(key) == "new"
    await store.end(key, handled=True)
    assert await store.begin(key) == "handled"
    assert await store.begin(f"{key}-other") == "new"


async def test_states_in_memory() -> None:
    await check_states(MemoryDedupeStore(), "key")


async def test_the_memory_store_is_bounded_in_number_and_age() -> None:
    now = 0.0
    store = MemoryDedupeStore(most=100, seconds=60, clock=lambda: now)
    for number in range(1000):
        await store.begin(str(number))
        await store.end(str(number), handled=True)
        assert len(store._handled) <= 100
    assert await store.begin("999") == "handled"
    assert await store.begin("899") == "new"  # the oldest are forgotten first
    now = 59.9
    assert await store.begin("998") == "handled"
    now = 60.0
    assert await store.begin("997") == "new"
    assert not store._handled


@pytest.mark.parametrize("options", [{"most": 0}, {"seconds": 0}, {"seconds": -1}, {"most": True}, {"seconds": "60"}])
def test_wrong_settings_of_the_memory_store_raise(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        MemoryDedupeStore(**options)


async def test_states_in_redis(redis: Any) -> None:
    await check_states(RedisDedupeStore(redis), "key")


async def test_one_of_several_processes_handles_an_event(redis: Any) -> None:
    """Each store stands for a process."""
    processes = [RedisDedupeStore(redis) for _ in range(10)]
    states = await asyncio.gather(*(one.begin("key") for one in processes))
    assert sorted(states) == ["new", *9 * ["running"]]
    winner = processes[states.index("new")]
    loser = processes[states.index("running")]
    await loser.end("key", handled=False)  # it does not run the event
    assert await loser.begin("key") == "running"
    await winner.end("key", handled=True)
    assert {await one.begin("key") for one in processes} == {"handled"}


async def test_the_events_of_a_dead_process_are_handled_by_another(redis: Any) -> None:
    dead, alive = RedisDedupeStore(redis, running_seconds=1), RedisDedupeStore(redis)
    assert await dead.begin("key") == "new"
    assert await alive.begin("key") == "running"
    await asyncio.sleep(1.1)
    assert await alive.begin("key") == "new"
    await dead.end("key", handled=False)  # it was only slow, and another process runs the event now
    assert await alive.begin("key") == "running"


async def test_keys_have_a_prefix_and_expire(redis: Any) -> None:
    store = RedisDedupeStore(redis, prefix="mine:", seconds=100)
    await store.begin("key")
    assert 1 <= await redis.ttl("mine:key") <= 10
    await store.end("key", handled=True)
    assert 90 <= await redis.ttl("mine:key") <= 100
    assert await redis.keys("*") == [b"mine:key"]


async def test_a_client_may_decode_responses(valkey: str) -> None:
    async with Redis.from_url(valkey, decode_responses=True) as client:
        await client.flushall()
        await check_states(RedisDedupeStore(client), "key")


async def test_an_address_may_stand_for_a_client(valkey: str) -> None:
    store = RedisDedupeStore(valkey)
    assert await store.begin("of an address") == "new"
    await store.aclose()


async def test_without_redis_no_event_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Handling an event twice is better than losing it."""
    events: list[Any] = []

    async def handle(event: Any) -> None:
        events.append(event)

    store = RedisDedupeStore("redis://:s3cret@127.0.0.1:1/0")
    app = Webhooks(handle, zego=CALLBACK_SECRET, dedupe=store)
    body = make_zego_callback()
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/zego", "headers": [], "query_string": b"", "root_path": ""}
    with caplog.at_level(logging.DEBUG, "volc_moderation"):
        for _ in range(2):
            await app(scope, receive, send)
    await store.aclose()
    assert [message["status"] for message in sent if "status" in message] == [200, 200]
    assert len(events) == 2
    assert "the dedupe store is unavailable" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.looptime
async def test_a_redis_that_hangs_is_not_awaited_for_long() -> None:
    class Hanging:
        async def eval(self, *_: object) -> object:
            await asyncio.sleep(3600)
            return b"handled"

    store = RedisDedupeStore(Hanging())
    assert await store.begin("key") == "new"
    await store.end("key", handled=True)
    assert asyncio.get_running_loop().time() < 3


@pytest.mark.parametrize(
    ("client", "options"),
    [
        (None, {}),
        (5, {}),
        ("redis://h", {"seconds": 0}),
        ("redis://h", {"running_seconds": 1.5}),
        ("redis://h", {"prefix": None}),
        (BlockingRedis(), {}),
    ],
)
def test_wrong_settings_of_the_redis_store_raise(client: Any, options: Any) -> None:
    with pytest.raises(ConfigurationError):
        RedisDedupeStore(client, **options)


@pytest.mark.parametrize(
    "address",
    [
        "redis://:s3cret@host:notaport/0",
        "redis://host:notaport/0?password=s3cret",
        "redis://host/0?socket_timeout=s3cret",
        "redis://host/0?max_connections=-1&password=s3cret",
        "redis://[::1?password=s3cret",
        "rediss//:s3cret@host",
        "http://:s3cret@host",
        "s3cret",
        "",
    ],
)
def test_the_error_for_a_malformed_address_does_not_show_it(address: str) -> None:
    with pytest.raises(ConfigurationError, match="client must be an address like 'redis://host:6379/0'") as caught:
        RedisDedupeStore(address)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    frames = list(traceback.walk_tb(caught.value.__traceback__))
    assert len(frames) == 2
    # The first frame is that of this test.
    printed = f"{caught.value}{caught.value!r}{[frame.f_locals for frame, _ in frames[1:]]}"
    assert "s3cret" not in printed


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError) as caught:
        RedisDedupeStore("redis://:s3cret@host/0")
    assert str(caught.value) == "RedisDedupeStore needs redis: pip install 'volc_moderation[redis]'"


async def test_the_text_of_an_error_of_redis_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        async def eval(self, *_: object) -> object:
            raise ConnectionError("cannot reach redis://:s3cret@host/0?password=s3cret")

    store = RedisDedupeStore(Failing())
    with caplog.at_level(logging.DEBUG):
        assert await store.begin("key") == "new"
        await store.end("key", handled=True)
    assert [record.getMessage() for record in caplog.records] == [
        "the dedupe store is unavailable, so repeated callbacks may be handled again: ConnectionError"
    ]
    assert "s3cret" not in caplog.text


async def test_most_events_are_remembered_exactly() -> None:
    store = MemoryDedupeStore(most=2)
    for key in "abc":
        assert await store.begin(key) == "new"
        await store.end(key, handled=True)
    assert [await store.begin(key) for key in "bca"] == ["handled", "handled", "new"]


@pytest.mark.parametrize("name", ["seconds", "running_seconds"])
def test_a_bool_is_not_a_number_of_seconds(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be an int of at least 1; got bool"):
        RedisDedupeStore("redis://host", **{name: True})  # type: ignore[arg-type]


async def test_the_timeout_of_the_client_includes_its_retry() -> None:
    """Half of it is for a pooled connection, which may be dead, and half for a new one."""
    client: Any = client_or_error("redis://host", required_method="eval", used_by="RedisDedupeStore", timeout=1.0)
    settings = client.connection_pool.connection_kwargs
    assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (0.5, 0.5)
    assert settings["retry"]._retries == 1
    await client.aclose()
