"""What is run before a change lands, one session each: ``nox -l`` lists them, ``nox -s lint types`` runs some."""

import shutil
import subprocess
import tomllib
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["tests", "package", "lint", "types"]


def _runs(version: str) -> bool:
    """Return whether a version of Python is installed. The name alone may be a shim that leads nowhere."""
    path = shutil.which(f"python{version}")
    return path is not None and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0  # noqa: S603 - Python itself


#: The versions of Python that the package supports; sessions run on those that are installed.
PYTHONS = [version for version in ("3.11", "3.12", "3.13", "3.14") if _runs(version)]
#: The extras that users install; the others are for work on the package.
RUNTIME_EXTRAS = ("httpx2", "webhooks", "redis", "emulator", "cli", "otel", "parquet")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests, or those that the arguments name: ``nox -s tests-3.11 -- -m 'not slow'``."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-q", "-n", "4", *session.posargs)


@nox.session(python=PYTHONS[:1])
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions of the dependencies that pyproject.toml allows."""
    constraints = Path(session.create_tmp()) / "lowest.txt"
    constraints.write_text("\n".join(_lowest_versions()), encoding="utf-8")
    session.install("-e", ".[test]", "-c", str(constraints))
    session.run("python", "-m", "pytest", "-q", "-n", "4", *session.posargs)


@nox.session(python=PYTHONS[:1])
def package(session: nox.Session) -> None:
    """Build the archives, and try them in fresh environments, on each Python that is installed."""
    session.install("-e", ".[package]")
    session.run("python", "-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "tests/package", *session.posargs)


@nox.session(python=PYTHONS[:1])
def lint(session: nox.Session) -> None:
    """Check style, format and the layers of the package."""
    session.install("-e", ".[lint]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("lint-imports")


@nox.session(python=PYTHONS[:1])
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[lint]")
    session.run("mypy")


@nox.session(python=PYTHONS[:1])
def benchmarks(session: nox.Session) -> None:
    """Run all benchmarks, or those that the arguments name: ``nox -s benchmarks -- quota``. All take fifty minutes."""
    session.install("-e", ".[bench]")
    for name in session.posargs or [""]:
        session.run("python", "-m", f"benchmarks.{name}".rstrip("."))


def _lowest_versions() -> list[str]:
    """Return a constraint for each dependency of users: the version after its ``>=``."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"]]
    for extra in RUNTIME_EXTRAS:
        requirements += project["optional-dependencies"][extra]
    pairs = (requirement.split(",")[0].split(">=") for requirement in requirements if ">=" in requirement)
    return sorted({f"{name.partition('[')[0]}=={version}" for name, version in pairs})
