"""The queue in Redis or Valkey: what is asked of it, each in one step of ``queue.lua``, and again if it was away.

A job in the queue is one hash, and whoever may change it shows the fence that it was taken with. All steps can be
asked for twice: if the connection is lost, nobody knows whether the step was done.
"""

import asyncio
import json
import logging
import random
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from volc_moderation.errors import JournalError
from volc_moderation.jobs.job import Job, Lane
from volc_moderation.jobs.queue.records import (
    DIED,
    Answer,
    Taken,
    Ticket,
    Told,
    Worker,
    Written,
    dump,
    lane_of,
    load_job,
    load_told,
    load_worker,
    name_of,
)
from volc_moderation.redis_client import cancellable, client_of, in_words, is_answer, may_pass, redis_faults

SCRIPT = Path(__file__).with_name("queue.lua").read_text(encoding="utf-8")
#: What ends or gives back work is done even if Redis has no memory left for more.
WITHOUT_MEMORY = "#!lua flags=allow-oom\n" + SCRIPT

#: Seconds after which a worker that is not heard of is taken for dead, and its jobs go to others.
LEASE = 15.0
#: Seconds until an answer.
PATIENCE = 5.0
#: Seconds between two attempts to reach the Redis.
SOON, LATE = 0.05, 2.0
#: Steps that are asked for at the same time.
CONNECTIONS = 16
#: Seconds that whoever listens is sure to have heard nothing.
SILENCE = 1.0
#: Entries of a run's stream that are read at once.
READ = 500

_log = logging.getLogger("volc_moderation")


def connect(address: str) -> object:
    """Return a client for the address of a Redis; or the error, for the traceback of one raised would show it."""
    return client_of(
        address if isinstance(address, str) else "",
        needs="register_script",
        wanted_by="DistributedJobs",
        patience=PATIENCE,
        repeats=0,  # here: between a step that was lost and the next one, something may have to be looked at
    )


class Queue:
    """A queue in a Redis (7 or later) or Valkey. Everything raises ``JournalError``.

    :param redis: a client, which this closes.
    :param keep: seconds for which a job that has ended is kept.
    :param reconnect: seconds for which a Redis that is away is waited for.
    """

    def __init__(self, redis: object, name: str, *, keep: int, reconnect: float) -> None:
        self._redis = cast("Any", redis)
        self._base = f"volc_moderation:{{{name}}}:"
        self._submit = self._redis.register_script(SCRIPT)
        self._other = self._redis.register_script(WITHOUT_MEMORY)
        self.keep = keep
        self._reconnect = reconnect
        self._gate = asyncio.Semaphore(CONNECTIONS)
        #: Why the Redis cannot be reached at present, if it cannot.
        self.pause_reason: JournalError | None = None

    @property
    def is_away(self) -> bool:
        """Whether the Redis cannot be reached at present."""
        return self.pause_reason is not None

    async def aclose(self) -> None:
        """Close the connections."""
        with suppress(*redis_faults()):
            await self._redis.aclose()

    # Whoever submits

    async def submit(
        self, tickets: Sequence[Ticket], *, incarnation: str | None = None
    ) -> tuple[list[Answer] | None, bool]:
        """Open jobs, or join those that are open; None if the data are not those that are expected.

        Returns also whether it was asked for once only; else it may have been done before, to other data.
        """
        given = [
            {
                "key": ticket.key,
                "lane": name_of(ticket.lane),
                "parameters": ticket.parameters,
                "token": ticket.token,
                "line": -1 if ticket.line is None else ticket.line,
                "delay": round(ticket.delay * 1000),
                "known": ticket.is_known,
                "maybe": ticket.maybe_sent,
            }
            for ticket in tickets
        ]
        wanted = {} if incarnation is None else {"incarnation": incarnation}
        argument = {"tickets": given, "keep": self.keep} | wanted
        found, is_first = await self._try(lambda: self._run("submit", argument), self._reconnect)
        if len(found) < 2 * len(tickets):
            return None, is_first
        answers = [
            Answer(is_there > 0, None if due < 0 else due / 1000)
            for is_there, due in zip(found[::2], found[1::2], strict=True)
        ]
        return answers, is_first

    async def find(self, keys: Sequence[str]) -> list[Job | None]:
        """Return jobs; None for those that are not known."""
        offset, found = await self._step("find", {"keys": keys})
        jobs: list[Job | None] = []
        for key, one in zip(keys, found, strict=True):
            with _readable(f"job {key}"):
                fields = dict(zip(_texts(one[::2]), _texts(one[1::2]), strict=True))
                jobs.append(load_job(key, fields, float(offset)) if one else None)
        return jobs

    async def look(self, *, is_first: bool = False) -> tuple[str, list[Worker]]:
        """Return which data these are, and the workers. If it is the first look, nobody waits for the Redis."""
        incarnation, told = await self._step("look", self._of_the_dead(), reconnect=0.0 if is_first else None)
        return incarnation.decode(), [load_worker(text.decode(errors="replace")) for text in told]

    async def read(self, run: str, after: str, *, wait: float) -> list[tuple[str, Told]]:
        """Return what a run was told since an entry, with the ids of the entries; wait some seconds for the first."""
        name = f"{self._base}run:{run}"
        block = int(wait * 1000) or None  # even for a millisecond, a Redis may let wait for much longer
        found = await self._ask(lambda: self._redis.xread({name: after}, count=READ, block=block))
        if isinstance(found, dict):  # of a client of RESP3
            found = [(stream, entries[0] if entries else []) for stream, entries in found.items()]
        with _readable(f"what run {run} was told"):
            return [(number.decode(), load_told(entry)) for _, entries in found or () for number, entry in entries]

    async def trim(self, run: str, after: str) -> None:
        """Forget what a run was told up to an entry."""
        milliseconds, _, number = after.partition("-")
        first = f"{milliseconds}-{int(number) + 1}"
        await self._ask(lambda: self._redis.xtrim(f"{self._base}run:{run}", minid=first, approximate=False))

    async def forget(self, run: str) -> None:
        """Forget all that a run was told."""
        await self._ask(lambda: self._redis.delete(f"{self._base}run:{run}"))

    async def risks(self) -> list[str]:
        """Return what this Redis may forget of the jobs, in words; nothing if it does not tell."""
        try:
            info = await self._ask(self._redis.info)
        except JournalError:
            return []
        found = []
        if info.get("maxmemory_policy", "noeviction") != "noeviction" and info.get("maxmemory"):
            found.append(
                f"the Redis forgets jobs when its memory is full (maxmemory-policy {info['maxmemory_policy']}); set it"
                " to noeviction"
            )
        if not info.get("aof_enabled", 1):
            found.append(
                "the Redis may forget jobs when it restarts: it has no append-only file (appendonly yes). Calls may"
                " then be made again; those that must not be are marked as interrupted"
            )
        return found

    # Workers

    async def take(
        self, worker: str, lane: Lane, most: int, *, once: bool, seen: int = 0
    ) -> tuple[list[list[Any]], float | None]:
        """Take jobs that are due; if there are none, return also in how many seconds the next one is due.

        ``once``: they must not be made twice. ``seen`` is the last fence that the worker knows of.
        """
        wanted = {"worker": worker, "lane": name_of(lane), "most": most, "once": once, "seen": seen}
        rows, wait = await self._step("take", wanted | self._of_the_dead())
        return rows, None if wait < 0 else wait / 1000

    async def send(self, worker: str, jobs: Sequence[Taken]) -> tuple[list[bool], int]:
        """Note that requests are about to leave; return of each whether it may, and the last fence."""
        found, fence = await self._step("send", {"worker": worker, "jobs": [job._asdict() for job in jobs]})
        return [bool(is_own) for is_own in found], int(fence)

    async def record(self, worker: str, written: Sequence[Written]) -> tuple[list[bool], int]:
        """Note what became of attempts; return of each whether the job was still the worker's, and the last fence."""
        jobs = [
            job._asdict()
            | {
                "state": ended.outcome.state,
                "delay": round(ended.outcome.wait * 1000),
                "attempts": ended.attempts,
                "maybe_sent": int(ended.outcome.maybe_sent),
                "code": json.dumps(ended.outcome.code),
                "parameters": shown or "",
                "outcome": dump(ended.outcome, round_trip=ended.round_trip, waited=ended.waited),
            }
            for job, ended, shown in written
        ]
        found, fence = await self._step("record", {"worker": worker, "jobs": jobs, "keep": self.keep})
        return [bool(is_own) for is_own in found], int(fence)

    async def give_back(self, worker: str, jobs: Sequence[Taken]) -> int:
        """Give jobs back of which no request has left; return how many were the worker's."""
        return int(await self._step("give_back", {"worker": worker, "jobs": [job._asdict() for job in jobs]}))

    async def beat(
        self, worker: str, told: str, *, held: Sequence[int], since: int, seen: int = 0
    ) -> tuple[int, list[tuple[Lane, int]]]:
        """Say that a worker is there; return the last fence, and of each lane how many jobs are due."""
        wanted = {"worker": worker, "told": told, "held": held, "since": since, "seen": seen}
        _, fence, lanes = await self._step("beat", wanted | self._of_the_dead())
        known = [(lane_of(name.decode(errors="replace")), int(due)) for name, due in lanes]
        return int(fence), [(lane, due) for lane, due in known if lane is not None]

    async def leave(self, worker: str) -> int:
        """Give back all that a worker has; return how many jobs that were."""
        return int(await self._step("leave", {"worker": worker} | self._of_the_dead()))

    # Everybody

    async def listen(self) -> AsyncGenerator[tuple[str, str], None]:
        """Tell what is told to everybody: a lane in which there is ``work``, keys of jobs that ``ended``.

        ``("", "")`` says that something may have been missed: at the beginning, and after the Redis was away.
        """
        pause = SOON
        while True:
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            try:
                await self._ask(lambda pubsub=pubsub: pubsub.subscribe(self._base + "work", self._base + "ended"))  # type: ignore[misc]
                is_heard = False
                while True:
                    # At first, this tells that it is subscribed, or may not be.
                    message = await cancellable(pubsub.get_message(timeout=SILENCE))
                    if not is_heard:
                        is_heard, pause = True, SOON
                        yield "", ""
                    if message is not None:
                        yield message["channel"].decode().removeprefix(self._base), message["data"].decode()
            except redis_faults() as error:
                fault = JournalError(f"what the queue tells cannot be heard: {in_words(error)}")
                if not may_pass(error):
                    raise fault from None
            finally:
                with suppress(*redis_faults()):
                    await pubsub.aclose()
            _log.info("%s", fault)
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - jitter
            pause = min(LATE, pause * 2)

    def _of_the_dead(self) -> dict[str, Any]:
        """Return what is needed to look after the jobs of workers that are gone."""
        return {"lease": round(LEASE * 1000), "keep": self.keep, "interrupted": dump(DIED)}

    async def _step(self, step: str, argument: dict[str, Any], *, reconnect: float | None = None) -> Any:
        return await self._ask(lambda: self._run(step, argument), reconnect=reconnect)

    async def _run(self, step: str, argument: dict[str, Any]) -> Any:
        text = json.dumps(argument | {"fresh": secrets.token_hex(8)}, separators=(",", ":"))
        script = self._submit if step == "submit" else self._other
        return await script(keys=[self._base], args=[step, text])

    async def _ask(self, ask: Callable[[], Awaitable[Any]], *, reconnect: float | None = None) -> Any:
        answer, _ = await self._try(ask, self._reconnect if reconnect is None else reconnect)
        return answer

    async def _try(self, ask: Callable[[], Awaitable[Any]], reconnect: float) -> tuple[Any, bool]:
        """Ask for something, and again while the Redis is away, for some seconds; return also whether it was once."""
        loop = asyncio.get_running_loop()
        until = loop.time() + reconnect
        pause = SOON
        while True:
            try:
                async with self._gate:
                    answer = await cancellable(ask())
            except redis_faults() as error:
                # What redis-py holds, the address too, stays behind.
                if is_answer(error):  # of a server that may have been demoted: its name may lead to another one now
                    await self._redis.connection_pool.disconnect(inuse_connections=False)
                fault, passes = JournalError(f"the queue cannot be reached: {in_words(error)}"), may_pass(error)
            else:
                if self.pause_reason is not None:
                    _log.warning("the queue is back")
                    self.pause_reason = None
                return answer, pause == SOON
            if not passes or loop.time() + pause > until:
                raise fault
            if self.pause_reason is None and pause > SOON:
                _log.warning("%s; it is tried again for %.0f s", fault, reconnect)
                self.pause_reason = fault
            await asyncio.sleep(pause * (0.5 + random.random() / 2))  # noqa: S311 - jitter
            pause = min(LATE, pause * 2)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise JournalError(f"the queue's record of {what} cannot be read: {type(error).__name__}") from None


def _texts(found: Sequence[bytes]) -> list[str]:
    return [text.decode() for text in found]
