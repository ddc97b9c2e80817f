"""One attempt of a job: the call, and its outcome."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from volc_moderation import telemetry
from volc_moderation.action import Action
from volc_moderation.call_options import NO_LIMIT
from volc_moderation.client import Client
from volc_moderation.errors import JournalError, ModerationError
from volc_moderation.jobs.clients import load_action
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Outcome, after_error, after_exception, after_reply
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

#: Of the client: the runner repeats calls, not the client.
_ONE_ATTEMPT = RetryPolicy(attempts=1)


class AttemptLost(Exception):  # noqa: N818 - not an error, and it does not leave the lane
    """Nothing was sent: another worker has the job, or may have it."""


class Attempt(NamedTuple):
    """An attempt that has ended; times are in seconds."""

    outcome: Outcome
    error: ModerationError | None
    round_trip: float
    #: For the quota.
    waited: float


class Departure:
    """Whether the request of a task's current attempt has left; also true while the task makes no attempt."""

    __slots__ = ("has_left",)

    def __init__(self) -> None:
        self.has_left = True

    def note(self) -> None:
        """Note that the request leaves."""
        self.has_left = True


async def attempt(
    job: DueJob,
    lane: Lane,
    *,
    client: Client,
    action_type: type[Action[Any]],
    policy: RetryPolicy | None,
    priority: Priority,
    departure: Departure,
    before_send: Callable[[], Awaitable[None]] | None = None,
) -> Attempt:
    """Make the call of a job, and return its outcome. Every exception of the call is an outcome of its job.

    ``before_send`` is passed to ``Client.call``. Raises ``AttemptLost`` if ``before_send`` raises it, or raises
    ``JournalError``: then nothing was sent.
    """
    recorder = telemetry.active()
    with (
        contextlib.nullcontext()
        if recorder is None
        else recorder.begin_job(
            vendor=lane.vendor,
            action=lane.action,
            account=lane.account,
            key=job.key,
            attempts=job.attempts,
            traceparent=job.traceparent,
        ) as trace
    ):
        ended = await _call(
            job,
            lane,
            client=client,
            action_type=action_type,
            policy=policy,
            priority=priority,
            departure=departure,
            before_send=before_send,
        )
        if trace is not None:
            trace.ended(ended.outcome.state.value, ended.outcome.code)
        return ended


async def _call(
    job: DueJob,
    lane: Lane,
    *,
    client: Client,
    action_type: type[Action[Any]],
    policy: RetryPolicy | None,
    priority: Priority,
    departure: Departure,
    before_send: Callable[[], Awaitable[None]] | None,
) -> Attempt:
    loop = asyncio.get_running_loop()
    start = loop.time()
    action: Action[Any] | None = None
    departure.has_left = False
    try:
        try:
            action = load_action(job.parameters, action_type, lane)
            reply = await client.call(
                action,
                deadline=NO_LIMIT,
                priority=priority,
                retry=_ONE_ATTEMPT,
                before_send=before_send,
                on_send=departure.note,
            )
        except JournalError as error:  # the call could not be recorded before it was sent, and was not sent
            raise AttemptLost from error
        except ModerationError as error:
            if action is None:  # the stored parameters break a rule of this version
                outcome = Outcome(JobState.FAILED, code=type(error).__name__, message=error.message)
            else:
                outcome = after_error(
                    error,
                    action,
                    attempts=job.attempts,
                    maybe_sent=bool(job.maybe_sent),
                    last_code=job.code,
                    policy=policy or client.retry,
                    draw=random.random(),  # noqa: S311 - jitter
                )
            return Attempt(outcome, error, loop.time() - start - error.waited, error.waited)
        waited = reply.waited
        return Attempt(after_reply(reply, maybe_sent=bool(job.maybe_sent)), None, loop.time() - start - waited, waited)
    except AttemptLost:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody cancelled this task: something inside the call raised it.
        exception: BaseException = error
    except Exception as error:  # noqa: BLE001 - raised by the user's transport or store, or by a bug here
        exception = error
    outcome = after_exception(exception, maybe_sent=bool(job.maybe_sent) or departure.has_left)
    return Attempt(outcome, None, loop.time() - start, 0.0)
