"""A cancellation is heeded whatever redis-py does with it: before Python 3.12, ``asyncio.wait_for`` may forget it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from volc_moderation.jobs.queue.redis_queue import Queue
from volc_moderation.quotas import RedisQuotas
from volc_moderation.redis_client import cancellable
from volc_moderation.webhooks import RedisDedupeStore


class DeafRedis:
    """A client that answers as soon as whoever asks is cancelled, and forgets the first cancellation."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.asked = asyncio.Event()

    async def answer(self, *_: object, **__: object) -> Any:
        is_deaf = not self.asked.is_set()
        self.asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not is_deaf:
                raise
            if self.fault is not None:
                raise self.fault from None

    eval = get_message = answer

    def register_script(self, _: str) -> Callable[..., Awaitable[Any]]:
        return self.answer

    def pubsub(self, **_: object) -> Self:
        return self

    async def subscribe(self, *_: str) -> None:
        """Succeed."""

    async def aclose(self) -> None:
        """Succeed."""


async def find(redis: DeafRedis) -> None:
    await Queue(redis, "q", keep=1, reconnect=60).find(["key"])


async def listen(redis: DeafRedis) -> None:
    async for _ in Queue(redis, "q", keep=1, reconnect=60).listen():
        pass


async def exchange(redis: DeafRedis) -> None:
    quotas = RedisQuotas(redis)
    await quotas._exchange(["key"], "{}")


async def begin(redis: DeafRedis) -> None:
    await RedisDedupeStore(redis).begin("key")


@pytest.mark.parametrize("fault", [None, RedisConnectionError("gone")], ids=["answer", "fault"])
@pytest.mark.parametrize("ask", [cancellable, find, listen, exchange, begin])
async def test_whoever_is_cancelled_ends(ask: Callable[[Any], Awaitable[Any]], fault: Exception | None) -> None:
    redis = DeafRedis(fault)
    task: asyncio.Task[Any] = asyncio.ensure_future(ask(redis.answer() if ask is cancellable else redis))
    await redis.asked.wait()
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()


async def test_a_time_limit_ends_whoever_asks() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await cancellable(DeafRedis().answer())


async def test_what_is_not_cancelled_has_its_answer_or_its_fault() -> None:
    async def ask(fault: Exception | None) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:  # the task is cancelled, and not any more
            if fault is not None:
                raise fault from None
        return "yes"

    assert await cancellable(ask(None)) == "yes"
    with pytest.raises(RedisConnectionError):
        await cancellable(ask(RedisConnectionError("gone")))


async def test_who_was_cancelled_before_may_still_ask() -> None:
    async def clean_up() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return await cancellable(asyncio.sleep(0, "cleaned"))
        return "never"

    task = asyncio.create_task(clean_up())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cleaned"
