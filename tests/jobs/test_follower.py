"""A run on workers, over a real Valkey: which jobs it hands over, which outcomes it records, how it sees workers."""

import asyncio
import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from redis import Redis

from tests.doubles import volcengine_client, zego_answer
from tests.jobs.journals import InlineJournal, all_jobs, fill
from tests.jobs.test_distributed import START, stop, volcengine, working, zego
from volc_moderation import AuthenticationError, JournalError
from volc_moderation.jobs import JobState
from volc_moderation.jobs.clients import Clients
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.followed_lane import NO_WORKERS, FollowedLane
from volc_moderation.jobs.follower import Follower
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.queue.records import WorkerLaneStatus, WorkerStatus
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.usefixtures("redis")

PREFIX = "volc_moderation:{moderation}:"
LANE = Clients([volcengine_client()]).lane_of(stop())


async def test_a_run_need_not_wait_for_deferred_jobs(valkey: str, tmp_path: Path) -> None:
    client = zego(lambda _: zego_answer(50009))
    journal = Journal(tmp_path / "rows.jobs")
    fill(journal, [StopCensorAudioV2(task_id="t")], client, now=0)
    async with working(valkey, client), DistributedJobs(valkey, clients=[client]) as jobs:
        follower = Follower(InlineJournal(journal), jobs, wait_for_deferred=False)
        await follower.prepare()
        async with asyncio.timeout(10):
            await follower.run()
        assert (await follower.deferred()).keys() == {follower.lane_statuses()[0].lane}
        (job,) = all_jobs(journal)
        assert job.code == 50009
        resumed = Follower(InlineJournal(journal), jobs, wait_for_deferred=False)
        assert await resumed.prepare() == 1
        assert (await resumed.deferred()).keys() == {follower.lane_statuses()[0].lane}
    journal.close()


async def test_starts_of_a_local_run_that_died_are_not_handed_over(valkey: str, tmp_path: Path) -> None:
    """The queue does not know the jobs that a local run had in flight, and yet their requests may have left."""
    client = zego()
    journal = Journal(tmp_path / "rows.jobs")
    fill(journal, [START], client, now=0)
    with journal.transaction():
        journal.take(1, 1, due=time.time(), now=time.time())
    async with DistributedJobs(valkey, clients=[client]) as jobs:
        assert await Follower(InlineJournal(journal), jobs).prepare() == 1
        (job,) = all_jobs(journal)
    journal.close()
    assert (job.state, job.code) == (JobState.FAILED, "Interrupted")


def test_interrupted_calls_are_retried_only_on_request(tmp_path: Path) -> None:
    with contextlib.closing(Journal(tmp_path / "rows.jobs")) as journal:
        fill(journal, [stop(number) for number in range(3)], volcengine_client(), now=0)
        with journal.transaction():
            journal._db.execute("UPDATE job SET state = 'failed', code = 'Interrupted' WHERE id = 1")
            journal._db.execute("UPDATE job SET state = 'failed', code = 50001 WHERE id = 2")
            journal._db.execute("UPDATE job SET state = 'given up' WHERE id = 3")
            assert journal.count_interrupted() == 1
            assert journal.retry_ended(due=5.0) == 2
            assert journal.retry_ended(due=6.0, failed=False, interrupted=True) == 1
        assert [job.created for job in all_jobs(journal)] == [6.0, 5.0, 5.0], "so the queue treats them as new jobs"


async def test_a_start_whose_outcome_the_queue_may_have_expired_is_not_repeated(
    valkey: str, redis: Redis, tmp_path: Path
) -> None:
    client = zego(lambda _: zego_answer(data={"TaskId": "t"}))
    journal = Journal(tmp_path / "rows.jobs")
    fill(journal, [START], client, now=0)
    async with DistributedJobs(valkey, clients=[client], keep=600) as jobs:
        follower = Follower(InlineJournal(journal), jobs)
        await follower.prepare()
        await follower._hand_over()
        for key in redis.scan_iter(PREFIX + "job:*"):
            redis.delete(key)
        with journal.transaction():
            journal._db.execute("UPDATE job SET sent = sent - 600")
        await Follower(InlineJournal(journal), jobs).prepare()
        (job,) = all_jobs(journal)
    journal.close()
    assert (job.state, job.code) == (JobState.FAILED, "Interrupted")


async def test_few_starts_are_handed_over_at_a_time(
    valkey: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the queue loses its data, their fate is unknown. Deferred starts do not count."""
    monkeypatch.setattr("volc_moderation.jobs.followed_lane.MAX_UNREPEATABLE_HANDED_OVER", 3)
    client = zego()
    journal = Journal(tmp_path / "rows.jobs")
    starts = [attrs.evolve(START, room_id=f"r{number}") for number in range(10)]
    fill(journal, starts, client, now=0)
    async with DistributedJobs(valkey, clients=[client]) as jobs:
        follower = Follower(InlineJournal(journal), jobs)
        await follower.prepare()
        for _ in range(3):
            await follower._hand_over()
        (lane,) = follower._lanes.values()
        assert len(lane.handed_over) == 3
        lane.deferred = dict.fromkeys(lane.handed_over, time.time() + 60)
        await follower._hand_over()
        assert len(lane.handed_over) == 6
        lane.deferred = dict.fromkeys(lane.handed_over, time.time() - 1)
        await follower._hand_over()
        assert len(lane.handed_over) == 6
    journal.close()


async def test_workers_know_that_a_call_may_have_been_sent_before(valkey: str, tmp_path: Path) -> None:
    client = volcengine()
    journal = Journal(tmp_path / "rows.jobs")
    fill(journal, [stop()], client, now=0)
    with journal.transaction():
        journal.take(1, 1, due=time.time(), now=time.time())  # by a local run that died
    async with working(valkey, client) as jobs:
        follower = Follower(InlineJournal(journal), jobs)
        await follower.prepare()
        async with asyncio.timeout(10):
            await follower.run()
        (job,) = all_jobs(journal)
        assert (job.state, job.maybe_sent) == (JobState.DONE, True)
    journal.close()


def worker(error_type: str, error_message: str, quota_rate: float | None, *, lane: Lane = LANE) -> WorkerStatus:
    return WorkerStatus({lane: WorkerLaneStatus(error_type, error_message, quota_rate)})


def test_the_status_of_a_lane_follows_from_the_statuses_of_workers() -> None:
    queue: Any = SimpleNamespace(connection_error=None)
    lane = FollowedLane(LANE, volcengine_client(), StopWebcast, queue)
    refused = worker("AuthenticationError", "no such key", 40.0)
    lane.update([], now=100.0)
    assert str(lane.status().pause_reason) == str(NO_WORKERS)
    other = LANE._replace(account="other")
    for now, message in ((101.0, "no worker listens"), (110.0, "1 worker, none with the keys of the account")):
        lane.update([worker("", "", 1.0, lane=other)], now=now)
        assert message in str(lane.status().pause_reason)
    lane.update([worker("", "", 150.0), refused], now=111.0)
    assert not lane.status().pause_reason
    assert (lane.status().quota_rate, lane.is_refused_since(200.0)) == (40.0, False)
    lane.update([refused, refused], now=112.0)
    assert isinstance(lane.status().pause_reason, AuthenticationError)
    assert "2 of 2 workers" in str(lane.status().pause_reason)
    assert (lane.is_refused_since(111.9), lane.is_refused_since(112.0)) == (False, True)
    lane.update([worker("TransportError", "no way", None)], now=113.0)
    assert str(lane.status().pause_reason) == "StopWebcast: no way"
    assert (lane.status().quota_rate, lane.is_refused_since(200.0)) == (None, False)
    queue.connection_error = JournalError("away")
    assert str(lane.status().pause_reason) == "away"
    lane.is_finished = True
    assert not lane.status().pause_reason
