"""The emulator's own process: ``python -m volc_moderation.emulator '{"delay": [0.02, 0.05]}'``.

It prints one line of JSON with its address, and ends when its standard input does: with its parent, however that dies.
"""

import asyncio
import json
import sys

from volc_moderation.emulator.app import Emulator, Settings
from volc_moderation.emulator.server import listen, serve


async def _main() -> None:
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    listener = listen("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0)  # noqa: PLR2004
    host, port = listener.getsockname()[:2]
    print(json.dumps({"base_url": f"http://{host}:{port}"}), flush=True)  # noqa: T201 - the parent reads it
    parent = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(parent), sys.stdin)
    await serve(Emulator(Settings(**settings)), listener, until=parent.read())


asyncio.run(_main())
