"""``volc-moderation jobs``: shows, filters and exports the jobs of a journal, also one in use, and shows a queue."""

import asyncio
import contextlib
import difflib
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from volc_moderation import AuthenticationError, ConfigurationError, JournalError, SourceError, WindowQuotas
from volc_moderation.accounts import load as load_accounts
from volc_moderation.cli.environment import REDIS_VARIABLE, AccountOptions, AccountsFile
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.invocation import command_line
from volc_moderation.cli.job_counts import due_line, print_counts, print_failures
from volc_moderation.cli.jobs_table import print_jobs, redacted
from volc_moderation.cli.output import check_outputs
from volc_moderation.cli.queue_view import read_queue, show_queue
from volc_moderation.cli.rate import MAX_NAME_SHOWN
from volc_moderation.cli.run import retry_hints, summary_line
from volc_moderation.cli.terminal import print_error, stderr, stdout
from volc_moderation.jobs.job import JobState, StoredJob
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.queries import JobFilter
from volc_moderation.jobs.journal.schema import JobSummary
from volc_moderation.printable import counted, printable_json
from volc_moderation.quotas.environment import REDIS_SCHEMES
from volc_moderation.quotas.permit import hash_account
from volc_moderation.vendors import all_actions

#: Jobs that are shown without ``--limit``.
DEFAULT_LIMIT = 50
#: What is printed if a filter selects nothing.
NO_MATCH = "no job matches"
#: The fields of an exported job, beside its state, parameters and times.
EXPORTED_FIELDS = (
    *("line", "key", "action", "attempts", "maybe_sent", "was_gone", "code", "message"),
    *("request_id", "result", "round_trip", "waited"),
)
#: The times of an exported job.
EXPORTED_TIMES = ("created", "due", "sent", "ended")

StateOption = Literal["pending", "sent", "done", "failed", "given-up", "deferred", "gone"]


def jobs(
    journal: Path | None = None,
    *,
    state: StateOption | None = None,
    action: str | None = None,
    code: str | None = None,
    key: str | None = None,
    accounts: AccountsFile | None = None,
    account: str | None = None,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    full_keys: bool = False,
    export: bool = False,
    report: Path | None = None,
    redis: str | None = None,
    queue: str | None = None,
) -> int:
    """Show how many jobs of each kind a journal has, or, with a filter, which jobs.

    With --redis instead of a journal, show how many jobs of each kind the queue of the workers has.

    Parameters
    ----------
    journal
        The journal; it may be in use.
    state
        Show the jobs in this state. Deferred jobs wait for their next attempt; gone ones are done because there was
        nothing to stop or remove.
    action
        Show the jobs of this action.
    code
        Show the jobs whose last error has this code.
    key
        Show the jobs whose key begins like this.
    accounts
        The accounts file of --account.
    account
        Show the jobs of this account, also of a queue.
    limit
        The maximum number of jobs to show; by default 50, or all with --export.
    full_keys
        Show the whole keys in a terminal, too.
    export
        Print all fields of each job as JSON Lines.
    report
        Write an HTML page with charts of the run to this file.
    redis
        The Redis with the queue, such as redis://localhost; without a journal, VOLC_MODERATION_REDIS counts, too. The
        other options but --queue are about a journal.
    queue
        The name of the queue; by default moderation.

    """
    console = stderr()
    about_journal = {
        "--state": state,
        "--action": action,
        "--code": code,
        "--key": key,
        "--limit": limit,
        "--full-keys": full_keys or None,
        "--export": export or None,
        "--report": report,
    }
    try:
        hashes = _hashes_of(accounts, account)
    except (SourceError, ConfigurationError, AuthenticationError) as error:
        return print_error(console, error)
    if journal is None:
        options = [name for name, value in about_journal.items() if value is not None]
        return _show_queue(redis, queue, options, accounts=hashes)
    if redis is not None or queue is not None:
        return print_error(console, f"give a journal or {'--queue' if redis is None else '--redis'}, not both")
    if f"{journal.parts[0] if journal.parts else ''}//" in REDIS_SCHEMES:  # not printed: it may hold a password
        return print_error(console, "the address of a Redis belongs to --redis")
    is_filtered = any(value is not None for value in (state, action, code, key, account))
    try:
        with contextlib.closing(Journal(journal, access="read")) as opened:
            if report is not None:
                from volc_moderation.report.report import write_report  # noqa: PLC0415 - only this option needs it

                check_outputs({"--report": report}, journal=journal)
                write_report(opened, report, now=time.time())
                console.print(f"Report: {report}", soft_wrap=True)
            _check_text({"--code": code, "--key": key})
            job_filter = _job_filter(state, _known_action(action, opened), code, key, accounts=hashes)
            if export:
                if not _export(opened.jobs(job_filter, limit=limit)):
                    console.print(NO_MATCH)
            elif is_filtered or limit is not None:
                _show_jobs(opened, job_filter, limit or DEFAULT_LIMIT, full_keys=full_keys)
            else:
                _show_counts(opened)
    except (JournalError, SourceError) as error:
        return print_error(console, error)
    return ExitCode.SUCCESS


def _hashes_of(file: Path | None, account: str | None) -> frozenset[str]:
    """Return what stands for an account in journals and queues; nothing without an account.

    Raises ``SourceError``, and what ``accounts.load`` and ``resolve_account`` raise.
    """
    if account is None:
        return frozenset()
    AccountOptions(file, [account]).check()

    async def resolve() -> frozenset[str]:
        async with load_accounts(file, names=[account], quotas=WindowQuotas()) as loaded:
            client = loaded[account]
            return frozenset(map(hash_account, {await client.resolve_account(), *client.former_accounts}))

    return asyncio.run(resolve())


def _show_queue(redis: str | None, queue: str | None, options: Sequence[str], *, accounts: frozenset[str]) -> int:
    """Show a queue.

    :param options: those that were given and are about a journal.
    :param accounts: the hashes of the accounts to show; empty for all.
    """
    console = stderr()
    address, name = redis or os.environ.get(REDIS_VARIABLE), queue or "moderation"
    if not address:
        return print_error(
            console, f"jobs needs a journal, or the Redis of a queue: --redis redis://localhost, or {REDIS_VARIABLE}"
        )
    if options:
        return print_error(console, f"{options[0]} is about a journal, and there is none; --redis shows a whole queue")
    try:
        _check_text({"--redis": redis, "--queue": queue})
        overview = asyncio.run(read_queue(address, name, accounts=accounts))
    except SourceError as error:
        return print_error(console, error)
    except JournalError as error:
        return print_error(console, error, ExitCode.FAILURE)
    return show_queue(stdout(), overview, redis=address, queue=name)


def _job_filter(
    state: StateOption | None, action: str | None, code: str | None, key: str | None, *, accounts: frozenset[str]
) -> JobFilter:
    is_deferred, was_gone = state == "deferred", state == "gone"
    # An option is the value of a state with a hyphen, or one of the two kinds that are part of a state.
    states = frozenset() if state is None or is_deferred or was_gone else frozenset({JobState(state.replace("-", " "))})
    return JobFilter(
        states=states,
        accounts=accounts,
        action=action,
        code=code,
        key_prefix=key,
        is_deferred=is_deferred,
        was_gone=was_gone,
    )


def _check_text(options: Mapping[str, str | None]) -> None:
    """Raise ``SourceError`` if an option is no text, which SQLite and Redis refuse: the shell may pass any bytes."""
    for option, value in options.items():
        try:
            (value or "").encode()
        except UnicodeEncodeError:
            raise SourceError(f"{option} is not valid UTF-8") from None


def _known_action(name: str | None, journal: Journal) -> str | None:
    """Return the name of an action. Raises ``SourceError`` if neither a vendor nor the journal has it."""
    own = sorted({lane.action for lane in journal.lanes().values()})
    known = {*all_actions(), *own}
    if name is None or name in known:
        return name
    by_folded_name = {action.casefold(): action for action in sorted(known)}
    similar = difflib.get_close_matches(name.casefold(), by_folded_name, 1)
    hint = f"; the journal has {', '.join(own)}" if own else ""
    if similar:
        hint = f"; did you mean {by_folded_name[similar[0]]}?"
    raise SourceError(f"--action: there is no action {name[:MAX_NAME_SHOWN]!r}{hint}")


def _show_counts(journal: Journal) -> None:
    """Print the number of jobs by action and state, failures by code, when the next job is due, and how to go on."""
    with journal.snapshot():
        summary, counts, failures = journal.summary(), journal.counts_by_action(), journal.failure_codes()
        heading, next_due = _heading(journal, summary), journal.next_due()
        commands = _next_commands(journal, summary)
    console = stdout()
    console.print(heading, soft_wrap=True)
    print_counts(console, counts)
    print_failures(console, failures)
    lines = commands if next_due is None else [due_line(next_due, time.time()), *commands]
    for line in lines:
        console.print(line, soft_wrap=True)


def _next_commands(journal: Journal, summary: JobSummary) -> list[str]:
    """Return sentences with the commands that resume or retry the jobs, if the journal alone tells them."""
    # The journal knows neither the queue of its workers nor the emulator of its demo.
    if journal.note("incarnation") or journal.note("port"):
        return []
    command = command_line("bulk", "--resume", "--journal", journal.path)
    if summary.unfinished:
        return [f"If no process runs these jobs, resume with: {command}"]
    return retry_hints(summary, journal.count_interrupted(), command)


def _show_jobs(journal: Journal, job_filter: JobFilter, limit: int, *, full_keys: bool) -> None:
    """Print a table of the first jobs that a filter selects."""
    console = stdout()
    console.print(_heading(journal, journal.summary()), soft_wrap=True)
    selected = list(journal.jobs(job_filter, limit=limit + 1))
    if not selected:
        console.print(NO_MATCH)
        return
    print_jobs(console, selected[:limit], is_terminal=sys.stdout.isatty(), full_keys=full_keys)
    if len(selected) > limit:
        console.print(f"These are the first {counted(limit, 'job')}; there are more. --limit shows more of them.")


def _heading(journal: Journal, summary: JobSummary) -> str:
    return f"{journal.path}, last written by {journal.note('owner')}: {summary_line(summary)}"


def _export(selected: Iterable[StoredJob]) -> int:
    """Print jobs as JSON Lines, and return their number."""
    count = 0
    for job in selected:
        fields = {name: getattr(job, name) for name in EXPORTED_FIELDS}
        fields |= {"state": job.state.value, "parameters": redacted(job)}
        for name in EXPORTED_TIMES:
            seconds = getattr(job, name)
            fields[name] = None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
        print(printable_json(fields))  # noqa: T201 - the output
        count += 1
    return count
