"""Test doubles of the vendors: the emulator without a socket, and responses made up for one test."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from volc_moderation import VolcengineClient, ZegoClient
from volc_moderation.emulator import Emulator, Settings
from volc_moderation.quotas import quota_file
from volc_moderation.quotas.machine import machine_clock
from volc_moderation.quotas.quota_file import QuotaFile

KEYS = Settings()
NOW = 1_795_219_200.0

Handler = Callable[[httpx.Request], httpx.Response]


def free_port() -> int:
    """Return a port that the system picks. Two workers that searched upwards would find the same port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def environment(base_url: str) -> dict[str, str]:
    """Return the variables that ``from_env()`` reads, with the emulator's keys and address."""
    return {
        "VOLCENGINE_RTC_BASE_URL": base_url,
        "VOLCENGINE_ACCESS_KEY": KEYS.access_key,
        "VOLCENGINE_SECRET_KEY": KEYS.secret_key,
        "ZEGO_BASE_URL": base_url,
        "ZEGO_APP_ID": str(KEYS.app_id),
        "ZEGO_SERVER_SECRET": KEYS.server_secret,
    }


def loop_clock() -> float:
    """Return a wall-clock time that advances with the loop's, so that virtual time makes signatures stale."""
    return NOW + asyncio.get_running_loop().time()


class Vendors:
    """The emulator in this process, and a client for each vendor that talks to it without a socket."""

    def __init__(self, settings: Settings = KEYS, *, receiver: httpx.AsyncClient | None = None, **options: Any) -> None:
        self.emulator = Emulator(settings, clock=loop_clock, http_client=receiver)
        self.requests: list[httpx.Request] = []
        transport = httpx.ASGITransport(app=self.emulator)
        self.http_client = httpx.AsyncClient(transport=transport, event_hooks={"request": [self._record]})
        self.volcengine = volcengine_client(http_client=self.http_client, clock=loop_clock, **options)
        self.zego = zego_client(http_client=self.http_client, clock=loop_clock, **options)

    async def _record(self, request: httpx.Request) -> None:
        self.requests.append(request)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.http_client.aclose()
        await self.emulator.aclose()


def volcengine_client(**options: Any) -> VolcengineClient:
    """Create a client with the emulator's keys."""
    return VolcengineClient(access_key=KEYS.access_key, secret_key=KEYS.secret_key, **options)


def zego_client(**options: Any) -> ZegoClient:
    """Create a client with the emulator's keys."""
    return ZegoClient(app_id=KEYS.app_id, server_secret=KEYS.server_secret, **options)


def mocked(handler: Handler) -> httpx.AsyncClient:
    """Create an HTTP client that calls ``handler`` instead of using the network."""

    def respond(request: httpx.Request) -> httpx.Response:
        try:
            response = handler(request)
        except Exception as error:  # noqa: BLE001 - raised again
            # The test may have created the exception with the other library.
            raise getattr(httpx, type(error).__name__, type(error))(*error.args) from None
        return httpx.Response(response.status_code, content=response.content, headers=response.headers)

    return httpx.AsyncClient(transport=httpx.MockTransport(respond))


def volcengine_success(result: object = "ok", **headers: str) -> httpx.Response:
    """Return a successful response of Volcengine."""
    return httpx.Response(200, json={"ResponseMetadata": {"RequestId": "r-1"}, "Result": result}, headers=headers)


def volcengine_error(code: str, message: str = "no", status: int = 400, **headers: str) -> httpx.Response:
    """Return an error response of Volcengine."""
    metadata = {"RequestId": "r-1", "Error": {"Code": code, "Message": message}}
    return httpx.Response(status, json={"ResponseMetadata": metadata}, headers=headers)


def zego_answer(code: int = 0, data: object = None, message: str = "success", status: int = 200) -> httpx.Response:
    """Return a response of ZEGO; 0 is success."""
    return httpx.Response(status, json={"Code": code, "Message": message, "RequestId": "r-1", "Data": data})


def sequential_handler(*responses: httpx.Response | Exception) -> tuple[Handler, list[httpx.Request]]:
    """Return a handler that gives one response after the other and repeats the last, and the list of its requests."""
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        response = responses[min(len(requests), len(responses)) - 1]
        if isinstance(response, Exception):
            raise response
        return httpx.Response(response.status_code, content=response.content, headers=response.headers)

    return handler, requests


def json_body(request: httpx.Request) -> Any:
    """Return the JSON body of a request."""
    return json.loads(request.content)


def aged_quota_file(path: Path) -> Path:
    """Create a file for ``FileQuotas`` that seems to be ten seconds old, so that its permits are granted at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quota_file, "machine_clock", lambda: machine_clock() - 10_000_000)
        file = QuotaFile(path)
        assert file._try_to_lock() is not None
    file.close()
    return path
