"""The handle of a job: a key, and an awaitable. With a real journal; at the end, with a real Valkey."""

import asyncio
import copy
import json
import pickle
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.doubles import mocked, volcengine_client, volcengine_error, volcengine_success, zego_answer, zego_client
from tests.jobs.test_distributed import working
from tests.jobs.test_jobs import START, Vendor, stop, volcengine
from volc_moderation import ConfigurationError, JournalError, NoQuotas
from volc_moderation.jobs import Jobs, JobState
from volc_moderation.jobs.distributed import DistributedJobs
from volc_moderation.jobs.journal import Journal
from volc_moderation.volcengine import Acknowledgement, LimitTokenPrivilege, StopWebcast
from volc_moderation.zego import CensorTask


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stops.db"


def zego() -> Any:
    return zego_client(http_client=mocked(lambda _: zego_answer(data={"TaskId": "t-1"})), quotas=NoQuotas())


# Waiting


async def test_awaiting_a_handle_yields_the_job_with_its_result(path: Path) -> None:
    async with Jobs(path, clients=[volcengine(), zego()]) as jobs:
        stopping, starting = await jobs.submit(stop()), await jobs.submit(START)
        stopped, started = await stopping, await starting.wait()
        assert (stopped.key, stopped.state, stopped.result) == (stopping, "done", Acknowledgement(message="success"))
        assert started.result == CensorTask(task_id="t-1")
        assert await starting == await starting.status() == started == await jobs.wait(str(starting))
        assert await jobs.status("none") is None


async def test_a_job_shows_no_token_of_a_user(path: Path) -> None:
    limit = LimitTokenPrivilege(app_id="a", room_id="r", user_id="u", token="s3cret", forbidden_interval=60)
    async with Jobs(path, clients=[volcengine()]) as jobs:
        job = await jobs.submit(limit, delay=60)
        status = await job.status()
    assert status is not None
    assert status.parameters["Token"] == "s3cret"
    assert "s3cret" not in repr(status)


async def test_the_json_of_the_result_stays_in_the_journal(path: Path) -> None:
    async with Jobs(path, clients=[zego()]) as jobs:
        key = (await (await jobs.submit(START))).key
    journal = Journal(path, access="read")
    stored = journal.find(key)
    journal.close()
    assert stored is not None
    assert stored.result == {"TaskId": "t-1"}


@pytest.mark.parametrize(
    ("code", "state", "was_gone"),
    [
        ("InvalidParameter", JobState.FAILED, False),
        ("InvalidParameter.ErrorActiveTaskNotFound", JobState.DONE, True),
    ],
)
async def test_a_job_that_failed_or_was_gone_has_no_result(
    path: Path, code: str, state: JobState, was_gone: bool
) -> None:
    async with Jobs(path, clients=[volcengine(lambda _: volcengine_error(code))]) as jobs:
        job = await (await jobs.submit(stop()))
        assert (job.state, job.was_gone, job.result) == (state, was_gone, None)


async def test_a_job_that_runs_again_has_no_result_until_it_is_done(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        handle = await jobs.submit(stop())
        await vendor.wait_for_calls(1)
        again = await jobs.submit(stop(), delay=60)
        vendor.release.set()
        async with asyncio.timeout(5):
            while (job := await handle.status()) is None or job.state is not JobState.PENDING:
                await asyncio.sleep(0.005)
        assert again == handle
        assert job.result is None


async def test_any_number_of_tasks_wait_for_a_handle(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        handles = [await jobs.submit(stop(number)) for number in range(3)]
        waiting = asyncio.gather(*handles, *handles, *(handle.wait() for handle in handles))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handles[0], 0.02)
        vendor.release.set()
        assert Counter(job.key for job in await waiting) == Counter(3 * handles)
        assert await asyncio.wait_for(handles[0].wait(), 3) == await handles[0]
        assert not jobs._listeners._waiters


async def test_a_task_that_is_cancelled_waits_no_more(path: Path) -> None:
    """And the job runs."""
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as leader, Jobs(path, clients=[volcengine()]) as standby:
        for jobs in (leader, standby):
            handle = await jobs.submit(stop())
            tasks = [asyncio.create_task(handle.wait()) for _ in range(3)]
            await asyncio.sleep(0.02)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.02)
            assert not jobs._listeners._waiters
            assert not leader._listeners._waiters
        vendor.release.set()
        assert (await handle).state is JobState.DONE


async def test_a_job_that_is_submitted_again_wakes_those_who_wait_when_it_has_run_again(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client]) as jobs:
        handle = await jobs.submit(stop())
        waiting = asyncio.ensure_future(handle)
        await vendor.wait_for_calls(1)
        again = await jobs.submit(stop())
        vendor.release.set()
        assert (await waiting).state is (await again).state is JobState.DONE
        assert vendor.calls == 2


# Handles that are kept


async def test_a_handle_of_closed_jobs_says_so(path: Path) -> None:
    vendor = Vendor()
    async with Jobs(path, clients=[vendor.client], grace=0.01) as jobs:
        handle = await jobs.submit(stop())
        waiting = asyncio.ensure_future(handle)
        await vendor.wait_for_calls(1)
    for closed in (waiting, handle, handle.wait(), handle.status()):
        with pytest.raises(JournalError, match="the jobs were closed; those that have not ended run in another"):
            await closed
    with pytest.raises(JournalError, match="the jobs were closed"):
        await asyncio.to_thread(lambda: asyncio.run(handle.wait()))
    async with Jobs(path, clients=[volcengine()]) as others:
        assert (await others.wait(handle)).result == Acknowledgement(message="success")


async def test_a_handle_belongs_to_one_event_loop(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        handle = await jobs.submit(stop())
        with pytest.raises(ConfigurationError, match="belong to another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(handle.wait()))
        await handle


async def test_a_job_that_was_deleted_is_missing(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()], clock=lambda: 1000.0) as jobs:
        handle = await jobs.submit(stop())
        await handle
        await jobs._check_open().do(lambda journal: journal.delete_done(before=2000.0))
        assert await handle.status() is None
        with pytest.raises(KeyError, match=handle):
            await handle


# As a key


async def test_a_handle_is_its_key(path: Path) -> None:
    async with Jobs(path, clients=[volcengine()]) as jobs:
        handle, same = await jobs.submit(stop()), await jobs.submit(stop())
        key = (await handle).key
        assert type(key) is type(str(handle)) is type(f"{handle}") is str
        assert handle == same == key == str(handle) == f"{handle}"
        assert len({handle, same, key}) == len({handle: 1} | {key: 2}) == 1
        assert json.loads(json.dumps({handle: [handle]})) == {key: [key]}
        with sqlite3.connect(":memory:") as database:
            assert database.execute("SELECT typeof(?1), ?1", (handle,)).fetchone() == ("text", key)
        database.close()


async def test_a_copy_of_a_handle_is_the_plain_key(path: Path) -> None:
    """It may be in another process."""
    async with Jobs(path, clients=[volcengine()]) as jobs:
        handle = await jobs.submit(stop())
        for copied in (copy.copy(handle), copy.deepcopy([handle])[0], pickle.loads(pickle.dumps(handle))):  # noqa: S301
            assert (type(copied), copied) == (str, handle)
        assert (await jobs.wait(pickle.loads(pickle.dumps(handle)))).key == handle  # noqa: S301


# Results that cannot be read


@pytest.mark.parametrize("result", ['{"TaskId": 7}', "{}", "[1]", '"t"'])
async def test_a_result_of_another_version_is_missing(
    path: Path, caplog: pytest.LogCaptureFixture, result: str
) -> None:
    async with Jobs(path, clients=[zego()]) as jobs:
        handle = await jobs.submit(START)
        await handle
        await jobs._check_open().do(lambda journal: journal._db.execute("UPDATE job SET result = ?", (result,)))
        job = await handle
        assert (job.state, job.request_id is None, job.result) == (JobState.DONE, False, None)
        assert f"the result of job {handle} cannot be read: Result" in caplog.text


async def test_a_result_of_an_action_that_no_client_makes_is_missing(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Jobs(path, clients=[volcengine(), zego()]) as leader, Jobs(path, clients=[volcengine()]) as standby:
        handle = await leader.submit(START)
        job = await standby.wait(handle)
        assert (job.state, job.result) == (JobState.DONE, None)
        assert f"the result of job {handle} cannot be read: none of the clients makes StartCensorAudioV2" in caplog.text
        assert (await handle).result == CensorTask(task_id="t-1")


async def test_the_result_of_a_job_of_another_account_can_be_read(path: Path) -> None:
    other = volcengine_client(http_client=mocked(lambda _: volcengine_success()), account="other", quotas=NoQuotas())
    async with Jobs(path, clients=[volcengine(), other]) as leader, Jobs(path, clients=[volcengine()]) as standby:
        handle = await leader.submit(stop(), client=other)
        assert (await standby.wait(handle)).result == Acknowledgement(message="success")


# What an action leaves to its client


class Recorder:
    """A vendor that records the calls."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []

    def client(self, **options: Any) -> Any:
        return volcengine_client(http_client=mocked(self._answer), quotas=NoQuotas(), **options)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.url.params["Version"], json.loads(request.content)))
        return volcengine_success()


PARTIAL = StopWebcast(room_id="room-0", task_id="wall")
SENT = ("2023-11-01", {"AppId": "app", "RoomId": "room-0", "TaskId": "wall"})


async def test_the_client_of_the_process_that_submits_completes_an_action(path: Path) -> None:
    recorder = Recorder()
    leading, standing = recorder.client(app_id="app", version="2023-11-01"), recorder.client(app_id="other")
    async with Jobs(path, clients=[leading]) as leader, Jobs(path, clients=[standing]) as standby:
        handle = await leader.submit(PARTIAL)
        await handle
        assert recorder.requests == [SENT]
        assert handle == await leader.submit(stop(), delay=60)

        await (await standby.submit(PARTIAL))
        assert recorder.requests[1:] == [("2020-12-01", {**SENT[1], "AppId": "other"})]


# Distributed


@pytest.mark.usefixtures("redis")
async def test_a_handle_of_distributed_jobs_yields_the_job_with_its_result(valkey: str) -> None:
    async with working(valkey, volcengine(), zego()) as jobs:
        stopping, starting = await jobs.submit(stop()), await jobs.submit(START)
        ended = await asyncio.gather(stopping, starting, stopping.wait())
        assert [job.result for job in ended] == [
            *(Acknowledgement(message="success"), CensorTask(task_id="t-1"), Acknowledgement(message="success"))
        ]
        assert await jobs.wait(str(starting)) == await starting.status() == await starting
        assert not jobs._waiters
        async with DistributedJobs(valkey, clients=[volcengine()]) as others:
            assert (await others.wait(starting)).result is None
            assert (await others.wait(stopping)).result == Acknowledgement(message="success")


@pytest.mark.usefixtures("redis")
async def test_distributed_actions_are_completed(valkey: str) -> None:
    recorder = Recorder()
    client = recorder.client(app_id="app", version="2023-11-01")
    async with (
        working(valkey, recorder.client(app_id="another")),
        DistributedJobs(valkey, clients=[client]) as producer,
    ):
        await (await producer.submit(PARTIAL))
    assert recorder.requests == [SENT]


@pytest.mark.usefixtures("redis")
async def test_a_handle_of_closed_distributed_jobs_says_so(valkey: str) -> None:
    async with DistributedJobs(valkey, clients=[volcengine()]) as jobs:
        handle = await jobs.submit(stop())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle, 0.02)
        assert not jobs._waiters
        waiting = asyncio.ensure_future(handle)
        await asyncio.sleep(0.02)
    for closed in (waiting, handle, handle.wait(), handle.status()):
        with pytest.raises(JournalError, match="the jobs were closed; the workers go on"):
            await closed
