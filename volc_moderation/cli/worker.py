"""``volc-moderation worker``: makes the calls of a queue, beside as many others as you like."""

import asyncio
import logging
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from volc_moderation import ConfigurationError, JournalError, SourceError
from volc_moderation.cli.environment import Redis, check_redis, clients_of_environment
from volc_moderation.cli.rate import Rate, Rates, rates_of
from volc_moderation.cli.run import (
    ALL_DONE,
    BAD_CREDENTIALS,
    BAD_INPUT,
    CANNOT_GO_ON,
)
from volc_moderation.cli.terminal import Terminal, stderr


def worker(
    *,
    redis: Redis,
    queue: str = "moderation",
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 32,
    rate: Rate = (),
) -> int:
    """Make the calls of a queue until SIGINT or SIGTERM.

    Then calls in flight are finished, and what is not begun goes back to the queue, to the other workers. Workers
    share the quotas, and may be added, removed and killed at any time. A worker makes the calls of those accounts whose
    keys it has; while they are refused, it leaves the calls to others, and says so. A Redis that is away is waited for,
    for two minutes.

    Parameters
    ----------
    redis
        The Redis (7 or later) or Valkey with the queue and the quotas, such as redis://localhost. An address with a
        password belongs into the environment, where other users of the machine do not see it.
    queue
        The queue.
    concurrency
        Calls of one action in flight, those that wait for the quota included.
    rate
        Calls per second of each action, of all workers together, below its quota. Of one action, as StopWebcast=300,
        also above it, where the vendor has raised it for the account. The same for all of them.

    """
    console = stderr()
    logger = logging.getLogger("volc_moderation")
    shown = _Shown(console)
    logger.addHandler(shown)
    try:
        rates = rates_of(rate)
        check_redis(redis)
        asyncio.run(_work(redis, queue, concurrency, rates, console))
    except SourceError as error:
        console.print(str(error), soft_wrap=True)
        return BAD_INPUT
    except JournalError as error:
        console.print(str(error), soft_wrap=True)
        return CANNOT_GO_ON
    except ConfigurationError as error:
        console.print(str(error), soft_wrap=True)
        return BAD_CREDENTIALS
    finally:
        logger.removeHandler(shown)
    return ALL_DONE


class _Shown(logging.Handler):
    """Shows what stands in the way of the work."""

    def __init__(self, console: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(record.getMessage(), soft_wrap=True)


async def _work(redis: str, queue: str, concurrency: int, rates: Rates, console: Terminal) -> None:
    from volc_moderation.jobs.distributed import DistributedJobs  # noqa: PLC0415 - an extra

    async with clients_of_environment(rates, redis) as environment:
        if not environment.clients:
            raise next(iter(environment.faults.values()))
        async with DistributedJobs(redis, clients=environment.clients, queue=queue, concurrency=concurrency) as jobs:
            console.print(f"Working for queue {queue}: {', '.join(client.vendor for client in environment.clients)}")
            for line in rates.above(
                action_type for client in environment.clients for action_type in client.actions().values()
            ):
                console.print(line, soft_wrap=True)
            for risk in await jobs.risks():
                console.print(f"Mind that {risk}.", soft_wrap=True)
            await jobs.work()
            console.print(f"Stopped. {jobs.handed_back} jobs that were not finished went back to the queue.")
