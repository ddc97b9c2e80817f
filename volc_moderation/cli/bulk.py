"""``volc-moderation bulk FILE…``: the calls of a file, each made once at the least, at the full speed of its quota."""

import asyncio
import shlex
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
from volc_moderation.bulk.load import LoadProgress, check
from volc_moderation.bulk.rows import Rows
from volc_moderation.bulk.sources import STDIN
from volc_moderation.cli.environment import Redis, check_redis, clients_of_environment, shown_redis
from volc_moderation.cli.files import check_names, complain, constants_of, fill, opened, paths_of
from volc_moderation.cli.output import check_apart, make_private
from volc_moderation.cli.rate import Rate, rates_of
from volc_moderation.cli.run import (
    ALL_DONE,
    BAD_CREDENTIALS,
    BAD_INPUT,
    CANNOT_GO_ON,
    INTERRUPTED,
    Interrupts,
    RunOptions,
    run_journal,
    summary_line,
)
from volc_moderation.cli.terminal import Terminal, stderr, stdout
from volc_moderation.jobs.journal import Journal
from volc_moderation.vendors import all_actions

#: Seconds between two threads' turns: with the interpreter's 5 ms, the journal's thread waits so long for each step.
TURN = 0.0005

AtLeastOne = Annotated[int | None, Parameter(validator=Number(gte=1))]


def bulk(
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    action: str | None = None,
    set_: Annotated[Sequence[str], Parameter(name="--set", negative=())] = (),
    dry_run: bool = False,
    journal: Path | None = None,
    resume: bool = False,
    retry_failed: bool = False,
    retry_interrupted: bool = False,
    limit: AtLeastOne = None,
    rate: Rate = (),
    redis: Redis | None = None,
    engine: Literal["local", "workers", "streaq"] = "local",
    queue: str = "moderation",
    on_temporary: Literal["wait", "defer"] = "wait",
    skip_bad: bool = False,
    output: Path | None = None,
    report: Path | None = None,
) -> int:
    """Make the calls of files, of CSV, JSON Lines (also compressed) or Parquet; - is standard input.

    All rows are checked before the first call is made. The calls are written to a journal, so that a run that was
    interrupted or killed goes on with --resume. The journal of a run that has ended is set aside by the next run of the
    same name, which makes all its calls anew. Exit codes: 0 all done, 1 the journal, the Redis or every call fails,
    2 bad usage or a bad file, 3 the keys are absent or refused, 10 some failed, 11 some are put off, 130 interrupted.

    Parameters
    ----------
    files
        Columns are the action's fields, in snake_case or as the vendor spells them, and perhaps "action".
    action
        The action of rows that name none, such as StopWebcast.
    set_
        A column that all rows have, as name=value.
    dry_run
        Check all rows and show what would be sent; send nothing.
    journal
        The journal: FILE.jobs unless given.
    resume
        Go on with a journal that is there. The very files that it was made of add nothing; of others, the rows are
        added, and those that ended are made again.
    retry_failed
        With --resume: do what failed, or was given up, again; but not what was interrupted.
    retry_interrupted
        With --resume: do again what must not be made twice, and of which nobody knows whether it was carried out, such
        as a start at ZEGO whose process died. Look first whether it was.
    limit
        Read so many rows at most.
    rate
        Calls per second of each action, below its quota. Of one action, as StopWebcast=300, also above it, where the
        vendor has raised it for the account.
    redis
        Share the quotas with others through this Redis or Valkey, such as redis://localhost. An address with a
        password belongs into the environment, where other users of the machine do not see it.
    engine
        Who makes the calls: this process, or with --redis the workers of a queue (volc-moderation worker). streaq is an
        older name for workers.
    queue
        The queue of the workers.
    on_temporary
        What to do about calls that the vendor wants repeated minutes later: wait for them, or defer them and end.
    skip_bad
        Leave bad rows out, rather than send nothing.
    output
        A file of JSON Lines to add each call to as it ends. A new one is for you alone to read.
    report
        A page of HTML to write at the end, with pictures of the run. A new one is for you alone to read.

    """
    console = stderr()
    try:
        check_names(files)
        constants = constants_of(set_)
        rows = Rows(all_actions(), action=action, constants=constants)
        if dry_run:
            return _dry_run(files, rows, limit)
        rates = rates_of(rate)
        if engine != "local":
            engine = "workers"
            check_redis(redis)
        path = _journal_path(files, journal, resume=resume, retries=retry_failed or retry_interrupted)
        check_apart({"--output": output, "--report": report}, paths_of(files), journal=path)
        for one in (output, report):
            if one is not None:
                make_private(one)
    except SourceError as error:
        return complain(console, error)
    options = RunOptions(
        journal=path,
        is_resumed=resume,
        rates=rates,
        redis=redis,
        engine=engine,
        queue=queue,
        wait_for_deferred=on_temporary == "wait",
        output=output,
        report=report,
        resume=_resume(
            path,
            {
                "--rate": rate or None,
                "--redis": shown_redis(redis),
                "--engine": None if engine == "local" else engine,
                "--queue": None if queue == "moderation" else queue,
                "--on-temporary": None if on_temporary == "wait" else on_temporary,
                "--output": output,
                "--report": report,
            },
        ),
    )
    sys.setswitchinterval(TURN)
    retried = {"failed": retry_failed, "interrupted": retry_interrupted}
    return asyncio.run(_bulk(files, rows, options, console, limit=limit, skip_bad=skip_bad, retried=retried))


async def _bulk(
    files: Sequence[str],
    rows: Rows,
    options: RunOptions,
    console: Terminal,
    *,
    limit: int | None,
    skip_bad: bool,
    retried: Mapping[str, bool],
) -> int:
    interrupts = Interrupts(console)
    with interrupts.heard():
        try:
            async with (
                clients_of_environment(options.rates, options.redis) as environment,
                opened(partial(_open, options, has_files=bool(files))) as journal,
            ):
                if files:
                    await fill(
                        files,
                        rows,
                        journal,
                        environment=environment,
                        console=console,
                        interrupts=interrupts,
                        limit=limit,
                        skip_bad=skip_bad,
                    )
                    aside = await journal.do(lambda journal: journal.aside)
                    if aside is not None:
                        console.print(f"{options.journal} had a run that has ended; that is in {aside}", soft_wrap=True)
                if any(retried.values()):
                    await journal.do(lambda journal: journal.retry_ended(due=time.time(), **retried))
                return await run_journal(journal, environment, options, console, interrupts)
        except SourceError as error:
            return complain(console, error, INTERRUPTED if interrupts.count else BAD_INPUT)
        except ConfigurationError as error:
            return complain(console, error, BAD_CREDENTIALS)
        except JournalError as error:
            return complain(console, error, CANNOT_GO_ON)


def _open(options: RunOptions, *, has_files: bool) -> Journal:
    """Open a journal that is for this run: a new one, one whose run has ended, or one that was asked to go on.

    Raises ``SourceError`` for another one, and ``JournalError``.
    """
    path = options.journal
    journal = Journal(path, keep_empty=False)
    try:
        summary = journal.summary()
        if options.is_resumed:
            if not summary.total and not has_files:
                raise SourceError(f"{path} is empty: its run ended before its file was read; give the file again")
        elif summary.unfinished:
            raise SourceError(
                f"{path} is of a run that has not ended: {summary_line(summary)} Go on with that: {options.resume};"
                " to add these rows to it, give --resume here; or give another --journal"
            )
        elif summary.total:
            journal.set_aside()
    except BaseException:
        journal.close()
        raise
    return journal


def _dry_run(files: Sequence[str], rows: Rows, limit: int | None) -> int:
    """Check all rows and show what would be sent."""
    if not files:
        raise SourceError("give a file to check")
    loaded = LoadProgress()
    examples: dict[str, str] = {}
    out = stdout()
    errors = stderr()

    def tell(line: str) -> None:
        errors.print(line, soft_wrap=True)

    for _, made in check(files, rows, limit=limit, on_bad_row=tell, loaded=loaded):
        examples.setdefault(made.name, str(made))
    table = Table("action", "calls", "quota", "least time", "the first", box=SIMPLE_HEAD)
    actions = all_actions()
    for name, count in loaded.actions.items():
        quota = actions[name].quota
        seconds = f"{count / quota.limit * quota.window:,.0f} s" if quota.published else "?"
        table.add_row(name, f"{count:,}", f"{quota.limit}/s" if quota.published else "learned", seconds, examples[name])
    if loaded.actions:
        out.print(table)
    out.print(f"{loaded.rows:,} calls, {loaded.bad:,} bad rows. Nothing was sent.")
    return BAD_INPUT if loaded.bad or not loaded.rows else ALL_DONE


def _journal_path(files: Sequence[str], journal: Path | None, *, resume: bool, retries: bool) -> Path:
    if retries and not resume:
        raise SourceError("--retry-failed and --retry-interrupted go with --resume")
    if not files and not resume:
        raise SourceError("give a file, - for standard input, or --resume")
    if journal is None:
        if not files:
            raise SourceError("--resume needs --journal, or the file that the journal was made of")
        journal = Path("stdin.jobs" if files[0] == STDIN else f"{files[0]}.jobs")
    if resume and not journal.is_file():
        raise SourceError(f"there is no journal {journal} to go on with")
    return journal


def _resume(journal: Path, options: Mapping[str, object]) -> str:
    """Return the command that goes on with a journal."""
    words = ["volc-moderation", "bulk", "--resume", "--journal", str(journal)]
    for option, value in options.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words += [] if one is None else [option, str(one)]
    return shlex.join(words)
