"""Fixtures: the archives of a release, built as the release is built."""

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from attrs import frozen

from tests.package.environments import variables

ROOT = Path(__file__).parent.parent.parent


@frozen
class Archives:
    """The source distribution, also unpacked, and the wheel, which was built from it."""

    sdist: Path
    wheel: Path
    source: Path

    def requirement(self, *extras: str) -> str:
        """Return what makes pip install the wheel with some extras."""
        return f"volc_moderation[{','.join(extras)}] @ {self.wheel.as_uri()}"


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, env=variables(), capture_output=True
    )
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    unpacked = tmp_path_factory.mktemp("source")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    return Archives(sdist, wheel, source)
