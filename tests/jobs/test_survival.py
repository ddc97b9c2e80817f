"""Jobs survive the exceptions of other jobs, the end of their program, steps of the clock, and outages."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import (
    NOW,
    loop_clock,
    mocked,
    volcengine_client,
    volcengine_error,
    volcengine_success,
    zego_answer,
    zego_client,
)
from tests.jobs.journals import InlineJournal, all_jobs, fill
from tests.jobs.test_jobs import START, Vendor, stop, volcengine
from volc_moderation import (
    APIError,
    JournalError,
    NoQuotas,
    Quota,
    QuotaUnavailable,
    RetryPolicy,
    TransportError,
    WindowQuotas,
)
from volc_moderation.jobs import Jobs, JobState
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.lane_runner import QUOTA_STORE_TIMEOUT, LaneRunner
from volc_moderation.jobs.runner import LocalRunner
from volc_moderation.quotas import QuotaKey
from volc_moderation.volcengine import ListDetectionTask, StartDetection, StopWebcast
from volc_moderation.zego import StartCensorAudioV2, StopCensorAudioV2

pytestmark = pytest.mark.slow


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stops.db"


@pytest.fixture
async def journal(tmp_path: Path) -> Any:
    journal = InlineJournal(Journal(tmp_path / "stops.db"))
    yield journal
    await journal.aclose()


async def run(journal: InlineJournal, *clients: Any, **options: Any) -> list[JobEvent]:
    events: list[JobEvent] = []
    runner = LocalRunner(journal, clients, clock=loop_clock, on_event=events.append, **options)
    await runner.prepare()
    await runner.run()
    return events


# Exceptions


def raising(rooms: dict[str, Exception]) -> Callable[[httpx.Request], httpx.Response]:
    """Return a transport of the user's that raises for some rooms."""

    def handler(request: httpx.Request) -> httpx.Response:
        error = rooms.get(json.loads(request.content)["RoomId"])
        if error is not None:
            raise error
        return volcengine_success()

    return handler


FOREIGN: list[tuple[Exception | BaseException, str]] = [
    (ValueError("https://host/?Signature=s3cret"), "ValueError"),
    (KeyError("RoomId"), "KeyError"),
    (RecursionError(), "RecursionError"),
    (asyncio.CancelledError(), "CancelledError"),
    (asyncio.InvalidStateError("odd"), "InvalidStateError"),
    (ExceptionGroup("many", [ValueError()]), "ExceptionGroup"),
]


@pytest.mark.parametrize(("error", "name"), FOREIGN)
async def test_an_exception_fails_only_its_own_job(
    path: Path, error: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Only its name is kept: its text may be a signed URL. The other jobs and the next program are not affected."""

    async def handler(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["RoomId"] == "room-1":
            raise error
        return volcengine_success()

    client = volcengine_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(handler)), quotas=NoQuotas())
    for _ in range(2):
        async with Jobs(path, clients=[client]) as jobs, asyncio.timeout(5):
            keys = [await jobs.submit(stop(number)) for number in range(3)]
            ended = [await jobs.wait(key) for key in keys]
        assert [job.state for job in ended] == [JobState.DONE, JobState.FAILED, JobState.DONE]
        assert (ended[1].code, ended[1].maybe_sent, ended[1].attempts) == (name, True, 1)
        assert (ended[1].message or "").startswith("the call ended in an unexpected exception, raised")
    assert f"a job of StopWebcast failed: {name}" in caplog.text
    assert "s3cret" not in caplog.text
    assert "s3cret" not in str(ended)


@pytest.mark.parametrize(
    "content",
    [
        b'{"ResponseMetadata": {"RequestId": "r\\ud800"}, "Result": "o\\udfffk"}',
        b'{"ResponseMetadata": {"Error": {"Code": "Odd\\ud800", "Message": "\\ud800", "CodeN": 1e999}}}',
        b'{"ResponseMetadata": {}, "Result": {"Message": "\\ud800", "EventData": ["\\ud800"]}}',
    ],
)
async def test_texts_that_cannot_be_stored_are_replaced(path: Path, content: bytes) -> None:
    async with Jobs(path, clients=[volcengine(lambda _: httpx.Response(200, content=content))]) as jobs:
        async with asyncio.timeout(5):
            job = await jobs.wait(await jobs.submit(stop()))
    assert job.state in {JobState.DONE, JobState.FAILED}
    assert "?" in f"{job.request_id}{job.code}{job.message}{job.result}" or job.state is JobState.DONE


@pytest.mark.parametrize(
    ("number", "code"),
    [(b"1%b" % (21 * b"0"), 10**21), (b"-9223372036854775809", -(2**63) - 1), (b"1e300", int(1e300))],
)
async def test_a_number_that_cannot_be_stored_becomes_a_text(path: Path, number: bytes, code: int) -> None:
    """It does not keep later outcomes from being stored."""
    answers = [httpx.Response(200, content=b'{"Code": ' + number + b', "Message": "odd"}'), zego_answer()]
    client = zego_client(http_client=mocked(lambda _: answers.pop(0)), quotas=NoQuotas())
    async with Jobs(path, clients=[client]) as jobs, asyncio.timeout(5):
        odd = await jobs.wait(await jobs.submit(StopCensorAudioV2(task_id="a")))
        assert (odd.state, odd.code, odd.message) == (JobState.FAILED, hex(code), "odd")
        assert (await jobs.wait(await jobs.submit(StopCensorAudioV2(task_id="b")))).state is JobState.DONE


@pytest.mark.parametrize(
    ("code", "kept"),
    [
        *((5, 5), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (2**63, hex(2**63)), (-(2**63) - 1, hex(-(2**63) - 1))),
        pytest.param(10**6000, hex(10**6000)[:2000], id="a number that Python refuses to write in decimal"),
        pytest.param(3000 * "x", 2000 * "x", id="a long text"),
        *(("Odd\ud800", "Odd?"), ([], "TypeError"), (None, None)),
    ],
)
async def test_a_malformed_error_of_this_package_fails_only_its_own_job(path: Path, code: Any, kept: object) -> None:
    """The user's transport raises it. The other jobs and the next program are not affected."""

    async def handler(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["RoomId"] == "room-1":
            raise APIError("odd\ud800", code=code, status=200, request_id="r\ud800")
        return volcengine_success()

    client = volcengine_client(http_client=httpx.AsyncClient(transport=httpx.MockTransport(handler)), quotas=NoQuotas())
    for _ in range(2):
        async with Jobs(path, clients=[client]) as jobs, asyncio.timeout(5):
            keys = [await jobs.submit(stop(number)) for number in range(3)]
            ended = [await jobs.wait(key) for key in keys]
        assert [job.state for job in ended] == [JobState.DONE, JobState.FAILED, JobState.DONE]
        assert ended[1].code == kept
        if kept != "TypeError":
            assert (ended[1].message, ended[1].request_id) == ("odd?", "r?")


async def test_waiters_are_released_when_the_runner_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cause may be a bug here, or the cancellation of the runner's task."""

    def broken(self: LaneRunner, *_: object) -> None:
        raise ArithmeticError("a bug")

    vendor = Vendor()
    jobs = Jobs(path, clients=[vendor.client], grace=0.1)
    async with jobs:
        key = await jobs.submit(stop())
        await vendor.wait_for_calls(1)
        waiting = [asyncio.create_task(jobs.wait(key)) for _ in range(2)]
        watching = asyncio.create_task(anext(aiter(jobs.events()), None))
        await asyncio.sleep(0.05)
        assert jobs._leadership._leader is not None
        jobs._leadership._leader.running.cancel()
        async with asyncio.timeout(5):
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == 2 * [JournalError]
        with pytest.raises(JournalError, match="no longer run in the background"):
            await jobs.submit(stop())
        assert not watching.done()
    assert await watching is None
    monkeypatch.setattr(LaneRunner, "_record", broken)
    with pytest.raises(ExceptionGroup):
        async with Jobs(path, clients=[volcengine()]) as again:
            async with asyncio.timeout(5):
                with pytest.raises(JournalError, match="no longer run"):
                    await again.wait(await again.submit(stop(1)))


# Answers that prove nothing


@pytest.mark.looptime
async def test_a_job_is_repeated_until_its_success_is_proven(journal: InlineJournal) -> None:
    """An answer that states no error and proves no success is an unknown outcome."""
    answers = [
        volcengine_success({"Message": ""}),
        volcengine_success(None),
        volcengine_success({}),
        volcengine_success(),
    ]
    client = volcengine_client(http_client=mocked(lambda _: answers.pop(0)), clock=loop_clock, quotas=NoQuotas())
    fill(journal.journal, [stop()], client)
    events = await run(journal, client)
    (job,) = all_jobs(journal.journal)
    assert (job.state, job.attempts, job.maybe_sent) == (JobState.DONE, 4, True)
    assert [event.code for event in events] == [*3 * ["DecodeError"], None]


@pytest.mark.looptime
@pytest.mark.parametrize("action", [stop(), ListDetectionTask(app_id="a", room_id="r")])
async def test_a_job_whose_success_is_never_proven_is_given_up(journal: InlineJournal, action: Any) -> None:
    client = volcengine_client(
        http_client=mocked(lambda _: volcengine_success({"EventData": []})), clock=loop_clock, quotas=NoQuotas()
    )
    fill(journal.journal, [action], client)
    await run(journal, client)
    (job,) = all_jobs(journal.journal)
    assert (job.state, job.attempts, job.code) == (JobState.GIVEN_UP, 5, "DecodeError")


@pytest.mark.looptime
async def test_a_start_whose_success_is_not_proven_is_not_repeated(journal: InlineJournal) -> None:
    client = zego_client(http_client=mocked(lambda _: zego_answer(data={})), clock=loop_clock, quotas=NoQuotas())
    fill(journal.journal, [START], client)
    await run(journal, client)
    (job,) = all_jobs(journal.journal)
    assert (job.state, job.attempts, job.code, job.maybe_sent) == (JobState.FAILED, 1, "DecodeError", True)


@pytest.mark.looptime
async def test_a_start_that_zego_wants_repeated_is_marked_as_maybe_sent(journal: InlineJournal) -> None:
    answers = [zego_answer(50006), zego_answer(data={"TaskId": "t"})]
    client = zego_client(http_client=mocked(lambda _: answers.pop(0)), clock=loop_clock)
    fill(journal.journal, [START], client)
    await run(journal, client)
    (job,) = all_jobs(journal.journal)
    assert (job.state, job.attempts, job.maybe_sent) == (JobState.DONE, 2, True)


@pytest.mark.looptime
async def test_the_start_for_a_user_fails_if_a_task_of_the_room_runs(journal: InlineJournal) -> None:
    """Even if an earlier answer was lost: the task may be for another medium, and exclude the user."""
    for user, expected in ((None, JobState.DONE), ("user", JobState.FAILED)):
        answers: list[Any] = [httpx.ReadTimeout(""), volcengine_error("InvalidParameter.TaskAlreadyExists")]

        def handler(_: httpx.Request, answers: list[Any] = answers) -> httpx.Response:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer  # type: ignore[no-any-return]

        client = volcengine_client(http_client=mocked(handler), clock=loop_clock, quotas=NoQuotas())
        fill(journal.journal, [StartDetection(app_id="a", room_id="r", user_id=user)], client)
        (*_, event) = await run(journal, client)
        assert event.state is expected


# Submitting


async def test_a_job_runs_if_its_submit_is_cancelled(path: Path) -> None:
    """For example because the browser disconnected while the job was being written."""
    vendor = Vendor()
    vendor.release.set()
    hold = threading.Event()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        assert jobs._journal is not None
        held = asyncio.create_task(jobs._journal.do(lambda _: hold.wait(5)))
        await asyncio.sleep(0.05)
        submitting = asyncio.create_task(jobs.submit(stop()))
        await asyncio.sleep(0.05)
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        hold.set()
        await held
        await vendor.wait_for_calls(1)


async def test_the_journal_is_released_if_opening_it_is_cancelled(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold, opened = threading.Event(), threading.Event()

    class Slow(Journal):
        def __init__(self, *args: Any, **options: Any) -> None:
            hold.wait(5)
            super().__init__(*args, **options)
            opened.set()

    monkeypatch.setattr("volc_moderation.jobs.jobs.Journal", Slow)
    entering = asyncio.create_task(Jobs(path, clients=[volcengine()]).__aenter__())
    await asyncio.sleep(0.05)
    entering.cancel()
    await asyncio.gather(entering, return_exceptions=True)
    hold.set()
    await asyncio.to_thread(opened.wait, 5)
    await asyncio.sleep(0.05)
    Journal(path).close()


# The end of a program


@pytest.mark.parametrize("grace", [0.0, 15.0])
async def test_a_start_that_waits_for_a_permit_does_not_count_as_sent(path: Path, grace: float) -> None:
    """A clean end gives it back, whether or not the end waits for calls in flight."""
    requests: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(json.loads(request.content)["RoomId"])
        return zego_answer(data={"TaskId": "t"})

    def client() -> Any:
        quotas = WindowQuotas({"StartCensorAudioV2": 1})
        return zego_client(http_client=mocked(handler), quotas=quotas)

    def start(number: int) -> StartCensorAudioV2:
        return StartCensorAudioV2(room_id=f"r-{number}", event_id="e", audio_language="en", risk_type_list=["BAN"])

    began = asyncio.get_running_loop().time()
    async with Jobs(path, clients=[client()], grace=grace) as jobs:
        keys = [await jobs.submit(start(number)) for number in range(5)]
        await jobs.wait(keys[0])
    assert asyncio.get_running_loop().time() - began < 3
    journal = Journal(path, access="read")
    left = {job.key: (job.state, job.attempts) for job in all_jobs(journal)}
    journal.close()
    ended = [key for key in keys if left[key] == (JobState.DONE, 1)]
    assert 1 <= len(ended) == len(requests) < 5
    assert [left[key] for key in keys if key not in ended] == (5 - len(ended)) * [(JobState.PENDING, 0)]


@pytest.mark.looptime
async def test_jobs_being_taken_when_a_run_is_cancelled_are_given_back(journal: InlineJournal) -> None:
    client = zego_client(http_client=mocked(lambda _: zego_answer()), clock=loop_clock)
    fill(journal.journal, [START], client)
    futures: list[asyncio.Future[Any]] = []
    request = journal.request

    def late(function: Any, **options: Any) -> Any:
        """Return the result a second after the commit."""
        done, future = request(function, **options), asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, lambda: future.set_result(done.result()))
        futures.append(future)
        return future

    runner = LocalRunner(journal, [client], clock=loop_clock)
    await runner.prepare()
    journal.request = late  # type: ignore[method-assign]
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(0.5)
    assert [job.state for job in all_jobs(journal.journal)] == [JobState.SENT]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert [(job.state, job.attempts) for job in all_jobs(journal.journal)] == [(JobState.PENDING, 0)]


@pytest.mark.looptime
async def test_stopping_does_not_wait_for_permits(journal: InlineJournal) -> None:
    client = volcengine_client(
        http_client=mocked(lambda _: volcengine_success()), clock=loop_clock, quotas=WindowQuotas({"StopWebcast": 1})
    )
    fill(journal.journal, [stop(number) for number in range(50)], client)
    runner = LocalRunner(journal, [client], clock=loop_clock)
    await runner.prepare()
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(2.5)
    runner.stop()
    await running
    assert asyncio.get_running_loop().time() < 2.6
    jobs = all_jobs(journal.journal)
    assert {job.state for job in jobs} == {JobState.DONE, JobState.PENDING}
    assert {(job.state, job.attempts) for job in jobs} == {(JobState.DONE, 1), (JobState.PENDING, 0)}


# Clocks


class SteppingClock:
    """The clock of the machine, which steps."""

    def __init__(self) -> None:
        self.offset = 0.0

    def __call__(self) -> float:
        return loop_clock() + self.offset


@pytest.mark.looptime
@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_a_step_of_the_clock_changes_no_due_time(journal: InlineJournal, step: float) -> None:
    """Neither that of a new job, nor that of a job that waits for 300 s."""
    clock = SteppingClock()
    answers = [zego_answer(50009), zego_answer(data={"TaskId": "t"})]
    zego = zego_client(http_client=mocked(lambda _: answers.pop(0)), clock=loop_clock)
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), clock=loop_clock)
    fill(journal.journal, [START], zego, client)
    runner = LocalRunner(journal, [zego, client], clock=clock, run_forever=True)
    await runner.prepare()
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(1)
    clock.offset = step
    lane = runner.clients.lane_of(stop())
    keys = fill(journal.journal, [stop()], zego, client, now=runner.steady_clock())
    runner.wake(journal.journal.lane_id(lane), lane)
    await asyncio.sleep(1)
    stopped = journal.journal.find(keys[0])
    assert stopped is not None
    assert stopped.state is JobState.DONE
    await asyncio.sleep(299)
    assert len(answers) == 0
    (start, _) = all_jobs(journal.journal)
    assert start.state is JobState.DONE
    assert start.ended == pytest.approx(NOW + step + 300, abs=2)  # the machine's time is recorded
    runner.stop()
    await running


@pytest.mark.looptime
@pytest.mark.parametrize(("step", "min_wait", "max_wait"), [(-3600.0, 299, 302), (3600.0, 0, 1)])
async def test_a_step_while_no_program_runs_costs_at_most_the_delay(
    journal: InlineJournal, step: float, min_wait: float, max_wait: float
) -> None:
    arrivals: list[float] = []

    def handler(_: httpx.Request) -> httpx.Response:
        arrivals.append(asyncio.get_running_loop().time())
        return zego_answer(50009) if len(arrivals) == 1 else zego_answer()

    client = zego_client(http_client=mocked(handler), clock=loop_clock)
    fill(journal.journal, [START], client)
    await run(journal, client, wait_for_deferred=False)
    clock = SteppingClock()
    clock.offset = step
    began = asyncio.get_running_loop().time()
    runner = LocalRunner(journal, [client], clock=clock)
    await runner.prepare()
    await runner.run()
    assert min_wait <= arrivals[-1] - began <= max_wait


# Outages


class UnavailableStore:
    """A store of quotas that cannot be reached until a given time, on the loop's clock."""

    def __init__(self, until: float) -> None:
        self.until = until
        self.requests = 0

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Any = "bulk") -> Any:
        self.requests += 1
        if asyncio.get_running_loop().time() < self.until:
            raise QuotaUnavailable("the store of quotas is unavailable")
        return await NoQuotas().acquire(key, quota)


@pytest.mark.looptime
async def test_a_run_waits_for_its_quota_store_for_a_limited_time(journal: InlineJournal) -> None:
    quotas = UnavailableStore(1e9)
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), clock=loop_clock, quotas=quotas)
    fill(journal.journal, [stop(number) for number in range(300)], client)
    with pytest.raises(QuotaUnavailable):
        await run(journal, client)
    assert QUOTA_STORE_TIMEOUT <= asyncio.get_running_loop().time() < 3 * QUOTA_STORE_TIMEOUT
    assert quotas.requests < 100
    assert {(job.state, job.attempts) for job in all_jobs(journal.journal)} == {(JobState.PENDING, 0)}


@pytest.mark.looptime
@pytest.mark.parametrize("run_forever", [False, True])
async def test_a_quota_store_that_comes_back_is_used(journal: InlineJournal, run_forever: bool) -> None:
    quotas = UnavailableStore(300 if run_forever else 20)
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), clock=loop_clock, quotas=quotas)
    fill(journal.journal, [stop(number) for number in range(30)], client)
    runner = LocalRunner(journal, [client], clock=loop_clock, run_forever=run_forever)
    await runner.prepare()
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(400)
    runner.stop()
    await running
    assert {job.state for job in all_jobs(journal.journal)} == {JobState.DONE}


@pytest.mark.looptime
async def test_an_untrusted_certificate_ends_the_run(journal: InlineJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    client = volcengine_client(http_client=mocked(lambda _: volcengine_success()), clock=loop_clock, quotas=NoQuotas())

    async def send(*_: object, **__: object) -> Any:
        raise TransportError("not trusted", maybe_sent=False, is_permanent=True)

    monkeypatch.setattr(client._state.transport, "send", send)
    fill(journal.journal, [stop(number) for number in range(300)], client)
    with pytest.raises(TransportError, match="not trusted"):
        await run(journal, client)
    assert asyncio.get_running_loop().time() < 1
    assert {(job.state, job.attempts) for job in all_jobs(journal.journal)} == {(JobState.PENDING, 0)}


async def test_an_outage_is_logged_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Otherwise jobs of a client that was closed by mistake would wait forever unnoticed."""
    caplog.set_level(logging.INFO, "volc_moderation")
    client = volcengine()
    async with Jobs(path, clients=[client], grace=0) as jobs:
        await client.aclose()
        await jobs.submit(stop())
        async with asyncio.timeout(20):
            while "jobs wait" not in caplog.text:
                await asyncio.sleep(0.05)
    messages = [record.getMessage() for record in caplog.records if "jobs wait" in record.getMessage()]
    assert messages == ["StopWebcast: jobs wait, and are retried periodically: the client is closed"]


# Lanes


@pytest.mark.no_coverage
@pytest.mark.looptime
async def test_a_lane_is_refilled_while_its_calls_run(journal: InlineJournal) -> None:
    """A slow call delays no other call, and the lane is never empty meanwhile."""
    in_flight, requests = 0, 0

    async def handler(_: httpx.Request) -> httpx.Response:
        nonlocal in_flight, requests
        in_flight, requests = in_flight + 1, requests + 1
        await asyncio.sleep(60 if requests == 1 else 0.1)
        in_flight -= 1
        return volcengine_success()

    client = volcengine_client(
        http_client=httpx.AsyncClient(transport=httpx.MockTransport(handler)),
        clock=loop_clock,
        quotas=NoQuotas(),
        timeout=100,
    )
    fill(journal.journal, [stop(number) for number in range(1000)], client)
    running = asyncio.create_task(run(journal, client))
    samples: list[int] = []  # calls in flight, between the moments when calls end
    await asyncio.sleep(0.05)
    while requests < 900:
        samples.append(in_flight)
        await asyncio.sleep(0.1)
    assert len(samples) > 3
    assert min(samples) >= 8
    assert asyncio.get_running_loop().time() < 60
    await running
    assert asyncio.get_running_loop().time() < 61
    assert {job.state for job in all_jobs(journal.journal)} == {JobState.DONE}


@pytest.mark.looptime
async def test_deferred_jobs_are_reported_per_lane(journal: InlineJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each lane reports how many jobs are deferred, and until when; the run ends after the last one."""
    monkeypatch.setattr("volc_moderation.jobs.attempt.random.random", lambda: 0.9)  # 0 is no wait

    def handler(request: httpx.Request) -> httpx.Response:
        return (
            zego_answer(50009) if "SignatureNonce" in str(request.url) else volcengine_error("ServiceUnavailableTemp")
        )

    policy = RetryPolicy(attempts=2, base=100.0, cap=100.0)
    clients = [
        zego_client(http_client=mocked(handler), clock=loop_clock, quotas=NoQuotas(), retry=policy),
        volcengine_client(http_client=mocked(handler), clock=loop_clock, quotas=NoQuotas(), retry=policy),
    ]
    fill(journal.journal, [START, StopWebcast(app_id="a", room_id="r", task_id="t")], *clients)
    runner = LocalRunner(journal, clients, clock=loop_clock)
    await runner.prepare()
    running = asyncio.create_task(runner.run())
    await asyncio.sleep(0.5)
    deferred = await runner.deferred()
    assert {lane.action: jobs.count for lane, jobs in deferred.items()} == {"StartCensorAudioV2": 1, "StopWebcast": 1}
    dues = {lane.action: jobs.first_due for lane, jobs in deferred.items()}
    assert dues["StartCensorAudioV2"] == pytest.approx(NOW + 300, abs=1)
    assert NOW <= dues["StopWebcast"] <= NOW + 101
    assert journal.journal.summary().next_due == min(dues.values())
    await running
    assert {job.state for job in all_jobs(journal.journal)} == {JobState.GIVEN_UP}
