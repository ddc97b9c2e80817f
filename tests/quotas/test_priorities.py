"""Somebody waits for an interactive call, nobody for a bulk call."""

import asyncio
from typing import Any

import attrs
import pytest

from tests.doubles import body_of, mocked, volcengine_client, volcengine_yes, zego_client
from tests.quotas.judge import KEY, Judge, Of, call
from volc_moderation import ConfigurationError, WindowQuotas
from volc_moderation.quotas import Priority, Quota
from volc_moderation.quotas.wait_queue import WaitQueue
from volc_moderation.volcengine import StopWebcast

pytestmark = pytest.mark.looptime


async def order_of(quotas: WindowQuotas, interactive: int, bulk: int) -> list[Priority]:
    """Let them wait for the same permits, bulk calls first, and return in which order they got them."""
    order: list[Priority] = []

    async def one(priority: Priority) -> None:
        permit = await quotas.acquire(KEY, Quota(10), priority)
        order.append(priority)
        permit.answered(0.0)

    held = [await quotas.acquire(KEY, Quota(10)) for _ in range(10)]
    waiting = [asyncio.create_task(one("bulk")) for _ in range(bulk)]
    await asyncio.sleep(0)
    waiting += [asyncio.create_task(one("interactive")) for _ in range(interactive)]
    for permit in held:
        permit.answered(0.0)
    await asyncio.gather(*waiting)
    return order


async def test_interactive_calls_go_first_and_bulk_calls_get_their_share() -> None:
    order = await order_of(WindowQuotas(), 90, 90)
    assert order[:10] == ["interactive"] * 9 + ["bulk"]
    assert order[:100].count("bulk") == 10
    assert order[100:] == ["bulk"] * 80


@pytest.mark.parametrize(("share", "bulk"), [(0, 0), (0.25, 20), (0.5, 60)])
async def test_the_share_may_be_set(share: float, bulk: int) -> None:
    order = await order_of(WindowQuotas(bulk_share=share), 60, 100)
    both = order[: len(order) - order[::-1].index("interactive")]
    assert both.count("bulk") == pytest.approx(bulk, abs=1)


@pytest.mark.parametrize("share", [-0.1, 1, 1.0, True, "0.1", None, float("nan")])
def test_a_wrong_share_is_named(share: Any) -> None:
    with pytest.raises(ConfigurationError, match="bulk_share"):
        WindowQuotas(bulk_share=share)


async def test_a_bulk_run_is_not_felt() -> None:
    """20,000 bulk calls wait; a call that somebody waits for goes with one of the next permits."""
    quotas, judge = WindowQuotas(), Judge(0.02, 0.05)
    window = Of(quotas, Quota(150))
    bulk = [asyncio.create_task(call(window, judge, "bulk")) for _ in range(20_000)]
    await asyncio.sleep(3)
    waits = []
    for _ in range(40):
        began = asyncio.get_running_loop().time()
        permit = await window.acquire()
        waits.append(asyncio.get_running_loop().time() - began)
        permit.answered(await judge())
        await asyncio.sleep(0.05)
    assert max(waits) < 0.25
    assert sorted(waits)[20] < 0.05
    for one in bulk:
        one.cancel()
    await asyncio.gather(*bulk, return_exceptions=True)
    assert quotas.snapshot()[KEY].waiters == 0


async def test_a_client_or_a_call_may_be_bulk() -> None:
    order = []

    def handler(request: Any) -> Any:
        order.append(body_of(request)["RoomId"])
        return volcengine_yes()

    async with mocked(handler) as http_client:
        quotas = WindowQuotas({"StopWebcast": 1})
        interactive = volcengine_client(http_client=http_client, quotas=quotas)
        bulk = volcengine_client(http_client=http_client, quotas=quotas, priority="bulk")
        stop = StopWebcast(app_id="app", room_id="first", task_id="task")
        await interactive.call(stop)
        calls = [
            bulk.call(attrs.evolve(stop, room_id="bulk-client")),
            interactive.call(attrs.evolve(stop, room_id="bulk-call"), priority="bulk"),
            bulk.call(attrs.evolve(stop, room_id="interactive-call"), priority="interactive"),
            interactive.call(attrs.evolve(stop, room_id="interactive-client")),
        ]
        await asyncio.gather(*calls)
    assert order == ["first", "interactive-call", "interactive-client", "bulk-client", "bulk-call"]


@pytest.mark.parametrize("priority", ["", "urgent", 1, True])
async def test_a_wrong_priority_is_named(priority: Any) -> None:
    with pytest.raises(ConfigurationError, match="priority must be 'interactive' or 'bulk'"):
        zego_client(priority=priority)
    async with mocked(lambda _: volcengine_yes()) as http_client:
        client = volcengine_client(http_client=http_client)
        with pytest.raises(ConfigurationError, match="priority must be 'interactive' or 'bulk'"):
            await client.call(StopWebcast(app_id="app", room_id="room", task_id="task"), priority=priority)


class Nothing:
    """A permit that is worth nothing."""

    def abandoned(self, age: float | None) -> None:
        """Do nothing."""


async def test_what_bulk_calls_got_alone_is_not_owed_to_them() -> None:
    """Nor to the others: shares are of what both wait for."""
    line: WaitQueue[Nothing] = WaitQueue(0.1)
    for priority in ("bulk", "interactive", "bulk"):
        for _ in range(55):
            turn = line.join(priority)
            line.give(Nothing())
            assert turn.done()
    bulk = [line.join("bulk") for _ in range(20)]
    interactive = [line.join("interactive") for _ in range(20)]
    given = []
    for number in range(20):
        line.give(Nothing())
        given.append(sum(turn.done() for turn in bulk))
        assert sum(turn.done() for turn in [*bulk, *interactive]) == number + 1
    assert given == 9 * [0] + 10 * [1] + [2]
