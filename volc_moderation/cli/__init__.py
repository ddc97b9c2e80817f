"""The command ``volc-moderation``: calls from the shell, runs of files of calls, an emulator and a demo."""

import sys

from volc_moderation.extras import require_extra


def main(arguments: list[str] | None = None) -> None:
    """Run the command with ``arguments``, by default those of the process, and exit with an ``ExitCode``."""
    try:
        require_extra("cli", used_by="volc-moderation")
    except ModuleNotFoundError as error:
        sys.exit(str(error))
    from volc_moderation.cli.app import run  # noqa: PLC0415 - imports the extra

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
