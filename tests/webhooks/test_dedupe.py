"""What was handled is remembered: in memory within bounds, and in a real Valkey for several processes."""

import asyncio
import logging
import sys
import traceback
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from volc_moderation import ConfigurationError
from volc_moderation.redis_client import client_of
from volc_moderation.testing import CALLBACK_SECRET, make_zego_callback
from volc_moderation.webhooks import MemoryDedupeStore, RedisDedupeStore, Webhooks


class BlockingRedis:
    """A client that is not redis.asyncio's: each call would hold up the event loop."""

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


async def lived(seen: Any, key: str) -> None:
    assert await seen.begin(key) == "new"
    assert await seen.begin(key) == "running"
    await seen.end(key, handled=False)
    assert await seen.begin(key) == "new"
    await seen.end(key, handled=True)
    assert await seen.begin(key) == "handled"
    assert await seen.begin(f"{key}-other") == "new"


async def test_memory() -> None:
    await lived(MemoryDedupeStore(), "key")


async def test_memory_is_bounded_in_number_and_in_age() -> None:
    now = 0.0
    seen = MemoryDedupeStore(most=100, seconds=60, clock=lambda: now)
    for number in range(1000):
        await seen.begin(str(number))
        await seen.end(str(number), handled=True)
        assert len(seen._handled) <= 100
    assert await seen.begin("999") == "handled"
    assert await seen.begin("899") == "new"  # the oldest are forgotten first
    now = 59.9
    assert await seen.begin("998") == "handled"
    now = 60.0
    assert await seen.begin("997") == "new"
    assert not seen._handled


@pytest.mark.parametrize("options", [{"most": 0}, {"seconds": 0}, {"seconds": -1}, {"most": True}, {"seconds": "60"}])
def test_wrong_bounds(options: Any) -> None:
    with pytest.raises(ConfigurationError):
        MemoryDedupeStore(**options)


async def test_redis(redis: Any) -> None:
    await lived(RedisDedupeStore(redis), "key")


async def test_several_processes(redis: Any) -> None:
    """As if each were a process: one of them handles it, whoever asks."""
    processes = [RedisDedupeStore(redis) for _ in range(10)]
    states = await asyncio.gather(*(one.begin("key") for one in processes))
    assert sorted(states) == ["new", *9 * ["running"]]
    winner = processes[states.index("new")]
    loser = processes[states.index("running")]
    await loser.end("key", handled=False)  # not its own to end
    assert await loser.begin("key") == "running"
    await winner.end("key", handled=True)
    assert {await one.begin("key") for one in processes} == {"handled"}


async def test_a_process_that_died_leaves_nothing_for_ever(redis: Any) -> None:
    dead, alive = RedisDedupeStore(redis, running_seconds=1), RedisDedupeStore(redis)
    assert await dead.begin("key") == "new"
    assert await alive.begin("key") == "running"
    await asyncio.sleep(1.1)
    assert await alive.begin("key") == "new"
    await dead.end("key", handled=False)  # it was only slow: another one has it now
    assert await alive.begin("key") == "running"


async def test_it_is_remembered_for_a_time_under_a_prefix(redis: Any) -> None:
    seen = RedisDedupeStore(redis, prefix="mine:", seconds=100)
    await seen.begin("key")
    assert 1 <= await redis.ttl("mine:key") <= 10
    await seen.end("key", handled=True)
    assert 90 <= await redis.ttl("mine:key") <= 100
    assert await redis.keys("*") == [b"mine:key"]


async def test_text_answers_will_do(valkey: str) -> None:
    async with Redis.from_url(valkey, decode_responses=True) as client:
        await client.flushall()
        await lived(RedisDedupeStore(client), "key")


async def test_an_address_will_do(valkey: str) -> None:
    seen = RedisDedupeStore(valkey)
    assert await seen.begin("of an address") == "new"
    await seen.aclose()


async def test_without_redis_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """An event that is handled twice is better than one that is lost."""
    events: list[Any] = []

    async def handle(event: Any) -> None:
        events.append(event)

    seen = RedisDedupeStore("redis://:s3cret@127.0.0.1:1/0")
    app = Webhooks(handle, zego=CALLBACK_SECRET, dedupe=seen)
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
    await seen.aclose()
    assert [message["status"] for message in sent if "status" in message] == [200, 200]
    assert len(events) == 2
    assert "cannot be told" in caplog.text
    assert "s3cret" not in caplog.text


@pytest.mark.looptime
async def test_a_redis_that_hangs_is_not_waited_for() -> None:
    class Hanging:
        async def eval(self, *_: object) -> object:
            await asyncio.sleep(3600)
            return b"handled"

    seen = RedisDedupeStore(Hanging())
    assert await seen.begin("key") == "new"
    await seen.end("key", handled=True)
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
def test_wrong_settings(client: Any, options: Any) -> None:
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
def test_an_address_that_is_none_is_not_shown(address: str) -> None:
    with pytest.raises(ConfigurationError, match="client must be an address like 'redis://host:6379/0'") as caught:
        RedisDedupeStore(address)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    frames = list(traceback.walk_tb(caught.value.__traceback__))
    assert len(frames) == 2
    # The first is this test's own.
    shown = f"{caught.value}{caught.value!r}{[frame.f_locals for frame, _ in frames[1:]]}"
    assert "s3cret" not in shown


def test_without_the_extra_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'volc_moderation\[redis\]'"):
        RedisDedupeStore("redis://:s3cret@host/0")


async def test_what_redis_says_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Telling:
        async def eval(self, *_: object) -> object:
            raise ConnectionError("cannot reach redis://:s3cret@host/0?password=s3cret")

    seen = RedisDedupeStore(Telling())
    with caplog.at_level(logging.DEBUG):
        assert await seen.begin("key") == "new"
        await seen.end("key", handled=True)
    assert [record.getMessage() for record in caplog.records] == 2 * [
        "repeated callbacks cannot be told from new ones: ConnectionError"
    ]
    assert "s3cret" not in caplog.text


async def test_so_many_are_remembered() -> None:
    seen = MemoryDedupeStore(most=2)
    for key in "abc":
        assert await seen.begin(key) == "new"
        await seen.end(key, handled=True)
    assert [await seen.begin(key) for key in "bca"] == ["handled", "handled", "new"]


@pytest.mark.parametrize("name", ["seconds", "running_seconds"])
def test_a_bool_is_no_number_of_seconds(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be an int of at least 1; got bool"):
        RedisDedupeStore("redis://host", **{name: True})  # type: ignore[arg-type]


async def test_a_store_has_no_more_time_than_there_is() -> None:
    """Half for a connection that was kept and may be dead, half for a new one."""
    client: Any = client_of("redis://host", needs="eval", wanted_by="RedisDedupeStore", patience=1.0)
    settings = client.connection_pool.connection_kwargs
    assert (settings["socket_timeout"], settings["socket_connect_timeout"]) == (0.5, 0.5)
    assert settings["retry"]._retries == 1
    await client.aclose()
