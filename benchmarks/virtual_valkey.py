"""A Valkey in virtual time: the scripts of the queue and of the quotas, in memory, with a count of what they cost.

``RedisQueue`` and ``RedisQuotas`` use it as they use a client of redis-py. The permits follow the rules of
``grant_permits.py``, the queue those of ``queue.lua``, as far as a fleet needs them: no runs, no lost data, no steps of
the clock. Commands are those that the scripts would send.
"""

import asyncio
import json
import random
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs

from volc_moderation.quotas.exchange import ExchangeRequest, WindowRules
from volc_moderation.quotas.grant_permits import SharedState, grant_permits
from volc_moderation.quotas.redis_quotas import SCRIPT as QUOTA_SCRIPT

#: Seconds from a request to its reply.
ROUND_TRIP = 0.001
MAX_WOKEN = 8
MAX_IDLE_SILENCE = 6.0  # seconds

#: The commands of one exchange of a quota, besides those for its permits.
EXCHANGE_COMMANDS = 20
#: The commands of each step of the queue, and those for each of its jobs.
STEP_COMMANDS = {"take": (7, 5), "mark_sent": (3, 4), "record": (4, 8), "give_back": (3, 6), "heartbeat": (6, 1)}


@attrs.define
class QueuedJob:
    """A job of the queue."""

    key: str
    lane: str
    parameters: bytes
    attempts: int = 0
    state: str = "pending"
    worker: str = ""
    fence: int = 0


@attrs.define
class Load:
    """What the store had to do."""

    #: By step; those of quotas are ``permits``.
    exchanges: Counter[str] = attrs.field(factory=Counter)
    commands: int = 0
    bytes: int = 0
    #: Notifications that were delivered to workers.
    notifications: int = 0


class VirtualValkey:
    """The store. ``connect`` returns what stands for a client of redis-py."""

    def __init__(self, rng: random.Random) -> None:
        self.load = Load()
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._quotas: dict[str, SharedState] = {}
        self._jobs: dict[str, QueuedJob] = {}
        self._due: defaultdict[str, deque[str]] = defaultdict(deque)
        self._idle: defaultdict[str, set[str]] = defaultdict(set)
        self._taken: defaultdict[str, set[str]] = defaultdict(set)
        #: When each worker was last in contact.
        self._contacts: dict[str, float] = {}
        self._last_fence = 0
        #: By worker: called with the name of a lane that has due jobs.
        self._listeners: dict[str, Callable[[str], None]] = {}

    def connect(self) -> "Connection":
        """Return a connection, for one process."""
        return Connection(self)

    def listen(self, worker: str, listener: Callable[[str], None]) -> None:
        """Call ``listener`` with each lane that the worker is notified of."""
        self._listeners[worker] = listener

    def silence(self, worker: str) -> None:
        """Notify a worker no more: it has died."""
        self._listeners.pop(worker, None)

    def submit(self, lane: str, jobs: Mapping[str, bytes]) -> None:
        """Open jobs of a lane, given their parameters by their keys."""
        self._count("submit", 6 + 4 * len(jobs), sum(len(parameters) + 200 for parameters in jobs.values()))
        for key, parameters in jobs.items():
            self._jobs[key] = QueuedJob(key, lane, parameters)
            self._due[lane].append(key)
        self._notify(lane, len(jobs))

    def _count(self, exchange: str, commands: int, size: int) -> None:
        self.load.exchanges[exchange] += 1
        self.load.commands += commands
        self.load.bytes += size

    def exchange(self, key: str, text: str) -> list[Any]:
        """Run ``grant_permits.lua``."""
        argument = json.loads(text)
        returns = argument["returns"]
        rules = WindowRules(**{field.name: argument[field.name] for field in attrs.fields(WindowRules)})
        request = ExchangeRequest(
            rules=rules,
            process=int(argument["process"]),
            weight=argument["weight"],
            want=argument["want"],
            prefetch=argument["prefetch"],
            number=argument["number"],
            returns=tuple(zip(returns[::3], returns[1::3], returns[2::3], strict=True)),
            renew=tuple(argument["renew"]),
            throttled=argument["throttled"],
            credit=argument["credit"],
            generation=argument.get("born"),
            was_away=argument["away"],
        )
        state = self._quotas.get(key) or SharedState(generation=1)
        self._quotas[key], reply = grant_permits(state, request, int(self._loop.time() * 1e6))
        commands = EXCHANGE_COMMANDS + 2 * len(request.returns) + len(request.renew) + 2 * len(reply.delays)
        self._count("permits", commands, len(text) + 6 * len(key) + 60)
        fields = ("generation", "now", "effective", "permits_out", "wait", "others")
        return [*(getattr(reply, name) for name in fields), list(reply.delays)]

    def step(self, step: str, text: str) -> Any:
        """Run a step of the queue."""
        argument = json.loads(text)
        if argument["worker"]:
            self._contacts[argument["worker"]] = self._loop.time()
        reply, jobs = getattr(self, f"_{step}")(argument)
        base, for_each_job = STEP_COMMANDS[step]
        self._count(step, base + for_each_job * jobs, len(text) + 100 + 300 * jobs * (step == "take"))
        return reply

    def _take(self, argument: dict[str, Any]) -> tuple[Any, int]:
        worker, lane, limit = argument["worker"], argument["lane"], argument["limit"]
        due = self._due[lane]
        jobs: list[Any] = []
        while due and len(jobs) < limit:
            job = self._jobs[due.popleft()]
            self._last_fence += 1
            job.state = "taken" if argument["at_most_once"] else "sent"
            job.worker, job.fence, job.attempts = worker, self._last_fence, job.attempts + 1
            self._taken[worker].add(job.key)
            jobs.append([job.fence, job.key.encode(), job.parameters, job.attempts, b"0", b"null", b"", b""])
        if len(jobs) < limit:
            self._idle[lane].add(worker)
        else:
            self._idle[lane].discard(worker)
            if due:
                self._notify(lane, 1, by=worker, is_new=False)
        return [jobs, -1], len(jobs)

    def _mark_sent(self, argument: dict[str, Any]) -> tuple[Any, int]:
        are_valid = [self._has(argument["worker"], claim) for claim in argument["claims"]]
        for claim, is_valid in zip(argument["claims"], are_valid, strict=True):
            if is_valid:
                self._jobs[claim["key"]].state = "sent"
        return [[int(is_valid) for is_valid in are_valid], self._last_fence], len(are_valid)

    def _record(self, argument: dict[str, Any]) -> tuple[Any, int]:
        are_valid = []
        for attempt in argument["attempts"]:
            are_valid.append(self._has(argument["worker"], attempt))
            if not are_valid[-1]:
                continue
            job = self._jobs[attempt["key"]]
            self._taken[job.worker].discard(job.key)
            job.state, job.worker, job.attempts = attempt["state"], "", attempt["attempts"]
            if job.state == "pending":
                self._loop.call_later(attempt["delay"] / 1000, self._return, job)
            else:
                del self._jobs[job.key]
        return [[int(is_valid) for is_valid in are_valid], self._last_fence], len(are_valid)

    def _give_back(self, argument: dict[str, Any]) -> tuple[Any, int]:
        jobs = [self._jobs[claim["key"]] for claim in argument["claims"] if self._has(argument["worker"], claim)]
        for job in jobs:
            self._idle[job.lane].discard(job.worker)
            self._taken[job.worker].discard(job.key)
            job.attempts -= 1
            self._return(job)
        return len(jobs), len(jobs)

    def _heartbeat(self, argument: dict[str, Any]) -> tuple[Any, int]:
        lease = argument["lease"] / 1000
        for worker in [one for one, at in self._contacts.items() if at <= self._loop.time() - lease]:
            del self._contacts[worker]
            for key in self._taken.pop(worker, ()):
                job = self._jobs[key]
                if job.state == "taken":
                    job.attempts -= 1
                    self._return(job)
                else:
                    del self._jobs[key]  # interrupted
        lanes = [[lane.encode(), len(due)] for lane, due in self._due.items()]
        self.load.bytes += 60 * len(lanes)
        return [self._last_fence, lanes, b"data"], len(lanes)

    def _has(self, worker: str, claim: dict[str, Any]) -> bool:
        job = self._jobs.get(claim["key"])
        return job is not None and (job.worker, job.fence) == (worker, claim["fence"])

    def _return(self, job: QueuedJob) -> None:
        by, job.worker, job.state = job.worker, "", "pending"
        self._due[job.lane].append(job.key)
        self._notify(job.lane, 1, by=by)

    def _notify(self, lane: str, new_jobs: int, *, by: str = "", is_new: bool = True) -> None:
        idle, notified = self._idle[lane], 0
        candidates = sorted(idle - {by})
        self._rng.shuffle(candidates)
        while candidates and notified < min(new_jobs, MAX_WOKEN):
            worker = candidates.pop()
            idle.discard(worker)
            if self._contacts.get(worker, -MAX_IDLE_SILENCE) > self._loop.time() - MAX_IDLE_SILENCE:
                self._deliver(worker, lane)
                notified += 1
        if not notified and is_new and len(self._due[lane]) <= new_jobs:
            for worker in self._listeners:
                self._deliver(worker, lane)

    def _deliver(self, worker: str, lane: str) -> None:
        self.load.notifications += 1
        if worker in self._listeners:
            self._loop.call_later(ROUND_TRIP / 2, self._listeners[worker], lane)


class Connection:
    """What ``RedisQueue`` and ``RedisQuotas`` use of a client of redis-py."""

    def __init__(self, valkey: VirtualValkey) -> None:
        self._valkey = valkey
        #: Whether the process has died: no reply reaches it.
        self.is_dead = False

    def register_script(self, script: str) -> Callable[..., Awaitable[Any]]:
        """Return the script."""

        async def run(*, keys: list[str], args: list[str]) -> Any:
            await self._die()
            reply = self._valkey.exchange(keys[0], args[0]) if script == QUOTA_SCRIPT else self._valkey.step(*args)
            await asyncio.sleep(ROUND_TRIP)
            await self._die()
            return reply

        return run

    async def _die(self) -> None:
        if self.is_dead:
            await asyncio.get_running_loop().create_future()

    async def aclose(self) -> None:
        """Do nothing."""
