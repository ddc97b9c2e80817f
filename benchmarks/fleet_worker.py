"""A worker of a fleet, in a process of its own: a client for each AppId, all with one HTTP client and one store.

The argument is a JSON object: ``name``, ``base_url``, ``redis``, ``apps`` and ``quota``. It works until SIGTERM.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

from benchmarks.fleet_server import ACTION, FIRST_APP_ID, SERVER_SECRET
from volc_moderation import RedisQuotas, ZegoClient
from volc_moderation.http_clients import fastest_http_client
from volc_moderation.jobs.distributed import DistributedJobs


async def fleet_clients(
    stack: AsyncExitStack, *, name: str, base_url: str, redis: str, apps: int, quota: int
) -> list[ZegoClient]:
    """Return a client for each AppId. They share an HTTP client, whose ``User-Agent`` is ``name``, and a store."""
    http_client = await stack.enter_async_context(fastest_http_client(base_url))
    http_client.headers["User-Agent"] = name  # type: ignore[attr-defined] # all HTTP clients have headers
    quotas = await stack.enter_async_context(RedisQuotas(redis, {ACTION: quota}))
    return [
        await stack.enter_async_context(
            ZegoClient(
                app_id=FIRST_APP_ID + number,
                server_secret=SERVER_SECRET,
                base_url=base_url,
                quotas=quotas,
                http_client=http_client,
            )
        )
        for number in range(apps)
    ]


async def main(*, name: str, base_url: str, redis: str, apps: int, quota: int) -> None:
    async with AsyncExitStack() as stack:
        clients = await fleet_clients(stack, name=name, base_url=base_url, redis=redis, apps=apps, quota=quota)
        async with DistributedJobs(redis, clients=clients) as jobs:
            await jobs.work()


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.argv[1])))
