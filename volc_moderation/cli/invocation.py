"""How the program was invoked, so that the commands that it prints run when they are pasted."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

#: The name of the script that an installation creates.
SCRIPT = "volc-moderation"


def command_line(*words: str | Path) -> str:
    """Return a command of this program for the shell, quoted. Give files as paths, not as str."""
    line = [*program(), *(_argument(word) if isinstance(word, Path) else word for word in words)]
    return subprocess.list2cmdline(line) if os.name == "nt" else shlex.join(line)


def _argument(path: Path) -> str:
    """Return a path that is not taken for an option if it begins with a hyphen. ``-`` is a standard stream."""
    name = str(path)
    return os.path.join(os.curdir, name) if name.startswith("-") and name != "-" else name  # noqa: PTH118 - keeps the dot


def program() -> list[str]:
    """Return the words that invoke this program again: the script as it was invoked, or Python with the package."""
    script = sys.argv[0]
    if Path(script).stem != SCRIPT or not Path(script).exists():  # python -m, or a program that imports the package
        return [_python(), "-m", "volc_moderation"]
    found = shutil.which(SCRIPT)
    if found is not None and os.path.samefile(found, script):  # noqa: PTH121 - shorter
        return [SCRIPT]
    return [script if os.path.dirname(script) else os.path.join(os.curdir, script)]  # noqa: PTH118, PTH120 - as above


def _python() -> str:
    """Return the interpreter: its name if the shell finds it by that, else its path."""
    for name in ("python", "python3"):
        # A virtual environment is known by the path of its interpreter, so that symbolic links are not followed.
        if shutil.which(name) == sys.executable:
            return name
    return sys.executable
