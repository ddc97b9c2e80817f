"""One attempt of a job: the call, and what becomes of the job after it."""

import asyncio
import random
from typing import Any, NamedTuple

from volc_moderation.action import Action
from volc_moderation.client import FOR_EVER, Client
from volc_moderation.errors import ModerationError
from volc_moderation.jobs.clients import read
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.outcome import Outcome, after_error, after_reply
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

#: The journal, or the engine, repeats; not the client.
_ONCE = RetryPolicy(attempts=1)


class Attempt(NamedTuple):
    """An attempt that has ended; times are in seconds."""

    outcome: Outcome
    error: ModerationError | None
    round_trip: float
    #: For the quota.
    waited: float


async def attempt(
    parameters: str,
    lane: Lane,
    *,
    client: Client,
    made: type[Action[Any]],
    attempts: int,
    maybe_sent: bool,
    last_code: str | int | None,
    policy: RetryPolicy | None,
    priority: Priority,
) -> Attempt:
    """Make a call that was written down. ``attempts`` counts this one; the rest is what is known of the one before."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    action: Action[Any] | None = None
    try:
        action = read(parameters, made, lane)
        reply = await client.call(action, deadline=FOR_EVER, priority=priority, retry=_ONCE)
    except ModerationError as error:
        if action is None:  # the rules of today forbid what was written down
            outcome = Outcome(JobState.FAILED, code=type(error).__name__, message=error.message)
        else:
            outcome = after_error(
                error,
                action,
                attempts=attempts,
                maybe_sent=maybe_sent,
                last_code=last_code,
                policy=policy or client.retry,
                draw=random.random(),  # noqa: S311 - jitter
            )
        return Attempt(outcome, error, loop.time() - began - error.waited, error.waited)
    return Attempt(after_reply(reply), None, loop.time() - began - reply.waited, reply.waited)
