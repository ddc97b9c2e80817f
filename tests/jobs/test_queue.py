"""The queue of distributed jobs in a real Valkey: its steps, its clocks, what it keeps, and who waits for it."""

import asyncio
import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from redis import Redis

from tests.doubles import volcengine_client, volcengine_yes, zego_answer
from tests.jobs.journals import InlineJournal, all_jobs, fill
from tests.jobs.test_distributed import START, stop, volcengine, working, zego
from volc_moderation import AuthenticationError, ConfigurationError, JournalError
from volc_moderation.jobs import JobState
from volc_moderation.jobs.clients import Clients, write
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.follow import NO_WORKERS, Follower, LaneStatus
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.jobs.queue import LEASE, Queue, connect
from volc_moderation.jobs.queue_records import Ended, Taken, Ticket, Worker
from volc_moderation.volcengine import StopWebcast
from volc_moderation.zego import StopCensorAudioV2

pytestmark = pytest.mark.usefixtures("redis")

BASE = "volc_moderation:{moderation}:"
LANE = Clients([volcengine_client()]).lane_of(stop())
DONE = Outcome(JobState.DONE)
ROW = "run:1:1"
DUE = f"{BASE}due:{'/'.join(LANE)}"


def ticket(number: int = 0, token: str = ROW, *, is_known: bool = False) -> Ticket:
    action = stop(number)
    return Ticket(key_of(LANE, action), LANE, write(action), token, is_known=is_known)


@pytest.fixture
async def queue(valkey: str) -> Any:
    made = Queue(connect(valkey), "moderation", keep=600, reconnect=5)
    yield made
    await made.aclose()


async def take(queue: Queue, worker: str = "w", *, once: bool = False) -> list[Taken]:
    rows, _ = await queue.take(worker, LANE, 10, once=once)
    return [Taken(key.decode(), fence) for fence, key, *_ in rows]


def ended(job: Taken, outcome: Outcome = DONE) -> Ended:
    return Ended(job, outcome, 1, None, 0.1, 0.0, time.time())


# Opening


async def test_a_row_that_is_handed_over_again_is_told_again_and_opens_nothing(queue: Queue) -> None:
    await queue.submit([ticket()])
    (job,) = await take(queue)
    assert (await queue.record("w", [ended(job)]))[0] == [True]
    for _ in range(2):
        answers, _ = await queue.submit([ticket()])
        assert answers == [(True, None)]
    assert await take(queue) == []
    assert [told.row for _, told in await queue.read("run", "0", wait=0)] == [1, 1, 1]
    await queue.submit([ticket(token="run:1:2")])  # listed anew
    assert len(await take(queue)) == 1


async def test_an_earlier_listing_does_not_open_what_another_one_has_opened(queue: Queue) -> None:
    await queue.submit([ticket(token="first:1:1")])
    (job,) = await take(queue)
    await queue.record("w", [ended(job)])
    await queue.submit([ticket(token="second:1:1")])
    (job,) = await take(queue)
    await queue.record("w", [ended(job)])
    await queue.submit([ticket(token="first:1:1")])
    assert await take(queue) == []
    assert len(await queue.read("first", "0", wait=0)) == 2


async def test_what_is_to_be_known_is_not_opened(queue: Queue) -> None:
    answers, _ = await queue.submit([ticket(is_known=True), ticket(1)])
    assert answers == [(False, None), (True, None)]
    assert len(await take(queue)) == 1


async def test_what_is_to_be_known_is_not_opened_because_somebody_else_opened_it(queue: Queue) -> None:
    """The queue lost the row, and then another run listed the same call, which has ended."""
    await queue.submit([ticket(token="other:1:1")])
    (job,) = await take(queue)
    await queue.record("w", [ended(job)])
    answers, _ = await queue.submit([ticket(is_known=True)])
    assert answers == [(False, None)]
    assert await take(queue) == []


async def test_other_data_than_expected_open_nothing(queue: Queue, redis: Redis) -> None:
    incarnation, _ = await queue.look()
    assert (await queue.submit([ticket()], incarnation=incarnation))[0] is not None
    redis.flushall()
    assert await queue.submit([ticket()], incarnation=incarnation) == (None, True)
    assert redis.exists(f"{BASE}job:{ticket().key}") == 0


async def test_submitting_a_job_that_waits_again_and_again_leaves_no_trace(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        key = await jobs.submit(stop(), delay=600)
        for _ in range(600):
            assert await jobs.submit(stop()) == key
    assert cast("int", redis.memory_usage(f"{BASE}job:{key}")) < 8000


# What is kept


async def test_nothing_stays_for_ever(queue: Queue, valkey: str, redis: Redis) -> None:
    """But what there are few of: the queue's clock and the names of its lanes."""
    async with working(valkey, volcengine(), zego(), workers=2) as jobs:
        keys = [await jobs.submit(action) for action in (stop(), stop(1), START, StopCensorAudioV2(task_id="t"))]
        for key in keys:
            await jobs.wait(key)
    await queue.submit([ticket(9)])
    lasting = {key.decode().removeprefix(BASE) for key in redis.scan_iter() if redis.ttl(key) == -1}
    assert lasting == {"queue", "lanes", f"job:{ticket(9).key}", f"due:{'/'.join(LANE)}"}


async def test_a_redis_that_has_no_memory_left_lets_what_it_has_end(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket()])
    (job,) = await take(queue)
    redis.config_set("maxmemory", "1")
    try:
        assert (await queue.record("w", [ended(job)]))[0] == [True]
        full = Queue(queue._redis, "moderation", keep=600, reconnect=0.2)
        with pytest.raises(JournalError, match="OutOfMemoryError"):
            await full.submit([ticket(1)])
    finally:
        redis.config_set("maxmemory", "0")


# Clocks: the script's own knowledge of them is moved, which is the same as if the server's clock had been


def step_back(redis: Redis, seconds: float) -> None:
    """Have written all that is written when the clock was so much ahead."""
    step(redis, -seconds)
    due: Any = redis.zrange(DUE, 0, -1, withscores=True)
    for key, at in due:
        redis.zincrby(DUE, seconds * 1000, key)
        redis.hset(f"{BASE}job:{key.decode()}", "due", round(at + seconds * 1000))


def step(redis: Redis, seconds: float) -> None:
    wall = int(cast("bytes", redis.hget(BASE + "queue", "wall")))
    redis.hset(BASE + "queue", "wall", wall - round(seconds * 1000))


async def test_a_step_back_of_the_servers_clock_delays_nothing(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket(), ticket(1, "run:2:1")._replace(delay=1.0)])
    step_back(redis, 3600)
    assert len(await take(queue)) == 1
    _, wait = await queue.take("w", LANE, 10, once=False)
    assert wait is not None
    assert wait <= 1.0
    (job,) = await queue.find([ticket(1).key])
    assert job is not None
    assert job.due == pytest.approx(time.time() + wait, abs=1.0)


async def test_a_step_ahead_takes_no_job_from_a_worker_that_lives(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket()])
    (job,) = await take(queue)
    step(redis, 3600)
    _, workers = await queue.look()
    assert len(workers) == 1
    assert (await queue.record("w", [ended(job)]))[0] == [True]


async def test_a_worker_that_is_not_heard_of_loses_its_jobs(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket()])
    (job,) = await take(queue)
    for _ in range(int(LEASE // 5) + 1):
        step(redis, 5)
        await queue.look()
    (taken,) = await take(queue, "other")
    assert taken.key == job.key
    assert taken.fence > job.fence
    for write_late in (queue.record("w", [ended(job)]), queue.send("w", [job])):
        assert (await write_late)[0] == [False]
    assert await queue.give_back("w", [job]) == 0
    assert (await queue.record("other", [ended(taken)]))[0] == [True]


# Data that come back older than they were


async def test_a_job_that_the_worker_took_anew_is_not_lost_with_a_late_answer(queue: Queue, redis: Redis) -> None:
    await queue.submit([ticket()])
    (first,) = await take(queue)
    for _ in range(int(LEASE // 5) + 1):
        step(redis, 5)
        await queue.look()
    (second,) = await take(queue)
    assert (await queue.record("w", [ended(first)]))[0] == [False]
    for _ in range(int(LEASE // 5) + 1):
        step(redis, 5)
        await queue.look()
    (third,) = await take(queue, "other")
    assert first.fence < second.fence < third.fence


@pytest.mark.parametrize("is_told", [True, False])
async def test_a_start_that_a_snapshot_has_undone_is_not_made_again(queue: Queue, redis: Redis, is_told: bool) -> None:
    """The Redis comes back as it was before the worker took it: the worker has seen later fences than it knows of."""
    await queue.submit([ticket()])
    before = {key: redis.dump(key) for key in redis.scan_iter()}
    rows, _ = await queue.take("w", LANE, 10, once=True)
    job = Taken(rows[0][1].decode(), rows[0][0])
    (is_own,), seen = await queue.send("w", [job])
    assert is_own
    if is_told:
        _, seen = await queue.record("w", [ended(job)])
    redis.flushall()
    for key, dumped in before.items():
        redis.restore(key, 0, dumped)  # type: ignore[arg-type]
    rows, _ = await queue.take("w", LANE, 10, once=True, seen=seen)
    assert rows == []
    (found,) = await queue.find([job.key])
    assert found is not None
    assert (found.state, found.code) == (JobState.FAILED, "Interrupted")
    await queue.submit([ticket(1)])  # what is opened from now on is as good as ever
    rows, _ = await queue.take("w", LANE, 10, once=True, seen=seen)
    assert len(rows) == 1
    assert rows[0][0] > seen


async def test_a_worker_is_not_asked_to_make_again_what_it_has_told(queue: Queue, redis: Redis) -> None:
    """The Redis has lost what the worker told, but not that it sent: the next beat finds out."""
    await queue.submit([ticket()])
    rows, _ = await queue.take("w", LANE, 10, once=True)
    job = Taken(rows[0][1].decode(), rows[0][0])
    await queue.send("w", [job])
    fence, _ = await queue.beat("w", "{}", held=[job.fence], since=0)
    await queue.beat("w", "{}", held=[], since=fence)
    (found,) = await queue.find([job.key])
    assert found is not None
    assert (found.state, found.code) == (JobState.FAILED, "Interrupted")


# Programs that go on


async def test_a_program_goes_on_after_its_redis_has_lost_all(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        key = await jobs.submit(stop())
        waiting = asyncio.create_task(jobs.wait(key))
        await asyncio.sleep(0.2)
        redis.flushall()
        redis.script_flush()
        for woken in jobs._waiters[key]:
            woken.set_result(None)  # as some time later
        with pytest.raises(JournalError, match="the queue has lost the job"):
            await waiting
        assert await jobs.submit(stop()) == key
        async with working(valkey, volcengine()):
            assert (await jobs.wait(key)).state is JobState.DONE


async def test_many_who_wait_ask_the_redis_next_to_nothing(valkey: str, redis: Redis) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        keys = await asyncio.gather(*(jobs.submit(stop(number)) for number in range(500)))
        waiting = [asyncio.create_task(jobs.wait(key)) for key in keys]
        await asyncio.sleep(0.5)
        redis.config_resetstat()
        await asyncio.sleep(1)
        stats = redis.info("commandstats")
        assert sum(one["calls"] for name, one in stats.items() if name != "cmdstat_info") < 5
        assert len([client for client in redis.client_list() if client["sub"] != "0"]) == 1
        async with working(valkey, volcengine()):
            assert {job.state for job in await asyncio.gather(*waiting)} == {JobState.DONE}


async def test_a_worker_that_was_not_heard_of_sends_nothing(valkey: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the queue has heard of it again; the job is given back, and costs no attempt."""
    asked: list[object] = []

    def answer(request: object) -> Any:
        asked.append(request)
        return volcengine_yes()

    late = True
    monkeypatch.setattr("volc_moderation.jobs.worker.boot_time", lambda: time.monotonic() + 1000 * late)

    async with DistributedJobs(valkey, clients=[volcengine(answer)]) as jobs:
        key = await jobs.submit(stop())
        working_now = asyncio.create_task(jobs.work())
        await asyncio.sleep(0.3)
        assert jobs._worker is not None
        await jobs.wait(key)
        late = False
        jobs._worker._heard = time.monotonic() - 100
        other = await jobs.submit(stop(1))
        await asyncio.sleep(0.3)
        late = True
        job = await jobs.wait(other)
        working_now.cancel()
        await asyncio.gather(working_now, return_exceptions=True)
    assert (job.state, job.attempts, len(asked)) == (JobState.DONE, 1, 2)


async def test_they_are_entered_once_and_belong_to_a_loop(valkey: str) -> None:
    jobs = DistributedJobs(valkey, clients=[volcengine()])
    for use in (jobs.submit(stop()), jobs.status("k"), jobs.wait("k"), jobs.workers(), jobs.work()):
        with pytest.raises(ConfigurationError, match="async with DistributedJobs"):
            await use
    async with jobs:
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(jobs.status("k")))
    with pytest.raises(ConfigurationError, match="async with DistributedJobs"):
        await jobs.status("k")
    with pytest.raises(ConfigurationError, match="entered before"):
        async with jobs:
            pass


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"queue": ""}, "queue must be a name"),
        ({"queue": "a{b}"}, "queue must be a name"),
        ({"concurrency": 0}, "concurrency must be"),
        ({"keep": 1.5}, "keep must be"),
        ({"reconnect": -1}, "reconnect must be"),
    ],
)
def test_wrong_settings(valkey: str, setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DistributedJobs(valkey, clients=[volcengine()], **setting)


# Runs


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
    monkeypatch.setattr("volc_moderation.jobs.follow.MOST_ONCE", 3)
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


async def test_who_may_not_subscribe_is_told_so_and_does_not_storm(valkey: str, redis: Redis) -> None:
    administrator = cast("Any", redis)
    administrator.execute_command("ACL", "SETUSER", "deaf", "on", "nopass", "~*", "+@all", "resetchannels")
    try:
        address = valkey.replace("redis://", "redis://deaf:x@")
        async with DistributedJobs(address, clients=[volcengine()]) as jobs:
            key = await jobs.submit(stop())  # which tells the workers of it, but for that right
            with pytest.raises(JournalError, match="cannot be heard"):
                await jobs.wait(key)
            working_now = asyncio.create_task(jobs.work())  # it looks now and then
            async with asyncio.timeout(10):
                while (job := await jobs.status(key)) is None or not job.state.has_ended:
                    await asyncio.sleep(0.1)
            redis.config_resetstat()
            await asyncio.sleep(1)
            assert redis.info("stats")["total_commands_processed"] < 50
            working_now.cancel()
            await asyncio.gather(working_now, return_exceptions=True)
    finally:
        administrator.execute_command("ACL", "DELUSER", "deaf")


def worker(told: tuple[str, str, float | None], lane: Lane = LANE) -> Worker:
    return Worker({lane: told})


def test_what_workers_tell_of_a_lane() -> None:
    client = volcengine_client()

    queue: Any = SimpleNamespace(trouble=None)
    status = LaneStatus(LANE, client, StopWebcast, queue)
    refused = ("AuthenticationError", "no such key", 40.0)
    status.look([], now=100.0)
    assert str(status.trouble) == str(NO_WORKERS)
    other = LANE._replace(account="other")
    for now, words in ((101.0, "no worker listens"), (110.0, "none of 1 workers has the keys of the account")):
        status.look([worker(("", "", 1.0), lane=other)], now=now)
        assert words in str(status.trouble)
    status.look([worker(("", "", 150.0)), worker(refused)], now=111.0)
    assert not status.trouble
    assert (status.cap, status.is_refused_since(200.0)) == (40.0, False)
    status.look([worker(refused), worker(refused)], now=112.0)
    assert isinstance(status.trouble, AuthenticationError)
    assert "2 of 2 workers" in str(status.trouble)
    assert (status.is_refused_since(111.9), status.is_refused_since(112.0)) == (False, True)
    status.look([worker(("TransportError", "no way", None))], now=113.0)
    assert str(status.trouble) == "StopWebcast: no way"
    assert (status.cap, status.is_refused_since(200.0)) == (None, False)
    queue.trouble = JournalError("away")
    assert str(status.trouble) == "away"
    status.is_over = True
    assert not status.trouble
