"""A small fleet in virtual time: ``benchmarks/fleet_simulation.py`` does the same with a thousand AppIds."""

from collections import Counter

import attrs
import pytest

from benchmarks import simulated_fleet
from benchmarks.simulated_fleet import Outcome, Scene, jain, simulate_scene, spread

SCENE = Scene(name="small", quota=20, rate=4, seconds=6, workers_per_app=4)


@pytest.fixture(autouse=True)
def _small_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_fleet, "APPS", 12)
    monkeypatch.setattr(simulated_fleet, "WORKERS", 4)


def per_app(outcome: Outcome) -> list[int]:
    counts = Counter(app for app, _, _ in outcome.arrivals)
    return [counts[app] for app in range(12)]


@pytest.mark.slow
def test_an_app_id_with_a_backlog_delays_no_other() -> None:
    outcome = simulate_scene(attrs.evolve(SCENE, flooded=1, backlog=300))
    assert outcome.refused == 0
    flooded, *others = per_app(outcome)
    assert flooded >= 0.9 * 20 * 3  # all of its quota
    assert jain(others) > 0.99
    assert max(wait for app, _, wait in outcome.arrivals if app) < 0.5


@pytest.mark.slow
def test_the_jobs_of_a_worker_that_dies_are_made_by_others_and_no_others_wait_for_long() -> None:
    outcome = simulate_scene(attrs.evolve(SCENE, rate=2, seconds=26, death=5.2))
    assert outcome.refused == 0
    assert {worker for _, worker, _ in outcome.arrivals if worker == 1} == {1}  # until it died
    waits = sorted(wait for _, _, wait in outcome.arrivals)
    assert waits[int(0.95 * len(waits))] < 1
    assert waits[-1] < 19
    assert jain(per_app(outcome)) > 0.99


def test_fairness() -> None:
    assert jain([5, 5, 5]) == pytest.approx(1)
    assert jain([9, 0, 0]) == pytest.approx(1 / 3)
    assert spread(Counter(a=90, b=110)) == (0.9, 1.1)
