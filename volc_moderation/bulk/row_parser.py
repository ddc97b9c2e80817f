"""Turns a row into an action. Columns are the action's fields, in snake_case or as the vendor spells them."""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import attrs

from volc_moderation.action import Action, is_required
from volc_moderation.bulk.row_accounts import ACCOUNT, RowAccounts
from volc_moderation.bulk.rows import MAX_QUOTED_CHARACTERS, Row, Source, quoted
from volc_moderation.bulk.unknown_columns import described, how_to_ignore, listed, normalized, similar_name, suggestions
from volc_moderation.coercion import model_type_in, parse_model, parser_for
from volc_moderation.errors import InvalidActionError, SourceError
from volc_moderation.wire import wire_names

#: The column that names the action of a row.
ACTION = "action"
#: Ignored columns: all that are no field of an action.
ALL_UNKNOWN = frozenset({"*"})
#: Items of a list in the JSON of a model. To find what is wrong with each item takes a thousand times its memory.
MAX_LIST_ITEMS = 1000
#: Actions that a message suggests, and characters that a part of a name must have for it.
MAX_SUGGESTIONS = 4
MIN_PART = 3
_NO_ACCOUNTS_FILE = "the column 'account' needs an accounts file: give --accounts FILE"
#: How spreadsheets show a long number. Its other digits are lost when the file is written.
_SHORTENED_NUMBER = re.compile(r"\d([.,]\d+)?E\+\d\d")


class _UnknownFieldError(Exception):
    """A row has a column that is no field of its action."""


class _Field(NamedTuple):
    """A field of an action, and how it is read from a cell."""

    name: str
    #: None for a field that takes the cell as it is.
    from_text: Callable[[str], Any] | None
    from_json: Callable[[object], Any] | None


class _ActionFields:
    """The fields of one action, by each name that a column may have."""

    def __init__(self, action: type[Action[Any]], ignored: frozenset[str], reserved: frozenset[str]) -> None:
        self.action = action
        self._ignored = ignored
        #: Columns that say who makes which call.
        self._reserved = reserved
        self.by_column: dict[str, _Field] = {}
        #: Of the required fields: how the vendor spells them.
        self.required: dict[str, str] = {}
        spellings = wire_names(action)
        attrs.resolve_types(action)  # type: ignore[type-var] # each action is an attrs class
        for attribute in attrs.fields(action):  # type: ignore[arg-type]
            name = attribute.name
            from_text = parser_for(action, name, attribute.type)
            if from_text is None and name.endswith("_id"):
                from_text = partial(_check_id, action, name)
            field = _Field(name, from_text, _model_reader(action, attribute) if model_type_in(attribute.type) else None)
            for column in {name, name.rstrip("_"), spellings.get(name, name)}:
                self.by_column[column] = field
            if is_required(attribute):
                self.required[name] = spellings[name]

    def accept(self, columns: Iterable[str]) -> None:
        """Accept columns that spell a field as people do, such as "Room ID" for ``room_id``."""
        by_normal = {normalized(name): field for name, field in self.by_column.items()}
        for column in columns:
            if column not in self.by_column and column not in self._ignored and normalized(column) in by_normal:
                self.by_column[column] = by_normal[normalized(column)]

    def parse(self, row: Row, constants: Mapping[str, str]) -> Action[Any]:
        """Return the action of a row. Raises ``_UnknownFieldError``, ``SourceError`` or ``InvalidActionError``."""
        arguments = self._read(row)
        if constants:
            arguments = self._read(constants) | arguments
        missing = next((name for name in self.required if name not in arguments), None)
        if missing is not None:
            raise SourceError(f"{missing} is missing")
        return self.action(**arguments)

    def unknown(self, row: Row) -> list[str]:
        """Return the columns of a row that are no field."""
        return [column for column in self._used(row) if column not in self.by_column]

    def missing(self, row: Row) -> set[str]:
        """Return the fields that a row does not have."""
        given = {self.by_column[column].name for column in self._used(row) if column in self.by_column}
        return {field.name for field in self.by_column.values()} - given

    def _used(self, row: Row) -> Iterator[str]:
        for column, value in row.items():
            if value not in ("", None) and column not in self._reserved and column not in self._ignored:
                yield column

    def _read(self, row: Row) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for column, value in row.items():
            if value in ("", None) or column in self._reserved or column in self._ignored:
                continue
            try:
                name, from_text, from_json = self.by_column[column]
            except KeyError:
                if self._ignored is ALL_UNKNOWN:
                    continue
                raise _UnknownFieldError from None
            if name in arguments:
                raise SourceError(f"{name} is given twice, in two spellings")
            if isinstance(value, str):
                arguments[name] = value if from_text is None else from_text(value)
            else:
                arguments[name] = value if from_json is None else from_json(value)
        return arguments


def _check_id(action: type[Action[Any]], name: str, text: str) -> str:
    """Return an id. Raises ``InvalidActionError`` for one that the vendor would not find, as it is not the real one."""
    if text != text.strip():
        rule = "an id without blanks before and after it"
    elif "E+" in text and _SHORTENED_NUMBER.fullmatch(text):
        rule = "an id, not a number that a spreadsheet has shortened; format its column as text, and export it again"
    else:
        return text
    raise InvalidActionError.of(action.name, name, rule, text)


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
    :param accounts: the accounts that rows may name; None if there is no accounts file.

    Raises ``SourceError`` for an action or a constant that does not exist.
    """

    def __init__(
        self,
        actions: Mapping[str, type[Action[Any]]],
        *,
        action: str | None,
        constants: Mapping[str, str],
        ignored: frozenset[str] = frozenset(),
        accounts: RowAccounts | None = None,
    ) -> None:
        self._actions = actions
        self._accounts = accounts
        self._reserved = frozenset({ACTION} if accounts is None else {ACTION, ACCOUNT})
        self._ignored = ignored
        self._fields: dict[str, _ActionFields] = {}
        self._default = action
        self._constants = constants
        if action is not None:
            self._fields_of(action)
        for name, value in constants.items():
            if name == ACTION:
                self._fields_of(value)
            elif name not in self._reserved and not any(
                name in self._fields_of(action_name).by_column for action_name in actions
            ):
                if name == ACCOUNT:
                    raise SourceError(_NO_ACCOUNTS_FILE)
                similar = similar_name(name, self._known_columns().values())
                raise SourceError(f"no action has a field {name}" + (f"; did you mean {similar}?" if similar else ""))

    def check_columns(self, source: Source) -> None:
        """Check the names of a file's columns, before its rows are read. Raises ``SourceError``."""
        if source.columns is None:
            return
        columns = {*source.columns, *self._constants} - self._ignored
        for action in self._actions if ACTION in columns else filter(None, [self._default]):
            self._fields_of(action).accept(source.columns)
        if ACTION in columns:
            known, required = self._known_columns(), {}
        elif self._default is not None:
            fields = self._fields_of(self._default)
            known, required = {column: field.name for column, field in fields.by_column.items()}, fields.required
        else:
            raise SourceError(
                f"{source.name}, line 1: there is no column {ACTION!r}; add one, or give --action", line=1
            )
        unknown = [name for name in source.columns if name in columns and name not in known]
        unknown = [name for name in unknown if name not in self._reserved]
        if ACCOUNT in unknown and self._ignored is not ALL_UNKNOWN:
            raise SourceError(f"{source.name}, line 1: {_NO_ACCOUNTS_FILE}", line=1)
        given = {known.get(name) for name in columns}
        if unknown and self._ignored is not ALL_UNKNOWN:
            suggested = suggestions(unknown, {*known.values()} - given)
            reason = f"unknown column{'s' if len(unknown) > 1 else ''} {described(unknown, suggested)}"
            if required:
                reason += f"; {self._default} has {listed(sorted({name.rstrip('_') for name in known.values()}))}"
            ignorable = [name for name in unknown if suggested.get(name) not in required]
            raise SourceError(f"{source.name}, line 1: {reason}{_how_to_ignore(ignorable)}", line=1)
        for name in required:
            if name not in given:
                similar = similar_name(name, unknown)
                hint = "add it" if similar is None else f"did you mean {quoted(similar)}? Rename it"
                reason = f"column {name!r} is missing; {hint}, or give all rows the same with --set {name}=VALUE"
                raise SourceError(f"{source.name}, line 1: {reason}", line=1)

    def account_of(self, row: Row, action: Action[Any]) -> str | None:
        """Return the account of a row; None if there is no accounts file. Raises ``SourceError`` if the row is bad."""
        return None if self._accounts is None else self._accounts.account_of(row, self._constants, action)

    def parse(self, row: Row) -> Action[Any]:
        """Return the action of a row. Raises ``SourceError`` or ``InvalidActionError`` if the row is bad."""
        name = row.get(ACTION) or self._constants.get(ACTION) or self._default
        if not isinstance(name, str):
            raise SourceError(f"no {ACTION!r} is given")
        fields = self._fields_of(name)
        try:
            return fields.parse(row, self._constants)
        except _UnknownFieldError:
            unknown = fields.unknown({**self._constants, **row})
        suggested = suggestions(unknown, fields.missing({**self._constants, **row}))
        known = self._known_columns()
        ignorable = [
            column for column in unknown if column not in known and suggested.get(column) not in fields.required
        ]
        raise SourceError(f"{name} has no field {described(unknown, suggested)}{_how_to_ignore(ignorable)}")

    def _known_columns(self) -> dict[str, str]:
        """Return the fields of all actions, by each name that a column may have."""
        all_fields = [self._fields_of(name) for name in self._actions]
        return {column: field.name for fields in all_fields for column, field in fields.by_column.items()}

    def _fields_of(self, action: str) -> _ActionFields:
        if action not in self._fields:
            if action not in self._actions:
                if [*self._actions] == [self._default]:
                    raise SourceError(f"the action of these rows must be {self._default}; got {quoted(action)}")
                raise SourceError(f"there is no action {quoted(action)}{_did_you_mean(action, self._actions)}")
            self._fields[action] = _ActionFields(self._actions[action], self._ignored, self._reserved)
        return self._fields[action]


def _how_to_ignore(columns: list[str]) -> str:
    return f". To leave out what is no field, give {how_to_ignore(columns)}" if columns else ""


def _did_you_mean(name: str, actions: Iterable[str]) -> str:
    """Return a hint at the actions whose names are similar, or contain the name."""
    if len(name) > MAX_QUOTED_CHARACTERS:
        return ""
    by_normal = {_normalize(action): action for action in actions}
    wanted = _normalize(name)
    if wanted in by_normal:
        return f"; did you mean {by_normal[wanted]}?"
    containing = [normal for normal in by_normal if len(wanted) >= MIN_PART and wanted in normal]
    found = containing or difflib.get_close_matches(wanted, by_normal, MAX_SUGGESTIONS, cutoff=0.7)
    names = [by_normal[normal] for normal in found[:MAX_SUGGESTIONS]]
    return f"; did you mean {' or '.join(names)}?" if names else ""


def _normalize(action: str) -> str:
    return action.replace("_", "").lower().removesuffix("v2")
