"""The command ``volc-moderation``: a demo, the emulator, and any call from the shell."""

import sys


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 the vendor or the way to it said no, 2 bad usage."""
    try:
        from volc_moderation.cli.app import run  # noqa: PLC0415 - the command is an extra
    except ModuleNotFoundError as missing:
        if missing.name not in {"cyclopts", "rich", "starlette", "uvicorn"}:
            raise
        sys.exit(f"{missing.name} is not installed: pip install 'volc_moderation[cli]'")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
