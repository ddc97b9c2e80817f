"""``volc-moderation bulk FILE…``: sends the calls of files, each at least once, at the full speed of its quota."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.box import SIMPLE_HEAD
from rich.table import Table

from volc_moderation import ConfigurationError, JournalError, SourceError
from volc_moderation.bulk.load import LoadProgress, read_actions
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.bulk.sources import STDIN
from volc_moderation.cli.environment import AccountOptions, AccountsFile, Redis, check_redis, printable_redis
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.hand_over import hand_over as hand_over_rows
from volc_moderation.cli.invocation import command_line
from volc_moderation.cli.load_files import (
    ESTIMATE_AFTER,
    IgnoreColumns,
    announce,
    check_files,
    load_files,
    parse_constants,
    parse_ignored,
    paths_of,
    row_accounts,
    size_of,
)
from volc_moderation.cli.output import OutputFile, check_outputs, create_private, table_console
from volc_moderation.cli.plan import duration
from volc_moderation.cli.rate import Rate, Rates, parse_rates
from volc_moderation.cli.run import run_journal, summary_line
from volc_moderation.cli.session import RunOptions, Session, run_session
from volc_moderation.cli.terminal import Terminal, print_error, stderr
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.lock import JournalInUseError
from volc_moderation.printable import counted
from volc_moderation.vendors import all_actions

#: Seconds after which Python's threads take turns. At the default of 5 ms, the journal's thread waits that long at each
#: step.
SWITCH_INTERVAL = 0.0005

AtLeastOne = Annotated[int | None, Parameter(validator=Number(gte=1))]


def bulk(
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    action: str | None = None,
    set_: Annotated[Sequence[str], Parameter(name="--set", negative=())] = (),
    ignore_columns: IgnoreColumns = (),
    dry_run: bool = False,
    journal: Path | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    retry_interrupted: bool = False,
    limit: AtLeastOne = None,
    accounts: AccountsFile | None = None,
    account: str | None = None,
    rate: Rate = (),
    redis: Redis | None = None,
    engine: Literal["local", "workers", "streaq"] = "local",
    queue: str = "moderation",
    on_temporary: Literal["wait", "defer"] = "wait",
    skip_bad: bool = False,
    hand_over: bool = False,
    output: OutputFile | None = None,
    report: OutputFile | None = None,
    verbose: bool = False,
) -> int:
    """Send the calls of CSV, JSON Lines (also compressed) or Parquet files; - is standard input.

    All rows are checked before the first call is sent. The calls are written to a journal, so --resume can continue a
    run that was interrupted or killed. A later run with the same file name moves the journal of a finished run aside,
    and sends all calls again. Exit codes: 0 all done, 1 the run cannot continue, because the journal, the Redis, the
    output or the vendor's certificate fails, 2 bad usage or a bad file, 3 credentials missing or refused, 10 some calls
    failed, 11 some calls are deferred or left, 74 standard output cannot be written, 130 interrupted.

    Parameters
    ----------
    files
        Files with one call per row. The columns are the fields of the action, in snake_case or as the vendor spells
        them, and optionally "action" and, with --accounts, "account".
    action
        The action of the rows that name none, such as StopWebcast.
    set_
        A column that all rows have, as NAME=VALUE.
    ignore_columns
        Columns to leave out, as NAME,NAME, or "all" for all that are no field of the action. Otherwise an unknown
        column is an error, because it may be misspelt.
    dry_run
        Check all rows and show what would be sent; send nothing.
    journal
        The journal; by default FILE.jobs.
    resume
        Continue an existing journal. Files with the same calls as before add nothing. Rows of other files
        are added; those whose call has ended are sent again.
    retry_failed
        With --resume: retry the calls that failed or were given up, except the interrupted ones.
    retry_interrupted
        With --resume: retry the interrupted calls. These must not be sent twice, and it is not known whether the vendor
        carried them out, for example a start whose process died. Check that first.
    limit
        The maximum number of calls to load.
    accounts
        A TOML file with many accounts, instead of the credentials in the environment.
    account
        With --accounts: the account of the rows that name none.
    rate
        Calls per second of each action, within its quota. ACTION=NUMBER, such as StopWebcast=300, sets the rate of one
        action; it may exceed the documented quota if the vendor has raised it for the account.
    redis
        Share the quotas through this Redis or Valkey, such as redis://localhost, instead of only with the commands of
        this user on this machine. Put an address with a password in the environment, where other users of the machine
        cannot read it.
    engine
        What sends the calls: this process, or the workers of a queue (see volc-moderation worker), which needs --redis.
        streaq is a former name of workers.
    queue
        The queue of the workers.
    on_temporary
        What to do about calls that the vendor wants repeated minutes later: wait for them, or defer them and end.
    skip_bad
        Skip bad rows instead of sending nothing.
    hand_over
        Add the calls to a journal that another process has open, such as a web app with Jobs, which sends them. This
        command then ends at once, with the exit code 11.
    output
        Append each call to this file of JSON Lines when it ends; - is standard output. Only you can read a new file.
    report
        Write an HTML page with charts of the run to this file at the end. Only you can read a new file.
    verbose
        Print which HTTP client sends the calls.

    """
    console = stderr()
    try:
        check_files(files)
        constants, ignored = parse_constants(set_), parse_ignored(ignore_columns)
        parser = RowParser(
            all_actions(),
            action=action,
            constants=constants,
            ignored=ignored,
            accounts=row_accounts(accounts, account),
        )
        rates, used = parse_rates(rate), AccountOptions(accounts, skip_missing=True)
        if dry_run:
            return _dry_run(files, parser, limit, rates, table_console(output))
        if hand_over:
            _check_hand_over(
                {
                    "--resume": resume,
                    "--retry-failed": retry_failed,
                    "--retry-interrupted": retry_interrupted,
                    "--rate": rate,
                    "--redis": printable_redis(redis),
                    "--engine": engine != "local",
                    "--on-temporary": on_temporary != "wait",
                    "--output": output,
                    "--report": report,
                }
            )
            path = _journal_path(files, journal, resume=False, retries=False)
            return hand_over_rows(
                RunOptions(journal=path, accounts=used), console, files, parser, limit=limit, skip_bad=skip_bad
            )
        if engine != "local":
            engine = "workers"
            check_redis(redis, wanted_by="--engine workers")
        path = _journal_path(files, journal, resume=resume, retries=retry_failed or retry_interrupted)
        check_outputs({"--output": output, "--report": report}, paths_of(files), journal=path)
        _create_outputs(output, report)
    except SourceError as error:
        return print_error(console, error)
    except ConfigurationError as error:  # of the accounts file
        return print_error(console, error, ExitCode.CREDENTIALS)
    options = RunOptions(
        journal=path,
        is_resumed=resume,
        rates=rates,
        accounts=used,
        redis=redis,
        engine=engine,
        queue=queue,
        wait_for_deferred=on_temporary == "wait",
        output=output,
        report=report,
        is_verbose=verbose and engine == "local",
        resume_command=_resume_command(
            path,
            {
                **used.words(),
                "--rate": rate or None,
                "--redis": printable_redis(redis),
                "--engine": None if engine == "local" else engine,
                "--queue": None if queue == "moderation" else queue,
                "--on-temporary": None if on_temporary == "wait" else on_temporary,
                "--output": output,
                "--report": report,
            },
        ),
    )

    async def load_and_run(session: Session) -> ExitCode:
        if files:
            await load_files(session, files, parser, limit=limit, skip_bad=skip_bad)
            aside = await session.journal.do(lambda journal: journal.aside)
            if aside is not None:
                console.print(f"{path} held a finished run, which was moved to {aside}", soft_wrap=True)
        if retry_failed or retry_interrupted:
            await session.journal.do(
                lambda journal: journal.retry_ended(due=time.time(), failed=retry_failed, interrupted=retry_interrupted)
            )
        return await run_journal(session)

    sys.setswitchinterval(SWITCH_INTERVAL)
    return run_session(options, console, partial(_open_journal, options, has_files=bool(files)), load_and_run)


def _open_journal(options: RunOptions, *, has_files: bool) -> Journal:
    """Open the journal of the run: a new one, one that is resumed, or an empty one in place of one that has ended.

    Raises ``SourceError`` if the options do not fit the journal, and ``JournalError``.
    """
    path = options.journal
    try:
        journal = Journal(path, keep_empty=False)
    except JournalInUseError as error:
        if error.is_shared and has_files:
            raise JournalError(f"{error}; to hand these calls to it, add --hand-over") from None
        raise
    try:
        summary = journal.summary()
        if options.is_resumed:
            if not summary.total and not has_files:
                raise SourceError(f"{path} is empty: its run ended before its file was read; give the file again")
        elif summary.unfinished:
            raise SourceError(
                f"{path} belongs to an unfinished run: {summary_line(summary)} To add these rows to it, give --resume"
                f" here; to start another run, give another --journal. Resume with: {options.resume_command}"
            )
        elif summary.total:
            journal.set_aside()
    except BaseException:
        journal.close()
        raise
    return journal


def _check_hand_over(others: Mapping[str, object]) -> None:
    """Raise ``SourceError`` if an option is set that has no effect if another process makes the calls."""
    for option, value in others.items():
        if value:
            raise SourceError(f"--hand-over leaves the calls to the process that has the journal: omit {option}")


def _create_outputs(*files: Path | None) -> None:
    """Create the files that the run will write, or check that they are writable. Raises ``SourceError``."""
    for file in files:
        if file is not None:
            create_private(file)


def _dry_run(files: Sequence[str], parser: RowParser, limit: int | None, rates: Rates, out: Terminal) -> ExitCode:
    """Check all rows and show what would be sent. Raises ``SourceError`` for a file that cannot be read."""
    if not files:
        raise SourceError("give a file to check")
    progress = LoadProgress(total_bytes=size_of(files), limit=limit)
    examples: dict[str, str] = {}
    errors = stderr()
    announce_at = time.monotonic() + ESTIMATE_AFTER

    def print_bad_row(message: str) -> None:
        errors.print(message, soft_wrap=True)

    for call in read_actions(files, parser, limit=limit, on_bad_row=print_bad_row, progress=progress):
        examples.setdefault(call.action.name, str(call.action))
        if time.monotonic() > announce_at:
            announce(errors, progress, rates, quota_of=lambda action_type: action_type.quota)
            announce_at = math.inf
    table = Table("action", "calls", "rate", "time", "first call", box=SIMPLE_HEAD)
    actions = all_actions()
    for name, count in progress.rows_by_action.items():
        rate = rates.rate_of(actions[name], actions[name].quota)
        shown = f"{rate:g}/s" + (", learned" if rates.is_learned(actions[name]) else "")
        table.add_row(name, f"{count:,}", shown, duration(count / rate), examples[name])
    if progress.rows_by_action:
        out.print(table)
    rows = counted(progress.bad_rows, "bad row")
    out.print(f"{counted(progress.good_rows, 'call')}, {rows}. Nothing was sent.")
    return ExitCode.USAGE if progress.bad_rows or not progress.good_rows else ExitCode.SUCCESS


def _journal_path(files: Sequence[str], journal: Path | None, *, resume: bool, retries: bool) -> Path:
    """Return the path of the journal. Raises ``SourceError`` if the options contradict each other."""
    if retries and not resume:
        raise SourceError("--retry-failed and --retry-interrupted need --resume")
    if not files and not resume:
        raise SourceError("give a file, - for standard input, or --resume")
    if journal is None:
        if not files:
            raise SourceError("--resume needs --journal, or the file that the journal was created from")
        journal = Path("stdin.jobs" if files[0] == STDIN else f"{files[0]}.jobs")
    if resume and not journal.is_file():
        raise SourceError(f"there is no journal {journal} to resume")
    return journal


def _resume_command(journal: Path, options: Mapping[str, object]) -> str:
    """Return the command that resumes a journal. Options whose value is None are left out."""
    words: list[str | Path] = ["bulk", "--resume", "--journal", journal]
    for option, value in options.items():
        for item in value if isinstance(value, (list, tuple)) else [value]:
            words += [] if item is None else [option, item if isinstance(item, Path) else str(item)]
    return command_line(*words)
