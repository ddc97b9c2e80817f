"""Workers and producers in processes of their own, over a real Valkey; the vendor enforces its quotas.

Each of them is killed, stopped, continued or disconnected. Timeouts are a third of the real ones started;
``python -m benchmarks.distributed`` does the same with the real ones, for longer.
"""

import asyncio
import contextlib
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.cluster import QUOTA, START, STOP, Audit, Cluster, audit, cluster
from benchmarks.quota_server import Arrival, Report
from tests.doubles import zego_client
from tests.jobs.forked import ForkedProgram, Forks
from tests.jobs.journals import fill
from volc_moderation.jobs.job import INTERRUPTED, StoredJob
from volc_moderation.jobs.journal import Journal
from volc_moderation.zego import StartCensorAudioV2

pytestmark = pytest.mark.slow

#: The range of the seconds from a client to the vendor, or back: long enough for calls to be in flight at each fault.
DELAY = (0.02, 0.05)
LEASE = 5  # seconds
MAX_STARTS = 100
#: Seconds after which the queue has carried out all requests of a program that was killed or stopped.
SETTLE_TIME = 0.5
#: What the programs run first: shorter timeouts, and a limit of starts that few rows reach.
SETTINGS = f"""
from volc_moderation.jobs import followed_lane, follower, worker
from volc_moderation.jobs.queue import redis_queue
for module, name, value in (
    (redis_queue, "WORKER_LEASE", {LEASE}),
    (worker, "WORKER_LEASE", {LEASE}),
    (worker, "HEARTBEAT_INTERVAL", 1),
    (worker, "WORKER_LEASE_MARGIN", 1),
    (follower, "INSPECT_INTERVAL", 1),
    (followed_lane, "UNSERVED_TIMEOUT", 2),
    (follower, "REFUSED_KEYS_TIMEOUT", 3),
    (followed_lane, "MAX_UNREPEATABLE_HANDED_OVER", {MAX_STARTS}),
):
    assert hasattr(module, name)
    setattr(module, name, value)
"""


@pytest.fixture(scope="module", autouse=True)
def _forks() -> Iterator[None]:
    """Let the programs start with the package imported: most of their CPU would be spent on imports."""
    with Forks() as forks, pytest.MonkeyPatch.context() as patch:
        patch.setattr(ForkedProgram, "forks", forks, raising=False)
        patch.setattr("benchmarks.cluster.Program", ForkedProgram)
        yield


@contextlib.asynccontextmanager
async def start_cluster(*, is_durable: bool = True) -> AsyncIterator[Cluster]:
    async with asyncio.timeout(100), cluster(delay=DELAY, is_durable=is_durable, settings=SETTINGS) as started:
        yield started


async def audit_runs(started: Cluster, *files: str) -> Audit:
    return audit(await started.vendor.report(), *(started.folder / f"{file}.jobs" for file in files))


def start_keys(started: Cluster, state: str) -> set[str]:
    """Return the keys of the starts in a state: ``taken`` by a worker, then ``sent``, right before the request is."""
    with Redis.from_url(started.valkey.address, decode_responses=True) as redis:
        jobs = {name.partition(":job:")[2]: redis.hgetall(name) for name in redis.scan_iter("*:job:*", count=1000)}
    return {key for key, job in jobs.items() if job.get("once") == "1" and job["state"] == state}


def interrupted_jobs(started: Cluster, file: str) -> list[StoredJob]:
    """Return the interrupted jobs of a run."""
    with contextlib.closing(Journal(started.folder / f"{file}.jobs", access="read")) as journal:
        return [job for job in journal.jobs() if job.code == INTERRUPTED]


def is_clean(found: Audit) -> bool:
    return (found.lost, found.doubled, found.failed, found.refused) == (0, 0, 0, 0)


async def wait_for_done(started: Cluster, done: int, file: str) -> None:
    """Wait until a number of jobs of a run are done."""
    path = started.folder / f"{file}.jobs"
    while True:
        with contextlib.suppress(Exception), contextlib.closing(Journal(path, access="read")) as journal:
            if journal.summary().done >= done:
                return
        await asyncio.sleep(0.05)


async def test_killing_and_resuming_a_producer_repeats_no_call() -> None:
    """Jobs that ended before the producer recorded that they were handed over are not submitted as new ones."""
    async with start_cluster() as started, started.worker(), started.worker():
        rows = started.write_rows("rows.csv", stops=200, starts=200)
        for round_ in range(3):
            async with started.producer(rows, *(["--resume"] if round_ else [])) as producer:
                await wait_for_done(started, 1 + 100 * round_, rows)
                await producer.kill()
        async with started.producer(rows, "--resume") as producer:
            assert await producer.wait() == 0, producer.output
        found = await audit_runs(started, rows)
    assert is_clean(found)
    assert (found.rows, found.interrupted, found.repeated) == (400, 0, 0)


async def test_killing_a_worker_interrupts_only_starts_that_may_have_left() -> None:
    """Interrupted starts are repeated only on request. Starts that were waiting for the quota are made."""
    async with start_cluster() as started:
        rows = started.write_rows("rows.csv", stops=100, starts=200)
        async with started.worker("--concurrency", "64") as first, started.producer(rows) as producer:
            await wait_for_done(started, 100, rows)
            await first.kill()
            await asyncio.sleep(SETTLE_TIME)
            sent, unsent = start_keys(started, "sent"), start_keys(started, "taken")
            async with started.worker():
                code = await producer.wait()
        found = await audit_runs(started, rows)
        assert is_clean(found)
        assert {job.key for job in interrupted_jobs(started, rows)} == sent
        assert unsent, "no start was waiting for the quota"
        assert found.interrupted <= 40, "most of the 64 calls at a time wait for a permit"
        assert code == (10 if found.interrupted else 0)
        if found.interrupted:
            assert "--retry-interrupted" in producer.output
        assert "--retry-failed" not in producer.output
        async with started.worker(), started.producer(rows, "--resume", "--retry-failed") as producer:
            await producer.wait()
        assert (await started.vendor.report()).arrivals == []


async def test_a_frozen_worker_changes_no_job_that_others_have_taken() -> None:
    async with start_cluster() as started, started.worker() as first, started.worker():
        rows = started.write_rows("rows.csv", stops=300, starts=150)
        async with started.producer(rows) as producer:
            await wait_for_done(started, 100, rows)
            first.signal(signal.SIGSTOP)
            await asyncio.sleep(SETTLE_TIME)
            sent = start_keys(started, "sent")
            await asyncio.sleep(LEASE + 2)  # longer than its lease: other workers have its jobs now
            first.signal(signal.SIGCONT)
            code = await producer.wait()
        found = await audit_runs(started, rows)
        assert {job.key for job in interrupted_jobs(started, rows)} <= sent
    assert is_clean(found)
    assert code == (10 if found.interrupted else 0)
    assert found.interrupted <= 25
    assert found.repeated <= 32


async def test_a_restart_of_the_redis_stops_no_run() -> None:
    async with start_cluster() as started, started.worker() as worker, started.worker():
        rows = started.write_rows("rows.csv", stops=300, starts=150)
        async with started.producer(rows) as producer:
            await wait_for_done(started, 100, rows)
            started.valkey.stop()
            await asyncio.sleep(2)
            started.valkey.start()
            assert await producer.wait() in {0, 10}, producer.output
        assert "the queue cannot be reached" in worker.output
        assert "the queue can be reached again" in worker.output
        assert "waiting: the queue cannot be reached" in producer.output
        found = await audit_runs(started, rows)
        # One submission of jobs may have been in flight; whether it arrived is unknown.
        assert len({job.sent for job in interrupted_jobs(started, rows)}) <= 1
    assert is_clean(found)
    assert (found.interrupted_done, found.repeated) == (0, 0)
    assert found.interrupted <= MAX_STARTS / 2, "most of the starts that the workers had"


@pytest.mark.parametrize("is_killed", [False, True])
async def test_a_redis_that_loses_its_data_repeats_no_start(is_killed: bool) -> None:
    """The workers' jobs are submitted again, except for starts: those are interrupted."""
    async with start_cluster() as started, started.worker(), started.worker():
        rows = started.write_rows("rows.csv", stops=200, starts=200)
        async with started.producer(rows) as producer:
            await wait_for_done(started, 100, rows)
            if is_killed:
                await producer.kill()
            started.valkey.stop()
            started.valkey.delete_data()
            started.valkey.start()
            if not is_killed:
                code = await producer.wait()
        if is_killed:
            async with started.producer(rows, "--resume") as producer:
                code = await producer.wait()
        found = await audit_runs(started, rows)
        messages = {job.message for job in interrupted_jobs(started, rows)}
    assert is_clean(found)
    assert code == 10
    assert 0 < found.interrupted <= MAX_STARTS
    assert messages == {"the queue lost the job; whether its call was carried out is not known"}


async def test_producers_with_the_same_rows_all_get_the_outcomes() -> None:
    async with start_cluster() as started, started.worker() as worker:
        first = started.write_rows("first.csv", stops=100, starts=80)
        second = started.write_rows("second.csv", stops=100, starts=80)
        async with started.producer(first) as one, started.producer(second) as other:
            codes = await asyncio.gather(one.wait(), other.wait())
            assert [*codes] == [0, 0]
        assert "Warning: " not in worker.output + one.output + other.output, "this Redis keeps its data"
        found = await audit_runs(started, first, second)
    assert (found.lost, found.failed, found.refused) == (0, 0, 0)
    assert found.rows == 360


async def test_a_worker_leaves_jobs_without_keys_to_others() -> None:
    async with start_cluster() as started, started.worker(keys=started.zego_keys) as zego_worker:
        await zego_worker.wait_for_output("Working for queue moderation: zego")
        rows = started.write_rows("rows.csv", stops=60, starts=60)
        async with started.producer(rows) as producer:
            await producer.wait_for_output("1 worker, none with the keys of the account at volcengine")
            await wait_for_done(started, 60, rows)
            assert not (await started.vendor.report()).of(STOP).arrivals
            async with started.worker(keys=started.volcengine_keys):
                assert await producer.wait() == 0, producer.output
        found = await audit_runs(started, rows)
    assert (found.failed, found.refused, found.doubled) == (0, 0, 0)


async def test_a_worker_with_refused_keys_reports_it_and_delays_no_other() -> None:
    async with (
        start_cluster() as started,
        started.worker(keys=started.refused_keys) as refused_worker,
        started.worker() as worker,
    ):
        await refused_worker.wait_for_output("Working")
        await worker.wait_for_output("Working")
        rows = started.write_rows("rows.csv", stops=300)
        async with started.producer(rows) as producer:
            assert await producer.wait() == 0, producer.output
        await refused_worker.wait_for_output("SignatureDoesNotMatch")
        report = await started.vendor.report()
        found = audit(report, started.folder / f"{rows}.jobs")
    assert is_clean(found)
    accepted = [arrival.at for arrival in report.arrivals if arrival.accepted]
    assert max(accepted) - min(accepted) < 300 / QUOTA + 8
    assert found.repeated == 0


async def test_refused_keys_of_all_workers_end_a_run_with_3() -> None:
    async with start_cluster() as started, started.worker(keys=started.refused_keys):
        rows = started.write_rows("rows.csv", stops=20)
        async with started.producer(rows) as producer:
            await producer.wait_for_output("waiting: ")
            assert await producer.wait() == 3, producer.output
        assert "The credentials were refused" in producer.output
        assert re.search("^Resume with: .* bulk --resume ", producer.output, re.MULTILINE)
        async with started.worker(), started.producer(rows, "--resume") as producer:
            assert await producer.wait() == 0, producer.output


async def test_a_run_without_workers_reports_it_first() -> None:
    async with start_cluster() as started:
        rows = started.write_rows("rows.csv", stops=30_000)
        async with started.producer(rows) as producer:
            await producer.wait_for_output("No worker listens to the queue. Start one with: ")
            await producer.wait_for_output("waiting: no worker listens to the queue")
            with Redis.from_url(started.valkey.address) as redis:
                assert redis.dbsize() < 30_000, "the report came only after all jobs were handed over"


async def test_programs_report_how_the_redis_may_lose_jobs() -> None:
    async with start_cluster(is_durable=False) as started:
        with Redis.from_url(started.valkey.address) as redis:
            redis.config_set("maxmemory", "1gb")
            redis.config_set("maxmemory-policy", "allkeys-lru")
        async with started.worker() as worker, started.producer(started.write_rows("rows.csv", stops=1)) as producer:
            for program in (worker, producer):
                await program.wait_for_output("appendonly yes")
                await program.wait_for_output("maxmemory-policy allkeys-lru")
            await producer.wait()


def test_the_audit_finds_violations(tmp_path: Path) -> None:
    """It reports jobs that are lost, repeated, or above the quota; the other tests rely on that."""

    def start(number: int) -> StartCensorAudioV2:
        return StartCensorAudioV2(room_id=f"start-{number}", event_id="e", audio_language="en", risk_type_list=["BAN"])

    journal = Journal(tmp_path / "rows.jobs")
    fill(journal, [start(number) for number in range(4)], zego_client(), now=0)
    with journal.transaction():
        journal._db.execute("UPDATE job SET state = 'done', ended = 1 WHERE id < 4")
    journal.close()
    requests = [("start-0", True), ("start-1", True), ("start-1", True), ("start-3", False)]
    arrivals = [Arrival(at=1.0, accepted=accepted, room_id=room_id, action=START) for room_id, accepted in requests]
    found = audit(Report(arrivals), tmp_path / "rows.jobs")
    assert (found.rows, found.lost, found.doubled, found.refused) == (4, 2, 1, 1)
    assert json.dumps(found.most) == "0.04"
