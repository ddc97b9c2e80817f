"""A cancelled task ends even if redis-py swallows the cancellation: ``asyncio.wait_for`` may, before Python 3.12."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from volc_moderation.jobs.queue.redis_queue import RedisQueue
from volc_moderation.quotas import RedisQuotas
from volc_moderation.quotas.exchange import ExchangeRequest, WindowRules
from volc_moderation.redis_client import cancellable
from volc_moderation.webhooks import RedisDedupeStore


class CancellationSwallowingRedis:
    """A client that replies when the calling task is cancelled, and swallows the first cancellation.

    :param error: raised instead of a reply.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.requested = asyncio.Event()

    async def request(self, *_: object, **__: object) -> Any:
        is_first = not self.requested.is_set()
        self.requested.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not is_first:
                raise
            if self.error is not None:
                raise self.error from None

    eval = get_message = request

    def register_script(self, _: str) -> Callable[..., Awaitable[Any]]:
        return self.request

    def pubsub(self, **_: object) -> Self:
        return self

    async def subscribe(self, *_: str) -> None:
        """Succeed."""

    async def aclose(self) -> None:
        """Succeed."""


async def find(redis: CancellationSwallowingRedis) -> None:
    await RedisQueue(redis, "q", keep=1, reconnect=60).find(["key"])


async def listen(redis: CancellationSwallowingRedis) -> None:
    async for _ in RedisQueue(redis, "q", keep=1, reconnect=60).listen("ended"):
        pass


async def exchange(redis: CancellationSwallowingRedis) -> None:
    quotas = RedisQuotas(redis)
    rules = WindowRules(limit=1, published=True, window=1, lease=1, forget=1, silence=1)
    await quotas._exchange(["key"], 1.0, ExchangeRequest(rules=rules, process=1))


async def begin(redis: CancellationSwallowingRedis) -> None:
    await RedisDedupeStore(redis).begin("key")


@pytest.mark.parametrize("error", [None, RedisConnectionError("gone")], ids=["reply", "error"])
@pytest.mark.parametrize("request_reply", [cancellable, find, listen, exchange, begin])
async def test_a_cancelled_task_ends(request_reply: Callable[[Any], Awaitable[Any]], error: Exception | None) -> None:
    redis = CancellationSwallowingRedis(error)
    argument = redis.request() if request_reply is cancellable else redis
    task: asyncio.Task[Any] = asyncio.ensure_future(request_reply(argument))
    await redis.requested.wait()
    task.cancel()
    await asyncio.wait([task], timeout=1)
    assert task.cancelled()


async def test_a_timeout_ends_a_request() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await cancellable(CancellationSwallowingRedis().request())


async def test_a_task_that_is_not_cancelled_gets_its_reply_or_error() -> None:
    async def request(error: Exception | None) -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:  # the timeout has cancelled the task, and has taken that back
            if error is not None:
                raise error from None
        return "yes"

    assert await cancellable(request(None)) == "yes"
    with pytest.raises(RedisConnectionError):
        await cancellable(request(RedisConnectionError("gone")))


async def test_a_task_that_was_cancelled_before_can_send_a_request() -> None:
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
