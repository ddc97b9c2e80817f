"""Interactive calls go before bulk calls, which still get their share."""

import asyncio
from typing import Any

import attrs
import pytest

from tests.doubles import json_body, mocked, volcengine_client, volcengine_success, zego_client
from tests.quotas.vendor import KEY, KeyWindow, SimulatedVendor, call
from volc_moderation import ConfigurationError, WindowQuotas
from volc_moderation.quotas import Priority, Quota
from volc_moderation.quotas.wait_queue import WaitQueue
from volc_moderation.volcengine import StopWebcast

pytestmark = pytest.mark.looptime


async def order_of(quotas: WindowQuotas, interactive: int, bulk: int) -> list[Priority]:
    """Let calls wait for the same permits, bulk calls first, and return the order in which they got them."""
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
async def test_the_bulk_share_may_be_set(share: float, bulk: int) -> None:
    order = await order_of(WindowQuotas(bulk_share=share), 60, 100)
    both = order[: len(order) - order[::-1].index("interactive")]
    assert both.count("bulk") == pytest.approx(bulk, abs=1)


@pytest.mark.parametrize("share", [-0.1, 1, 1.0, True, "0.1", None, float("nan")])
def test_a_wrong_bulk_share_is_named(share: Any) -> None:
    with pytest.raises(ConfigurationError, match="bulk_share"):
        WindowQuotas(bulk_share=share)


@pytest.mark.no_coverage
@pytest.mark.slow
async def test_bulk_calls_hardly_delay_interactive_calls() -> None:
    """20,000 bulk calls wait; an interactive call gets one of the next permits."""
    quotas, vendor = WindowQuotas(), SimulatedVendor(0.02, 0.05)
    window = KeyWindow(quotas, Quota(150))
    bulk = [asyncio.create_task(call(window, vendor, "bulk")) for _ in range(20_000)]
    await asyncio.sleep(3)
    waits = []
    for _ in range(40):
        began = asyncio.get_running_loop().time()
        permit = await window.acquire()
        waits.append(asyncio.get_running_loop().time() - began)
        permit.answered(await vendor())
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
        order.append(json_body(request)["RoomId"])
        return volcengine_success()

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
    async with mocked(lambda _: volcengine_success()) as http_client:
        client = volcengine_client(http_client=http_client)
        with pytest.raises(ConfigurationError, match="priority must be 'interactive' or 'bulk'"):
            await client.call(StopWebcast(app_id="app", room_id="room", task_id="task"), priority=priority)


class Nothing:
    """A permit of no store."""

    def abandoned(self, age: float | None) -> None:
        """Do nothing."""


async def test_the_share_only_counts_permits_that_both_classes_wait_for() -> None:
    """Permits granted while only one class waits change the share of neither."""
    queue: WaitQueue[Nothing] = WaitQueue(0.1)
    for priority in ("bulk", "interactive", "bulk"):
        for _ in range(55):
            waiter = queue.enqueue(priority)
            queue.grant(Nothing())
            assert waiter.done()
    bulk = [queue.enqueue("bulk") for _ in range(20)]
    interactive = [queue.enqueue("interactive") for _ in range(20)]
    bulk_grants = []
    for number in range(20):
        queue.grant(Nothing())
        bulk_grants.append(sum(waiter.done() for waiter in bulk))
        assert sum(waiter.done() for waiter in [*bulk, *interactive]) == number + 1
    assert bulk_grants == 9 * [0] + 10 * [1] + [2]
