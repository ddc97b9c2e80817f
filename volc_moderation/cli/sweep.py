"""``volc-moderation sweep rooms.csv``: stops the moderations that still run in rooms, and so keep billing."""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.table import Table

from volc_moderation import ConflictError, InvalidActionError, InvalidRequestError, ModerationError, SourceError
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.cli.environment import AccountOptions, AccountsFile, Redis
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.load_files import (
    IgnoreColumns,
    check_files,
    load_files,
    parse_constants,
    parse_ignored,
    paths_of,
)
from volc_moderation.cli.output import OutputFile, check_outputs, create_private, table_console
from volc_moderation.cli.rate import Rate, parse_rates
from volc_moderation.cli.run import fatal_exit_code, print_failure_codes, print_fatal_error, run_jobs
from volc_moderation.cli.session import RunOptions, Session, run_session
from volc_moderation.cli.swept_room import ANY_TIME, RunningTask, StopOutcome, SweptRoom
from volc_moderation.cli.terminal import print_error, stderr
from volc_moderation.jobs.clients import dump_action
from volc_moderation.jobs.job import JobState, StoredJob, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.printable import counted
from volc_moderation.volcengine import ListDetectionTask, MediaType, StopDetection, VolcengineClient
from volc_moderation.volcengine.error_codes import find_code
from volc_moderation.wire import dump_json

#: Seconds by the unit of ``--older-than``.
SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
#: Seconds from the stops of rooms to the listing that checks them. No page says how soon a listing shows a stop.
SETTLE_DELAY = 1.0
#: Moderations still running at the end that are printed; further ones are only counted.
MAX_RUNNING_SHOWN = 20


def sweep(
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    set_: Annotated[Sequence[str], Parameter(name="--set", negative=())] = (),
    ignore_columns: IgnoreColumns = (),
    older_than: str = "0s",
    dry_run: bool = False,
    accounts: AccountsFile | None = None,
    account: str | None = None,
    rate: Rate = (),
    redis: Redis | None = None,
    output: OutputFile | None = None,
    verbose: bool = False,
) -> int:
    """List the moderations of rooms at Volcengine, and stop those that are still running.

    The vendor lists a moderation of a room under the users who have triggered it. A moderation that nobody has
    triggered is not listed and not stopped; it ends by itself after its idle_sec. A sweep can be repeated safely; to
    continue an interrupted one, run it again. The exit codes are those of bulk: 0 if a last listing of each room shows
    that nothing that was to be stopped is still running, 10 if something is or a room could not be listed.

    Parameters
    ----------
    files
        Files with the columns app_id and room_id, in the formats of bulk; - is standard input. A row with a user_id
        concerns only the moderation of that user.
    set_
        A column that all rows have, such as app_id=abc.
    ignore_columns
        Columns to leave out, as NAME,NAME, or "all" for all except app_id, room_id and user_id.
    older_than
        Stop only moderations that are older than this, such as 90s, 30m, 2h or 1d. A moderation of a room is as old as
        its first listed user.
    dry_run
        List what is running; stop nothing.
    accounts
        A TOML file with many accounts, instead of the credentials in the environment.
    account
        With --accounts: the account of the rooms, if there are several of Volcengine.
    rate
        Calls per second of each action, or of one action: ListDetectionTask=50. By default the rate is learned, because
        the vendor publishes no quota.
    redis
        Share the quotas through this Redis or Valkey, instead of only with the commands of this user on this machine.
    output
        Append each call to this file of JSON Lines when it ends; - is standard output.
    verbose
        Print which HTTP client sends the calls.

    """
    console = stderr()
    try:
        check_files(files)
        age = _parse_age(older_than)
        rates, used = parse_rates(rate), AccountOptions(accounts, [account] if account else [])
        used.check()
        if not files:
            raise SourceError("give a file with the rooms, or - for standard input")
        actions = {ListDetectionTask.name: ListDetectionTask}  # a row that names another action is refused
        constants, ignored = parse_constants(set_), parse_ignored(ignore_columns)
        parser = RowParser(actions, action=ListDetectionTask.name, constants=constants, ignored=ignored)
        check_outputs({"--output": output}, paths_of(files))
        if output is not None:
            create_private(output)
    except SourceError as error:
        return print_error(console, error)
    before = time.time() - age if age else ANY_TIME

    async def load_and_sweep(session: Session) -> ExitCode:
        await load_files(session, files, parser)
        run = _Sweep(session, before=before)
        return await (run.list_only() if dry_run else run.stop())

    # The journal is temporary: a sweep is continued by running it again.
    try:
        directory = tempfile.TemporaryDirectory()
    except OSError:
        return print_error(console, "a sweep needs a directory for temporary files: set TMPDIR to one")
    with directory as name:
        options = RunOptions(
            journal=Path(name) / "sweep",
            is_kept=False,
            rates=rates,
            accounts=used,
            redis=redis,
            output=output,
            is_verbose=verbose,
        )
        return run_session(options, console, partial(Journal, options.journal), load_and_sweep)


class _Sweep:
    """A sweep of the rooms whose listings, calls of ListDetectionTask, are in the journal."""

    def __init__(self, session: Session, *, before: float) -> None:
        self._session = session
        self._journal = session.journal
        self._console = session.console
        self._clients = session.environment.require_vendors({VolcengineClient.vendor})
        self._before = before
        #: The error that ended the sweep early.
        self._error: ModerationError | None = None
        #: The rooms in which a moderation runs or may run, by the keys of their listings.
        self._rooms: dict[str, SweptRoom] = {}
        self._listed_rooms = 0

    async def list_only(self) -> ExitCode:
        """Show what is running."""
        await self._list_all()
        table = Table("app", "room", "user", "media", "started", box=SIMPLE_HEAD)
        running = [(room, task) for room in self._rooms.values() for task in room.old]
        for room, task in running:
            table.add_row(room.app_id, room.room_id, task.user, _media_name(task.media), _local_time(task.started))
        if running:
            table_console(self._session.options.output).print(table)
        rooms = len({id(room) for room, _ in running})
        moderations = f"{counted(len(running), 'moderation')} {'is' if len(running) == 1 else 'are'} running"
        self._console.print(f"{moderations} in {counted(rooms, 'room')}. Nothing was stopped.")
        return await self._finish()

    async def stop(self) -> ExitCode:
        """Stop what is running, as far as each room permits, and check that it has ended."""
        await self._list_all()
        while self._can_continue:
            stops = [
                (key, room, user, _stop_action(room, user))
                for key, room in self._rooms.items()
                for user in room.next_stops()
            ]
            if not stops:
                break
            actions = [action for *_, action in stops]
            await self._journal.do(partial(self._submit_stops, actions=actions))
            await self._run_jobs()
            outcomes = await self._journal.do(partial(self._outcomes, actions=actions))
            for (_, room, user, _), outcome in zip(stops, outcomes, strict=True):
                room.outcomes[user] = outcome
            await self._list_again({key for key, *_ in stops})
        self._print_counts()
        running = [(room, task) for room in self._rooms.values() if room.is_listed for task in room.old]
        self._print_running(running[:MAX_RUNNING_SHOWN])
        return await self._finish(has_failed=bool(running))

    def _print_counts(self) -> None:
        counts = sum((Counter(room.counts()) for room in self._rooms.values()), Counter[str]())
        parts = [f"{counts[name]:,} {name}" for name in ("stopped", "already gone", "still running")]
        if counts["unknown"]:
            parts.append(f"{counts['unknown']:,} unknown")
        self._console.print(
            f"{counted(counts['found'], 'moderation')} found in {counted(self._listed_rooms, 'room')}:"
            f" {', '.join(parts)}.",
            soft_wrap=True,
        )

    def _print_running(self, running: Iterable[tuple[SweptRoom, RunningTask]]) -> None:
        for room, task in running:
            hint = " Younger ones run beside it: check them, or sweep without --older-than." if room.young else ""
            self._console.print(
                f"  still running: app {room.app_id}, room {room.room_id}, user {task.user}: {_media_name(task.media)},"
                f" since {_local_time(task.started)}.{hint}",
                soft_wrap=True,
            )

    async def _finish(self, *, has_failed: bool = False) -> ExitCode:
        """Print what is not known and why the sweep ended early, and return the exit code."""
        unlisted = sum(not room.is_listed for room in self._rooms.values())
        unreadable = sum(room.unreadable for room in self._rooms.values())
        if unlisted:
            self._console.print(f"{counted(unlisted, 'room')} could not be listed: moderations may be running there.")
        if unreadable:
            items = counted(unreadable, "listed item")
            self._console.print(f"{items} could not be read: moderations may be running there.")
        has_failed = has_failed or unlisted > 0 or unreadable > 0
        if has_failed:
            await print_failure_codes(self._session)
        if self._error is not None:
            print_fatal_error(self._console, self._error)
            return fatal_exit_code(self._error)
        if self._session.interrupts.count:
            self._console.print("The sweep was interrupted: run it again.")
            return ExitCode.INTERRUPTED
        return ExitCode.SOME_FAILED if has_failed else ExitCode.SUCCESS

    @property
    def _can_continue(self) -> bool:
        return self._error is None and not self._session.interrupts.count

    async def _run_jobs(self) -> None:
        if self._can_continue:
            self._error = await run_jobs(self._session)

    async def _list_all(self) -> None:
        """List all rooms of the journal."""
        await self._run_jobs()
        await self._journal.do(lambda journal: self._record_listings(journal.jobs()))

    async def _list_again(self, keys: Iterable[str]) -> None:
        """List again the rooms whose listings have these keys."""
        await self._journal.do(lambda journal: self._resubmit(journal, keys))
        await self._run_jobs()
        await self._journal.do(lambda journal: self._record_listings(filter(None, map(journal.find, keys))))

    # In the journal's thread

    def _submit_stops(self, journal: Journal, actions: Iterable[StopDetection | None]) -> None:
        now = time.time()
        for action in filter(None, actions):
            lane = self._clients.lane_of(action)
            key = key_of(lane, action)
            if journal.find(key) is None:  # two rows of the file may name the same room
                journal.submit(key, journal.lane_id(lane), dump_action(action), due=now, now=now)

    def _outcomes(self, journal: Journal, actions: Iterable[StopDetection | None]) -> list[StopOutcome]:
        return [self._outcome(journal, action) for action in actions]

    def _outcome(self, journal: Journal, action: StopDetection | None) -> StopOutcome:
        job = None if action is None else journal.find(key_of(self._clients.lane_of(action), action))
        if job is None:
            return StopOutcome.UNKNOWN
        if job.state is JobState.DONE:
            return StopOutcome.GONE if job.was_gone and not job.maybe_sent else StopOutcome.STOPPED
        is_answered = job.state is JobState.FAILED and isinstance(job.code, str)
        if is_answered and issubclass(find_code(str(job.code)).error_type, (InvalidRequestError, ConflictError)):
            return StopOutcome.REFUSED
        return StopOutcome.UNKNOWN

    def _resubmit(self, journal: Journal, keys: Iterable[str]) -> None:
        now = time.time()
        for listing in filter(None, map(journal.find, keys)):
            parameters = dump_json(listing.parameters).decode()
            lane_id = journal.lane_id(listing.lane)
            journal.submit(listing.key, lane_id, parameters, due=now + SETTLE_DELAY, delay=SETTLE_DELAY, now=now)

    def _record_listings(self, listings: Iterable[StoredJob]) -> None:
        for job in listings:
            room = self._rooms.get(job.key)
            if room is None:
                self._listed_rooms += 1
                fields = job.parameters
                room = SweptRoom(fields["AppId"], fields["RoomId"], fields.get("UserId"), self._before)
            if job.state is JobState.DONE:
                result = job.result if isinstance(job.result, dict) else {}
                room.record_listing(result.get("EventData", ()), result.get("Unreadable", ()))
            else:
                room.is_listed = False
            if room.running or room.unreadable or not room.is_listed:
                self._rooms[job.key] = room


def _stop_action(room: SweptRoom, user: str | None) -> StopDetection | None:
    """Return the call that stops the moderation of a user, or None if the listed id of the user cannot be sent."""
    try:
        return StopDetection(app_id=room.app_id, room_id=room.room_id, user_id=user)
    except InvalidActionError:
        return None


def _media_name(media: int) -> str:
    names = {MediaType.VIDEO: "video", MediaType.AUDIO: "audio", MediaType.BOTH: "video and audio"}
    return names.get(media, str(media))  # type: ignore[call-overload, no-any-return] # an int equals its member


def _local_time(seconds: float) -> str:
    """Return a Unix time as local date and time; a time out of range is returned as a number."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def _parse_age(text: str) -> float:
    """Return the seconds of ``--older-than``. Raises ``SourceError``."""
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if match is None:
        raise SourceError(f"--older-than must be an age such as 90s, 30m, 2h or 1d; got {text!r}")
    return float(match[1]) * SECONDS_PER_UNIT[match[2] or "s"]
