"""``volc-moderation worker``: sends the calls of a queue, beside any number of other workers."""

import asyncio
import logging
from collections.abc import Collection
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from volc_moderation import AuthenticationError, ConfigurationError, JournalError, SourceError
from volc_moderation.cli.environment import (
    AccountNames,
    AccountOptions,
    AccountsFile,
    Redis,
    check_redis,
    open_environment,
)
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.rate import Rate, Rates, parse_rates
from volc_moderation.cli.terminal import Terminal, print_error, stderr
from volc_moderation.printable import counted

#: Accounts that the worker lists at its start.
MAX_ACCOUNTS_SHOWN = 10


def worker(
    *,
    redis: Redis,
    queue: str = "moderation",
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 32,
    accounts: AccountsFile | None = None,
    account: AccountNames = (),
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
    accounts
        A TOML file with many accounts, instead of the credentials in the environment. The worker leaves the calls of
        accounts whose keys it lacks to other workers.
    account
        With --accounts: an account to work for; by default all. It may be given several times.
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
        used = AccountOptions(accounts, account, skip_missing=True)
        used.check()
        work = _work(redis, queue, console, concurrency=concurrency, rates=rates, accounts=used, is_verbose=verbose)
        asyncio.run(work)
    except SourceError as error:
        return print_error(console, error)
    except JournalError as error:
        return print_error(console, error, ExitCode.FAILURE)
    except (AuthenticationError, ConfigurationError) as error:
        return print_error(console, error, ExitCode.CREDENTIALS)
    finally:
        logger.removeHandler(handler)
    return ExitCode.SUCCESS


def _listed(names: Collection[str]) -> str:
    shown = ", ".join([*names][:MAX_ACCOUNTS_SHOWN])
    return shown if len(names) <= MAX_ACCOUNTS_SHOWN else f"{shown} and {len(names) - MAX_ACCOUNTS_SHOWN:,} more"


class _WarningPrinter(logging.Handler):
    """Prints the warnings that the package logs."""

    def __init__(self, console: Terminal) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(record.getMessage(), soft_wrap=True)


async def _work(
    redis: str,
    queue: str,
    console: Terminal,
    *,
    concurrency: int,
    rates: Rates,
    accounts: AccountOptions,
    is_verbose: bool,
) -> None:
    from volc_moderation.jobs.distributed import DistributedJobs  # noqa: PLC0415 - needs an extra

    async with open_environment(rates, redis, accounts) as environment:
        clients = environment.clients
        if not clients:
            raise next(iter([*environment.account_errors.values(), *environment.errors.values()]))
        for name, error in environment.account_errors.items():
            console.print(f"Without the account {name}: {error}", soft_wrap=True)
        names = environment.by_account or {client.vendor: client for client in clients}
        if is_verbose:
            console.print(f"HTTP client: {environment.http_client}")
        async with DistributedJobs(redis, clients=clients, queue=queue, concurrency=concurrency) as jobs:
            console.print(f"Working for queue {queue}: {_listed(names)}")
            for warning in rates.warnings(action for client in clients for action in client.actions().values()):
                console.print(warning, soft_wrap=True)
            for risk in await jobs.risks():
                console.print(f"Warning: {risk}.", soft_wrap=True)
            await jobs.work()
            returned = counted(jobs.handed_back, "unfinished job")
            console.print(f"Stopped. {returned} {'was' if jobs.handed_back == 1 else 'were'} returned to the queue.")
