"""Actions that a user defines, also with postponed annotations.

They run in a process of their own, because an action, once defined, exists for the whole process.
"""

import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
{postponed}
from collections.abc import Sequence

from attrs import field, frozen

from volc_moderation import validators
from volc_moderation.action import Quota
from volc_moderation.zego.actions import ZegoAction


@frozen(kw_only=True)
class Part:
    part_name: str
    numbers: Sequence[int] | None = field(default=None, converter=validators.as_tuple)


@frozen(kw_only=True)
class PartsFound:
    parts: list[Part]
    note: str | None = None


@frozen(kw_only=True)
class FindParts(ZegoAction[PartsFound]):
    quota = Quota(7)
    result = PartsFound
    identity_fields = ("room_id",)

    room_id: str = field(validator=validators.text())
    parts: Sequence[Part] | None = field(
        default=None,
        converter=validators.as_tuple,
        validator=validators.optional(
            validators.list_of(validators.model(Part, part_name=validators.text()), most=2)
        ),
    )
    count: int | None = None
    is_deep: bool | None = None


@frozen(kw_only=True)
class FindMoreParts(FindParts):
    more: int = 1
    version: int = 2
"""

PROGRAM = """
import asyncio, json
from pathlib import Path

import httpx

import custom
from volc_moderation import DecodeError, InvalidActionError, WindowQuotas, ZegoClient
from volc_moderation.jobs import Jobs
from volc_moderation.jobs.clients import Clients, dump_action, load_action
from volc_moderation.bulk.row_parser import RowParser
from volc_moderation.cli.call import call

responses = [
    {"Code": 0, "Message": "success", "RequestId": "r", "Data": {"Parts": [{"PartName": "p", "Numbers": [1, 2]}]}},
    {"Code": 0, "Message": "success", "RequestId": "r", "Data": {"Parts": [{"PartName": 5}]}},
    {"Code": 0, "Message": "success", "RequestId": "r", "Data": {"Parts": [], "Note": "none"}},
]
requests = []


def handler(request):
    requests.append(json.loads(request.content))
    return httpx.Response(200, json=responses[len(requests) - 1])


async def main():
    quotas = WindowQuotas({"find_parts": 3})
    http_client = httpx.AsyncClient(transport=httpx.MockTransport(handler))
    client = ZegoClient(app_id=1, server_secret="s", http_client=http_client, quotas=quotas)
    assert ZegoClient.actions()["FindParts"] is custom.FindParts
    assert ZegoClient.actions()["FindMoreParts"] is custom.FindMoreParts
    WindowQuotas({"FindMoreParts": 3})
    assert "FindParts" not in list(call)  # the client has no method for it, but the command still has the others
    assert "StopCensorAudioV2" in list(call)
    part = custom.Part(part_name="a", numbers=[3])
    reply = await client.call(custom.FindParts(room_id="r", parts=[part], count=2))
    assert reply.result == custom.PartsFound(parts=[custom.Part(part_name="p", numbers=(1, 2))]), reply.result
    assert requests[0] == {"RoomId": "r", "Parts": [{"PartName": "a", "Numbers": [3]}], "Count": 2}, requests
    assert [state.effective for state in quotas.snapshot().values()] == [3]
    try:
        await client.call(custom.FindParts(room_id="r"))
    except DecodeError as error:
        assert "part_name" in error.path, error.path
    else:
        raise AssertionError("a number was accepted as text")
    row_parser = RowParser(ZegoClient.actions(), action="FindParts", constants={})
    action = row_parser.parse({"room_id": "r", "count": "5", "is_deep": "true", "parts": '[{"PartName": "x"}]'})
    assert action == custom.FindParts(room_id="r", count=5, is_deep=True, parts=[custom.Part(part_name="x")]), action
    for invalid in ({"room_id": "r", "parts": '[{"PartName": ""}]'}, {"room_id": ""}):
        try:
            row_parser.parse(invalid)
        except InvalidActionError:
            continue
        except Exception as error:
            assert "room_id is missing" in str(error), error
            continue
        raise AssertionError(invalid)
    clients = Clients([client])
    versioned = custom.FindMoreParts(room_id="r")  # its version is a parameter, not that of the API
    lane = clients.lane_of(versioned)
    assert lane.version == "", lane
    assert load_action(dump_action(versioned), custom.FindMoreParts, lane) == versioned
    async with Jobs(Path("jobs.db"), clients=[client]) as jobs:
        job = await jobs.wait(await jobs.submit(action))
    assert (job.state.value, job.result) == ("done", custom.PartsFound(parts=[], note="none")), job
    assert requests[-1] == {"RoomId": "r", "Count": 5, "IsDeep": True, "Parts": [{"PartName": "x"}]}, requests[-1]
    await http_client.aclose()


asyncio.run(main())
print("all right")
"""


@pytest.mark.slow
@pytest.mark.parametrize("postponed", ["", "from __future__ import annotations"], ids=["", "postponed"])
def test_a_user_can_define_actions(tmp_path: Path, postponed: str) -> None:
    (tmp_path / "custom.py").write_text(MODULE.format(postponed=postponed))
    process = subprocess.run(  # noqa: S603 - our own
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (0, "all right\n"), process.stderr
