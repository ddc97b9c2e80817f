"""Journals for tests: one whose work is done at once, on the loop's own thread, so that virtual time waits for it."""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from tests.doubles import NOW
from volc_moderation import Action
from volc_moderation.client import Client
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import Job, Lane, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import AttemptRecord
from volc_moderation.jobs.journal.thread import JournalThread

T = TypeVar("T")

LANE = Lane("volcengine", "account", "StopWebcast", "2020-12-01")


class InlineJournal(JournalThread):
    """What the thread would do, done when it is asked for."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def ask(
        self, act: Callable[[Journal], T], *, durable: bool = False, then: Callable[[T], None] | None = None
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        try:
            with self.journal.transaction(durable=durable):
                result = act(self.journal)
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            future.set_exception(error)
        else:
            future.set_result(result)
            if then is not None:
                then(result)
        return future

    def post(self, act: Callable[[Journal], object]) -> None:
        with self.journal.transaction():
            act(self.journal)

    def record(self, record: AttemptRecord) -> None:
        with self.journal.transaction():
            self.journal.record([record])

    async def aclose(self) -> None:
        self.journal.close()


def fill(
    journal: Journal, actions: Iterable[Action[Any]], *clients: Client, now: float = NOW, delay: float = 0.0
) -> list[str]:
    """Write actions into a journal, and return their keys."""
    known, keys = Clients(clients), []
    with journal.transaction():
        for action in actions:
            lane = known.lane_of(action)
            keys.append(key_of(lane, action))
            journal.submit(keys[-1], journal.lane(lane), dump_action(action), due=now + delay, delay=delay, now=now)
    return keys


def all_jobs(journal: Journal) -> list[Job]:
    """Return all jobs in the order in which they came."""
    return list(journal.jobs())


def record(row: int, *, lane: int = 1, state: str = "done", now: float = NOW, **known: Any) -> AttemptRecord:
    """Make the record of an attempt."""
    given: dict[str, Any] = {
        "due": now,
        "delay": 0.0,
        "attempts": 1,
        "maybe_sent": False,
        "was_gone": False,
        "round_trip": 0.07,
        "waited": 0.1,
    }
    given |= dict.fromkeys(("code", "message", "request_id", "result"))
    return AttemptRecord(id=row, lane=lane, state=state, now=now, **given | known)


def reopened(path: Path) -> Journal:
    """Open a journal, as the next process would."""
    return Journal(path)
