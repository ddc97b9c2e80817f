"""A program that runs a journal repeatedly, in processes that it kills at given times.

``python -m tests.jobs.crashing JOURNAL BASE_URL`` reads a line for each run from standard input: the seconds until the
run is killed, or "end" to let it end. After each run it prints the exit code. Runs are forked, so Python starts once.
"""

import asyncio
import os
import signal
import sys
import time

from tests.doubles import volcengine_client
from volc_moderation import NoQuotas
from volc_moderation.jobs.journal import Journal
from volc_moderation.jobs.journal.thread import JournalThread
from volc_moderation.jobs.runner import LocalRunner


async def run(path: str, base_url: str) -> None:
    """Run the jobs that are left in a journal."""
    journal = JournalThread(Journal(path))
    async with volcengine_client(base_url=base_url, quotas=NoQuotas()) as client:
        runner = LocalRunner(journal, [client])
        await runner.prepare()
        await runner.run()
    await journal.aclose()


def main() -> None:
    """Run and kill, line by line."""
    path, base_url = sys.argv[1:]
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(run(path, base_url))
            os._exit(0)
        if line.strip() != "end":
            time.sleep(float(line))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the output


if __name__ == "__main__":
    main()
