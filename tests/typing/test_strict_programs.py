"""basedpyright accepts what users write, in its strict mode. mypy does the same in ``tests/package``."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.typing.programs import SOURCES, WRONG_LINES, lines_with_errors, write_programs


def test_there_are_programs_of_all_kinds() -> None:
    kinds = {re.split(r"[/_]", name)[0] for name in SOURCES}
    assert {"CONTRIBUTING", "README", "docs", "examples", "public"} <= kinds
    assert len(SOURCES) > 20


@pytest.mark.slow
def test_basedpyright_accepts_every_program(tmp_path: Path) -> None:
    write_programs(tmp_path)
    settings = {"include": ["."], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable, "--level", "error"]
    checked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert lines_with_errors(checked.stdout) == WRONG_LINES, checked.stdout + checked.stderr
