"""``volc-moderation jobs --redis ADDRESS``: shows what a queue has, without taking part in it."""

from collections import Counter

from volc_moderation import ConfigurationError, SourceError
from volc_moderation.cli.environment import check_redis, printable_redis
from volc_moderation.cli.exit_codes import ExitCode
from volc_moderation.cli.invocation import command_line
from volc_moderation.cli.job_counts import due_line, print_counts, print_failures
from volc_moderation.cli.terminal import Terminal
from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.journal.queries import ActionCount
from volc_moderation.jobs.queue.overview import QueueOverview, QueueReader
from volc_moderation.jobs.queue.redis_queue import queue_client
from volc_moderation.printable import counted
from volc_moderation.quotas.environment import REDIS_SCHEMES

#: Codes of failures that are shown.
MAX_CODES_SHOWN = 5
#: Lanes without a worker, and reasons why calls wait, that are shown.
MAX_LANES_SHOWN = 20


async def read_queue(redis: str, queue: str, *, accounts: frozenset[str]) -> QueueOverview | None:
    """Return what a queue has; None if it does not exist.

    :param accounts: the hashes of the accounts whose jobs count; empty for all.

    Raises ``SourceError`` if the address or the name is invalid, and ``JournalError`` if the Redis does not answer.
    """
    check_redis(redis, wanted_by="jobs")
    if not redis.startswith(REDIS_SCHEMES):
        raise SourceError("--redis must be an address such as redis://localhost:6379")
    if not queue or "{" in queue or "}" in queue:
        raise SourceError("--queue must be a name without braces")
    client = queue_client(redis)
    if isinstance(client, ConfigurationError):
        raise SourceError("--redis must be an address such as redis://localhost:6379")
    reader = QueueReader(client, queue, keep=1, reconnect=0.0)
    try:
        return await reader.overview(accounts)
    finally:
        await reader.aclose()


def show_queue(console: Terminal, overview: QueueOverview | None, *, redis: str, queue: str) -> ExitCode:
    """Print what a queue has, and return the exit code."""
    if overview is None:
        console.print(
            f"The Redis has no queue {queue}: nobody has submitted a job or started a worker.", soft_wrap=True
        )
        return ExitCode.USAGE
    workers = len(overview.workers)
    listeners = f"{counted(workers, 'worker')} {'listens' if workers == 1 else 'listen'}"
    has_jobs = "" if overview.counts else " It has no jobs."
    console.print(f"Queue {queue}: {listeners}.{has_jobs}", soft_wrap=True)
    by_action: Counter[tuple[str, JobState]] = Counter()
    for (lane, state), count in overview.counts.items():
        by_action[lane.action, state] += count
    counts = [ActionCount(action, state, count) for (action, state), count in sorted(by_action.items())]
    print_counts(console, counts, has_more=not overview.is_complete)
    sample = ""
    if not overview.is_complete:
        sample = " among the jobs that were read"
        read = f"{counted(overview.jobs_read, 'job')} {'was' if overview.jobs_read == 1 else 'were'} read"
        console.print(f"{read}, and the queue may have more; + means at least.")
    print_failures(console, overview.failures[:MAX_CODES_SHOWN], among=sample)
    if overview.next_due is not None:
        console.print(due_line(overview.next_due, overview.now), soft_wrap=True)
    _show_workers(console, overview, redis=redis, queue=queue)
    return ExitCode.SUCCESS


def _show_workers(console: Terminal, overview: QueueOverview, *, redis: str, queue: str) -> None:
    """Print which pending jobs no worker takes, and why the calls of others wait."""
    if not overview.workers:
        address = printable_redis(redis)
        words = ["worker", *(("--redis", address) if address else ()), "--queue", queue]
        console.print(f"No worker listens to the queue. Start one with: {command_line(*words)}", soft_wrap=True)
        return
    for lane, count in overview.lanes_without_worker()[:MAX_LANES_SHOWN]:
        console.print(f"No worker has credentials for {_name(lane)}: {counted(count, 'pending job')}.", soft_wrap=True)
    waiting = Counter(
        (lane, status.error_message)
        for worker in overview.workers
        for lane, status in worker.lanes.items()
        if status.error_message
    )
    for (lane, message), count in waiting.most_common(MAX_LANES_SHOWN):
        console.print(f"{_name(lane)} waits in {counted(count, 'worker')}: {message}", soft_wrap=True)


def _name(lane: Lane) -> str:
    return f"{lane.action} of {lane.vendor}, account {lane.account}"
