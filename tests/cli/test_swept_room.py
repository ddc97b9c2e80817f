"""What a sweep stops next in a room, by what is listed and by what came of the stops before."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volc_moderation.cli.swept_room import ALL, ROOM, Outcome, SweptRoom

VIDEO, AUDIO, BOTH = 1, 2, 3
STOPPED, GONE, REFUSED, UNKNOWN = Outcome.STOPPED, Outcome.GONE, Outcome.REFUSED, Outcome.UNKNOWN


def task(user: str, started: int = 0, media: int = BOTH, status: int = 1) -> dict[str, Any]:
    return {"UserId": user, "MediaType": media, "CreateTime": started, "Status": status}


def room(*tasks: dict[str, Any], before: float = 100, unreadable: int = 0, user: str | None = None) -> SweptRoom:
    made = SweptRoom("app", "room", user, before)
    made.see(tasks, unreadable * [object()])
    return made


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
        (room(YOUNG, before=ALL), [ROOM]),
        (room(OLD, user="old"), ["old"]),
        # What cannot be read may be young, unless whatever runs is to be stopped.
        (room(OLD, unreadable=1), ["old"]),
        (room(unreadable=1), []),
        (room(unreadable=1, before=ALL), [ROOM]),
        (room(unreadable=1, before=ALL, user="u"), []),
        (room(task(""), YOUNG), []),
    ],
)
def test_the_first_stops(swept: SweptRoom, stops: list[str | None]) -> None:
    assert swept.next_stops() == stops


def test_a_refusal_proves_that_one_of_the_room_runs() -> None:
    """It is as old as its oldest user."""
    swept = room(OLD, YOUNG)
    swept.outcomes["old"] = REFUSED
    assert swept.next_stops() == [ROOM]
    swept.outcomes[ROOM] = STOPPED
    swept.see([], [])
    assert swept.next_stops() == []
    assert swept.counts() == {"found": 1, "stopped": 1, "already gone": 0, "still running": 0}


def test_a_room_that_was_never_listed() -> None:
    """Has nothing that could not be read; it is the one who lists who says that it could not be listed."""
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
    """Of a medium that only young users are listed for, the one of the room may be."""
    swept = room(task("old", media=old), task("young", 101, media=young))
    swept.outcomes["old"] = REFUSED
    assert swept.next_stops() == ([ROOM] if may_stop else [])
    assert swept.counts()["still running"] == 1


@pytest.mark.parametrize("outcome", [GONE, UNKNOWN, STOPPED])
def test_without_a_refusal_the_young_are_left_alone(outcome: Outcome) -> None:
    swept = room(OLD, YOUNG)
    swept.outcomes["old"] = outcome
    assert swept.next_stops() == []


def test_with_what_cannot_be_read_beside_it_a_room_is_not_stopped() -> None:
    swept = room(OLD, YOUNG, unreadable=1)
    swept.outcomes["old"] = REFUSED
    assert swept.next_stops() == []


@pytest.mark.parametrize("outcome", list(Outcome))
def test_those_of_users_that_outlive_the_stop_of_the_room(outcome: Outcome) -> None:
    swept = room(task("a"), task("b"))
    swept.outcomes[ROOM] = outcome
    swept.see([task("a"), task("b", status=2)], [])
    assert swept.next_stops() == ["a"]
    swept.outcomes["a"] = STOPPED
    assert swept.next_stops() == []
    assert swept.counts()["still running"] == 1
    swept.see([], [])
    ours = 2 if outcome is STOPPED else 1
    assert swept.counts() == {"found": 2, "stopped": ours, "already gone": 2 - ours, "still running": 0}


def test_what_began_meanwhile_is_young() -> None:
    swept = room(OLD)
    swept.outcomes[ROOM] = STOPPED
    swept.see([task("old", 101)], [])
    assert swept.next_stops() == []
    assert swept.counts() == {"found": 1, "stopped": 1, "already gone": 0, "still running": 0}


def test_a_room_that_cannot_be_listed_any_more() -> None:
    swept = room(OLD)
    swept.outcomes[ROOM] = STOPPED
    swept.is_listed = False
    assert swept.next_stops() == []
    assert swept.counts() == {"found": 1, "not known": 1}


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


@given(
    st.lists(st.tuples(TASKS, st.sampled_from([0, 0, 1])), min_size=1, max_size=8),
    st.sampled_from([100.0, ALL]),
    st.data(),
)
def test_a_sweep_of_a_room_ends(listings: list[Any], before: float, data: st.DataObject) -> None:
    """Whatever is listed and answered: nothing is stopped twice, and all that was found is accounted for."""
    swept = SweptRoom("app", "room", data.draw(st.sampled_from([None, "a"])), before)
    sent: list[str | None] = []
    for tasks, unreadable in listings:
        swept.see(tasks, unreadable * [object()])
        stops = swept.next_stops()
        if not swept.old and not unreadable:
            assert not stops
        sent += stops
        for user in stops:
            swept.outcomes[user] = data.draw(st.sampled_from(list(Outcome)))
    assert len(sent) == len(set(sent))
    assert swept.user_id is None or ROOM not in sent
    counts = dict(swept.counts())
    found = counts.pop("found")
    assert sum(counts.values()) == found == len(swept.found)
    assert counts["still running"] == len({one.user for one in swept.old})
