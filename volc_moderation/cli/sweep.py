"""``volc-moderation sweep rooms.csv``: stops the moderations that still run in rooms, and so keep billing."""

import asyncio
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

from volc_moderation import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    InvalidActionError,
    InvalidRequestError,
    JournalError,
    ModerationError,
    SourceError,
)
from volc_moderation.bulk.rows import Rows
from volc_moderation.cli.environment import Environment, Redis, clients_of_environment
from volc_moderation.cli.files import check_names, complain, constants_of, fill, opened, paths_of
from volc_moderation.cli.output import check_apart, make_private
from volc_moderation.cli.rate import Rate, rates_of
from volc_moderation.cli.run import (
    ALL_DONE,
    BAD_CREDENTIALS,
    BAD_INPUT,
    CANNOT_GO_ON,
    INTERRUPTED,
    SOME_FAILED,
    Interrupts,
    RunOptions,
    make_calls,
    print_failure_codes,
    print_fault,
)
from volc_moderation.cli.swept_room import ALL, Outcome, SweptRoom
from volc_moderation.cli.terminal import Terminal, stderr, stdout
from volc_moderation.jobs.clients import dump_action
from volc_moderation.jobs.job import Job, JobState, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.volcengine import ListDetectionTask, MediaType, StopDetection
from volc_moderation.volcengine.protocol import meaning_of
from volc_moderation.wire import dump_json

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

#: Seconds between the stops of rooms and the look whether they still run. No page says how soon the listing tells.
SETTLE = 1.0
#: Moderations that still run at the end and are shown, when there are more.
SHOWN = 20


def sweep(
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    set_: Annotated[Sequence[str], Parameter(name="--set", negative=())] = (),
    older_than: str = "0s",
    dry_run: bool = False,
    rate: Rate = (),
    redis: Redis | None = None,
    output: Path | None = None,
) -> int:
    """List the moderations of rooms at Volcengine, and stop those that still run.

    The vendor lists a moderation of a room as the users who have triggered it: one that nobody has triggered does not
    show, and is not stopped; it ends by itself after its idle_sec. It does no harm to run a sweep again, and that is
    how it goes on when it was interrupted. Exit codes are those of bulk: 0 only if nothing that was to be stopped still
    runs, as a last listing of each room shows; 10 if something does, or if a room could not be listed.

    Parameters
    ----------
    files
        Files with the columns app_id and room_id, of the kinds that bulk takes; - is standard input. With user_id, only
        the moderation of that user is looked at.
    set_
        A column that all rows have, such as app_id=…
    older_than
        Leave alone what was started later, such as 90s, 30m, 2h, 1d. A moderation of a room is as old as the first of
        its users is listed.
    dry_run
        List what runs; stop nothing.
    rate
        Calls per second of each action, or of one: ListDetectionTask=50. Without it the rate is learned, for the vendor
        publishes no quota.
    redis
        Share the quotas with others through this Redis or Valkey.
    output
        A file of JSON Lines to add each call to as it ends.

    """
    console = stderr()
    try:
        check_names(files)
        age = _seconds(older_than)
        rates = rates_of(rate)
        if not files:
            raise SourceError("give a file with the rooms, or - for standard input")
        listing = {ListDetectionTask.name: ListDetectionTask}  # a row that names another action is none of a room
        rows = Rows(listing, action=ListDetectionTask.name, constants=constants_of(set_))
        check_apart({"--output": output}, paths_of(files))
        if output is not None:
            make_private(output)
    except SourceError as error:
        return complain(console, error)
    before = time.time() - age if age else ALL
    # What is found out and left to do does not outlive the command: it can simply be run again.
    try:
        folder = tempfile.TemporaryDirectory()
    except OSError:
        return complain(console, SourceError("a sweep needs a directory for what is left to do: set TMPDIR to one"))
    with folder as name:
        options = RunOptions(journal=Path(name) / "sweep", rates=rates, redis=redis, output=output)
        return asyncio.run(_sweep(files, rows, options, console, before=before, dry_run=dry_run))


async def _sweep(
    files: Sequence[str], rows: Rows, options: RunOptions, console: Terminal, *, before: float, dry_run: bool
) -> int:
    interrupts = Interrupts(console)
    with interrupts.heard():
        try:
            async with (
                clients_of_environment(options.rates, options.redis) as environment,
                opened(partial(Journal, options.journal)) as journal,
            ):
                await fill(files, rows, journal, environment=environment, console=console, interrupts=interrupts)
                run = _Sweep(journal, environment, options, console, interrupts, before=before)
                return await (run.list_only() if dry_run else run.stop())
        except SourceError as error:
            return complain(console, error, INTERRUPTED if interrupts.count else BAD_INPUT)
        except ConfigurationError as error:
            return complain(console, error, BAD_CREDENTIALS)
        except JournalError as error:
            return complain(console, error, CANNOT_GO_ON)


class _Sweep:
    """A sweep of rooms that are in a journal, as ListDetectionTask."""

    def __init__(
        self,
        journal: JournalThread,
        environment: Environment,
        options: RunOptions,
        console: Terminal,
        interrupts: Interrupts,
        *,
        before: float,
    ) -> None:
        self._journal = journal
        self._run = (environment, options, console, interrupts)
        self._clients = environment.of({"volcengine"})
        self._console = console
        self._interrupts = interrupts
        self._before = before
        self._fault: ModerationError | None = None
        #: The rooms in which something runs or may run, by the keys of their listings.
        self._rooms: dict[str, SweptRoom] = {}
        self._looked_at = 0

    async def list_only(self) -> int:
        """Show what runs."""
        await self._look(first=True)
        table = Table("app", "room", "user", "media", "started", box=SIMPLE_HEAD)
        running = [(room, one) for room in self._rooms.values() for one in room.old]
        for room, one in running:
            table.add_row(room.app_id, room.room_id, one.user, _media(one.media), _time(one.started))
        if running:
            stdout().print(table)
        rooms = len({id(room) for room, _ in running})
        self._console.print(f"{len(running):,} moderations run in {rooms:,} rooms. Nothing was stopped.")
        return await self._end()

    async def stop(self) -> int:
        """Stop what runs, in each room as far as that is possible, and look whether it has ended."""
        await self._look(first=True)
        while self._can_go_on:
            stops = [
                (key, room, user, _stop(room, user)) for key, room in self._rooms.items() for user in room.next_stops()
            ]
            if not stops:
                break
            await self._journal.do(lambda journal: self._submit(journal, [stop for *_, stop in stops]))  # noqa: B023
            await self._calls()
            action_type = await self._journal.do(lambda journal: [self._outcome(journal, stop) for *_, stop in stops])  # noqa: B023
            for (_, room, user, _), outcome in zip(stops, action_type, strict=True):
                room.outcomes[user] = outcome
            await self._look({key for key, *_ in stops})
        counts = sum((Counter(room.counts()) for room in self._rooms.values()), Counter[str]())
        said = [f"{counts[name]:,} {name}" for name in ("stopped", "already gone", "still running")]
        if counts["not known"]:
            said.append(f"{counts['not known']:,} not known")
        self._console.print(
            f"{counts['found']:,} moderations found in {self._looked_at:,} rooms: {', '.join(said)}.", soft_wrap=True
        )
        running = [(room, one) for room in self._rooms.values() if room.is_listed for one in room.old]
        for room, one in running[:SHOWN]:
            shared = " Younger ones run beside it: look yourself, or sweep without --older-than." if room.young else ""
            self._console.print(
                f"  still runs: app {room.app_id}, room {room.room_id}, user {one.user}: {_media(one.media)},"
                f" since {_time(one.started)}.{shared}",
                soft_wrap=True,
            )
        return await self._end(has_failed=bool(running))

    async def _end(self, *, has_failed: bool = False) -> int:
        """Say what is not known, and return the exit code."""
        unlisted = sum(not room.is_listed for room in self._rooms.values())
        unreadable = sum(room.unreadable for room in self._rooms.values())
        if unlisted:
            self._console.print(f"{unlisted:,} rooms could not be listed: what runs there is not known.")
        if unreadable:
            self._console.print(f"{unreadable:,} items of listings could not be read: whether they run is not known.")
        has_failed = has_failed or unlisted > 0 or unreadable > 0
        if has_failed:
            await print_failure_codes(self._journal, self._console)
        if self._fault is not None:
            print_fault(self._console, self._fault)
            return BAD_CREDENTIALS if isinstance(self._fault, AuthenticationError) else CANNOT_GO_ON
        if self._interrupts.count:
            self._console.print("It was interrupted: run it again.")
            return INTERRUPTED
        return SOME_FAILED if has_failed else ALL_DONE

    @property
    def _can_go_on(self) -> bool:
        return self._fault is None and not self._interrupts.count

    async def _calls(self) -> None:
        if self._can_go_on:
            self._fault = await make_calls(self._journal, *self._run)

    async def _look(self, keys: Iterable[str] = (), *, first: bool = False) -> None:
        """List rooms: at first all that the journal has, then those of which the listings have some keys."""
        if first:
            await self._calls()
            await self._journal.do(lambda journal: self._see(journal.jobs()))
            return
        await self._journal.do(lambda journal: self._submit_again(journal, keys))
        await self._calls()
        await self._journal.do(lambda journal: self._see(filter(None, map(journal.find, keys))))

    # In the journal's thread

    def _submit(self, journal: Journal, stops: Iterable[StopDetection | None]) -> None:
        now = time.time()
        for stop in filter(None, stops):
            lane = self._clients.lane_of(stop)
            if journal.find(key_of(lane, stop)) is None:  # two rows of the file may be of one room
                journal.submit(key_of(lane, stop), journal.lane(lane), dump_action(stop), due=now, now=now)

    def _outcome(self, journal: Journal, stop: StopDetection | None) -> Outcome:
        job = None if stop is None else journal.find(key_of(self._clients.lane_of(stop), stop))
        if job is None:
            return Outcome.UNKNOWN
        if job.state is JobState.DONE:
            return Outcome.GONE if job.was_gone and not job.maybe_sent else Outcome.STOPPED
        is_answered = job.state is JobState.FAILED and isinstance(job.code, str)
        if is_answered and issubclass(meaning_of(str(job.code)).error, (InvalidRequestError, ConflictError)):
            return Outcome.REFUSED
        return Outcome.UNKNOWN

    def _submit_again(self, journal: Journal, keys: Iterable[str]) -> None:
        now = time.time()
        for listing in filter(None, map(journal.find, keys)):
            text = dump_json(listing.parameters).decode()
            journal.submit(listing.key, journal.lane(listing.lane), text, due=now + SETTLE, delay=SETTLE, now=now)

    def _see(self, listings: Iterable[Job]) -> None:
        """Take down what was listed."""
        for job in listings:
            room = self._rooms.get(job.key)
            if room is None:
                self._looked_at += 1
                given = job.parameters
                room = SweptRoom(given["AppId"], given["RoomId"], given.get("UserId"), self._before)
            if job.state is JobState.DONE:
                listed = job.result if isinstance(job.result, dict) else {}
                room.see(listed.get("EventData", ()), listed.get("Unreadable", ()))
            else:
                room.is_listed = False
            if room.running or room.unreadable or not room.is_listed:
                self._rooms[job.key] = room


def _stop(room: SweptRoom, user: str | None) -> StopDetection | None:
    """Return the stop of a user, or None if the id that was listed is none that can be sent."""
    try:
        return StopDetection(app_id=room.app_id, room_id=room.room_id, user_id=user)
    except InvalidActionError:
        return None


def _media(number: int) -> str:
    names = {MediaType.VIDEO: "video", MediaType.AUDIO: "audio", MediaType.BOTH: "video and audio"}
    return names.get(number, str(number))  # type: ignore[call-overload, no-any-return] # an int finds its member


def _time(seconds: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if match is None:
        raise SourceError(f"--older-than is such as 90s, 30m, 2h or 1d; not {text!r}")
    return float(match[1]) * _UNITS[match[2] or "s"]
