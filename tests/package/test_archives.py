"""What is in the source distribution and in the wheel: all that belongs there, and nothing else."""

import subprocess
import sys
import tomllib
import zipfile
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as policy
from pathlib import Path

import pytest

import volc_moderation
from tests.package.conftest import ROOT, Archives
from tests.package.environments import SUPPORTED

DIST_INFO = f"volc_moderation-{volc_moderation.__version__}.dist-info"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="session")
def wheel(archives: Archives) -> dict[str, bytes]:
    """Return the contents of the wheel by path."""
    with zipfile.ZipFile(archives.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="session")
def metadata(wheel: dict[str, bytes]) -> EmailMessage:
    message = BytesParser(policy=policy).parsebytes(wheel[f"{DIST_INFO}/METADATA"])
    assert isinstance(message, EmailMessage)
    return message


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_source_distribution_has_each_file_of_the_repository(archives: Archives) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    committed = {path for path in listing.stdout.split("\0") if path and (ROOT / path).exists()}
    assert len(committed) > 300
    assert committed <= files_of(archives.source).keys()


def test_the_wheel_has_the_package_of_the_source_distribution_and_nothing_else(
    archives: Archives, wheel: dict[str, bytes]
) -> None:
    source = {f"volc_moderation/{path}": data for path, data in files_of(archives.source / "volc_moderation").items()}
    assert {path: data for path, data in wheel.items() if not path.startswith(f"{DIST_INFO}/")} == source
    assert {path.removeprefix(f"{DIST_INFO}/") for path in wheel.keys() - source.keys()} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    assert wheel["volc_moderation/py.typed"] == b""
    assert {"volc_moderation/report/report.html", "volc_moderation/quotas/grant_permits.lua"} <= wheel.keys()
    assert wheel[f"{DIST_INFO}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


def test_neither_has_what_only_this_machine_has(archives: Archives, wheel: dict[str, bytes]) -> None:
    """Neither a path, nor what programs leave behind."""
    folders = {str(folder).encode() for folder in (ROOT, Path.home(), sys.prefix, sys.base_prefix)} - {b"/usr", b"/"}
    for path, data in (*wheel.items(), *files_of(archives.source).items()):
        assert not any(folder in data for folder in folders), path
        assert not {"__pycache__", ".hypothesis", ".venv", "dist"} & {*Path(path).parts}, path
        assert not path.endswith((".pyc", ".db", ".log", ".orig")), path


def test_the_metadata_say_what_the_package_needs(metadata: EmailMessage) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("volc_moderation", volc_moderation.__version__)
    assert metadata["Summary"] == PROJECT["description"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("MIT", ["LICENSE"])
    classifiers = metadata.get_all("Classifier")
    assert classifiers is not None
    versions = {one.rpartition(" ")[2] for one in classifiers if one.startswith("Programming Language :: Python :: 3.")}
    assert versions == set(SUPPORTED)
    assert "Typing :: Typed" in classifiers
    requirements = metadata.get_all("Requires-Dist")
    assert requirements is not None
    core = {one.split(">")[0].split("<")[0] for one in requirements if "extra ==" not in one}
    assert core == {"aiolimiter", "attrs", "cattrs", "httpx", "tenacity"}
    extras = metadata.get_all("Provides-Extra")
    assert extras is not None
    assert set(extras) == PROJECT["optional-dependencies"].keys()
    for extra in extras:
        assert any(f"extra == '{extra}'" in one for one in requirements), extra


def test_the_entry_points_are_the_command_and_the_plugin(wheel: dict[str, bytes]) -> None:
    lines = wheel[f"{DIST_INFO}/entry_points.txt"].decode().split("\n\n")
    assert [part.strip() for part in lines] == [
        "[console_scripts]\nvolc-moderation = volc_moderation.cli:main",
        "[pytest11]\nvolc_moderation = volc_moderation.testing",
    ]
