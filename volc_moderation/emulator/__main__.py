"""The emulator's own process: ``python -m volc_moderation.emulator 8765 < settings.json``.

The only argument is the port; the default is a free port. When the emulator is ready, it writes one line of JSON with
its address to standard output.

The settings are one line of JSON on standard input, such as ``{"delay": [0.02, 0.05]}``. They contain keys, so they are
not arguments, which every user of the machine can read. The defaults hold if there is no line or an empty one, and if
standard input is a terminal.

If standard input is a pipe or a socket, a parent program holds its other end, and the emulator stops when that closes:
also if the parent is killed. Otherwise (a terminal, a file, ``/dev/null``) it serves until it is interrupted.
"""

import asyncio
import contextlib
import json
import os
import stat
import sys

from volc_moderation.emulator.app import Emulator, Settings
from volc_moderation.emulator.server import listen, serve

#: Bytes of the line of settings.
MAX_SETTINGS_BYTES = 2**20


async def _main() -> None:
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    parent = await _parent_stream()
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
    await serve(Emulator(settings), listener, until=None if parent is None else _wait_until_closed(parent))


async def _parent_stream() -> asyncio.StreamReader | None:
    """Return standard input as a stream if a parent program writes to it, or else None."""
    if sys.stdin is None:
        return None
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not stat.S_ISFIFO(kind) and not stat.S_ISSOCK(kind):
        return None
    reader = asyncio.StreamReader(limit=MAX_SETTINGS_BYTES)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def _first_line() -> bytes:
    """Return the first line of standard input, if it is a file."""
    return b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.readline(MAX_SETTINGS_BYTES)


async def _wait_until_closed(parent: asyncio.StreamReader) -> None:
    while await parent.read(MAX_SETTINGS_BYTES):
        pass


with contextlib.suppress(KeyboardInterrupt):
    asyncio.run(_main())
