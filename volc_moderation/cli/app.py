"""Registers the commands, and turns whatever ends one into an exit code."""

import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from volc_moderation import __version__
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.terminal import prepare_streams, print_error, stderr

#: The commands, and their descriptions in the list of commands: the first paragraph of each one's own help page.
#: Each command is a function, or an app of cyclopts, in the module of its name. The module is imported when the command
#: runs, and imports only what the command needs.
COMMANDS = {
    "demo": "Start and stop a thousand tasks from a journal at full quota, against an emulator in a separate process.",
    "emulator": "Emulate both vendors on one port until interrupted.",
    "bulk": "Send the calls of CSV, JSON Lines (also compressed) or Parquet files; - is standard input.",
    "sweep": "List the moderations of rooms at Volcengine, and stop those that are still running.",
    "jobs": "Show how many jobs of each kind a journal has, or, with a filter, which jobs.",
    "worker": "Send the calls of a queue until SIGINT or SIGTERM.",
    "call": "Make one call with the credentials in the environment, and print the result as JSON.",
    "doctor": "Check keys, clock, network, quotas, Redis, journal and webhook, and say what to do about what is wrong.",
}


def make_app(arguments: Sequence[str]) -> App:
    """Return the app for the given arguments, in which the other commands are only described, and not imported."""
    app = App(
        name="volc-moderation",
        version=__version__,
        help="Call the vendors' moderation APIs for real-time audio and video at the full speed of their quotas.",
        # The list of commands has no markup, and the parser of Markdown takes 25 ms to import.
        help_format="markdown" if COMMANDS.keys() & arguments else "plaintext",
        default_parameter=Parameter(negative=(), show_default=_shown_default),
    )
    for name, description in COMMANDS.items():
        app.command(f"volc_moderation.cli.{name}:{name}", help=None if name in arguments else description)
    return app


def _shown_default(value: object) -> str | None:
    """Return a default as it is typed; None, which shows nothing, for a flag and for an option without a value."""
    if value is None or value is False or value == ():
        return None
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    prepare_streams()
    app = make_app(arguments)
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return print_error(stderr(), error)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        if error.filename is not None:  # errors of files have a name, errors of streams do not
            raise
        # The reader of the output has gone, or its disk is full. Nothing may be written from now on, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            stderr().print(f"standard output cannot be written: {error.strerror}", soft_wrap=True)
        return ExitCode.OUTPUT_FAILED
    return code if isinstance(code, int) else ExitCode.SUCCESS
