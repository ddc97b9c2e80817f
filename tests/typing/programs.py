"""What users write: the examples, the programs of the pages, and ``public_api.py``, which pins inferred types."""

import re
from pathlib import Path

from tests.test_docs import PROGRAMS, ROOT, TESTS

#: The programs by the name of their page and their line, and the files.
SOURCES = {
    **{f"{block.page.removesuffix('.md')}_{block.line}.py": block.text for block in (*PROGRAMS, *TESTS)},
    **{path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "examples").glob("*.py")},
    "public_api.py": (Path(__file__).parent / "public_api.py").read_text(),
}

#: A program with two errors: a checker that accepts it does not see the types of the package.
WRONG = """
from volc_moderation import VolcengineClient
from volc_moderation.jobs import Jobs

client = VolcengineClient(access_key="AK", secret_key="SK", deadline="5")
jobs = Jobs("stops.db", clients=[print])
"""
WRONG_LINES = {("wrong.py", "5"), ("wrong.py", "6")}


def write_programs(folder: Path) -> None:
    """Write all programs, and the wrong one, into a folder outside of this tree."""
    for name, text in {**SOURCES, "wrong.py": WRONG}.items():
        (folder / name.replace("/", "_")).write_text(text)


def lines_with_errors(output: str) -> set[tuple[str, str]]:
    """Return the file and the line of each error that basedpyright or mypy has printed."""
    return set(re.findall(r"([\w-]+\.py):(\d+)\b.* error: ", output))
