"""What the contracts of import-linter cannot say: the layers as the documentation draws them, clocks, lengths of files.

The contracts themselves are in ``pyproject.toml``; ``lint-imports`` checks them.
"""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "volc_moderation"
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
#: The packages and modules directly below ``volc_moderation``.
PARTS = sorted({file.split("/")[0].removesuffix(".py") for file in FILES} - {"__init__"})

#: The modules whose contract is that they do no I/O.
RULES = next(
    contract["source_modules"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    if contract["name"] == "Rules do no I/O"
)
CLOCKS = re.compile(r"\b(time\.(time|monotonic|perf_counter)|now|utcnow|today)\(")

MAX_LINES = 400


def imported_modules(file: str) -> set[str]:
    """Return the modules that a file imports, and what it imports from them, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_parts(file: str) -> set[str]:
    """Return the parts of the package that a file imports."""
    names = (name.split(".") for name in imported_modules(file) if name.startswith("volc_moderation."))
    return {name[1] for name in names if name[1] in PARTS}


def documented_layers() -> list[set[str]]:
    """Return the parts in each row of the table of layers, the lowest layer first."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = re.search(r"^\| Layer .*\n\|[ :|-]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    assert table is not None, "docs/architecture.md has a table of layers"
    return [set(re.findall(r"`(\w+)/?`", row.split("|")[2])) for row in table[1].splitlines()]


def test_each_part_is_in_one_documented_layer() -> None:
    assert sorted(part for layer in documented_layers() for part in layer) == PARTS


@pytest.mark.parametrize("file", FILES)
def test_imports_follow_the_documented_layers(file: str) -> None:
    """A part imports only from its own layer and those before it in the table."""
    own = file.split("/", maxsplit=1)[0].removesuffix(".py")
    if own == "__init__":
        return
    layers = documented_layers()
    allowed = set().union(*layers[: next(number for number, layer in enumerate(layers) if own in layer) + 1])
    assert imported_parts(file) <= allowed


@pytest.mark.parametrize("pattern", RULES)
def test_rules_ask_no_clock(pattern: str) -> None:
    """The time is an argument of a rule, so that rules can be tested at any time."""
    files = sorted(ROOT.glob(pattern.replace(".", "/") + ".py"))
    assert files
    for file in files:
        assert not CLOCKS.search(file.read_text()), file


@pytest.mark.parametrize("file", [*FILES, *(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.lua"))])
def test_files_are_short(file: str) -> None:
    assert len((PACKAGE / file).read_text().splitlines()) <= MAX_LINES
