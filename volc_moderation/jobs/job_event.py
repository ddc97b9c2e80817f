"""What happened to a job just now."""

from collections.abc import Mapping
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.outcome import Outcome
from volc_moderation.wire import JSON, load_json, wire_names


@attrs.define(eq=False)  # not frozen: one is made for every call of a run
class JobEvent:
    """A job ended, or was put off until ``due`` (Unix seconds)."""

    lane: Lane
    attempts: int
    due: float | None
    _action_type: type[Action[Any]]
    _row: DueJob
    _outcome: Outcome

    @property
    def key(self) -> str:
        """The key of the job."""
        return self._row.key

    @property
    def line(self) -> int | None:
        """Where the job stood in the file that it came from."""
        return self._row.line

    @property
    def action(self) -> str:
        """The vendor's name of the action."""
        return self.lane.action

    @property
    def parameters(self) -> JSON:
        """The parameters in the vendor's spelling, without the tokens of users."""
        return redacted_parameters(self._action_type, load_json(self._row.parameters) or {})

    @property
    def state(self) -> JobState:
        """Where the job stands now."""
        return self._outcome.state

    @property
    def maybe_sent(self) -> bool:
        """Whether an attempt that was not answered with a success may have had its effect."""
        return self._outcome.maybe_sent

    @property
    def was_gone(self) -> bool:
        """Whether it is done because what was to be stopped or removed was not there."""
        return self._outcome.was_gone

    @property
    def code(self) -> str | int | None:
        """The vendor's code of the refusal, or the name of the fault."""
        return self._outcome.code

    @property
    def message(self) -> str | None:
        """What the refusal or fault says."""
        return self._outcome.message

    @property
    def advice(self) -> str | None:
        """What the vendor's documents say about the code."""
        return self._outcome.advice

    @property
    def request_id(self) -> str | None:
        """What the vendor's support asks for."""
        return self._outcome.request_id

    @property
    def result(self) -> object:
        """The result of a call that has one, in the vendor's spelling."""
        return None if self._outcome.result is None else load_json(self._outcome.result)


def redacted_parameters(action_type: type[Action[Any]], parameters: Mapping[str, object]) -> JSON:
    """Return an action's parameters as they may be shown: without the tokens of users."""
    names = wire_names(action_type)
    hidden = {names[one.name] for one in attrs.fields(action_type) if one.repr is False}  # type: ignore[arg-type]
    return {name: "***" if name in hidden else value for name, value in parameters.items()}
