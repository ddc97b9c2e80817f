"""The documentation is true: its programs and commands run as they stand, and its links lead somewhere.

Programs and commands run against the emulator, each program in a process of its own and the commands of a page in one
shell. A comment ``# prints: …`` in either is the expected output.
"""

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.doubles import environment
from volc_moderation.emulator import EmulatorProcess

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()

MAX_README_LINES = 150

#: Commands that are not run, by how they begin, with the reason.
NOT_RUN = {
    "python3 -m venv": "sets up an environment; the README's two commands are those of .ci/run",
    "pip install": "sets up an environment",
    "python -m pip install": "sets up an environment",
    ".venv/bin/python -m build": "builds a release",
    "python -m benchmarks": "takes forty minutes or more",
    "volc-moderation emulator": "serves until it is interrupted; tested with the command line",
    "volc-moderation demo": "takes 15 s; tested, smaller, with the command line",
    "uvicorn app:app": "serves until it is interrupted; tested with the webhooks",
    "curl": "needs an emulator at its usual port; tested with the emulator",
    "volc-moderation worker": "needs many machines, or a Redis and two shells; tested with the command line",
    "volc-moderation bulk stops.csv --action StopWebcast --set app_id=app --engine workers": "needs a worker",
}


@attrs.frozen
class Block:
    """A block of code of a page."""

    page: str
    line: int
    language: str
    text: str

    @property
    def printed(self) -> list[str]:
        """The lines that it prints, according to its comments."""
        return re.findall(r"# prints: (.+)$", self.text, re.MULTILINE)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks() -> Iterator[Block]:
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 2
            yield Block(page.relative_to(ROOT).as_posix(), line, match[1], match[2])


BLOCKS = list(_blocks())
PROGRAMS = [block for block in BLOCKS if block.language == "python" and "def test_" not in block.text]
TESTS = [block for block in BLOCKS if block.language == "python" and "def test_" in block.text]
SHELL = [block for block in BLOCKS if block.language == "sh"]


def _is_run(command: str) -> bool:
    return not any(command.startswith(beginning) for beginning in NOT_RUN)


def _commands(page: str) -> list[str]:
    """Return the commands of a page that are run."""
    lines = [line for block in SHELL if block.page == page for line in block.text.splitlines()]
    return [line for line in lines if not line.startswith("#") and _is_run(line)]


async def _run(emulator: EmulatorProcess, *command: str, cwd: Path) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=os.environ
        | environment(emulator.base_url)
        | {"PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "PYTHONWARNINGS": "error"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode, output.decode()


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=str)
async def test_programs_run(
    emulator: EmulatorProcess,
    program: Block,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    (tmp_path / "benchmarks").symlink_to(ROOT / "benchmarks")
    for variable in ("REDIS_URL", "VOLC_MODERATION_REDIS"):
        if variable in program.text:
            request.getfixturevalue("redis")
            monkeypatch.setenv(variable, request.getfixturevalue("valkey"))
    code, output = await _run(emulator, sys.executable, "-c", program.text, cwd=tmp_path)
    assert (code, output.splitlines()) == (0, program.printed)


@pytest.mark.slow
@pytest.mark.parametrize("mode", [None, "strict", "auto"])
async def test_tests_of_users_run(
    emulator: EmulatorProcess, mode: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They need only the plugins that come with this package, and also run with pytest-asyncio."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tests,) = TESTS
    (tmp_path / "test_ours.py").write_text(tests.text)
    settings = ["[pytest]", "addopts = -q --strict-markers -p anyio -p volc_moderation", "filterwarnings = error"]
    if mode:
        settings[1] += " -p pytest_asyncio.plugin"
        settings += [f"asyncio_mode = {mode}", "asyncio_default_fixture_loop_scope = function"]
    (tmp_path / "pytest.ini").write_text("\n".join(settings))
    code, output = await _run(emulator, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", cwd=tmp_path)
    assert code == 0, output
    assert "2 passed" in output


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({block.page for block in SHELL if _commands(block.page)}))
async def test_commands_run(emulator: EmulatorProcess, page: str, tmp_path: Path) -> None:
    commands = _commands(page)
    code, output = await _run(emulator, "bash", "-e", "-c", "\n".join(commands), cwd=tmp_path)
    assert code == 0, output
    rest = output
    for text in (text for block in SHELL if block.page == page for text in block.printed):
        assert text in rest, output
        rest = rest.partition(text)[2]
    for file in re.findall(r"--(?:report|output) (\S+)", "\n".join(commands)):
        assert (tmp_path / file).is_file()


def test_every_reason_not_to_run_a_command_is_needed() -> None:
    lines = [line for block in SHELL for line in block.text.splitlines()]
    assert not [beginning for beginning in NOT_RUN if not any(line.startswith(beginning) for line in lines)]


def test_the_two_commands_are_those_of_ci() -> None:
    """CI does what the README says; the demo of the first command is tested, smaller, with the command line."""
    ci = (ROOT / ".ci" / "run").read_text()
    first, second = (line for line in README.splitlines() if line.startswith("python3 -m venv .venv && "))
    assert first.endswith("volc-moderation demo")
    parts = second.split(" && ")[1:]
    assert parts
    for part in parts:
        assert part in ci


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= MAX_README_LINES


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    assert links
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in _anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_and_modules_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    folders = (ROOT, ROOT / "volc_moderation", ROOT / "volc_moderation" / "volcengine")
    for path in re.findall(r"`([\w./-]+\.(?:py|lua|md|svg|toml))`", text):
        assert any((folder / path).is_file() for folder in folders), path
    for module in re.findall(r"python -m (benchmarks\.\w+)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def test_every_page_is_linked_from_the_readme() -> None:
    assert {path.name for path in PAGES[2:]} <= {Path(link).name for link in re.findall(r"\]\((docs/\S+)\)", README)}
