"""What a queue has: its jobs by state, its failures, its workers. Reads only, and at most a part of a large queue."""

import re
from collections import Counter
from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple, Self, cast

from volc_moderation.jobs.job import JobState, Lane
from volc_moderation.jobs.journal.codec import load_outcome
from volc_moderation.jobs.journal.queries import FailureCode
from volc_moderation.jobs.queue.records import WorkerStatus, load_worker_status, parse_lane_name
from volc_moderation.jobs.queue.redis_queue import WORKER_LEASE, RedisQueue, raise_if_unreadable

#: Jobs that are read at most.
MAX_JOBS_READ = 20_000
#: Requests that look for jobs among all keys of the Redis, and about how many keys each looks at.
MAX_SCANS = 1000
KEYS_PER_SCAN = 1000
_STATES = frozenset(JobState)
#: Workers whose status is read at most.
MAX_WORKERS_READ = 1000


class QueueOverview(NamedTuple):
    """What a queue has.

    :param counts: the number of jobs by lane and state. All pending jobs are counted, also if there are many.
    :param is_complete: whether all jobs were read. Otherwise there are more jobs in the other states, and more
        failures, than this says.
    :param jobs_read: how many jobs were read.
    :param failures: the codes with which jobs failed or were given up, most frequent first.
    :param next_due: when the next pending job is due, or was, in Unix seconds; None if no job is pending.
    :param now: the Unix time of the Redis.
    :param workers: the status of each worker that has been in contact with the queue in the last 15 s.
    """

    counts: dict[tuple[Lane, JobState], int]
    is_complete: bool
    jobs_read: int
    failures: list[FailureCode]
    next_due: float | None
    now: float
    workers: list[WorkerStatus]

    def lanes_without_worker(self) -> list[tuple[Lane, int]]:
        """Return the lanes that no worker serves, with the number of their pending jobs, if they have any."""
        served = {lane for worker in self.workers for lane in worker.lanes}
        return [
            (lane, count)
            for (lane, state), count in sorted(self.counts.items())
            if state is JobState.PENDING and count and lane not in served
        ]


class QueueReader(RedisQueue):
    """Reads a queue without taking part in it: it changes nothing, and a queue that does not exist is not created."""

    @classmethod
    def beside(cls, queue: RedisQueue) -> Self:
        """Return a reader that uses the connections of a queue."""
        return cls(queue._redis, queue.name, keep=queue.keep, reconnect=0.0)  # noqa: SLF001 - of the base class

    async def backlog(self) -> tuple[dict[JobState, int], float | None, float]:
        """Return how many jobs are pending and sent, when the next one is due or was, and the time, in Unix seconds.

        Raises ``JournalError``.
        """
        offset, (seconds, microseconds), lanes, workers = await self._pipeline(
            ("HGET", self._prefix + "queue", "offset"),
            ("TIME",),
            ("SMEMBERS", self._prefix + "lanes"),
            ("ZRANGE", self._prefix + "workers", 0, MAX_WORKERS_READ - 1),
        )
        due_keys = [self._prefix + "due:" + _text(name) for name in lanes]
        sizes = await self._pipeline(*(("ZCARD", key) for key in due_keys))
        firsts = await self._pipeline(*(("ZRANGE", key, 0, 0, "WITHSCORES") for key in due_keys))
        taken = await self._pipeline(*(("SCARD", self._prefix + "taken:" + _text(name)) for name in workers))
        with raise_if_unreadable("its due times"):
            due = [(float(score) - float(offset or 0)) / 1000 for first in firsts for _, score in _pairs(first)]
        counts = {JobState.PENDING: sum(sizes), JobState.SENT: sum(taken)}
        return counts, min(due, default=None), int(seconds) + int(microseconds) / 1e6

    async def overview(self, accounts: frozenset[str] = frozenset()) -> QueueOverview | None:
        """Return what the queue has; None if it does not exist. Raises ``JournalError``.

        :param accounts: the hashes of the accounts whose jobs count; empty for all.
        """
        clocks, (seconds, microseconds), lane_names, contacts = await self._pipeline(
            ("HMGET", self._prefix + "queue", "wall", "offset", "beat"),
            ("TIME",),
            ("SMEMBERS", self._prefix + "lanes"),
            ("ZRANGE", self._prefix + "workers", 0, MAX_WORKERS_READ - 1, "WITHSCORES"),
        )
        if clocks[0] is None:
            return None
        with raise_if_unreadable("its clocks"):
            last_step, offset, lease_clock = (float(clock or 0) for clock in clocks)  # milliseconds, like ``now``
        now = int(seconds) * 1000 + int(microseconds) / 1000
        # The lease clock stands still while there are no steps, hence the time since the last one.
        oldest_contact = lease_clock + max(0.0, now - last_step) - WORKER_LEASE * 1000
        workers = [worker for worker, contact in _pairs(contacts) if float(contact) > oldest_contact]
        statuses = await self._pipeline(*(("HGET", self._prefix + "worker:" + _text(name), "told") for name in workers))

        lanes = {lane: name for name in lane_names if (lane := _lane_of(name, accounts)) is not None}
        counts: Counter[tuple[Lane, JobState]] = Counter()
        next_due: list[float] = []
        due_keys = [self._prefix + "due:" + _text(name) for name in lanes.values()]
        sizes = await self._pipeline(*(("ZCARD", key) for key in due_keys))
        firsts = await self._pipeline(*(("ZRANGE", key, 0, 0, "WITHSCORES") for key in due_keys))
        for lane, size, first in zip(lanes, sizes, firsts, strict=True):
            counts[lane, JobState.PENDING] += size
            next_due += [(float(due) - offset) / 1000 for _, due in _pairs(first)]

        job_keys, is_complete = await self._job_keys()
        failures = await self._read_jobs(job_keys, accounts, counts)
        return QueueOverview(
            counts={kind: count for kind, count in counts.items() if count},
            is_complete=is_complete,
            jobs_read=len(job_keys),
            failures=failures,
            next_due=min(next_due, default=None),
            now=now / 1000,
            workers=[load_worker_status(_text(status or b"{}")) for status in statuses],
        )

    async def _job_keys(self) -> tuple[list[bytes], bool]:
        """Return the keys of up to ``MAX_JOBS_READ`` jobs, and whether those are all."""
        pattern = re.sub(r"([*?\[\]\\^])", r"\\\1", self._prefix + "job:") + "*"
        keys: dict[bytes, None] = {}  # a scan may return a key twice
        cursor: Any = 0
        for _ in range(MAX_SCANS):
            ((cursor, found),) = await self._pipeline(("SCAN", cursor, "MATCH", pattern, "COUNT", KEYS_PER_SCAN))
            keys |= dict.fromkeys(found)
            if len(keys) > MAX_JOBS_READ:
                return list(keys)[:MAX_JOBS_READ], False
            if not int(cursor):
                return list(keys), True
        return list(keys), False

    async def _read_jobs(
        self, keys: Sequence[bytes], accounts: frozenset[str], counts: Counter[tuple[Lane, JobState]]
    ) -> list[FailureCode]:
        """Count jobs, except for the pending ones that wait in a lane; return the codes with which jobs failed."""
        failures: Counter[str | int | None] = Counter()
        messages: dict[str | int | None, str | None] = {}
        for start in range(0, len(keys), KEYS_PER_SCAN):
            page = keys[start : start + KEYS_PER_SCAN]
            failed: list[tuple[bytes, str]] = []
            replies = await self._pipeline(*(("HMGET", key, "lane", "state") for key in page))
            for key, (lane_name, stored_state) in zip(page, replies, strict=True):
                lane = _lane_of(lane_name or b"", accounts)
                state = {b"taken": "pending", b"pending": ""}.get(stored_state, _text(stored_state or b""))
                # A job may have expired since, and another version or program may have written it.
                if lane is None or state not in _STATES:
                    continue
                counts[lane, JobState(state)] += 1
                if state in {JobState.FAILED, JobState.GIVEN_UP}:
                    failed.append((key, state))
            outcomes = await self._pipeline(*(("HGET", key, "outcome") for key, _ in failed))
            for (_, state), text in zip(failed, outcomes, strict=True):
                outcome, _, _ = load_outcome(state, _text(text or b""))
                failures[outcome.code] += 1
                messages.setdefault(outcome.code, outcome.message)
        return [FailureCode(code, count, messages[code]) for code, count in failures.most_common()]

    async def _pipeline(self, *commands: Sequence[object]) -> list[Any]:
        """Send commands together, and return their replies."""
        if not commands:
            return []

        def send() -> Awaitable[list[Any]]:
            pipeline = self._redis.pipeline(transaction=False)
            for command in commands:
                pipeline.execute_command(*command)
            return cast("Awaitable[list[Any]]", pipeline.execute())

        return cast("list[Any]", await self._request(send))


def _lane_of(name: bytes, accounts: frozenset[str]) -> Lane | None:
    """Return the lane with a name; None if the name is invalid, or if it is of another account."""
    lane = parse_lane_name(_text(name))
    return lane if lane is not None and (not accounts or lane.account in accounts) else None


def _pairs(reply: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return the members of a sorted set with their scores: versions of redis-py return a flat list or pairs."""
    if reply and not isinstance(reply[0], (list, tuple)):
        return list(zip(reply[::2], reply[1::2], strict=True))
    return [(member, score) for member, score in reply]


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
