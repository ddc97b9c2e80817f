"""Stop webcasts from one process that shares a large quota; print the ms of CPU per call, for ``distributed.py``."""

import asyncio
import sys
import time

from benchmarks.instant import KEYS
from volc_moderation import RedisQuotas, VolcengineClient

CALLS = 6000
#: Calls in flight: as many as in a worker of ``distributed.py``.
CONCURRENCY = 8


async def main(base_url: str, redis: str) -> None:
    async with (
        RedisQuotas(redis, {"StopWebcast": 50_000}) as quotas,
        VolcengineClient(**KEYS, base_url=base_url, quotas=quotas) as client,
    ):
        numbers = iter(range(CALLS))

        async def work() -> None:
            for number in numbers:
                await client.stop_webcast(app_id="app", room_id=f"stop-{number}", task_id="wall")

        await client.stop_webcast(app_id="app", room_id="first", task_id="wall")
        began = time.process_time()
        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        print(1000 * (time.process_time() - began) / CALLS)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
