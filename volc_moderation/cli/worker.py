"""``volc-moderation worker``: makes the calls of a queue, beside as many others as you like."""

import asyncio
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from volc_moderation import ConfigurationError, JournalError, SourceError
from volc_moderation.cli.environment import Redis, check_streaq, clients_of_environment
from volc_moderation.cli.run import (
    ALL_DONE,
    BAD_CREDENTIALS,
    BAD_INPUT,
    CANNOT_GO_ON,
)
from volc_moderation.cli.terminal import stderr


def worker(
    *,
    redis: Redis,
    queue: str = "moderation",
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 32,
    rate: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
) -> int:
    """Make the calls of a queue until SIGINT or SIGTERM.

    Then calls in flight are finished, and what is not begun goes back to the queue, to the other workers. Workers
    share the quotas, and may be added, removed and killed at any time.

    Parameters
    ----------
    redis
        The Redis (7 or later) or Valkey with the queue and the quotas, such as redis://localhost. An address with a
        password belongs into the environment, where other users of the machine do not see it.
    queue
        The queue.
    concurrency
        Calls in flight, those that wait for the quota included.
    rate
        Calls per second of each action, of all workers together, below its quota. The same for all of them.

    """
    console = stderr()
    try:
        check_streaq(redis)
        asyncio.run(_work(redis, queue, concurrency, rate))
    except SourceError as error:
        console.print(str(error), soft_wrap=True)
        return BAD_INPUT
    except JournalError as error:
        console.print(str(error), soft_wrap=True)
        return CANNOT_GO_ON
    except ConfigurationError as error:
        console.print(str(error), soft_wrap=True)
        return BAD_CREDENTIALS
    return ALL_DONE


async def _work(redis: str, queue: str, concurrency: int, rate: int | None) -> None:
    from volc_moderation.jobs.distributed import DistributedJobs  # noqa: PLC0415 - an extra

    async with clients_of_environment(rate, redis) as environment:
        if not environment.clients:
            raise next(iter(environment.faults.values()))
        jobs = DistributedJobs(redis, clients=environment.clients, queue=queue, concurrency=concurrency)
        stderr().print(f"Working for queue {queue}: {', '.join(client.vendor for client in environment.clients)}")
        await jobs.work()
        stderr().print(f"Stopped. {jobs.handed_back} jobs that were not finished went back to the queue.")
