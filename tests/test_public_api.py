"""The public API: its modules and names, and that the documents and examples use nothing else."""

import ast
import enum
import importlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal, get_origin

import pytest

import volc_moderation
import volc_moderation.volcengine
import volc_moderation.zego
from tests.actions import ACTIONS
from volc_moderation import errors
from volc_moderation.volcengine import VolcengineAction
from volc_moderation.volcengine import callbacks as volcengine_callbacks
from volc_moderation.zego import callbacks as zego_callbacks

ROOT = Path(__file__).parent.parent

PUBLIC_MODULES = [
    "volc_moderation",
    "volc_moderation.accounts",
    "volc_moderation.action",
    "volc_moderation.emulator",
    "volc_moderation.errors",
    "volc_moderation.jobs",
    "volc_moderation.jobs.distributed",
    "volc_moderation.quotas",
    "volc_moderation.testing",
    "volc_moderation.validators",
    "volc_moderation.volcengine",
    "volc_moderation.webhooks",
    "volc_moderation.zego",
]


def names_of(module: str) -> list[str]:
    names: list[str] = importlib.import_module(module).__all__
    return names


def order(name: str) -> tuple[int, str]:
    """Return the place of a name as ruff sorts ``__all__``: constants, then classes, then the rest."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


def defined_names(module: str) -> set[str]:
    """Return the classes and functions of a module, and what a package imports from itself, without an underscore."""
    path = importlib.import_module(module).__file__
    assert path is not None
    names = set()
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    is_package = path.endswith("__init__.py")
    for node in ast.walk(tree) if is_package else tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif is_package and isinstance(node, ast.ImportFrom) and str(node.module).startswith("volc_moderation."):
            names |= {alias.asname or alias.name for alias in node.names}
    return {name for name in names if not name.startswith("_")} - {"lazy_names", "require_extra"}


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_all_is_sorted_and_complete(module: str) -> None:
    imported = importlib.import_module(module)
    assert imported.__all__ == sorted(set(imported.__all__), key=order)
    public = {name for name in defined_names(module) if not isinstance(getattr(imported, name), ModuleType)}
    assert public <= set(imported.__all__)


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_is_documented(module: str) -> None:
    for name in names_of(module):
        value = getattr(importlib.import_module(module), name)
        assert value.__doc__ or get_origin(value) in {Literal, Callable}  # aliases have no docstring, but a comment


# Imports


def python_blocks(text: str) -> list[str]:
    """Return the fenced blocks of Python in a page of Markdown."""
    return re.findall(r"^```(?:python|py)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def imports_of_package(program: str) -> Iterator[tuple[str, str | None]]:
    """Yield the modules and names of the package that a program imports; attributes of imported modules, too."""
    tree = ast.parse(program)
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] == "volc_moderation":
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                if module in PUBLIC_MODULES:
                    modules[alias.asname or alias.name] = module
                    yield module, None
                else:
                    yield str(node.module), alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "volc_moderation":
                    modules[alias.asname or alias.name] = alias.name
                    yield alias.name, None
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in modules:
            yield modules[ast.unparse(node.value)], node.attr


PAGES = [*ROOT.glob("README*.md"), *sorted(ROOT.glob("docs/**/*.md"))]
PROGRAMS = {
    **{
        f"{page.relative_to(ROOT)}-{number}": program
        for page in PAGES
        for number, program in enumerate(python_blocks(page.read_text(encoding="utf-8")), 1)
    },
    **{str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("examples/*.py"))},
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_documents_and_examples_import_public_names(program: str) -> None:
    for module, name in imports_of_package(program):
        assert module in PUBLIC_MODULES
        assert name is None or name in names_of(module)


def test_programs_that_import_the_package_are_found() -> None:
    """So that the test above cannot pass because it has nothing to check."""
    assert sum(any(imports_of_package(program)) for program in PROGRAMS.values()) > 5
    assert list(imports_of_package("from volc_moderation import validators as v\nv.text()")) == [
        ("volc_moderation.validators", None),
        ("volc_moderation.validators", "text"),
    ]


# Names


def test_every_action_is_exported() -> None:
    for action in ACTIONS:
        vendor = volc_moderation.volcengine if issubclass(action, VolcengineAction) else volc_moderation.zego
        assert action.name in vendor.__all__
        assert action.result.__name__ in vendor.__all__


def test_every_error_is_public_and_in_the_tree() -> None:
    """The tree in the docstring of ``errors`` has every error, and every error derives from the root."""
    tree = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.ModerationError)
    }
    assert tree <= set(volc_moderation.__all__)
    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in tree)


def test_enums_have_the_documented_numbers() -> None:
    vendors: tuple[object, ...] = (
        volc_moderation.volcengine,
        volc_moderation.zego,
        volcengine_callbacks,
        zego_callbacks,
    )
    enums = {
        name: {member.name: member.value for member in value}
        for vendor in vendors
        for name, value in vars(vendor).items()
        if isinstance(value, type) and issubclass(value, enum.IntEnum)
    }
    assert enums == {
        "MediaType": {"VIDEO": 1, "AUDIO": 2, "BOTH": 3},
        "CallbackType": {"VIOLATIONS": 0, "ALL": 1},
        "DetectionStatus": {"RUNNING": 1, "FINISHED": 2},
        "WebCastStatus": {"UNKNOWN": 0, "NOT_STARTED": 1, "RUNNING": 2, "ENDED": 3, "FAILED": 4},
        "WebcastChange": {"STARTED": 1, "REFRESHED": 4, "RESCHEDULED": 5},
        "UserStatus": {"OUT": 0, "IN": 1},
        "LoginOrder": {"FIRST": 0, "LAST": 1},
        "Privilege": {"LOGIN": 1, "PUBLISH": 2},
        "RuleType": {"IP": 1, "ROOM": 2, "USER": 3, "ROOM_USER": 4},
        "RiskSource": {"NONE": 1000, "TEXT": 1001, "PICTURE": 1002, "AUDIO": 1003},
    }
