"""Workers of many AppIds in virtual time.

The workers, their lanes and the quotas are the real code; ``virtual_valkey.py`` stands for the Valkey, and the clients
make no requests: a call takes CPU of its worker, and 20 to 50 ms each way. The vendor refuses what exceeds the quota of
an AppId in any second, counted by arrival.
"""

import asyncio
import random
from collections import Counter, deque
from contextlib import ExitStack
from typing import Any, TypeVar
from unittest.mock import patch

import attrs

from benchmarks.virtual_time import run_in_virtual_time
from benchmarks.virtual_valkey import Connection, Load, VirtualValkey
from volc_moderation import RedisQuotas, ThrottledError, ZegoClient
from volc_moderation.action import Action, version_of
from volc_moderation.call_options import CallOptions
from volc_moderation.call_state import Reply
from volc_moderation.jobs.clients import dump_action
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.queue.records import lane_name
from volc_moderation.jobs.queue.redis_queue import RedisQueue
from volc_moderation.jobs.worker import Worker
from volc_moderation.quotas.permit import QuotaKey, hash_account
from volc_moderation.vendor_account import VendorAccount
from volc_moderation.zego import StartCensorAudioV2
from volc_moderation.zego.moderation import CensorTask

R = TypeVar("R")

APPS = 1000
WORKERS = 50
DELAY = (0.02, 0.05)  # seconds, each way
#: Seconds of a worker's CPU for a call; ``python -m benchmarks.fleet`` measures it.
CPU_OF_CALL = 0.0012
WARM_UP = 3.0  # seconds
ACTION = "StartCensorAudioV2"
OPTIONS = CallOptions.make(deadline=None, timeout=10.0, priority="bulk", retry=None)
ROOM = "the-room"
CALL = StartCensorAudioV2(room_id=ROOM, event_id="live_streaming", audio_language="en", risk_type_list=["BAN"])


@attrs.frozen(kw_only=True)
class Scene:
    """What is simulated."""

    name: str
    #: Calls per second that the vendor allows an AppId.
    quota: int = 100
    #: Calls per second that are submitted for each AppId.
    rate: float = 2.0
    #: Seconds that are simulated.
    seconds: float = 12.0
    #: AppIds that have a backlog, and its size.
    flooded: int = 0
    backlog: int = 0
    #: How many workers have the keys of an AppId.
    workers_per_app: int = WORKERS
    #: When a worker dies.
    death: float | None = None
    #: How many times as much CPU a call needs on one of the workers.
    slowness: float = 1.0
    seed: int = 1


class _Vendor:
    """Counts arrivals by AppId."""

    def __init__(self, quota: int) -> None:
        self._quota = quota
        self._past_seconds = [deque[float]() for _ in range(APPS)]
        self.refused = 0

    def accepts(self, app: int, now: float) -> bool:
        past = self._past_seconds[app]
        while past and past[0] <= now - 1:
            past.popleft()
        if len(past) == self._quota:
            self.refused += 1
            return False
        past.append(now)
        return True


@attrs.define
class _Course:
    """What happens in a scene."""

    vendor: _Vendor
    rng: random.Random
    #: When the jobs that have not arrived were submitted, by their rooms.
    submitted: dict[str, float] = attrs.field(factory=dict)
    made: int = 0
    #: The arrivals after the warm-up: the AppId, the worker, and the wait in seconds.
    arrivals: list[tuple[int, int, float]] = attrs.field(factory=list)


class _Machine:
    """A worker's machine: one core."""

    def __init__(self, number: int, cpu_of_call: float, connection: Connection) -> None:
        self.number = number
        self.connection = connection
        self._cpu_of_call = cpu_of_call
        self._is_free_at = 0.0

    async def compute(self) -> None:
        now = asyncio.get_running_loop().time()
        self._is_free_at = max(now, self._is_free_at) + self._cpu_of_call
        await asyncio.sleep(self._is_free_at - now)


class _Client(ZegoClient):
    """A client whose requests take time, and go nowhere."""

    def __init__(self, app: int, quotas: RedisQuotas, machine: _Machine, course: _Course) -> None:
        # Not that of the base class: there are 50,000 of these, and they have no keys and no connections.
        VendorAccount.__init__(self)
        self._options = OPTIONS
        self._is_test = None
        self._app = app
        self._store = quotas
        self._machine = machine
        self._course = course
        self._key = QuotaKey(self.vendor, self.account, ACTION)

    @property
    def quotas(self) -> RedisQuotas:
        return self._store

    @property
    def account(self) -> str:
        return str(self._app)

    async def call(self, action: Action[R], **options: Any) -> Reply[R]:
        loop, course = asyncio.get_running_loop(), self._course
        await self._machine.compute()
        began = loop.time()
        permit = await self._store.acquire(self._key, self.quota_of(type(action)), "bulk")
        waited = loop.time() - began
        try:
            await options["before_send"]()
        except BaseException:
            permit.abandoned(None)
            raise
        options["on_send"]()
        sent_at = loop.time()
        await asyncio.sleep(course.rng.uniform(*DELAY))
        is_accepted = course.vendor.accepts(self._app, loop.time())
        if is_accepted:
            assert isinstance(action, StartCensorAudioV2)
            wait = loop.time() - course.submitted.pop(action.room_id)
            course.made += 1
            if loop.time() >= WARM_UP:
                course.arrivals.append((self._app, self._machine.number, wait))
        await asyncio.sleep(course.rng.uniform(*DELAY))
        if self._machine.connection.is_dead:
            await loop.create_future()
        if not is_accepted:
            permit.throttled(loop.time() - sent_at)
            raise ThrottledError("too many", code=206, action=ACTION, request_id=None, status=200, attempts=1)
        permit.answered(loop.time() - sent_at)
        reply: Reply[Any] = Reply(
            result=CensorTask(task_id="t"), request_id=None, log_id=None, attempts=1, waited=waited
        )
        return reply


@attrs.frozen
class Outcome:
    """What happened in a scene."""

    scene: Scene
    load: Load
    refused: int
    #: The calls that arrived, also during the warm-up.
    made: int
    #: Jobs that were submitted one at a time, more than a second before the end, and have not arrived.
    missing: int
    #: Those after the warm-up: the AppId, the worker, and the wait in seconds.
    arrivals: list[tuple[int, int, float]]


def jain(counts: list[int]) -> float:
    """Return Jain's index of fairness: 1 if all are equal, 1/n if one has everything."""
    return sum(counts) ** 2 / (len(counts) * sum(count * count for count in counts)) if any(counts) else 0.0


def spread(counts: Counter[str]) -> tuple[float, float]:
    """Return the least and the largest count, each divided by an equal part."""
    equal = counts.total() / len(counts)
    return min(counts.values()) / equal, max(counts.values()) / equal


async def simulate(scene: Scene) -> Outcome:
    loop, rng = asyncio.get_running_loop(), random.Random(scene.seed)
    valkey = VirtualValkey(rng)
    course = _Course(_Vendor(scene.quota), rng)
    machines, workers = [], []
    for number in range(WORKERS):
        machine = _Machine(number, CPU_OF_CALL * (scene.slowness if number == 0 else 1), valkey.connect())
        apps = [app for app in range(APPS) if (number - 7 * app) % WORKERS < scene.workers_per_app]
        quotas = RedisQuotas(machine.connection, {ACTION: scene.quota})
        queue = RedisQueue(machine.connection, "fleet", keep=60, reconnect=60.0)
        clients = [_Client(app, quotas, machine, course) for app in apps]
        worker = Worker(queue, clients, retry=None, priority="bulk", concurrency=32, clock=loop.time)
        worker.id = f"w{number}"
        valkey.listen(worker.id, worker.wake)
        machines.append(machine)
        workers.append(worker)
    _submit_all(scene, valkey, course)
    running = [loop.create_task(worker.run()) for worker in workers]
    if scene.death is not None:
        await asyncio.sleep(scene.death)
        machines[1].connection.is_dead = True
        valkey.silence(workers[1].id)
    await asyncio.sleep(scene.seconds - loop.time())
    outcome = Outcome(
        scene,
        attrs.evolve(valkey.load, exchanges=Counter(valkey.load.exchanges)),
        course.vendor.refused,
        course.made,
        sum(at < scene.seconds - 1 for at in course.submitted.values() if at),
        list(course.arrivals),
    )
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return outcome


def _submit_all(scene: Scene, valkey: VirtualValkey, course: _Course) -> None:
    """Submit the backlogs now; each other AppId gets a job at regular intervals, from a random moment on."""
    loop = asyncio.get_running_loop()
    parameters = dump_action(CALL)

    def submit(app: int, first: int, count: int) -> None:
        lane = lane_name(Lane("zego", hash_account(str(app)), ACTION, version_of(CALL)))
        rooms = [f"{app}-{number}" for number in range(first, first + count)]
        course.submitted.update(dict.fromkeys(rooms, loop.time()))
        valkey.submit(lane, {room: parameters.replace(ROOM, room).encode() for room in rooms})

    for app in range(scene.flooded):
        submit(app, 0, scene.backlog)
    for app in range(scene.flooded, APPS):
        first_at = course.rng.uniform(0, 1 / scene.rate)
        for number in range(int((scene.seconds - first_at) * scene.rate) + 1):
            loop.call_at(first_at + number / scene.rate, submit, app, number, 1)


def simulate_scene(scene: Scene) -> Outcome:
    """Simulate a scene. All clocks are that of the event loop."""

    async def with_its_clocks() -> Outcome:
        loop = asyncio.get_running_loop()
        with ExitStack() as stack:
            for module in ("jobs.worker", "quotas.shared_permit"):
                stack.enter_context(patch(f"volc_moderation.{module}.boot_time", loop.time))
            return await simulate(scene)

    random.seed(scene.seed)
    return run_in_virtual_time(with_its_clocks())
