"""The job queue in Redis or Valkey. Each operation is one step of a script: ``queue.lua`` and ``steps.lua``.

A job in the queue is one hash, and only the worker that holds the job's current fence may change it. Every step may be
repeated, and is if the connection is lost: whether the step was done is unknown then.
"""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from volc_moderation.errors import JournalError
from volc_moderation.jobs.job import Lane, StoredJob
from volc_moderation.jobs.journal.codec import dump_outcome
from volc_moderation.jobs.journal.schema import DueJob
from volc_moderation.jobs.queue.records import (
    WORKER_DIED,
    Claim,
    ClaimedAttempt,
    JobUpdate,
    Submission,
    SubmissionResult,
    WorkerStatus,
    dump_worker_status,
    lane_name,
    load_due_job,
    load_job,
    load_job_update,
    load_worker_status,
    parse_lane_name,
)
from volc_moderation.log_events import LogEvent
from volc_moderation.redis_client import (
    cancellable,
    client_or_error,
    describe_redis_error,
    is_server_reply,
    is_transient,
    redis_errors,
)

SCRIPT = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("queue.lua", "steps.lua"))
#: The same script for all steps but ``submit``, which adds data: they run even if the Redis is out of memory.
ALLOW_OOM_SCRIPT = "#!lua flags=allow-oom\n" + SCRIPT

#: Seconds without contact after which a worker counts as dead, and its jobs go to others.
WORKER_LEASE = 15.0
REPLY_TIMEOUT = 5.0  # seconds
MIN_RECONNECT_DELAY = 0.05  # seconds
MAX_RECONNECT_DELAY = 2.0  # seconds
#: Requests in flight at the same time.
MAX_CONNECTIONS = 16
#: Seconds of one wait for a notification.
LISTEN_TIMEOUT = 1.0
#: Entries of a run's stream that one request reads.
MAX_UPDATES_PER_READ = 500


def queue_client(address: str) -> object:
    """Return a client for the address of a Redis, or the error: the traceback of one raised would show the address."""
    return client_or_error(
        address if isinstance(address, str) else "",
        required_method="register_script",
        used_by="DistributedJobs",
        timeout=REPLY_TIMEOUT,
        retries=0,  # RedisQueue repeats a step itself, since the caller may have to check something before
    )


class RedisQueue:
    """A queue in a Redis (7 or later) or Valkey. Every method that sends a request raises ``JournalError``.

    :param redis: a client, which ``aclose`` closes.
    :param name: names the queue.
    :param keep: seconds for which a job that has ended is kept.
    :param reconnect: seconds for which requests are repeated while the Redis is unreachable.
    """

    def __init__(self, redis: object, name: str, *, keep: int, reconnect: float) -> None:
        self._redis = cast("Any", redis)
        self.name = name
        self._prefix = f"volc_moderation:{{{name}}}:"
        self._script = self._redis.register_script(SCRIPT)
        self._allow_oom_script = self._redis.register_script(ALLOW_OOM_SCRIPT)
        self.keep = keep
        self._reconnect = reconnect
        self._connections = asyncio.Semaphore(MAX_CONNECTIONS)
        #: Why the Redis is unreachable; None if it is reachable.
        self.connection_error: JournalError | None = None

    @property
    def is_unreachable(self) -> bool:
        """Whether the Redis is unreachable at present."""
        return self.connection_error is not None

    async def aclose(self) -> None:
        """Close the connections."""
        with suppress(*redis_errors()):
            await self._redis.aclose()

    # For producers

    async def submit(
        self, submissions: Sequence[Submission], *, incarnation: str | None = None
    ) -> tuple[list[SubmissionResult] | None, bool]:
        """Open jobs, or join those that are open.

        Return the results; None if the queue's data are not the expected ``incarnation``, and nothing was done. Return
        also whether the first attempt succeeded: otherwise, an earlier attempt may have reached the expected data.
        """
        argument: dict[str, Any] = {
            "submissions": [
                {
                    "key": submission.key,
                    "lane": lane_name(submission.lane),
                    "parameters": submission.parameters,
                    "token": submission.token,
                    "line": -1 if submission.line is None else submission.line,
                    "delay": round(submission.delay * 1000),
                    "must_exist": submission.must_exist,
                    "maybe_sent": submission.maybe_sent,
                    "traceparent": submission.traceparent or "",
                }
                for submission in submissions
            ],
            "keep": self.keep,
        }
        if incarnation is not None:
            argument["incarnation"] = incarnation
        reply, is_first_attempt = await self._request_with_retries(
            lambda: self._run_step("submit", argument), self._reconnect
        )
        if len(reply) < 2 * len(submissions):
            return None, is_first_attempt
        results = [
            SubmissionResult(exists > 0, None if due < 0 else due / 1000)
            for exists, due in zip(reply[::2], reply[1::2], strict=True)
        ]
        return results, is_first_attempt

    async def find(self, keys: Sequence[str]) -> list[StoredJob | None]:
        """Return jobs; None for each that the queue does not have."""
        clock_offset, hashes = await self._step("find", {"keys": keys})
        jobs: list[StoredJob | None] = []
        for key, flat in zip(keys, hashes, strict=True):
            with raise_if_unreadable(f"job {key}"):
                fields = dict(zip(_decode(flat[::2]), _decode(flat[1::2]), strict=True))
                jobs.append(load_job(key, fields, float(clock_offset)) if flat else None)
        return jobs

    async def inspect(self, *, is_first: bool = False) -> tuple[str, list[WorkerStatus]]:
        """Return the identity of the queue's data, and the status of each worker.

        ``is_first``: this is the first request, so it is not repeated while the Redis is unreachable.
        """
        incarnation, statuses = await self._step(
            "inspect", self._recovery_arguments(), reconnect=0.0 if is_first else None
        )
        return incarnation.decode(), [load_worker_status(text.decode(errors="replace")) for text in statuses]

    async def read_updates(self, run: str, after: str, *, wait: float) -> list[tuple[str, JobUpdate]]:
        """Return the updates for a run after a stream entry, each with its entry's id.

        If there are none, wait up to ``wait`` seconds for the first.
        """
        name = f"{self._prefix}run:{run}"
        # 0 would block without a limit, and even for 1 ms a Redis may block for much longer.
        block = int(wait * 1000) or None
        reply = await self._request(lambda: self._redis.xread({name: after}, count=MAX_UPDATES_PER_READ, block=block))
        if isinstance(reply, dict):  # RESP3
            reply = [(stream, entries[0] if entries else []) for stream, entries in reply.items()]
        with raise_if_unreadable(f"the updates for run {run}"):
            return [
                (entry_id.decode(), load_job_update(entry)) for _, entries in reply or () for entry_id, entry in entries
            ]

    async def trim_updates(self, run: str, last: str) -> None:
        """Delete the updates for a run up to the entry ``last``."""
        milliseconds, _, number = last.partition("-")
        first_kept = f"{milliseconds}-{int(number) + 1}"
        await self._request(lambda: self._redis.xtrim(f"{self._prefix}run:{run}", minid=first_kept, approximate=False))

    async def delete_updates(self, run: str) -> None:
        """Delete all updates for a run."""
        await self._request(lambda: self._redis.delete(f"{self._prefix}run:{run}"))

    async def risks(self) -> list[str]:
        """Return how this Redis may lose jobs because of its settings, in sentences; none if INFO is not allowed."""
        try:
            info = await self._request(self._redis.info)
        except JournalError:
            return []
        risks = []
        if info.get("maxmemory_policy", "noeviction") != "noeviction" and info.get("maxmemory"):
            risks.append(
                f"the Redis evicts jobs when its memory is full (maxmemory-policy {info['maxmemory_policy']}); set it"
                " to noeviction"
            )
        if not info.get("aof_enabled", 1):
            risks.append(
                "the Redis may lose jobs when it restarts: it has no append-only file (appendonly yes). Calls may"
                " then be repeated; those that must not be repeated are marked as interrupted"
            )
        return risks

    # For workers

    async def take(
        self, worker: str, lane: Lane, limit: int, *, at_most_once: bool, known_fence: int = 0
    ) -> tuple[list[DueJob], float | None]:
        """Claim up to ``limit`` due jobs; if there are fewer, return also in how many seconds the next one is due.

        If there are fewer, the queue notifies the worker, or another one, of the next job that it gets.

        :param at_most_once: whether the lane's calls must not be repeated.
        :param known_fence: the largest fence that the worker has seen.
        """
        argument = {
            "worker": worker,
            "lane": lane_name(lane),
            "limit": limit,
            "at_most_once": at_most_once,
            "known_fence": known_fence,
        }
        jobs, wait = await self._step("take", argument | self._recovery_arguments())
        with raise_if_unreadable("jobs that are due"):
            return [load_due_job(job) for job in jobs], None if wait < 0 else wait / 1000

    async def mark_sent(self, worker: str, claims: Sequence[Claim]) -> tuple[list[bool], int]:
        """Record that requests are about to leave; return for each whether it may, and the last fence."""
        are_valid, fence = await self._step(
            "mark_sent", {"worker": worker, "claims": [claim._asdict() for claim in claims]}
        )
        return [bool(is_valid) for is_valid in are_valid], int(fence)

    async def record(self, worker: str, attempts: Sequence[ClaimedAttempt]) -> tuple[list[bool], int]:
        """Record attempts that have ended; return for each whether the worker still had the job, and the last fence."""
        argument = {
            "worker": worker,
            "attempts": [
                claim._asdict()
                | {
                    "state": ended.outcome.state,
                    "delay": round(ended.outcome.wait * 1000),
                    "attempts": ended.attempts,
                    "maybe_sent": int(ended.outcome.maybe_sent),
                    "code": json.dumps(ended.outcome.code),
                    "parameters": redacted_parameters or "",
                    "outcome": dump_outcome(ended.outcome, round_trip=ended.round_trip, waited=ended.waited),
                }
                for claim, ended, redacted_parameters in attempts
            ],
            "keep": self.keep,
        }
        are_valid, fence = await self._step("record", argument)
        return [bool(is_valid) for is_valid in are_valid], int(fence)

    async def give_back(self, worker: str, claims: Sequence[Claim]) -> int:
        """Give back jobs whose requests have not left; return how many the worker still had."""
        return int(await self._step("give_back", {"worker": worker, "claims": [claim._asdict() for claim in claims]}))

    async def heartbeat(
        self, worker: str, status: WorkerStatus | None, *, held: Sequence[int], up_to_fence: int, known_fence: int = 0
    ) -> tuple[int, list[tuple[Lane, int]], str]:
        """Report a worker as alive.

        Return the last fence, for each lane the number of due jobs, and an identity of the queue's data, which changes
        when they are lost.

        :param status: None if it has not changed: that of a thousand lanes is long.
        :param held: the fences of the worker's claims.
        :param up_to_fence: claims up to this fence that are not in ``held`` return to the queue: their reply was lost.
        :param known_fence: the largest fence that the worker has seen.
        """
        argument = {
            "worker": worker,
            "status": "" if status is None else dump_worker_status(status),
            "held": held,
            "up_to_fence": up_to_fence,
            "known_fence": known_fence,
        }
        fence, due_counts, data = await self._step("heartbeat", argument | self._recovery_arguments())
        lanes = [(parse_lane_name(name.decode(errors="replace")), int(count)) for name, count in due_counts]
        return int(fence), [(lane, count) for lane, count in lanes if lane is not None], data.decode()

    async def leave(self, worker: str) -> int:
        """Remove a worker, and give back all jobs that it has; return their number."""
        return int(await self._step("leave", {"worker": worker} | self._recovery_arguments()))

    # For all

    async def listen(self, *channels: str) -> AsyncGenerator[tuple[str, str], None]:
        """Yield the notifications of channels, each with the name of its channel.

        ``work`` and ``work:ID`` carry the name of a lane that has due jobs, for all workers and for one; ``ended`` the
        keys of jobs. ``("", "")`` means that some may have been missed: at the beginning, and after the Redis was
        unreachable.
        """
        delay = MIN_RECONNECT_DELAY
        while True:
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            try:
                await self._request(
                    lambda pubsub=pubsub: pubsub.subscribe(*(self._prefix + channel for channel in channels))  # type: ignore[misc]
                )
                is_subscribed = False
                while True:
                    # The first reply confirms the subscription, or refuses it.
                    message = await cancellable(pubsub.get_message(timeout=LISTEN_TIMEOUT))
                    if not is_subscribed:
                        is_subscribed, delay = True, MIN_RECONNECT_DELAY
                        yield "", ""
                    if message is not None:
                        yield message["channel"].decode().removeprefix(self._prefix), message["data"].decode()
            except redis_errors() as error:
                connection_error = JournalError(
                    f"the queue's notifications cannot be received: {describe_redis_error(error)}"
                )
                if not is_transient(error):
                    raise connection_error from None
            finally:
                with suppress(*redis_errors()):
                    await pubsub.aclose()
            LogEvent.NOTIFICATIONS_INTERRUPTED.log("%s", connection_error, queue=self.name)
            await asyncio.sleep(delay * (0.5 + random.random() / 2))  # noqa: S311 - jitter
            delay = min(MAX_RECONNECT_DELAY, delay * 2)

    def _recovery_arguments(self) -> dict[str, Any]:
        """Return what a step needs to recover the jobs of dead workers."""
        return {"lease": round(WORKER_LEASE * 1000), "keep": self.keep, "interrupted": dump_outcome(WORKER_DIED)}

    async def _step(self, step: str, argument: dict[str, Any], *, reconnect: float | None = None) -> Any:
        return await self._request(lambda: self._run_step(step, argument), reconnect=reconnect)

    async def _run_step(self, step: str, argument: dict[str, Any]) -> Any:
        text = json.dumps(argument | {"fresh": secrets.token_hex(8)}, separators=(",", ":"))
        script = self._script if step == "submit" else self._allow_oom_script
        return await script(keys=[self._prefix], args=[step, text])

    async def _request(self, send: Callable[[], Awaitable[Any]], *, reconnect: float | None = None) -> Any:
        reply, _ = await self._request_with_retries(send, self._reconnect if reconnect is None else reconnect)
        return reply

    async def _request_with_retries(self, send: Callable[[], Awaitable[Any]], reconnect: float) -> tuple[Any, bool]:
        """Send a request, again while the Redis is unreachable, for ``reconnect`` seconds.

        Return the reply, and whether it is that of the first attempt.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + reconnect
        delay = MIN_RECONNECT_DELAY
        while True:
            is_first_attempt = delay == MIN_RECONNECT_DELAY
            try:
                async with self._connections:
                    reply = await cancellable(send())
            except redis_errors() as error:
                # Only the text is kept: redis-py's exception holds the address.
                if is_server_reply(error):  # a server that was demoted: the host's name may lead to a new one now
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                connection_error = JournalError(f"the queue cannot be reached: {describe_redis_error(error)}")
                may_retry = is_transient(error)
            else:
                if self.connection_error is not None:
                    LogEvent.QUEUE_REACHABLE.log("the queue can be reached again", queue=self.name)
                    self.connection_error = None
                return reply, is_first_attempt
            if not may_retry or loop.time() + delay > give_up_at:
                raise connection_error
            if self.connection_error is None and not is_first_attempt:
                text = "%s; retrying for %.0f s"
                LogEvent.QUEUE_UNREACHABLE.log(text, connection_error, reconnect, queue=self.name)
                self.connection_error = connection_error
            await asyncio.sleep(delay * (0.5 + random.random() / 2))  # noqa: S311 - jitter
            delay = min(MAX_RECONNECT_DELAY, delay * 2)


@contextmanager
def raise_if_unreadable(subject: str) -> Iterator[None]:
    """Raise ``JournalError`` instead of the errors that values of another program cause."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise JournalError(f"the queue's record of {subject} cannot be read: {type(error).__name__}") from None


def _decode(texts: Sequence[bytes]) -> list[str]:
    return [text.decode() for text in texts]
