"""basedpyright and mypy, both strict, accept what users write: the examples and the programs of the documentation.

They also check ``public_api.py``, which pins what they infer. They find the package as programs elsewhere do.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_docs import PROGRAMS, ROOT, TESTS

#: The programs by the name of their page and their line, and the files.
SOURCES = {
    **{f"{block.page.removesuffix('.md')}_{block.line}.py": block.text for block in (*PROGRAMS, *TESTS)},
    **{path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "examples").glob("*.py")},
    "public_api.py": (Path(__file__).parent / "public_api.py").read_text(),
}

#: Two errors, in the lines 5 and 6: a checker that accepts them checks nothing.
WRONG = """
from volc_moderation import VolcengineClient
from volc_moderation.jobs import Jobs

client = VolcengineClient(access_key="AK", secret_key="SK", deadline="5")
jobs = Jobs("stops.db", clients=[print])
"""

CHECKERS = {
    "basedpyright": ["--pythonpath", sys.executable],
    "mypy": ["--strict", "--python-version", "3.11", "."],
}


def test_there_are_programs_of_all_kinds() -> None:
    kinds = {re.split(r"[/_]", name)[0] for name in SOURCES}
    assert {"CONTRIBUTING", "README", "docs", "examples", "public"} <= kinds
    assert len(SOURCES) > 20


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_every_program_is_strictly_typed(checker: str, tmp_path: Path) -> None:
    for name, text in {**SOURCES, "wrong.py": WRONG}.items():
        (tmp_path / name.replace("/", "_")).write_text(text)
    settings = {"include": ["."], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    process = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-m", checker, *CHECKERS[checker]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    errors = re.findall(r"([\w-]+\.py):(\d+)\b.* error: ", process.stdout)
    assert set(errors) == {("wrong.py", "5"), ("wrong.py", "6")}, process.stdout + process.stderr
