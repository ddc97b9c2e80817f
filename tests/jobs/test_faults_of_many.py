"""A queue, workers and producers in processes of their own, over a real Valkey; the vendor enforces its quotas.

Each is killed, stopped, continued or cut off. Spans that these tests would only sit out are a third here;
``python -m benchmarks.distributed`` does the same with the real ones, for longer.
"""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.quota_server import Arrival, Report
from benchmarks.stage import QUOTA, START, STOP, Stage, Verdict, judge, stage
from tests.doubles import zego_client
from tests.jobs.journals import fill
from volc_moderation.jobs.job import Job
from volc_moderation.jobs.journal import Journal
from volc_moderation.zego import StartCensorAudioV2

#: One way, in seconds: long enough for something to be in flight at each fault.
DELAY = (0.02, 0.05)
#: What the programs run first: shorter spans, and a limit of starts that few rows reach.
LEASE, MOST_STARTS = 5, 100
#: Seconds after which the queue has done all that a program asked of it before it was killed or stopped.
SETTLED = 0.5
SETTINGS = f"""
from volc_moderation.jobs import follower, worker
from volc_moderation.jobs.queue import redis_queue
redis_queue.LEASE = worker.LEASE = {LEASE}
worker.BEAT = worker.MARGIN = 1
follower.LOOK_AT_QUEUE, follower.UNSERVED, follower.REFUSED, follower.MOST_ONCE = 1, 2, 3, {MOST_STARTS}
"""


@contextlib.asynccontextmanager
async def a_stage(*, is_durable: bool = True) -> AsyncIterator[Stage]:
    async with asyncio.timeout(100), stage(delay=DELAY, is_durable=is_durable, settings=SETTINGS) as made:
        yield made


async def verdict(here: Stage, *files: str) -> Verdict:
    return judge(await here.vendor.report(), *(here.folder / f"{file}.jobs" for file in files))


def starts(here: Stage, state: str) -> set[str]:
    """Return the keys of the starts in a state: ``taken`` by a worker, then ``sent``, right before the request is."""
    with Redis.from_url(here.store.address, decode_responses=True) as redis:
        jobs = {name.partition(":job:")[2]: redis.hgetall(name) for name in redis.scan_iter("*:job:*", count=1000)}
    return {key for key, job in jobs.items() if job.get("once") == "1" and job["state"] == state}


def interrupted(here: Stage, file: str) -> list[Job]:
    """Return the jobs of a journal of which nobody knows whether they were carried out."""
    with contextlib.closing(Journal(here.folder / f"{file}.jobs", read_only=True)) as journal:
        return list(journal.jobs("code = 'Interrupted'"))


def is_clean(found: Verdict) -> bool:
    return (found.lost, found.doubled, found.failed, found.refused) == (0, 0, 0, 0)


async def reaches(here: Stage, done: int, file: str) -> None:
    """Wait until so many rows of a journal have ended."""
    path = here.folder / f"{file}.jobs"
    while True:
        with contextlib.suppress(Exception), contextlib.closing(Journal(path, read_only=True)) as journal:
            if journal.summary().done >= done:
                return
        await asyncio.sleep(0.05)


async def test_a_producer_that_is_killed_and_resumed_makes_nothing_twice() -> None:
    """What ended between its taking from the journal and its being handed over is known, and is no new job."""
    async with a_stage() as here, here.worker(), here.worker():
        rows = here.rows("rows.csv", stops=200, starts=200)
        for round_ in range(3):
            async with here.producer(rows, *(["--resume"] if round_ else [])) as producer:
                await reaches(here, 1 + 100 * round_, rows)
                await producer.kill()
        async with here.producer(rows, "--resume") as producer:
            assert await producer.wait() == 0, producer.said
        found = await verdict(here, rows)
    assert is_clean(found)
    assert (found.rows, found.interrupted, found.repeated) == (400, 0, 0)


async def test_a_worker_that_is_killed_loses_only_starts_that_may_have_left() -> None:
    """Those are said to be interrupted, and not made again but by name; what only waited for the quota is made."""
    async with a_stage() as here:
        rows = here.rows("rows.csv", stops=100, starts=200)
        async with here.worker("--concurrency", "64") as first, here.producer(rows) as producer:
            await reaches(here, 100, rows)
            await first.kill()
            await asyncio.sleep(SETTLED)
            sent, waiting = starts(here, "sent"), starts(here, "taken")
            async with here.worker():
                code = await producer.wait()
        found = await verdict(here, rows)
        assert is_clean(found)
        assert {job.key for job in interrupted(here, rows)} == sent
        assert waiting, "for the quota"
        assert found.interrupted <= 40, "of the 64 at a time, most wait for a permit"
        assert code == (10 if found.interrupted else 0)
        if found.interrupted:
            assert "--retry-interrupted" in producer.said
        assert "--retry-failed" not in producer.said
        async with here.worker(), here.producer(rows, "--resume", "--retry-failed") as producer:
            await producer.wait()
        assert (await here.vendor.report()).arrivals == []


async def test_a_worker_that_stands_still_and_goes_on_changes_nothing_of_others() -> None:
    async with a_stage() as here, here.worker() as first, here.worker():
        rows = here.rows("rows.csv", stops=300, starts=150)
        async with here.producer(rows) as producer:
            await reaches(here, 100, rows)
            first.signal(signal.SIGSTOP)
            await asyncio.sleep(SETTLED)
            sent = starts(here, "sent")
            await asyncio.sleep(LEASE + 2)  # longer than its lease: its jobs are others' now
            first.signal(signal.SIGCONT)
            code = await producer.wait()
        found = await verdict(here, rows)
        assert {job.key for job in interrupted(here, rows)} <= sent
    assert is_clean(found)
    assert code == (10 if found.interrupted else 0)
    assert found.interrupted <= 25
    assert found.repeated <= 32


async def test_a_redis_that_restarts_interrupts_nobody() -> None:
    async with a_stage() as here, here.worker() as worker, here.worker():
        rows = here.rows("rows.csv", stops=300, starts=150)
        async with here.producer(rows) as producer:
            await reaches(here, 100, rows)
            here.store.stop()
            await asyncio.sleep(2)
            here.store.start()
            assert await producer.wait() in {0, 10}, producer.said
        assert "the queue cannot be reached" in worker.said
        assert "the queue is back" in worker.said
        assert "waiting: the queue cannot be reached" in producer.said
        found = await verdict(here, rows)
        # One hand-over, of what ended since the one before, may be under way: nobody knows whether it arrived.
        assert len({job.sent for job in interrupted(here, rows)}) <= 1
    assert is_clean(found)
    assert (found.interrupted_done, found.repeated) == (0, 0)
    assert found.interrupted <= MOST_STARTS / 2, "most of those that were out"


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_redis_that_loses_its_data_doubles_nothing_silently(is_killed: bool) -> None:
    """Rows that were out are handed over again, but for starts: those are interrupted, and no more than were out."""
    async with a_stage() as here, here.worker(), here.worker():
        rows = here.rows("rows.csv", stops=200, starts=200)
        async with here.producer(rows) as producer:
            await reaches(here, 100, rows)
            if is_killed:
                await producer.kill()
            here.store.stop()
            here.store.lose()
            here.store.start()
            if not is_killed:
                code = await producer.wait()
        if is_killed:
            async with here.producer(rows, "--resume") as producer:
                code = await producer.wait()
        found = await verdict(here, rows)
        told = {job.message for job in interrupted(here, rows)}
    assert is_clean(found)
    assert code == 10
    assert 0 < found.interrupted <= MOST_STARTS
    assert told == {"the queue lost the job; whether its call was carried out is not known"}


async def test_producers_with_the_same_rows_all_learn_what_became_of_them() -> None:
    async with a_stage() as here, here.worker() as worker:
        first, second = here.rows("first.csv", stops=100, starts=80), here.rows("second.csv", stops=100, starts=80)
        async with here.producer(first) as one, here.producer(second) as other:
            codes = await asyncio.gather(one.wait(), other.wait())
            assert [*codes] == [0, 0]
        assert "Mind that" not in worker.said + one.said + other.said, "this Redis forgets nothing"
        found = await verdict(here, first, second)
    assert (found.lost, found.failed, found.refused) == (0, 0, 0)
    assert found.rows == 360


async def test_a_worker_leaves_to_others_what_it_has_no_keys_of() -> None:
    async with a_stage() as here, here.worker(keys=here.zego) as poor:
        await poor.says("Working for queue moderation: zego")
        rows = here.rows("rows.csv", stops=60, starts=60)
        async with here.producer(rows) as producer:
            await producer.says("none of 1 workers has the keys of the account at volcengine")
            await reaches(here, 60, rows)
            assert not (await here.vendor.report()).of(STOP).arrivals
            async with here.worker(keys=here.volcengine):
                assert await producer.wait() == 0, producer.said
        found = await verdict(here, rows)
    assert (found.failed, found.refused, found.doubled) == (0, 0, 0)


async def test_a_worker_whose_keys_are_refused_says_so_and_holds_nobody_up() -> None:
    async with a_stage() as here, here.worker(keys=here.refused) as wrong, here.worker() as right:
        await wrong.says("Working")
        await right.says("Working")
        rows = here.rows("rows.csv", stops=300)
        async with here.producer(rows) as producer:
            began = asyncio.get_running_loop().time()
            assert await producer.wait() == 0, producer.said
            took = asyncio.get_running_loop().time() - began
        await wrong.says("SignatureDoesNotMatch")
        found = await verdict(here, rows)
    assert is_clean(found)
    assert took < 300 / QUOTA + 8
    assert found.repeated == 0


async def test_refused_keys_of_all_workers_end_a_run_with_3() -> None:
    async with a_stage() as here, here.worker(keys=here.refused):
        rows = here.rows("rows.csv", stops=20)
        async with here.producer(rows) as producer:
            await producer.says("waiting: ")
            assert await producer.wait() == 3, producer.said
        assert "The keys are refused" in producer.said
        assert "Go on with: volc-moderation bulk --resume" in producer.said
        async with here.worker(), here.producer(rows, "--resume") as producer:
            assert await producer.wait() == 0, producer.said


async def test_a_run_without_workers_says_so_before_anything_else() -> None:
    async with a_stage() as here:
        rows = here.rows("rows.csv", stops=10_000)
        async with here.producer(rows) as producer:
            await producer.says("waiting: no worker listens to the queue; start one: volc-moderation worker")
            with Redis.from_url(here.store.address) as redis:
                assert redis.dbsize() < 10_000, "after all was handed over"


async def test_what_a_redis_may_forget_is_said() -> None:
    async with a_stage(is_durable=False) as here:
        with Redis.from_url(here.store.address) as redis:
            redis.config_set("maxmemory", "1gb")
            redis.config_set("maxmemory-policy", "allkeys-lru")
        async with here.worker() as worker, here.producer(here.rows("rows.csv", stops=1)) as producer:
            for one in (worker, producer):
                await one.says("appendonly yes")
                await one.says("maxmemory-policy allkeys-lru")
            await producer.wait()


def test_a_verdict_sees_what_it_is_for(tmp_path: Path) -> None:
    """The judge of these tests does find rows that are lost, doubled, or too fast."""

    def start(number: int) -> StartCensorAudioV2:
        return StartCensorAudioV2(room_id=f"start-{number}", event_id="e", audio_language="en", risk_type_list=["BAN"])

    journal = Journal(tmp_path / "rows.jobs")
    fill(journal, [start(number) for number in range(4)], zego_client(), now=0)
    with journal.transaction():
        journal._db.execute("UPDATE job SET state = 'done', ended = 1 WHERE id < 4")
    journal.close()
    seen = [("start-0", True), ("start-1", True), ("start-1", True), ("start-3", False)]
    arrivals = [Arrival(at=1.0, accepted=accepted, who=who, action=START) for who, accepted in seen]
    found = judge(Report(arrivals), tmp_path / "rows.jobs")
    assert (found.rows, found.lost, found.doubled, found.refused) == (4, 2, 1, 1)
    assert json.dumps(found.most) == "0.04"
