"""The methods of the clients: each has the parameters, the result and the docstring of its action.

Editors read the files, so the files are compared, and not what a running program sees.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin, get_type_hints

import attrs
import pytest

from tests.actions import ACTIONS
from tests.method_source import CLASSES, actions_of, normalized, path_of, source_of
from tests.test_architecture import RULES
from volc_moderation import Action, errors, validators
from volc_moderation.action import FROM_CLIENT, documented_versions, method_name
from volc_moderation.vendors import vendor_of  # noqa: F401 - registers the vendors
from volc_moderation.volcengine import VolcengineAction, VolcengineClient
from volc_moderation.zego import ZegoAction, ZegoClient

IDS = [action.name for action in ACTIONS]


@pytest.mark.parametrize("module", CLASSES)
def test_the_files_are_what_the_actions_say(module: str) -> None:
    """Otherwise: ``python -m tests.method_source``."""
    assert normalized(path_of(module).read_text()) == normalized(source_of(module))


def test_every_action_has_a_method() -> None:
    listed = {action for module in CLASSES for action in actions_of(module)}
    assert listed == set(ACTIONS)
    for action in ACTIONS:
        client_type = VolcengineClient if issubclass(action, VolcengineAction) else ZegoClient
        assert inspect.iscoroutinefunction(getattr(client_type, method_name(action.name)))


def test_the_modules_of_actions_do_no_io() -> None:
    assert set(CLASSES) <= set(RULES)


def methods() -> Iterator[tuple[type[Action[Any]], str]]:
    """Yield each action, and the docstring of its method as an editor reads it from the file."""
    for module in CLASSES:
        by_method = {method_name(action.name): action for action in actions_of(module)}
        for node in ast.walk(ast.parse(path_of(module).read_text())):
            if isinstance(node, ast.AsyncFunctionDef):
                yield by_method[node.name], ast.get_docstring(node) or ""


HOVERS = list(methods())


@pytest.mark.slow
@pytest.mark.parametrize(("action", "text"), HOVERS, ids=[action.name for action, _ in HOVERS])
class TestWhatAnEditorShows:
    def test_it_is_the_docstring_of_the_action(self, action: type[Action[Any]], text: str) -> None:
        assert text == inspect.getdoc(action)

    def test_each_parameter_is_described(self, action: type[Action[Any]], text: str) -> None:
        described = re.findall(r"^:param (\w+): ", text, re.MULTILINE)
        assert described == [field.name for field in attrs.fields(action)]  # type: ignore[arg-type]

    def test_the_quota_is_that_of_the_action(self, action: type[Action[Any]], text: str) -> None:
        """And so are the quota of a room and that of a test environment."""
        (line,) = re.findall(r"^Quota: (.+)$", text, re.MULTILINE)
        assert line.startswith(expected_quota(action))

    def test_the_vendors_page_is_named(self, action: type[Action[Any]], text: str) -> None:
        assert "https://" in text

    def test_the_result_is_described(self, action: type[Action[Any]], text: str) -> None:
        (result,) = re.findall(r"^:returns: ``(\w+)``: \S", text, re.MULTILINE)
        assert result == action.result.__name__

    def test_the_errors_exist(self, action: type[Action[Any]], text: str) -> None:
        named = re.findall(r"^:raises (\w+): \S", text, re.MULTILINE)
        assert named or not action.already_done_codes
        assert set(named) <= set(errors.__all__)
        for code in action.already_done_codes:
            assert str(code) in text

    def test_units_and_ranges_are_those_that_are_checked(self, action: type[Action[Any]], text: str) -> None:
        """Those of a model that is an argument are in the docstring of the model."""
        for field in attrs.fields(action):  # type: ignore[arg-type]
            described = [(text, field.name, rules_of(field.validator))]
            for model, fields in models_of(field.validator):
                described += [(inspect.getdoc(model) or "", name, rules_of(one)) for name, one in fields.items()]
            for docstring, name, rules in described:
                for number in limits_in(rules):
                    assert re.search(rf"\b{number}\b", parameter(docstring, name)), (name, number)

    def test_the_versions_are_those_that_are_documented(self, action: type[Action[Any]], text: str) -> None:
        versions = documented_versions(action)
        if versions:
            description = parameter(text, "version")
            assert description.startswith(f"``{versions[0]}``")
            assert all(version in description for version in versions)

    def test_what_the_client_has_is_said(self, action: type[Action[Any]], text: str) -> None:
        for field in attrs.fields(action):  # type: ignore[arg-type]
            if field.metadata == FROM_CLIENT:
                assert "None means the client's ``app_id``" in parameter(text, field.name)

    def test_it_refers_to_nothing_that_the_editor_does_not_show(self, action: type[Action[Any]], text: str) -> None:
        assert not re.search(r"\b[Ss]ee ``", text)


@pytest.mark.parametrize("action", [action for action in ACTIONS if len(documented_versions(action)) > 1])
def test_editors_suggest_the_versions_that_are_documented(action: type[Action[Any]]) -> None:
    hint = get_type_hints(getattr(VolcengineClient, method_name(action.name)))["version"]
    suggested = [value for part in get_args(hint) if get_origin(part) is Literal for value in get_args(part)]
    assert sorted(suggested) == sorted(documented_versions(action))


def expected_quota(action: type[Action[Any]]) -> str:
    quota = action.quota
    unit = "account" if issubclass(action, VolcengineAction) else "AppId"
    if not quota.published:
        return f"not published; it is learned, from {quota.limit} calls per second and {unit} on"
    text = f"{calls(quota.limit)} per second and {unit}"
    if action.room_quota is not None:
        window = action.room_quota.window
        span = "per second" if window == 1 else f"in {window:g} s"
        text += f", and {calls(action.room_quota.limit)} {span} and room"
    if issubclass(action, ZegoAction) and action.test_quota is not None:
        text += f"; {action.test_quota.limit} in the test environment"
    return text + "."


def calls(number: int) -> str:
    return "1 call" if number == 1 else f"{number} calls"


def parameter(text: str, name: str) -> str:
    """Return the description of a parameter, in one line."""
    match = re.search(rf"^:param {name}: (.+?)(?=^:|\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None
    return " ".join(match[1].split())


def closures_of(validator: object) -> Iterator[dict[str, Any]]:
    """Yield the variables of a rule of ``validators.py``, and of the rules that it is made of."""
    if inspect.isfunction(validator):
        variables = dict(inspect.getclosurevars(validator).nonlocals)
        yield variables
        for value in variables.values():
            yield from closures_of(value)


def rules_of(validator: object) -> list[str]:
    """Return the rules, in words, that a validator puts in its errors."""
    return [variables["rule"] for variables in closures_of(validator) if "rule" in variables]


def models_of(validator: object) -> list[tuple[type, dict[str, Callable[..., None]]]]:
    """Return the models that a validator accepts, with the validators of their fields."""
    return [(variables["cls"], variables["fields"]) for variables in closures_of(validator) if "cls" in variables]


def limits_in(rules: list[str]) -> set[int]:
    """Return the numbers in rules, other than those of a regular expression and the largest int32."""
    numbers = (int(number) for rule in rules for number in re.findall(r"(?<![\w{,-])\d+(?![\w}-])", rule))
    return {number for number in numbers if number != validators.MAX_INT32}
