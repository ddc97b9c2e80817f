"""The runner in virtual time, against the emulator in this process or against the prepared answers of a test."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import (
    NOW,
    Vendors,
    loop_clock,
    mocked,
    volcengine_client,
    volcengine_error,
    volcengine_success,
    zego_answer,
    zego_client,
)
from tests.jobs.journals import InlineJournal, all_jobs, fill, record
from volc_moderation import AuthenticationError, ConfigurationError, JournalError, NoQuotas, RetryPolicy
from volc_moderation.jobs.concurrency import INITIAL_CONCURRENCY, MAX_CONCURRENCY
from volc_moderation.jobs.job import JobState, StoredJob
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.lane_runner import FAILURES_BEFORE_PAUSE
from volc_moderation.jobs.runner import LocalRunner
from volc_moderation.jobs.steady_clock import SteadyClock
from volc_moderation.volcengine import BanUserStream, StartWebcast, StopWebcast
from volc_moderation.zego import CloseRoom, StartCensorAudioV2, StopCensorAudioV2

pytestmark = pytest.mark.looptime


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[InlineJournal]:
    journal = InlineJournal(Journal(tmp_path / "stops.db"))
    yield journal
    await journal.aclose()


def stops(count: int) -> list[StopWebcast]:
    return [StopWebcast(app_id="app", room_id=f"room-{number}", task_id="wall") for number in range(count)]


def censor_stops(count: int) -> list[StopCensorAudioV2]:
    return [StopCensorAudioV2(task_id=f"task-{number}") for number in range(count)]


async def run(journal: InlineJournal, *clients: Any, **options: Any) -> list[JobEvent]:
    """Run all jobs, and return their events."""
    events: list[JobEvent] = []
    runner = LocalRunner(journal, clients, clock=loop_clock, on_event=events.append, **options)
    await runner.prepare()
    await runner.run()
    return events


def states(journal: InlineJournal) -> Counter[JobState]:
    return Counter(job.state for job in all_jobs(journal.journal))


def by_action(journal: InlineJournal, action: str) -> list[StoredJob]:
    return [job for job in all_jobs(journal.journal) if job.action == action]


async def test_every_job_is_done_and_its_result_kept(journal: InlineJournal, vendors: Vendors) -> None:
    start = StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])
    page = StartWebcast(app_id="app", room_id="room-0", task_id="wall", user_id="u", source_url="https://example.com/")
    await vendors.volcengine.call(page)
    fill(journal.journal, [start, *stops(2)], vendors.volcengine, vendors.zego)
    events = await run(journal, vendors.volcengine, vendors.zego)
    started, stopped, gone = all_jobs(journal.journal)
    assert states(journal) == {JobState.DONE: 3}
    assert isinstance(started.result, dict)
    assert len(started.result["TaskId"]) == 32
    assert started.request_id
    assert (stopped.was_gone, gone.was_gone) == (False, True)
    assert gone.code == "InvalidParameter.ErrorActiveTaskNotFound"
    assert sorted((event.key, event.state) for event in events) == sorted(
        (job.key, JobState.DONE) for job in (started, stopped, gone)
    )


def refusing_zego(*, refuses_once: Callable[[int], bool], code: int = 50009) -> tuple[Any, list[float]]:
    """Return a client of a ZEGO that refuses some tasks the first time, and the times at which calls arrive."""
    arrivals: list[float] = []
    seen: set[str] = set()

    async def handler(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.03)
        arrivals.append(asyncio.get_running_loop().time())
        task = json.loads(request.content)["TaskId"]
        is_first = task not in seen
        seen.add(task)
        return zego_answer(code if is_first and refuses_once(int(task.rpartition("-")[2])) else 0)

    http_client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    return zego_client(http_client=http_client, clock=loop_clock), arrivals


@pytest.mark.no_coverage
async def test_a_wait_of_300_s_delays_no_other_job(journal: InlineJournal) -> None:
    """One in twenty is deferred; the others' first attempts continue at the quota, and all end done."""
    zego, arrivals = refusing_zego(refuses_once=lambda task: task % 20 == 0)
    fill(journal.journal, censor_stops(600), zego)
    events = await run(journal, zego)
    assert states(journal) == {JobState.DONE: 600}
    assert Counter(event.state for event in events) == {JobState.DONE: 600, JobState.PENDING: 30}
    assert Counter(job.attempts for job in all_jobs(journal.journal)) == {1: 570, 2: 30}
    firsts, seconds = arrivals[:600], arrivals[600:]
    assert sum(firsts[0] + 1 < at <= firsts[0] + 5 for at in firsts) / 4 / 100 >= 0.94
    assert firsts[-1] < 7
    assert 300 <= seconds[0] - firsts[0] <= seconds[-1] - firsts[0] < 308


async def test_a_run_may_leave_deferred_jobs(journal: InlineJournal) -> None:
    zego, _ = refusing_zego(refuses_once=lambda task: task == 3, code=50006)
    fill(journal.journal, censor_stops(10), zego)
    await run(journal, zego, wait_for_deferred=False)
    assert states(journal) == {JobState.DONE: 9, JobState.PENDING: 1}
    assert asyncio.get_running_loop().time() < 20
    (deferred,) = journal.journal.deferred().values()
    assert (deferred.count, deferred.first_due > NOW + 299) == (1, True)
    await run(journal, zego)
    assert states(journal) == {JobState.DONE: 10}


async def test_a_job_whose_fault_does_not_pass_is_given_up(journal: InlineJournal) -> None:
    zego = zego_client(http_client=mocked(lambda _: zego_answer(50009)), clock=loop_clock)
    fill(journal.journal, censor_stops(1), zego)
    await run(journal, zego, retry=RetryPolicy(attempts=3))
    (job,) = all_jobs(journal.journal)
    assert (job.state, job.attempts, job.code) == (JobState.GIVEN_UP, 3, 50009)


@pytest.mark.no_coverage
@pytest.mark.slow
async def test_a_slow_quota_delays_no_other_lane(journal: InlineJournal, vendors: Vendors) -> None:
    fill(journal.journal, [CloseRoom(room_id=f"r-{n}") for n in range(30)], vendors.zego)
    fill(journal.journal, censor_stops(200), vendors.zego)
    await run(journal, vendors.zego)
    ended = [job.ended or 0 for job in by_action(journal, "StopCensorAudioV2")]
    assert max(ended) - NOW < 5
    assert asyncio.get_running_loop().time() > 25


@pytest.mark.no_coverage
async def test_just_enough_calls_are_in_flight(journal: InlineJournal, vendors: Vendors) -> None:
    """Jobs wait for the quota in the journal, where a crash leaves no doubt that they were not sent."""
    fill(journal.journal, stops(1200), vendors.volcengine)
    assert await max_in_flight(journal, vendors.volcengine) < 100
    assert states(journal) == {JobState.DONE: 1200}


async def max_in_flight(journal: InlineJournal, client: Any) -> int:
    """Run all jobs, and return the highest number of jobs that were marked as sent at the same time."""
    highest = 0

    def on_event(_: JobEvent) -> None:
        nonlocal highest
        highest = max(highest, journal.journal.counts()[JobState.SENT])

    runner = LocalRunner(journal, [client], clock=loop_clock, on_event=on_event)
    await runner.prepare()
    await runner.run()
    return highest


async def test_stopping_finishes_calls_in_flight(journal: InlineJournal) -> None:
    async def slow(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(2)
        return volcengine_success()

    async with httpx.AsyncClient(transport=httpx.MockTransport(slow)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas(), clock=loop_clock)
        fill(journal.journal, stops(500), client)
        runner = LocalRunner(journal, [client], clock=loop_clock)
        await runner.prepare()
        running = asyncio.create_task(runner.run())
        await asyncio.sleep(1)
        in_flight = states(journal)[JobState.SENT]
        runner.stop()
        await running
    counts = states(journal)
    assert counts[JobState.SENT] == 0
    assert 0 < counts[JobState.DONE] <= in_flight
    assert counts[JobState.PENDING] == 500 - counts[JobState.DONE]
    assert {job.attempts for job in all_jobs(journal.journal) if job.state is JobState.PENDING} == {0}


async def test_a_repeatable_call_that_was_cut_off_is_repeated(journal: InlineJournal) -> None:
    hang = asyncio.Event()
    requests = 0

    async def handler(_: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        await hang.wait()
        return volcengine_success()

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http_client:
        client = volcengine_client(http_client=http_client, quotas=NoQuotas(), clock=loop_clock)
        fill(journal.journal, stops(3), client)
        running = asyncio.create_task(run(journal, client))
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert (requests, states(journal)) == (3, {JobState.SENT: 3})
        hang.set()
        await run(journal, client)
    assert (requests, states(journal)) == (6, {JobState.DONE: 3})


async def test_a_start_that_was_cut_off_is_not_repeated(journal: InlineJournal, vendors: Vendors) -> None:
    """ZEGO does not document what a second start does."""
    start = StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])
    fill(journal.journal, [start], vendors.zego)
    with journal.journal.transaction():
        journal.journal.take(1, 10, due=NOW, now=NOW)
    await run(journal, vendors.zego)
    (job,) = all_jobs(journal.journal)
    assert (job.state, job.code, job.maybe_sent) == (JobState.FAILED, "Interrupted", True)
    assert vendors.requests == []


@pytest.mark.no_coverage
async def test_an_outage_does_not_count_as_attempts(journal: InlineJournal) -> None:
    """The vendor cannot be reached for an hour, then all jobs are done; requests are rare meanwhile."""
    requests = 0

    def handler(_: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        if asyncio.get_running_loop().time() < 3600:
            raise httpx.ConnectError("no way")
        return volcengine_success()

    client = volcengine_client(http_client=mocked(handler), clock=loop_clock)
    fill(journal.journal, stops(300), client)
    runner = LocalRunner(journal, [client], clock=loop_clock)
    await runner.prepare()
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(1800)
    assert str(runner.lane_statuses()[0].pause_reason).startswith("StopWebcast: ConnectError")
    assert requests < 300
    await running
    assert states(journal) == {JobState.DONE: 300}
    assert runner.lane_statuses()[0].pause_reason is None
    assert {job.attempts for job in all_jobs(journal.journal)} == {1}
    assert asyncio.get_running_loop().time() < 3640


@pytest.mark.parametrize(
    ("failures", "min_seconds", "max_seconds"),
    [(FAILURES_BEFORE_PAUSE - 1, 0, 0.1), (FAILURES_BEFORE_PAUSE, 0.25, 0.6)],
)
async def test_consecutive_failures_cause_a_pause(
    journal: InlineJournal, failures: int, min_seconds: float, max_seconds: float
) -> None:
    left = failures

    def handler(_: httpx.Request) -> httpx.Response:
        nonlocal left
        left -= 1
        if left >= 0:
            raise httpx.ConnectError("no way")
        return volcengine_success()

    client = volcengine_client(http_client=mocked(handler), clock=loop_clock, quotas=NoQuotas())
    fill(journal.journal, stops(20), client)
    await run(journal, client)
    assert min_seconds <= asyncio.get_running_loop().time() <= max_seconds


async def test_pauses_of_an_outage_grow_exponentially(journal: InlineJournal) -> None:
    """Each is twice as long as the one before, with jitter, up to 30 s."""
    arrivals: list[float] = []

    def handler(_: httpx.Request) -> httpx.Response:
        arrivals.append(asyncio.get_running_loop().time())
        if arrivals[-1] < 300:
            raise httpx.ConnectError("no way")
        return volcengine_success()

    client = volcengine_client(http_client=mocked(handler), clock=loop_clock, quotas=NoQuotas())
    fill(journal.journal, stops(20), client)
    await run(journal, client)
    probes = [when for when in arrivals[INITIAL_CONCURRENCY:] if when < 300]
    assert len(probes) > 10
    gaps = [after - before for before, after in itertools.pairwise([0.0, *probes])]
    for number, gap in enumerate(gaps):
        longest = min(30.0, 0.5 * 2**number)
        assert longest / 2 - 0.01 <= gap <= longest + 0.01


async def test_one_call_probes_whether_an_outage_is_over(journal: InlineJournal) -> None:
    in_flight: list[tuple[float, int]] = []
    now = 0

    async def handler(_: httpx.Request) -> httpx.Response:
        nonlocal now
        now += 1
        in_flight.append((asyncio.get_running_loop().time(), now))
        await asyncio.sleep(0.2)
        now -= 1
        if asyncio.get_running_loop().time() < 60:
            raise httpx.ReadError("gone")
        return volcengine_success()

    http_client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    client = volcengine_client(http_client=http_client, clock=loop_clock, quotas=NoQuotas())
    fill(journal.journal, stops(40), client)
    await run(journal, client, retry=RetryPolicy(attempts=1000, base=0, cap=0))
    assert states(journal) == {JobState.DONE: 40}
    assert max(many for when, many in in_flight if when < 0.2) == INITIAL_CONCURRENCY
    probes = [many for when, many in in_flight if 0.4 < when < 60]
    assert len(probes) > 3
    assert set(probes) == {1}


async def test_a_job_that_is_due_soon_is_made_soon(journal: InlineJournal) -> None:
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), clock=loop_clock)
    fill(journal.journal, stops(1), client, delay=0.3)
    await run(journal, client)
    assert asyncio.get_running_loop().time() == pytest.approx(0.3, abs=0.01)


async def test_a_run_without_an_end_waits_for_jobs_due_much_later(journal: InlineJournal) -> None:
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), clock=loop_clock)
    fill(journal.journal, stops(1), client, delay=3000)
    runner = LocalRunner(journal, [client], clock=loop_clock, run_forever=True, wait_for_deferred=False)
    await runner.prepare()
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(2999)
    assert states(journal) == {JobState.PENDING: 1}
    await asyncio.sleep(1.1)
    assert states(journal) == {JobState.DONE: 1}
    assert not running.done()
    runner.stop()
    await running


@pytest.mark.no_coverage
async def test_only_calls_that_must_not_be_repeated_sync_the_disk(journal: InlineJournal) -> None:
    """That they were sent must survive a power failure; a stop can simply be repeated."""
    durable_requests: list[bool] = []

    class Watched(InlineJournal):
        def request(self, function: Any, *, durable: bool = False, then: Any = None) -> Any:
            durable_requests.append(durable)
            return super().request(function, durable=durable, then=then)

    def handler(request: httpx.Request) -> httpx.Response:
        return zego_answer(data={"TaskId": "t"})

    client = zego_client(http_client=mocked(handler), clock=loop_clock, quotas=NoQuotas())
    watched = Watched(journal.journal)
    fill(journal.journal, censor_stops(3), client)
    await run(watched, client)
    assert durable_requests
    assert not any(durable_requests)
    fill(
        journal.journal,
        [StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])],
        client,
    )
    await run(watched, client)
    assert any(durable_requests)


async def test_refused_keys_end_the_run_at_once(journal: InlineJournal) -> None:
    requests = 0

    def handler(_: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return volcengine_error("InvalidAccessKey", status=401)

    client = volcengine_client(http_client=mocked(handler), clock=loop_clock)
    fill(journal.journal, stops(300), client)
    with pytest.raises(AuthenticationError):
        await run(journal, client)
    assert requests < 20
    assert states(journal) == {JobState.PENDING: 300}
    assert {job.attempts for job in all_jobs(journal.journal)} == {0}


async def test_a_stale_timestamp_is_corrected_during_the_run(journal: InlineJournal) -> None:
    answers = itertools.chain(
        [volcengine_error("InvalidTimestamp", status=400)], itertools.repeat(volcengine_success())
    )
    client = volcengine_client(http_client=mocked(lambda _: next(answers)), clock=loop_clock)
    fill(journal.journal, stops(20), client)
    await run(journal, client)
    assert states(journal) == {JobState.DONE: 20}


async def test_a_journal_that_cannot_be_written_ends_the_run(journal: InlineJournal, vendors: Vendors) -> None:
    fill(journal.journal, stops(300), vendors.volcengine)
    calls = 0

    def take(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise JournalError("the disk is full")
        return Journal.take(journal.journal, *args, **options)

    journal.journal.take = take  # type: ignore[method-assign]
    with pytest.raises(JournalError, match="the disk is full"):
        await run(journal, vendors.volcengine)
    assert states(journal)[JobState.SENT] == 0


async def test_jobs_of_another_account_are_refused(journal: InlineJournal, vendors: Vendors) -> None:
    """A journal of the emulator is not run against the vendor."""
    fill(journal.journal, stops(1), vendors.volcengine)
    other = volcengine_client(http_client=vendors.http_client, base_url="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="StopWebcast at volcengine, of an account or address that none"):
        await run(journal, other)
    with pytest.raises(ConfigurationError, match="none of the clients has"):
        await run(journal, vendors.zego)
    assert vendors.requests == []


async def test_two_accounts_of_one_vendor(journal: InlineJournal, vendors: Vendors) -> None:
    other = zego_client(http_client=vendors.http_client, is_test=True, clock=loop_clock)
    fill(journal.journal, censor_stops(2), vendors.zego)
    fill(journal.journal, censor_stops(3), other)
    await run(journal, vendors.zego, other)
    assert not states(journal)[JobState.PENDING]
    assert sum("IsTest=true" in str(request.url) for request in vendors.requests) == 3


async def test_the_token_of_a_user_is_sent_and_redacted_in_events(journal: InlineJournal) -> None:
    bodies: list[bytes] = []

    def handler(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return volcengine_success()

    client = volcengine_client(http_client=mocked(handler), clock=loop_clock)
    ban = BanUserStream(app_id="a", room_id="r", user_id="u", token="a-user's-token")
    fill(journal.journal, [ban], client)
    (event,) = await run(journal, client)
    assert b"a-user's-token" in bodies[0]
    assert event.parameters["Token"] == "***"


@pytest.mark.no_coverage
async def test_the_number_of_calls_in_flight_is_bounded_without_a_quota(journal: InlineJournal) -> None:
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), quotas=NoQuotas(), clock=loop_clock)
    fill(journal.journal, stops(2000), client)
    assert await max_in_flight(journal, client) <= MAX_CONCURRENCY
    assert states(journal) == {JobState.DONE: 2000}


async def test_the_event_loop_runs_between_calls_that_never_wait(journal: InlineJournal) -> None:
    """Otherwise their records would be written late, and the program would do nothing else."""
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), quotas=NoQuotas(), clock=loop_clock)
    fill(journal.journal, stops(300), client)
    events: list[JobEvent] = []
    runner = LocalRunner(journal, [client], clock=loop_clock, on_event=events.append)
    await runner.prepare()
    running = asyncio.create_task(runner.run())
    seen = [0]
    while not running.done():
        await asyncio.sleep(0)
        seen.append(len(events))
    await running
    assert seen[-1] == 300
    assert max(after - before for before, after in itertools.pairwise(seen)) < 100


async def test_jobs_of_another_account_that_have_ended_are_ignored(journal: InlineJournal, vendors: Vendors) -> None:
    other = volcengine_client(http_client=vendors.http_client, base_url="http://127.0.0.1:1")
    fill(journal.journal, stops(1), other)
    with journal.journal.transaction():
        journal.journal.take(1, 1, due=NOW, now=NOW)
        journal.journal.record([record(1)])
    fill(journal.journal, stops(2), vendors.volcengine)
    await run(journal, vendors.volcengine)
    assert states(journal) == {JobState.DONE: 3}


async def test_a_fatal_error_of_one_lane_ends_the_run(journal: InlineJournal) -> None:
    """Nothing more is sent to the other vendor."""
    requests = 0

    def handler(_: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        return zego_answer()

    refused = mocked(lambda _: volcengine_error("InvalidAccessKey", status=401))
    clients = (
        volcengine_client(http_client=refused, clock=loop_clock),
        zego_client(http_client=mocked(handler), clock=loop_clock),
    )
    fill(journal.journal, [*stops(1), *censor_stops(3000)], *clients)
    with pytest.raises(AuthenticationError):
        await run(journal, *clients)
    assert requests < 200
    assert asyncio.get_running_loop().time() < 2


async def test_a_steady_clock_starts_at_the_time_of_the_machine() -> None:
    await asyncio.sleep(100)
    clock = SteadyClock(lambda: 1000.0)
    assert clock() == pytest.approx(1000)
    await asyncio.sleep(5)
    assert clock() == pytest.approx(1005)
