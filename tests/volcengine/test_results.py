"""Results carry the ids of their request, which are no part of what the vendor says."""

from typing import Any

import attrs
import pytest

from tests.actions import ACTIONS, MINIMAL_ARGUMENTS
from tests.doubles import mocked, sequential_handler, volcengine_client, volcengine_success
from volc_moderation.action import Action, Result, method_name
from volc_moderation.volcengine import VolcengineAction
from volc_moderation.wire import to_json

#: A result of each action, as the vendor sends it.
TASK = {"CreateTime": 1, "MediaType": 1, "Status": 1, "UserId": "u", "RoomId": "r"}
SENT: dict[str, Any] = {
    "ListDetectionTask": {"EventData": [TASK], "Message": "success"},
    "GetWebCastTask": {"WebCastTask": {"Status": 2, "StartTime": 1, "EndTime": 0}},
    "LimitTokenPrivilege": {"Message": "Success", "EndTime": 1_795_219_200},
    "GetRoomOnlineUsers": {"RoomExists": True, "TotalUser": 1, "VisibleUserList": ["u"]},
}


@pytest.mark.parametrize("action", ACTIONS)
def test_every_result_can_carry_ids(action: type[Action[Any]]) -> None:
    assert issubclass(action.result, Result)


@pytest.mark.parametrize("action", [action for action in ACTIONS if issubclass(action, VolcengineAction)])
async def test_a_method_returns_a_result_with_the_ids_of_its_request(action: type[Action[Any]]) -> None:
    sent = SENT.get(action.name, {"Message": "ok"})
    handler, _ = sequential_handler(volcengine_success(sent, **{"X-Tt-Logid": "log-7"}))
    async with mocked(handler) as http_client:
        method = getattr(volcengine_client(http_client=http_client), method_name(action.name))
        result = await method(**MINIMAL_ARGUMENTS[action.name])
    assert type(result) is action.result
    assert (result.request_id, result.log_id) == ("r-1", "log-7")
    without = attrs.evolve(result, request_id=None, log_id=None)
    assert result == without
    assert repr(result) == repr(without)
    assert to_json(result) == to_json(without)
    assert not {"RequestId", "LogId"} & set(to_json(result))  # type: ignore[call-overload]
