"""The command ``volc-moderation``: a demo, the emulator, and any call from the shell."""

import sys

#: What the extra ``cli`` brings.
EXTRA = {"cyclopts", "h11", "rich", "starlette", "uvicorn"}


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 the vendor or the way to it said no, 2 bad usage."""
    try:
        from volc_moderation.cli.app import run  # noqa: PLC0415 - the command is an extra

        code = run(sys.argv[1:] if arguments is None else arguments)
    except ImportError as error:  # cyclopts, which loads a command when it is wanted, says it with one of its own
        missing = str(getattr(error.__cause__ or error, "name", None)).partition(".")[0]
        if missing not in EXTRA:
            raise
        sys.exit(f"{missing} is not installed: pip install 'volc_moderation[cli]'")
    sys.exit(code)
