"""Users' own dedupe stores that fail, hang or return nonsense: no event is lost, and no answer waits long."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.webhooks.test_app import Handler, status, webhooks
from volc_moderation.testing import make_volcengine_callback
from volc_moderation.webhooks import MemoryDedupeStore, RedisDedupeStore
from volc_moderation.webhooks.dedupe import DedupeState

pytestmark = pytest.mark.looptime

Fault = Callable[[], Awaitable[Any]]


async def fail() -> Any:
    raise ConnectionError("redis://:s3cret@host")


async def hang() -> Any:
    await asyncio.sleep(3600)


async def be_cancelled() -> Any:
    """Raise as if the store awaited a cancelled task, although the request was not cancelled."""
    raise asyncio.CancelledError("s3cret")


def fail_at_once() -> Any:
    raise ConnectionError("s3cret")


def answer_at_once() -> Any:
    return "handled"


class FaultyStore:
    """A store that fails in ``begin``, in ``end``, or in both."""

    def __init__(self, begin: Fault | None = None, end: Fault | None = None) -> None:
        self.ended: list[bool] = []
        self._begin = begin
        self._end = end

    def begin(self, key: str) -> Any:
        return self._new() if self._begin is None else self._begin()

    def end(self, key: str, *, handled: bool) -> Any:
        self.ended.append(handled)
        return self._nothing() if self._end is None else self._end()

    async def _new(self) -> str:
        return "new"

    async def _nothing(self) -> None:
        """Record nothing."""


FAULTS = [fail, hang, be_cancelled, fail_at_once, answer_at_once]


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_event_is_new_if_the_store_fails(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    store, handler, body = FaultyStore(begin=fault), Handler(), make_volcengine_callback()
    app = webhooks(handler, dedupe=store)
    with caplog.at_level(logging.DEBUG, "volc_moderation"):
        assert [await status(app, body) for _ in range(2)] == [200, 200]
    assert len(handler.events) == 2
    assert store.ended == 4 * [True]  # the key of the event, and that of the signature
    assert caplog.text.count("the dedupe store is unavailable") == 1  # the other one comes within a minute
    assert "s3cret" not in caplog.text
    assert asyncio.get_running_loop().time() < 2.5


@pytest.mark.parametrize("nonsense", [None, True, "Handled", b"running", 5])
async def test_an_event_is_new_if_the_store_returns_nonsense(nonsense: Any) -> None:
    async def answer() -> Any:
        return nonsense

    handler = Handler()
    assert await status(webhooks(handler, dedupe=FaultyStore(begin=answer)), make_volcengine_callback()) == 200
    assert len(handler.events) == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("outcome", "answer"), [(0.0, 200), (ValueError("broken"), 500), (10.0, 503)])
async def test_a_store_that_cannot_record_the_end_changes_no_answer(
    fault: Fault, outcome: Exception | float, answer: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A handled event must not be delivered again, and a failed one must."""
    store = FaultyStore(end=fault)
    with caplog.at_level(logging.DEBUG, "volc_moderation"):
        assert await status(webhooks(Handler(outcome), dedupe=store), make_volcengine_callback()) == answer
    assert store.ended == 2 * [answer == 200]
    assert "the dedupe store is unavailable" in caplog.text
    assert "s3cret" not in caplog.text
    # Volcengine gives up after 5 s.
    assert asyncio.get_running_loop().time() <= 5.01


@pytest.mark.parametrize(("begin", "end"), [(hang, None), (None, hang)])
async def test_a_cancelled_request_does_not_wait_for_the_store(begin: Any, end: Any) -> None:
    store = FaultyStore(begin=begin, end=end)
    call = asyncio.create_task(status(webhooks(Handler(), dedupe=store), make_volcengine_callback()))
    await asyncio.sleep(0.5)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert asyncio.get_running_loop().time() < 0.6
    await asyncio.sleep(1)  # recording the end times out by itself


async def test_a_request_that_is_cancelled_between_two_keys_releases_the_first() -> None:
    """Otherwise the next delivery would find the event running, although nothing handles it."""

    class Hanging(MemoryDedupeStore):
        calls = 0

        async def begin(self, key: str) -> DedupeState:
            self.calls += 1
            if self.calls == 2:
                await asyncio.sleep(3600)
            return await super().begin(key)

    handler, body = Handler(), make_volcengine_callback()
    app = webhooks(handler, dedupe=Hanging())
    call = asyncio.create_task(status(app, body))
    await asyncio.sleep(0.5)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert await status(app, body) == 200
    assert len(handler.events) == 1


async def test_a_cancelled_request_still_records_the_end() -> None:
    recorded: list[float] = []

    async def record() -> None:
        await asyncio.sleep(0.5)
        recorded.append(asyncio.get_running_loop().time())

    call = asyncio.create_task(status(webhooks(Handler(), dedupe=FaultyStore(end=record)), make_volcengine_callback()))
    await asyncio.sleep(0.2)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert not recorded
    await asyncio.sleep(1)
    assert len(recorded) == 2


async def test_a_redis_that_hangs_delays_an_answer_by_two_seconds(caplog: pytest.LogCaptureFixture) -> None:
    class Hanging:
        async def eval(self, *_: object) -> object:
            await asyncio.sleep(3600)
            return b"handled"

    handler = Handler()
    assert await status(webhooks(handler, dedupe=RedisDedupeStore(Hanging())), make_volcengine_callback()) == 200
    assert len(handler.events) == 1
    assert caplog.text.count("the dedupe store is unavailable") == 1  # of three: for begin, and for either key
    assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("seed", range(40))
async def test_one_of_two_simultaneous_deliveries_is_handled(seed: int) -> None:
    """However their calls of the store interleave, they never refuse each other."""
    rng = random.Random(seed)

    class Slow(MemoryDedupeStore):
        async def begin(self, key: str) -> DedupeState:
            await asyncio.sleep(rng.uniform(0, 0.3))
            return await super().begin(key)

        async def end(self, key: str, *, handled: bool) -> None:
            await asyncio.sleep(rng.uniform(0, 0.3))
            await super().end(key, handled=handled)

    handler, body = Handler(1.0), make_volcengine_callback()
    app = webhooks(handler, dedupe=Slow())
    outcomes = await asyncio.gather(*(status(app, body) for _ in range(2)))
    assert sorted(outcomes) == [200, 503]
    assert await status(app, body) == 200
    assert len(handler.events) == 1
