"""The command ``volc-moderation``: calls from the shell, runs of files of calls, an emulator and a demo."""

import sys

#: The packages that the extra ``cli`` installs.
EXTRA_PACKAGES = {"cyclopts", "h11", "rich", "starlette", "uvicorn"}


def main(arguments: list[str] | None = None) -> None:
    """Run the command with ``arguments``, by default those of the process, and exit with an ``ExitCode``."""
    try:
        from volc_moderation.cli.app import run  # noqa: PLC0415 - needs the extra

        code = run(sys.argv[1:] if arguments is None else arguments)
    except ImportError as error:  # cyclopts imports commands lazily, and raises an ImportError of its own
        missing = str(getattr(error.__cause__ or error, "name", None)).partition(".")[0]
        if missing not in EXTRA_PACKAGES:
            raise
        sys.exit(f"{missing} is not installed: pip install 'volc_moderation[cli]'")
    sys.exit(code)
