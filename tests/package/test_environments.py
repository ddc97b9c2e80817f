"""The wheel in fresh environments: with the core dependencies on each Python that is there, and with its commands."""

import json
import sys
from pathlib import Path

import pytest

from tests.doubles import environment as settings_for
from tests.package.conftest import Archives
from tests.package.environments import Environment, interpreters
from tests.test_docs import PROGRAMS
from tests.test_public_api import PUBLIC_MODULES
from tests.typing.programs import WRONG_LINES, lines_with_errors, write_programs
from volc_moderation.extras import PACKAGES
from volc_moderation.testing import ModerationEmulator

INTERPRETERS = interpreters()

#: Prints where the package was found, and for each module the error of its import.
IMPORT = """
import importlib, json, sys
errors = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
        errors[name] = None
    except ImportError as error:
        errors[name] = str(error)
import volc_moderation
print(json.dumps([volc_moderation.__file__, errors]))
"""

#: What users of the core do not have. h11 comes with httpx.
OF_EXTRAS = sorted({package for packages in PACKAGES.values() for package in packages} - {"h11"})


@pytest.fixture(scope="module", params=INTERPRETERS)
def core(request: pytest.FixtureRequest, archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Create an environment with the core dependencies only."""
    folder = tmp_path_factory.mktemp("core") / "environment"
    return Environment.create(folder, str(archives.wheel), interpreter=INTERPRETERS[request.param])


@pytest.fixture(scope="module")
def commands(archives: Archives, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Create an environment with the command line, and with what the programs of the documentation import."""
    folder = tmp_path_factory.mktemp("commands") / "environment"
    return Environment.create(
        folder, archives.requirement("cli", "otel", "webhooks"), "fastapi", "opentelemetry-sdk", "pytest"
    )


def test_the_running_python_is_tried() -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in INTERPRETERS


def test_the_core_is_enough(core: Environment, moderation_emulator: ModerationEmulator) -> None:
    """Every public module is imported or names what it needs, and the README's first program runs."""
    conflicts = core.run("python", "-m", "pip", "check")
    assert conflicts.returncode == 0, conflicts.stdout

    imported = core.run("python", "-W", "error", "-c", IMPORT, *PUBLIC_MODULES, *OF_EXTRAS)
    assert imported.returncode == 0, imported.stderr
    file, errors = json.loads(imported.stdout)
    assert Path(file).is_relative_to(core.folder)
    assert {name: error for name, error in errors.items() if error is not None} == {
        **{package: f"No module named {package!r}" for package in OF_EXTRAS},
        "volc_moderation.emulator": missing("volc_moderation.emulator", "starlette", "emulator"),
        "volc_moderation.testing": "No module named 'pytest'",
        "volc_moderation.webhooks": missing("volc_moderation.webhooks", "starlette", "webhooks"),
    }

    program = PROGRAMS[0]
    assert program.page == "README.md"
    ended = core.run("python", "-W", "error", "-c", program.text, **settings_for(moderation_emulator.base_url))
    assert (ended.returncode, ended.stderr, ended.stdout.splitlines()) == (0, "", program.printed)


def missing(user: str, package: str, extra: str) -> str:
    return f"{user} needs {package}: pip install 'volc_moderation[{extra}]'"


@pytest.mark.parametrize("command", [["volc-moderation"], ["python", "-m", "volc_moderation"]], ids=" ".join)
def test_the_commands_name_the_extra_that_they_need(core: Environment, command: list[str]) -> None:
    ended = core.run(*command)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == f"{missing('volc-moderation', 'cyclopts', 'cli')}\n"


@pytest.mark.parametrize("command", [["volc-moderation"], ["python", "-m", "volc_moderation"]], ids=" ".join)
def test_the_commands_run(commands: Environment, command: list[str]) -> None:
    ended = commands.run(*command, "--version")
    assert (ended.returncode, ended.stderr) == (0, "")


def test_pytest_finds_the_plugin(commands: Environment, tmp_path: Path) -> None:
    (tmp_path / "test_ours.py").write_text(
        "def test_the_emulator_runs(moderation_emulator):\n    assert moderation_emulator.counts() == {}\n"
    )
    ended = commands.run_in(tmp_path, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


def test_mypy_sees_the_types_of_the_package_and_accepts_every_program(commands: Environment, tmp_path: Path) -> None:
    write_programs(tmp_path)
    options = ("--strict", "--python-executable", str(commands.path("python")))
    checked = Environment(Path(sys.prefix)).run_in(tmp_path, "python", "-m", "mypy", *options, ".")
    assert lines_with_errors(checked.stdout) == WRONG_LINES, checked.stdout + checked.stderr
