"""``volc-moderation emulator``: the emulator of both vendors on one port."""

import asyncio
import contextlib
import shlex
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.invocation import command_line
from volc_moderation.cli.terminal import print_error, stderr, stdout
from volc_moderation.emulator import Emulator, Settings, listen, serve

#: The type of an option with two numbers of seconds; 60 s and more are taken for a mistake.
Delay = Annotated[tuple[float, float], Parameter(validator=Number(gte=0, lt=60))]


def emulator(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8765,
    delay: Delay = (0.0, 0.0),
    report_every: Annotated[float | None, Parameter(validator=Number(gt=0))] = None,
) -> int:
    """Emulate both vendors on one port until interrupted.

    Parameters
    ----------
    host
        The address to listen on.
    port
        The port to listen on; 0 selects a free port.
    delay
        The minimum and maximum network delay in seconds, in each direction.
    report_every
        Seconds after which each running moderation sends its findings by callback, repeatedly; by default on demand.

    """
    settings = Settings(delay=delay, report_every=report_every)
    try:
        listener = listen(host, port)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", "there is no such host")
        return print_error(stderr(), f"cannot listen on {host}:{port}: {reason}")
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    console = stdout()
    for line in (
        f"# Both vendors listen on {address}. In another shell:",
        f"export VOLCENGINE_RTC_BASE_URL={address} ZEGO_BASE_URL={address}",
        f"export VOLCENGINE_ACCESS_KEY={settings.access_key} VOLCENGINE_SECRET_KEY={settings.secret_key}",
        f"export ZEGO_APP_ID={settings.app_id} ZEGO_SERVER_SECRET={settings.server_secret}",
        command_line("call", "StartDetection", "--app-id", "app", "--room-id", "room"),
        f"curl {shlex.quote(f'{address}/_emulator/counts')}",
    ):
        console.print(line, soft_wrap=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Emulator(settings), listener))
    return ExitCode.SUCCESS
