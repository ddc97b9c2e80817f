"""The thread of a journal: which requests share a commit, and what happens if one cannot be written."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import NOW
from tests.jobs.journals import LANE, all_jobs, record
from volc_moderation import JournalError
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.file import Access
from volc_moderation.jobs.journal.lock import JournalBusyError
from volc_moderation.jobs.journal.thread import MAX_BATCH_SIZE, JournalThread


class CountingJournal(Journal):
    """Counts its transactions, and fails on demand."""

    def __init__(self, path: Path, *, access: Access = "exclusive") -> None:
        self.commits: list[bool] = []
        self.is_full = False
        super().__init__(path, access=access)

    def transaction(self, *, durable: bool = False) -> Any:
        if self.is_full:
            raise JournalError("the disk is full")
        self.commits.append(durable)
        return super().transaction(durable=durable)


@pytest.fixture
async def journal(tmp_path: Path) -> CountingJournal:
    return CountingJournal(tmp_path / "stops.db")


@pytest.fixture
async def thread(journal: CountingJournal) -> AsyncIterator[JournalThread]:
    thread = JournalThread(journal)
    yield thread
    journal.is_full = False
    await thread.aclose()


def load_and_take(journal: Journal, count: int) -> list[int]:
    """Add jobs, take them, and return their ids."""
    journal.load([(f"k{number}", journal.lane_id(LANE), "{}", None) for number in range(count)], due=NOW, now=NOW)
    return [job.id for job in journal.take(1, count, due=NOW, now=NOW)[0]]


async def counts(thread: JournalThread) -> dict[JobState, int]:
    return await thread.do(Journal.counts)


async def test_many_records_share_a_commit(thread: JournalThread, journal: CountingJournal) -> None:
    ids = await thread.do(lambda journal: load_and_take(journal, 1000))
    journal.commits.clear()
    for job_id in ids:
        thread.record(record(job_id))
    assert (await counts(thread))[JobState.DONE] == 1000
    assert len(journal.commits) <= 1000 / MAX_BATCH_SIZE + 2


@pytest.mark.slow
async def test_a_record_is_written_soon_without_a_request(thread: JournalThread, journal: CountingJournal) -> None:
    (job_id,) = await thread.do(lambda journal: load_and_take(journal, 1))
    thread.record(record(job_id))
    with sqlite3.connect(journal.path) as other:
        async with asyncio.timeout(5):
            while other.execute("SELECT state FROM job").fetchall() != [("done",)]:
                await asyncio.sleep(0.02)
    other.close()


async def test_simultaneous_requests_share_a_commit(thread: JournalThread, journal: CountingJournal) -> None:
    await counts(thread)
    journal.commits.clear()

    def add(number: int) -> Any:
        return lambda journal: journal.submit(f"k{number}", journal.lane_id(LANE), "{}", due=NOW, now=NOW)

    await asyncio.gather(*(thread.do(add(number), durable=True) for number in range(150)))
    assert len(journal.commits) <= 5
    assert all(journal.commits)
    assert (await counts(thread))[JobState.PENDING] == 150


async def test_a_request_that_fails_fails_alone(thread: JournalThread) -> None:
    def fail(_: Journal) -> None:
        raise ZeroDivisionError

    async def add() -> None:
        await thread.do(lambda journal: journal.submit("k", journal.lane_id(LANE), "{}", due=NOW, now=NOW))

    results = await asyncio.gather(add(), thread.do(fail), counts(thread), return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], ZeroDivisionError)
    assert (await counts(thread))[JobState.PENDING] == 1


async def test_one_of_two_requests_in_a_commit_fails(thread: JournalThread, caplog: pytest.LogCaptureFixture) -> None:
    """They share a commit, since both are made before the thread runs. A callback that fails affects no request."""

    def fail(_: object) -> None:
        raise LookupError

    good, bad = thread.request(Journal.counts, then=fail), thread.request(fail)
    assert isinstance((await asyncio.gather(bad, return_exceptions=True))[0], LookupError)
    assert (await good)[JobState.DONE] == 0
    assert "a callback after a write to a journal failed" in caplog.text
    assert (await counts(thread))[JobState.DONE] == 0


async def test_records_that_cannot_be_written_are_kept_until_they_can(
    thread: JournalThread, journal: CountingJournal
) -> None:
    ids = await thread.do(lambda journal: load_and_take(journal, 3))
    journal.is_full = True
    for job_id in ids:
        thread.record(record(job_id))
    with pytest.raises(JournalError, match="the disk is full"):
        await counts(thread)
    journal.is_full = False
    assert (await counts(thread))[JobState.DONE] == 3


async def test_a_posted_request_is_executed_in_order_and_its_error_logged(
    thread: JournalThread, journal: CountingJournal, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes after the records that were passed before it, and does not sync the disk."""
    (job_id,) = await thread.do(lambda journal: load_and_take(journal, 1))
    await counts(thread)
    journal.commits.clear()
    done: list[int] = []
    thread.record(record(job_id))
    thread.post(lambda journal: done.append(journal.counts()[JobState.DONE]))
    await thread.request(Journal.counts)
    assert done == [1]
    assert set(journal.commits) == {False}
    expected = ["a journal could not be written: division by zero"]
    thread.post(lambda _: 1 / 0)
    await counts(thread)
    assert caplog.messages == expected
    with pytest.raises(ZeroDivisionError):
        await thread.do(lambda _: 1 / 0)
    assert caplog.messages == expected


async def test_an_abandoned_thread_accepts_no_request(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "stops.db", keep_empty=False)
    thread = JournalThread(journal)
    await counts(thread)
    thread.abandon()
    with pytest.raises(JournalError, match="is closed"):
        await counts(thread)
    assert not journal.path.exists()
    thread._inbox.put(None)  # otherwise the thread would wait until the process ends
    await asyncio.to_thread(thread._thread.join)


async def test_a_cancelled_request_harms_no_other(thread: JournalThread) -> None:
    waiting = asyncio.ensure_future(counts(thread))
    await asyncio.sleep(0)
    waiting.cancel()
    assert (await counts(thread))[JobState.DONE] == 0


async def test_closing_writes_the_remaining_records(journal: CountingJournal) -> None:
    thread = JournalThread(journal)
    (job_id,) = await thread.do(lambda journal: load_and_take(journal, 1))
    thread.record(record(job_id))
    await thread.aclose()
    await thread.aclose()
    with pytest.raises(JournalError, match="is closed"):
        await counts(thread)
    again = Journal(journal.path)
    assert [job.state for job in all_jobs(again)] == [JobState.DONE]
    again.close()


async def test_closing_reports_records_that_could_not_be_written(journal: CountingJournal) -> None:
    thread = JournalThread(journal)
    (job_id,) = await thread.do(lambda journal: load_and_take(journal, 1))
    journal.is_full = True
    thread.record(record(job_id))
    with pytest.raises(JournalError, match=r"marked as in flight although answered: 1 job$"):
        await thread.aclose()
    again = Journal(journal.path)
    assert [job.state for job in all_jobs(again)] == [JobState.SENT]
    again.close()


# Several processes


@contextlib.contextmanager
def suspended_writer(path: Path) -> Iterator[sqlite3.Connection]:
    """Hold the journal, as a process does that was suspended in the middle of a commit."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield other


async def test_all_who_wait_for_a_journal_that_is_busy_wait_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volc_moderation.jobs.journal.file.MAX_BUSY_TIME", 0.1)
    thread = JournalThread(Journal(tmp_path / "stops.db", access="shared"))
    with suspended_writer(tmp_path / "stops.db"):
        async with asyncio.timeout(0.8):  # the first may wait alone, and the others after it
            results = await asyncio.gather(*(counts(thread) for _ in range(20)), return_exceptions=True)
    assert [type(result) for result in results] == 20 * [JournalBusyError]
    assert (await counts(thread))[JobState.DONE] == 0
    await thread.aclose()


async def test_closing_does_not_wait_long_for_a_journal_that_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volc_moderation.jobs.journal.thread.MAX_BUSY_TIME_AT_END", 0.1, raising=False)
    thread = JournalThread(Journal(tmp_path / "stops.db", access="shared"))
    with suspended_writer(tmp_path / "stops.db") as other:
        requests = [thread.request(Journal.counts) for _ in range(2)]
        await asyncio.sleep(0.01)
        requests += [thread.request(Journal.counts) for _ in range(2 * MAX_BATCH_SIZE)]
        try:
            async with asyncio.timeout(1):
                await thread.aclose()
        finally:
            other.execute("ROLLBACK")
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(result) for result in results} == {JournalBusyError}


async def test_the_lead_is_released_after_what_was_asked_before(tmp_path: Path) -> None:
    path = tmp_path / "stops.db"
    thread = JournalThread(Journal(path, access="shared"))
    with contextlib.closing(Journal(path, access="shared")) as next_leader:
        assert thread.take_lead()
        with suspended_writer(path) as other:
            adding = thread.request(lambda journal: load_and_take(journal, 1))
            releasing = thread.release_lead()
            await asyncio.sleep(0.02)
            assert not next_leader.take_lead()
            assert not thread.take_lead()
            other.execute("COMMIT")
        assert len(await adding) == 1
        await releasing
        assert thread.is_lead_free()
        assert next_leader.take_lead()
        assert not thread.is_lead_free()
        await thread.aclose()
        await thread.release_lead()
        with pytest.raises(JournalError, match="closed"):
            thread.is_lead_free()


async def test_the_lead_is_kept_until_the_records_are_written(tmp_path: Path) -> None:
    """Another process would make these calls again."""
    journal = CountingJournal(tmp_path / "stops.db", access="shared")
    thread = JournalThread(journal)
    (job_id,) = await thread.do(lambda journal: load_and_take(journal, 1))
    assert thread.take_lead()
    journal.is_full = True
    thread.record(record(job_id))
    releasing = thread.release_lead()
    await asyncio.sleep(0.02)
    with contextlib.closing(Journal(tmp_path / "stops.db", access="shared")) as next_leader:
        assert not next_leader.take_lead()
        journal.is_full = False
        await releasing
        assert next_leader.take_lead()
        assert [job.state for job in all_jobs(next_leader)] == [JobState.DONE]
    await thread.aclose()
