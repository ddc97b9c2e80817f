"""The HTTP clients that are compared, with equal pools, and the bare request that a call of this package makes."""

import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import httpx
import httpx2
import httpx_aiohttp
from aiolimiter import AsyncLimiter
from httpx_aiohttp.httpx2 import Httpx2AiohttpClient
from volcenginesdkcore.signv4 import SignerV4

from benchmarks.programs import KEYS
from volc_moderation import NoQuotas, VolcengineClient
from volc_moderation.gate import MAX_IN_FLIGHT
from volc_moderation.quotas import Quotas

TASK = {"app_id": "661e0000000000000000543c", "room_id": "Room1", "task_id": "task"}
#: Without a pool timeout: with httpx's default of 5 s, nearly all of thousands of calls fail.
_TIMEOUT = 10.0  # seconds

Call = Callable[[], Awaitable[object]]


def _httpx_options(library: Any) -> dict[str, Any]:
    limits = library.Limits(max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT)
    return {"limits": limits, "timeout": library.Timeout(_TIMEOUT, pool=None), "trust_env": False}


#: Create a client with a pool of ``MAX_IN_FLIGHT`` connections and no pool timeout.
CLIENTS: dict[str, Callable[[], Any]] = {
    "httpx": lambda: httpx.AsyncClient(**_httpx_options(httpx)),
    "httpx2": lambda: httpx2.AsyncClient(**_httpx_options(httpx2)),
    "httpx over aiohttp": lambda: httpx_aiohttp.HttpxAiohttpClient(**_httpx_options(httpx)),
    "httpx2 over aiohttp": lambda: Httpx2AiohttpClient(**_httpx_options(httpx2)),
}


async def captured_request(base_url: str, **task: str) -> httpx.Request:
    """Return the request that the client would send to stop a webcast."""
    captured: list[httpx.Request] = []

    def capture(request: httpx.Request) -> httpx.Response:
        captured.append(request)
        return httpx.Response(200, json={"ResponseMetadata": {"RequestId": "r"}, "Result": "ok"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(capture)) as http_client:
        client = VolcengineClient(**KEYS, base_url=base_url, http_client=http_client, quotas=NoQuotas())
        await client.stop_webcast(**task)
    return captured[0]


async def our_call(stack: AsyncExitStack, name: str, base_url: str, quotas: Quotas, **task: str) -> Call:
    """Call with this package: checked, permitted, encoded, signed, sent, decoded."""
    http_client = await stack.enter_async_context(CLIENTS[name]())
    client = VolcengineClient(**KEYS, base_url=base_url, quotas=quotas, http_client=http_client)
    return lambda: client.stop_webcast(**(task or TASK))


async def bare_call(stack: AsyncExitStack, name: str, base_url: str, **task: str) -> Call:
    """Send the same bytes with prepared address, headers and body; check the status."""
    http_client = await stack.enter_async_context(CLIENTS[name]())
    request = await captured_request(base_url, **(task or TASK))
    url, headers, body = str(request.url), dict(request.headers), request.content

    async def call() -> None:
        response = await http_client.request("POST", url, headers=headers, content=body)
        response.raise_for_status()

    return call


async def _aiohttp_session(stack: AsyncExitStack) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_TIMEOUT, sock_read=_TIMEOUT)
    connector = aiohttp.TCPConnector(limit=MAX_IN_FLIGHT)
    return await stack.enter_async_context(aiohttp.ClientSession(connector=connector, timeout=timeout))


async def bare_aiohttp_call(stack: AsyncExitStack, base_url: str) -> Call:
    """Send the same bytes with aiohttp; check the status."""
    session = await _aiohttp_session(stack)
    request = await captured_request(base_url, **TASK)
    url, headers, body = str(request.url), dict(request.headers), request.content

    async def call() -> None:
        async with session.post(url, headers=headers, data=body) as response:
            response.raise_for_status()
            await response.read()

    return call


async def users_aiohttp_call(stack: AsyncExitStack, base_url: str, limiter: AsyncLimiter) -> Call:
    """Call as a user of aiohttp would: with a limiter, and signed by the vendor's signer."""
    session = await _aiohttp_session(stack)
    query = {"Action": "StopWebcast", "Version": "2020-12-01"}
    host = base_url.rpartition("/")[2]

    async def call() -> object:
        body = json.dumps({"AppId": TASK["app_id"], "RoomId": TASK["room_id"], "TaskId": TASK["task_id"]})
        headers = {"Content-Type": "application/json", "Host": host}
        async with limiter:
            SignerV4.sign("/", "POST", headers, body, None, query, *KEYS.values(), "cn-north-1", "rtc")
            async with session.post(base_url, params=query, headers=headers, data=body) as response:
                response.raise_for_status()
                return (await response.json())["Result"]

    return call
