"""What a result must say of where it was measured."""

import os
import platform
from importlib.metadata import version


def describe_machine(*packages: str) -> str:
    """Return Python, system, cores and the versions of ``packages`` in one line."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()}, {os.cpu_count()} cores; {versions}"
