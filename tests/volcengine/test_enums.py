"""Numbers that have a meaning: an enum and its number are the same argument, on the wire and in a journal."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doubles import mocked, sequential_handler, volcengine_client, volcengine_success
from volc_moderation import InvalidActionError
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.jobs import Jobs
from volc_moderation.jobs.clients import dump_action, load_action
from volc_moderation.jobs.job import Lane, key_of
from volc_moderation.volcengine import CallbackType, MediaType, StartDetection

LANE = Lane("volcengine", "account", "StartDetection", "2020-12-01")
BY_NAME = StartDetection(app_id="a", room_id="r", media_type=MediaType.AUDIO, callback_type=CallbackType.ALL)
BY_NUMBER = StartDetection(app_id="a", room_id="r", media_type=2, callback_type=1)


async def test_the_body_has_the_numbers() -> None:
    handler, requests = sequential_handler(volcengine_success())
    async with mocked(handler) as http_client:
        client = volcengine_client(http_client=http_client, app_id="a")
        await client.start_detection(room_id="r", media_type=MediaType.AUDIO, callback_type=CallbackType.VIOLATIONS)
        await client.start_detection(room_id="r", media_type=2, callback_type=0)
    assert [request.content for request in requests] == 2 * [
        b'{"AppId":"a","RoomId":"r","MediaType":2,"CallbackType":0}'
    ]


def test_both_are_the_same_action_and_the_same_job() -> None:
    assert BY_NAME == BY_NUMBER
    assert hash(BY_NAME) == hash(BY_NUMBER)
    assert key_of(LANE, BY_NAME) == key_of(LANE, BY_NUMBER)
    assert dump_action(BY_NAME) == dump_action(BY_NUMBER)


def test_a_stored_job_has_the_numbers() -> None:
    assert json.loads(dump_action(BY_NAME)) == {"AppId": "a", "RoomId": "r", "MediaType": 2, "CallbackType": 1}
    loaded = load_action(dump_action(BY_NAME), StartDetection, LANE)
    assert dump_action(loaded) == dump_action(BY_NAME)


async def test_a_job_sends_the_numbers(tmp_path: Path) -> None:
    handler, requests = sequential_handler(volcengine_success())
    async with (
        mocked(handler) as http_client,
        Jobs(tmp_path / "jobs.db", clients=[volcengine_client(http_client=http_client)]) as jobs,
    ):
        job = await jobs.wait(await jobs.submit(BY_NAME))
    assert job.parameters["MediaType"] == 2
    assert requests[0].content == b'{"AppId":"a","RoomId":"r","MediaType":2,"CallbackType":1}'


@pytest.mark.parametrize("cell", ["2", 2])
def test_the_cells_of_a_file_have_the_numbers(cell: object) -> None:
    parser = RowParser({"StartDetection": StartDetection}, action="StartDetection", constants={"app_id": "a"})
    assert parser.parse({"room_id": "r", "media_type": cell, "callback_type": "1"}) == BY_NUMBER


@pytest.mark.parametrize("wrong", ["2", "AUDIO", 2.0, True, 0, CallbackType.VIOLATIONS])
def test_other_values_are_named(wrong: Any) -> None:
    """Also a cell that has the name of a number."""
    with pytest.raises(InvalidActionError, match="media_type must be an int of at least 1"):
        StartDetection(app_id="a", room_id="r", media_type=wrong)
