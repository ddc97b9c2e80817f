"""The credit: what a route earns that stays as it is, and what a route costs that becomes shorter."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from tests.quotas.vendor import SimulatedVendor, call
from volc_moderation.quotas import Quota
from volc_moderation.quotas.round_trips import CREDIT_MARGIN, FIRST_TRIAL, MAX_TRIAL, RoundTrips
from volc_moderation.quotas.window import MAX_BURST, LocalWindow


def answers(trips: RoundTrips, round_trip: float, begin: float, end: float, *, per_second: int = 10) -> None:
    """Record answers from ``begin`` to ``end``."""
    for number in range(int((end - begin) * per_second)):
        trips.add(round_trip, begin + number / per_second)


def credit_of(round_trip: float) -> Any:
    return pytest.approx(round_trip - CREDIT_MARGIN)


def test_a_route_on_trial_gets_half_of_the_round_trip_and_then_nearly_all_of_it() -> None:
    trips = RoundTrips()
    answers(trips, 0.3, 0, FIRST_TRIAL)
    assert trips.credit == pytest.approx(0.15)
    answers(trips, 0.3, FIRST_TRIAL, FIRST_TRIAL + 1)
    assert trips.credit == credit_of(0.3)


def test_a_short_route_gets_nearly_all_of_it_at_once() -> None:
    trips = RoundTrips()
    answers(trips, 0.05, 0, 10)
    assert trips.credit == credit_of(0.05)


def test_round_trips_that_are_a_little_shorter_begin_no_trial() -> None:
    trips = RoundTrips()
    answers(trips, 0.3, 0, 40)
    answers(trips, 0.291, 40, 41)
    assert trips.credit == credit_of(0.291)


def test_the_first_shorter_round_trip_lowers_the_credit_and_begins_a_longer_trial() -> None:
    trips = RoundTrips()
    answers(trips, 0.3, 0, 40)
    trips.add(0.2, 40)
    assert trips.credit == pytest.approx(0.1)
    answers(trips, 0.2, 40, 40 + 2 * FIRST_TRIAL)
    assert trips.credit == pytest.approx(0.1)
    answers(trips, 0.2, 40 + 2 * FIRST_TRIAL, 41 + 2 * FIRST_TRIAL)
    assert trips.credit == credit_of(0.2)


def test_a_shorter_route_during_a_trial_begins_it_again() -> None:
    """No credit was too large, so the trial does not become longer."""
    trips = RoundTrips()
    answers(trips, 0.3, 0, 20)
    answers(trips, 0.2, 20, 49)
    assert trips.credit == pytest.approx(0.1)
    answers(trips, 0.2, 49, 51)
    assert trips.credit == credit_of(0.2)


def test_a_route_that_became_longer_is_on_trial_until_the_shorter_one_is_forgotten() -> None:
    """Its way there may be shorter than it was."""
    trips = RoundTrips()
    answers(trips, 0.2, 0, 40)
    answers(trips, 0.3, 40, 51)
    assert trips.credit == pytest.approx(0.1)
    answers(trips, 0.3, 51, 119)
    assert trips.credit == pytest.approx(0.15)
    answers(trips, 0.3, 119, 121)
    assert trips.credit == credit_of(0.3)


def test_few_answers_do_not_tell_that_a_route_is_longer() -> None:
    trips = RoundTrips()
    answers(trips, 0.2, 0, 40)
    answers(trips, 0.3, 40, 60, per_second=2)
    assert trips.credit == credit_of(0.2)


def test_a_route_that_deceived_is_remembered_for_longer() -> None:
    trips = RoundTrips()
    answers(trips, 0.3, 0, 40)
    answers(trips, 0.1, 40, 50)
    answers(trips, 0.3, 50, 150)  # the first time, it was forgotten after a minute
    assert trips.credit <= 0.1
    answers(trips, 0.3, 150, 240)
    assert trips.credit == credit_of(0.3)


@pytest.mark.slow
def test_trials_do_not_grow_without_end() -> None:
    trips, at = RoundTrips(), 0.0
    for _ in range(7):
        for round_trip, seconds in ((0.1, 60.0), (0.3, 3.1 * MAX_TRIAL)):
            answers(trips, round_trip, at, at + seconds)
            at += seconds
        assert trips.credit == credit_of(0.3)


def test_an_idle_time_is_no_shorter_route() -> None:
    trips = RoundTrips()
    answers(trips, 0.3, 0, 40)
    answers(trips, 0.2, 10_000, 10_000 + FIRST_TRIAL + 1)
    assert trips.credit == credit_of(0.2)


# A vendor behind a route that changes, in virtual time

Route = Sequence[tuple[float, tuple[float, float], tuple[float, float]]]
QUOTA = 40


async def refusals(route: Route, seed: int = 1) -> list[float]:
    """Call as fast as possible; return the times of refused calls.

    :param route: spans of time in seconds, each with the ranges of the delay there and back.
    """
    loop = asyncio.get_running_loop()
    window, refused = LocalWindow(Quota(QUOTA), loop, 0.1, []), []
    vendor = SimulatedVendor(0, 0, seed, limit=QUOTA)
    ends_at = loop.time() + sum(seconds for seconds, _, _ in route)

    async def caller() -> None:
        while loop.time() < ends_at:
            if not await call(window, vendor):
                refused.append(loop.time())

    callers = [asyncio.create_task(caller()) for _ in range(2 * QUOTA)]
    for seconds, vendor.outbound, vendor.inbound in route:
        await asyncio.sleep(seconds)
    await asyncio.gather(*callers)
    return refused


@pytest.mark.slow
@pytest.mark.no_coverage
@pytest.mark.looptime
@pytest.mark.parametrize("seed", range(4))
async def test_a_route_that_shortens_costs_the_calls_of_the_time_that_it_gained(seed: int) -> None:
    """Any two routes with jitter, also asymmetric ones, the second one shorter; then the first one again.

    With jitter, a request overtakes more of the earlier ones; and a burst may be among them.
    """
    rng = random.Random(seed)
    there, back, later_there, later_back, jitter = (rng.uniform(0, 0.15) for _ in range(5))
    there += later_there
    back += later_back
    route = (
        (rng.uniform(20, 60), (there, there + jitter), (back, back + jitter)),
        (20, (later_there, later_there + jitter), (later_back, later_back + jitter)),
        (30, (there, there + jitter), (back, back + jitter)),
        (10, (later_there, later_there + jitter), (later_back, later_back + jitter)),
    )
    refused = await refusals(route, seed)
    assert len(refused) <= QUOTA * (there + jitter - later_there) + MAX_BURST
    assert all(at < route[0][0] + 1 for at in refused)


@pytest.mark.slow
@pytest.mark.no_coverage
@pytest.mark.looptime
async def test_a_route_that_alternates_costs_nothing_after_its_first_changes() -> None:
    far, near = ((0.15, 0.16), (0.15, 0.16)), ((0.05, 0.06), (0.05, 0.06))
    refused = await refusals([(45, *far), *5 * [(10.0, *near), (10.0, *far)]])
    assert 0 < len(refused) <= QUOTA * 0.11 + MAX_BURST
    assert max(refused) < 46
