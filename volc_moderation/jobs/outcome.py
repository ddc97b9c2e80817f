"""What becomes of a job after an attempt. Pure: the time is not asked, and the jitter is an argument."""

import traceback
from pathlib import Path
from typing import NamedTuple

import attrs

from volc_moderation.action import Action
from volc_moderation.call import Reply
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
from volc_moderation.retry import RetryPolicy, next_wait, outcome_unknown
from volc_moderation.wire import dump_json, to_json

#: Characters of a message that are kept.
LONGEST = 2000


class Outcome(NamedTuple):
    """What becomes of a job: its state, and what is known of the attempt."""

    state: JobState
    #: Seconds until the next attempt, if there is one.
    wait: float = 0.0
    #: False if nothing left this machine: then it was no attempt.
    counts: bool = True
    #: Whether the way to the vendor, the vendor or the keys may be at fault.
    is_outage: bool = False
    maybe_sent: bool = False
    was_gone: bool = False
    code: str | int | None = None
    message: str | None = None
    advice: str | None = None
    request_id: str | None = None
    #: JSON.
    result: str | None = None


class Ended(NamedTuple):
    """An attempt that ended, as it is written down."""

    outcome: Outcome
    #: Those of the job that count.
    attempts: int
    #: Unix time of the next attempt, if there is one.
    due: float
    #: Seconds from the request to its answer, and for the quota before.
    round_trip: float | None
    waited: float | None
    #: Unix time at which it ended.
    now: float


def after_reply(reply: Reply[object], *, maybe_sent: bool) -> Outcome:
    """Tell what becomes of a job that the vendor carried out. ``maybe_sent``: an earlier attempt may have arrived."""
    result = to_json(reply.result)
    is_plain_yes = not result or (isinstance(result, dict) and result.keys() == {"Message"})
    return Outcome(
        JobState.DONE,
        maybe_sent=maybe_sent,
        request_id=_text(reply.request_id),
        result=None if is_plain_yes else dump_json(result).decode(),
    )


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
    """Tell what becomes of a job whose attempt number ``attempts`` ended in ``error``.

    ``maybe_sent``: an earlier attempt may have arrived. ``last_code`` is that of the attempt before. ``draw`` is a
    random number from 0 to 1, for the jitter.
    """
    code = error.code if isinstance(error, APIError) else type(error).__name__
    outcome = Outcome(
        state=JobState.PENDING,
        code=_code(code),
        message=_text(error.message),
        advice=getattr(error, "advice", None),
        request_id=_text(getattr(error, "request_id", None)),
        maybe_sent=maybe_sent or outcome_unknown(error),
        is_outage=_is_outage(error),
    )
    if isinstance(error, APIError) and action.is_already_done(error.code):
        # After a stop, "there is none" is what was wanted; after a start, "there is one" may be somebody else's.
        is_gone = isinstance(error, NotFoundError)
        if is_gone or maybe_sent:
            return outcome._replace(state=JobState.DONE, was_gone=is_gone)
    if isinstance(error, AuthenticationError) and error.retry_after == 0 and last_code != code:
        return outcome._replace(counts=False, is_outage=False)  # it is signed again, once
    if _blames_no_job(error):
        return outcome._replace(counts=False)

    def wait(policy: RetryPolicy) -> float | None:
        return next_wait(
            error,
            attempt=attempts,
            repeatable=action.repeatable,
            signed_again=True,
            policy=policy,
            draw=draw,
            until_proven=True,
        )

    seconds = wait(policy)
    if seconds is not None:
        return outcome._replace(wait=seconds)
    would_pass = wait(attrs.evolve(policy, attempts=attempts + 1)) is not None
    return outcome._replace(state=JobState.GIVEN_UP if would_pass else JobState.FAILED)


def after_fault(fault: BaseException, *, maybe_sent: bool) -> Outcome:
    """Tell what becomes of a job whose attempt ended in something that is no error of this package: it has failed.

    Nobody knows whether it would end so again, and what else it would do. Its text may hold anything, a signed address
    too, so only its name and where it was raised are kept.
    """
    frames = traceback.extract_tb(fault.__traceback__)
    where = f", raised in {frames[-1].name} ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = f"the call ended in an exception that is no error of a vendor{where}"
    return Outcome(JobState.FAILED, code=_code(type(fault).__name__), message=_text(message), maybe_sent=maybe_sent)


# An outcome is written down with others, which one that cannot be written would hold up. Errors are not only made of
# answers that were read here: a transport, or a store, that the user brought raises its own.


def _text(text: str | None) -> str | None:
    """Return a text that can be written down: with a UTF-8 form, and not too long."""
    return None if text is None else str(text)[:LONGEST].encode(errors="replace").decode()


def _code(code: str | int) -> str | int | None:
    """Return a code that can be written down; SQLite takes numbers of 64 bits."""
    if isinstance(code, int):
        return code if -(2**63) <= code < 2**63 else _text(hex(code))  # a decimal of any length may not be made
    return _text(code)


def _blames_no_job(error: ModerationError) -> bool:
    """Tell whether nothing left this machine, or the keys are refused: then it was no attempt of the job."""
    if isinstance(error, TransportError):
        return not error.maybe_sent
    return isinstance(error, (AuthenticationError, QuotaUnavailable, ConfigurationError))


def _is_outage(error: ModerationError) -> bool:
    """Tell whether other jobs may well fare no better, so that they should not all be used up on it."""
    return isinstance(error, (TransportError, ServerError)) or _blames_no_job(error)
