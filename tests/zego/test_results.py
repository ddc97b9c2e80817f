"""Results carry the id of their request, which is no part of what ZEGO says."""

from typing import Any

import attrs
import pytest

from tests.actions import ACTIONS, MINIMAL_ARGUMENTS
from tests.doubles import mocked, sequential_handler, zego_answer, zego_client
from volc_moderation.action import Action, method_name
from volc_moderation.wire import to_json
from volc_moderation.zego import ZegoAction

#: The data of an answer, of all actions at once.
DATA: dict[str, Any] = {
    "TaskId": "t",
    "IdentifyToken": "token",
    "RemainTime": 3600,
    "RoomId": "r",
    "ExpireTime": 1_795_219_200,
    "UserList": [{"UserId": "u"}],
    "StreamList": [{"StreamId": "s", "UserId": "u"}],
    "FailUsers": [{"Uid": "u", "Code": 50003}],
}


@pytest.mark.parametrize("action", [action for action in ACTIONS if issubclass(action, ZegoAction)])
async def test_a_method_returns_a_result_with_the_id_of_its_request(action: type[Action[Any]]) -> None:
    handler, _ = sequential_handler(zego_answer(data=DATA))
    async with mocked(handler) as http_client:
        method = getattr(zego_client(http_client=http_client), method_name(action.name))
        result = await method(**MINIMAL_ARGUMENTS[action.name])
    assert type(result) is action.result
    assert (result.request_id, result.log_id) == ("r-1", None)
    without = attrs.evolve(result, request_id=None)
    assert result == without
    assert repr(result) == repr(without)
    assert "RequestId" not in to_json(result)  # type: ignore[operator]
