"""``volc-moderation sweep rooms.csv``: stops the moderations that still run in rooms, and so keep billing."""

import asyncio
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from volc_moderation import ConfigurationError, JournalError, ModerationError, SourceError, VolcengineClient
from volc_moderation.cli.bulk import check_names, complain, constants_of, fill, opened
from volc_moderation.cli.run import (
    BAD_CREDENTIALS,
    INTERRUPTED,
    JOURNAL_FAILED,
    Environment,
    Interrupts,
    RunOptions,
    clients_of_environment,
    exit_code,
    make_calls,
    stderr,
    stdout,
    summary,
)
from volc_moderation.jobs.clients import write
from volc_moderation.jobs.job import Job, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal_thread import JournalThread
from volc_moderation.jobs.rows import Rows
from volc_moderation.volcengine import DetectionStatus, ListDetectionTask, StopDetection, VolcengineAction
from volc_moderation.wire import JSON

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def sweep(
    *files: Annotated[str, Parameter(allow_leading_hyphen=True)],
    set_: Annotated[Sequence[str], Parameter(name="--set", negative=())] = (),
    older_than: str = "0s",
    dry_run: bool = False,
    rate: Annotated[int | None, Parameter(validator=Number(gte=1))] = None,
    redis: str | None = None,
    output: Path | None = None,
) -> int:
    """List the moderations of rooms at Volcengine, and stop those that still run.

    It does no harm to run it again, and that is how it goes on when it was interrupted. Exit codes are those of bulk.

    Parameters
    ----------
    files
        Files with the columns app_id and room_id, of the kinds that bulk takes; - is standard input.
    set_
        A column that all rows have, such as app_id=…
    older_than
        Leave alone what was started later, such as 90s, 30m, 2h, 1d.
    dry_run
        List what runs; stop nothing.
    rate
        Calls per second of each action. Without it the rate is learned, for the vendor publishes no quota.
    redis
        Share the quotas with others through this Redis or Valkey.
    output
        A file of JSON Lines to write each call to as it ends.

    """
    console = stderr()
    try:
        check_names(files)
        age = _seconds(older_than)
        if not files:
            raise SourceError("give a file with the rooms, or - for standard input")
        rows = Rows(VolcengineClient.actions(), action=ListDetectionTask.name, constants=constants_of(set_))
    except SourceError as error:
        return complain(console, error)
    # What is found out and left to do does not outlive the command: it can simply be run again.
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(journal=Path(folder) / "sweep", rate=rate, redis=redis, output=output)
        return asyncio.run(_sweep(files, rows, options, console, age=age, dry_run=dry_run))


async def _sweep(
    files: Sequence[str], rows: Rows, options: RunOptions, console: Console, *, age: float, dry_run: bool
) -> int:
    interrupts = Interrupts(console)
    with interrupts.heard():
        try:
            async with (
                clients_of_environment(options.rate, options.redis) as environment,
                opened(options.journal) as journal,
            ):
                await fill(files, rows, journal, environment=environment, console=console, interrupts=interrupts)
                run = _Sweep(journal, environment, options, console, interrupts)
                return await run.list_only(age) if dry_run else await run.stop(age)
        except SourceError as error:
            return INTERRUPTED if interrupts.count else complain(console, error)
        except ConfigurationError as error:
            return complain(console, error, BAD_CREDENTIALS)
        except JournalError as error:
            return complain(console, error, JOURNAL_FAILED)


class _Sweep:
    """A sweep of rooms that are in a journal, as ListDetectionTask."""

    def __init__(
        self,
        journal: JournalThread,
        environment: Environment,
        options: RunOptions,
        console: Console,
        interrupts: Interrupts,
    ) -> None:
        self._journal = journal
        self._run = (environment, options, console, interrupts)
        self._clients = environment.of({"volcengine"})
        self._console = console
        self._interrupts = interrupts
        self._fault: ModerationError | None = None

    async def list_only(self, age: float) -> int:
        """Show what runs."""
        await self._calls()
        table = Table("app", "room", "user", "media", "started", box=SIMPLE_HEAD)
        running = await self._journal.do(lambda journal: list(_running(journal, time.time() - age)))
        for job, tasks in running:
            for task in tasks:
                started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(task["CreateTime"]))
                row = (
                    job.parameters["AppId"],
                    job.parameters["RoomId"],
                    task["UserId"],
                    str(task["MediaType"]),
                    started,
                )
                table.add_row(*row)
        if running:
            stdout().print(table)
        count = sum(len(tasks) for _, tasks in running)
        self._console.print(f"{count:,} moderations run in {len(running):,} rooms. Nothing was stopped.")
        return await self._end()

    async def stop(self, age: float) -> int:
        """Stop what runs: of the rooms first, for while one of a room runs, none of a user can be stopped."""
        await self._calls()
        before = time.time() - age
        rooms = await self._journal.do(lambda journal: self._stop(journal, before, by_user=False))
        await self._calls()
        users = await self._journal.do(lambda journal: self._stop(journal, before, by_user=True))
        await self._calls()
        self._console.print(f"{rooms + users:,} stops sent.")
        return await self._end()

    async def _calls(self) -> None:
        if self._fault is None and not self._interrupts.count:
            self._fault = await make_calls(self._journal, *self._run)

    async def _end(self) -> int:
        standing = await self._journal.do(Journal.standing)
        self._console.print(summary(standing))
        if self._fault is not None:
            self._console.print(str(self._fault), style="red", soft_wrap=True)
        return exit_code(standing, self._fault, is_interrupted=self._interrupts.count > 0)

    def _stop(self, journal: Journal, before: float, *, by_user: bool) -> int:
        """Add the stops of what runs, and the next look at its room; return how many stops."""
        now, count = time.time(), 0
        for job, tasks in list(_running(journal, before)):
            room = {"app_id": str(job.parameters["AppId"]), "room_id": str(job.parameters["RoomId"])}
            if by_user:
                stops = [StopDetection(**room, user_id=task["UserId"]) for task in tasks]
            elif len(tasks) == len(_tasks(job)):
                stops = [StopDetection(**room)]
            else:
                continue  # others of the room are younger
            looks = [] if by_user else [ListDetectionTask(**room)]
            actions: list[VolcengineAction[Any]] = [*stops, *looks]
            for action in actions:
                lane = self._clients.lane_of(action)
                journal.submit(key_of(lane, action), journal.lane(lane), write(action), due=now, now=now)
            count += len(stops)
        return count


def _running(journal: Journal, before: float) -> Iterator[tuple[Job, list[JSON]]]:
    """Return the rooms in which moderations run that were started before a time, with these."""
    listed = "WHERE state = 'done' AND lane IN (SELECT id FROM lane WHERE action = 'ListDetectionTask')"
    for job in journal.jobs(f"{listed} ORDER BY job.id"):
        tasks = [task for task in _tasks(job) if task["CreateTime"] <= before]
        if tasks:
            yield job, tasks


def _tasks(job: Job) -> list[JSON]:
    result = job.result if isinstance(job.result, dict) else {}
    return [task for task in result.get("EventData", ()) if task["Status"] == DetectionStatus.RUNNING]


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if match is None:
        raise SourceError(f"--older-than is such as 90s, 30m, 2h or 1d; not {text!r}")
    return float(match[1]) * _UNITS[match[2] or "s"]
