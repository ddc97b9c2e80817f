"""The outcome of an attempt of a job. Pure: it reads no clock, and the jitter is an argument."""

import traceback
from pathlib import Path
from typing import NamedTuple

import attrs

from volc_moderation.action import Action
from volc_moderation.call_state import Reply
from volc_moderation.errors import (
    APIError,
    AuthenticationError,
    ConfigurationError,
    ModerationError,
    NotFoundError,
    QuotaUnavailable,
    ServerError,
    TransportError,
)
from volc_moderation.jobs.job import JobState
from volc_moderation.jobs.stored_result import dump_result
from volc_moderation.retry import RetryPolicy, next_wait, outcome_unknown

MAX_MESSAGE_LENGTH = 2000  # characters


class Outcome(NamedTuple):
    """The state of a job after an attempt, and what is known of the attempt."""

    state: JobState
    #: Seconds until the next attempt, if there is one.
    wait: float = 0.0
    #: Whether it counts as an attempt: False if nothing left this machine, or the keys were refused.
    counts: bool = True
    #: Whether the cause may be the network, the vendor or the keys, rather than the job.
    is_outage: bool = False
    maybe_sent: bool = False
    was_gone: bool = False
    code: str | int | None = None
    message: str | None = None
    advice: str | None = None
    request_id: str | None = None
    #: JSON.
    result: str | None = None


class EndedAttempt(NamedTuple):
    """An attempt that has ended, as it is recorded."""

    outcome: Outcome
    #: The job's attempts that count.
    attempts: int
    #: Unix time of the next attempt, if there is one.
    due: float
    #: Seconds from the request to its answer.
    round_trip: float | None
    #: Seconds for the quota, before the request.
    waited: float | None
    #: Unix time at which it ended.
    now: float


def after_reply(reply: Reply[object], *, maybe_sent: bool) -> Outcome:
    """Return the outcome of a call that the vendor carried out.

    :param maybe_sent: whether an earlier attempt may have had its effect.
    """
    request_id, result = _storable_text(reply.request_id), dump_result(reply.result)
    # By position, which takes half the time: a run makes one for every call.
    return Outcome(JobState.DONE, 0.0, True, False, maybe_sent, False, None, None, None, request_id, result)  # noqa: FBT003


def is_plain_success(outcome: Outcome) -> bool:
    """Return whether there is nothing to say about a job but that it is done."""
    state, _, _, _, maybe_sent, was_gone, code, message, _, _, result = outcome
    return state is JobState.DONE and not (maybe_sent or was_gone) and code is message is result is None


def after_error(
    error: ModerationError,
    action: Action[object],
    *,
    attempts: int,
    maybe_sent: bool,
    last_code: str | int | None,
    policy: RetryPolicy,
    draw: float,
) -> Outcome:
    """Return the outcome of an attempt that ended in an error of this package.

    :param attempts: of the job, including this one.
    :param maybe_sent: whether an earlier attempt may have had its effect.
    :param last_code: the code of the attempt before.
    :param draw: a random number from 0 to 1, for the jitter.
    """
    code = error.code if isinstance(error, APIError) else type(error).__name__
    outcome = Outcome(
        state=JobState.PENDING,
        code=_storable_code(code),
        message=_storable_text(error.message),
        advice=getattr(error, "advice", None),
        request_id=_storable_text(getattr(error, "request_id", None)),
        maybe_sent=maybe_sent or outcome_unknown(error),
        is_outage=_is_outage(error),
    )
    if isinstance(error, APIError) and action.is_already_done(error.code):
        # After a stop, "there is none" is what was wanted. After a start, "there is one" may be another caller's.
        is_gone = isinstance(error, NotFoundError)
        if is_gone or maybe_sent:
            return outcome._replace(state=JobState.DONE, was_gone=is_gone)
    if isinstance(error, AuthenticationError) and error.retry_after == 0 and last_code != code:
        return outcome._replace(counts=False, is_outage=False)  # it is signed again, once
    if _was_never_attempted(error):
        return outcome._replace(counts=False)

    def wait(policy: RetryPolicy) -> float | None:
        return next_wait(
            error,
            attempt=attempts,
            repeatable=action.repeatable,
            signed_again=True,
            policy=policy,
            draw=draw,
            retry_unproven=True,
        )

    seconds = wait(policy)
    if seconds is not None:
        return outcome._replace(wait=seconds)
    is_transient = wait(attrs.evolve(policy, attempts=attempts + 1)) is not None
    return outcome._replace(state=JobState.GIVEN_UP if is_transient else JobState.FAILED)


def after_exception(exception: BaseException, *, maybe_sent: bool) -> Outcome:
    """Return the outcome of an attempt that ended in an exception from outside this package: the job has failed.

    It is unknown whether the next attempt would end the same way, and what else it would do. The exception's text may
    contain anything, even a signed URL, so only its name and where it was raised are kept.
    """
    frames = traceback.extract_tb(exception.__traceback__)
    where = f", raised in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = f"the call ended in an unexpected exception{where}"
    code = _storable_code(type(exception).__name__)
    return Outcome(JobState.FAILED, code=code, message=_storable_text(message), maybe_sent=maybe_sent)


# Outcomes are written in batches, and one that cannot be written would hold up the others. Not every error is built
# from an answer that was checked here: a transport or store of the user's raises its own.


def _storable_text(text: str | None) -> str | None:
    """Return a text that can be stored: encodable as UTF-8, and not too long."""
    if text is None or (type(text) is str and text.isascii() and len(text) <= MAX_MESSAGE_LENGTH):
        return text  # almost always
    return str(text)[:MAX_MESSAGE_LENGTH].encode(errors="replace").decode()


def _storable_code(code: str | int) -> str | int | None:
    """Return a code that can be stored; SQLite takes integers of 64 bits."""
    if isinstance(code, int):
        # In hexadecimal, because Python refuses to write very long decimals.
        return code if -(2**63) <= code < 2**63 else _storable_text(hex(code))
    return _storable_text(code)


def _was_never_attempted(error: ModerationError) -> bool:
    """Return whether nothing left this machine, or the keys were refused: neither is an attempt of the job."""
    if isinstance(error, TransportError):
        return not error.maybe_sent
    return isinstance(error, (AuthenticationError, QuotaUnavailable, ConfigurationError))


def _is_outage(error: ModerationError) -> bool:
    """Return whether other jobs are likely to hit the same error, so that they should wait rather than be attempted."""
    return isinstance(error, (TransportError, ServerError)) or _was_never_attempted(error)
