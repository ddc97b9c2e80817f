"""What the steps of a command share: its options, console, signals, clients and journal."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Literal

import attrs

from volc_moderation import AuthenticationError, ConfigurationError, JournalError, SourceError
from volc_moderation.cli.environment import AccountOptions, Environment, open_environment
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.rate import Rates
from volc_moderation.cli.signals import Interrupts
from volc_moderation.cli.terminal import Terminal, print_error
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread, open_journal


@attrs.frozen(kw_only=True)
class RunOptions:
    """The options that say how to run a journal."""

    journal: Path
    #: Whether the journal stays after the run.
    is_kept: bool = True
    #: Whether to continue a journal that exists.
    is_resumed: bool = False
    rates: Rates = attrs.field(factory=Rates)
    accounts: AccountOptions = attrs.field(factory=AccountOptions)
    #: The address of the Redis that shares the quotas, and has the queue if workers make the calls.
    redis: str | None = None
    engine: Literal["local", "workers"] = "local"
    #: The queue of the workers.
    queue: str = "moderation"
    #: Whether to wait for jobs that the vendor wants repeated minutes later, instead of ending.
    wait_for_deferred: bool = True
    output: Path | None = None
    report: Path | None = None
    #: Whether to print which HTTP client sends the calls.
    is_verbose: bool = False
    #: The command that continues the run.
    resume_command: str = ""


@attrs.frozen(kw_only=True)
class Session:
    """What the steps of a command share."""

    options: RunOptions
    console: Terminal
    interrupts: Interrupts
    environment: Environment
    journal: JournalThread


def run_session(
    options: RunOptions,
    console: Terminal,
    open_file: Callable[[], Journal],
    command: Callable[[Session], Awaitable[ExitCode]],
) -> ExitCode:
    """Run a command in a new event loop, with a session that is closed afterwards; return its exit code.

    :param open_file: opens the journal; it runs in a thread.
    :param command: what to run. A ``SourceError``, ``ConfigurationError`` or ``JournalError`` that ends it is printed.
    """
    return asyncio.run(_run_session(options, console, open_file, command))


async def _run_session(
    options: RunOptions,
    console: Terminal,
    open_file: Callable[[], Journal],
    command: Callable[[Session], Awaitable[ExitCode]],
) -> ExitCode:
    interrupts = Interrupts(console)
    with interrupts.listen():
        try:
            async with (
                open_environment(options.rates, options.redis, options.accounts) as environment,
                contextlib.aclosing(await open_journal(open_file)) as journal,
            ):
                session = Session(
                    options=options, console=console, interrupts=interrupts, environment=environment, journal=journal
                )
                if options.is_verbose:
                    console.print(f"HTTP client: {environment.http_client or 'none'}")
                return await command(session)
        except SourceError as error:
            return print_error(console, error, ExitCode.INTERRUPTED if interrupts.count else ExitCode.USAGE)
        except (AuthenticationError, ConfigurationError) as error:
            return print_error(console, error, ExitCode.CREDENTIALS)
        except JournalError as error:
            return print_error(console, error, ExitCode.FAILURE)
