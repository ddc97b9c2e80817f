"""What a sweep stops next in a room, depending on the listing and on the outcomes of earlier stops."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volc_moderation.cli.swept_room import ANY_TIME, ROOM, StopOutcome, SweptRoom

VIDEO, AUDIO, BOTH = 1, 2, 3
STOPPED, GONE, REFUSED, UNKNOWN = StopOutcome.STOPPED, StopOutcome.GONE, StopOutcome.REFUSED, StopOutcome.UNKNOWN


def task(user: str, started: int = 0, media: int = BOTH, status: int = 1) -> dict[str, Any]:
    return {"UserId": user, "MediaType": media, "CreateTime": started, "Status": status}


def room(*tasks: dict[str, Any], before: float = 100, unreadable: int = 0, user: str | None = None) -> SweptRoom:
    swept = SweptRoom("app", "room", user, before)
    swept.record_listing(tasks, unreadable * [object()])
    return swept


OLD, YOUNG = task("old"), task("young", 101)


@pytest.mark.parametrize(
    ("swept", "stops"),
    [
        (room(), []),
        (room(task("a", status=2)), []),
        (room(OLD), [ROOM]),
        (room(OLD, task("more", 100)), [ROOM]),
        (room(YOUNG), []),
        (room(task("just", 100), YOUNG), ["just"]),
        (room(task("odd", status=9)), [ROOM]),
        (room(OLD, task("more"), YOUNG), ["old", "more"]),
        (room(YOUNG, before=ANY_TIME), [ROOM]),
        (room(OLD, user="old"), ["old"]),
        # An unreadable item may be young, unless everything is to be stopped.
        (room(OLD, unreadable=1), ["old"]),
        (room(unreadable=1), []),
        (room(unreadable=1, before=ANY_TIME), [ROOM]),
        (room(unreadable=1, before=ANY_TIME, user="u"), []),
        (room(task(""), YOUNG), []),
    ],
)
def test_the_first_stops(swept: SweptRoom, stops: list[str | None]) -> None:
    assert swept.next_stops() == stops


def test_a_refused_stop_proves_that_a_moderation_of_the_room_is_running() -> None:
    """That moderation is as old as its oldest user."""
    swept = room(OLD, YOUNG)
    swept.outcomes["old"] = REFUSED
    assert swept.next_stops() == [ROOM]
    swept.outcomes[ROOM] = STOPPED
    swept.record_listing([], [])
    assert swept.next_stops() == []
    assert swept.counts() == {"found": 1, "stopped": 1, "already gone": 0, "still running": 0}


def test_a_room_that_was_never_listed() -> None:
    """It has no unreadable items; the sweep itself marks it as not listed."""
    swept = SweptRoom("app", "room", None, 100)
    assert (swept.unreadable, swept.is_listed, swept.next_stops()) == (0, True, [])


@pytest.mark.parametrize(
    ("old", "young", "may_stop"),
    [
        (BOTH, VIDEO, True),
        (VIDEO, BOTH, False),
        (VIDEO, AUDIO, False),
        (AUDIO, AUDIO, True),
        (4, 4, True),
        (4, BOTH, False),
    ],
)
def test_a_room_is_not_stopped_if_its_moderation_may_be_young(old: int, young: int, may_stop: bool) -> None:
    """If only young users are listed for a medium, the room's moderation of that medium may be young too."""
    swept = room(task("old", media=old), task("young", 101, media=young))
    swept.outcomes["old"] = REFUSED
    assert swept.next_stops() == ([ROOM] if may_stop else [])
    assert swept.counts()["still running"] == 1


@pytest.mark.parametrize("outcome", [GONE, UNKNOWN, STOPPED])
def test_young_moderations_are_left_alone_without_a_refusal(outcome: StopOutcome) -> None:
    swept = room(OLD, YOUNG)
    swept.outcomes["old"] = outcome
    assert swept.next_stops() == []


def test_a_room_with_unreadable_items_is_not_stopped() -> None:
    swept = room(OLD, YOUNG, unreadable=1)
    swept.outcomes["old"] = REFUSED
    assert swept.next_stops() == []


@pytest.mark.parametrize("outcome", list(StopOutcome))
def test_users_whose_moderations_outlive_the_stop_of_the_room_are_stopped(outcome: StopOutcome) -> None:
    swept = room(task("a"), task("b"))
    swept.outcomes[ROOM] = outcome
    swept.record_listing([task("a"), task("b", status=2)], [])
    assert swept.next_stops() == ["a"]
    swept.outcomes["a"] = STOPPED
    assert swept.next_stops() == []
    assert swept.counts()["still running"] == 1
    swept.record_listing([], [])
    stopped = 2 if outcome is STOPPED else 1
    assert swept.counts() == {"found": 2, "stopped": stopped, "already gone": 2 - stopped, "still running": 0}


def test_a_moderation_that_started_during_the_sweep_is_young() -> None:
    swept = room(OLD)
    swept.outcomes[ROOM] = STOPPED
    swept.record_listing([task("old", 101)], [])
    assert swept.next_stops() == []
    assert swept.counts() == {"found": 1, "stopped": 1, "already gone": 0, "still running": 0}


def test_the_moderations_of_a_room_that_can_no_longer_be_listed_are_unknown() -> None:
    swept = room(OLD)
    swept.outcomes[ROOM] = STOPPED
    swept.is_listed = False
    assert swept.next_stops() == []
    assert swept.counts() == {"found": 1, "unknown": 1}


TASKS = st.lists(
    st.builds(
        task,
        st.sampled_from(["a", "b", "c", ""]),
        st.sampled_from([0, 100, 101]),
        st.sampled_from([1, 2, 3, 4]),
        st.sampled_from([1, 2, 9]),
    ),
    max_size=4,
)


@pytest.mark.no_coverage
@pytest.mark.slow
@settings(deadline=None)  # milliseconds vary on a busy machine
@given(
    st.lists(st.tuples(TASKS, st.sampled_from([0, 0, 1])), min_size=1, max_size=8),
    st.sampled_from([100.0, ANY_TIME]),
    st.data(),
)
def test_a_sweep_of_a_room_ends(listings: list[Any], before: float, data: st.DataObject) -> None:
    """For any listings and outcomes, no stop is sent twice, and every moderation that was found is counted once."""
    swept = SweptRoom("app", "room", data.draw(st.sampled_from([None, "a"])), before)
    sent: list[str | None] = []
    for tasks, unreadable in listings:
        swept.record_listing(tasks, unreadable * [object()])
        stops = swept.next_stops()
        if not swept.old and not unreadable:
            assert not stops
        sent += stops
        for user in stops:
            swept.outcomes[user] = data.draw(st.sampled_from(list(StopOutcome)))
    assert len(sent) == len(set(sent))
    assert swept.user_id is None or ROOM not in sent
    counts = dict(swept.counts())
    found = counts.pop("found")
    assert sum(counts.values()) == found == len(swept.found)
    assert counts["still running"] == len({task.user for task in swept.old})
