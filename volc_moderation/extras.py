"""What this package says if a package is missing that one of its extras installs.

The emulator uses this module, too, so it imports nothing of the clients.
"""

import sys
from importlib.util import find_spec

__all__ = ["PACKAGES", "require_extra"]

#: The packages of each extra that are imported.
PACKAGES = {
    "cli": ("cyclopts", "rich", "starlette", "uvicorn", "h11"),
    "emulator": ("starlette", "uvicorn", "h11"),
    "parquet": ("pyarrow",),
    "redis": ("redis",),
    "webhooks": ("starlette",),
}


def require_extra(extra: str, *, used_by: str) -> None:
    """Raise ``ModuleNotFoundError`` if a package of an extra is not installed. Its text says how to install it.

    Call it before the packages are imported: then whatever is wrong with one that is installed stays as it is.

    :param used_by: what needs the extra, for the message.
    """
    for package in PACKAGES[extra]:
        if not _is_installed(package):
            reason = f"{used_by} needs {package}: pip install 'volc_moderation[{extra}]'"
            raise ModuleNotFoundError(reason, name=package)


def _is_installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    try:
        return find_spec(package) is not None
    except ImportError:  # of a finder that lets nobody import it
        return False
