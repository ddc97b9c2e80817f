"""``volc-moderation bulk FILE…``: the calls of a file, each made once at the least, at the full speed of its quota."""

import asyncio
import contextlib
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from volc_moderation import ConfigurationError, JournalError, SourceError, VolcengineClient, ZegoClient
from volc_moderation.cli.run import (
    ALL_DONE,
    BAD_CREDENTIALS,
    BAD_INPUT,
    INTERRUPTED,
    JOURNAL_FAILED,
    Environment,
    Interrupts,
    RunOptions,
    check_streaq,
    clients_of_environment,
    run_journal,
    stderr,
    stdout,
)
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal_thread import JournalThread
from volc_moderation.jobs.load import Loaded, check, load
from volc_moderation.jobs.rows import Rows
from volc_moderation.jobs.sources import STDIN

#: Bad rows that are shown when there are more; a dry run shows all.
SHOWN = 20
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
    limit: AtLeastOne = None,
    rate: AtLeastOne = None,
    redis: str | None = None,
    engine: Literal["local", "streaq"] = "local",
    queue: str = "moderation",
    on_temporary: Literal["wait", "defer"] = "wait",
    skip_bad: bool = False,
    output: Path | None = None,
    report: Path | None = None,
) -> int:
    """Make the calls of files, of CSV, JSON Lines (also compressed) or Parquet; - is standard input.

    All rows are checked before the first call is made. The calls are written to a journal, so that a run that was
    interrupted or killed goes on with --resume. Exit codes: 0 all done, 1 the journal cannot be written, 2 bad usage or
    a bad file, 3 the keys are absent or refused, 10 some failed, 11 some are put off, 130 interrupted.

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
        Go on with a journal that is there; further files are added to it.
    retry_failed
        With --resume: do what failed, or was given up, again.
    limit
        Read so many rows at most.
    rate
        Calls per second of each action, below its quota.
    redis
        Share the quotas with others through this Redis or Valkey, such as redis://localhost.
    engine
        Who makes the calls: this process, or with --redis the workers of a queue (volc-moderation worker).
    queue
        The queue of the engine streaq.
    on_temporary
        What to do about calls that the vendor wants repeated minutes later: wait for them, or defer them and end.
    skip_bad
        Leave bad rows out, rather than send nothing.
    output
        A file of JSON Lines to write each call to as it ends.
    report
        A page of HTML to write at the end, with pictures of the run.

    """
    console = stderr()
    try:
        check_names(files)
        constants = constants_of(set_)
        rows = Rows(VolcengineClient.actions() | ZegoClient.actions(), action=action, constants=constants)
        if dry_run:
            return _dry_run(files, rows, limit)
        if engine == "streaq":
            check_streaq(redis)
        path = _journal_path(files, journal, resume=resume, retry_failed=retry_failed)
        _check_writable(output, report)
    except SourceError as error:
        return complain(console, error)
    options = RunOptions(
        journal=path,
        rate=rate,
        redis=redis,
        engine=engine,
        queue=queue,
        wait_for_deferred=on_temporary == "wait",
        output=output,
        report=report,
        resume=_resume(
            path,
            {
                "--rate": rate,
                "--redis": redis and _without_password(redis),
                "--engine": None if engine == "local" else engine,
                "--queue": None if queue == "moderation" else queue,
                "--on-temporary": None if on_temporary == "wait" else on_temporary,
                "--output": output,
                "--report": report,
            },
        ),
    )
    sys.setswitchinterval(TURN)
    return asyncio.run(_bulk(files, rows, options, console, limit=limit, skip_bad=skip_bad, retry_failed=retry_failed))


async def _bulk(
    files: Sequence[str],
    rows: Rows,
    options: RunOptions,
    console: Console,
    *,
    limit: int | None,
    skip_bad: bool,
    retry_failed: bool,
) -> int:
    interrupts = Interrupts(console)
    is_new = not options.journal.exists()
    with interrupts.heard():
        try:
            async with (
                clients_of_environment(options.rate, options.redis) as environment,
                opened(options.journal) as journal,
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
                    is_new = False
                if retry_failed:
                    await journal.do(lambda journal: journal.retry_ended(now=time.time()))
                return await run_journal(journal, environment, options, console, interrupts)
        except SourceError as error:
            return INTERRUPTED if interrupts.count else complain(console, error)
        except ConfigurationError as error:
            return complain(console, error, BAD_CREDENTIALS)
        except JournalError as error:
            return complain(console, error, JOURNAL_FAILED)
        finally:
            if is_new:
                for end in ("", "-wal", "-shm", "-lock"):
                    options.journal.with_name(options.journal.name + end).unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[JournalThread]:
    """Open a journal, and close it at the end."""
    journal = JournalThread(await asyncio.to_thread(Journal, path))
    try:
        yield journal
    finally:
        await journal.aclose()


async def fill(
    files: Sequence[str],
    rows: Rows,
    journal: JournalThread,
    *,
    environment: Environment,
    console: Console,
    interrupts: Interrupts,
    limit: int | None = None,
    skip_bad: bool = False,
) -> None:
    """Load files into a journal. Raises ``SourceError``, and then nothing is in it that was not before."""
    loaded = Loaded()
    interrupts.set(loaded.cancel, loaded.cancel)

    def write(journal: Journal) -> None:
        actions = check(files, rows, limit=limit, tell_bad=_some_bad(console), loaded=loaded)
        load(journal, actions, environment.of, skip_bad=skip_bad, now=time.time(), loaded=loaded)

    writing = asyncio.create_task(journal.do(write, durable=True))
    with console.status("Checking…") as status:
        while not writing.done():
            status.update(f"Checking: {loaded.rows:,} rows" + (f", {loaded.bad:,} bad" if loaded.bad else ""))
            await asyncio.wait([writing], timeout=0.1)
    if loaded.bad > SHOWN:
        console.print(f"… and {loaded.bad - SHOWN:,} more bad rows")
    await writing
    said = f"{loaded.rows:,} rows, {loaded.new:,} calls"
    if loaded.new < loaded.rows:
        said += f" ({loaded.rows - loaded.new:,} are there already)"
    console.print(said + (f", {loaded.bad:,} bad rows left out" if loaded.bad else ""))


def _some_bad(console: Console) -> Callable[[str], None]:
    told = 0

    def tell(line: str) -> None:
        nonlocal told
        told += 1
        if told <= SHOWN:
            console.print(line, highlight=False, soft_wrap=True)

    return tell


def _dry_run(files: Sequence[str], rows: Rows, limit: int | None) -> int:
    """Check all rows and show what would be sent."""
    if not files:
        raise SourceError("give a file to check")
    loaded = Loaded()
    examples: dict[str, str] = {}
    out = stdout()
    errors = stderr()

    def tell(line: str) -> None:
        errors.print(line, soft_wrap=True)

    for _, made in check(files, rows, limit=limit, tell_bad=tell, loaded=loaded):
        examples.setdefault(made.name, str(made))
    table = Table("action", "calls", "quota", "least time", "the first", box=SIMPLE_HEAD)
    actions = VolcengineClient.actions() | ZegoClient.actions()
    for name, count in loaded.actions.items():
        quota = actions[name].quota
        seconds = f"{count / quota.limit * quota.window:,.0f} s" if quota.published else "?"
        table.add_row(name, f"{count:,}", f"{quota.limit}/s" if quota.published else "learned", seconds, examples[name])
    if loaded.actions:
        out.print(table)
    out.print(f"{loaded.rows:,} calls, {loaded.bad:,} bad rows. Nothing was sent.")
    return BAD_INPUT if loaded.bad or not loaded.rows else ALL_DONE


def _journal_path(files: Sequence[str], journal: Path | None, *, resume: bool, retry_failed: bool) -> Path:
    if retry_failed and not resume:
        raise SourceError("--retry-failed goes with --resume")
    if not files and not resume:
        raise SourceError("give a file, - for standard input, or --resume")
    if journal is None:
        if not files:
            raise SourceError("--resume needs --journal, or the file that the journal was made of")
        journal = Path("stdin.jobs" if files[0] == STDIN else f"{files[0]}.jobs")
    if resume and not journal.is_file():
        raise SourceError(f"there is no journal {journal} to go on with")
    if journal.is_file() and _is_empty(journal):
        if not files:
            raise SourceError(f"{journal} is empty: its run ended before its file was read; give the file again")
    elif not resume and journal.exists():
        raise SourceError(
            f"{journal} is there already, from an earlier run. Go on with it: --resume --journal "
            f"{shlex.quote(str(journal))}; or give another --journal, or remove it"
        )
    return journal


def _check_writable(*paths: Path | None) -> None:
    """See before the run that what comes at its end can be written."""
    for path in paths:
        if path is None:
            continue
        try:
            path.open("a", encoding="utf-8").close()
        except OSError as error:
            raise SourceError(f"{path} cannot be written: {error.strerror}") from None


def _is_empty(journal: Path) -> bool:
    """Tell whether a journal has no jobs: a run was killed while it checked its file."""
    try:
        with contextlib.closing(Journal(journal, read_only=True)) as opened:
            return not opened.query("SELECT 1 FROM job LIMIT 1")
    except JournalError as error:
        raise SourceError(str(error)) from None


def check_names(files: Sequence[str]) -> None:
    """See that what was taken for files are no misspelt options: - is one, for standard input."""
    for file in files:
        if file.startswith("-") and file != STDIN:
            raise SourceError(f"there is no option {file}; for a file of this name give ./{file}")


def constants_of(texts: Sequence[str]) -> dict[str, str]:
    """Read name=value."""
    constants = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SourceError(f"--set is name=value, such as app_id=abc; not {text!r}")
        constants[name] = value
    return constants


def _without_password(address: str) -> str:
    """Strike the password from an address: what is printed may be kept in a log."""
    password = urlsplit(address).password
    return address.replace(f":{password}@", ":***@") if password else address


def _resume(journal: Path, options: Mapping[str, object]) -> str:
    """Return the command that goes on with a journal."""
    words = ["volc-moderation", "bulk", "--resume", "--journal", str(journal)]
    for option, value in options.items():
        if value is not None:
            words += [option, str(value)]
    return shlex.join(words)


def complain(console: Console, error: Exception, code: int = BAD_INPUT) -> int:
    """Say what is wrong, and return the exit code."""
    console.print(str(error), soft_wrap=True)
    return code
