"""``volc-moderation worker``: sends the calls of a queue, beside any number of other workers."""

import asyncio
import logging
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from volc_moderation import ConfigurationError, JournalError, SourceError
from volc_moderation.cli.environment import Redis, check_redis, open_environment
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.rate import Rate, Rates, parse_rates
from volc_moderation.cli.terminal import Terminal, print_error, stderr
from volc_moderation.printable import counted


def worker(
    *,
    redis: Redis,
    queue: str = "moderation",
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 32,
    rate: Rate = (),
    verbose: bool = False,
) -> int:
    """Send the calls of a queue until SIGINT or SIGTERM.

    When it stops, a worker finishes the calls in flight and returns all other jobs to the queue for other workers.
    Workers share the quotas. They can be added, removed and killed at any time. A worker sends the calls of the
    accounts whose credentials it has. While the vendor refuses them, the worker leaves these calls to others and prints
    a warning. If the Redis is unavailable, a worker retries for two minutes.

    Parameters
    ----------
    redis
        The Redis (7 or later) or Valkey with the queue and the quotas, such as redis://localhost. Put an address with a
        password in the environment, where other users of the machine cannot read it.
    queue
        The name of the queue.
    concurrency
        The maximum number of calls of one action in flight, including calls that wait for the quota.
    rate
        Calls per second of each action, for all workers together, within the quota. ACTION=NUMBER, such as
        StopWebcast=300, sets the rate of one action; it may exceed the documented quota if the vendor has raised it for
        the account. Set the same rates for all workers.
    verbose
        Print which HTTP client sends the calls.

    """
    console = stderr()
    logger = logging.getLogger("volc_moderation")
    handler = _WarningPrinter(console)
    logger.addHandler(handler)
    try:
        rates = parse_rates(rate)
        check_redis(redis, wanted_by="worker")
        asyncio.run(_work(redis, queue, concurrency, rates, console, is_verbose=verbose))
    except SourceError as error:
        return print_error(console, error)
    except JournalError as error:
        return print_error(console, error, ExitCode.FAILURE)
    except ConfigurationError as error:
        return print_error(console, error, ExitCode.CREDENTIALS)
    finally:
        logger.removeHandler(handler)
    return ExitCode.SUCCESS


class _WarningPrinter(logging.Handler):
    """Prints the warnings that the package logs."""

    def __init__(self, console: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(record.getMessage(), soft_wrap=True)


async def _work(redis: str, queue: str, concurrency: int, rates: Rates, console: Terminal, *, is_verbose: bool) -> None:
    from volc_moderation.jobs.distributed import DistributedJobs  # noqa: PLC0415 - needs an extra

    async with open_environment(rates, redis) as environment:
        clients = environment.clients
        if not clients:
            raise next(iter(environment.errors.values()))
        if is_verbose:
            console.print(f"HTTP client: {environment.http_client}")
        async with DistributedJobs(redis, clients=clients, queue=queue, concurrency=concurrency) as jobs:
            console.print(f"Working for queue {queue}: {', '.join(client.vendor for client in clients)}")
            for warning in rates.warnings(action for client in clients for action in client.actions().values()):
                console.print(warning, soft_wrap=True)
            for risk in await jobs.risks():
                console.print(f"Warning: {risk}.", soft_wrap=True)
            await jobs.work()
            returned = counted(jobs.handed_back, "unfinished job")
            console.print(f"Stopped. {returned} {'was' if jobs.handed_back == 1 else 'were'} returned to the queue.")
