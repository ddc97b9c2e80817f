"""The commands and their exit codes."""

import asyncio
import contextlib
import os
import sys
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from volc_moderation import __version__
from volc_moderation.cli.bulk import bulk
from volc_moderation.cli.call import BAD_USAGE, DONE, make_call_app
from volc_moderation.cli.demo import Delay, complain, demo
from volc_moderation.cli.jobs import jobs
from volc_moderation.cli.sweep import sweep
from volc_moderation.cli.terminal import prepare, stderr, stdout
from volc_moderation.cli.worker import worker
from volc_moderation.emulator import Emulator, Settings, listen, serve

INTERRUPTED = 130
#: The output could not be written, whatever came of the command: EX_IOERR of sysexits.h.
UNWRITTEN = 74

app = App(
    name="volc-moderation",
    version=__version__,
    help="Moderation at Volcengine RTC and ZEGO, under their quotas.",
    default_parameter=Parameter(negative=()),
)
app.command(demo)
app.command(bulk)
app.command(sweep)
app.command(jobs)
app.command(worker)
app.command(make_call_app())


@app.command
def emulator(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8765,
    delay: Delay = (0.0, 0.0),
    report_every: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
) -> int:
    """Serve both vendors on one port, until interrupted.

    Parameters
    ----------
    host
        Address to listen on.
    port
        Port to listen on; 0 takes a free one.
    delay
        Shortest and longest time, in seconds, that a request takes there, and an answer back.
    report_every
        Seconds after which every moderation calls back what it finds, again and again; otherwise on demand.

    """
    settings = Settings(delay=delay, report_every=report_every)
    try:
        listener = listen(host, port)
    except (OSError, UnicodeError) as error:
        return complain(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', 'there is no such name')}")
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    console = stdout()
    for line in (
        f"# Both vendors listen on {address}. In another shell:",
        f"export VOLCENGINE_RTC_BASE_URL={address} ZEGO_BASE_URL={address}",
        f"export VOLCENGINE_ACCESS_KEY={settings.access_key} VOLCENGINE_SECRET_KEY={settings.secret_key}",
        f"export ZEGO_APP_ID={settings.app_id} ZEGO_SERVER_SECRET={settings.server_secret}",
        "volc-moderation call StartDetection --app-id app --room-id room",
        f"curl {address}/_emulator/counts",
    ):
        console.print(line, soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Emulator(settings), listener))
    return DONE


def run(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    prepare()
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        stderr().print(str(error), soft_wrap=True)
        return BAD_USAGE
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
    return code if isinstance(code, int) else DONE
