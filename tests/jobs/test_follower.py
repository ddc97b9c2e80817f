"""A run through workers: what is handed over, what is taken down, and what is known of the workers; a real Valkey."""

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
from volc_moderation.jobs.follower import NO_WORKERS, FollowedLane, Follower
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.queue.records import Worker
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.usefixtures("redis")

BASE = "volc_moderation:{moderation}:"
LANE = Clients([volcengine_client()]).lane_of(stop())


async def test_a_run_need_not_wait_for_what_is_put_off(valkey: str, tmp_path: Path) -> None:
    client = zego(lambda _: zego_answer(50009))
    journal = Journal(tmp_path / "rows.jobs")
    fill(journal, [StopCensorAudioV2(task_id="t")], client, now=0)
    async with working(valkey, client), DistributedJobs(valkey, clients=[client]) as jobs:
        follower = Follower(InlineJournal(journal), jobs, wait_for_deferred=False)
        await follower.prepare()
        async with asyncio.timeout(10):
            await follower.run()
        assert (await follower.deferred()).keys() == {follower.lanes[0].lane}
        (job,) = all_jobs(journal)
        assert job.code == 50009
        again = Follower(InlineJournal(journal), jobs, wait_for_deferred=False)
        assert await again.prepare() == 1
        assert (await again.deferred()).keys() == {follower.lanes[0].lane}
    journal.close()


async def test_starts_of_a_local_run_that_died_are_not_handed_over(valkey: str, tmp_path: Path) -> None:
    """What a process that makes the calls by itself had on its way is unknown to the queue, and yet may have left."""
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


def test_interrupted_calls_are_made_again_only_by_name(tmp_path: Path) -> None:
    with contextlib.closing(Journal(tmp_path / "rows.jobs")) as journal:
        fill(journal, [stop(number) for number in range(3)], volcengine_client(), now=0)
        with journal.transaction():
            journal._db.execute("UPDATE job SET state = 'failed', code = 'Interrupted' WHERE id = 1")
            journal._db.execute("UPDATE job SET state = 'failed', code = 50001 WHERE id = 2")
            journal._db.execute("UPDATE job SET state = 'given up' WHERE id = 3")
            assert journal.interrupted() == 1
            assert journal.retry_ended(due=5.0) == 2
            assert journal.retry_ended(due=6.0, failed=False, interrupted=True) == 1
        assert [job.created for job in all_jobs(journal)] == [6.0, 5.0, 5.0], "so they are other jobs to the queue"


async def test_a_start_that_was_out_for_longer_than_outcomes_are_kept_is_not_made_again(
    valkey: str, redis: Redis, tmp_path: Path
) -> None:
    client = zego(lambda _: zego_answer(data={"TaskId": "t"}))
    journal = Journal(tmp_path / "rows.jobs")
    fill(journal, [START], client, now=0)
    async with DistributedJobs(valkey, clients=[client], keep=600) as jobs:
        follower = Follower(InlineJournal(journal), jobs)
        await follower.prepare()
        await follower._hand_over()
        for key in redis.scan_iter(BASE + "job:*"):
            redis.delete(key)
        with journal.transaction():
            journal._db.execute("UPDATE job SET sent = sent - 600")
        await Follower(InlineJournal(journal), jobs).prepare()
        (job,) = all_jobs(journal)
    journal.close()
    assert (job.state, job.code) == (JobState.FAILED, "Interrupted")


async def test_a_lane_of_starts_is_handed_over_a_little_at_a_time(
    valkey: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the queue loses its data, nobody knows what became of those; what waits for minutes frees its place."""
    monkeypatch.setattr("volc_moderation.jobs.follower.MOST_ONCE", 3)
    client = zego()
    journal = Journal(tmp_path / "rows.jobs")
    starts = [attrs.evolve(START, room_id=f"r{number}") for number in range(10)]
    fill(journal, starts, client, now=0)
    async with DistributedJobs(valkey, clients=[client]) as jobs:
        follower = Follower(InlineJournal(journal), jobs)
        await follower.prepare()
        for _ in range(3):
            await follower._hand_over()
        (lane,) = follower.lanes
        assert len(lane.out) == 3
        lane.put_off = dict.fromkeys(lane.out, time.time() + 60)
        await follower._hand_over()
        assert len(lane.out) == 6
        lane.put_off = dict.fromkeys(lane.out, time.time() - 1)
        await follower._hand_over()
        assert len(lane.out) == 6
    journal.close()


async def test_that_a_call_may_have_left_is_known_to_the_workers(valkey: str, tmp_path: Path) -> None:
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


def worker(told: tuple[str, str, float | None], lane: Lane = LANE) -> Worker:
    return Worker({lane: told})


def test_what_workers_tell_of_a_lane() -> None:
    client = volcengine_client()

    queue: Any = SimpleNamespace(pause_reason=None)
    status = FollowedLane(LANE, client, StopWebcast, queue)
    refused = ("AuthenticationError", "no such key", 40.0)
    status.look([], now=100.0)
    assert str(status.pause_reason) == str(NO_WORKERS)
    other = LANE._replace(account="other")
    for now, words in ((101.0, "no worker listens"), (110.0, "none of 1 workers has the keys of the account")):
        status.look([worker(("", "", 1.0), lane=other)], now=now)
        assert words in str(status.pause_reason)
    status.look([worker(("", "", 150.0)), worker(refused)], now=111.0)
    assert not status.pause_reason
    assert (status.cap, status.is_refused_since(200.0)) == (40.0, False)
    status.look([worker(refused), worker(refused)], now=112.0)
    assert isinstance(status.pause_reason, AuthenticationError)
    assert "2 of 2 workers" in str(status.pause_reason)
    assert (status.is_refused_since(111.9), status.is_refused_since(112.0)) == (False, True)
    status.look([worker(("TransportError", "no way", None))], now=113.0)
    assert str(status.pause_reason) == "StopWebcast: no way"
    assert (status.cap, status.is_refused_since(200.0)) == (None, False)
    queue.pause_reason = JournalError("away")
    assert str(status.pause_reason) == "away"
    status.is_over = True
    assert not status.pause_reason
