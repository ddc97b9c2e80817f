"""Input files of the commands: named on the command line, checked, and loaded into the journal."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import Parameter

from volc_moderation import Quota, SourceError
from volc_moderation.accounts_file import read_tables, vendor_in
from volc_moderation.action import Action
from volc_moderation.bulk.load import CANCELLED_MESSAGE, LoadProgress, load_actions, read_actions
from volc_moderation.bulk.row_accounts import RowAccounts
from volc_moderation.bulk.row_parser import ALL_UNKNOWN, RowParser
from volc_moderation.bulk.sources import STDIN
from volc_moderation.cli.environment import AccountOptions
from volc_moderation.cli.plan import plan_line
from volc_moderation.cli.rate import Rates
from volc_moderation.cli.session import Session
from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.journal import Journal
from volc_moderation.printable import counted
from volc_moderation.vendors import all_actions

T = TypeVar("T")

#: The type of the option in a command's signature.
IgnoreColumns = Annotated[Sequence[str], Parameter(name="--ignore-columns", negative=())]

#: Seconds between two updates of the loading status.
STATUS_INTERVAL = 0.1
#: Seconds of reading after which the number of calls is estimated.
ESTIMATE_AFTER = 0.2
#: Seconds that reading may take to end after an interrupt.
CANCEL_TIMEOUT = 1.0
#: Bad rows that are printed; further ones are only counted. A dry run prints all.
MAX_BAD_ROWS_SHOWN = 20


def check_files(files: Sequence[str]) -> None:
    """Check that the names are existing files, or - for standard input, and not misspelt options.

    Raises ``SourceError``.
    """
    if files.count(STDIN) > 1:
        raise SourceError("standard input can be read only once: give - once")
    for file in files:
        if file == STDIN:
            continue
        if file.startswith("-"):
            raise SourceError(f"there is no option {file}; for a file with this name, give ./{file}")
        try:
            Path(file).stat()
        except (OSError, ValueError) as error:
            raise SourceError(f"{file}: {getattr(error, 'strerror', None) or error}") from None


def paths_of(files: Sequence[str]) -> list[Path]:
    """Return the paths of the files without standard input."""
    return [Path(file) for file in files if file != STDIN]


def parse_constants(values: Sequence[str]) -> dict[str, str]:
    """Parse the values of ``--set``, NAME=VALUE. Raises ``SourceError``."""
    constants = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SourceError(f"--set must be NAME=VALUE, such as app_id=abc; got {text!r}")
        constants[name] = value
    return constants


def parse_ignored(values: Sequence[str]) -> frozenset[str]:
    """Return the columns of ``--ignore-columns``: NAME,NAME, given once or several times, or ``all``."""
    names = frozenset(name.strip() for text in values for name in text.split(","))
    return ALL_UNKNOWN if names == {"all"} else names


def row_accounts(file: Path | None, default: str | None) -> RowAccounts | None:
    """Return the accounts that rows may name; None without an accounts file.

    Raises ``SourceError`` for an unknown account, and ``ConfigurationError`` if the file cannot be used.
    """
    AccountOptions(file, [default] if default else []).check()
    if file is None:
        return None
    vendors = {name: vendor_in(table) for name, table in read_tables(file).items()}
    return RowAccounts(vendors, default=default)


async def load_files(
    session: Session, files: Sequence[str], parser: RowParser, *, limit: int | None = None, skip_bad: bool = False
) -> None:
    """Load the calls of files into the journal.

    :param limit: the number of good rows after which reading ends.
    :param skip_bad: whether to load the good rows if there are bad ones.

    Raises ``SourceError``; the journal is then unchanged.
    """
    console, interrupts = session.console, session.interrupts
    progress = LoadProgress(total_bytes=size_of(files), limit=limit)
    interrupts.set_handlers(progress.cancel, progress.cancel)

    def load(journal: Journal) -> None:
        actions = read_actions(
            files, parser, limit=limit, on_bad_row=first_bad_rows_printer(console), progress=progress
        )
        load_actions(
            journal,
            actions,
            session.environment.clients_of,
            skip_bad_rows=skip_bad,
            now=time.time(),
            progress=progress,
        )

    await show_loading(session, session.journal.request(load, durable=True), progress)
    console.print(_load_message(progress), soft_wrap=True)


async def show_loading(session: Session, loading: "asyncio.Future[T]", progress: LoadProgress) -> T:
    """Show the progress until rows have been read, and return the result.

    Raises ``SourceError`` if the reading does not end after an interrupt.
    """
    console = session.console
    updates = updates_since_cancel = 0
    with console.status("Checking…") as status:
        while not loading.done():
            bad = f", {progress.bad_rows:,} bad" if progress.bad_rows else ""
            status.update(f"Checking: {counted(progress.good_rows, 'row')}{bad}")
            await asyncio.wait([loading], timeout=STATUS_INTERVAL)
            updates += 1
            if updates == round(ESTIMATE_AFTER / STATUS_INTERVAL) and not loading.done():
                announce(console, progress, session.environment.rates, quota_of=session.environment.quota_of)
            updates_since_cancel += progress.is_cancelled
            if updates_since_cancel > CANCEL_TIMEOUT / STATUS_INTERVAL or session.interrupts.count > 1:
                # The thread is blocked reading a silent terminal or pipe; it cannot be woken.
                session.journal.abandon()
                raise SourceError(CANCELLED_MESSAGE)
    if progress.bad_rows > MAX_BAD_ROWS_SHOWN:
        console.print(f"… and {counted(progress.bad_rows - MAX_BAD_ROWS_SHOWN, 'more bad row')}")
    return await loading


def size_of(files: Sequence[str]) -> int | None:
    """Return the bytes of all files; None if that is unknown, as of standard input."""
    paths = paths_of(files)
    if len(paths) != len(files) or not all(path.is_file() for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def announce(
    console: Terminal, progress: LoadProgress, rates: Rates, *, quota_of: Callable[[type[Action[Any]]], Quota]
) -> None:
    """Print what is being read, how many calls it is likely to have, and how long they take."""
    if progress.file is not None:
        console.print(f"Reading {'standard input' if progress.file == STDIN else progress.file}.", soft_wrap=True)
    actions, estimates = all_actions(), progress.estimated_rows()
    for name, count in (estimates or dict(progress.rows_by_action)).items():
        action = actions[name]
        line = plan_line(name, count, rates.rate_of(action, quota_of(action)), is_learned=rates.is_learned(action))
        console.print(f"{'About' if estimates else 'At least'} {line}", soft_wrap=True)


def _load_message(progress: LoadProgress) -> str:
    """Return a line about the files that were loaded."""
    message = f"{counted(progress.good_rows, 'row')}, "
    if progress.is_known_list:
        message += "the same calls that the journal was created from; only unfinished ones are sent"
    else:
        message += counted(progress.added_jobs, "call")
        existing = progress.good_rows - progress.added_jobs - progress.reopened_jobs
        details = [f"{progress.reopened_jobs:,} repeated"] if progress.reopened_jobs else []
        details += [f"{existing:,} already in the journal"] if existing else []
        message += f" ({', '.join(details)})" if details else ""
    return message + (f", {counted(progress.bad_rows, 'bad row')} skipped" if progress.bad_rows else "")


def first_bad_rows_printer(console: Terminal) -> Callable[[str], None]:
    """Return a function that prints the messages of the first bad rows and drops the others."""
    printed = 0

    def print_bad_row(message: str) -> None:
        nonlocal printed
        printed += 1
        if printed <= MAX_BAD_ROWS_SHOWN:
            console.print(message, soft_wrap=True)

    return print_bad_row
