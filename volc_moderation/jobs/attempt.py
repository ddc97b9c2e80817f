"""One attempt of a job: the call, and what becomes of the job after it."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from volc_moderation.action import Action
from volc_moderation.client import FOR_EVER, Client
from volc_moderation.errors import JournalError, ModerationError
from volc_moderation.jobs.clients import load_action
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.outcome import Outcome, after_error, after_fault, after_reply
from volc_moderation.quotas.permit import Priority
from volc_moderation.retry import RetryPolicy

#: The journal, or the engine, repeats; not the client.
_ONCE = RetryPolicy(attempts=1)

_log = logging.getLogger("volc_moderation")


class AttemptLost(Exception):  # noqa: N818 - no fault, and it does not leave the lane
    """The job is another worker's by now, or may be: nothing was sent."""


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
    action_type: type[Action[Any]],
    attempts: int,
    maybe_sent: bool,
    last_code: str | int | None,
    policy: RetryPolicy | None,
    priority: Priority,
    before_send: Callable[[], Awaitable[None]] | None = None,
    on_send: Callable[[], object] = lambda: None,
) -> Attempt:
    """Make a call that was written down. ``attempts`` counts this one; the rest is what is known of the one before.

    Whatever the call raises is an outcome of its job, and of no other one; ``before_send`` and ``on_send`` are those of
    ``Client.call``. Raises ``AttemptLost`` if ``before_send`` does, or raises ``JournalError``: nothing was sent.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    action: Action[Any] | None = None
    is_sent = False

    def leave() -> None:
        nonlocal is_sent
        is_sent = True
        on_send()

    try:
        try:
            action = load_action(parameters, action_type, lane)
            reply = await client.call(
                action, deadline=FOR_EVER, priority=priority, retry=_ONCE, before_send=before_send, on_send=leave
            )
        except JournalError as error:  # so the call cannot be noted before it leaves, and does not leave
            raise AttemptLost from error
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
        outcome = after_reply(reply, maybe_sent=maybe_sent)
        return Attempt(outcome, None, loop.time() - began - reply.waited, reply.waited)
    except AttemptLost:
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # Nobody cancelled this task: something inside the call did.
        fault: BaseException = error
    except Exception as error:  # noqa: BLE001 - what the user's transport or store raises, an odd error of ours, too
        fault = error
    outcome = after_fault(fault, maybe_sent=maybe_sent or is_sent)
    _log.error("a job of %s failed: %s: %s", lane.action, outcome.code, outcome.message)
    return Attempt(outcome, None, loop.time() - began, 0.0)
