"""One attempt of a job: its outcome and its times, and the event of it."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.doubles import loop_clock, volcengine_client, volcengine_success, zego_answer, zego_client
from volc_moderation.client import Client
from volc_moderation.jobs.attempt import Attempt, Departure, attempt
from volc_moderation.jobs.clients import Clients, dump_action
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.job_event import JobEvent
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.quotas import NoQuotas, Priority, Quota, QuotaKey
from volc_moderation.volcengine import LimitTokenPrivilege, StopWebcast
from volc_moderation.zego import StartCensorAudioV2

STOP = StopWebcast(app_id="a", room_id="r", task_id="t")
START = StartCensorAudioV2(room_id="r", event_id="e", audio_language="en", risk_type_list=["BAN"])


class SlowQuotas(NoQuotas):
    """A store that grants a permit after half a second, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    async def acquire(self, key: QuotaKey, quota: Quota, priority: Priority = "interactive") -> Any:
        await asyncio.sleep(0.5)
        if self.error is not None:
            raise self.error
        return await super().acquire(key, quota, priority)


def answering(answer: Callable[[], Any]) -> httpx.AsyncClient:
    """Return an HTTP client that is answered after 0.3 s."""

    async def handler(_: httpx.Request) -> Any:
        await asyncio.sleep(0.3)
        return answer()

    return httpx.AsyncClient(transport=httpx.MockTransport(handler))


async def attempt_once(client: Client, action: Any, *, maybe_sent: bool = False) -> Attempt:
    return await attempt(
        DueJob(1, "key", dump_action(action), 1, maybe_sent, None, None),
        Clients([client]).lane_of(action),
        client=client,
        action_type=type(action),
        policy=None,
        priority="bulk",
        departure=Departure(),
    )


@pytest.mark.looptime
@pytest.mark.parametrize(
    ("answer", "state"), [(zego_answer(data={"TaskId": "t"}), JobState.DONE), (zego_answer(50009), JobState.PENDING)]
)
async def test_the_wait_and_the_round_trip_are_measured_separately(answer: httpx.Response, state: JobState) -> None:
    client = zego_client(http_client=answering(lambda: answer), clock=loop_clock, quotas=SlowQuotas())
    await asyncio.sleep(7)
    ended = await attempt_once(client, START)
    assert ended.outcome.state is state
    assert ended.waited == pytest.approx(0.5, abs=0.01)
    assert ended.round_trip == pytest.approx(0.3, abs=0.01)


@pytest.mark.looptime
@pytest.mark.parametrize(("earlier", "is_sent"), [(False, False), (False, True), (True, False)])
async def test_after_a_foreign_exception_it_is_known_whether_a_request_may_have_left(
    earlier: bool, is_sent: bool
) -> None:
    def fail() -> None:
        raise KeyError("of a transport of the user's")

    store = SlowQuotas() if is_sent else SlowQuotas(KeyError("of a store of the user's"))
    client = zego_client(http_client=answering(fail), clock=loop_clock, quotas=store)
    await asyncio.sleep(7)
    ended = await attempt_once(client, START, maybe_sent=earlier)
    assert (ended.outcome.state, ended.outcome.code, ended.error) == (JobState.FAILED, "KeyError", None)
    assert ended.outcome.maybe_sent is (earlier or is_sent)
    assert ended.round_trip == pytest.approx(0.8 if is_sent else 0.5, abs=0.01)
    assert ended.waited == 0


def test_an_event_describes_its_job() -> None:
    lane = Clients([volcengine_client(http_client=answering(volcengine_success))]).lane_of(STOP)
    job = DueJob(1, "key", dump_action(STOP), 2, 0, None, 7)
    outcome = Outcome(
        JobState.FAILED, maybe_sent=True, code="No", message="no", advice="ask", request_id="r-1", result='{"a":1}'
    )
    event = JobEvent(lane, 2, None, StopWebcast, job, outcome)
    assert (event.key, event.line, event.action, event.state) == ("key", 7, "StopWebcast", JobState.FAILED)
    assert (event.maybe_sent, event.was_gone, event.code, event.message) == (True, False, "No", "no")
    assert (event.advice, event.request_id, event.result) == ("ask", "r-1", {"a": 1})
    assert event.parameters == {"AppId": "a", "RoomId": "r", "TaskId": "t"}
    assert JobEvent(lane, 2, None, StopWebcast, job._replace(parameters="[]"), outcome).parameters == {}
    assert JobEvent(lane, 2, None, StopWebcast, job, Outcome(JobState.DONE)).result is None


def test_an_event_redacts_the_token_of_a_user() -> None:
    action = LimitTokenPrivilege(app_id="a", room_id="r", user_id="u", token="s3cret", forbidden_interval=60)
    lane = Clients([volcengine_client(http_client=answering(volcengine_success))]).lane_of(action)
    event = JobEvent(
        lane,
        1,
        None,
        LimitTokenPrivilege,
        DueJob(1, "k", dump_action(action), 1, 0, None, None),
        Outcome(JobState.DONE),
    )
    assert "s3cret" not in f"{event.parameters}"
    assert "***" in f"{event.parameters}"
