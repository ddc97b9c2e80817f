"""``bulk --hand-over``: adds the calls of files to a journal whose jobs another process runs, such as a web app."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from volc_moderation import SourceError
from volc_moderation.bulk.load import FileCall, LoadProgress, check_loaded, load_jobs, read_actions
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.invocation import command_line
from volc_moderation.cli.load_files import first_bad_rows_printer, show_loading, size_of
from volc_moderation.cli.session import RunOptions, Session, run_session
from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs import socket_file
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.standby import Standby
from volc_moderation.printable import counted
from volc_moderation.vendors import vendor_of

T = TypeVar("T")

# The leader may just be changing.
CONNECT_ATTEMPTS = 10
CONNECT_INTERVAL = 0.2  # seconds
#: Nobody else can write the journal during a commit, which takes a tenth of a second for so many rows.
ROWS_PER_COMMIT = 10_000
#: In which others write the journal.
PAUSE_BETWEEN_COMMITS = 0.02  # seconds


def hand_over(
    options: RunOptions,
    console: Terminal,
    files: Sequence[str],
    parser: RowParser,
    *,
    limit: int | None,
    skip_bad: bool,
) -> ExitCode:
    """Check all rows, write their calls to the journal, and tell the process that runs it.

    :param options: the journal, and the accounts.

    Raises ``SourceError`` if there is no journal.
    """
    path = options.journal
    no_leader = SourceError(f"no process runs the jobs of {path}: run the same command without --hand-over")
    if not path.is_file() or not socket_file.IS_SUPPORTED:
        raise no_leader

    async def load_and_tell(session: Session) -> ExitCode:
        leader = await _connect(session)
        if leader is None:
            raise no_leader
        try:
            return await _load(session, leader, files, parser, limit=limit, skip_bad=skip_bad)
        finally:
            await leader.aclose()

    return run_session(options, console, partial(Journal, path, access="shared"), load_and_tell)


async def _connect(session: Session) -> Standby | None:
    for _ in range(CONNECT_ATTEMPTS):
        with contextlib.suppress(TimeoutError):
            leader = await Standby.connect(session.journal.socket_file)
            if leader is not None:
                return leader
        await asyncio.sleep(CONNECT_INTERVAL)
    return None


async def _load(
    session: Session, leader: Standby, files: Sequence[str], parser: RowParser, *, limit: int | None, skip_bad: bool
) -> ExitCode:
    progress = LoadProgress(total_bytes=size_of(files), limit=limit)
    session.interrupts.set_handlers(progress.cancel, progress.cancel)
    printer = first_bad_rows_printer(session.console)
    # All rows are read first: nobody else can write the journal during a transaction that adds rows.
    reading = _in_thread(lambda: list(read_actions(files, parser, limit=limit, on_bad_row=printer, progress=progress)))
    calls = await show_loading(session, reading, progress)
    check_loaded(progress, skip_bad_rows=skip_bad)
    for call in {(type(call.action), call.account): call for call in calls}.values():
        clients = session.environment.clients_of(vendor_of(call.action).name, call.account)
        leader.check_account(clients.lane_of(call.action))
    now = asyncio.get_running_loop().time() + leader.hello.clock_offset

    def load(journal: Journal, chunk: Sequence[FileCall]) -> tuple[int, set[int]]:
        loaded = load_jobs(journal, chunk, session.environment.clients_of, now=now, is_run=False)
        return loaded.new + loaded.again, journal.unfinished_lanes()

    added = 0
    for start in range(0, len(calls), ROWS_PER_COMMIT):
        chunk = calls[start : start + ROWS_PER_COMMIT]
        count, lane_ids = await session.journal.do(partial(load, chunk=chunk), durable=True)
        added += count
        for lane_id in lane_ids:
            leader.wake(lane_id)
        await asyncio.sleep(PAUSE_BETWEEN_COMMITS)
    known = progress.good_rows - added
    session.console.print(
        f"{counted(progress.good_rows, 'call')} {'was' if progress.good_rows == 1 else 'were'} handed over to process"
        f" {leader.hello.pid}"
        + (f" ({known:,} of them it had already)" if known else "")
        + (f", {counted(progress.bad_rows, 'bad row')} skipped" if progress.bad_rows else "")
        + f". Follow with: {command_line('jobs', session.options.journal)}",
        soft_wrap=True,
    )
    return ExitCode.SOME_DEFERRED


def _in_thread(function: Callable[[], T]) -> "asyncio.Future[T]":
    """Call a function in a thread that does not keep the process from ending, as one that reads a terminal would."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type] # without an error, it is one

    def run() -> None:
        result, failure = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: the command was interrupted
            loop.call_soon_threadsafe(finish, result, failure)

    threading.Thread(target=run, name="rows", daemon=True).start()
    return future
