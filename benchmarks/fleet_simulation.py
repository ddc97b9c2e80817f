"""A thousand AppIds and fifty workers in virtual time: fairness, the longest waits, and the load of the store.

``python -m benchmarks.fleet_simulation`` takes about five minutes; with words, it runs only the scenes that have one of
them in their names, and keeps no results. ``simulated_fleet.py`` says what is real.

A wait is the time from the submission of a job to the arrival of its call.
"""

import gc
import sys
from collections import Counter

from matplotlib.axes import Axes

from benchmarks.results import Result
from benchmarks.simulated_fleet import APPS, WARM_UP, WORKERS, Outcome, Scene, jain, simulate_scene
from volc_moderation.jobs.queue.redis_queue import WORKER_LEASE
from volc_moderation.jobs.worker import HEARTBEAT_INTERVAL

SCENES = (
    Scene(name="all workers have all keys", seconds=8),
    Scene(name="5 workers have the keys of an AppId", workers_per_app=5, seconds=8),
    Scene(name="1 worker has the keys of an AppId", workers_per_app=1, seconds=8),
    Scene(name="every AppId has a backlog", quota=3, rate=0, flooded=APPS, backlog=60, workers_per_app=2),
    Scene(name="10 AppIds have a backlog", quota=20, rate=1, flooded=10, backlog=1000, workers_per_app=5),
    Scene(name="a worker dies", rate=1, seconds=26, death=5.0, workers_per_app=5),
    Scene(name="a worker is 40 times slower", slowness=40, seconds=8, workers_per_app=5),
)


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
