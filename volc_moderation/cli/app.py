"""The commands, and what is common to them: the exit code of whatever ends one."""

import os
import sys

from cyclopts import App, CycloptsError, Parameter

from volc_moderation import __version__
from volc_moderation.cli.run import ALL_DONE, BAD_INPUT, INTERRUPTED
from volc_moderation.cli.terminal import prepare, stderr

#: The output could not be written, whatever came of the command: EX_IOERR of sysexits.h.
UNWRITTEN = 74

app = App(
    name="volc-moderation",
    version=__version__,
    help="Moderation at Volcengine RTC and ZEGO, under their quotas.",
    default_parameter=Parameter(negative=()),
)
#: Each is a function, or an app of cyclopts, in the file of its name. A command loads what it needs, and no other one.
COMMANDS = ("demo", "emulator", "bulk", "sweep", "jobs", "worker", "call")
for name in COMMANDS:
    app.command(f"volc_moderation.cli.{name}:{name}")


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    prepare()
    if not arguments or arguments[0] not in COMMANDS:
        app.resolved_commands()  # to show what they are for
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        stderr().print(str(error), soft_wrap=True)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.filename is not None:  # a file's; that of a stream has no name
            raise
        # Whoever read the output has gone, or its disk is full: nothing may be written any more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            stderr().print(f"standard output cannot be written: {error.strerror}", soft_wrap=True)
        return UNWRITTEN
    return code if isinstance(code, int) else ALL_DONE
