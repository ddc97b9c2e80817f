"""Runs the jobs of a journal through the workers of a queue, and follows what becomes of them."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.errors import AuthenticationError, ConfigurationError, ModerationError
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import DueJob, HandedOverJob
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.lane_runner import PATIENCE
from volc_moderation.jobs.outcome import Ended
from volc_moderation.jobs.queue.records import FORGOTTEN, Ticket, Worker
from volc_moderation.jobs.queue.redis_queue import Queue
from volc_moderation.jobs.steady_clock import SteadyClock

#: Jobs that are handed over and not put off: enough for many workers for many minutes, few enough to be remembered.
MOST = 100_000
#: The same for each lane of calls that must not be made twice: if the queue loses its data, nobody knows what became of
#: those that it had. Enough for five seconds of ZEGO's quota.
MOST_ONCE = 500
#: HandedOverJob over at once.
TAKE = 500
#: Seconds to wait for outcomes before looking whether to stop.
LOOK = 0.5
#: Seconds between two looks at the queue and its workers; until a lane that no worker serves is spoken of, since they
#: look for new lanes now and then; until refused keys end a run, since other workers may come.
LOOK_AT_QUEUE, UNSERVED, REFUSED = 2.0, 6.0, 10.0
#: Seconds without any news after which the queue is asked about all that is out.
SILENCE = 60.0

NO_WORKERS = ModerationError("no worker listens to the queue; start one: volc-moderation worker")


@attrs.define(eq=False)
class FollowedLane:
    """How it stands with a lane that the workers run."""

    lane: Lane
    client: Client
    action_type: type[Action[Any]]
    _queue: Queue
    #: What the workers say that stands in the way of all of the lane's calls.
    _pause_reason: ModerationError | None = None
    #: Whether nothing is left of it.
    is_over: bool = False
    #: Calls per second that the workers allow themselves, if they tell.
    cap: float | None = None
    #: Rows that the workers have, and of those that are put off, when they are due.
    out: set[int] = attrs.field(factory=set)
    put_off: dict[int, float] = attrs.field(factory=dict)
    #: Since when no worker serves it, or all of them say that its keys are refused, on the loop's clock.
    unserved_since: float | None = None
    refused_since: float | None = None

    @property
    def pause_reason(self) -> ModerationError | None:
        """What stands in the way of all of the lane's calls, if anything does."""
        return None if self.is_over else self._queue.pause_reason or self._pause_reason

    def is_refused_since(self, moment: float) -> bool:
        """Tell whether all workers have said since a moment that its keys are refused."""
        return not self.is_over and self.refused_since is not None and self.refused_since <= moment

    @property
    def room(self) -> int:
        """How many more may be handed over now."""
        return (MOST if self.action_type.repeatable else MOST_ONCE) - len(self.out) + len(self.put_off)

    def look(self, workers: Sequence[Worker], *, now: float) -> None:
        """Look at what the workers tell of the lane."""
        told = [worker.lanes[self.lane] for worker in workers if self.lane in worker.lanes]
        refusals = [text for kind, text, _ in told if kind == AuthenticationError.__name__]
        self.cap = min((cap for _, _, cap in told if cap is not None), default=None)
        is_refused = bool(told) and len(refusals) == len(told)
        self.refused_since = (self.refused_since or now) if is_refused else None
        self.unserved_since = None if told else self.unserved_since or now
        if not workers:
            self._pause_reason = NO_WORKERS
        elif self.unserved_since is not None:
            if now >= self.unserved_since + UNSERVED:
                self._pause_reason = ModerationError(
                    f"{self.lane.action}: none of {len(workers)} workers has the keys of the account at"
                    f" {self.lane.vendor}"
                )
        elif is_refused:
            self._pause_reason = AuthenticationError(
                f"(said {len(refusals)} of {len(workers)} workers) {refusals[0]}", code="refused"
            )
        elif all(kind for kind, _, _ in told):
            self._pause_reason = ModerationError(f"{self.lane.action}: {told[0][1]}")
        else:
            self._pause_reason = None


class Follower:
    """What ``Runner`` is for calls of this process, for those of the workers: it hands over, and follows.

    It may be stopped, killed and started again; the workers go on meanwhile. A row of the journal that is handed over
    again is the same job: what became of it is told once more. If the queue has lost its data, what may be repeated is
    handed over anew; what must not be has failed, as ``Interrupted``.
    """

    def __init__(
        self,
        journal: JournalThread,
        jobs: DistributedJobs,
        *,
        on_event: Callable[[JobEvent], None] = lambda _: None,
        wait_for_deferred: bool = True,
    ) -> None:
        self._journal = journal
        self._clients = jobs.clients
        self._queue = jobs.queue
        self._on_event = on_event
        self._waits_for_deferred = wait_for_deferred
        self._lanes: dict[int, FollowedLane] = {}
        self._name = ""
        #: The entry up to which the journal has what was told, and the data of which that is.
        self._after = "0"
        self._incarnation = ""
        self._is_stopping = False
        self._steady = SteadyClock(time.time)
        #: When the queue is looked at next, and when there was news, on the loop's clock.
        self._look_at = 0.0
        self._news_at = 0.0

    @property
    def lanes(self) -> Sequence[FollowedLane]:
        """How it stands with the lanes that there are."""
        return tuple(self._lanes.values())

    async def prepare(self) -> int:
        """Read what was told meanwhile, and take up again what is out; return how many jobs that is.

        Raises ``JournalError``, and ``ConfigurationError`` if a job is of an account that no client has.
        """
        fresh = secrets.token_hex(8)
        self._name = await self._journal.do(lambda journal: _name(journal, fresh))
        needed = await self._journal.do(Journal.unfinished_lanes)
        for number, lane in (await self._journal.do(Journal.lanes)).items():
            try:
                client, action_type = self._clients.client_for(lane)
            except ConfigurationError:
                if number in needed:
                    raise
                continue
            self._lanes[number] = FollowedLane(lane, client, action_type, self._queue)
        self._after = await self._journal.do(_followed)
        known = await self._journal.do(lambda journal: journal.note("incarnation"))
        incarnation, workers = await self._queue.look()
        self._incarnation = known or ""
        recovered = 0
        if not known:  # what is on its way was never handed over: it is of a process that made the calls by itself
            recovered = await self._journal.do(self._recover)
        while await self._follow(wait=0.0):
            pass
        await self._attach(incarnation, is_lost=bool(known) and known != incarnation)
        await self._journal.do(lambda journal: journal.bring_near(now=self._steady()))
        self._look_at_workers(workers)
        return recovered + sum(len(lane.out) for lane in self._lanes.values())

    def _recover(self, journal: Journal) -> int:
        return sum(
            journal.recover(number, repeatable=lane.action_type.repeatable, due=self._steady(), now=time.time())
            for number, lane in self._lanes.items()
        )

    async def run(self) -> None:
        """Hand over and follow until all jobs have ended, or until stopped.

        Raises ``JournalError``, and ``AuthenticationError`` if all workers say that the keys are refused.
        """
        self._news_at = asyncio.get_running_loop().time()
        is_left = True
        while not self._is_stopping and (is_left or self._is_out) and not self._is_all_far_off:
            count, is_left = await self._hand_over()
            await self._look()
            await self._follow(wait=0.0 if count else LOOK)
        if not is_left and not self._is_out:
            await self._queue.forget(self._name)

    def stop(self) -> None:
        """Stop handing over and following; the workers go on with what they have."""
        self._is_stopping = True

    async def deferred(self) -> dict[Lane, tuple[int, float, float]]:
        """Return how many jobs of each lane wait for their next attempt, and when the first and last are due."""
        return {
            one.lane: (len(one.put_off), min(one.put_off.values()), max(one.put_off.values()))
            for one in self._lanes.values()
            if one.put_off
        }

    @property
    def _is_all_far_off(self) -> bool:
        """Whether the run does not wait for what is put off, and all that is left is: the workers will make it."""
        if self._waits_for_deferred or not self._is_out:
            return False
        soon = time.time() + PATIENCE
        return all(lane.put_off.get(row, 0.0) > soon for lane in self._lanes.values() for row in lane.out)

    @property
    def _is_out(self) -> bool:
        """Whether the workers have anything."""
        return any(lane.out for lane in self._lanes.values())

    # Looking at the queue

    async def _look(self) -> None:
        """See whether the queue still has its data, and what the workers say."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._look_at:
            return
        self._look_at = loop.time() + LOOK_AT_QUEUE
        incarnation, workers = await self._queue.look()
        if incarnation != self._incarnation:
            await self._attach(incarnation, is_lost=True)
        elif self._is_out and loop.time() > self._news_at + SILENCE:
            self._news_at = loop.time()
            await self._attach(incarnation, is_lost=True)
        elif self._after != "0":
            await self._queue.trim(self._name, self._after)
        self._look_at_workers(workers)
        for lane in self._lanes.values():
            if lane.pause_reason is not None and lane.is_refused_since(loop.time() - REFUSED):
                raise lane.pause_reason

    def _look_at_workers(self, workers: Sequence[Worker]) -> None:
        now = asyncio.get_running_loop().time()
        for lane in self._lanes.values():
            lane.look(workers, now=now)

    async def _attach(self, incarnation: str, *, is_lost: bool) -> None:
        """Tell the queue of all that is out. If its data may be lost, it may have forgotten what it once had."""
        after = 0
        while rows := await self._journal.do(lambda journal, after=after: journal.out(after=after, most=TAKE)):  # type: ignore[misc]
            known = [row for row in rows if row.lane in self._lanes]
            if await self._submit(known, incarnation, is_lost=is_lost) is not None:
                incarnation, _ = await self._queue.look()
                is_lost, after = True, 0
                continue
            after = rows[-1].id
        if incarnation != self._incarnation:
            self._after = "0"  # entries of other data may begin anew
            self._incarnation = incarnation
            await self._journal.do(partial(_note_data, incarnation=incarnation), durable=True)

    async def _submit(self, rows: Sequence[HandedOverJob], incarnation: str, *, is_lost: bool) -> bool | None:
        """Hand rows over, as the jobs that they are if they were handed over before.

        If the queue has other data by now, nothing was done; it returns whether that is so of the data before, too.
        """
        tickets = [
            Ticket(
                row.key,
                self._lanes[row.lane].lane,
                row.parameters,
                f"{self._name}:{row.id}:{_time_of(row)}",
                row.line,
                is_known=not self._lanes[row.lane].action_type.repeatable and (is_lost or self._may_be_forgotten(row)),
                maybe_sent=bool(row.maybe_sent) or (is_lost and self._lanes[row.lane].action_type.repeatable),
            )
            for row in rows
        ]
        answers, is_first = await self._queue.submit(tickets, incarnation=incarnation)
        if answers is None:
            return is_first
        for row, answer in zip(rows, answers, strict=True):
            if not answer.is_there:
                self._end(row, Ended(FORGOTTEN, row.attempts, 0.0, None, None, time.time()))
                continue
            lane = self._lanes[row.lane]
            lane.out.add(row.id)
            if answer.due_in is not None:
                lane.put_off[row.id] = time.time() + answer.due_in
        return None

    def _may_be_forgotten(self, row: HandedOverJob) -> bool:
        """Tell whether a row was out for so long that the queue no longer keeps what became of it."""
        return row.sent is not None and time.time() > row.sent + self._queue.keep / 2

    async def _hand_over(self) -> tuple[int, bool]:
        """Hand some of each lane over; return how many, and whether more are left, now or later."""
        count, is_left = 0, False
        for number, lane in self._lanes.items():
            now = time.time()
            lane.put_off = {row: due for row, due in lane.put_off.items() if due > now}
            most = min(TAKE, lane.room)
            if most <= 0:
                is_left = True
                continue
            rows, due = await self._journal.do(
                partial(Journal.hand_over, lane=number, most=most, due=self._steady(), now=now),
                durable=not lane.action_type.repeatable,
            )
            rows = [row._replace(sent=None) for row in rows]  # whatever was before, they are out from now on
            is_undone = await self._submit(rows, self._incarnation, is_lost=False) if rows else None
            if is_undone is not None:
                self._look_at = 0.0  # and then takes up again what is out
                if is_undone:
                    ids = [row.id for row in rows]
                    await self._journal.do(lambda journal, ids=ids: journal.give_back(ids, attempts=0))  # type: ignore[misc]
                else:
                    lane.out |= {row.id for row in rows}
            count += len(rows)
            is_left = is_left or bool(rows) or due is not None
            lane.is_over = not rows and due is None and not lane.out
        return count, is_left

    # Following

    async def _follow(self, *, wait: float) -> int:
        """Take down what is told; return how much that was."""
        told = await self._queue.read(self._name, self._after, wait=wait)
        if told:
            ids = [one.row for _, one in told]
            rows = {row.id: row for row in await self._journal.do(lambda journal: journal.out_of(ids))}
            for _, one in told:
                row = rows.get(one.row)
                # What is told again of a row that has ended, or of an earlier time that it was listed, says nothing.
                if row is not None and row.lane in self._lanes and one.listed == _time_of(row):
                    self._end(row, one.ended)
                    if one.ended.outcome.state.has_ended:
                        del rows[row.id]
            self._after = told[-1][0]
            self._news_at = asyncio.get_running_loop().time()
            await self._journal.do(partial(Journal.note, name="followed", value=self._after))
        return len(told)

    def _end(self, row: HandedOverJob, ended: Ended) -> None:
        """Take down what became of an attempt."""
        lane, outcome = self._lanes[row.lane], ended.outcome
        is_put_off = outcome.state is JobState.PENDING
        if is_put_off:
            lane.put_off[row.id] = ended.due
        else:
            lane.put_off.pop(row.id, None)
            lane.out.discard(row.id)
        taken = DueJob(row.id, row.key, row.parameters, ended.attempts, row.maybe_sent, row.code, row.line)
        kept = outcome._replace(state=JobState.SENT, wait=0.0) if is_put_off else outcome  # the workers have its time
        self._journal.note(taken, row.lane, ended._replace(outcome=kept))
        due = ended.due if is_put_off else None
        self._on_event(JobEvent(lane.lane, ended.attempts, due, lane.action_type, taken, outcome))


def _name(journal: Journal, fresh: str) -> str:
    """Return the name under which the journal is told of its jobs."""
    return journal.note("follower") or journal.note("follower", fresh) or fresh


def _followed(journal: Journal) -> str:
    return journal.note("followed") or "0"


def _note_data(journal: Journal, *, incarnation: str) -> None:
    journal.note("incarnation", incarnation)
    journal.note("followed", "0")


def _time_of(row: HandedOverJob) -> str:
    """Return what tells one time that a row was listed from the next."""
    return f"{row.created:.6f}"
