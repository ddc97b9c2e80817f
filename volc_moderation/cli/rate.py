"""The option ``--rate``: calls per second of each action, or of one action."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from volc_moderation import Quota, SourceError
from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.vendors import all_actions

#: Digits of the largest rate.
MAX_DIGITS = 9
#: Characters of an unknown action's name that an error shows.
MAX_NAME_SHOWN = 60

#: The type of the option in a command's signature.
Rate = Annotated[Sequence[str], Parameter(name="--rate", negative=())]


@attrs.frozen
class Rates:
    """The requested rates, in calls per second."""

    #: The rate of each action. The published quota of an action remains its upper limit.
    default: int | None = None
    #: The rates of single actions, by name. They may exceed the documented quota, which a vendor may have raised.
    by_action: dict[str, int] = attrs.field(factory=dict)

    def limits_of(self, client_type: type[Client]) -> dict[str, int]:
        """Return by action name how many calls a quota window may have; actions without a rate are left out."""
        limits = {}
        for name, action_type in client_type.actions().items():
            if name in self.by_action:
                limits[name] = max(1, int(self.by_action[name] * action_type.quota.window))
            elif self.default is not None:
                limits[name] = _limit_within(action_type.quota, self.default)
        return limits

    def rate_of(self, action_type: type[Action[Any]], quota: Quota) -> float:
        """Return the calls per second of an action.

        :param quota: its documented quota, which may be that of a test environment.
        """
        if action_type.name in self.by_action:
            return max(1, int(self.by_action[action_type.name] * quota.window)) / quota.window
        limit = quota.limit if self.default is None else _limit_within(quota, self.default)
        return limit / quota.window

    def is_learned(self, action_type: type[Action[Any]]) -> bool:
        """Return whether neither the vendor nor the user sets the rate of an action."""
        return not action_type.quota.published and self.default is None and action_type.name not in self.by_action

    def warnings(self, action_types: Iterable[type[Action[Any]]]) -> list[str]:
        """Return a warning for each action whose rate exceeds its documented quota."""
        warnings = []
        for action_type in action_types:
            documented = action_type.quota.limit / action_type.quota.window
            if action_type.quota.published and self.by_action.get(action_type.name, 0) > documented:
                warnings.append(
                    f"Warning: {action_type.name}: {self.by_action[action_type.name]}/s is above the documented"
                    f" {documented:g}/s: use it only if the vendor has raised the quota of this account"
                )
        return warnings


def parse_rates(values: Iterable[str]) -> Rates:
    """Parse the values of ``--rate``: NUMBER or ACTION=NUMBER. Raises ``SourceError``."""
    default: int | None = None
    by_action: dict[str, int] = {}
    actions = all_actions()
    for value in values:
        name, is_named, number = value.rpartition("=")
        if not (number.isascii() and number.isdigit() and len(number) <= MAX_DIGITS and int(number) >= 1):
            raise SourceError("--rate must be a number of calls per second, or ACTION=NUMBER such as StopWebcast=300")
        if not is_named:
            default = int(number)
        elif name in actions:
            by_action[name] = int(number)
        else:
            similar = difflib.get_close_matches(name, actions, 1)
            hint = f"; did you mean {similar[0]}?" if similar else ""
            raise SourceError(f"--rate: there is no action {name[:MAX_NAME_SHOWN]!r}{hint}")
    return Rates(default, by_action)


def _limit_within(quota: Quota, rate: int) -> int:
    """Return how many calls a window may have at a rate, within the quota if that is published."""
    limit = max(1, int(rate * quota.window))
    return min(limit, quota.limit) if quota.published else limit
