import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE, all_jobs, record
from volc_moderation import JournalError
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import BATCH, JournalThread


class Counted(Journal):
    """Counts its transactions, and fails on demand."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.commits: list[bool] = []
        self.is_full = False

    def transaction(self, *, durable: bool = False) -> Any:
        if self.is_full:
            raise JournalError("the disk is full")
        self.commits.append(durable)
        return super().transaction(durable=durable)


@pytest.fixture
async def journal(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "stops.db")


@pytest.fixture
async def thread(journal: Counted) -> AsyncIterator[JournalThread]:
    thread = JournalThread(journal)
    yield thread
    journal.is_full = False
    await thread.aclose()


def load(journal: Journal, count: int) -> list[int]:
    journal.load([(f"k{number}", journal.lane(LANE), "{}", None) for number in range(count)], due=NOW, now=NOW)
    return [row.id for row in journal.take(1, count, due=NOW, now=NOW)[0]]


async def counts(thread: JournalThread) -> dict[JobState, int]:
    return await thread.do(Journal.counts)


async def test_records_are_written_many_at_a_time(thread: JournalThread, journal: Counted) -> None:
    rows = await thread.do(lambda journal: load(journal, 1000))
    journal.commits.clear()
    for row in rows:
        thread.record(record(row))
    assert (await counts(thread))[JobState.DONE] == 1000
    assert len(journal.commits) <= 1000 / BATCH + 2


async def test_a_record_is_written_soon_though_nobody_asks(thread: JournalThread, journal: Counted) -> None:
    (row,) = await thread.do(lambda journal: load(journal, 1))
    thread.record(record(row))
    with sqlite3.connect(journal.path) as other:
        async with asyncio.timeout(5):
            while other.execute("SELECT state FROM job").fetchall() != [("done",)]:
                await asyncio.sleep(0.02)
    other.close()


async def test_who_wishes_together_shares_a_commit(thread: JournalThread, journal: Counted) -> None:
    await counts(thread)
    journal.commits.clear()

    def add(number: int) -> Any:
        return lambda journal: journal.submit(f"k{number}", journal.lane(LANE), "{}", due=NOW, now=NOW)

    await asyncio.gather(*(thread.do(add(number), durable=True) for number in range(150)))
    assert len(journal.commits) <= 5
    assert all(journal.commits)
    assert (await counts(thread))[JobState.PENDING] == 150


async def test_one_that_fails_fails_alone(thread: JournalThread) -> None:
    def fail(_: Journal) -> None:
        raise ZeroDivisionError

    async def add() -> None:
        await thread.do(lambda journal: journal.submit("k", journal.lane(LANE), "{}", due=NOW, now=NOW))

    results = await asyncio.gather(add(), thread.do(fail), counts(thread), return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], ZeroDivisionError)
    assert (await counts(thread))[JobState.PENDING] == 1


async def test_two_of_which_one_fails(thread: JournalThread, caplog: pytest.LogCaptureFixture) -> None:
    """In one commit, for both ask before the thread looks; and who is told of the result may fail, too."""

    def fail(_: object) -> None:
        raise LookupError

    good, bad = thread.ask(Journal.counts, then=fail), thread.ask(fail)
    assert isinstance((await asyncio.gather(bad, return_exceptions=True))[0], LookupError)
    assert (await good)[JobState.DONE] == 0
    assert "what follows on a write to a journal failed" in caplog.text
    assert (await counts(thread))[JobState.DONE] == 0


async def test_what_cannot_be_written_is_kept_until_it_can(thread: JournalThread, journal: Counted) -> None:
    rows = await thread.do(lambda journal: load(journal, 3))
    journal.is_full = True
    for row in rows:
        thread.record(record(row))
    with pytest.raises(JournalError, match="the disk is full"):
        await counts(thread)
    journal.is_full = False
    assert (await counts(thread))[JobState.DONE] == 3


async def test_what_nobody_waits_for(thread: JournalThread, journal: Counted, caplog: pytest.LogCaptureFixture) -> None:
    """It comes after the records that were handed over before, does not wait for the disk, and its faults are told."""
    (row,) = await thread.do(lambda journal: load(journal, 1))
    await counts(thread)
    journal.commits.clear()
    done: list[int] = []
    thread.record(record(row))
    thread.post(lambda journal: done.append(journal.counts()[JobState.DONE]))
    await thread.ask(Journal.counts)
    assert done == [1]
    assert set(journal.commits) == {False}
    told = ["something could not be written to a journal: division by zero"]
    thread.post(lambda _: 1 / 0)
    await counts(thread)
    assert caplog.messages == told
    with pytest.raises(ZeroDivisionError):
        await thread.do(lambda _: 1 / 0)
    assert caplog.messages == told


async def test_what_is_abandoned_takes_no_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "stops.db", keep_empty=False)
    thread = JournalThread(journal)
    await counts(thread)
    thread.abandon()
    with pytest.raises(JournalError, match="is closed"):
        await counts(thread)
    assert not journal.path.exists()
    thread._inbox.put(None)  # else it waits for ever, which only the end of a process stops
    await asyncio.to_thread(thread._thread.join)


async def test_who_no_longer_waits_harms_nobody(thread: JournalThread) -> None:
    waiting = asyncio.ensure_future(counts(thread))
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await counts(thread))[JobState.DONE] == 0


async def test_the_end_writes_what_is_left(journal: Counted) -> None:
    thread = JournalThread(journal)
    (row,) = await thread.do(lambda journal: load(journal, 1))
    thread.record(record(row))
    await thread.aclose()
    await thread.aclose()
    with pytest.raises(JournalError, match="is closed"):
        await counts(thread)
    again = Journal(journal.path)
    assert [job.state for job in all_jobs(again)] == [JobState.DONE]
    again.close()


async def test_the_end_says_what_it_could_not_write(journal: Counted) -> None:
    thread = JournalThread(journal)
    (row,) = await thread.do(lambda journal: load(journal, 1))
    journal.is_full = True
    thread.record(record(row))
    with pytest.raises(JournalError, match="1 jobs that were answered are taken for ones on their way"):
        await thread.aclose()
    again = Journal(journal.path)
    assert [job.state for job in all_jobs(again)] == [JobState.SENT]
    again.close()
