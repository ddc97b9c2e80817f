"""Turns a row into an action. Columns are the action's fields, in snake_case or as the vendor spells them."""

import difflib
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import attrs

from volc_moderation.action import Action, is_required
from volc_moderation.bulk.rows import MAX_QUOTED_CHARACTERS, Row, Source, quoted
from volc_moderation.coercion import model_type_in, parse_model, parser_for
from volc_moderation.errors import InvalidActionError, SourceError
from volc_moderation.wire import wire_names

#: The column that names the action of a row.
ACTION = "action"
#: Ignored columns: all that are no field of an action.
ALL_UNKNOWN = frozenset({"*"})
#: Unknown columns that a message lists.
MAX_COLUMNS_SHOWN = 20
#: Items of a list in the JSON of a model. To find what is wrong with each item takes a thousand times its memory.
MAX_LIST_ITEMS = 1000


class _Field(NamedTuple):
    """A field of an action, and how it is read from a cell."""

    name: str
    #: None for a field that takes the cell as it is.
    from_text: Callable[[str], Any] | None
    from_json: Callable[[object], Any] | None


class _ActionFields:
    """The fields of one action, by each name that a column may have."""

    def __init__(self, action: type[Action[Any]], ignored: frozenset[str]) -> None:
        self.action = action
        self._ignored = ignored
        self.by_column: dict[str, _Field] = {}
        #: Of the required fields: how the vendor spells them.
        self.required: dict[str, str] = {}
        spellings = wire_names(action)
        attrs.resolve_types(action)  # type: ignore[type-var] # each action is an attrs class
        for attribute in attrs.fields(action):  # type: ignore[arg-type]
            name = attribute.name
            from_text = parser_for(action, name, attribute.type)
            field = _Field(name, from_text, _model_reader(action, attribute) if model_type_in(attribute.type) else None)
            for column in {name, name.rstrip("_"), spellings.get(name, name)}:
                self.by_column[column] = field
            if is_required(attribute):
                self.required[name] = spellings[name]

    def parse(self, row: Row, constants: Mapping[str, str]) -> Action[Any]:
        arguments = self._read(row)
        if constants:
            arguments = self._read(constants) | arguments
        missing = next((name for name in self.required if name not in arguments), None)
        if missing is not None:
            raise SourceError(f"{missing} is missing")
        return self.action(**arguments)

    def _read(self, row: Row) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for column, value in row.items():
            if value in ("", None) or column == ACTION or column in self._ignored:
                continue
            try:
                name, from_text, from_json = self.by_column[column]
            except KeyError:
                if self._ignored is ALL_UNKNOWN:
                    continue
                raise SourceError(f"{self.action.name} has no field {quoted(column)}") from None
            if name in arguments:
                raise SourceError(f"{name} is given twice, in two spellings")
            if isinstance(value, str):
                arguments[name] = value if from_text is None else from_text(value)
            else:
                arguments[name] = value if from_json is None else from_json(value)
        return arguments


def _model_reader(action: type[Action[Any]], attribute: "attrs.Attribute[Any]") -> Callable[[object], Any]:
    def read(value: object) -> Any:
        lists = [value, *value.values()] if isinstance(value, dict) else [value]
        if any(isinstance(items, list) and len(items) > MAX_LIST_ITEMS for items in lists):
            rule = f"JSON whose lists have at most {MAX_LIST_ITEMS:,} items"
            raise InvalidActionError.of(action.name, attribute.name, rule, value)
        return parse_model(action, attribute.name, value, attribute.type, original=value)

    return read


class RowParser:
    """Turns rows into actions.

    :param actions: the actions that rows may name, by name.
    :param action: the action of rows that name none.
    :param constants: columns that all rows have, such as ``{"app_id": "…"}``. A row's own value takes precedence.
    :param ignored: columns that are left out, or ``ALL_UNKNOWN``.

    Raises ``SourceError`` for an action or a constant that does not exist.
    """

    def __init__(
        self,
        actions: Mapping[str, type[Action[Any]]],
        *,
        action: str | None,
        constants: Mapping[str, str],
        ignored: frozenset[str] = frozenset(),
    ) -> None:
        self._actions = actions
        self._ignored = ignored
        self._fields: dict[str, _ActionFields] = {}
        self._default = action
        self._constants = constants
        if action is not None:
            self._fields_of(action)
        for name, value in constants.items():
            if name == ACTION:
                self._fields_of(value)
            elif not any(name in self._fields_of(action_name).by_column for action_name in actions):
                raise SourceError(f"no action has a field {name}")

    def check_columns(self, source: Source) -> None:
        """Check the names of a file's columns, before its rows are read. Raises ``SourceError``."""
        if source.columns is None:
            return
        columns = {*source.columns, *self._constants} - self._ignored
        if ACTION in columns:
            known = {column for name in self._actions for column in self._fields_of(name).by_column}
            required: dict[str, str] = {}
        elif self._default is not None:
            known, required = set(self._fields_of(self._default).by_column), self._fields_of(self._default).required
        else:
            raise SourceError(
                f"{source.name}, line 1: there is no column {ACTION!r}; add one, or give --action", line=1
            )
        unknown = [column for column in source.columns if column in columns and column not in {*known, ACTION}]
        if unknown and self._ignored is not ALL_UNKNOWN:
            raise SourceError(f"{source.name}, line 1: {_describe_unknown(unknown, known, self._default)}", line=1)
        for field, spelling in required.items():
            if not {field, field.rstrip("_"), spelling} & columns:
                raise SourceError(f"{source.name}, line 1: column {field!r} is missing", line=1)

    def parse(self, row: Row) -> Action[Any]:
        """Return the action of a row. Raises ``SourceError`` or ``InvalidActionError`` if the row is bad."""
        name = row.get(ACTION) or self._constants.get(ACTION) or self._default
        if not isinstance(name, str):
            raise SourceError(f"no {ACTION!r} is given")
        return self._fields_of(name).parse(row, self._constants)

    def _fields_of(self, action: str) -> _ActionFields:
        if action not in self._fields:
            if action not in self._actions:
                if [*self._actions] == [self._default]:
                    raise SourceError(f"the action of these rows must be {self._default}; got {quoted(action)}")
                raise SourceError(f"there is no action {quoted(action)}{_did_you_mean(action, self._actions)}")
            self._fields[action] = _ActionFields(self._actions[action], self._ignored)
        return self._fields[action]


def _describe_unknown(unknown: list[str], known: Iterable[str], action: str | None) -> str:
    """Return a sentence about columns that are no field of an action, and what to do about them.

    :param action: the action of all rows; None if each row names its own.
    """
    fields = sorted(name for name in known if name == name.lower() and not name.endswith("_"))
    names = ", ".join(quoted(column) for column in unknown[:MAX_COLUMNS_SHOWN])
    more = f" and {len(unknown) - MAX_COLUMNS_SHOWN:,} more" if len(unknown) > MAX_COLUMNS_SHOWN else ""
    text = f"unknown column{'s' if len(unknown) > 1 else ''} {names}{more}"
    for column in unknown:
        similar = difflib.get_close_matches(column.strip().replace(" ", "_").lower(), fields, 1)
        if similar:
            return f"{text}; did you mean {similar[0]}?"
    text += "" if action is None else f"; {action} has {', '.join(fields)}"
    return f"{text}. To leave out what is no field, give --ignore-columns {_ignoring(unknown)}"


def _ignoring(columns: list[str]) -> str:
    """Return the value of ``--ignore-columns`` that leaves out columns, for the shell."""
    can_be_listed = all("," not in column and column == column.strip() for column in columns)
    value = ",".join(columns)
    return shlex.quote(value) if can_be_listed and len(value) <= MAX_QUOTED_CHARACTERS else "all"


def _did_you_mean(name: str, actions: Iterable[str]) -> str:
    """Return a hint at the action whose name differs in case, underscores or a trailing V2 only."""
    if len(name) > MAX_QUOTED_CHARACTERS:
        return ""
    wanted = name.replace("_", "").lower().removesuffix("v2")
    similar = [action for action in actions if action.lower().removesuffix("v2") == wanted]
    return f"; did you mean {similar[0]}?" if similar else ""
