"""Virtual environments that have what a user has, and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from attrs import frozen

#: The versions of Python that the package supports.
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")

#: Variables that would let a program find this checkout, this environment, or the measurement of this run.
_OF_THIS_RUN = ("COVERAGE", "COV_", "PYTEST", "PYTHON", "VIRTUAL_ENV", "MYPY")


def interpreters() -> dict[str, str]:
    """Return the path of each supported Python that is installed: always of the running one."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for version in SUPPORTED:
        named = shutil.which(f"python{version}")
        paths = [*([named] if named else []), *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
        for path in filter(_runs, paths):
            found.setdefault(version, path)
    return found


def _runs(path: str) -> bool:
    """Return whether it starts and can create environments. The name may be a shim that leads nowhere."""
    return subprocess.run([path, "-c", "import ensurepip"], capture_output=True, check=False).returncode == 0  # noqa: S603


def variables(**more: str) -> dict[str, str]:
    """Return the variables of a program that is to see none of this run."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_OF_THIS_RUN)} | more


@frozen
class Environment:
    """A virtual environment."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, *requirements: str, interpreter: str = sys.executable) -> "Environment":
        """Create it with one of the interpreters, and install what is required."""
        subprocess.run([interpreter, "-m", "venv", folder], check=True, env=variables())  # noqa: S603
        environment = cls(folder)
        installed = environment.run("python", "-m", "pip", "install", "-q", "--no-compile", *requirements)
        assert installed.returncode == 0, installed.stderr
        return environment

    def path(self, program: str) -> Path:
        """Return the path of an installed program."""
        return self.folder / "bin" / program

    def run(self, program: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run an installed program in the environment's folder: no source is there."""
        return self.run_in(self.folder, program, *arguments, **more)

    def run_in(self, cwd: Path, program: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run an installed program in a folder. Its output is captured, and its exit status is not checked."""
        return subprocess.run(  # noqa: S603 - our own
            [self.path(program), *arguments],
            cwd=cwd,
            env=variables(**more),
            capture_output=True,
            text=True,
            check=False,
        )
