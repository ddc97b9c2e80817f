"""Each attempt of a job has a span with a link to the one that has submitted the job, wherever the job has been."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode
from redis import Redis

from tests.doubles import mocked, sequential_handler, volcengine_client, volcengine_error, volcengine_success
from tests.telemetry.conftest import Exported, attributes
from volc_moderation import NoQuotas, RetryPolicy, telemetry
from volc_moderation.jobs import Jobs, JobState
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.follower import Follower
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.job_event import JobEvent, dump_event, load_event
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.telemetry.instruments import ATTEMPTS, CODE, JOB_KEY, JOB_STATE, Metric
from volc_moderation.volcengine import StopWebcast

pytestmark = pytest.mark.slow

JOB = "job StopWebcast"
STOP = StopWebcast(app_id="app", room_id="room", task_id="wall")


def client(handler: Callable[[httpx.Request], httpx.Response] = lambda _: volcengine_success()) -> Any:
    return volcengine_client(http_client=mocked(handler), quotas=NoQuotas(), retry=RetryPolicy(attempts=2, base=0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stops.db"


def assert_linked(exported: Exported) -> list[ReadableSpan]:
    """Return the spans of attempts of jobs; each has a trace of its own, and a link to the handler."""
    handler = exported.span("handler")
    spans = [span for span in exported.spans if span.name == JOB]
    for span in spans:
        (link,) = span.links
        assert (link.context.trace_id, link.context.span_id) == (handler.context.trace_id, handler.context.span_id)
        assert span.parent is None
        assert span.context.trace_id != handler.context.trace_id
    return spans


async def test_a_job_of_a_journal_has_a_link_to_its_submitter(exported: Exported, path: Path) -> None:
    handler, _ = sequential_handler(volcengine_error("InternalError", status=500), volcengine_success())
    async with Jobs(path, clients=[client(handler)]) as jobs:
        with exported.tracer_provider.get_tracer("app").start_as_current_span("handler"):
            handle = await jobs.submit(STOP)
        await handle
    first, second = assert_linked(exported)
    assert first.kind is SpanKind.CONSUMER
    assert [attributes(span)[ATTEMPTS] for span in (first, second)] == [1, 2]
    assert [attributes(span)[JOB_STATE] for span in (first, second)] == ["pending", "done"]
    assert [attributes(span).get(CODE) for span in (first, second)] == ["InternalError", None]
    assert [span.status.status_code for span in (first, second)] == [StatusCode.ERROR, StatusCode.UNSET]
    assert attributes(second)[JOB_KEY] == handle
    calls = [span for span in exported.spans if span.name == "volcengine StopWebcast"]
    assert [call.parent and call.parent.span_id for call in calls] == [first.context.span_id, second.context.span_id]
    assert exported.values(Metric.JOBS_RUN) == {
        ("volcengine", "StopWebcast", "pending"): 1,
        ("volcengine", "StopWebcast", "done"): 1,
    }


async def test_a_job_has_its_link_after_a_restart(exported: Exported, path: Path) -> None:
    async with Jobs(path, clients=[client()]) as jobs:
        with exported.tracer_provider.get_tracer("app").start_as_current_span("handler"):
            handle = await jobs.submit(STOP, delay=0.2)
    async with Jobs(path, clients=[client()]) as jobs:
        await jobs.wait(handle)
    assert len(assert_linked(exported)) == 1


async def test_a_job_that_is_submitted_again_has_a_link_to_the_last_submitter(exported: Exported, path: Path) -> None:
    tracer = exported.tracer_provider.get_tracer("app")
    async with Jobs(path, clients=[client()]) as jobs:
        for name in ("first", "handler"):
            with tracer.start_as_current_span(name):
                handle = await jobs.submit(STOP, delay=0.1)
        await handle
        assert len(assert_linked(exported)) == 1
        await (await jobs.submit(STOP))
    assert [len(span.links) for span in exported.spans if span.name == JOB] == [1, 0]


async def test_without_a_span_or_telemetry_a_job_has_no_link(
    exported: Exported, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Jobs(path, clients=[client()]) as jobs:
        await (await jobs.submit(STOP))
        assert not exported.span(JOB).links
        monkeypatch.setattr(telemetry, "active", lambda: None)
        with exported.tracer_provider.get_tracer("app").start_as_current_span("handler"):
            await (await jobs.submit(STOP))
    with contextlib.closing(Journal(path, access="read")) as journal:
        assert journal._query("SELECT traceparent FROM job") == [(None,)]


@contextlib.asynccontextmanager
async def working(address: str) -> AsyncIterator[DistributedJobs]:
    """Run a worker, and bring the jobs of a producer."""
    async with DistributedJobs(address, clients=[client()]) as worker:
        task = asyncio.create_task(worker.work())
        try:
            async with DistributedJobs(address, clients=[client()]) as jobs:
                yield jobs
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_a_job_of_a_queue_has_a_link_to_its_submitter(exported: Exported, valkey: str, redis: Redis) -> None:
    async with working(valkey) as jobs:
        with exported.tracer_provider.get_tracer("app").start_as_current_span("handler"):
            handle = await jobs.submit(STOP)
        assert (await handle).state is JobState.DONE
    assert len(assert_linked(exported)) == 1


@pytest.mark.parametrize("stored", [None, b"", b"nobody", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01"])
async def test_a_job_of_a_queue_runs_whatever_its_submitter_is_said_to_be(
    exported: Exported, valkey: str, redis: Redis, stored: bytes | None
) -> None:
    """Earlier versions store none, and other programs may write anything."""
    async with DistributedJobs(valkey, clients=[client()]) as jobs:
        key = await jobs.submit(STOP)
    name = f"volc_moderation:{{moderation}}:job:{key}"
    assert not redis.hexists(name, "traceparent")
    if stored is not None:
        redis.hset(name, "traceparent", stored)
    async with working(valkey) as jobs:
        assert (await jobs.wait(key)).state is JobState.DONE
    assert not exported.span(JOB).links


async def test_a_job_that_is_handed_over_keeps_its_link(
    exported: Exported, valkey: str, redis: Redis, path: Path
) -> None:
    async with Jobs(path, clients=[client()]) as jobs:
        with exported.tracer_provider.get_tracer("app").start_as_current_span("handler"):
            await jobs.submit(STOP, delay=0.1)
    thread = JournalThread(Journal(path))
    async with working(valkey) as distributed:
        follower = Follower(thread, distributed)
        await follower.prepare()
        await follower.run()
    await thread.aclose()
    assert len(assert_linked(exported)) == 1


def test_events_for_other_processes_are_as_in_earlier_versions() -> None:
    lane, job = Lane("volcengine", "a", "StopWebcast"), DueJob(1, "k", "{}", 1, 0, None, None, "00-trace")
    dumped = dump_event(JobEvent(lane, 1, None, StopWebcast, job, Outcome(JobState.DONE)))
    assert dumped[3] == [1, "k", "{}", 1, 0, None, None]
    assert load_event(dumped, lambda _: StopWebcast).key == "k"
