"""The source distribution's own tests, in an environment that was made as its README says."""

from pathlib import Path

import pytest

from tests.package.conftest import Archives
from tests.package.environments import Environment


@pytest.mark.timeout(300)
def test_the_tests_of_the_source_distribution_pass(archives: Archives, tmp_path: Path) -> None:
    """The quick ones, with what the wheel's extra ``test`` installs. The others need no further files."""
    environment = Environment.create(tmp_path / "environment", archives.requirement("test"))
    arguments = ("-m", "pytest", "-q", "-n", "2", "-m", "not slow", "-p", "no:cacheprovider")
    ended = environment.run_in(archives.source, "python", *arguments)
    assert ended.returncode == 0, ended.stdout
    summary = ended.stdout.splitlines()[-1]
    assert "passed" in summary
    assert "skipped" not in summary
