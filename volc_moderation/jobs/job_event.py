"""What happened to a job just now."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.wire import JSON, load_json, wire_names


@attrs.define(eq=False)  # not frozen, which costs time: a run creates one for every call
class JobEvent:
    """An attempt of a job ended: the job has ended, or is deferred.

    :param lane: the calls that the job shares a quota with.
    :param attempts: requests that were sent, or tried, so far.
    :param due: when the next attempt is due, in Unix seconds; None if the job has ended.
    """

    lane: Lane
    attempts: int
    due: float | None
    _action_type: type[Action[Any]]
    _job: DueJob
    _outcome: Outcome

    @property
    def key(self) -> str:
        """The key of the job."""
        return self._job.key

    @property
    def line(self) -> int | None:
        """The line or row in the file that the job came from."""
        return self._job.line

    @property
    def action(self) -> str:
        """The vendor's name of the action."""
        return self.lane.action

    @property
    def parameters(self) -> JSON:
        """The parameters in the vendor's spelling; users' tokens are redacted."""
        return redacted_parameters(self._action_type, load_json(self._job.parameters) or {})

    @property
    def state(self) -> JobState:
        """The state of the job after the attempt; a deferred job is pending."""
        return self._outcome.state

    @property
    def maybe_sent(self) -> bool:
        """Whether an attempt that was not answered with a success may have had its effect."""
        return self._outcome.maybe_sent

    @property
    def was_gone(self) -> bool:
        """Whether the job is done because its target, such as the task to stop, did not exist."""
        return self._outcome.was_gone

    @property
    def code(self) -> str | int | None:
        """The vendor's code of the refusal, or the name of the fault."""
        return self._outcome.code

    @property
    def message(self) -> str | None:
        """The text of the refusal or fault."""
        return self._outcome.message

    @property
    def advice(self) -> str | None:
        """What the vendor's documentation says about the code."""
        return self._outcome.advice

    @property
    def request_id(self) -> str | None:
        """The vendor's id of the request, which its support asks for."""
        return self._outcome.request_id

    @property
    def result(self) -> object:
        """The result of a call that returns one, in the vendor's spelling; a ``Job`` has it as its type."""
        return None if self._outcome.result is None else load_json(self._outcome.result)


def redacted_parameters(action_type: type[Action[Any]], parameters: Mapping[str, object]) -> JSON:
    """Return an action's parameters with users' tokens redacted."""
    names = wire_names(action_type)
    hidden = {names[field.name] for field in attrs.fields(action_type) if field.repr is False}  # type: ignore[arg-type]
    return {name: "***" if name in hidden else value for name, value in parameters.items()}


def dump_event(event: JobEvent) -> list[Any]:
    """Return an event as JSON values, for another process."""
    # Without the span that has submitted the job: it concerns who makes the call, and earlier versions do not know it.
    job = list(event._job[:-1])  # noqa: SLF001 - ours
    return [list(event.lane), event.attempts, event.due, job, list(event._outcome)]  # noqa: SLF001


def load_event(fields: Sequence[Any], action_type_of: Callable[[Lane], type[Action[Any]]]) -> JobEvent:
    """Return the event of another process from what ``dump_event`` has returned.

    Raises ``ValueError`` if it is none, and whatever ``action_type_of`` raises.
    """
    try:
        lane, attempts, due, job, outcome = fields
        lane, job, outcome = Lane(*lane), DueJob(*job), Outcome(*outcome)
        outcome = outcome._replace(state=JobState(outcome.state))
    except TypeError:
        raise ValueError("no event") from None
    return JobEvent(lane, attempts, due, action_type_of(lane), job, outcome)
