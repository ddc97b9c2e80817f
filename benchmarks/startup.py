"""The time of the imports, and of ``volc-moderation --help``: ``python -m benchmarks.startup``.

Each runs in a new interpreter, in alternate rounds; the best round counts, less that of an interpreter that imports
nothing. The command counts as a whole.
"""

import shutil
import subprocess
import sys
import time
from pathlib import Path

from matplotlib.axes import Axes

from benchmarks.results import Result, bars

ROUNDS = 20
NOTHING = "pass"
HTTPX = "import httpx"
PACKAGE = "import volc_moderation"
CLIENT = "from volc_moderation import VolcengineClient"
STATEMENTS = (NOTHING, HTTPX, PACKAGE, CLIENT)
COMMAND = "volc-moderation --help"
MAX_IMPORT_RATIO = 1.3
MAX_COMMAND_TIME = 0.2  # seconds


def best_times() -> dict[str, float]:
    """Return the seconds that each statement and the command take."""
    command = shutil.which("volc-moderation", path=str(Path(sys.executable).parent))
    assert command is not None, "volc-moderation is not installed beside this Python"
    processes = {statement: [sys.executable, "-c", statement] for statement in STATEMENTS} | {
        COMMAND: [command, "--help"]
    }
    best = dict.fromkeys(processes, 60.0)
    for _ in range(ROUNDS):
        for what, arguments in processes.items():
            began = time.perf_counter()
            subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own
            best[what] = min(best[what], time.perf_counter() - began)
    return best


def main() -> None:
    result = Result("startup", "imports and the command", "httpx", "attrs", "cattrs", "cyclopts", "rich", rounds=ROUNDS)
    best = best_times()
    times = {statement: best[statement] - best[NOTHING] for statement in STATEMENTS[1:]} | {COMMAND: best[COMMAND]}
    for what, seconds in times.items():
        result.add(what=what, ms=seconds * 1e3, of_httpx=None if what == COMMAND else seconds / times[HTTPX])
    for statement in (PACKAGE, CLIENT):
        result.goal(f"{statement}, to {HTTPX}", times[statement] / times[HTTPX], at_most=MAX_IMPORT_RATIO)
    result.goal(f"seconds of {COMMAND}", times[COMMAND], at_most=MAX_COMMAND_TIME)

    def draw(panels: list[Axes]) -> None:
        bars(panels[0], list(times), [seconds * 1e3 for seconds in times.values()], "ms")

    result.finish(draw)


if __name__ == "__main__":
    main()
