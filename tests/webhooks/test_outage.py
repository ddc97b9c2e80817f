"""A memory of the user's own that fails, hangs or talks nonsense: nothing is lost, and nobody waits for it."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.webhooks.test_app import Handler, made, status
from volc_moderation.testing import make_volcengine_callback
from volc_moderation.webhooks import MemoryDedupeStore, RedisDedupeStore
from volc_moderation.webhooks.dedupe import State

pytestmark = pytest.mark.looptime

Fault = Callable[[], Awaitable[Any]]


async def fail() -> Any:
    raise ConnectionError("redis://:s3cret@host")


async def hang() -> Any:
    await asyncio.sleep(3600)


async def be_cancelled() -> Any:
    """As if something that it waits for was cancelled, which nobody asked of the webhooks."""
    raise asyncio.CancelledError("s3cret")


def fail_at_once() -> Any:
    raise ConnectionError("s3cret")


def answer_at_once() -> Any:
    return "handled"


class Faulty:
    """A memory that breaks at the beginning, at the end, or at both."""

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
        """Forget it."""


FAULTS = [fail, hang, be_cancelled, fail_at_once, answer_at_once]


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_cannot_be_known_is_new(fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    seen, handler, body = Faulty(begin=fault), Handler(), make_volcengine_callback()
    app = made(handler, dedupe=seen)
    with caplog.at_level(logging.DEBUG, "volc_moderation"):
        assert [await status(app, body) for _ in range(2)] == [200, 200]
    assert len(handler.events) == 2
    assert seen.ended == 4 * [True]  # of the event, and of the signature
    assert caplog.text.count("cannot be told") == 2
    assert "s3cret" not in caplog.text
    assert asyncio.get_running_loop().time() < 2.5


@pytest.mark.parametrize("nonsense", [None, True, "Handled", b"running", 5])
async def test_an_answer_that_is_none_loses_nothing(nonsense: Any) -> None:
    async def answer() -> Any:
        return nonsense

    handler = Handler()
    assert await status(made(handler, dedupe=Faulty(begin=answer)), make_volcengine_callback()) == 200
    assert len(handler.events) == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("outcome", "answer"), [(0.0, 200), (ValueError("broken"), 500), (10.0, 503)])
async def test_an_end_that_cannot_be_noted_changes_no_answer(
    fault: Fault, outcome: Exception | float, answer: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What was handled must not be delivered again, and what was not must be."""
    seen = Faulty(end=fault)
    with caplog.at_level(logging.DEBUG, "volc_moderation"):
        assert await status(made(Handler(outcome), dedupe=seen), make_volcengine_callback()) == answer
    assert seen.ended == 2 * [answer == 200]
    assert "cannot be told" in caplog.text
    assert "s3cret" not in caplog.text
    # Volcengine gives up after 5 s.
    assert asyncio.get_running_loop().time() <= 5.01


@pytest.mark.parametrize(("begin", "end"), [(hang, None), (None, hang)])
async def test_a_server_that_stops_meanwhile_stops(begin: Any, end: Any) -> None:
    seen = Faulty(begin=begin, end=end)
    call = asyncio.create_task(status(made(Handler(), dedupe=seen), make_volcengine_callback()))
    await asyncio.sleep(0.5)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert asyncio.get_running_loop().time() < 0.6
    await asyncio.sleep(1)  # the note of the end gives up by itself


async def test_who_stops_between_two_questions_takes_the_first_back() -> None:
    """Else the next delivery would find the event running, although nobody handles it."""

    class Hanging(MemoryDedupeStore):
        asked = 0

        async def begin(self, key: str) -> State:
            self.asked += 1
            if self.asked == 2:
                await asyncio.sleep(3600)
            return await super().begin(key)

    handler, body = Handler(), make_volcengine_callback()
    app = made(handler, dedupe=Hanging())
    call = asyncio.create_task(status(app, body))
    await asyncio.sleep(0.5)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert await status(app, body) == 200
    assert len(handler.events) == 1


async def test_a_server_that_stops_still_notes_the_end() -> None:
    noted: list[float] = []

    async def note() -> None:
        await asyncio.sleep(0.5)
        noted.append(asyncio.get_running_loop().time())

    call = asyncio.create_task(status(made(Handler(), dedupe=Faulty(end=note)), make_volcengine_callback()))
    await asyncio.sleep(0.2)
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert not noted
    await asyncio.sleep(1)
    assert len(noted) == 2


async def test_a_redis_that_hangs_costs_a_second_at_each_end(caplog: pytest.LogCaptureFixture) -> None:
    class Hanging:
        async def eval(self, *_: object) -> object:
            await asyncio.sleep(3600)
            return b"handled"

    handler = Handler()
    assert await status(made(handler, dedupe=RedisDedupeStore(Hanging())), make_volcengine_callback()) == 200
    assert len(handler.events) == 1
    assert caplog.text.count("cannot be told") == 3  # at the beginning, and of either key at the end
    assert asyncio.get_running_loop().time() == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize("seed", range(40))
async def test_of_two_deliveries_at_the_same_time_one_is_handled(seed: int) -> None:
    """However their questions to the store mix: neither stands in the other's way for nothing."""
    dice = random.Random(seed)

    class Slow(MemoryDedupeStore):
        async def begin(self, key: str) -> State:
            await asyncio.sleep(dice.uniform(0, 0.3))
            return await super().begin(key)

        async def end(self, key: str, *, handled: bool) -> None:
            await asyncio.sleep(dice.uniform(0, 0.3))
            await super().end(key, handled=handled)

    handler, body = Handler(1.0), make_volcengine_callback()
    app = made(handler, dedupe=Slow())
    outcomes = await asyncio.gather(*(status(app, body) for _ in range(2)))
    assert sorted(outcomes) == [200, 503]
    assert await status(app, body) == 200
    assert len(handler.events) == 1
