"""Runs the jobs of a journal through the workers of a queue, and follows what becomes of them."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from volc_moderation.errors import ConfigurationError, ModerationError
from volc_moderation.jobs.distributed import DistributedJobs, Ticket
from volc_moderation.jobs.event import JobEvent
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal_thread import JournalThread
from volc_moderation.jobs.lane import LaneRunner, Rules
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.jobs.schema import Record, Row
from volc_moderation.jobs.steady_clock import SteadyClock

#: Jobs that are handed over and not put off: enough for many workers, few enough to be remembered.
MOST = 5000
#: Handed over at once.
TAKE = 190
#: Seconds to wait for outcomes before looking whether to stop.
LOOK = 0.5
#: Seconds between two looks whether there are workers.
LOOK_FOR_WORKERS = 2.0
NO_WORKERS = ModerationError("no worker listens to the queue; start one: volc-moderation worker")


class Follower:
    """What ``Runner`` is for calls of this process, for those of the workers: it hands over, and follows.

    It may be stopped, killed and started again; the workers go on meanwhile.
    """

    def __init__(
        self, journal: JournalThread, jobs: DistributedJobs, *, tell: Callable[[JobEvent], None] = lambda _: None
    ) -> None:
        self._journal = journal
        self._jobs = jobs
        self._tell = tell
        self._lanes: dict[int, LaneRunner] = {}
        self._numbers: dict[Lane, int] = {}
        self._name = ""
        self._after = "0"
        #: Rows that the workers have, and of those that are put off, when they are due.
        self._out: set[int] = set()
        self._put_off: dict[int, tuple[Lane, float]] = {}
        self._is_stopping = False
        self._steady = SteadyClock(time.time)
        #: When to look next whether there are workers, on the loop's clock.
        self._look_for_workers_at = 0.0

    @property
    def lanes(self) -> Sequence[LaneRunner]:
        """The lanes that there are."""
        return tuple(self._lanes.values())

    async def prepare(self) -> int:
        """Read what was told meanwhile; hand over again what was out, which is queued once at the most.

        Raises ``JournalError``, and ``ConfigurationError`` if a job is of an account that no client has.
        """
        fresh = secrets.token_hex(8)
        self._name = await self._journal.do(lambda journal: _name(journal, fresh))
        followed = await self._journal.do(lambda journal: journal.note("followed"))
        self._after = followed or "0"
        rules = Rules(
            retry=None,
            priority="bulk",
            clock=time.time,
            steady=self._steady,
            tell=self._tell,
            for_ever=False,
            wait_for_deferred=True,
        )
        for number, lane in (await self._journal.do(Journal.lanes)).items():
            try:
                client, made = self._jobs.clients.maker_of(lane)
            except ConfigurationError:
                if await self._journal.do(lambda journal, number=number: _unfinished(journal, number)):  # type: ignore[misc]
                    raise
                continue
            self._lanes[number] = LaneRunner(lane, number, client=client, made=made, journal=self._journal, rules=rules)
            self._numbers[lane] = number
        while await self._follow(wait=0.001):
            pass
        recovered = 0
        for number in self._lanes:
            # Whether a call that cannot be repeated was on its way is the worker's to know.
            recovered += await self._journal.do(
                lambda journal, number=number: journal.recover(  # type: ignore[misc]
                    number, repeatable=True, due=self._steady(), now=time.time()
                )
            )
        await self._journal.do(lambda journal: journal.bring_near(now=self._steady()))
        return recovered

    async def run(self) -> None:
        """Hand over and follow until all jobs have ended, or until stopped. Raises ``JournalError``."""
        is_left = True
        while not self._is_stopping and (is_left or self._out):
            count = 0
            if len(self._out) - len(self._put_off) < MOST:
                count, is_left = await self._hand_over()
            await self._look_for_workers()
            await self._follow(wait=0.001 if count else LOOK)
        if not self._is_stopping:
            await self._jobs.forget(self._name)

    def stop(self) -> None:
        """Stop handing over and following; the workers go on with what they have."""
        self._is_stopping = True

    async def deferred(self) -> dict[Lane, tuple[int, float, float]]:
        """Return how many jobs of each lane wait for their next attempt, and when the first and last are due."""
        found: dict[Lane, list[float]] = {}
        for lane, due in self._put_off.values():
            found.setdefault(lane, []).append(due)
        return {lane: (len(dues), min(dues), max(dues)) for lane, dues in found.items()}

    async def _look_for_workers(self) -> None:
        """Say so if jobs are out and nobody is there to make them."""
        now = asyncio.get_running_loop().time()
        if now < self._look_for_workers_at:
            return
        self._look_for_workers_at = now + LOOK_FOR_WORKERS
        is_alone = len(self._out) > len(self._put_off) and not await self._jobs.workers()
        for lane in self._lanes.values():
            lane.trouble = NO_WORKERS if is_alone else None

    async def _hand_over(self) -> tuple[int, bool]:
        """Hand some of each lane over; return how many, and whether more are left, now or later."""
        count, is_left = 0, False
        for number, lane in self._lanes.items():
            rows, due = await self._journal.do(
                lambda journal, number=number: journal.take(  # type: ignore[misc]
                    number, TAKE, due=self._steady(), now=time.time()
                )
            )
            await self._jobs.submit_all(
                [Ticket(row.key, lane.lane, row.parameters, row.line, row.id, self._name) for row in rows]
            )
            self._out |= {row.id for row in rows}
            count += len(rows)
            is_left = is_left or bool(rows) or due is not None
        return count, is_left

    async def _follow(self, *, wait: float) -> int:
        """Take down what is told; return how much that was."""
        told = await self._jobs.outcomes(self._name, self._after, wait=wait)
        for _, job in told:
            self._take_down(job)
        if told:
            self._after = told[-1][0]
            await self._journal.do(partial(Journal.note, name="followed", value=self._after))
        return len(told)

    def _take_down(self, job: dict[str, Any]) -> None:
        state, row, lane = JobState(job["state"]), int(job["row"]), Lane._make(job["lane"])
        if lane not in self._numbers:
            return
        number = self._numbers[lane]
        if state is JobState.PENDING:
            self._put_off[row] = lane, job["due"]
            kept = JobState.SENT  # the workers have it, and its time
        else:
            self._put_off.pop(row, None)
            self._out.discard(row)
            kept = state
        told = {name: job[name] for name in Record._fields if name in job}
        self._journal.record(Record(**told | {"id": row, "lane": number, "state": kept.value, "delay": 0.0}))
        outcome = Outcome(state, **{name: job[name] for name in Outcome._fields if name in job and name != "state"})
        taken = Row(row, job["key"], job["parameters"], job["attempts"], job["maybe_sent"], job["code"], job["line"])
        due = job["due"] if state is JobState.PENDING else None
        self._tell(JobEvent(lane, job["attempts"], due, self._lanes[number].made, taken, outcome))


def _name(journal: Journal, fresh: str) -> str:
    """Return the name under which the journal is told of its jobs."""
    return journal.note("follower") or journal.note("follower", fresh) or fresh


def _unfinished(journal: Journal, lane: int) -> bool:
    return bool(journal.query("SELECT 1 FROM job WHERE lane = ? AND state IN ('pending', 'sent') LIMIT 1", (lane,)))
