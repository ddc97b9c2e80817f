"""Registers the commands, and turns whatever ends one into an exit code."""

import os
import sys

from cyclopts import App, CycloptsError, Parameter

from volc_moderation import __version__
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.terminal import prepare_streams, print_error, stderr

app = App(
    name="volc-moderation",
    version=__version__,
    help="Call the vendors' moderation APIs for real-time audio and video at the full speed of their quotas.",
    default_parameter=Parameter(negative=()),
)
#: Each command is a function, or an app of cyclopts, in the module of its name. The module is imported when the command
#: runs, and imports only what the command needs.
COMMANDS = ("demo", "emulator", "bulk", "sweep", "jobs", "worker", "call")
for name in COMMANDS:
    app.command(f"volc_moderation.cli.{name}:{name}")


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    prepare_streams()
    if not arguments or arguments[0] not in {*COMMANDS, "--version"}:
        app.resolved_commands()  # the help lists their descriptions
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
