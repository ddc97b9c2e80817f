"""Thousands of calls awaited at once on one client at the documented quota, against the emulator in another process.

``python -m benchmarks.bulk``. One way takes 20 to 50 ms. Columns: calls, refused, most in any second as the emulator
saw it, accepted/s ÷ quota over the whole run from the first call to the last answer, seconds, CPU of this process.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from benchmarks.machine import describe_machine
from volc_moderation import VolcengineClient, WindowQuotas, ZegoClient
from volc_moderation.emulator import EmulatorProcess, Settings

DELAY = (0.02, 0.05)
GOAL = 0.93
#: Starting what is to be stopped is not what is measured, so it goes as fast as the machine.
FAST = {"StartWebcast": 500, "StartCensorAudioV2": 500}


async def stop_webcasts(emulator: EmulatorProcess, calls: int) -> list[Callable[[], Awaitable[object]]]:
    settings = emulator.settings
    client = VolcengineClient(
        access_key=settings.access_key,
        secret_key=settings.secret_key,
        base_url=emulator.base_url,
        quotas=WindowQuotas(FAST),
    )
    tasks: list[dict[str, Any]]
    tasks = [{"app_id": "app", "room_id": f"room-{number}", "task_id": "task"} for number in range(calls)]
    page: dict[str, Any] = {"user_id": "page", "source_url": "https://example.com/"}
    await asyncio.gather(*(client.start_webcast(**task, **page) for task in tasks))
    return [partial(client.stop_webcast, **task) for task in tasks]


async def stop_audio(emulator: EmulatorProcess, calls: int) -> list[Callable[[], Awaitable[object]]]:
    settings = emulator.settings
    client = ZegoClient(
        app_id=settings.app_id,
        server_secret=settings.server_secret,
        base_url=emulator.base_url,
        quotas=WindowQuotas(FAST),
    )
    kind: dict[str, Any] = {"event_id": "audio_room", "audio_language": "zh", "risk_type_list": ["BAN"]}
    tasks = await asyncio.gather(*(client.start_censor_audio(room_id=f"r-{n}", **kind) for n in range(calls)))
    return [partial(client.stop_censor_audio, task_id=task.task_id) for task in tasks]


async def measure(
    name: str, make: Callable[[EmulatorProcess, int], Awaitable[list[Callable[[], Awaitable[object]]]]], calls: int
) -> float:
    async with EmulatorProcess(Settings(delay=DELAY, quotas=FAST)) as emulator:
        prepared = await make(emulator, calls)
        began, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(call() for call in prepared))
        seconds, cpu = time.monotonic() - began, time.process_time() - cpu
        count = (await emulator.counts())[name]
    share = count["accepted"] / seconds / count["quota"]
    print(
        f"{name:18} {calls:6} {count['throttled']:8} {count['most_in_any_second']:4}/{count['quota']:<4} {share:7.3f} "
        f"{seconds:8.1f} {cpu / calls * 1e3:8.2f} ms",
        flush=True,
    )
    assert count["accepted"] == calls
    assert not count["throttled"]
    assert count["most_in_any_second"] <= count["quota"]
    return float(share)


async def main() -> None:
    print(describe_machine("httpx", "aiolimiter"))
    print("action              calls  refused  most/s ÷ quota  seconds   CPU/call")
    shares = [
        await measure(name, make, calls)
        for name, make in (("StopWebcast", stop_webcasts), ("StopCensorAudioV2", stop_audio))
        for calls in (1500, 5000)
    ]
    print(f"least share {min(shares):.3f} (goal: at least {GOAL:g})")
    if min(shares) < GOAL:
        raise SystemExit(1)


if __name__ == "__main__":
    asyncio.run(main())
