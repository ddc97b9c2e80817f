"""Without a package of an extra, whatever needs it says in one sentence how to install it; the rest works."""

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from tests.test_public_api import PUBLIC_MODULES
from volc_moderation.cli import main
from volc_moderation.extras import PACKAGES, require_extra

ROOT = Path(__file__).parent.parent

#: Executes statements, each without some packages, and prints the type, the text and the ``name`` of their errors.
STATEMENTS = """
import json, sys

class Blocker:
    packages = ()

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.packages:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
errors = []
for packages, statement in json.load(sys.stdin):
    for module in [*sys.modules]:
        if module.partition(".")[0] in packages or module.startswith(("volc_moderation.emul", "volc_moderation.webh")):
            del sys.modules[module]
    Blocker.packages = packages
    try:
        exec(statement, {})
        errors.append(None)
    except Exception as error:
        errors.append((type(error).__name__, str(error), getattr(error, "name", None)))
print(json.dumps(errors))
"""


def errors_of(*statements: tuple[list[str], str]) -> list[Any]:
    """Return the errors of statements, each executed without some packages, in a new process."""
    ended = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", STATEMENTS], input=json.dumps(statements), stdout=subprocess.PIPE, text=True, check=True
    )
    errors: list[Any] = json.loads(ended.stdout)
    return errors


#: What no user of the core has. h11 comes with httpx.
ABSENT = sorted({package for packages in PACKAGES.values() for package in packages} - {"h11"})
NEED_REDIS = {
    "RedisQuotas": "from volc_moderation import RedisQuotas; RedisQuotas('redis://host')",
    "DistributedJobs": "from volc_moderation.jobs.distributed import DistributedJobs as jobs\n"
    "jobs('redis://host', clients=[])",
    "RedisDedupeStore": "from volc_moderation.webhooks import RedisDedupeStore; RedisDedupeStore('redis://host')",
}


@pytest.mark.slow
def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    modules = [(ABSENT, f"import {module}") for module in PUBLIC_MODULES]
    single = [
        ([package], f"import volc_moderation.{extra}")
        for extra in ("webhooks", "emulator")
        for package in PACKAGES[extra]
    ]
    redis = [(["redis"], statement) for statement in NEED_REDIS.values()]
    errors = errors_of(*modules, *single, *redis)
    assert dict(zip(PUBLIC_MODULES, errors, strict=False)) == {
        **dict.fromkeys(PUBLIC_MODULES),
        "volc_moderation.emulator": missing("starlette", "emulator"),
        "volc_moderation.webhooks": missing("starlette", "webhooks"),
    }
    assert errors[len(modules) : -len(redis)] == [
        missing(package, extra) for extra in ("webhooks", "emulator") for package in PACKAGES[extra]
    ]
    assert errors[-len(redis) :] == [
        ["ConfigurationError", f"{name} needs redis: pip install 'volc_moderation[redis]'", None] for name in NEED_REDIS
    ]


def missing(package: str, extra: str) -> list[str]:
    """Return the error of a module that is named like its extra."""
    sentence = f"volc_moderation.{extra} needs {package}: pip install 'volc_moderation[{extra}]'"
    return ["ModuleNotFoundError", sentence, package]


@pytest.mark.slow
def test_other_errors_of_imports_are_shown_as_they_are(tmp_path: Path) -> None:
    """A package that is too old or broken is not to be installed; nor is a missing one that a package needs."""
    contents = {"starlette": "", "redis": "import absent_dependency"}
    for package, content in contents.items():
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(content)
    first = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    assert errors_of(([], f"{first} import volc_moderation.webhooks"), ([], NEED_REDIS["RedisQuotas"])) == [
        ["ModuleNotFoundError", "No module named 'starlette.requests'", "starlette.requests"],
        ["ConfigurationError", "No module named 'absent_dependency'", None],
    ]


@pytest.mark.parametrize("package", PACKAGES["cli"])
def test_the_command_line_needs_its_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == f"volc-moderation needs {package}: pip install 'volc_moderation[cli]'"


@pytest.mark.slow
def test_a_test_that_needs_the_emulator_says_so(tmp_path: Path) -> None:
    """Also: the callbacks need no extra."""
    (tmp_path / "test_ours.py").write_text(
        "import sys\n"
        "sys.modules['uvicorn'] = None\n"
        "from volc_moderation.testing import ModerationEmulator\n"
        "def test_the_emulator(moderation_emulator: ModerationEmulator): pass\n"
        "def test_callbacks(volcengine_callback, zego_callback): assert volcengine_callback() and zego_callback()\n"
    )
    (plugin,) = entry_points(group="pytest11", name="volc_moderation")
    ended = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "pytest", "-p", plugin.value, "-p", "no:cacheprovider", "--tb=short", tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=tmp_path,
    )
    _, heading, *error, _ = ended.stdout[ended.stdout.index("= ERRORS") : ended.stdout.index("= short")].splitlines()
    assert "test_the_emulator" in heading
    assert error == ["moderation_emulator needs uvicorn: pip install 'volc_moderation[emulator]'"]
    assert "1 passed, 1 error" in ended.stdout


def test_a_fake_module_counts_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", type(sys)("redis"))
    require_extra("redis", used_by="a test")


def test_the_extras_are_those_of_the_distribution() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def packages(extra: str) -> set[str]:
        names = {re.split(r"[\[<>=;]", requirement)[0].replace("-", "_") for requirement in extras[extra]}
        included = re.findall(r"volc_moderation\[(.*?)\]", " ".join(extras[extra]))
        return names.union(*(packages(name) for names in included for name in names.split(",")))

    for extra, imported in PACKAGES.items():
        assert packages(extra) >= {*imported}
