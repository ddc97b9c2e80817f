"""From a row of a file to an action: columns are the action's fields, in snake_case or as the vendor spells them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from volc_moderation.action import Action
from volc_moderation.bulk.sources import SHOWN, Row, Source, quoted
from volc_moderation.coercion import model_in, read_model, reader_of
from volc_moderation.errors import InvalidActionError, SourceError
from volc_moderation.wire import wire_names

#: The column that names the action of a row.
ACTION = "action"
#: Items of a list in the JSON of a model: to find what is wrong with each of them takes a thousand times its memory.
MOST_ITEMS = 1000


class _Columns:
    """The columns that one action has."""

    def __init__(self, action: type[Action[Any]]) -> None:
        self.action = action
        names = wire_names(action)
        #: By each spelling: the field, what reads its text, what reads its JSON.
        self.fields: dict[str, tuple[str, Callable[[str], Any] | None, Callable[[object], Any] | None]] = {}
        self.required: dict[str, str] = {}
        attrs.resolve_types(action)  # type: ignore[type-var] # each action is an attrs class
        for one in attrs.fields(action):  # type: ignore[arg-type]
            read = reader_of(action, one.name, one.type)
            found = one.name, read, _model_reader(action, one) if model_in(one.type) else None
            for spelling in {one.name, one.name.rstrip("_"), names.get(one.name, one.name)}:
                self.fields[spelling] = found
            if one.default is attrs.NOTHING:
                self.required[one.name] = names[one.name]

    def make(self, row: Mapping[str, object], constants: Mapping[str, str]) -> Action[Any]:
        given = self._read(row)
        if constants:
            given = self._read(constants) | given
        try:
            return self.action(**given)
        except TypeError:
            missing = next((name for name in self.required if name not in given), None)
            if missing is None:
                raise
            raise SourceError(f"{missing} is missing") from None

    def _read(self, row: Mapping[str, object]) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name, value in row.items():
            if value in ("", None) or name == ACTION:
                continue
            try:
                field, read, read_json = self.fields[name]
            except KeyError:
                raise SourceError(f"{self.action.name} has no field {quoted(name)}") from None
            if field in given:
                raise SourceError(f"{field} is there twice, in two spellings")
            if isinstance(value, str):
                given[field] = value if read is None else read(value)
            else:
                given[field] = value if read_json is None else read_json(value)
        return given


def _model_reader(action: type[Action[Any]], one: "attrs.Attribute[Any]") -> Callable[[object], Any]:
    def read(value: object) -> Any:
        lists = [value, *value.values()] if isinstance(value, dict) else [value]
        if any(isinstance(items, list) and len(items) > MOST_ITEMS for items in lists):
            rule = f"JSON whose lists have at most {MOST_ITEMS:,} items"
            raise InvalidActionError.of(action.name, one.name, rule, value)
        return read_model(action, one.name, value, one.type, given=value)

    return read


class Rows:
    """Makes actions of rows.

    :param actions: those that rows may name, by name.
    :param action: the action of rows that name none.
    :param constants: columns that all rows have, such as ``{"app_id": "…"}``; a row's own goes before.

    Raises ``SourceError`` for an action or a constant that there is not.
    """

    def __init__(
        self, actions: Mapping[str, type[Action[Any]]], *, action: str | None, constants: Mapping[str, str]
    ) -> None:
        self._actions = actions
        self._columns: dict[str, _Columns] = {}
        self._default = action
        self._constants = constants
        if action is not None:
            self._of(action)
        for name, value in constants.items():
            if name == ACTION:
                self._of(value)
            elif not any(name in self._of(one).fields for one in actions):
                raise SourceError(f"no action has a field {name}")

    def check(self, source: Source) -> None:
        """Look at the names of a file's columns, before its rows. Raises ``SourceError``."""
        if source.columns is None:
            return
        columns = {*source.columns, *self._constants}
        if ACTION in columns:
            known = {name for action in self._actions for name in self._of(action).fields}
            required: dict[str, str] = {}
        elif self._default is not None:
            known, required = set(self._of(self._default).fields), self._of(self._default).required
        else:
            raise SourceError(
                f"{source.name}, line 1: there is no column {ACTION!r}; add one, or give --action", line=1
            )
        unknown = [name for name in source.columns if name not in known and name != ACTION]
        if unknown:
            of = f"; {self._default} has {_listed(known)}" if required else ""
            raise SourceError(f"{source.name}, line 1: unknown column {quoted(unknown[0])}{of}", line=1)
        for field, wire in required.items():
            if not {field, field.rstrip("_"), wire} & columns:
                raise SourceError(f"{source.name}, line 1: column {field!r} is missing", line=1)

    def make(self, row: Row) -> Action[Any]:
        """Return the action of a row. Raises ``SourceError`` or ``InvalidActionError``."""
        name = row.get(ACTION) or self._constants.get(ACTION) or self._default
        if not isinstance(name, str):
            raise SourceError(f"there is no {ACTION!r}")
        return self._of(name).make(row, self._constants)

    def _of(self, action: str) -> _Columns:
        if action not in self._columns:
            if action not in self._actions:
                if [*self._actions] == [self._default]:
                    raise SourceError(f"the action of these rows is {self._default}; not {quoted(action)}")
                raise SourceError(f"there is no action {quoted(action)}{_nearest(action, self._actions)}")
            self._columns[action] = _Columns(self._actions[action])
        return self._columns[action]


def _listed(names: Iterable[str]) -> str:
    """List the names in snake_case."""
    return ", ".join(sorted(name for name in names if name == name.lower() and not name.endswith("_")))


def _nearest(name: str, actions: Iterable[str]) -> str:
    if len(name) > SHOWN:
        return ""
    same = [
        one for one in actions if one.lower().removesuffix("v2") == name.replace("_", "").lower().removesuffix("v2")
    ]
    return f"; is it {same[0]}?" if same else ""
