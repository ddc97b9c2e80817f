"""The rules by which a shared store grants permits: those of Redis, as a pure function, and its stored state."""

import copy
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.quotas.processes import EPOCH, Processes
from volc_moderation.quotas import Quota
from volc_moderation.quotas.exchange import ExchangeReply, ExchangeRequest, WindowRules
from volc_moderation.quotas.grant_permits import SharedState, grant_permits
from volc_moderation.quotas.state_codec import dump_state, load_state

GENERATION = 12345
SECOND = 1_000_000
NOW = EPOCH * SECOND


def rules(limit: int = 3, *, published: bool = True, window: int = SECOND) -> WindowRules:
    return WindowRules(
        limit=limit,
        published=published,
        window=window,
        lease=9 * SECOND + window,
        forget=window + SECOND // 2,
        silence=window + SECOND,
    )


# The same as in Redis


@st.composite
def steps(draw: st.DrawFn) -> dict[str, Any]:
    """One exchange: which process makes it, how long after the one before, and what it says."""
    return {
        "process": draw(st.integers(1, 4)),
        "milliseconds": draw(st.sampled_from([1, 7, 40, 200, 999, 1000, 1500, 3000, 12_000])),
        "want": draw(st.sampled_from([0, 1, 1, 2, 5, 20])),
        "prefetch": draw(st.sampled_from([0, 1, 3, 20])),
        "waiting": draw(st.sampled_from([0, 0, 1, 60])),
        "returns": draw(
            st.lists(
                st.tuples(
                    st.integers(0, 60),
                    st.sampled_from([-400_000, 0, 1_000, 300_000, SECOND, 10 * SECOND, 60 * SECOND]),
                    st.sampled_from([0, 10_000, 60_000]),
                ),
                max_size=6,
            )
        ),
        "renew": draw(st.sets(st.integers(0, 60), max_size=3)),
        "throttled": draw(st.sampled_from([False, False, False, True])),
        "credit": draw(st.sampled_from([0, 20_000, 50_000])),
        "generation": draw(st.sampled_from([GENERATION, GENERATION, GENERATION, None, None, 99])),
        "was_away": draw(st.sampled_from([False] * 9 + [True])),
    }


@pytest.mark.no_coverage
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    limit=st.integers(1, 50),
    published=st.booleans(),
    window=st.sampled_from([SECOND, 10 * SECOND]),
    sequence=st.lists(steps(), min_size=5, max_size=30),
)
def test_the_replies_are_those_of_the_script_in_redis(
    redis: Redis, limit: int, published: bool, window: int, sequence: list[dict[str, Any]]
) -> None:
    redis.flushall()
    # The generation of the data in Redis is ours.
    redis.hset("{test}:state", mapping={"born": GENERATION, "node": redis.info("server")["run_id"]})
    processes = Processes(redis, Quota(limit, window=window / SECOND, published=published))
    state, at, numbers = SharedState(generation=GENERATION), NOW, {1: 0, 2: 0, 3: 0, 4: 0}
    returned: set[tuple[int, int]] = set()
    unique = 0  # Redis orders simultaneous returns by their names; so none are simultaneous
    for step in sequence:
        at += 1000 * step["milliseconds"]
        issued = numbers[step["process"]]
        returns = {}
        for number, after, credit in step["returns"]:
            unique += 1
            # A longer span is cut, and would be the same for several permits.
            longest = window + rules(window=window).forget - SECOND // 10
            span = min(after, longest) + unique % 1000 if after > 0 else after
            # Each permit returns once. One that is not its own is none that it gets later.
            is_own = number < issued and (step["process"], number) not in returned
            returned.add((step["process"], number))
            returns[number if is_own else 1000 + unique] = (span, credit)
        request = ExchangeRequest(
            rules=rules(limit, published=published, window=window),
            process=step["process"],
            weight=step["want"] + step["waiting"],
            want=step["want"],
            prefetch=step["prefetch"],
            number=issued,
            returns=tuple((number, *rest) for number, rest in returns.items()),
            renew=tuple(number for number in sorted(step["renew"] - returns.keys()) if number < issued),
            throttled=step["throttled"],
            credit=step["credit"],
            generation=step["generation"],
            was_away=step["was_away"],
            clock_bound=at,
            clock_generation=GENERATION,
        )
        numbers[step["process"]] += step["want"]
        expected = processes.run_script(request, at / SECOND)
        state, reply = grant_permits(load_state(dump_state(state)), request, at)
        assert reply == expected


def test_the_clock_of_lost_data_confirms_no_time(redis: Redis) -> None:
    """The time that a process with an old clock leaves uncounted is lost: its permits would end early otherwise."""
    processes = Processes(redis, Quota(3))

    def exchange(process: int, at: float, **clock: Any) -> ExchangeReply:
        return processes.run_script(ExchangeRequest(rules=rules(), process=process, **clock), EPOCH + at)

    lost = exchange(1, 0).generation
    processes.lose_data()
    first = exchange(2, 10)
    old_clock = {"generation": lost, "clock_bound": NOW + 9_900_000, "clock_generation": lost}
    assert exchange(1, 10.065, **old_clock).now == first.now
    new_clock = {"clock_bound": NOW + 10_100_000, "clock_generation": first.generation}
    assert exchange(2, 10.1, **new_clock).now == first.now + 35_000


# Each rule


class Store:
    """A state, and exchanges at times in seconds after its beginning."""

    def __init__(self, limit: int = 3, **of_the_rules: Any) -> None:
        self.rules = rules(limit, **of_the_rules)
        self.state = SharedState(generation=GENERATION)

    def exchange(self, at: float, process: int = 1, **of_the_request: Any) -> ExchangeReply:
        of_the_request.setdefault("weight", of_the_request.get("want", 0))
        of_the_request.setdefault("prefetch", of_the_request.get("want", 0))
        request = ExchangeRequest(rules=self.rules, process=process, **of_the_request)
        self.state, reply = grant_permits(self.state, request, NOW + int(at * SECOND))
        return reply


def test_no_more_permits_than_the_limit_are_granted() -> None:
    store = Store(3)
    assert store.exchange(0, want=2).delays == (0, 0)
    reply = store.exchange(0.1, 2, want=2)
    assert reply.delays == (0,)
    assert reply.permits_out == 3
    assert reply.wait == SECOND - SECOND // 10


def test_a_process_is_told_how_many_calls_wait_in_the_others() -> None:
    store = Store()
    assert store.exchange(0, 1, weight=5).others == 0
    assert store.exchange(0.1, 2, weight=7).others == 5
    assert store.exchange(0.2, 3).others == 12
    assert store.exchange(0.3, 1, weight=0).others == 7
    assert store.exchange(0.4, 2, weight=7).others == 0


def test_a_process_that_is_silent_does_not_count() -> None:
    store = Store()
    store.exchange(0, 1, weight=5)
    assert store.exchange(1.9, 2, weight=1).others == 5
    assert store.exchange(2.1, 2, weight=1).others == 0


def test_an_answered_permit_is_granted_ahead_of_time_less_the_smaller_credit() -> None:
    store = Store(1)
    store.exchange(0, want=1)
    store.exchange(0.1, returns=((0, SECOND, 30_000),))
    assert store.exchange(0.2, 2, want=1, credit=50_000).delays == (900_000 - 30_000,)


def test_a_permit_that_was_not_used_is_free_at_once() -> None:
    store = Store(1)
    store.exchange(0, want=1)
    assert store.exchange(0.1, returns=((0, 0, 0),)).permits_out == 0


def test_the_return_of_a_permit_is_limited_to_a_window_and_what_the_vendor_remembers() -> None:
    store = Store(1)
    store.exchange(0, returns=((9, 3600 * SECOND, 0),))
    assert store.exchange(0.1, want=1).delays == (2_400_000,)


def test_permits_in_flight_return_after_the_lease_unless_they_are_renewed() -> None:
    store = Store(2)
    store.exchange(0, want=2)
    store.exchange(5, renew=(1,))
    assert store.exchange(9.9, 2, want=2).delays == ()
    assert store.exchange(10, 2, want=2).delays == (0,)
    assert store.exchange(15, 2, want=1, number=2).delays == (0,)


@pytest.mark.parametrize("news", [{"generation": 99}, {"was_away": True}])
def test_after_lost_permits_none_is_granted_until_the_vendor_has_forgotten(news: dict[str, Any]) -> None:
    store = Store(3)
    reply = store.exchange(0, want=1, **news)
    assert reply.delays == ()
    assert reply.wait == 1_500_000
    assert store.exchange(1.499, 2, want=1).delays == ()
    assert store.exchange(1.5, 2, want=1).delays == (0,)


def test_a_process_that_got_too_few_permits_is_served_before_later_ones() -> None:
    store = Store(1)
    store.exchange(0, 1, want=1)
    assert store.exchange(0.1, 2, want=1).delays == ()
    assert store.exchange(0.2, 1, want=1, number=1, returns=((0, 0, 0),)).delays == ()
    assert store.exchange(0.3, 2, want=1).delays == (0,)


def test_a_silent_process_loses_its_place_in_line() -> None:
    store = Store(1)
    store.exchange(0, 1, want=1)
    store.exchange(0.1, 2, want=1)
    assert store.exchange(2.2, 1, want=1, number=1, returns=((0, 0, 0),)).delays == (0,)
    assert store.state.line == []


def test_permits_keep_the_pace_from_half_of_the_quota_on() -> None:
    """At most three more at once; then one after the other."""
    store = Store(100)
    assert store.exchange(0, want=50, prefetch=0).delays == (0,) * 50
    delays = store.exchange(0, 2, want=6).delays
    assert delays[:3] == (0, 0, 0)
    assert [later - earlier for earlier, later in pairwise(delays[2:])] == [9_900] * 3


def test_half_of_the_quota_waits_for_nothing_when_another_process_has_used_the_rest_long_ago() -> None:
    store = Store(20)
    store.exchange(0, want=20)
    store.exchange(0.1, returns=tuple((number, SECOND, 0) for number in range(20)))
    assert store.exchange(1.2, 2, want=10).delays == (0,) * 10


def test_no_more_permits_are_granted_ahead_of_time_than_are_wanted() -> None:
    """Those that are free are granted at once all the same, and the process does not wait in line for more."""
    store = Store(4)
    store.exchange(0, want=3)
    store.exchange(0.1, returns=((0, SECOND, 0), (1, SECOND, 0)))
    reply = store.exchange(0.2, 2, want=3, prefetch=1)
    assert reply.delays == (0, 900_000)
    assert reply.wait == 0
    assert not store.state.line


def test_a_throttled_call_lowers_the_limit_once_per_window() -> None:
    store = Store(100)
    assert store.exchange(0, throttled=True).effective == 85
    assert store.exchange(0.5, throttled=True).effective == 86
    assert store.exchange(1, throttled=True).effective == 73
    assert store.exchange(60).effective == 100


def test_an_unpublished_limit_grows_when_permits_run_out() -> None:
    store = Store(20, published=False)
    store.exchange(0, want=20)
    store.exchange(0.1, returns=tuple((number, SECOND, 0) for number in range(20)))
    store.exchange(0.2, want=20, number=20)
    assert 20.9 < (store.state.effective or 0) < 21.1


def test_the_clock_of_a_quota_never_goes_back() -> None:
    store = Store(1)
    store.exchange(10, want=1)
    assert store.exchange(5, want=1).now == NOW + 10 * SECOND
    assert store.state.clock == NOW + 10 * SECOND


# The stored form

NUMBERS = st.integers(-(2**63), 2**63 - 1)
STATES = st.builds(
    SharedState,
    generation=st.integers(0, 2**48 - 1),
    clock=NUMBERS,
    resume=NUMBERS,
    pace=st.floats(allow_nan=False),
    effective=st.none() | st.floats(1, 1e6),
    as_of=NUMBERS,
    shrunk=NUMBERS,
    held=st.dictionaries(NUMBERS, NUMBERS, max_size=5),
    back=st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5),
    line=st.lists(NUMBERS, max_size=5),
    seen=st.dictionaries(NUMBERS, st.tuples(NUMBERS, NUMBERS), max_size=5),
)


@settings(max_examples=40)
@given(state=STATES)
def test_a_stored_state_is_read_as_it_was(state: SharedState) -> None:
    read = load_state(dump_state(state))
    assert read == state
    assert list(read.held) == list(state.held)


@settings(max_examples=40)
@given(state=STATES, size=st.integers(-60, 60).filter(bool))
def test_a_stored_state_of_another_length_is_an_error(state: SharedState, size: int) -> None:
    stored = dump_state(state)
    with pytest.raises(ValueError, match=r"."):
        load_state(stored[:size] if size < 0 else stored + bytes(size))


@settings(max_examples=40)
@given(text=st.binary(max_size=200))
def test_bytes_that_are_no_state_are_an_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        load_state(text)


def test_the_argument_is_not_changed() -> None:
    store = Store(2)
    store.exchange(0, 1, want=2)
    store.exchange(0.1, 2, want=2)
    store.exchange(0.2, 1, returns=((0, SECOND, 0),))
    before = copy.deepcopy(store.state)
    request = ExchangeRequest(
        rules=store.rules, process=2, want=2, returns=((7, SECOND, 0),), renew=(3,), throttled=True, was_away=True
    )
    after, _ = grant_permits(store.state, request, NOW + SECOND // 2)
    again, _ = grant_permits(store.state, attrs.evolve(request, process=1, was_away=False), NOW + 20 * SECOND)
    assert store.state == before
    assert after != before
    assert again != before
