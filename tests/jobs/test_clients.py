"""Which client makes a call, and the stored form of an action and of its key."""

from typing import Any

import attrs
import pytest

from tests.doubles import volcengine_client, zego_client
from volc_moderation import ConfigurationError, InvalidActionError
from volc_moderation.action import version_of
from volc_moderation.jobs.clients import Clients, dump_action, load_action
from volc_moderation.jobs.job import MAX_DELAY, Lane, check_delay, key_of
from volc_moderation.quotas.permit import hash_account
from volc_moderation.volcengine import KickUser, StopWebcast

STOP = StopWebcast(app_id="a", room_id="r", task_id="t")


@pytest.mark.parametrize("clients", [[], [None], ["client"], [StopWebcast]])
def test_objects_that_are_no_clients_are_refused(clients: Any) -> None:
    with pytest.raises(ConfigurationError, match="at least one client, such as a VolcengineClient"):
        Clients(clients)


async def test_the_client_of_a_lane_has_its_vendor_account_and_action() -> None:
    volcengine, zego = volcengine_client(), zego_client()
    clients, lane = Clients([zego, volcengine]), Clients([volcengine]).lane_of(STOP)
    assert clients.client_for(lane) == (volcengine, StopWebcast)
    for other in (
        lane._replace(action="StopEverything"),
        lane._replace(vendor="zego"),
        lane._replace(account=hash_account("AK of another")),
        lane._replace(vendor="zego", account=hash_account(zego.account)),
    ):
        with pytest.raises(ConfigurationError, match=f"{other.action} at {other.vendor}, of an account"):
            clients.client_for(other)
    await volcengine.aclose()
    await zego.aclose()


def test_an_action_is_loaded_as_it_was_dumped() -> None:
    newer = StopWebcast(app_id="a", room_id="r", task_id="t", version="2030-01-01")
    for action in (STOP, newer):
        lane = Lane("volcengine", "", "StopWebcast", version_of(action))
        assert load_action(dump_action(action), StopWebcast, lane) == attrs.evolve(action, version=lane.version)


def test_no_frame_of_an_error_holds_the_stored_parameters() -> None:
    """They may hold tokens of users, which must not travel in a traceback."""
    with pytest.raises(InvalidActionError) as caught:
        load_action('{"TaskId": 7, "Token": "t0ken"}', StopWebcast, Lane("volcengine", "", "StopWebcast", "2020-12-01"))
    assert caught.value.__context__ is None
    assert "t0ken" not in str(caught.value)


def test_the_hashes_in_a_journal_never_change() -> None:
    """Another key would make two jobs of one; another hash of an account would orphan its jobs."""
    assert hash_account("AK") == "f37b22dd4dd7fede"
    assert key_of(Lane("volcengine", hash_account("AK"), "StopWebcast", "2020-12-01"), STOP) == "24c6ee9d276c98743df2"
    kick = KickUser(app_id="a", room_id="r", user_id="u")  # of whose key all parameters are a part
    assert key_of(Lane("volcengine", "x", "KickUser", "2020-12-01"), kick) == "6e3cd3264a5d1000dac9"


@pytest.mark.parametrize("delay", [0, 0.5, MAX_DELAY])
def test_a_delay_is_at_most_a_year(delay: float) -> None:
    check_delay(delay)
    for wrong in (-0.001, MAX_DELAY + 0.001, float("nan"), True, "1"):
        with pytest.raises(ConfigurationError, match="delay must be a number of seconds from 0 to 31,622,400"):
            check_delay(wrong)  # type: ignore[arg-type]


async def test_a_client_with_other_options_stands_for_the_client() -> None:
    """Two clients could make the call; ``with_options`` does not make it three."""
    first, second = (volcengine_client(app_id=app) for app in ("one", "two"))
    clients = Clients([first, second.with_options(deadline=3)])
    _, action = clients.complete(StopWebcast(room_id="r", task_id="t"), second)
    assert action == StopWebcast(app_id="two", room_id="r", task_id="t")
    _, action = clients.complete(StopWebcast(room_id="r", task_id="t"), first.with_options(timeout=1))
    assert action == StopWebcast(app_id="one", room_id="r", task_id="t")
    with pytest.raises(ConfigurationError, match="one of the clients"):
        clients.complete(StopWebcast(room_id="r", task_id="t"), volcengine_client())
