"""Journals for tests, and what to put in them."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from tests.doubles import NOW
from volc_moderation import Action
from volc_moderation.client import Client
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Lane, StoredJob, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import AttemptRecord, LoadResult, Record
from volc_moderation.jobs.journal.thread import JournalThread

T = TypeVar("T")

LANE = Lane("volcengine", "account", "StopWebcast", "2020-12-01")


class InlineJournal(JournalThread):
    """Does the work of the thread at once, in the loop's own thread, so that virtual time waits for it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def request(
        self, function: Callable[[Journal], T], *, durable: bool = False, then: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            with self.journal.transaction(durable=durable):
                result = function(self.journal)
        except Exception as error:  # noqa: BLE001 - raised where the result is awaited
            future.set_exception(error)
        else:
            future.set_result(result)
            if then is not None:
                then(result)
        return future

    def post(self, function: Callable[[Journal], object]) -> None:
        with self.journal.transaction():
            function(self.journal)

    def record(self, record: Record) -> None:
        with self.journal.transaction():
            self.journal.record([record])

    async def aclose(self) -> None:
        self.journal.close()


def fill(
    journal: Journal, actions: Iterable[Action[Any]], *clients: Client, now: float = NOW, delay: float = 0.0
) -> list[str]:
    """Submit actions to a journal, and return their keys."""
    known, keys = Clients(clients), []
    with journal.transaction():
        for action in actions:
            lane, completed = known.complete(action)
            keys.append(key_of(lane, completed))
            parameters = dump_action(completed)
            journal.submit(keys[-1], journal.lane_id(lane), parameters, due=now + delay, delay=delay, now=now)
    return keys


def all_jobs(journal: Journal) -> list[StoredJob]:
    """Return all jobs in the order in which they were added."""
    return list(journal.jobs())


def record(job_id: int, *, lane_id: int = 1, state: str = "done", now: float = NOW, **fields: Any) -> AttemptRecord:
    """Return the record of an attempt, with defaults for the fields that are not given."""
    defaults: dict[str, Any] = {
        "due": now,
        "delay": 0.0,
        "attempts": 1,
        "maybe_sent": False,
        "was_gone": False,
        "round_trip": 0.07,
        "waited": 0.1,
    }
    defaults |= dict.fromkeys(("code", "message", "request_id", "result"))
    return AttemptRecord(id=job_id, lane_id=lane_id, state=state, now=now, **defaults | fields)


def submit(journal: Journal, key: str = "k", *, due: float = NOW, parameters: str = "{}", delay: float = 0.0) -> None:
    with journal.transaction():
        journal.submit(key, journal.lane_id(LANE), parameters, due=due + delay, delay=delay, now=NOW)


def take(journal: Journal, limit: int = 10, *, now: float = NOW) -> list[int]:
    """Take due jobs of lane 1, and return their ids."""
    with journal.transaction():
        return [job.id for job in journal.take(1, limit, due=now, now=now)[0]]


def load(journal: Journal, *keys: str, parameters: str = "{}", now: float = NOW) -> LoadResult:
    """Load a list of calls; call n, counted from 0, has the line n + 2."""
    with journal.transaction():
        lane_id = journal.lane_id(LANE)
        return journal.load([(key, lane_id, parameters, n) for n, key in enumerate(keys, 2)], due=now, now=now)
