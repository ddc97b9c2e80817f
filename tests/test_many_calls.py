"""Thousands of concurrent calls over sockets: none is refused or lost, and no second exceeds the quota.

Nothing here depends on the speed of the machine. ``benchmarks/burst.py`` measures the speed.
"""

import asyncio
import random
from typing import Any

import httpx
import httpx2
import pytest

from tests.doubles import Vendors, volcengine_client, zego_client
from volc_moderation import WindowQuotas
from volc_moderation.emulator import EmulatorProcess, Settings

#: Seconds that a response of the emulator takes, from and to.
DELAY = (0.02, 0.05)


async def start_webcasts(client: Any, count: int, prefix: str = "t") -> None:
    rooms = [f"{prefix}-{n}" for n in range(count)]
    page = {"user_id": "page", "source_url": "https://example.com/"}
    await asyncio.gather(*(client.start_webcast(app_id="a", room_id=room, task_id="t", **page) for room in rooms))


async def stop_webcasts(client: Any, count: int, prefix: str = "t") -> list[Any]:
    calls = [client.stop_webcast(app_id="a", room_id=f"{prefix}-{n}", task_id="t") for n in range(count)]
    return await asyncio.gather(*calls)


async def start_audio(client: Any, count: int) -> list[str]:
    room = {"event_id": "audio_room", "audio_language": "zh", "risk_type_list": ["BAN"]}
    tasks = await asyncio.gather(*(client.start_censor_audio(room_id=f"r-{n}", **room) for n in range(count)))
    return [task.task_id for task in tasks]


def assert_all_accepted(counts: dict[str, Any], action: str, calls: int) -> None:
    count = counts[action]
    assert (count["accepted"], count["throttled"], count["rejected"]) == (calls, 0, 0)
    assert count["most_in_any_second"] <= count["quota"]


@pytest.mark.no_coverage
@pytest.mark.usefixtures("every_library")
async def test_200_concurrent_calls_at_each_vendor() -> None:
    """At the documented quotas, with the jitter of a real network. The webcasts are started at a higher quota."""
    quotas = {"StartWebcast": 600}
    async with EmulatorProcess(Settings(delay=DELAY, quotas=quotas)) as emulator:
        options: dict[str, Any] = {"base_url": emulator.base_url, "quotas": WindowQuotas(quotas)}
        async with volcengine_client(**options) as volcengine, zego_client(**options) as zego:
            audio_tasks = asyncio.create_task(start_audio(zego, 200))
            await start_webcasts(volcengine, 200)
            await stop_webcasts(volcengine, 200)
            assert len(set(await audio_tasks)) == 200
            counts = await emulator.counts()
    assert_all_accepted(counts, "StopWebcast", 200)
    assert_all_accepted(counts, "StartCensorAudioV2", 200)


@pytest.mark.no_coverage
@pytest.mark.parametrize(
    ("library", "vendor", "calls"), [(httpx, "volcengine", 1000), (httpx2, "zego", 500)], indirect=["library"]
)
@pytest.mark.usefixtures("library")
async def test_many_concurrent_calls_do_not_break_the_pool(vendor: str, calls: int) -> None:
    """Up to twenty times as many as the pool has connections, at a quota that keeps the test short."""
    quotas = {"StartWebcast": 800, "StartCensorAudioV2": 800}
    async with EmulatorProcess(Settings(quotas=quotas)) as emulator:
        options: dict[str, Any] = {"base_url": emulator.base_url, "quotas": WindowQuotas(quotas)}
        async with volcengine_client(**options) as volcengine, zego_client(**options) as zego:
            await (start_webcasts(volcengine, calls) if vendor == "volcengine" else start_audio(zego, calls))
            counts = await emulator.counts()
    assert_all_accepted(counts, "StartWebcast" if vendor == "volcengine" else "StartCensorAudioV2", calls)


@pytest.mark.no_coverage
@pytest.mark.looptime
async def test_a_fifth_of_the_calls_is_cancelled_while_they_wait() -> None:
    """The other calls succeed, nothing leaks, and the next calls run at full speed. Virtual time makes it exact."""
    loop = asyncio.get_running_loop()
    async with Vendors(Settings(delay=DELAY)) as vendors:
        await start_webcasts(vendors.volcengine, 1350)
        calls = [
            asyncio.create_task(vendors.volcengine.stop_webcast(app_id="a", room_id=f"t-{n}", task_id="t"))
            for n in range(750)
        ]
        await asyncio.sleep(1)
        waiting = [number for number, call in enumerate(calls) if not call.done()]
        cancelled = set(random.Random(7).sample(waiting, 150))
        for number in cancelled:
            calls[number].cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {n for n, outcome in enumerate(outcomes) if isinstance(outcome, asyncio.CancelledError)} == cancelled
        assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        began = loop.time()
        rooms = range(750, 1350)
        next_calls = [vendors.volcengine.stop_webcast(app_id="a", room_id=f"t-{n}", task_id="t") for n in rooms]
        await asyncio.gather(*next_calls)
        assert 600 / (loop.time() - began) / 150 >= 0.93
        assert len(asyncio.all_tasks()) == 1
        count: dict[str, Any] = vendors.emulator.counts()["StopWebcast"]
    assert count["throttled"] == 0
    assert count["most_in_any_second"] <= 150
    assert count["accepted"] >= 750 - 150 + 600
