"""``--rate``: how many calls per second there may be, of each action or of one."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import attrs
from cyclopts import Parameter

from volc_moderation import Quota, SourceError
from volc_moderation.action import Action
from volc_moderation.client import Client
from volc_moderation.vendors import all_actions

#: ``--rate`` as commands declare it.
Rate = Annotated[Sequence[str], Parameter(name="--rate", negative=())]


@attrs.frozen
class Rates:
    """Calls per second that were asked for."""

    #: Of each action, but no more than its quota.
    every: int | None = None
    #: Of some actions, by their names: also more than the documented quota, where the vendor has raised it.
    by_action: dict[str, int] = attrs.field(factory=dict)

    def limits_of(self, kind: type[Client]) -> dict[str, int]:
        """Return the limit of each action of a vendor in the window of its quota."""
        found = {}
        for name, action_type in kind.actions().items():
            if name in self.by_action:
                found[name] = max(1, int(self.by_action[name] * action_type.quota.window))
            elif self.every is not None:
                found[name] = _below(action_type.quota, self.every)
        return found

    def above(self, actions: Iterable[type[Action[Any]]]) -> list[str]:
        """Say of which actions more is used than the documents promise."""
        found = []
        for action_type in actions:
            documented = action_type.quota.limit / action_type.quota.window
            if action_type.quota.published and self.by_action.get(action_type.name, 0) > documented:
                found.append(
                    f"{action_type.name}: {self.by_action[action_type.name]}/s, above the documented {documented:g}/s:"
                    " only if the vendor has raised it for this account"
                )
        return found


def rates_of(given: Iterable[str]) -> Rates:
    """Read what ``--rate`` was given: a number, or an action and a number. Raises ``SourceError``."""
    every: int | None = None
    by_action: dict[str, int] = {}
    known = all_actions()
    for text in given:
        name, is_named, number = text.rpartition("=")
        if not (number.isascii() and number.isdigit() and int(number[:10]) >= 1 and len(number) < 10):  # noqa: PLR2004
            raise SourceError("--rate must be a number of calls per second, or an action and one: StopWebcast=300")
        if not is_named:
            every = int(number)
        elif name in known:
            by_action[name] = int(number)
        else:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; is it {near[0]}?" if near else ""
            raise SourceError(f"--rate: there is no action {name[:60]!r}{hint}")
    return Rates(every, by_action)


def _below(quota: Quota, rate: int) -> int:
    most = max(1, int(rate * quota.window))
    return min(most, quota.limit) if quota.published else most
