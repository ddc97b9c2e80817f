"""A thousand AppIds and fifty workers in virtual time: fairness, the longest waits, and the load of the store.

``python -m benchmarks.fleet_simulation`` takes about five minutes; with words, it runs only the scenes that have one of
them in their names, and keeps no results. The workers, their lanes and the quotas are the real
code; ``virtual_valkey.py`` stands for the Valkey, and the clients make no requests: a call takes CPU of its worker, and
20 to 50 ms each way. The vendor refuses what exceeds the quota of an AppId in any second, counted by arrival.

A wait is the time from the submission of a job to the arrival of its call.
"""

import asyncio
import gc
import random
import sys
from collections import Counter, deque
from contextlib import ExitStack
from typing import Any, TypeVar
from unittest.mock import patch

import attrs
from matplotlib.axes import Axes

from benchmarks.results import Result
from benchmarks.virtual_time import run_in_virtual_time
from benchmarks.virtual_valkey import Connection, Load, VirtualValkey
from volc_moderation import RedisQuotas, ThrottledError, ZegoClient
from volc_moderation.action import Action, version_of
from volc_moderation.call_options import CallOptions
from volc_moderation.call_state import Reply
from volc_moderation.jobs.clients import dump_action
from volc_moderation.jobs.job import Lane
from volc_moderation.jobs.queue.records import lane_name
from volc_moderation.jobs.queue.redis_queue import WORKER_LEASE, RedisQueue
from volc_moderation.jobs.worker import HEARTBEAT_INTERVAL, Worker
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


SCENES = (
    Scene(name="all workers have all keys", seconds=8),
    Scene(name="5 workers have the keys of an AppId", workers_per_app=5, seconds=8),
    Scene(name="1 worker has the keys of an AppId", workers_per_app=1, seconds=8),
    Scene(name="every AppId has a backlog", quota=3, rate=0, flooded=APPS, backlog=60, workers_per_app=2),
    Scene(name="10 AppIds have a backlog", quota=20, rate=1, flooded=10, backlog=1000, workers_per_app=5),
    Scene(name="a worker dies", rate=1, seconds=26, death=5.0, workers_per_app=5),
    Scene(name="a worker is 40 times slower", slowness=40, seconds=8, workers_per_app=5),
)


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


def add_row(result: Result, outcome: Outcome) -> None:
    """Add what happened in a scene to the result."""
    scene, load = outcome.scene, outcome.load
    others = sorted(wait for app, _, wait in outcome.arrivals if scene.flooded % APPS <= app)
    per_app, per_worker = (Counter(arrival[part] for arrival in outcome.arrivals) for part in (0, 1))
    alike = [per_app[app] for app in range(scene.flooded % APPS, APPS)]
    healthy = [per_worker[number] for number in range(2, WORKERS)]
    exchanges = load.exchanges.total() - load.exchanges["submit"]
    result.add(
        scene=scene.name,
        calls_per_s=round(len(outcome.arrivals) / (scene.seconds - WARM_UP)),
        refused=outcome.refused,
        median_wait=others[len(others) // 2],
        p99_wait=others[int(0.99 * len(others))],
        worst_wait=others[-1],
        missing=outcome.missing,
        jain_of_apps=jain(alike),
        jain_of_workers=jain(healthy),
        least_worker=WORKERS * min(healthy) / len(outcome.arrivals),
        largest_worker=WORKERS * max(healthy) / len(outcome.arrivals),
        first_worker=WORKERS * per_worker[0] / len(outcome.arrivals),
        exchanges_per_s=round(exchanges / scene.seconds),
        exchanges_per_call=exchanges / outcome.made,
        commands_per_s=round(load.commands / scene.seconds),
        megabytes_per_s=load.bytes / scene.seconds / 1e6,
    )


def set_goals(result: Result, outcome: Outcome) -> None:
    """Set the goals of a scene."""
    scene, name = outcome.scene, outcome.scene.name
    per_app = Counter(app for app, _, _ in outcome.arrivals)
    waits = [wait for app, _, wait in outcome.arrivals if scene.flooded % APPS <= app]
    result.goal(f"{name}: calls above a quota", outcome.refused, at_most=0)
    result.goal(
        f"{name}: fairness of AppIds", jain([per_app[app] for app in range(scene.flooded % APPS, APPS)]), at_least=0.99
    )
    if scene.flooded < APPS:
        longest = WORKER_LEASE + HEARTBEAT_INTERVAL if scene.death else 5.0 if scene.slowness > 1 else 1.0
        result.goal(f"{name}: longest wait, s", max(waits), at_most=longest)


def main(names: list[str]) -> None:
    result = Result("fleet_simulation", "A fleet, in virtual time", "redis", apps=APPS, workers=WORKERS)
    outcomes = []
    gc.disable()  # 50,000 lanes live until the end of a scene
    for scene in SCENES:
        if not names or any(name in scene.name for name in names):
            outcomes.append(simulate_scene(scene))
            add_row(result, outcomes[-1])
            set_goals(result, outcomes[-1])
            gc.collect()

    def draw(axes: list[Axes]) -> None:
        for outcome in outcomes:
            waits = sorted(wait for _, _, wait in outcome.arrivals)
            parts = [number / len(waits) for number in range(len(waits))]
            axes[0].plot(waits, [1 - part for part in parts], label=outcome.scene.name)
        axes[0].set_xscale("log")
        axes[0].set_yscale("log")
        axes[0].set_xlabel("seconds from submission to arrival")
        axes[0].set_ylabel("part of calls that wait longer")
        axes[0].legend(fontsize=7)

    result.finish(None if names else draw, height=4.0)


if __name__ == "__main__":
    main(sys.argv[1:])
