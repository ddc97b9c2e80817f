"""The emulator's own process: ``python -m volc_moderation.emulator 8765 < settings.json``.

The only argument is the port, by default a free one. One line of JSON with the address goes to standard output.

The settings are one line of JSON on standard input, ``{"delay": [0.02, 0.05]}``. They are no argument, because every
user of the machine can read arguments, and there are keys among the settings. Without a line, with an empty one, and at
a terminal, the defaults hold.

Where standard input is a pipe or a socket, a program is behind it, and the emulator ends when it closes: with its
parent, however that dies. Otherwise (a terminal, a file, ``/dev/null``) it serves until it is interrupted.
"""

import asyncio
import contextlib
import json
import os
import stat
import sys

from volc_moderation.emulator.app import Emulator, Settings
from volc_moderation.emulator.server import listen, serve

#: Bytes that a line of settings may have.
LONGEST = 2**20


async def _main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    parent = await _parent()
    try:
        line = _first_line() if parent is None else await parent.readline()
        if parent is not None and not line.endswith(b"\n"):
            return  # the parent died first
        settings = Settings(**json.loads(line)) if line.strip() else Settings()
    except (TypeError, ValueError) as error:
        sys.exit(f"the first line of standard input must be a JSON object of settings: {error}")
    listener = listen("127.0.0.1", port)
    host, port = listener.getsockname()[:2]
    print(json.dumps({"base_url": f"http://{host}:{port}"}), flush=True)  # noqa: T201 - the parent reads it
    await serve(Emulator(settings), listener, until=None if parent is None else _end_of(parent))


async def _parent() -> asyncio.StreamReader | None:
    """Return what the program behind standard input sends, if there is one."""
    if sys.stdin is None:
        return None
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not stat.S_ISFIFO(kind) and not stat.S_ISSOCK(kind):
        return None
    reader = asyncio.StreamReader(limit=LONGEST)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _first_line() -> bytes:
    """Return the first line of a file. A terminal is not waited for."""
    return b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.readline(LONGEST)


async def _end_of(parent: asyncio.StreamReader) -> None:
    while await parent.read(LONGEST):
        pass


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(_main())
