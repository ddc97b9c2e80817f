"""What is imported when, and that names which are imported late behave like all others."""

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import volc_moderation
from volc_moderation import NotFoundError, Quota, RetryPolicy
from volc_moderation.cli.app import COMMANDS, run
from volc_moderation.volcengine import StopWebcast

PACKAGE = Path(volc_moderation.__file__).parent
#: The packages with names that are imported when they are first used.
LAZY_PACKAGES = [
    "volc_moderation",
    *("volc_moderation.jobs", "volc_moderation.quotas", "volc_moderation.volcengine", "volc_moderation.zego"),
]


def imported_by(program: str) -> set[str]:
    """Return the modules that a program imports in a new process."""
    report = "print(*sys.modules.keys() - before, sep='\\n', file=sys.stderr)"
    return set(run_program(f"import sys; before = {{*sys.modules}}\n{program}\n{report}").stderr.split())


def run_program(program: str, standard_input: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-c", program], input=standard_input, capture_output=True, text=True, check=True
    )


# Modules

#: What no client needs before it is created or makes a call, or ever.
NOT_FOR_CLIENTS = {
    *("aiohttp", "aiolimiter", "cyclopts", "httpx", "httpx2", "redis", "rich", "sqlite3", "starlette", "uvicorn"),
    *("volc_moderation.cli", "volc_moderation.emulator", "volc_moderation.event", "volc_moderation.jobs"),
    *("volc_moderation.quotas.file_quotas", "volc_moderation.quotas.redis_quotas", "volc_moderation.vendors"),
    *("volc_moderation.volcengine.callbacks", "volc_moderation.zego.callbacks"),
}


def test_the_package_imports_nothing_before_a_name_is_used() -> None:
    imported = imported_by("import volc_moderation")
    assert {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names} == {
        *("volc_moderation", "volc_moderation.lazy_imports")
    }
    assert not imported & {"asyncio", "json"}


@pytest.mark.parametrize(("vendor", "other"), [("Volcengine", "zego"), ("Zego", "volcengine")])
def test_a_client_imports_neither_the_other_vendor_nor_what_only_some_calls_need(vendor: str, other: str) -> None:
    imported = imported_by(f"from volc_moderation import {vendor}Client")
    assert f"volc_moderation.{vendor.lower()}.client" in imported
    assert not imported & (NOT_FOR_CLIENTS | {f"volc_moderation.{other}"})


#: Runs pytest without and with the plugin, and prints the modules that only the second run has imported.
COLLECTIONS = """
import pytest, sys
from importlib.metadata import entry_points

(plugin,) = entry_points(group="pytest11", name="volc_moderation")
arguments = ["-q", "--collect-only", "-p", "no:cacheprovider"]
pytest.main(arguments)
before = {*sys.modules}
pytest.main([*arguments, "-p", plugin.value])
print(*sys.modules.keys() - before, file=sys.stderr)
"""


@pytest.mark.slow
def test_the_plugin_of_pytest_imports_nothing_before_a_fixture_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is loaded into every test run in an environment with this package."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test_empty.py").write_text("def test_nothing(): pass\n")
    assert {*run_program(COLLECTIONS).stderr.split()} == {
        *("volc_moderation", "volc_moderation.lazy_imports", "volc_moderation.testing")
    }


def test_the_list_of_commands_imports_no_command() -> None:
    program = (
        "from volc_moderation.cli import main\ntry: main(['--help'])\nexcept SystemExit as ended: assert not ended.code"
    )
    imported = imported_by(program)
    assert not imported & {"asyncio", "httpx", "starlette", "uvicorn", "volc_moderation.client"}
    assert not imported & {f"volc_moderation.cli.{name}" for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_has_the_first_paragraph_of_each_one(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name, "--help"]) == 0
    paragraphs = capsys.readouterr().out.split("\n\n")
    assert " ".join(paragraphs[1].split()) == COMMANDS[name]
    assert run(["--help"]) == 0
    words = capsys.readouterr().out.replace("│", " ").split()
    assert COMMANDS[name] in " ".join(words)


# Names


def names_for_type_checkers(package: str) -> dict[str, str]:
    """Return the names that a package imports for type checkers only, and the modules that they come from."""
    path = importlib.import_module(package).__file__
    assert path is not None
    (block,) = [node for node in ast.parse(Path(path).read_text()).body if isinstance(node, ast.If)]
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_type_checkers_and_python_see_the_same_names(package: str) -> None:
    imported = importlib.import_module(package)
    names = names_for_type_checkers(package)
    assert names
    assert {*names, *imported.__all__} <= {*dir(imported)}
    for name, module in names.items():
        from_module = getattr(importlib.import_module(module), name)
        assert getattr(imported, name) is imported.__getattr__(name) is from_module
    assert set(imported.__all__) >= {*names}


@pytest.mark.slow
def test_submodules_need_no_import_of_their_own() -> None:
    attributes = (
        *("action.Action", "errors.APIError", "quotas.WindowQuotas", "quotas.file_quotas.FileQuotas"),
        *("validators.text", "volcengine.StopWebcast", "volcengine.callbacks.parse", "zego.callbacks.parse"),
    )
    run_program("import volc_moderation\n" + "\n".join(f"volc_moderation.{attribute}" for attribute in attributes))


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_unknown_names_are_refused_as_everywhere(package: str) -> None:
    imported = importlib.import_module(package)
    with pytest.raises(AttributeError) as caught:
        imported.nothing  # noqa: B018
    assert str(caught.value) == f"module '{package}' has no attribute 'nothing'"
    assert (caught.value.name, caught.value.obj) == ("nothing", imported)
    with pytest.raises(ImportError, match=f"cannot import name 'nothing' from '{package}'"):
        exec(f"from {package} import nothing")  # noqa: S102 - our own


@pytest.mark.parametrize("package", LAZY_PACKAGES)
def test_a_star_imports_all_names(package: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from {package} import *", namespace)  # noqa: S102 - our own
    assert {*namespace} - {"__builtins__"} == {*importlib.import_module(package).__all__}


def test_values_can_be_loaded_where_nothing_was_imported() -> None:
    error = NotFoundError("there is none", code="NotFound", action="StopWebcast")
    values = [error, Quota(5), RetryPolicy(attempts=2), StopWebcast(app_id="a", room_id="r", task_id="t")]
    program = "import pickle, sys; print(*map(repr, pickle.loads(bytes.fromhex(sys.stdin.read()))), sep='\\n')"
    loaded = run_program(program, pickle.dumps(values).hex()).stdout
    assert loaded.splitlines() == [*map(repr, values)]


THREADS = f"""
import importlib, threading
names = [(package, name) for package in {LAZY_PACKAGES} for name in importlib.import_module(package).__all__]
barrier, found = threading.Barrier(8), []

def use(shift):
    barrier.wait()
    found.append({{pair: getattr(importlib.import_module(pair[0]), pair[1]) for pair in names[shift:] + names[:shift]}})

threads = [threading.Thread(target=use, args=(len(names) * number // 8,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join(20) for thread in threads]
assert len(found) == 8 and all(one == found[0] for one in found)
"""


@pytest.mark.slow
def test_limits_may_name_actions_before_a_client_was_imported() -> None:
    program = """
from volc_moderation.quotas import WindowQuotas
print(WindowQuotas({"stop_webcast": 50}), WindowQuotas({"StopCensorAudioV2": 50}))
try:
    WindowQuotas({"StopWebCast": 50})
except Exception as error:
    print(error)
"""
    assert run_program(program).stdout.splitlines() == [
        "WindowQuotas({'StopWebcast': 50}) WindowQuotas({'StopCensorAudioV2': 50})",
        "limits: there is no action 'StopWebCast'; is it 'StopWebcast'?",
    ]


def test_threads_may_use_names_for_the_first_time_at_once() -> None:
    run_program(THREADS)
