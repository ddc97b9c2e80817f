"""Names of a package that are imported when they are first used, so that a program imports only what it needs.

The names and their modules are in a package's ``__init__.py`` twice: under ``TYPE_CHECKING`` for type checkers, and as
the argument of ``lazy_names`` for Python. ``tests/test_imports.py`` compares the two.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module


def lazy_names(
    package: str, names_by_module: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    :param names_by_module: the names that the package takes from each of its modules. The modules are attributes, too.
    """
    module_of = {name: module for module, names in names_by_module.items() for name in names}

    def get(name: str) -> object:
        if name in names_by_module:
            return import_module(f"{package}.{name}")  # which also sets the attribute
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name, obj=sys.modules[package])
        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next use does not come here
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names_by_module, *module_of})

    return get, list_names
