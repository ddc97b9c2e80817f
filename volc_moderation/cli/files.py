"""Files of calls, as the commands take them: named, checked, and loaded into a journal."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from volc_moderation import SourceError
from volc_moderation.bulk.load import CANCELLED, LoadProgress, check, load
from volc_moderation.bulk.rows import Rows
from volc_moderation.bulk.sources import STDIN
from volc_moderation.cli.environment import Environment
from volc_moderation.cli.run import BAD_INPUT, Interrupts
from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread, open_journal

#: Seconds between two looks at how far the loading of files is, and that it has to end after an interrupt.
LOOK, PATIENCE = 0.1, 1.0
#: Bad rows that are shown when there are more; a dry run shows all.
SHOWN = 20


def check_names(files: Sequence[str]) -> None:
    """See that what was taken for files are files, and no misspelt options: - is one, for standard input."""
    if files.count(STDIN) > 1:
        raise SourceError("standard input can be read once: give - once")
    for file in files:
        if file == STDIN:
            continue
        if file.startswith("-"):
            raise SourceError(f"there is no option {file}; for a file of this name give ./{file}")
        try:
            Path(file).stat()
        except (OSError, ValueError) as error:
            raise SourceError(f"{file}: {getattr(error, 'strerror', None) or error}") from None


def paths_of(files: Sequence[str]) -> list[Path]:
    """Return the files without standard input."""
    return [Path(file) for file in files if file != STDIN]


def constants_of(texts: Sequence[str]) -> dict[str, str]:
    """Read name=value."""
    constants = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SourceError(f"--set is name=value, such as app_id=abc; not {text!r}")
        constants[name] = value
    return constants


def complain(console: Terminal, error: Exception, code: int = BAD_INPUT) -> int:
    """Say what is wrong, and return the exit code."""
    console.print(str(error), soft_wrap=True)
    return code


@contextlib.asynccontextmanager
async def opened(make: Callable[[], Journal]) -> AsyncIterator[JournalThread]:
    """Open a journal, and close it at the end."""
    journal = await open_journal(make)
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
    console: Terminal,
    interrupts: Interrupts,
    limit: int | None = None,
    skip_bad: bool = False,
) -> None:
    """Load files into a journal. Raises ``SourceError``, and then nothing is in it that was not before."""
    loaded = LoadProgress()
    interrupts.set(loaded.cancel, loaded.cancel)

    def write(journal: Journal) -> None:
        actions = check(files, rows, limit=limit, on_bad_row=_some_bad(console), loaded=loaded)
        load(journal, actions, environment.of, skip_bad=skip_bad, now=time.time(), loaded=loaded)

    writing = journal.ask(write, durable=True)
    looks = 0
    with console.status("Checking…") as status:
        while not writing.done():
            status.update(f"Checking: {loaded.rows:,} rows" + (f", {loaded.bad:,} bad" if loaded.bad else ""))
            await asyncio.wait([writing], timeout=LOOK)
            looks += loaded.is_cancelled
            if looks > PATIENCE / LOOK or interrupts.count > 1:
                # It waits for a terminal or a pipe that says nothing, and cannot be woken.
                journal.abandon()
                raise SourceError(CANCELLED)
    if loaded.bad > SHOWN:
        console.print(f"… and {loaded.bad - SHOWN:,} more bad rows")
    await writing
    console.print(told(loaded), soft_wrap=True)


def told(loaded: LoadProgress) -> str:
    """Say what came of files that were loaded."""
    if loaded.is_known:
        said = f"{loaded.rows:,} rows, the very calls that this journal was made of: it goes on with what is left"
    else:
        said = f"{loaded.rows:,} rows, {loaded.new:,} calls"
        there = loaded.rows - loaded.new - loaded.again
        more = [f"{loaded.again:,} that had ended are made again"] if loaded.again else []
        more += [f"{there:,} are there already"] if there else []
        said += f" ({', '.join(more)})" if more else ""
    return said + (f", {loaded.bad:,} bad rows left out" if loaded.bad else "")


def _some_bad(console: Terminal) -> Callable[[str], None]:
    told = 0

    def tell(line: str) -> None:
        nonlocal told
        told += 1
        if told <= SHOWN:
            console.print(line, soft_wrap=True)

    return tell
