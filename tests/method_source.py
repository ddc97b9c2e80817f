"""Writes the methods of the clients from the actions: ``python -m tests.method_source`` after a change of an action.

A method has the parameters and the docstring of its action, so that editors show them. ``tests/test_methods.py``
compares what the files have with what this module would write.
"""

import ast
import shutil
import subprocess
import sys
import typing
from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc, getsource
from pathlib import Path
from textwrap import indent
from typing import Any

import attrs

from volc_moderation import Action
from volc_moderation.action import method_name

ROOT = Path(__file__).parent.parent

#: The modules of actions, and the class that has their methods.
CLASSES = {
    "volc_moderation.volcengine.detection": "DetectionMethods",
    "volc_moderation.volcengine.webcast": "WebcastMethods",
    "volc_moderation.volcengine.room": "RoomMethods",
    "volc_moderation.volcengine.message": "MessageMethods",
    "volc_moderation.zego.moderation": "ModerationMethods",
    "volc_moderation.zego.media_service": "MediaServiceMethods",
    "volc_moderation.zego.room": "RoomMethods",
    "volc_moderation.zego.users": "UserMethods",
    "volc_moderation.zego.rules": "RuleMethods",
}

_HEADER = '''"""The actions of ``{module}`` as methods: ``python -m tests.method_source`` has written this file."""

'''


def path_of(module: str) -> Path:
    """Return the file that has the methods of a module of actions."""
    package, _, name = module.rpartition(".")
    return ROOT.joinpath(*package.split("."), "methods", f"{name}.py")


def actions_of(module: str) -> list[type[Action[Any]]]:
    """Return the actions that a module defines, in their order."""
    defined = vars(import_module(module)).values()
    return [one for one in defined if isinstance(one, type) and issubclass(one, Action) and _is_own(one, module)]


def _is_own(action: type, module: str) -> bool:
    return action.__module__ == module and "result" in vars(action)


def source_of(module: str) -> str:
    """Return the file with the methods of a module of actions, not yet formatted."""
    actions = actions_of(module)
    names = {name for action in actions for name in _names_in_signature(action)}
    by_module: dict[str, set[str]] = {"volc_moderation.client": {"Client"}}
    for name in names:
        by_module.setdefault(_home_of(name, module), set()).add(name)
    imports = "".join(
        f"from {home} import {', '.join(sorted(by_module[home]))}\n"
        for home in sorted(by_module, key=lambda home: (home.startswith("volc_moderation"), home))
        if home != "builtins"
    )
    text = _HEADER.format(module=f"{module.rpartition('.')[2]}.py") + imports
    text += f'\n\nclass {CLASSES[module]}(Client):\n    """One method for each action, which it creates and calls."""\n'
    return text + "".join(f"\n{indent(_method(action), '    ')}" for action in actions)


def _method(action: type[Action[Any]]) -> str:
    parameters, arguments = [], []
    for field, annotation in _annotated_fields(action):
        default = "" if field.default is attrs.NOTHING else f" = {field.default!r}"
        parameters.append(f"{field.name}: {annotation}{default}")
        arguments.append(f"{field.name}={field.name}")
    docstring = indent(cleandoc(action.__doc__ or ""), "    ").lstrip()
    return (
        f"async def {method_name(action.name)}(self, *, {', '.join(parameters)}) -> {action.result.__name__}:\n"
        f'    """{docstring}\n    """\n'
        f"    action = {action.name}({', '.join(arguments)})\n"
        "    return (await self.call(action)).result\n"
    )


def _annotated_fields(action: type[Action[Any]]) -> Iterator[tuple["attrs.Attribute[Any]", str]]:
    """Yield the fields of an action, and their annotations as they are written in its class or a base class."""
    annotations: dict[str, str] = {}
    for cls in reversed(action.__mro__):
        if attrs.has(cls) and "__attrs_attrs__" in vars(cls):
            (definition,) = ast.parse(getsource(cls)).body
            assert isinstance(definition, ast.ClassDef)
            for statement in definition.body:
                if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                    annotations[statement.target.id] = ast.unparse(statement.annotation)
    for field in attrs.fields(action):  # type: ignore[arg-type] # each action is an attrs class
        yield field, annotations[field.name]


def _names_in_signature(action: type[Action[Any]]) -> set[str]:
    names = {action.name, action.result.__name__}
    for _, annotation in _annotated_fields(action):
        names |= {node.id for node in ast.walk(ast.parse(annotation)) if isinstance(node, ast.Name)}
    return names


def _home_of(name: str, module: str) -> str:
    """Return the module that defines a name which a module of actions uses."""
    imported = import_module(module)
    if not hasattr(imported, name):
        return "builtins"
    for node in ast.parse(getsource(imported)).body:
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            assert node.module is not None
            return node.module
    return module


def normalized(source: str) -> str:
    """Return a form of a file that does not depend on how it is formatted."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.AsyncFunctionDef, ast.ClassDef)):
            docstring = node.body[0]
            if isinstance(docstring, ast.Expr) and isinstance(docstring.value, ast.Constant):
                docstring.value.value = cleandoc(typing.cast("str", docstring.value.value))
    imports = sorted(
        f"{node.module}.{alias.name}" for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    )
    rest = [node for node in tree.body if not isinstance(node, ast.ImportFrom)]
    return "\n".join([*imports, *map(ast.unparse, rest)])


def main() -> None:
    """Write all files, and format them if ruff is installed."""
    paths = []
    for module in CLASSES:
        path = path_of(module)
        path.parent.mkdir(exist_ok=True)
        path.write_text(source_of(module))
        paths.append(str(path))
    ruff = shutil.which("ruff", path=f"{sys.prefix}/bin") or shutil.which("ruff")
    if ruff is not None:
        subprocess.run([ruff, "check", "-q", "--fix", "--select", "I,D", *paths], check=False)  # noqa: S603 - our own
        subprocess.run([ruff, "format", "-q", *paths], check=False)  # noqa: S603 - our own


if __name__ == "__main__":
    main()
