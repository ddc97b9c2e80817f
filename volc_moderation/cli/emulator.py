"""The emulator of both vendors, as a command."""

import asyncio
import contextlib
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from volc_moderation.cli.run import ALL_DONE, BAD_INPUT
from volc_moderation.cli.terminal import stderr, stdout
from volc_moderation.emulator import Emulator, Settings, listen, serve

#: Seconds; longer ones are slips.
Delay = Annotated[tuple[float, float], Parameter(validator=Number(gte=0, lt=60))]


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
    return ALL_DONE


def complain(what: str) -> int:
    """Say on standard error what is wrong with the usage."""
    stderr().print(what, soft_wrap=True)
    return BAD_INPUT
